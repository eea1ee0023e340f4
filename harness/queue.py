"""Keeps workers busy until a study's tasks are done, and shows how far they are."""

import time
from dataclasses import dataclass

from rich.progress import Progress as Bars
from rich.progress import TaskID

from harness.errors import BadInput
from harness.executors import Executor, Work
from harness.progress import progress_bars
from harness.provenance import provenance
from harness.record import Failure
from harness.store import Progress, Store
from harness.tasks import RunTask, WorkerSettings
from harness.worker import BAD_INPUT

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Missing:
    """What the store lacks for one run."""

    task: RunTask
    training: bool
    sequences: int
    speed: bool

    @property
    def nothing(self) -> bool:
        """Whether the run is done."""
        return not (self.training or self.sequences or self.speed)

    @property
    def units(self) -> int:
        """How much work it is, for the bar over all runs: training steps and sequences, which take about equally long in
        the embedded profile."""
        recipe = self.task.run.recipe
        return (recipe.steps if self.training and recipe else 0) + self.sequences


def run_all(queue: list[Missing], store: Store, executor: Executor, settings: list[WorkerSettings]) -> list[str]:
    """Keep one task going on each worker until the queue is done; returns what failed, each with its reason."""
    failures: list[str] = []
    running: list[tuple[Missing, Work, WorkerSettings]] = []
    waiting, free = list(queue), list(settings)
    with progress_bars() as bars:
        board = _Board(bars, queue, store)
        try:
            while waiting or running:
                while waiting and free:
                    item, place = waiting.pop(0), free.pop(0)
                    running.append((item, executor.start(item.task, place), place))
                time.sleep(POLL_SECONDS)
                for entry in list(running):
                    item, work, place = entry
                    board.show(item)
                    if work.poll() is not None:
                        running.remove(entry)
                        free.append(place)
                        board.finish(item)
                        failures += _failure(item, work, place, store)
        finally:
            for _, work, _ in running:
                work.stop()
    return failures


class _Board:
    """A bar for every running task, and one over all of them."""

    def __init__(self, bars: Bars, queue: list[Missing], store: Store) -> None:
        self._bars, self._store = bars, store
        self._done = {id(item): 0 for item in queue}
        self._before = {id(item): store.run(item.task.run).progress() for item in queue}
        self._lines: dict[int, TaskID] = {}
        self._all = bars.add_task(f"all {len(queue)} runs", total=sum(item.units for item in queue))

    def show(self, item: Missing) -> None:
        """Show what the task's worker says of itself, once it says something new."""
        progress = self._store.run(item.task.run).progress()
        if progress is None or progress == self._before[id(item)]:
            return
        self._before[id(item)] = None
        description = f"{item.task.run.slug}: {progress.phase}"
        line = self._lines.get(id(item))
        if line is None:
            line = self._lines[id(item)] = self._bars.add_task(description, total=progress.total)
        elif self._bars.tasks[self._bars.task_ids.index(line)].description != description:
            self._bars.reset(line, description=description, total=progress.total)
        self._bars.update(line, completed=progress.done)
        self._count(item, progress)

    def finish(self, item: Missing) -> None:
        """The task has ended, however it did."""
        if id(item) in self._lines:
            self._bars.remove_task(self._lines[id(item)])
        self._done[id(item)] = item.units
        self._bars.update(self._all, completed=sum(self._done.values()))

    def _count(self, item: Missing, progress: Progress) -> None:
        trained = item.units - item.sequences
        done = progress.done if progress.phase == "train" else trained + progress.done
        self._done[id(item)] = min(item.units, max(done, self._done[id(item)]))
        self._bars.update(self._all, completed=sum(self._done.values()))


def said(work: Work) -> str:
    """Why finished work did not succeed: its own message, or what it left on standard error."""
    output, errors = work.output()
    return output.strip() or f"a worker stopped with status {work.poll()}: {errors.strip() or 'it said nothing'}"


def _failure(item: Missing, work: Work, place: WorkerSettings, store: Store) -> list[str]:
    """What to say of a finished task that did not succeed. A worker that was killed could not say why: that is kept."""
    status = work.poll()
    if status == 0:
        return []
    if status == BAD_INPUT:
        raise BadInput(said(work))
    if status != 1:
        where = provenance(
            device=place.device, driver=None, threads=place.threads, workers=place.workers, command=place.command
        )
        store.run(item.task.run).set_failure(Failure(summary=said(work), traceback="", where=where))
        return [f"{item.task.run.name}: {said(work)}"]
    return [said(work)]
