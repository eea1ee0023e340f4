"""Predicted against actual, and the bar that counts predicted seconds."""

import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from planning_examples import OTHER, RUN, STATIC, calibrate, item, track
from trackablate.harness.cli.terminal import progress_bars
from trackablate.harness.planning.estimate import (
    OtherWork,
    RunEstimate,
    StudyEstimate,
    estimate_run,
    estimate_study,
    other_work,
)
from trackablate.harness.planning.forecast import Forecaster, compared, forecasts
from trackablate.harness.planning.history import FEWEST_FRAMES, SETUP, gather
from trackablate.harness.planning.work import SPEED_FRAMES
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import PhaseProgress, Speed, Spent
from trackablate.harness.running.observer import Missing
from trackablate.harness.running.runner import Job
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store
from trackablate.trackers.spec import FloorSpec

SPENT = Spent(device_seconds=6)


class Started:
    """A study of some items that was prepared, with a clock that only the test moves."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch, *items: Missing, workers: int = 1) -> None:
        self.clock, self.store, self.bars = 1000.0, store, Progress(console=Console(quiet=True))
        monkeypatch.setattr("trackablate.harness.planning.forecast.time.monotonic", lambda: self.clock)
        job = Job([one.task for one in items], [], {"synthetic-smoke": ["a"] * 4}, load_profile("smoke"))
        self.observer = Forecaster(job, store, self.bars)
        self.order = list(self.observer.prepared("CPU (x)", workers, items))
        self.bars.stop()

    def says(self, phase: str, done: int, total: int) -> None:
        self.store.run(RUN).set_progress(PhaseProgress(phase=phase, done=done, total=total))
        self.observer.watch()

    @property
    def done(self) -> float:
        return self.bars.tasks[0].completed

    @property
    def left(self) -> float | None:
        left: float | None = self.bars.tasks[0].fields["left"]
        return left


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
    for one in (item(), unknown, Missing(task=item().task, training=False, sequences=0, speed=True)):
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
    bars = Progress(console=Console(quiet=True))
    Forecaster(job, known, bars, logged=False).prepared("CPU (x)", 1, [item()])
    bars.stop()
    assert forecasts(known) == []


def test_a_failed_run_is_not_compared(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Started(known, monkeypatch, item())
    study.observer.started(item())
    study.observer.finished(item(), None)
    assert study.observer.outcome().runs == []
    assert study.bars.tasks[0].percentage == pytest.approx(100)


def test_the_longest_task_starts_first(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Started(known, monkeypatch, item(STATIC), item(), workers=2)
    assert [one.task.run.name for one in study.order] == [RUN.name, STATIC.name]


def test_the_bar_counts_predicted_seconds(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study, (run, whole) = Started(known, monkeypatch, item()), predicted(known)
    assert study.bars.tasks[0].total == pytest.approx(run.wall_seconds.expected)
    assert study.left == pytest.approx(run.wall_seconds.expected + whole.speed_seconds.expected)
    study.observer.started(item())
    study.says("train", 5, 10)
    assert study.done == pytest.approx(run.training.expected / 2)
    study.says("track synthetic-smoke", 2, 4)
    assert study.done == pytest.approx(run.wall_seconds.expected - run.tracking.expected / 2)
    study.observer.finished(item(), SPENT)
    assert study.bars.tasks[0].percentage == pytest.approx(100)
    assert [one.run for one in forecasts(known)[0].runs] == [RUN.name]


def test_what_a_run_said_before_it_began_counts_nothing(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    known.run(RUN).set_progress(PhaseProgress(phase="train", done=9, total=10))
    study = Started(known, monkeypatch, item())
    study.observer.started(item())
    study.observer.watch()
    assert study.done == 0
    study.says("train", 1, 10)
    assert study.done > 0


def test_the_time_left_follows_the_pace_seen(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study, (run, whole) = Started(known, monkeypatch, item()), predicted(known)
    study.observer.started(item())
    study.clock += 100.0
    study.says("train", 5, 10)
    done = run.training.expected / 2
    expected = 100.0 / done * (run.wall_seconds.expected - done) + whole.speed_seconds.expected
    assert study.left == pytest.approx(expected)


def test_without_predictions_network_passes_are_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Started(store, monkeypatch, item(), item(OTHER), workers=2)
    assert study.bars.tasks[0].total == pytest.approx(2 * (3 * 20 + 32))
    assert study.left is None, "nobody knows yet"


def test_the_time_left_ends_with_measuring_speed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without predictions, the speed is predicted by what was tracked meanwhile. After the end nothing is left."""
    study = Started(store, monkeypatch, item())
    study.observer.started(item())
    study.clock += 100.0
    track(store, RUN, 0.1, FEWEST_FRAMES)
    study.observer.finished(item(), SPENT)
    assert study.left == pytest.approx(SETUP.expected + SPEED_FRAMES * 0.1)
    assert study.bars.tasks[0].fields["at"] == study.clock
    study.observer.ended()
    assert study.left == 0


def test_speeds_that_are_known_take_as_long_again(store: Store) -> None:
    fps = SPEED_FRAMES / 5.0
    speed = Speed(fps=fps, low=1, high=1, rounds=1, frames_per_round=1, device="x", threads=1, measured_with=[])
    store.run(RUN).set_speed(speed)
    job = Job([item().task, item(STATIC).task], [], {"synthetic-smoke": ["a"] * 4}, load_profile("smoke"))
    assert other_work(job, store).timed_again == pytest.approx(5.0)


def test_the_bar_counts_down_between_two_looks() -> None:
    """Nobody looks while speed is measured."""
    bars = progress_bars()
    for left, passed, text in ((70.4, 10.0, "0:01:00"), (5.0, 60.0, "0:00:00")):
        task = bars.add_task("all 2 runs", total=1, share=True, left=left, at=time.monotonic() - passed)
        (column,) = (column for column in bars.columns if isinstance(column, TimeRemainingColumn))
        assert column.render(bars.tasks[task]).plain == text
