"""Estimates with known answers: how much work a run is, what it takes by each source, and what a study takes in all."""

from pathlib import Path

import numpy as np
import pytest

from examples import DATA, PLAIN, RECIPE, WHERE
from planning_examples import FLOOR, HERE, MEASURED, OTHER, RUN, SAMPLE, SIZE, item
from trackablate.harness.costing.macs import paper_scale
from trackablate.harness.planning import work
from trackablate.harness.planning.calibration import calibrations, keep, to_measure
from trackablate.harness.planning.estimate import (
    COUNTING,
    KEEPING,
    START,
    OtherWork,
    StudyEstimate,
    estimate_run,
    estimate_study,
    estimates,
    makespan,
)
from trackablate.harness.planning.forecast import forecasts
from trackablate.harness.planning.history import FEWEST_FRAMES, History, gather
from trackablate.harness.planning.peaks import peak_of, peaks, training_flops, training_memory
from trackablate.harness.planning.ranges import Range, about, total
from trackablate.harness.planning.work import drawn, speed_work, tracking_work, training_work
from trackablate.harness.record import PhaseCost, SequenceResult, TrainingCost, TrainingRecord
from trackablate.harness.running.observer import Missing, passes
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


def test_ranges_add_end_by_end() -> None:
    assert about(10, 0.25) == Range(8, 10, 12.5)
    assert total([about(10, 0.25), Range(1, 2, 3)]) == Range(9, 12, 15.5)
    assert about(10, 0.25).times(2) == Range(16, 20, 25)


def test_tasks_longest_first_on_the_first_free_worker() -> None:
    assert makespan([3, 3, 2, 2, 2], 2) == 7
    assert makespan([5, 1, 1], 1) == 7
    assert makespan([], 3) == 0
    assert makespan([3, 3], 2, start=2) == 5, "the second worker starts later"
    assert makespan([3], 2, start=2) == 3, "and is not started for nothing"


def test_what_is_left_of_a_training() -> None:
    recipe = RECIPE.model_copy(update={"checkpoint_every": 4, "validation_pairs": 8})
    run = RUN.model_copy(update={"recipe": recipe})
    whole = training_work(item(run))
    assert (whole["step"], whole["validated"]) == (10, 24), "validated at 4, 8 and 10"
    rest = training_work(item(run, steps_done=8))
    assert (rest["step"], rest["validated"]) == (2, 8)
    assert "image" not in whole
    assert whole["frame"] > rest["frame"] > 0
    assert passes(item(run)) == (3 * 20, 32)


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
    clips, frames_ = drawn(data, recipe, 1600)
    assert clips == pytest.approx(len({clip for clip, _ in seen}), rel=0.05)
    assert frames_ == pytest.approx(len(seen), rel=0.05)


def test_constants_are_those_of_what_they_describe() -> None:
    assert work.FRAMES_PER_CLIP == ClipWindow.FRAMES_PER_CLIP
    assert work.VALIDATION_CLIPS == pairs.VALIDATION_CLIPS
    assert work.SPEED_FRAMES == speed.ROUNDS * speed.FRAMES + speed.WARM_UP_FRAMES + speed.FRAMES + 1


def study_of(lacking: list[Missing], history: History, workers: int, other: OtherWork) -> StudyEstimate:
    return estimate_study(estimates(lacking, history, other.run_bytes), history, workers, other)


def test_nothing_known_nothing_said(store: Store) -> None:
    history = History("CPU (x)", store)
    assert estimate_run(item(), history, 5) is None
    study = study_of([item()], history, 2, OtherWork(run_bytes=5))
    assert study.unknown == (RUN.name,)
    assert study.disk_bytes == 5


def test_measured_steps_times_their_number(store: Store) -> None:
    found = estimate_run(item(), History("CPU (x)", store, MEASURED), 5)
    assert found is not None
    assert found.sources == ("measured",)
    left = training_work(item())
    expected = 3 + 2 * 2.0 + 0.1 * 10 + 0.01 * left["validated"] + 0.5 * left["clip"] + 0.25 * left["frame"]
    assert found.training.expected == pytest.approx(expected)
    assert found.tracking.expected == pytest.approx(3 + 2.0 + 32 * 0.02 + 4 * 0.5 + 32 * 0.25)
    assert found.wall_seconds.expected == pytest.approx(found.training.expected + found.tracking.expected)
    assert found.wall_seconds.high == pytest.approx(1.2 * found.wall_seconds.expected)
    busy = (found.training.expected + found.tracking.expected) * 0.5
    assert found.device_seconds.expected == pytest.approx(busy)
    assert any("20 %" in note for note in found.notes)


def test_memory_of_a_measured_step_grows_by_the_clips_that_a_training_keeps(store: Store) -> None:
    for clip_bytes in (1e6, 0.0):
        measured = MEASURED.model_copy(update={"clip_bytes": clip_bytes})
        found = estimate_run(item(), History("CPU (x)", store, measured), 5)
        assert found is not None
        assert found.memory_bytes is not None
        assert found.memory_bytes.expected == pytest.approx(1000 + (DATA.clips + work.VALIDATION_CLIPS) * clip_bytes)


def test_the_same_run_finished_is_the_best_source(store: Store) -> None:
    finish(store, RUN.model_copy(update={"seed": 1}), wall=30.0)
    store.run(RUN).add_result(
        HERE, SequenceResult(name="a", boxes=[(0, 0, 1, 1)] * FEWEST_FRAMES, seconds=0.5 * FEWEST_FRAMES)
    )
    found = estimate_run(item(), History("CPU (x)", store, MEASURED), 5)
    assert found is not None
    assert found.sources == ("finished",)
    assert found.training.expected == pytest.approx(30)
    assert found.tracking.expected == pytest.approx(32 * 0.5)
    elsewhere = estimate_run(item(), History("CPU (y)", store), 5)
    assert elsewhere is None, "another device's runs say nothing"


def test_so_few_frames_that_the_first_one_counts_are_no_rate(store: Store) -> None:
    finish(store, RUN.model_copy(update={"seed": 1}), wall=30.0)
    few = [(0.0, 0.0, 1.0, 1.0)] * (FEWEST_FRAMES - 1)
    store.run(RUN).add_result(HERE, SequenceResult(name="a", boxes=few, seconds=900.0))
    found = estimate_run(item(), History("CPU (x)", store, MEASURED), 5)
    assert found is not None
    assert found.tracking.expected == pytest.approx(3 + 2.0 + 32 * 0.02 + 4 * 0.5 + 32 * 0.25), "as measured"


def test_a_floor_that_was_tracked_a_little_is_better_known_than_not_at_all(store: Store) -> None:
    floor = RunSpec(tracker=FloorSpec(kind="ncc"))
    store.run(floor).add_result(HERE, SequenceResult(name="a", boxes=[(0, 0, 1, 1)] * 40, seconds=4.0))
    found = estimate_run(item(floor), History("CPU (x)", store), 5)
    assert found is not None
    assert found.tracking.high == pytest.approx(32 * 0.1)
    assert any("mostly its start" in note for note in found.notes)


def test_another_tracker_of_the_size_counts_by_its_macs(store: Store) -> None:
    finish(store, OTHER, wall=30.0)
    store.run(OTHER).add_result(
        HERE, SequenceResult(name="a", boxes=[(0, 0, 1, 1)] * FEWEST_FRAMES, seconds=0.5 * FEWEST_FRAMES)
    )
    uncounted = estimate_run(item(), History("CPU (x)", store), 5)
    assert uncounted is not None
    assert (uncounted.training.expected, uncounted.training.high) == pytest.approx((30, 48))
    store.set_paper_scale(PLAIN, SIZE)
    found = estimate_run(item(), History("CPU (x)", store), 5)
    assert found is not None
    assert found.sources == ("scaled",)
    assert (found.training.expected, found.training.high) == pytest.approx((15, 21)), "1000 of 2000 MACs"
    assert found.tracking.expected == pytest.approx(8)


def test_a_calibration_of_another_tracker_counts_by_its_macs(store: Store) -> None:
    store.set_paper_scale(OTHER.tracker, SIZE.model_copy(update={"macs": 3000}))
    found = estimate_run(item(OTHER), History("CPU (x)", store, MEASURED), 5)
    assert found is not None
    assert found.sources == ("scaled",)
    assert found.training.high == pytest.approx(found.training.expected * 1.4)


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
    peak = peak_of("rtx 3090")
    assert (peak.name, peak.tflops, peak.gigabytes) == ("RTX 3090", 71.0, 24)
    assert all(entry.source for entry in peaks())
    size = SIZE.model_copy(update={"macs": 71e12 / 6})
    assert peak.training(PLAIN, size, 4)["step"].expected == pytest.approx(4 / 0.30), (
        "three passes of two FLOPs per MAC"
    )


def test_a_study_adds_preparation_and_the_speed_of_all(store: Store) -> None:
    history = History("CPU (x)", store, MEASURED)
    floor = RunSpec(tracker=FloorSpec(kind="static"))
    lacking = [item(), item(floor)]
    other = OtherWork(sizes=2, thumbnails=4, timed_again=3 + 0.04 * work.SPEED_FRAMES)
    study = study_of(lacking, history, 2, other)
    runs = [run.wall_seconds.expected for run in estimates(lacking, history, 5).values() if run]
    assert len(runs) == 2
    assert study.prepare_seconds.expected == pytest.approx(
        START.expected + 2 * COUNTING.expected + 4 * KEEPING.expected
    )
    assert study.speed_seconds.expected == pytest.approx(2 * (3 + 0.04 * work.SPEED_FRAMES)), (
        "again for those that have it"
    )
    longest = max(runs[0], START.expected + runs[1])
    around = study.prepare_seconds.expected + study.speed_seconds.expected
    assert study.wall_seconds.expected == pytest.approx(around + longest), (
        "the second worker starts beside the first run"
    )
    alone = study_of(lacking, history, 1, other)
    assert alone.wall_seconds.expected == pytest.approx(around + sum(runs))


def test_nothing_missing_takes_nothing(store: Store) -> None:
    done = Missing(task=item().task, training=False, sequences=0, speed=False)
    study = study_of([done], History("CPU (x)", store), 2, OtherWork(run_bytes=5))
    assert (study.wall_seconds.high, study.disk_bytes, study.unknown) == (0, 0, ())


def test_what_has_unknown_lengths_has_no_estimate(store: Store) -> None:
    assert estimate_run(item(frames=0, generated=0), History("CPU (x)", store, MEASURED), 5) is None


def test_frames_on_disk_are_decoded_and_generated_ones_drawn() -> None:
    left = tracking_work(item(frames=100, generated=32))
    assert (left["tracked"], left["frame"], left["image"], left["clip"]) == (100, 32, 68, 4)
    assert speed_work(item()) == {"setup": 1, "online": work.SPEED_FRAMES}


def test_calibrations_are_kept_by_device_and_grow(store: Store) -> None:
    keep(store, MEASURED)
    other = SAMPLE.model_copy(update={"tracker": OTHER.tracker})
    again = FLOOR.model_copy(update={"device_share": 0.7})
    keep(store, MEASURED.model_copy(update={"samples": [other, again]}))
    (found,) = calibrations(store)
    assert [(s.device_share, s.seconds) for s in found.samples] == [
        (s.device_share, s.seconds) for s in (SAMPLE, again, other)
    ]
    assert gather(store, "CPU (x)").calibration == found
    assert gather(store, "CPU (y)").calibration is None


def test_each_tracker_is_measured_once_and_of_many_only_some() -> None:
    again = RUN.model_copy(update={"seed": 3})
    assert to_measure([RUN, again, RunSpec(tracker=FloorSpec(kind="ncc"))]) == [again]
    many = [RUN.model_copy(update={"recipe": RECIPE.model_copy(update={"batch_size": b})}) for b in range(1, 25)]
    assert len(to_measure(many)) == 8


@pytest.mark.parametrize("damaged", ["result", "training", "calibration", "evaluation"])
def test_what_cannot_be_read_is_no_history(store: Store, caplog: pytest.LogCaptureFixture, damaged: str) -> None:
    """A study does not stop because of a file of another run; a warning names the file."""
    keep(store, MEASURED)
    other = store.run(OTHER)
    finish(store, OTHER, wall=30.0)
    other.add_result(HERE, SequenceResult(name="a", boxes=[(0, 0, 1, 1)] * FEWEST_FRAMES, seconds=5.0))
    (evaluation,) = (other.path / "evaluations").glob("*")
    file = {
        "result": evaluation / "a.json",
        "training": other.path / "training.json",
        "calibration": next(iter(store.calibration.glob("*.json"))),
        "evaluation": evaluation / "evaluation.json",
    }[damaged]
    before = estimate_run(item(), gather(store, "CPU (x)"), 5)
    if damaged == "evaluation":
        file.unlink()
    else:
        file.write_text("{")
    history = gather(store, "CPU (x)")
    found = estimate_run(item(), history, 5)
    assert before is not None
    assert found is not None, "the rest of the history still says something"
    assert estimate_run(item(), history, 5) == found
    assert len(caplog.messages) == 1, "once is enough"
    assert str(file.parent if damaged == "evaluation" else file) in caplog.text


def test_an_unreadable_forecast_is_left_out(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.forecasts.mkdir(parents=True)
    (store.forecasts / "x.json").write_text("{")
    assert forecasts(store) == []
    assert "x.json" in caplog.text


def test_a_floor_takes_little_more_than_drawing(store: Store) -> None:
    """The static box took 8 s on the 80 sequences of 50 frames of profile mini, and the correlation 11 s."""
    floors = RunSpec(tracker=FloorSpec(kind="static")), RunSpec(tracker=FloorSpec(kind="ncc"))
    lacking = [item(floor, sequences=80, frames=4000, generated=4000) for floor in floors]
    found = [one for one in estimates(lacking, History("CPU (x)", store), 5).values() if one]
    assert [one.sources for one in found] == [("assumed",), ("assumed",)]
    static, ncc = (one.tracking for one in found)
    assert 6 < static.expected < 10 < ncc.expected < 14
    assert static.low < 8 < static.high
    assert all(one.online.expected < 1 for one in found), "measuring its speed builds no model"
