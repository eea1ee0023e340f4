"""What each start of a study predicted, and what it took: the log, and the observer that keeps it. Imports no torch.

STORE/forecasts/TIME-PROCESS.json
"""

import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, computed_field
from rich.progress import Progress, TaskID

from trackablate.datasets.atomic import write_text
from trackablate.harness.planning.estimate import estimate_study, estimates, makespan, other_work
from trackablate.harness.planning.history import gather
from trackablate.harness.planning.ranges import Range, total
from trackablate.harness.planning.reading import readable
from trackablate.harness.planning.work import seconds_of, speed_work
from trackablate.harness.provenance import command_line
from trackablate.harness.record import PhaseProgress, Spent
from trackablate.harness.running.observer import Missing, passes
from trackablate.harness.running.runner import Job
from trackablate.harness.store import Store, read_document

TRUSTED = 0.05
"""Share of all work that must be done before the pace seen so far replaces the predicted one."""


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
class _Task:
    """A task, and how far it is.

    Attributes:
        training, tracking: Its work in predicted seconds. If any run has no prediction, the work of all is in frames (see
            `passes`).
        before: The progress that its run had reported before the task began.
        last: The progress that its run reported last.
        earlier: Number of sequences in the evaluations that are done.
    """

    item: Missing
    training: float
    tracking: float
    before: PhaseProgress | None
    last: PhaseProgress | None = None
    earlier: int = 0
    done: float = 0.0
    started: float = 0.0
    seconds: float = 0.0
    bar: TaskID | None = None

    def advance(self, now: PhaseProgress) -> None:
        """Count what the run says of itself."""
        if now.phase == "train":
            share = max(0, now.done - self.item.steps_done) / max(1, now.total - self.item.steps_done)
            done = self.training * share
        else:
            if self.last and self.last.phase != "train" and now.done < self.last.done:
                self.earlier += self.last.done  # the next evaluation counts from its own beginning
            done = self.training + self.tracking * min(1.0, (self.earlier + now.done) / max(1, self.item.sequences))
        self.last, self.done = now, max(self.done, done)


class Forecaster:
    """The observer of a study: predicts it, orders its tasks, draws its bars, and keeps the forecast.

    The bars are started if there is a run to do. Whoever made them stops them. The work of a study is `logged`.
    """

    def __init__(self, job: Job, store: Store, bars: Progress, *, logged: bool = True) -> None:
        self._job, self._store, self._bars, self._logged, self._began = job, store, bars, logged, time.monotonic()
        self._other, self._forecast = other_work(job, store), Forecast(command=command_line(), runs=[], wall=None)
        self._file = store.forecasts / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.json"
        self._tasks: dict[str, _Task] = {}
        self._running: list[_Task] = []

    def prepared(self, device: str, workers: int, lacking: Sequence[Missing]) -> Sequence[Missing]:
        """Predict the study. Returns its tasks, the longest first, so that no worker ends alone with a long one."""
        history, items = gather(self._store, device), {item.task.run.name: item for item in lacking}
        found = estimates(lacking, history, self._other.run_bytes)
        study = estimate_study(found, history, workers, self._other)
        self._device, self._workers, self._in_seconds = device, workers, not study.unknown
        self._speed = study.speed_seconds.expected
        for name, run in found.items():
            training, tracking = (
                (run.training.expected, run.tracking.expected) if run and self._in_seconds else passes(items[name])
            )
            before = self._store.run(items[name].task.run).progress()
            self._tasks[name] = _Task(items[name], training, tracking, before)
            if run and run.wall_seconds.expected:
                wall, busy = Compared(predicted=run.wall_seconds), Compared(predicted=run.device_seconds)
                assumed = "assumed" in run.sources
                self._forecast.runs.append(RunCompared(run=name, wall=wall, device=busy, assumed=assumed))
        if self._in_seconds and not all(run.assumed for run in self._forecast.runs):
            self._forecast.wall = Compared(predicted=study.wall_seconds)
        self._keep()
        runs, work = sum(item.training or item.sequences > 0 for item in lacking), sum(map(_work, self._tasks.values()))
        self._all = self._bars.add_task(f"all {runs} runs", total=max(work, 1e-9), share=True)
        self._update()
        if runs:
            self._bars.start()
        return sorted(lacking, key=lambda item: -_work(self._tasks[item.task.run.name]))

    def started(self, item: Missing) -> None:
        """Take note that a worker has begun a task."""
        task = self._tasks[item.task.run.name]
        task.started = time.monotonic()
        self._running.append(task)

    def watch(self) -> None:
        """Show how far the running tasks are."""
        for task in self._running:
            task.seconds = time.monotonic() - task.started
            progress = self._store.run(task.item.task.run).progress()
            if progress is not None and progress != task.before:
                task.before = None
                task.advance(progress)
                self._draw(task, progress)
        self._update()

    def finished(self, item: Missing, spent: Spent | None) -> None:
        """Book what a task took; spent: None if it failed."""
        task = self._tasks[item.task.run.name]
        self._running.remove(task)
        task.done, task.seconds = _work(task), time.monotonic() - task.started
        if task.bar is not None:
            self._bars.remove_task(task.bar)
        if spent:
            for run in (run for run in self._forecast.runs if run.run == item.task.run.name):
                run.wall.actual, run.device.actual = task.seconds, spent.device_seconds
            self._keep()
            self._speed = self._speed if self._in_seconds else self._speed_by_now()
        self._update()

    def ended(self) -> None:
        """Book the time of the whole study, which has ended without a failure."""
        self._bars.update(self._all, left=0.0)
        if self._forecast.wall:
            self._forecast.wall.actual = time.monotonic() - self._began
            self._keep()

    def outcome(self) -> StudyCompared:
        """Return what came of the predictions of this start."""
        return compared([self._forecast], [task.run.name for task in self._job.tasks])

    def _keep(self) -> None:
        if self._forecast.runs and self._logged:
            write_text(self._file, self._forecast.model_dump_json())

    def _draw(self, task: _Task, progress: PhaseProgress) -> None:
        description = f"{task.item.task.run.slug}: {progress.phase}"
        if task.bar is None:
            task.bar = self._bars.add_task(description, total=progress.total)
        elif self._bars.tasks[self._bars.task_ids.index(task.bar)].description != description:
            self._bars.reset(task.bar, description=description, total=progress.total)
        self._bars.update(task.bar, completed=progress.done)

    def _update(self) -> None:
        done = sum(task.done for task in self._tasks.values())
        self._bars.update(self._all, completed=done, left=self._left(), at=time.monotonic())

    def _speed_by_now(self) -> float:
        """Return the seconds of measuring speed, by all that is known now that some runs have tracked."""
        history, found = gather(self._store, self._device), [self._other.timed_again]
        for item in (task.item for task in self._tasks.values() if task.item.speed):
            if times := history.tracking_times(item.task.run):
                found.append(seconds_of(speed_work(item), times.seconds).expected)
        return sum(found)

    def _left(self) -> float | None:
        """Return the seconds until runs and speed are done, at the pace seen so far; None if nothing is known yet."""
        tasks = self._tasks.values()
        done, pace = sum(task.done for task in tasks), 1.0 if self._in_seconds else None
        if done and done >= TRUSTED * sum(map(_work, tasks)):
            pace = sum(task.seconds for task in tasks) / done
        rest = (_work(task) - task.done for task in tasks)
        return None if pace is None else pace * makespan(rest, self._workers) + self._speed


def _work(task: _Task) -> float:
    return task.training + task.tracking
