"""Predicted against actual, and the bar that counts predicted seconds."""

import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from planning_examples import MEASURED, OTHER, RUN, item
from trackablate.harness.planning.board import Board, weights_of
from trackablate.harness.planning.estimate import Around, StudyEstimate, estimate_study
from trackablate.harness.planning.forecast_log import Ledger, Outcome, compared, entries
from trackablate.harness.planning.history import Evidence
from trackablate.harness.record import Spent
from trackablate.harness.store import PhaseProgress, Store

SPENT = Spent(wall_seconds=9, device_seconds=6, peak_memory_bytes=5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def estimate(store: Store) -> StudyEstimate:
    return estimate_study([item()], Evidence("CPU (x)", store, MEASURED), 2, 5, Around())


def test_what_was_predicted_and_what_came_of_it(store: Store, estimate: StudyEstimate) -> None:
    ledger = Ledger(store, estimate, "run", time.monotonic() - 100)
    assert compared(entries(store), [RUN.name]).runs == [], "nothing has come to its end"
    ledger.book(RUN.name, Outcome(seconds=2 * estimate.runs[0].seconds.expected, spent=SPENT))
    (run,) = compared(entries(store), [RUN.name]).runs
    assert run.wall.gap == pytest.approx(1.0), "twice as long"
    assert run.device.actual == 6
    assert compared(entries(store), [RUN.name]).wall is None, "the study has not"
    ledger.close()
    whole = compared(entries(store), [RUN.name])
    assert whole.wall is not None
    assert whole.wall.actual == pytest.approx(100, abs=5)
    assert whole.device is not None
    assert whole.device.predicted == run.device.predicted
    assert compared(entries(store), ["another"]).runs == []


def test_the_bar_counts_predicted_seconds(store: Store, estimate: StudyEstimate) -> None:
    queue, bars = [item()], Bars(console=Console(quiet=True))
    board = Board(bars, queue, store, Ledger(store, estimate, "run", time.monotonic()), 1)
    run = estimate.runs[0]
    assert bars.tasks[0].total == pytest.approx(run.seconds.expected)
    assert board.left() == pytest.approx(run.seconds.expected + estimate.speed.expected)
    board.start(queue[0])
    store.run(RUN).set_progress(PhaseProgress(phase="train", done=5, total=10))
    board.show(queue[0])
    assert bars.tasks[0].completed == pytest.approx((run.start.expected + run.training.expected) / 2)
    store.run(RUN).set_progress(PhaseProgress(phase="track synthetic-smoke", done=2, total=4))
    board.show(queue[0])
    assert bars.tasks[0].completed == pytest.approx(run.seconds.expected - run.tracking.expected / 2)
    board.finish(queue[0], SPENT)
    assert bars.tasks[0].percentage == pytest.approx(100)
    assert set(entries(store)[0].outcomes) == {RUN.name}


def test_the_time_left_follows_the_pace_seen(
    store: Store, estimate: StudyEstimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, bars = [item()], Bars(console=Console(quiet=True))
    clock = [1000.0]
    monkeypatch.setattr("trackablate.harness.planning.board.time.monotonic", lambda: clock[0])
    board = Board(bars, queue, store, Ledger(store, estimate, "run", 0.0), 1)
    board.start(queue[0])
    clock[0] += 100.0
    store.run(RUN).set_progress(PhaseProgress(phase="train", done=5, total=10))
    board.show(queue[0])
    run = estimate.runs[0]
    done = (run.start.expected + run.training.expected) / 2
    expected = 100.0 / done * (run.seconds.expected - done) + estimate.speed.expected
    assert board.left() == pytest.approx(expected)


def test_without_predictions_network_passes_are_the_weights(store: Store) -> None:
    estimate = estimate_study([item(), item(OTHER)], Evidence("CPU (x)", store), 2, 5, Around())
    weights = weights_of([item(), item(OTHER)], estimate)
    assert weights[RUN.name].training == 3 * 20
    assert weights[RUN.name].tracking == 32
    bars = Bars(console=Console(quiet=True))
    board = Board(bars, [item(), item(OTHER)], store, Ledger(store, estimate, "run", time.monotonic()), 2)
    assert board.left() is None, "nobody knows yet"
