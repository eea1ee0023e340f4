"""Predicted against actual, and how far a running study is."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from planning_examples import OTHER, RUN, STATIC, calibrate, item
from trackablate.harness.planning.estimate import (
    OtherWork,
    RunEstimate,
    StudyEstimate,
    estimate_run,
    estimate_study,
    other_work,
)
from trackablate.harness.planning.forecasts import compared, forecasts
from trackablate.harness.planning.history import gather
from trackablate.harness.planning.work import SPEED_FRAMES
from trackablate.harness.profiles import load_profile
from trackablate.harness.progress.forecaster import DRAWING_SECONDS, ROW_SECONDS, Forecaster
from trackablate.harness.progress.pace import Line
from trackablate.harness.record import PhaseProgress, SequenceResult, Spent
from trackablate.harness.running.observer import Pending
from trackablate.harness.running.runner import Job
from trackablate.harness.spec import RunSpec
from trackablate.harness.speed import Speed
from trackablate.harness.store import Missing, Store
from trackablate.trackers.spec import FloorSpec

SPENT = Spent(device_seconds=6)


class Started:
    """A study of some items that was prepared, with a clock that only the test moves."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch, *items: Pending, workers: int = 1) -> None:
        self.clock, self.store, self.lines, self.shown_at = 1000.0, store, list[Line](), 1000.0
        monkeypatch.setattr("trackablate.harness.progress.forecaster.time.monotonic", lambda: self.clock)
        self.job = Job([one.task for one in items], [], {"synthetic-smoke": ["a"] * 4}, load_profile("smoke"))
        self.drawing = DRAWING_SECONDS + len(items) * ROW_SECONDS
        self.observer = Forecaster(self.job, store, self.show)
        self.observer.preparing("CPU (x)", workers, items)
        self.prepares = self.lines[0]
        self.order = list(self.observer.prepared("CPU (x)", workers, items))

    def show(self, lines: Sequence[Line]) -> None:
        self.lines, self.shown_at = list(lines), self.clock

    def says(self, phase: str, done: int, total: int, run: RunSpec = RUN, **more: float | str) -> None:
        said = PhaseProgress.model_validate({"phase": phase, "done": done, "total": total, **more})
        self.store.run(run).set_progress(said)
        self.observer.watch()

    @property
    def left(self) -> float | None:
        """What is left until the report is drawn."""
        return self.lines[0].left


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def known(store: Store) -> Store:
    """A store that can predict RUN."""
    calibrate(store)
    return store


def predicted(store: Store) -> tuple[RunEstimate, StudyEstimate]:
    history = gather(store, "CPU (x)")
    run = estimate_run(item(), history, 5)
    assert run is not None
    return run, estimate_study({RUN.name: run}, history, 1, OtherWork(thumbnails=4))


def test_what_was_predicted_and_what_came_of_it(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study, (run, whole) = Started(known, monkeypatch, item()), predicted(known)
    assert compared(forecasts(known), [RUN.name]).runs == [], "nothing has come to its end"
    study.observer.started(item())
    study.clock += 2 * run.wall_seconds.expected
    study.observer.finished(item(), SPENT)
    (found,) = compared(forecasts(known), [RUN.name]).runs
    assert found.wall.gap == pytest.approx(1.0), "twice as long"
    assert found.device.actual == 6
    assert compared(forecasts(known), [RUN.name]).wall is None, "the study has not"
    study.clock += 50
    study.observer.ended()
    said = study.observer.outcome()
    assert said == compared(forecasts(known), [RUN.name])
    assert said.wall is not None
    assert said.wall.predicted == whole.wall_seconds
    assert said.wall.actual == pytest.approx(2 * run.wall_seconds.expected + 50)
    assert said.device is not None
    assert said.device.predicted == found.device.predicted
    assert said.started == 1
    assert compared(forecasts(known), ["another"]).runs == []


def test_a_start_with_nothing_predicted_is_not_compared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not `0 s -> 45 s (+0 %)`: neither where lengths or rates are unknown, nor where only speed was left."""
    unknown = item(frames=0, generated=0)
    for one in (item(), unknown, Pending(item().task, Missing(False, {}, (None,)))):
        study = Started(store, monkeypatch, one)
        study.observer.started(one)
        study.clock += 45
        study.observer.finished(one, SPENT)
        study.observer.ended()
        assert study.observer.outcome().model_dump() == {"runs": [], "started": 0, "wall": None, "device": None}
    assert forecasts(store) == []


def test_an_assumed_prediction_is_not_compared(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A floor without history says nothing, neither alone nor beside a run that was predicted."""
    ncc = RunSpec(tracker=FloorSpec(kind="ncc"))
    for items, names, wall in (((item(ncc),), [], False), ((item(), item(ncc)), [RUN.name], True)):
        study = Started(known, monkeypatch, *items)
        for one in items:
            study.observer.started(one)
            study.clock += 5
            study.observer.finished(one, SPENT)
        study.observer.ended()
        outcome = study.observer.outcome()
        assert [run.run for run in outcome.runs] == names
        assert (outcome.wall is not None) == wall


def test_what_is_no_study_is_not_logged(known: Store) -> None:
    """`evaluate` and `train` do other work on a run than the study that shows its predictions."""
    job = Job([item().task], [], {"synthetic-smoke": ["a"] * 4}, load_profile("smoke"))
    Forecaster(job, known, lambda lines: None, logged=False).prepared("CPU (x)", 1, [item()])
    assert forecasts(known) == []


def test_a_failed_run_is_not_compared(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Started(known, monkeypatch, item())
    study.observer.started(item())
    study.observer.finished(item(), None)
    assert study.observer.outcome().runs == []
    assert study.lines[0].phase == "0 done, 1 failed"


def test_the_longest_task_starts_first(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Started(known, monkeypatch, item(STATIC), item(), workers=2)
    assert [one.task.run.name for one in study.order] == [RUN.name, STATIC.name]


def test_the_whole_counts_every_phase(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study, (run, whole) = Started(known, monkeypatch, item()), predicted(known)
    work, speed = run.wall_seconds.expected, whole.speed_seconds.expected
    assert (study.prepares.name, study.prepares.phase) == ("the run", "loading torch, preparing")
    assert study.prepares.left == pytest.approx(whole.prepare_seconds.expected + work + speed + study.drawing)
    assert study.left == pytest.approx(work + speed + study.drawing)
    study.observer.started(item())
    assert study.lines[1] == Line(RUN.slug, "starting", left=pytest.approx(work))
    study.says("train", 5, 10)
    left = work - run.training.expected / 2
    assert study.lines[1] == Line(RUN.slug, "training", 5, 10, pytest.approx(left))
    assert study.left == pytest.approx(left + speed + study.drawing)
    study.says("track synthetic-smoke", 14, 28)
    assert study.left == pytest.approx(run.tracking.expected / 2 + speed + study.drawing)
    study.observer.finished(item(), SPENT)
    assert (study.lines[0].phase, study.left) == ("1 done", pytest.approx(speed + study.drawing))
    study.observer.measuring(RUN)
    study.clock += 1
    study.observer.watch()
    assert (study.lines[0].phase, study.left) == ("measuring FPS", pytest.approx(speed - 1 + study.drawing))
    study.clock += 8
    study.says("speed", 1, 10)
    study.clock += 4
    study.says("speed", 5, 10)
    assert study.left == pytest.approx(5 + study.drawing), "as the rounds come, which loading does not count among"
    study.observer.ended()
    study.observer.drawing()
    assert (study.lines[0].phase, study.left) == ("drawing the page", study.drawing)
    study.clock += 3
    study.observer.drawn()
    assert study.lines == [Line("the run", "1 done", 16, 16, 0, share=True)], "100 %, and nothing left"
    assert [one.run for one in forecasts(known)[0].runs] == [RUN.name]


def test_a_line_has_the_name_of_the_row_and_of_the_phase(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Started(known, monkeypatch, item())
    study.observer.started(item())
    study.says("train", 1, 10, row="conv", loss=1.23456)
    assert (study.lines[1].name, study.lines[1].numbers) == ("conv", "loss 1.235")
    study.clock += 2
    study.says("train", 5, 10, row="conv", loss=1.2)
    assert study.lines[1].numbers == "loss 1.2, 2 steps/s"
    study.says("validate", 5, 10, row="conv")
    assert study.lines[1].phase == "validation"
    study.says("track synthetic-smoke", 0, 28, row="conv")
    assert (study.lines[1].name, study.lines[1].phase) == ("conv", "tracking synthetic-smoke")
    study.says("track synthetic-smoke", 3, 28, row="shuffled-template")
    assert (study.lines[1].name, study.lines[1].phase) == ("shuffled-template", "tracking synthetic-smoke")


def test_what_a_run_said_before_it_began_counts_nothing(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    known.run(RUN).set_progress(PhaseProgress(phase="train", done=9, total=10))
    study = Started(known, monkeypatch, item())
    before = study.left
    study.observer.started(item())
    study.observer.watch()
    assert study.left == before
    study.says("train", 1, 10)
    assert study.left is not None
    assert before is not None
    assert study.left < before


def test_the_time_left_follows_the_pace_seen(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study, (run, whole) = Started(known, monkeypatch, item()), predicted(known)
    study.observer.started(item())
    study.says("train", 1, 10)
    study.clock += 100.0
    study.says("train", 5, 10)
    pace = 100.0 / (run.training.expected * 4 / 10)
    expected = pace * (run.training.expected / 2 + run.tracking.expected)
    assert study.left == pytest.approx(expected + whole.speed_seconds.expected + study.drawing)


def test_the_recent_pace_counts_most(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's job beside the first steps does not spoil the rest."""
    study = Started(known, monkeypatch, item())
    study.observer.started(item())
    for done, passed in ((1, 10), (2, 100), (3, 100), *((step, 10) for step in range(4, 9))):
        study.clock += passed
        study.says("train", done, 10)
    assert study.lines[1].numbers.endswith(" steps/s")
    assert float(study.lines[1].numbers.split()[0]) > 1.3 * 7 / 250


def test_without_predictions_the_first_pace_tells(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network passes are counted; what comes before the first step is counted for each run that has not begun."""
    study = Started(store, monkeypatch, item(), item(OTHER), workers=1)
    assert study.left is None, "nobody knows yet"
    assert study.lines[0].total == 0
    study.observer.started(item())
    study.clock += 7
    study.says("train", 1, 10)
    assert study.left is None
    study.clock += 12
    study.says("train", 3, 10)
    second = 12 / (2 * 3 * 2)  # of a pass: two pairs a step, and three passes for each
    speed = second * SPEED_FRAMES * 2
    expected = second * (7 * 6 + 32) + 7 + second * (60 + 32) + speed + study.drawing
    assert study.left == pytest.approx(expected)


def story(slow: float) -> Iterator[tuple[float, PhaseProgress]]:
    """What a run of 500 steps reports, and the seconds before each report: it starts slowly, and validates."""
    for step in range(1, 501):
        seconds = slow * (0.3 if step < 100 else 0.2) + 4.0 * (step == 1) + 1.0 * (step % 50 == 1)
        yield seconds, PhaseProgress(phase="train", done=step, total=500)
    for row in ("conv", "shuffled-template"):
        for done in range(0, 2401, 16):
            yield (4.0 if done == 16 else 0.08), PhaseProgress(phase="track x", done=done, total=2400, row=row)


def test_the_time_left_is_within_30_percent_from_a_third_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four runs of unlike trackers on two workers, of which nothing is known before."""
    recipe = RUN.recipe.model_copy(update={"steps": 500, "batch_size": 32})
    runs = [run.model_copy(update={"recipe": recipe, "seed": seed}) for seed in (0, 1) for run in (RUN, OTHER)]
    study = Started(store, monkeypatch, *(item(run, frames=4880, sequences=80) for run in runs), workers=2)
    waiting, told, working = list(study.order), list[tuple[float, float]](), list[list[Any]]()
    while waiting or working:
        while waiting and len(working) < 2:
            one = waiting.pop(0)
            study.observer.started(one)
            reports = story(1.3 if one.task.run.tracker == OTHER.tracker else 1.0)
            seconds, progress = next(reports)
            working.append([study.clock + seconds, one, progress, reports])
        now = min(working, key=lambda each: each[0])
        study.clock, one, progress, reports = now
        store.run(one.task.run).set_progress(progress)
        study.observer.watch()
        told.append((study.clock, study.left or 0.0))
        if (following := next(reports, None)) is None:
            working.remove(now)
            study.observer.finished(one, SPENT)
        else:
            now[0], now[2] = study.clock + following[0], following[1]
    end = study.clock + SPEED_FRAMES * 4 * 0.006 + study.drawing
    first = next(t for t, left in told if left)
    assert first - 1000 < 10
    third = 1000 + (end - 1000) / 3
    wrong = [(t, left, end - t) for t, left in told if t >= third and abs(left - (end - t)) > 0.3 * (end - t)]
    assert not wrong


def whole_study(study: Started, *, slow: float) -> Iterator[float]:
    """Yield the seconds between two looks at a study of one run; each phase takes `slow` times the predicted time."""
    estimate, whole = predicted(study.store)
    yield from ticks(slow * whole.prepare_seconds.expected)
    study.observer.prepared("CPU (x)", 1, [item()])
    study.observer.started(item())
    for done in range(1, 11):
        yield from ticks(slow * estimate.training.expected / 10)
        study.says("train", done, 10)
    for row in ("conv", "shuffled-template"):
        for done in range(0, 17, 4):
            study.says("track synthetic-smoke", done, 16, row=row)
            yield from ticks(slow * estimate.tracking.expected / 10)
    study.observer.finished(item(), SPENT)
    study.observer.measuring(RUN)
    for done in range(1, 12):
        yield from ticks(slow * whole.speed_seconds.expected * (0.4 if done == 1 else 0.06))
        study.says("speed", done, 11)
    study.observer.ended()
    study.observer.drawing()
    yield from ticks(slow * study.drawing)
    study.observer.drawn()
    yield 0.0


def ticks(seconds: float) -> list[float]:
    """The looks of some seconds: eight a second."""
    return [0.125] * round(8 * seconds)


@pytest.mark.parametrize("slow", [0.5, 1.0, 1.2, 3.0])
def test_the_share_of_all_phases_never_falls(known: Store, monkeypatch: pytest.MonkeyPatch, slow: float) -> None:
    study, shown = Started(known, monkeypatch, item()), list[tuple[float, float, float]]()
    study.observer = Forecaster(study.job, known, study.show)
    study.observer.preparing("CPU (x)", 1, [item()])
    for passed in whole_study(study, slow=slow):
        study.clock += passed
        line = study.lines[0].later(study.clock - study.shown_at)
        assert line.left is not None
        shown.append((study.clock, line.done / line.total, line.left))
    shares = [share for _, share, _ in shown]
    falls = [(at, before, after) for (at, before, _), (_, after, _) in pairwise(shown) if after < before - 1e-9]
    assert not falls
    assert shares[-1] == 1
    assert max(shares[:-1]) < 1, "it is not at its end before"
    if slow in (1.0, 1.2):
        end = study.clock
        wrong = [
            (at, left)
            for at, _, left in shown
            if at - 1000 > (end - 1000) / 3 and abs(left - (end - at)) > 0.3 * (end - at) + 2.5
        ]
        assert not wrong


def test_the_time_left_ends_with_measuring_speed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without predictions, the speed is predicted by the pace of what was tracked meanwhile."""
    study = Started(store, monkeypatch, item())
    study.observer.started(item())
    study.says("track synthetic-smoke", 8, 28)
    study.clock += 2.0
    study.says("track synthetic-smoke", 28, 28)
    study.observer.finished(item(), SPENT)
    of_a_frame = 2.0 / 20 * 28 / 32  # the first frame of each of the four sequences is given
    assert study.left == pytest.approx(SPEED_FRAMES * of_a_frame + study.drawing)


def test_what_was_tracked_tells_how_long_speed_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without predictions: the pace of a training in batches says little of single frames. A still box takes no time."""
    evaluation, still = next(iter(item().missing.sequences)), item(STATIC)
    study = Started(store, monkeypatch, item(), item(OTHER), still)
    boxes = SequenceResult(name="a", boxes=[(0.0, 0.0, 1.0, 1.0)] * 10, seconds=0.2)
    for done in (item(), still, item(OTHER)):
        study.observer.started(done)
        study.clock += 2.0
        store.run(done.run).add_result(evaluation, boxes)
        study.observer.finished(done, SPENT)
    assert study.left == pytest.approx(2 * SPEED_FRAMES * 0.02 + study.drawing)


def test_a_slow_machine_draws_slowly_too(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study, (_, whole) = Started(known, monkeypatch, item()), predicted(known)
    for slow, times in ((0.5, 1.0), (2.0, 2.0), (9.0, 3.0)):
        study.observer = Forecaster(study.job, known, study.show)
        study.observer.preparing("CPU (x)", 1, [item()])
        study.clock += slow * whole.prepare_seconds.expected
        study.observer.prepared("CPU (x)", 1, [item()])
        study.observer.drawing()
        assert study.left == pytest.approx(times * study.drawing)


def test_a_start_without_runs_leaves_no_lines(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Started(store, monkeypatch)
    study.observer = Forecaster(Job([], [], {}, load_profile("smoke")), store, study.show)
    study.observer.drawing()
    assert study.lines == [Line("the study", "drawing the page", 0, share=True)], "it may stay as it is"
    study.observer.drawn()
    assert study.lines == []


def test_speeds_that_are_known_take_as_long_again(store: Store) -> None:
    fps = SPEED_FRAMES / 5.0
    speed = Speed(fps=fps, low=1, high=1, rounds=1, frames_per_round=1, device="x", threads=1, measured_with=[])
    store.run(RUN).set_speed(speed)
    job = Job([item().task, item(STATIC).task], [], {"synthetic-smoke": ["a"] * 4}, load_profile("smoke"))
    assert other_work(job, store).timed_again == pytest.approx(5.0)
