"""What each start of a study predicted, and what it took: the log, and the observer that keeps it. Imports no torch.

STORE/forecasts/TIME-PROCESS.json
"""

import math
import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pydantic import BaseModel, computed_field

from trackablate.datasets.atomic import write_text
from trackablate.harness.planning.estimate import RunEstimate, estimate_study, estimates, makespan, other_work
from trackablate.harness.planning.history import gather
from trackablate.harness.planning.ranges import Range, total
from trackablate.harness.planning.reading import readable
from trackablate.harness.planning.work import SPEED_FRAMES, seconds_of, speed_work
from trackablate.harness.provenance import command_line
from trackablate.harness.record import PhaseProgress, Spent
from trackablate.harness.running.observer import Line, Missing, passes
from trackablate.harness.running.runner import Job
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store, read_document

TRUSTED, OWN = 0.05, 0.1
"""Share of all work that must be done before its pace replaces the predicted one; and share of a run's training or tracking
before its own pace replaces that of all runs."""
RECENT = 30.0
"""Seconds over which a pace is averaged at least."""
PREPARING, RUNNING, SPEED, DRAWING, DONE = PHASES = (
    "imports, preparing",
    "running",
    "measuring FPS",
    "drawing the page",
    "done",
)
DRAWING_SECONDS, ROW_SECONDS = 4.0, 0.6
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


@dataclass
class _Part:
    """Training or tracking of one run.

    Attributes:
        work: Its predicted seconds. If any run has no prediction, the work of all is in frames (see `passes`).
        count: Number of its steps or frames; `done`: number of those that are done.
        seconds: Recent time, and the `steps` that it took. Older ones count less: the first steps of a process are slow, and
            what else the machine does changes.
        age: Time since the first one.
        seen: When `done` changed last.
    """

    work: float
    count: int
    done: int = 0
    seconds: float = 0.0
    steps: float = 0.0
    age: float = 0.0
    seen: float = 0.0

    def saw(self, done: int, now: float) -> None:
        """Take note of how many steps or frames are done."""
        passed, new = now - self.seen, done - self.done
        self.age += passed
        keep = math.exp(-passed / max(RECENT, self.age / 2))
        self.seconds, self.steps = keep * self.seconds + passed, keep * self.steps + new
        self.done, self.seen = done, now

    @property
    def finished(self) -> float:
        """The work that is done."""
        return self.work * min(1.0, self.done / max(1, self.count))

    def left(self, pace: float, now: float) -> float:
        """Return the seconds that are left at so many seconds per unit of work."""
        since = min(RECENT, now - self.seen) if self.done else 0.0
        return max(0.0, (self.work - self.finished) * pace - since)


def _pace(parts: Sequence[_Part], otherwise: float | None, trusted: float) -> float | None:
    """Return the recent seconds per unit of some work; `otherwise` if a smaller share of the work than `trusted` is done."""
    recent = sum(part.steps * part.work / max(1, part.count) for part in parts)
    known = otherwise is None or sum(p.finished for p in parts) >= trusted * sum(p.work for p in parts)
    return sum(part.seconds for part in parts) / recent if recent and known else otherwise


@dataclass
class _Task:
    """A task, and how far it is.

    Attributes:
        before: The progress that its run had reported before the task began.
        last: The progress that its run reported last.
        earlier: Number of frames in the evaluations that are done.
    """

    item: Missing
    training: _Part
    tracking: _Part
    before: PhaseProgress | None
    last: PhaseProgress | None = None
    earlier: int = 0
    started: float = 0.0
    ended: bool = False

    @property
    def work(self) -> float:
        """All its work."""
        return self.training.work + self.tracking.work

    def advance(self, said: PhaseProgress, now: float) -> None:
        """Count what the run says of itself."""
        if said.trains:
            self.training.saw(max(0, said.done - self.item.steps_done), now)
        else:
            if self.last is None or self.last.trains:
                self.training.done, self.tracking.seen = self.training.count, self.training.seen
            elif (said.phase, said.row) != (self.last.phase, self.last.row):
                self.earlier += self.last.total  # each evaluation counts from its own beginning
            self.tracking.count = max(self.tracking.count, self.earlier + said.total)
            self.tracking.saw(self.earlier + said.done, now)
        self.last = said

    def left(self, paces: Sequence[float | None], now: float) -> float | None:
        """Return the seconds that are left, by the paces of training and tracking; None if they are not known."""
        if self.ended:
            return 0.0
        found = [
            None if (own := _pace([part], pace, OWN)) is None else part.left(own, now)
            for part, pace in zip((self.training, self.tracking), paces, strict=True)
            if part.work
        ]
        return None if None in found else sum(filter(None, found))

    def line(self, left: float | None) -> Line:
        """Return what is shown of it."""
        if (said := self.last) is None:
            return Line(self.item.task.row, "starting", left=left)
        part, unit = (self.training, "steps") if said.trains else (self.tracking, "frames")
        numbers = [] if said.loss is None else [f"loss {said.loss:.4g}"]
        numbers += [f"{part.steps / part.seconds:.3g} {unit}/s"] if part.seconds and part.steps else []
        phase = {"train": "training", "validate": "validation"}.get(
            said.phase, said.phase.replace("track", "tracking", 1)
        )
        return Line(said.row or self.item.task.row, phase, said.done, said.total, left, ", ".join(numbers))


class Display(Protocol):
    """Shows lines: the whole study, then each running task."""

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines from now on."""


class Forecaster:
    """The observer of a study: predicts it, orders its tasks, shows how far it is, and keeps the forecast.

    The work of a study is `logged`, and a report is drawn after it.
    """

    def __init__(self, job: Job, store: Store, display: Display, *, logged: bool = True) -> None:
        self._job, self._store, self._display, self._logged, self._began = job, store, display, logged, time.monotonic()
        self._other, self._forecast = other_work(job, store), Forecast(command=command_line(), runs=[], wall=None)
        self._file = store.forecasts / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.json"
        self._tasks: dict[str, _Task] = {}
        self._running: list[_Task] = []
        self._failed, self._workers, self._in_seconds = 0, 1, False
        self._phase, self._since = PREPARING, self._began
        rows = len(job.tasks) if logged else 0
        self._seconds: dict[str, float | None] = {DRAWING: rows and DRAWING_SECONDS + rows * ROW_SECONDS}

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
        self._seconds[PREPARING] = study.prepare_seconds.expected
        self._seconds[SPEED] = study.speed_seconds.expected if self._in_seconds else None

    def _task(self, item: Missing, run: RunEstimate | None) -> _Task:
        known = run if self._in_seconds else None
        training, tracking = (known.training.expected, known.tracking.expected) if known else passes(item)
        recipe = item.task.run.recipe
        steps = recipe.steps - item.steps_done if recipe and item.training else 0
        before = self._store.run(item.task.run).progress()
        return _Task(item, _Part(training, steps), _Part(tracking, item.frames - item.sequences), before)

    def started(self, item: Missing) -> None:
        """Take note that a worker has begun a task."""
        task = self._tasks[item.task.run.name]
        task.started = task.training.seen = task.tracking.seen = time.monotonic()
        self._running.append(task)
        self._update()

    def watch(self) -> None:
        """Show how far the work is."""
        for task in self._running:
            said = self._store.run(task.item.task.run).progress()
            if said is not None and said not in (task.before, task.last):
                task.before = None
                task.advance(said, time.monotonic())
        if self._phase == SPEED:
            said = self._measured.progress()
            if said and said != self._said and said.done > 1:  # the first round comes after loading and warming up
                self._said, self._seconds[SPEED] = said, self._gone() * said.total / said.done
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
            write_text(self._file, self._forecast.model_dump_json())

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
        paces, gone = self._paces(), now - self._began
        left = self._left(paces, now)
        ended = sum(task.ended for task in runs) - self._failed
        words = f"{ended} done" + (f", {self._failed} failed" if self._failed else "")
        phase = words if self._phase in (RUNNING, DONE) else self._phase
        name = f"all {len(runs)} runs" if len(runs) > 1 else "the run" if runs else "no runs"
        whole = Line(name, phase, gone, 0 if left is None else gone + left, left, share=True)
        self._display.show([whole, *(task.line(task.left(paces, now)) for task in self._running)])

    def _paces(self) -> tuple[float | None, float | None]:
        """Return the seconds per unit of work of training and of tracking, None if nothing is known yet."""
        tasks = self._tasks.values()
        kinds = [task.training for task in tasks], [task.tracking for task in tasks]
        both = _pace([*kinds[0], *kinds[1]], 1.0 if self._in_seconds else None, TRUSTED)
        return _pace(kinds[0], both, TRUSTED), _pace(kinds[1], both, TRUSTED)

    def _left(self, paces: tuple[float | None, float | None], now: float) -> float | None:
        """Return the seconds until the report is drawn; None if nothing is known yet."""
        lefts = [task.left(paces, now) for task in self._tasks.values()]
        speed = self._seconds.get(SPEED)
        if speed is None and paces[1] is not None:
            speed = paces[1] * SPEED_FRAMES * sum(task.item.speed for task in self._tasks.values())
        seconds = self._seconds | {SPEED: speed, DONE: 0.0}
        seconds[RUNNING] = None if None in lefts else makespan(filter(None, lefts), self._workers)
        phases = PHASES[PHASES.index(self._phase) :]
        if self._phase != RUNNING and (first := seconds.get(self._phase)):
            seconds[self._phase] = max(0.0, first - self._gone())
        found = [seconds.get(phase) for phase in phases]
        return None if None in found else sum(filter(None, found))

    def _speed_by_now(self) -> float | None:
        """Return the seconds of measuring speed, by all that is known now; None if that is not enough."""
        history, found = gather(self._store, self._device), [self._other.timed_again]
        for item in (task.item for task in self._tasks.values() if task.item.speed):
            if not (times := history.tracking_times(item.task.run)):
                return None
            found.append(seconds_of(speed_work(item), times.seconds).expected)
        return sum(found)
