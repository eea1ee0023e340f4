"""Keeps workers busy until a study's tasks are done."""

import time
from collections.abc import Callable, Sequence

from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.record import Spent
from trackablate.harness.running.executors.protocol import Executor, WorkerProcess
from trackablate.harness.running.observer import Observer, Pending
from trackablate.harness.running.tasks import Reply, Task, WorkerSettings

POLL_SECONDS = 0.05
WATCH_SECONDS = 0.4


class Slot:
    """A place for one worker: its process stays from task to task. The next task replaces a process that has ended."""

    def __init__(self, executor: Executor, settings: WorkerSettings) -> None:
        self.settings = settings
        self._executor = executor
        self._worker: WorkerProcess | None = None

    def start(self) -> WorkerProcess:
        """Start the worker unless it runs."""
        if self._worker is None:
            self._worker = self._executor.start(self.settings)
        return self._worker

    def do(self, task: Task) -> None:
        """Hand a task to the worker, to a new one if it has died since its last task."""
        if self._worker is not None and self._worker.poll() is not None:
            self.stop()
        self.start().do(task)

    def poll(self) -> Reply | None:
        """Return the reply to the task, None while the worker is at work."""
        assert self._worker is not None
        reply = self._worker.poll()
        if reply is not None and reply.last:
            self.stop()
        return reply

    def at_work(self) -> bool:
        """Return whether the worker has begun with the task."""
        assert self._worker is not None
        return self._worker.at_work()

    def ask(self, task: Task, watch: Callable[[], None] = lambda: None) -> str:
        """Return the result of a task, as JSON. Raises BadInput, or RunFailed if the task failed or the worker died.

        `watch` is called about twice a second meanwhile.
        """
        self.do(task)
        return result_of(self.wait(watch))

    def wait(self, watch: Callable[[], None] = lambda: None) -> Reply:
        """Wait for the reply to the task."""
        look = now_and_then(watch)
        while (reply := self.poll()) is None:
            time.sleep(POLL_SECONDS)
            look()
        return reply

    def stop(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


def result_of(reply: Reply) -> str:
    """Return the result in a reply, as JSON. Raises BadInput, or RunFailed if the task failed or the worker died."""
    if reply.status == "bad input":
        raise BadInput(reply.text)
    if reply.status != "done":
        raise RunFailed(reply.text)
    return reply.text


def run_all(
    queue: Sequence[Pending],
    slots: Sequence[Slot],
    observer: Observer,
    died: Callable[[Pending, WorkerSettings, str], str],
) -> list[str]:
    """Keep one task going in each slot until the queue is done; return one message for each failed run.

    `died` is called with the task, the worker's settings and the reason when a worker died or refused its task, for example
    because the data changed meanwhile. It returns what to say, "" if the run is whole.
    """
    failures: list[str] = []
    running: dict[Slot, Pending] = {}
    queued: set[Slot] = set()
    waiting, free, look = list(queue), list(slots), now_and_then(observer.watch)
    while waiting or running:
        while waiting and free:
            item, slot = waiting.pop(0), free.pop(0)
            slot.do(item.task)
            running[slot] = item
            queued.add(slot)
        time.sleep(POLL_SECONDS)
        look()
        for slot, item in list(running.items()):
            reply = slot.poll()
            if slot in queued and (reply is not None or slot.at_work()):
                queued.remove(slot)
                observer.started(item)
            if reply is not None:
                free.append(slot)
                del running[slot]
                told = died(item, slot.settings, reply.text) if reply.status in ("died", "bad input") else reply.text
                failures += [told] if reply.status != "done" and told else []
                observer.finished(item, Spent.model_validate_json(reply.text) if reply.status == "done" else None)
    return failures


def now_and_then(watch: Callable[[], None]) -> Callable[[], None]:
    """Return what may be called all the time: it calls `watch` about twice a second, less often if that takes long."""
    due = 0.0

    def look() -> None:
        nonlocal due
        if (begun := time.monotonic()) >= due:
            watch()
            now = time.monotonic()  # thousands of runs take a while to look at
            due = now + max(WATCH_SECONDS, 10 * (now - begun))

    return look
