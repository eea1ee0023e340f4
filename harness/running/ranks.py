"""One run on several devices: the worker that has the run starts a process for each further device, and watches them.

If several machines share the run (`harness.running.machines`), it calls the others, which start as many processes.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch
from torch.distributed import Store as TorchStore  # type: ignore[attr-defined]

from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.executors.protocol import WorkerProcess
from trackablate.harness.running.link import SILENT_SECONDS, reply_of
from trackablate.harness.running.tasks import Call, RankTask, Reply, RunTask, Task, WorkerSettings
from trackablate.harness.store import Store
from trackablate.harness.training.group import ALONE, Group, joined, steps_reached
from trackablate.harness.training.meeting import Meeting, open_meeting
from trackablate.trackers.outside.processes import STARTS
from trackablate.trackers.spec import OutsideSpec

LOST = 4
"""Exit status of a worker that waits in vain for another process of its run."""
GRACE = 10.0
"""Seconds that a process has to notice by itself that another one has gone."""
LONGER = 1.5
"""How much longer a process waits for the others by itself than the one that watches and can say which one hangs."""
WATCH_SECONDS = 0.2
LEFT = ("Connection closed by peer", "Connection reset by peer", "remote process exited", "communicator was aborted")
"""What a process says that has failed because another one has left it."""
SETTLES = 3.0
"""Seconds in which the failure of that other one is known, too."""


class _Distant:
    """A process of the run on another machine, which starts it when it is called (`harness.running.machines`)."""

    def __init__(self, store: TorchStore, call: int, rank: int, node: int) -> None:
        self._store, self._call = store, call
        self._entries = (f"answer {call} {rank}", f"lost {node}")

    def do(self, task: Task) -> None:
        """Nothing: the call says what to do."""

    def poll(self) -> Reply | None:
        """Return how the process or its machine ended, None while it is at work."""
        found = next((entry for entry in self._entries if self._store.check([entry])), None)
        return None if found is None else reply_of(self._store.get(found).decode(errors="replace"))

    def at_work(self) -> bool:
        """Return True: it begins at once."""
        return True

    def stop(self) -> None:
        """Let the machines end their processes of this run."""
        self._store.set(f"ended {self._call}", "")


class Ranks:
    """The processes beside this one that work on the same run. As a context it starts them, and ends them whatever happens.

    Raises on leaving:
        BadInput: One of them met something that the user can mend.
        RunFailed: One of them failed, died or hung, which is why this one could not go on.
    """

    def __init__(self, task: RunTask, settings: WorkerSettings) -> None:
        self.size, self._here = settings.processes, 1 + len(settings.others)
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
            self._meeting, distant = self._met()
            self._store = self._meeting.connect()
            executor = LocalExecutor(Store(Path(self.settings.store)).logs)
            for rank, device in enumerate(self.settings.others, start=1):
                worker = executor.start(self.settings.model_copy(update={"device": device, "others": ()}))
                worker.do(RankTask(run=self._task, rank=rank, size=self.size, meeting=self._meeting))
                self._workers.append(worker)
            self._workers += distant
            self._watch.start()
        return self

    def _met(self) -> tuple[Meeting, list[WorkerProcess]]:
        """Return where the processes meet, and those of other machines, which are called."""
        if (machines := self.settings.machines) is None:
            self._opened, meeting = open_meeting()
            return meeting, []
        store = machines.meeting.connect()
        number = store.add("calls", 1)
        call = Call(run=self._task.run.name, size=self.size, on_gpu=self.settings.device.startswith("cuda"))
        store.set(f"call {number}", call.model_dump_json())
        distant = [_Distant(store, number, rank, rank // self._here) for rank in range(self._here, self.size)]
        return machines.meeting.inside(f"run {number}"), [*distant]

    @contextmanager
    def group(self, device: torch.device) -> Iterator[Group]:
        """Meet the other processes to train together."""
        if self.size == 1:
            yield ALONE
            return
        self.apart.at(0)  # from here on it waits for the others
        with joined(0, self.size, self._meeting, device, LONGER * self.settings.patience) as group:
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
                limit = time.monotonic() + GRACE / 2 + (SILENT_SECONDS if self.settings.machines else 0.0)
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
        seen, since, connection = [-1] * self.size, [time.monotonic()] * self.size, self._meeting.connect()
        first = 0.0  # when a process was found to have failed
        while not self._left.wait(WATCH_SECONDS):
            for rank, worker in enumerate(self._workers, start=1):
                if rank not in self._replies and (reply := worker.poll()) is not None:
                    self._replies[rank] = reply
            if failed := {rank: reply for rank, reply in self._replies.items() if reply.status != "done"}:
                first, settled = first or time.monotonic(), time.monotonic() - SETTLES
                causes = [rank for rank in failed if not any(sign in failed[rank].text for sign in LEFT)]
                if causes or first < settled:
                    rank = next(iter([*causes, *failed]))
                    self._give_up([rank], failed[rank])
                    return
            before, seen = seen, steps_reached(connection, self.size)
            for rank in range(self.size):
                if seen[rank] != before[rank] or rank in self._replies or (rank == 0 and self._waits.is_set()):
                    since[rank] = time.monotonic()
            if silent := [rank for rank in range(self.size) if time.monotonic() - since[rank] > self._patience]:
                slow = [rank for rank in silent if seen[rank] == min(seen[other] for other in silent)]
                text = f"nothing happened for {self._patience:.0f} s"
                self._give_up(slow, Reply(status="died", text=text))
                return

    def _give_up(self, lost: list[int], reply: Reply) -> None:
        machines, places = self.settings.machines, [self.settings.device, *self.settings.others]
        if machines:
            places = [machines.named(rank // self._here) for rank in range(self.size)]
        where = " or ".join(f"process {rank} of {self.size} on {places[rank]}" for rank in lost)
        text = f"{where}: {reply.text}"
        self._lost = reply.model_copy(update={"text": text})
        if not self._left.wait(GRACE):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
            for worker in self._workers:
                worker.stop()
            os._exit(LOST)
