"""Keeps workers busy until a study's tasks are done."""

import time

from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.provenance import provenance
from trackablate.harness.record import Failure, Spent
from trackablate.harness.running.executors import Executor, Work
from trackablate.harness.running.observer import Missing, Observer
from trackablate.harness.running.tasks import WorkerSettings
from trackablate.harness.running.worker import BAD_INPUT
from trackablate.harness.store import Store

POLL_SECONDS = 0.2


def run_all(
    queue: list[Missing], store: Store, executor: Executor, settings: list[WorkerSettings], watcher: Observer
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
                watcher.started(item)
            time.sleep(POLL_SECONDS)
            watcher.watch()
            for entry in list(running):
                item, work, place = entry
                if work.poll() is not None:
                    running.remove(entry)
                    free.append(place)
                    failures += _failure(item, work, place, store)
                    watcher.finished(item, _spent(work))
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
