"""One run on several devices: the worker that has the run starts a process for each further device, and watches them."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch

from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.executors.protocol import WorkerProcess
from trackablate.harness.running.tasks import RankTask, Reply, RunTask, WorkerSettings
from trackablate.harness.store import Store
from trackablate.harness.training.group import ALONE, Group, joined, meet, meeting_point, moments
from trackablate.trackers.outside.processes import STARTS
from trackablate.trackers.spec import OutsideSpec

LOST = 4
"""Exit status of a worker that waits in vain for another process of its run."""
GRACE = 10.0
"""Seconds that a process has to notice by itself that another one has gone."""
LONGER = 1.5
"""How much longer a process waits for the others by itself than the one that watches and can say which one hangs."""
WATCH_SECONDS = 0.2


class Ranks:
    """The processes beside this one that work on the same run. As a context it starts them, and ends them whatever happens.

    Raises on leaving:
        BadInput: One of them met something that the user can mend.
        RunFailed: One of them failed, died or hung, which is why this one could not go on.
    """

    def __init__(self, task: RunTask, settings: WorkerSettings) -> None:
        self.size = 1 + len(settings.others)
        self.settings, self._task = settings, task
        self._patience = settings.patience
        if isinstance(task.run.tracker, OutsideSpec):  # it has a limit of its own for each frame
            self._patience = max(self._patience, 2 * STARTS * task.run.tracker.timeout)
        self._workers: list[WorkerProcess] = []
        self._replies: dict[int, Reply] = {}
        self._lost: Reply | None = None
        self._left, self._waits = threading.Event(), threading.Event()
        self._watch = threading.Thread(target=self._watching, daemon=True)

    def __enter__(self) -> "Ranks":
        if self.size > 1:
            self._store = meeting_point()
            executor = LocalExecutor(Store(Path(self.settings.store)).logs)
            for rank, device in enumerate(self.settings.others, start=1):
                worker = executor.start(self.settings.model_copy(update={"device": device, "others": ()}))
                worker.do(RankTask(run=self._task, rank=rank, size=self.size, port=self._store.port))
                self._workers.append(worker)
            self._watch.start()
        return self

    @contextmanager
    def group(self, device: torch.device) -> Iterator[Group]:
        """Meet the other processes to train together."""
        if self.size == 1:
            yield ALONE
            return
        self.apart.at(0)  # from here on it waits for the others
        with joined(0, self.size, self._store.port, device, LONGER * self.settings.patience) as group:
            yield group

    @property
    def apart(self) -> Group:
        """This process's view of the processes while each tracks sequences of its own."""
        return Group(0, self.size, self._store) if self.size > 1 else ALONE

    def results(self) -> list[str]:
        """Wait for the other processes, and return their results as JSON."""
        self._waits.set()
        while len(self._replies) < len(self._workers) and self._lost is None:
            time.sleep(WATCH_SECONDS)
        self._raise_lost(None)
        return [self._replies[rank].text for rank in sorted(self._replies)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, RuntimeError) and self._workers:  # perhaps only because another one has gone
                limit = time.monotonic() + GRACE / 2
                while self._lost is None and time.monotonic() < limit:
                    time.sleep(WATCH_SECONDS)
                self._raise_lost(error)
        finally:
            self._left.set()
            if self._watch.is_alive():
                self._watch.join()
            for worker in self._workers:
                worker.stop()

    def _raise_lost(self, error: BaseException | None) -> None:
        if self._lost is not None:
            raise (BadInput if self._lost.status == "bad input" else RunFailed)(self._lost.text) from error

    def _watching(self) -> None:
        # Ends this process if it waits for one that has gone or hangs: on a GPU it would wait for ever.
        seen, since, connection = [-1] * self.size, [time.monotonic()] * self.size, meet(self._store.port)
        while not self._left.wait(WATCH_SECONDS):
            for rank, worker in enumerate(self._workers, start=1):
                if rank not in self._replies and (reply := worker.poll()) is not None:
                    self._replies[rank] = reply
                    if reply.status != "done":
                        self._give_up([rank], reply)
                        return
            before, seen = seen, moments(connection, self.size)
            for rank in range(self.size):
                if seen[rank] != before[rank] or rank in self._replies or (rank == 0 and self._waits.is_set()):
                    since[rank] = time.monotonic()
            if silent := [rank for rank in range(self.size) if time.monotonic() - since[rank] > self._patience]:
                slow = [rank for rank in silent if seen[rank] == min(seen[other] for other in silent)]
                text = f"nothing happened for {self._patience:.0f} s"
                self._give_up(slow, Reply(status="died", text=text))
                return

    def _give_up(self, lost: list[int], reply: Reply) -> None:
        devices = [self.settings.device, *self.settings.others]
        places = " or ".join(f"process {rank} of {self.size} on {devices[rank]}" for rank in lost)
        text = f"{places}: {reply.text}"
        self._lost = reply.model_copy(update={"text": text})
        if not self._left.wait(GRACE):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
            for worker in self._workers:
                worker.stop()
            os._exit(LOST)
