"""Keeps workers busy until a study's tasks are done."""

import time
from dataclasses import dataclass
from typing import Protocol

from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.provenance import provenance
from trackablate.harness.record import Failure, Spent
from trackablate.harness.running.executors import Executor, Work
from trackablate.harness.running.tasks import RunTask, WorkerSettings
from trackablate.harness.running.worker import BAD_INPUT
from trackablate.harness.store import Store

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Missing:
    """What the store lacks for one run. steps_done: how many steps a checkpoint already has; frames: of the sequences to be
    tracked, over all evaluations, as far as their lengths are known; generated: how many of those are drawn, not read.
    """

    task: RunTask
    training: bool
    sequences: int
    speed: bool
    steps_done: int = 0
    frames: int = 0
    generated: int = 0

    @property
    def nothing(self) -> bool:
        """Whether the run is done."""
        return not (self.training or self.sequences or self.speed)


class Watcher(Protocol):
    """Is told how the queue gets on."""

    def start(self, item: Missing) -> None:
        """The task has been handed to a worker."""

    def show(self, item: Missing) -> None:
        """The task is being worked on."""

    def finish(self, item: Missing, spent: Spent | None) -> None:
        """The task has ended; what it took, None where it failed."""


def run_all(
    queue: list[Missing], store: Store, executor: Executor, settings: list[WorkerSettings], watcher: Watcher
) -> list[str]:
    """Keep one task going on each worker until the queue is done; returns what failed, each with its reason."""
    failures: list[str] = []
    running: list[tuple[Missing, Work, WorkerSettings]] = []
    waiting, free = list(queue), list(settings)
    try:
        while waiting or running:
            while waiting and free:
                item, place = waiting.pop(0), free.pop(0)
                running.append((item, executor.start(item.task, place), place))
                watcher.start(item)
            time.sleep(POLL_SECONDS)
            for entry in list(running):
                item, work, place = entry
                watcher.show(item)
                if work.poll() is not None:
                    running.remove(entry)
                    free.append(place)
                    failures += _failure(item, work, place, store)
                    watcher.finish(item, _spent(work))
    finally:
        for _, work, _ in running:
            work.stop()
    return failures


def wait_for(work: Work) -> str:
    """The output of a task, once it has ended. Raises BadInput or RunFailed as its exit status says."""
    try:
        while work.poll() is None:
            time.sleep(POLL_SECONDS / 4)
    except BaseException:
        work.stop()
        raise
    if work.poll() == BAD_INPUT:
        raise BadInput(said(work))
    if work.poll() != 0:
        raise RunFailed(said(work))
    return work.output()[0]


def said(work: Work) -> str:
    """Why finished work did not succeed: its own message, or what it left on standard error."""
    output, errors = work.output()
    return output.strip() or f"a worker stopped with status {work.poll()}: {errors.strip() or 'it said nothing'}"


def _spent(work: Work) -> Spent | None:
    return Spent.model_validate_json(work.output()[0]) if work.poll() == 0 else None


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
