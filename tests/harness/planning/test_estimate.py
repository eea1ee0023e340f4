"""Estimates with known answers: how much work a run is, what it takes by each source, and what a study takes in all."""

from pathlib import Path

import numpy as np
import pytest

from examples import DATA, PLAIN, RECIPE, WHERE
from planning_examples import DRAWING, HERE, MEASURED, OTHER, RUN, SIZE, STEPS, item
from trackablate.harness.costing.macs import paper_scale
from trackablate.harness.planning import workload
from trackablate.harness.planning.calibration import (
    Drawing,
    calibration,
    keep_calibration,
    mean_of,
    to_measure,
)
from trackablate.harness.planning.estimate import SPEED_FRAMES, Around, estimate_run, estimate_study, makespan
from trackablate.harness.planning.history import FEWEST_FRAMES, Evidence, gather
from trackablate.harness.planning.peaks import UTILISATION, peak_of, peaks, seconds_at, training_flops, training_memory
from trackablate.harness.planning.span import Span, about, total
from trackablate.harness.planning.workload import drawn_clips, tracking_left, training_left
from trackablate.harness.record import PhaseCost, SequenceResult, TrainingCost, TrainingRecord
from trackablate.harness.running.observer import Missing
from trackablate.harness.spec import Recipe, RunSpec, SyntheticData
from trackablate.harness.store import Store
from trackablate.harness.tracking import speed
from trackablate.harness.training import loading as pairs
from trackablate.harness.training.loading import ClipWindow
from trackablate.trackers.lorat_variants import LORAT
from trackablate.trackers.spec import FloorSpec, LoRA, replace


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def finish(store: Store, run: RunSpec, wall: float, device: str = "CPU (x)") -> None:
    folder = store.run(run)
    folder.claim()
    folder.weights.write_bytes(b"weights")
    cost = TrainingCost(phases={"train": PhaseCost(wall_seconds=wall, device_seconds=wall / 2)}, macs=2000)
    where = WHERE.model_copy(update={"device": device})
    folder.finish_training(TrainingRecord(curve=[], cost=cost, weights_digest="d", where=where))


def test_spans_add_end_by_end() -> None:
    assert about(10, 0.25) == Span(low=8, expected=10, high=12.5)
    assert total([about(10, 0.25), Span(low=1, expected=2, high=3)]) == Span(low=9, expected=12, high=15.5)
    assert about(10, 0.25).times(2).plus(1) == Span(low=17, expected=21, high=26)


def test_tasks_longest_first_on_the_first_free_worker() -> None:
    assert makespan([3, 3, 2, 2, 2], 2) == 7
    assert makespan([5, 1, 1], 1) == 7
    assert makespan([], 3) == 0


def test_what_is_left_of_a_training() -> None:
    recipe = RECIPE.model_copy(update={"checkpoint_every": 4, "validation_pairs": 8})
    run = RUN.model_copy(update={"recipe": recipe})
    whole = training_left(item(run))
    assert (whole.steps, whole.pairs, whole.validated) == (10, 20, 24), "validated at 4, 8 and 10"
    rest = training_left(item(run, steps_done=8))
    assert (rest.steps, rest.pairs, rest.validated) == (2, 4, 8)
    assert whole.decoded == 0
    assert whole.frames > rest.frames > 0


def test_generated_frames_are_counted_as_they_are_drawn() -> None:
    data = SyntheticData(domain="source", clips=20, pairs_per_clip=64, length=30, version=1)
    recipe = Recipe(**RECIPE.model_dump() | {"batch_size": 16, "steps": 100})
    window = ClipWindow(data)
    seen: set[tuple[str, int]] = set()
    for number in range(1600):
        rng = np.random.Generator(np.random.Philox(key=[0, number]))
        first = number // data.pairs_per_clip
        clip = first + int(rng.integers(data.clips))
        frames = rng.choice(window.FRAMES_PER_CLIP, size=2, replace=False)
        chosen = frames[1:] if rng.random() < recipe.image_pairs else frames
        seen |= {(str(clip), int(frame)) for frame in chosen}
    clips, frames_ = drawn_clips(data, recipe, 1600)
    assert clips == pytest.approx(len({clip for clip, _ in seen}), rel=0.05)
    assert frames_ == pytest.approx(len(seen), rel=0.05)


def test_constants_are_those_of_what_they_describe() -> None:
    assert workload.FRAMES_PER_CLIP == ClipWindow.FRAMES_PER_CLIP
    assert workload.VALIDATION_CLIPS == pairs.VALIDATION_CLIPS
    assert SPEED_FRAMES == speed.ROUNDS * speed.FRAMES + speed.WARM_UP_FRAMES + speed.FRAMES + 1


def test_nothing_known_nothing_said(store: Store) -> None:
    evidence = Evidence("CPU (x)", store)
    assert estimate_run(item(), evidence, 5) is None
    study = estimate_study([item()], evidence, 2, 5, Around())
    assert study.unknown == (RUN.name,)
    assert study.disk_bytes == 5


def test_measured_steps_times_their_number(store: Store) -> None:
    found = estimate_run(item(), Evidence("CPU (x)", store, MEASURED), 5)
    assert found is not None
    assert found.sources == ("measured",)
    work = training_left(item())
    expected = 1 + 3 + 2 * 2.0 + 0.1 * 10 + 0.01 * work.validated + 0.5 * work.clips + 0.25 * work.frames
    assert found.training.expected == pytest.approx(expected)
    assert found.tracking.expected == pytest.approx(3 + 2.0 + 32 * 0.02 + 4 * 0.5 + 32 * 0.25)
    assert found.seconds.expected == pytest.approx(7 + found.training.expected + found.tracking.expected)
    assert found.seconds.high == pytest.approx(1.2 * found.seconds.expected)
    busy = (found.training.expected + found.tracking.expected) * 0.5
    assert found.device_seconds.expected == pytest.approx(busy)
    assert any("20 %" in note for note in found.notes)


def test_memory_of_a_measured_step_grows_by_the_clips_that_a_training_keeps(store: Store) -> None:
    kept = Drawing(**DRAWING.model_dump() | {"clip_bytes": 1e6})
    for device, more in (("CPU (x)", (DATA.clips + workload.VALIDATION_CLIPS) * 1e6), ("GPU", 0.0)):
        measured = MEASURED.model_copy(update={"device": device, "drawing": kept})
        found = estimate_run(item(), Evidence(device, store, measured), 5)
        assert found is not None
        assert found.memory_bytes is not None
        assert found.memory_bytes.expected == pytest.approx(1000 + more)


def test_the_same_run_finished_is_the_best_source(store: Store) -> None:
    finish(store, RUN.model_copy(update={"seed": 1}), wall=30.0)
    store.run(RUN).add_result(
        HERE, SequenceResult(name="a", boxes=[(0, 0, 1, 1)] * FEWEST_FRAMES, seconds=0.5 * FEWEST_FRAMES)
    )
    found = estimate_run(item(), Evidence("CPU (x)", store, MEASURED), 5)
    assert found is not None
    assert found.sources == ("finished",)
    assert found.training.expected == pytest.approx(30 + 1), "one worker's first time comes on top"
    assert found.tracking.expected == pytest.approx(32 * 0.5)
    elsewhere = estimate_run(item(), Evidence("CPU (y)", store), 5)
    assert elsewhere is None, "another device's runs say nothing"


def test_so_few_frames_that_the_first_one_counts_are_no_rate(store: Store) -> None:
    finish(store, RUN.model_copy(update={"seed": 1}), wall=30.0)
    few = [(0.0, 0.0, 1.0, 1.0)] * (FEWEST_FRAMES - 1)
    store.run(RUN).add_result(HERE, SequenceResult(name="a", boxes=few, seconds=900.0))
    found = estimate_run(item(), Evidence("CPU (x)", store, MEASURED), 5)
    assert found is not None
    assert found.tracking.expected == pytest.approx(3 + 2.0 + 32 * 0.02 + 4 * 0.5 + 32 * 0.25), "as measured"


def test_a_floor_that_was_tracked_a_little_is_better_known_than_not_at_all(store: Store) -> None:
    floor = RunSpec(tracker=FloorSpec(kind="ncc"))
    store.run(floor).add_result(HERE, SequenceResult(name="a", boxes=[(0, 0, 1, 1)] * 40, seconds=4.0))
    found = estimate_run(item(floor), Evidence("CPU (x)", store), 5)
    assert found is not None
    assert found.tracking.high == pytest.approx(32 * 0.1)
    assert any("mostly its start" in note for note in found.notes)


def test_another_tracker_of_the_size_counts_by_its_macs(store: Store) -> None:
    finish(store, OTHER, wall=30.0)
    store.run(OTHER).add_result(
        HERE, SequenceResult(name="a", boxes=[(0, 0, 1, 1)] * FEWEST_FRAMES, seconds=0.5 * FEWEST_FRAMES)
    )
    uncounted = estimate_run(item(), Evidence("CPU (x)", store), 5)
    assert uncounted is not None
    assert (uncounted.training.expected, uncounted.training.high) == pytest.approx((30, 48))
    store.set_paper_scale(PLAIN, SIZE)
    found = estimate_run(item(), Evidence("CPU (x)", store), 5)
    assert found is not None
    assert found.sources == ("scaled",)
    assert (found.training.expected, found.training.high) == pytest.approx((15, 21)), "1000 of 2000 MACs"
    assert found.tracking.expected == pytest.approx(8)


def test_a_calibration_of_another_tracker_counts_by_its_macs(store: Store) -> None:
    store.set_paper_scale(OTHER.tracker, SIZE.model_copy(update={"macs": 3000}))
    found = estimate_run(item(OTHER), Evidence("CPU (x)", store, MEASURED), 5)
    assert found is not None
    assert found.sources == ("scaled",)
    assert found.training.high == pytest.approx(1 * 1.2 + (found.training.expected - 1) * 1.4)


def test_a_published_peak_is_the_last_source(store: Store) -> None:
    store.set_paper_scale(PLAIN, SIZE.model_copy(update={"macs": 10**12, "activation_bytes": 10**9}))
    found = estimate_run(item(), gather(store, peak_name="a100"), 5)
    assert found is not None
    assert found.sources == ("peak",)
    assert found.memory_bytes is not None
    assert found.memory_bytes.high == pytest.approx(2e9 + 0.6e9 + 1600)
    assert any("20 to 45 %" in note and "A100" in note for note in found.notes)
    steps = 10 * 2 * (2 * 3 * 1e12) / 312e12
    assert found.training.low > steps / 0.45
    assert gather(store, peak_name="a100").device == "A100"


def test_training_takes_three_passes_or_two_where_the_weights_are_frozen() -> None:
    assert training_flops(PLAIN, SIZE) == 2 * 1000 * 3
    frozen = SIZE.model_copy(update={"trainable_params": 10})
    assert training_flops(replace(PLAIN, adaptation=LoRA()), frozen) == pytest.approx(2 * 1000 * 2.1)
    assert training_flops(replace(PLAIN, checkpointing=True), SIZE) == 2 * 1000 * 4
    assert training_memory(SIZE, 4) is None, "what was not counted is not guessed"


def test_memory_of_lorats_largest_is_what_its_abstract_prints() -> None:
    """LoRAT's abstract: ViT-g, batch 16, 25.8 GB. Weights are counted once, and not once per pair."""
    estimate = training_memory(paper_scale(LORAT["lorat-g-224"], activations=True), 16)
    assert estimate is not None
    assert estimate.low < 25.8e9 < estimate.high
    assert estimate.expected == pytest.approx(25.8e9, rel=0.15)


def test_what_is_kept_for_the_backward_pass_counts_views_once() -> None:
    """Full fine-tuning keeps the input of a linear layer for its weight's gradient, not the weight of it per pair."""
    lora = LORAT["lorat-b-224"]
    dora = replace(lora, adaptation=LoRA(dora=True, init="lora"))
    tokens, width, blocks = 256 + 64, 768, 12
    kept = 4 * tokens * width * blocks
    for spec, most in (
        (LORAT["full-b-224"], 30),
        (lora, 30),
        (dora, 50),
    ):  # DoRA's matrices of weights' size are no pair's
        size = paper_scale(spec, activations=True)
        assert size.activation_bytes is not None
        assert 10 * kept < size.activation_bytes < most * kept, "tens of activations per block"


def test_peaks_are_found_by_any_case_and_sourced() -> None:
    name, peak = peak_of("rtx 3090")
    assert (name, peak.tflops, peak.gigabytes) == ("RTX 3090", 71.0, 24)
    assert all(entry.source for entry in peaks().values())
    assert seconds_at(71e12, peak, UTILISATION).expected == pytest.approx(1 / 0.30)


def test_a_study_adds_preparation_and_the_speed_of_all(store: Store) -> None:
    evidence = Evidence("CPU (x)", store, MEASURED)
    floor = RunSpec(tracker=FloorSpec(kind="static"))
    study = estimate_study([item(), item(floor)], evidence, 2, 5, Around(sizes=2, thumbnails=4))
    assert [run.run for run in study.runs] == [RUN.name, floor.name]
    longest = max(run.seconds.expected for run in study.runs)
    assert study.prepare.expected == pytest.approx(7 + 2.0 + 2 * 2 + 4 * (6 * 0.25 + 0.5))
    assert study.speed.expected == pytest.approx(7 + 2.0 + 3 + 0.04 * SPEED_FRAMES)
    assert study.wall.expected == pytest.approx(study.prepare.expected + longest + study.speed.expected)
    alone = estimate_study([item(), item(floor)], evidence, 1, 5, Around())
    assert alone.wall.expected > study.wall.expected - study.prepare.expected


def test_nothing_missing_takes_nothing(store: Store) -> None:
    done = Missing(task=item().task, training=False, sequences=0, speed=False)
    study = estimate_study([done], Evidence("CPU (x)", store), 2, 5, Around())
    assert (study.wall.high, study.disk_bytes, study.runs) == (0, 0, ())


def test_frames_on_disk_are_decoded_and_generated_ones_drawn() -> None:
    work = tracking_left(item(frames=100, generated=32))
    assert (work.frames, work.drawn, work.decoded, work.clips) == (100, 32, 68, 4)


def test_calibrations_are_kept_by_device_and_grow(store: Store) -> None:
    keep_calibration(store, MEASURED)
    keep_calibration(
        store, MEASURED.model_copy(update={"steps": [STEPS.model_copy(update={"tracker": OTHER.tracker})]})
    )
    found = calibration(store, "CPU (x)")
    assert found is not None
    assert found.of(RUN) is not None
    assert found.of(OTHER) is not None
    assert calibration(store, "CPU (y)") is None
    assert gather(store, "CPU (x)").calibration == found


def test_workers_that_measured_side_by_side_are_averaged() -> None:
    slow = MEASURED.model_copy(
        update={"start": 9.0, "steps": [STEPS.model_copy(update={"step": 0.3, "memory_bytes": 5})]}
    )
    both = mean_of([MEASURED, slow])
    assert both.start == 8
    assert both.steps[0].step == pytest.approx(0.2)
    assert both.steps[0].memory_bytes == 1000


def test_each_tracker_is_measured_once_and_of_many_only_some() -> None:
    again = RUN.model_copy(update={"seed": 3})
    assert to_measure([RUN, again, RunSpec(tracker=FloorSpec(kind="ncc"))]) == [again]
    many = [RUN.model_copy(update={"recipe": RECIPE.model_copy(update={"batch_size": b})}) for b in range(1, 25)]
    assert len(to_measure(many)) == 8
