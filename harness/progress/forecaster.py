"""The observer of a study: predicts it, orders its tasks, shows how far it is, and keeps the forecast. Imports no torch."""

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from trackablate.harness.documents import write_document
from trackablate.harness.planning.estimate import RunEstimate, estimate_study, estimates, makespan, other_work
from trackablate.harness.planning.forecasts import Compared, Forecast, RunCompared, StudyCompared, compared
from trackablate.harness.planning.history import Known, gather
from trackablate.harness.planning.work import SPEED_FRAMES
from trackablate.harness.progress.pace import Line, Rate, RunningTask, Stage, mean_setup, pace, remaining
from trackablate.harness.provenance import command_line
from trackablate.harness.record import PhaseProgress, Spent
from trackablate.harness.running.observer import Observer, Pending, passes
from trackablate.harness.running.runner import Job
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import RunFolder, Store

PREPARING, RUNNING, SPEED, DRAWING, DONE = PHASES = (
    "loading torch, preparing",
    "running",
    "measuring FPS",
    "drawing the page",
    "done",
)
DRAWING_SECONDS, ROW_SECONDS = 4.0, 0.5
"""Assumed seconds of drawing a report, and of each run in it."""
SLOWEST = 3.0
"""The most times as long as assumed that drawing is expected to take, if preparing took so much longer."""


Show = Callable[[Sequence[Line]], None]
"""Shows lines from now on: the whole study, then each running task."""


class Forecaster(Observer):
    """The observer of a job. The work of a study is `logged`, and a report is drawn after it.

    If any run has no prediction, the work of all is counted in frames (`passes`), and their pace tells the time.
    """

    def __init__(self, job: Job, store: Store, show: Show, *, logged: bool = True) -> None:
        self._job, self._store, self._show, self._logged = job, store, show, logged
        self._other, self._forecast = other_work(job, store), Forecast(command=command_line(), runs=[], wall=None)
        self._file = store.forecasts / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.json"
        self._tasks: dict[str, RunningTask] = {}
        self._running: list[RunningTask] = []
        self._measured: RunFolder | None = None
        self._said: PhaseProgress | None = None
        self._rounds = Stage(0.0, 0)  # loading and warming up come before the first one
        self._failed, self._workers, self._predicted, self._slow = 0, 1, False, 1.0
        self._phase, self._began = PREPARING, time.monotonic()
        self._since = self._shown = self._began
        self._whole = Line("", "", share=True)
        self._seconds: dict[str, float | None] = {DONE: 0.0}
        self._frames: dict[str, float] = {}  # seconds of a frame, by the run that has been tracked

    def preparing(self, device: str, workers: int, pending: Sequence[Pending]) -> None:
        """Predict the study by what is known of the expected device."""
        self._predict(device, workers, pending)
        self._enter(PREPARING)

    def prepared(self, device: str, workers: int, pending: Sequence[Pending]) -> Sequence[Pending]:
        """Predict the study. Returns its tasks, the longest first, so that no worker ends alone with a long one."""
        if expected := self._seconds.get(PREPARING):
            self._slow = min(SLOWEST, max(1.0, self._gone() / expected))
        self._predict(device, workers, pending)
        self._keep()
        self._enter(RUNNING)
        return sorted(pending, key=lambda item: -self._tasks[item.run.name].work)

    def _predict(self, device: str, workers: int, pending: Sequence[Pending]) -> None:
        history = gather(self._store, device)
        found = estimates(pending, history, self._other.run_bytes)
        study = estimate_study(found, history, workers, self._other)
        self._workers, self._predicted = workers, not study.unknown
        self._tasks = {item.run.name: self._task(item, found[item.run.name]) for item in pending}
        self._forecast.runs = [
            RunCompared(
                run=name,
                wall=Compared(predicted=run.wall_seconds),
                device=Compared(predicted=run.device_seconds),
                assumed="assumed" in run.sources,
            )
            for name, run in found.items()
            if run and run.wall_seconds.expected
        ]
        says_something = self._predicted and not all(run.assumed for run in self._forecast.runs)
        self._forecast.wall = Compared(predicted=study.wall_seconds) if says_something else None
        self._seconds[PREPARING] = study.prepare_seconds.expected
        self._seconds[SPEED] = study.speed_seconds.expected if self._predicted else None
        drawing = self._slow * (DRAWING_SECONDS + len(self._job.tasks) * ROW_SECONDS)
        self._seconds[DRAWING] = drawing if self._logged else 0.0

    def _task(self, item: Pending, run: RunEstimate | None) -> RunningTask:
        known = run if self._predicted else None
        training, tracking = (known.training.expected, known.tracking.expected) if known else passes(item)
        before = self._store.run(item.run).progress()
        frames = item.frames - item.missing.untracked
        return RunningTask(item, Stage(training, item.steps), Stage(tracking, frames), before)

    def started(self, item: Pending) -> None:
        """Take note that a worker has begun a task."""
        task = self._tasks[item.run.name]
        task.start(time.monotonic())
        self._running.append(task)
        self._update()

    def watch(self) -> None:
        """Show how far the work is."""
        for task in self._running:
            task.advance(self._store.run(task.item.run).progress(), time.monotonic())
        if self._measured:
            said = self._measured.progress()
            if said and said != self._said:
                self._said = said
                self._rounds.saw(said.done, time.monotonic())
                if rounds := self._rounds.steps:
                    rest = (said.total - said.done) * self._rounds.seconds / rounds
                    self._seconds[SPEED] = self._gone() + rest
        self._update()

    def finished(self, item: Pending, spent: Spent | None) -> None:
        """Book what a task took; spent: None if it failed."""
        task = self._tasks[item.run.name]
        self._running.remove(task)
        task.ended = True
        frames, seconds = Known(self._store.run(item.run), None, measured=False).tracked
        if frames and item.missing.speed:
            self._frames[item.run.name] = seconds / frames
        if spent:
            for run in (run for run in self._forecast.runs if run.run == item.run.name):
                run.wall.actual, run.device.actual = time.monotonic() - task.started, spent.device_seconds
            self._keep()
        self._failed += spent is None
        self._update()

    def measuring(self, run: RunSpec) -> None:
        """Take note that speeds are measured now."""
        self._measured = self._store.run(run)
        self._said = self._measured.progress()
        self._enter(SPEED)
        self._rounds.seen = self._since

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
        runs = [task for task in self._tasks.values() if task.item.missing.scores]
        if self._phase == DONE and not runs:
            self._show([])
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
        self._show([self._whole, *(task.line(task.left(*rates, now)) for task in self._running)])

    def _rates(self) -> tuple[Rate, Rate]:
        """Return how long training and tracking take by now."""
        tasks = self._tasks.values()
        training, tracking = [task.training for task in tasks], [task.tracking for task in tasks]
        both = pace([*training, *tracking], 1.0 if self._predicted else None)
        setups = (
            (0.0, 0.0) if self._predicted else (mean_setup(training), mean_setup(tracking))
        )  # predicted ones have it
        return Rate(pace(training, both), setups[0]), Rate(pace(tracking, both), setups[1])

    def _speed_seconds(self, pace: float | None) -> float | None:
        """Return the seconds of measuring FPS, by runs that are tracked, else by the pace of a frame; None if unknown."""
        wanted = [t.item.run.name for t in self._tasks.values() if t.item.missing.speed and t.tracking.work]
        known = [self._frames[name] for name in wanted if name in self._frames]
        of_frame = max(known, default=pace)
        if of_frame is None:
            return None
        return SPEED_FRAMES * (sum(known) + of_frame * (len(wanted) - len(known))) + self._other.timed_again

    def _left(self, rates: tuple[Rate, Rate], now: float) -> float | None:
        """Return the seconds until the report is drawn; None if nothing is known yet."""
        lefts = [task.left(*rates, now) for task in self._tasks.values()]
        seconds = dict(self._seconds)
        if seconds.get(SPEED) is None:
            seconds[SPEED] = self._speed_seconds(rates[1].pace)
        seconds[RUNNING] = None if None in lefts else makespan(filter(None, lefts), self._workers)
        if self._phase != RUNNING and (first := seconds.get(self._phase)):
            seconds[self._phase] = remaining(first, self._gone())
        found = [seconds.get(phase) for phase in PHASES[PHASES.index(self._phase) :]]
        return None if None in found else sum(filter(None, found))
