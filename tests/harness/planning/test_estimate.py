"""Estimates with known answers: how much work a run is, what it takes by each source, and what a study takes in all."""

from pathlib import Path

import numpy as np
import pytest

from examples import PLAIN, RECIPE
from planning_examples import ELIMINATING, NCC, OTHER, RUN, SIZE, STATIC, calibrate, item, track, train
from trackablate.harness.costing.macs import paper_scale
from trackablate.harness.costing.peaks import published_peaks
from trackablate.harness.planning import calibration, work
from trackablate.harness.planning.calibration import short_form
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
from trackablate.harness.planning.forecasts import forecasts
from trackablate.harness.planning.history import FEWEST_FRAMES, SETUP, History, gather, shelf
from trackablate.harness.planning.peaks import peak_of, training_flops, training_memory
from trackablate.harness.planning.work import Range, speed_work, tracking_work, training_work
from trackablate.harness.running.observer import Pending, passes
from trackablate.harness.spec import Recipe, RunSpec, SyntheticData
from trackablate.harness.store import Missing, Store
from trackablate.harness.tracking import evaluation, speed
from trackablate.harness.training import loading as pairs
from trackablate.harness.training.loading import ClipWindow
from trackablate.trackers.lorat_variants import LORAT
from trackablate.trackers.spec import LoRA, replace


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def known(store: Store) -> History:
    """A device on which RUN and the static box were measured."""
    calibrate(store)
    return gather(store, "CPU (x)")


def test_ranges_add_end_by_end() -> None:
    assert Range.about(10, 0.25) == Range(8, 10, 12.5)
    assert Range.total([Range.about(10, 0.25), Range(1, 2, 3)]) == Range(9, 12, 15.5)
    assert Range.about(10, 0.25).times(2) == Range(16, 20, 25)


def test_tasks_longest_first_on_the_first_free_worker() -> None:
    assert makespan([3, 3, 2, 2, 2], 2) == 7
    assert makespan([5, 1, 1], 1) == 7
    assert makespan([], 3) == 0
    assert makespan([3, 3], 2, start=2) == 5, "the second worker starts later"
    assert makespan([3], 2, start=2) == 3, "and is not started for nothing"


def test_what_is_left_of_a_training() -> None:
    recipe = RECIPE.model_copy(update={"checkpoint_every": 4, "validation_pairs": 8})
    run = RUN.model_copy(update={"recipe": recipe})
    whole, rest = training_work(item(run)), training_work(item(run, steps_done=8))
    assert (whole["setup"], whole["step"]) == (1, 10)
    assert (rest["setup"], rest["step"]) == (1, 2)
    assert "image" not in whole
    assert whole["frame"] > rest["frame"] > 0
    assert passes(item(run)) == (3 * 20, 32)


def drawn_per_pair(run: RunSpec) -> float:
    """Return how many frames the window of a run draws for each of its pairs."""
    assert isinstance(run.data, SyntheticData)
    assert run.recipe is not None
    seen: set[tuple[int, int]] = set()
    count = run.recipe.steps * run.recipe.batch_size
    for number in range(count):
        rng = np.random.Generator(np.random.Philox(key=[0, number]))
        clip = number // run.data.pairs_per_clip + int(rng.integers(run.data.clips))
        frames = rng.choice(ClipWindow.FRAMES_PER_CLIP, size=2, replace=False)
        frames = frames[1:] if rng.random() < run.recipe.image_pairs else frames
        known = any((clip, frame) in seen for frame in range(ClipWindow.FRAMES_PER_CLIP))
        seen |= {(clip, int(frame)) for frame in (range(ClipWindow.FRAMES_PER_CLIP) if known else frames)}
    return len(seen) / count


def test_the_short_form_of_a_training_draws_as_many_frames_for_each_pair() -> None:
    recipe = Recipe(**RECIPE.model_dump() | {"batch_size": 32, "steps": 500})
    data = SyntheticData(domain="source", clips=300, pairs_per_clip=64, length=60, version=1)
    run = RUN.model_copy(update={"recipe": recipe, "data": data})
    for steps in (10, 50):
        assert drawn_per_pair(short_form(run, steps)) == pytest.approx(drawn_per_pair(run), rel=0.2)


def test_constants_are_those_of_what_they_describe() -> None:
    assert work.FRAMES_PER_CLIP == ClipWindow.FRAMES_PER_CLIP
    assert work.VALIDATION_CLIPS == pairs.VALIDATION_CLIPS
    assert work.SPEED_FRAMES == (speed.ROUNDS + 1) * speed.FRAMES + speed.WARM_UP_FRAMES + speed.FRAMES + 1
    assert calibration.SEQUENCES == evaluation.SLOTS


def study_of(lacking: list[Pending], history: History, workers: int, other: OtherWork) -> StudyEstimate:
    return estimate_study(estimates(lacking, history, other.run_bytes), history, workers, other)


def test_nothing_known_nothing_said(store: Store) -> None:
    history = History("CPU (x)", store)
    assert estimate_run(item(), history, 5) is None
    study = study_of([item()], history, 2, OtherWork(run_bytes=5))
    assert study.unknown == (RUN.name,)
    assert study.disk_bytes == 5


def test_measured_steps_times_their_number(known: History) -> None:
    found = estimate_run(item(), known, 5)
    assert found is not None
    assert found.sources == ("measured",)
    assert found.training.expected == pytest.approx(SETUP.expected + 10 * 0.1)
    assert found.tracking.expected == pytest.approx(SETUP.expected + 32 * 0.02)
    assert found.wall_seconds.expected == pytest.approx(found.training.expected + found.tracking.expected)
    assert found.wall_seconds.high == pytest.approx(2 * SETUP.high + 1.2 * (10 * 0.1 + 32 * 0.02))
    assert found.device_seconds.expected == pytest.approx(0.5 * found.wall_seconds.expected)
    assert found.memory_bytes == Range.about(1000, 0.2), "what the process held before is not the training's"
    assert any("20 %" in note for note in found.notes)


def test_a_floor_is_measured_too(known: History) -> None:
    found = estimate_run(item(STATIC), known, 5)
    assert found is not None
    assert found.sources == ("measured",)
    assert found.tracking == Range.about(32 * 0.01, 0.2)


def test_the_same_run_finished_is_the_best_source(store: Store, known: History) -> None:
    again = RUN.model_copy(update={"seed": 1})
    train(store, again, wall=30.0)
    track(store, again, 0.5, FEWEST_FRAMES)
    found = estimate_run(item(), known, 5)
    assert found is not None
    assert found.sources == ("finished",)
    assert found.training.expected == pytest.approx(SETUP.expected + 30)
    assert found.tracking.expected == pytest.approx(SETUP.expected + 32 * 0.5)
    elsewhere = estimate_run(item(), History("CPU (y)", store), 5)
    assert elsewhere is None, "another device's runs say nothing"


def test_so_few_frames_that_the_first_one_counts_are_no_rate(store: Store, known: History) -> None:
    again = RUN.model_copy(update={"seed": 1})
    train(store, again, wall=30.0)
    track(store, again, 2.0, FEWEST_FRAMES - 1)
    found = estimate_run(item(), known, 5)
    assert found is not None
    assert found.tracking.expected == pytest.approx(SETUP.expected + 32 * 0.02), "as measured"


def test_a_floor_that_was_tracked_a_little_is_better_known_than_not_at_all(store: Store) -> None:
    track(store, NCC, 0.1, 40)
    found = estimate_run(item(NCC), History("CPU (x)", store), 5)
    assert found is not None
    assert found.tracking.high == pytest.approx(32 * 0.1)
    assert any("mostly its start" in note for note in found.notes)


def test_another_tracker_of_the_size_counts_by_its_macs(store: Store) -> None:
    train(store, OTHER, wall=30.0)
    track(store, OTHER, 0.5, FEWEST_FRAMES)
    uncounted = estimate_run(item(), History("CPU (x)", store), 5)
    assert uncounted is not None
    assert uncounted.training.expected == pytest.approx(SETUP.expected + 30)
    assert uncounted.training.high == pytest.approx(SETUP.high + 48)
    store.set_paper_scale(PLAIN, SIZE)
    found = estimate_run(item(), History("CPU (x)", store), 5)
    assert found is not None
    assert found.sources == ("scaled",)
    assert found.training.expected == pytest.approx(SETUP.expected + 15), "1000 of 2000 MACs"
    assert found.training.high == pytest.approx(SETUP.high + 21)
    assert found.tracking.expected == pytest.approx(SETUP.expected + 8)


def test_a_calibration_of_another_tracker_counts_by_its_macs(store: Store, known: History) -> None:
    store.set_paper_scale(ELIMINATING, SIZE.model_copy(update={"macs": 3000}))
    found = estimate_run(item(OTHER), known, 5)
    assert found is not None
    assert found.sources == ("scaled",)
    assert found.training.high == pytest.approx(SETUP.high + 1.4 * 3 * 10 * 0.1)


def test_the_nearest_of_several_trackers_is_scaled(store: Store, known: History) -> None:
    near = RUN.model_copy(update={"tracker": replace(PLAIN, adaptation=LoRA(init="lora"))})
    train(store, near, wall=30.0, macs=2800)
    store.set_paper_scale(ELIMINATING, SIZE.model_copy(update={"macs": 3000}))
    found = estimate_run(item(OTHER), known, 5)
    assert found is not None
    assert found.training.expected == pytest.approx(SETUP.expected + 30 * 3000 / 2800)


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
    assert all(entry.source for entry in published_peaks())
    size = SIZE.model_copy(update={"macs": 71e12 / 6})
    recipe = RECIPE.model_copy(update={"batch_size": 4, "validation_pairs": 60, "checkpoint_every": 10})
    step = peak.training(PLAIN, size, recipe)["step"].expected
    assert step == pytest.approx((4 + 6 / 3) / 0.30), "three passes of two FLOPs per MAC, and one for validation"


def test_a_study_adds_preparation_and_the_speed_of_all(known: History) -> None:
    lacking = [item(frames=3200), item(STATIC, frames=1600)]
    other = OtherWork(sizes=2, thumbnails=4, timed_again=3.0)
    study = study_of(lacking, known, 2, other)
    runs = [run.wall_seconds.expected for run in estimates(lacking, known, 5).values() if run]
    assert len(runs) == 2
    assert study.prepare_seconds.expected == pytest.approx(
        START.expected + 2 * COUNTING.expected + 4 * KEEPING.expected
    )
    assert study.speed_seconds.expected == pytest.approx(SETUP.expected + (0.02 + 0.01) * work.SPEED_FRAMES + 3.0), (
        "again for those that have it"
    )
    longest = max(runs[0], START.expected + runs[1])
    around = study.prepare_seconds.expected + study.speed_seconds.expected
    assert study.wall_seconds.expected == pytest.approx(around + longest), (
        "the second worker starts beside the first run"
    )
    alone = study_of(lacking, known, 1, other)
    assert alone.wall_seconds.expected == pytest.approx(around + sum(runs))


def test_nothing_missing_takes_nothing(store: Store) -> None:
    done = Pending(item().task, Missing(False, {}, ()))
    study = study_of([done], History("CPU (x)", store), 2, OtherWork(run_bytes=5))
    assert (study.wall_seconds.high, study.disk_bytes, study.unknown) == (0, 0, ())


def test_what_has_unknown_lengths_has_no_estimate(known: History) -> None:
    assert estimate_run(item(frames=0, generated=0), known, 5) is None


def test_frames_on_disk_are_decoded_and_generated_ones_drawn() -> None:
    left = tracking_work(item(frames=100, generated=32))
    assert left == {"setup": 1, "tracked": 100, "frame": 32, "image": 68}
    assert speed_work(item()) == {"setup": 1, "tracked": work.SPEED_FRAMES}
    assert speed_work(item(STATIC)) == {"setup": 0, "tracked": work.SPEED_FRAMES}, "a floor has no model to set up"


@pytest.mark.parametrize("damaged", ["result", "training", "calibration", "evaluation"])
def test_what_cannot_be_read_is_no_history(store: Store, caplog: pytest.LogCaptureFixture, damaged: str) -> None:
    """A study does not stop because of a file of another run; a warning names the file."""
    calibrate(store)
    train(store, OTHER, wall=30.0)
    track(store, OTHER, 0.01, FEWEST_FRAMES)
    other, measured = store.run(OTHER).path, Store(shelf(store, "CPU (x)")).run(RUN).path
    (evaluated,) = (other / "evaluations").glob("*")
    file = {
        "result": evaluated / "a.json",
        "training": other / "training.json",
        "calibration": measured / "training.json",
        "evaluation": evaluated / "evaluation.json",
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
    lacking = [item(floor, sequences=80, frames=4000, generated=4000) for floor in (STATIC, NCC)]
    found = [one for one in estimates(lacking, History("CPU (x)", store), 5).values() if one]
    assert [one.sources for one in found] == [("assumed",), ("assumed",)]
    static, ncc = (one.tracking for one in found)
    assert 6 < static.expected < 10 < ncc.expected < 14
    assert static.low < 8 < static.high
    assert all(one.online.expected < 1 for one in found), "measuring its speed builds no model"
