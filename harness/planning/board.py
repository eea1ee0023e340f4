"""Shows how far a study is: a bar for every running task, and one over all of them that counts predicted seconds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.progress import Progress as Bars
from rich.progress import TaskID

from trackablate.harness.planning.estimate import Around, StudyEstimate, estimate_study, makespan
from trackablate.harness.planning.forecast_log import Ledger, Outcome, StudyComparison, compared, entries
from trackablate.harness.planning.history import gather
from trackablate.harness.planning.workload import training_left
from trackablate.harness.provenance import command_line
from trackablate.harness.record import Spent
from trackablate.harness.running.observer import Missing
from trackablate.harness.running.runner import Job, disk_bytes, timed, unknown_protocols
from trackablate.harness.store import PhaseProgress, Store

TRUSTED = 0.05
"""The share of all work that must be done before the pace seen so far replaces the predicted one."""


@dataclass(frozen=True)
class Weight:
    """How much of a study's work a task's two parts are: predicted seconds, or for all tasks of a study units that stand in
    a like ratio to each other.
    """

    training: float
    tracking: float

    @property
    def total(self) -> float:
        """Both."""
        return self.training + self.tracking

    def done(self, training: float, tracking: float) -> float:
        """How much is done, of shares done."""
        return self.training * training + self.tracking * tracking


def weights_of(queue: list[Missing], estimate: StudyEstimate) -> dict[str, Weight]:
    """The weight of each task by its run's name: predicted seconds if every task has a prediction, else frames that go
    through a network, three times those for training.
    """
    found = {item.task.run.name: estimate.of(item.task.run.name) for item in queue}
    if all(found.values()):
        return {
            name: Weight(run.start.expected + run.training.expected, run.tracking.expected)
            for name, run in found.items()
            if run
        }
    return {item.task.run.name: _frames(item) for item in queue}


def _frames(item: Missing) -> Weight:
    return Weight(3.0 * training_left(item).pairs, float(item.frames or item.sequences))


@dataclass
class _Seen:
    """A task as it has shown itself. before: what its run had said of itself before it began; earlier: sequences of
    evaluations that are done.
    """

    before: PhaseProgress | None
    started: float | None = None
    line: TaskID | None = None
    last: PhaseProgress | None = None
    earlier: int = 0
    done: float = 0.0
    seconds: float = field(default=0.0)
    ended: bool = False


class Board:
    """Watches a queue: its bars on the terminal, its outcomes into the ledger."""

    def __init__(self, bars: Bars, queue: list[Missing], store: Store, ledger: Ledger, workers: int) -> None:
        self._bars, self._store, self._ledger, self._workers = bars, store, ledger, workers
        self._weights = weights_of(queue, ledger.estimate)
        self._in_seconds = not ledger.estimate.unknown
        self._seen = {item.task.run.name: _Seen(store.run(item.task.run).progress()) for item in queue}
        total = sum(weight.total for weight in self._weights.values())
        self._all = bars.add_task(f"all {len(queue)} runs", total=max(total, 1e-9), left=None, share=True)

    def start(self, item: Missing) -> None:
        """A task has begun."""
        self._seen[item.task.run.name].started = time.monotonic()

    def show(self, item: Missing) -> None:
        """Show what the task's worker says of itself, once it says something new."""
        seen, progress = self._seen[item.task.run.name], self._store.run(item.task.run).progress()
        if progress is not None and progress != seen.before:
            seen.before = None
            self._draw(item, seen, progress)
            self._count(item, seen, progress)
        self._update()

    def finish(self, item: Missing, spent: Spent | None) -> None:
        """The task has ended, however it did."""
        name = item.task.run.name
        seen = self._seen[name]
        seen.ended, seen.seconds = True, time.monotonic() - (seen.started or 0.0)
        seen.done = self._weights[name].total
        if seen.line is not None:
            self._bars.remove_task(seen.line)
        if spent is not None:
            self._ledger.book(name, Outcome(seconds=seen.seconds, spent=spent))
        self._update()

    def left(self) -> float | None:
        """Seconds until the queue is done and speed is measured: what is left by prediction, at the pace seen so far; None
        where neither is known.
        """
        rest = [self._weights[name].total - seen.done for name, seen in self._seen.items()]
        pace = self._pace()
        return None if pace is None else pace * makespan(rest, self._workers) + self._ledger.estimate.speed.expected

    def _pace(self) -> float | None:
        """Seconds of a worker per unit of work: as seen, once enough is done, before that as predicted."""
        done = sum(seen.done for seen in self._seen.values())
        if done < TRUSTED * sum(weight.total for weight in self._weights.values()):
            return 1.0 if self._in_seconds else None
        return sum(self._worked(seen) for seen in self._seen.values()) / done if done else None

    def _worked(self, seen: _Seen) -> float:
        if seen.ended or seen.started is None:
            return seen.seconds
        return time.monotonic() - seen.started

    def _draw(self, item: Missing, seen: _Seen, progress: PhaseProgress) -> None:
        description = f"{item.task.run.slug}: {progress.phase}"
        if seen.line is None:
            seen.line = self._bars.add_task(description, total=progress.total)
        elif self._bars.tasks[self._bars.task_ids.index(seen.line)].description != description:
            self._bars.reset(seen.line, description=description, total=progress.total)
        self._bars.update(seen.line, completed=progress.done)

    def _count(self, item: Missing, seen: _Seen, progress: PhaseProgress) -> None:
        weight = self._weights[item.task.run.name]
        if progress.phase == "train":
            steps = max(1, progress.total - item.steps_done)
            done = weight.done(max(0, progress.done - item.steps_done) / steps, 0.0)
        else:
            if seen.last and seen.last.phase != "train" and progress.done < seen.last.done:
                seen.earlier += seen.last.done  # the next evaluation counts from its own beginning
            done = weight.done(1.0, min(1.0, (seen.earlier + progress.done) / max(1, item.sequences)))
        seen.last = progress
        seen.done = max(seen.done, done)

    def _update(self) -> None:
        done = sum(seen.done for seen in self._seen.values())
        self._bars.update(self._all, completed=done, left=self.left())


class Forecaster:
    """The observer that predicts a study, shows its progress, and keeps predicted against actual."""

    def __init__(self, job: Job, store: Store, bars: Bars) -> None:
        self._bars, self._job, self._store, self._began = bars, job, store, time.monotonic()
        self._around = around_of(job, store)
        self._before = len(entries(store))
        self._running: list[Missing] = []
        self._board: Board | None = None
        self._ledger: Ledger | None = None

    def prepared(self, device: str, workers: int, lacking: Sequence[Missing]) -> Sequence[Missing]:
        """Predict the study, and return its tasks, the longest first."""
        items, disk = list(lacking), disk_bytes(self._job.profile)
        estimate = estimate_study(items, gather(self._store, device), workers, disk, self._around)
        self._ledger = Ledger(self._store, estimate, command_line(), self._began)
        queue = [item for item in items if item.training or item.sequences]
        self._board = Board(self._bars, queue, self._store, self._ledger, workers)
        self._bars.start()
        weights = weights_of(queue, estimate)
        return sorted(queue, key=lambda item: weights[item.task.run.name].total, reverse=True)

    def started(self, item: Missing) -> None:
        """Take note that a task has begun."""
        assert self._board
        self._running.append(item)
        self._board.start(item)

    def watch(self) -> None:
        """Show how far the tasks are."""
        for item in self._running:
            assert self._board
            self._board.show(item)

    def finished(self, item: Missing, spent: Spent | None) -> None:
        """Book what a task took."""
        assert self._board
        self._running.remove(item)
        self._board.finish(item, spent)

    def ended(self) -> None:
        """Book what the study took."""
        assert self._ledger
        self._ledger.close()

    def outcome(self) -> StudyComparison:
        """Return what came of the predictions of this start."""
        return compared(entries(self._store)[self._before :], [task.run.name for task in self._job.tasks])


def around_of(job: Job, store: Store) -> Around:
    """What the job does beside its runs."""
    unknown = {e.protocol for e in unknown_protocols(job, store)}
    every = [one for task in job.tasks for one in timed(task)]
    return Around(
        sizes=sum(store.paper_scale(spec) is None for spec in job.sizes),
        thumbnails=sum(len(job.sequences[name]) for name in unknown),
        measured_again=tuple(one.run.name for one in every if store.run(one.run).speed(one.test_layers) is not None),
    )
