"""What each start of a study predicted, and what it took: the log, and the observer that keeps it. Imports no torch.

STORE/forecasts/TIME-PROCESS.json
"""

import os
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from pydantic import BaseModel, computed_field

from trackablate.harness.documents import read_document, readable, write_document
from trackablate.harness.planning.estimate import RunEstimate, estimate_study, estimates, makespan, other_work
from trackablate.harness.planning.history import gather
from trackablate.harness.planning.pace import Part, Rate, RunningTask, mean_setup, pace
from trackablate.harness.planning.ranges import Range, total
from trackablate.harness.planning.work import SPEED_FRAMES, seconds_of, speed_work
from trackablate.harness.provenance import command_line
from trackablate.harness.record import PhaseProgress, Spent
from trackablate.harness.running.observer import Line, Missing, Observer, passes, remaining
from trackablate.harness.running.runner import Job
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import RunFolder, Store

PREPARING, RUNNING, SPEED, DRAWING, DONE = PHASES = (
    "imports, preparing",
    "running",
    "measuring FPS",
    "drawing the page",
    "done",
)
DRAWING_SECONDS, ROW_SECONDS = 8.0, 0.6
"""Assumed seconds of drawing a report, and of each run in it."""


class Compared(BaseModel):
    """Seconds as they were predicted, and as they came out; actual: None until then."""

    predicted: Range
    actual: float | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gap(self) -> float | None:
        """Actual over predicted, less 1."""
        return None if self.actual is None else self.actual / self.predicted.expected - 1


class RunCompared(BaseModel):
    """Wall and device seconds of one run; assumed: nothing was known of it, so that comparing them says nothing."""

    run: str
    wall: Compared
    device: Compared
    assumed: bool = False


class Forecast(BaseModel):
    """One start of a study, with the runs that had work.

    Attributes:
        wall: The time of the whole start; None if a run had no prediction, or if all predictions were assumed.
    """

    command: str
    runs: list[RunCompared]
    wall: Compared | None


class StudyCompared(BaseModel):
    """What was predicted, beside what it took.

    Attributes:
        runs: The last finished task of each run.
        started: Number of runs in the last start that finished.
        wall: Wall seconds of that start.
        device: Device seconds of its runs, without measuring speed.
    """

    runs: list[RunCompared] = []
    started: int = 0
    wall: Compared | None = None
    device: Compared | None = None


def forecasts(store: Store) -> list[Forecast]:
    """Return all forecasts in a store that can be read, the oldest first."""
    files = sorted(store.forecasts.glob("*.json"))
    return [forecast for file in files if (forecast := readable(read_document, file, Forecast))]


def compared(found: Iterable[Forecast], names: Collection[str]) -> StudyCompared:
    """Return what came of the predictions of some runs, given by name, in forecasts, the oldest first.

    A run counts if its task succeeded and its prediction was not assumed. A start counts as a whole if it finished and did
    no other runs.
    """
    runs, last = dict[str, RunCompared](), StudyCompared()
    for forecast in found:
        done = [run for run in forecast.runs if run.wall.actual is not None]
        runs |= {run.run: run for run in done if run.run in names and not run.assumed}
        if forecast.wall and forecast.wall.actual and {run.run for run in forecast.runs} <= set(names):
            predicted = total(run.device.predicted for run in done)
            device = Compared(predicted=predicted, actual=sum(run.device.actual or 0.0 for run in done))
            last = StudyCompared(started=len(done), wall=forecast.wall, device=device)
    return last.model_copy(update={"runs": list(runs.values())})


class Display(Protocol):
    """Shows lines: the whole study, then each running task."""

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines from now on."""


class Forecaster(Observer):
    """The observer of a study: predicts it, orders its tasks, shows how far it is, and keeps the forecast.

    The work of a study is `logged`, and a report is drawn after it.
    """

    def __init__(self, job: Job, store: Store, display: Display, *, logged: bool = True) -> None:
        self._job, self._store, self._display, self._logged, self._began = job, store, display, logged, time.monotonic()
        self._other, self._forecast = other_work(job, store), Forecast(command=command_line(), runs=[], wall=None)
        self._file = store.forecasts / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.json"
        self._tasks: dict[str, RunningTask] = {}
        self._running: list[RunningTask] = []
        self._measured: RunFolder | None = None
        self._said: PhaseProgress | None = None
        self._rounds: tuple[int, float] | None = None
        self._whole, self._shown = Line("", "", share=True), self._began
        self._failed, self._workers, self._in_seconds = 0, 1, False
        self._phase, self._since = PREPARING, self._began
        self._seconds: dict[str, float | None] = {DONE: 0.0}

    def preparing(self, device: str, workers: int, lacking: Sequence[Missing]) -> None:
        """Predict the study by what is known of the expected device."""
        self._predict(device, workers, lacking)
        self._enter(PREPARING)

    def prepared(self, device: str, workers: int, lacking: Sequence[Missing]) -> Sequence[Missing]:
        """Predict the study. Returns its tasks, the longest first, so that no worker ends alone with a long one."""
        self._predict(device, workers, lacking)
        self._keep()
        self._enter(RUNNING)
        return sorted(lacking, key=lambda item: -self._tasks[item.task.run.name].work)

    def _predict(self, device: str, workers: int, lacking: Sequence[Missing]) -> None:
        history, items = gather(self._store, device), {item.task.run.name: item for item in lacking}
        found = estimates(lacking, history, self._other.run_bytes)
        study = estimate_study(found, history, workers, self._other)
        self._device, self._workers, self._in_seconds = device, workers, not study.unknown
        self._forecast.runs, self._forecast.wall = [], None
        for name, run in found.items():
            self._tasks[name] = self._task(items[name], run)
            if run and run.wall_seconds.expected:
                wall, busy = Compared(predicted=run.wall_seconds), Compared(predicted=run.device_seconds)
                assumed = "assumed" in run.sources
                self._forecast.runs.append(RunCompared(run=name, wall=wall, device=busy, assumed=assumed))
        if self._in_seconds and not all(run.assumed for run in self._forecast.runs):
            self._forecast.wall = Compared(predicted=study.wall_seconds)
        rows = len(self._job.tasks)
        self._seconds[DRAWING] = DRAWING_SECONDS + rows * ROW_SECONDS if self._logged else 0.0
        self._seconds[PREPARING] = study.prepare_seconds.expected
        self._seconds[SPEED] = study.speed_seconds.expected if self._in_seconds else None

    def _task(self, item: Missing, run: RunEstimate | None) -> RunningTask:
        known = run if self._in_seconds else None
        training, tracking = (known.training.expected, known.tracking.expected) if known else passes(item)
        recipe = item.task.run.recipe
        steps = recipe.steps - item.steps_done if recipe and item.training else 0
        before = self._store.run(item.task.run).progress()
        return RunningTask(item, Part(training, steps), Part(tracking, item.frames - item.sequences), before)

    def started(self, item: Missing) -> None:
        """Take note that a worker has begun a task."""
        task = self._tasks[item.task.run.name]
        task.start(time.monotonic())
        self._running.append(task)
        self._update()

    def watch(self) -> None:
        """Show how far the work is."""
        for task in self._running:
            task.advance(self._store.run(task.item.task.run).progress(), time.monotonic())
        if self._measured:
            said = self._measured.progress()
            if said and said != self._said:
                self._said, self._seconds[SPEED] = said, self._speed_by_rounds(said)
        self._update()

    def finished(self, item: Missing, spent: Spent | None) -> None:
        """Book what a task took; spent: None if it failed."""
        task = self._tasks[item.task.run.name]
        self._running.remove(task)
        task.ended = True
        if spent:
            for run in (run for run in self._forecast.runs if run.run == item.task.run.name):
                run.wall.actual, run.device.actual = time.monotonic() - task.started, spent.device_seconds
            self._keep()
            self._seconds[SPEED] = self._seconds[SPEED] if self._in_seconds else self._speed_by_now()
        self._failed += spent is None
        self._update()

    def measuring(self, run: RunSpec) -> None:
        """Take note that speeds are measured now."""
        self._measured = self._store.run(run)
        self._said = self._measured.progress()
        self._enter(SPEED)

    def ended(self) -> None:
        """Book the time of the whole study, which has ended without a failure."""
        if self._forecast.wall:
            self._forecast.wall.actual = time.monotonic() - self._began
            self._keep()

    def drawing(self) -> None:
        """Take note that the report is made now."""
        self._enter(DRAWING)

    def drawn(self) -> None:
        """Take note that everything is done."""
        self._enter(DONE)

    def outcome(self) -> StudyCompared:
        """Return what came of the predictions of this start."""
        return compared([self._forecast], [task.run.name for task in self._job.tasks])

    def _keep(self) -> None:
        if self._forecast.runs and self._logged:
            write_document(self._file, self._forecast)

    def _gone(self) -> float:
        return time.monotonic() - self._since

    def _enter(self, phase: str) -> None:
        self._phase, self._since = phase, time.monotonic()
        self._update()

    def _update(self) -> None:
        runs = [task for task in self._tasks.values() if task.item.training or task.item.sequences]
        if self._phase == DONE and not runs:
            self._display.show([])
            return
        now = time.monotonic()
        rates, gone = self._rates(), now - self._began
        left = self._left(rates, now)
        ended = sum(task.ended for task in runs) - self._failed
        words = f"{ended} done" + (f", {self._failed} failed" if self._failed else "")
        phase = words if self._phase in (RUNNING, DONE) else self._phase
        name = f"all {len(runs)} runs" if len(runs) > 1 else "the run" if runs else "the study"
        before = self._whole.later(now - self._shown)
        share = before.done / before.total if before.total else 0.0  # what takes longer than it seemed slows it down
        total = gone + left if left is not None else gone / share if share else 0.0
        self._whole, self._shown = Line(name, phase, max(gone, share * total), total, left, share=True), now
        self._display.show([self._whole, *(task.line(task.left(*rates, now)) for task in self._running)])

    def _rates(self) -> tuple[Rate, Rate]:
        """Return how long training and tracking take by now."""
        tasks = self._tasks.values()
        training, tracking = [task.training for task in tasks], [task.tracking for task in tasks]
        both = pace([*training, *tracking], 1.0 if self._in_seconds else None)
        if self._in_seconds:  # predictions contain the setup
            return Rate(pace(training, both), 0.0), Rate(pace(tracking, both), 0.0)
        return Rate(pace(training, both), mean_setup(training)), Rate(pace(tracking, both), mean_setup(tracking))

    def _left(self, rates: tuple[Rate, Rate], now: float) -> float | None:
        """Return the seconds until the report is drawn; None if nothing is known yet."""
        lefts = [task.left(*rates, now) for task in self._tasks.values()]
        speed = self._seconds.get(SPEED)
        if speed is None and rates[1].pace is not None:
            speed = rates[1].pace * SPEED_FRAMES * sum(task.item.speed for task in self._tasks.values())
        seconds = self._seconds | {SPEED: speed}
        seconds[RUNNING] = None if None in lefts else makespan(filter(None, lefts), self._workers)
        phases = PHASES[PHASES.index(self._phase) :]
        if self._phase != RUNNING and (first := seconds.get(self._phase)):
            seconds[self._phase] = remaining(first, self._gone())
        found = [seconds.get(phase) for phase in phases]
        return None if None in found else sum(filter(None, found))

    def _speed_by_rounds(self, said: PhaseProgress) -> float | None:
        """Return the seconds of measuring speed by the rounds so far. Loading and warming up come before the first."""
        first, began = self._rounds = self._rounds or (said.done, self._gone())
        if said.done == first:
            return self._seconds[SPEED]
        return self._gone() + (said.total - said.done) * (self._gone() - began) / (said.done - first)

    def _speed_by_now(self) -> float | None:
        """Return the seconds of measuring speed, by all that is known now; None if that is not enough."""
        history, found = gather(self._store, self._device), [self._other.timed_again]
        for item in (task.item for task in self._tasks.values() if task.item.speed):
            if not (times := history.tracking_times(item.task.run)):
                return None
            found.append(seconds_of(speed_work(item), times.seconds).expected)
        return sum(found)
