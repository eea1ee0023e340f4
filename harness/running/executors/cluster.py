"""What executors share whose workers are on other machines: options, settings of workers, and preparation here."""

import os
import re
from dataclasses import dataclass, field
from typing import Any

from trackablate.harness.errors import BadInput
from trackablate.harness.provenance import command_line
from trackablate.harness.running.executors.local import LocalExecutor, LocalWorker, environment
from trackablate.harness.running.tasks import Device, Execution, PrepareTask, Reply, Task, WorkerSettings
from trackablate.harness.running.threads import quiet_threads
from trackablate.harness.store import Store


@dataclass(frozen=True)
class Resources:
    """What each task gets.

    Attributes:
        jobs: How many tasks there are at once; None for all.
        parameters: What else the cluster is told.
    """

    gpus: int
    cpus: int
    jobs: int | None = None
    parameters: dict[str, str | int] = field(default_factory=dict)


def pairs(option: str, text: str, keys: tuple[str, ...]) -> dict[str, str]:
    """Return the KEY=VALUE,... of an option. Raises BadInput for other keys."""
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, _, value = part.partition("=")
        if key not in keys or not value:
            raise BadInput(f"{option} {part}: write KEY=VALUE,KEY=VALUE with {', '.join(keys)}")
        found[key] = value
    return found


def resources(option: str, asked: dict[str, str], each: int, device: str) -> Resources:
    """Return the resources in an option, by default what runs need with so many GPUs or processes each. Raises BadInput."""
    gpus = _count(option, "gpus", asked.get("gpus", str(each if device.startswith("cuda") else 0)), least=0)
    if gpus and gpus < each:
        raise BadInput(f"{option} gpus={gpus}: each run has {each} by --gpus-per-run; ask for gpus={each}")
    cpus = _count(option, "cpus", asked.get("cpus", str(4 * gpus or each)))
    return Resources(gpus, cpus, _count(option, "jobs", asked["jobs"]) if "jobs" in asked else None)


class ClusterExecutor:
    """Hands tasks to a cluster, and prepares studies in a process here."""

    def __init__(self, store: Store, asked: Resources, *, detached: bool = False) -> None:
        self.local, self.asked, self.detached = LocalExecutor(store.logs), asked, detached

    def worker_settings(self, tasks: int, store: Store, device: str, how: Execution) -> list[WorkerSettings]:
        """Return the settings of a worker for each task, or for as many as shall be handed in at once."""
        gpus, cpus, each = self.asked.gpus, self.asked.cpus, how.gpus_per_run
        kind = "cuda" if gpus else "cpu"
        shared = [f"{kind}:{rank}" if gpus else kind for rank in range(each)]
        loading = min(8, max(0, cpus // each - 1)) if gpus else 0
        settings = WorkerSettings(
            store=str(store.root),
            device=shared[0] if each > 1 or not gpus else device,
            threads=max(1, cpus // each) if gpus else 1,
            workers=1,
            command=command_line(),
            loader_workers=loading if how.loader_workers is None else how.loader_workers,
            fit_memory=how.fit_memory,
            fsdp=how.fsdp,
            log=how.log,
            others=tuple(shared[1:]),
        )
        most = None if self.detached else self.asked.jobs
        return [settings] * min(max(1, tasks), most or max(1, tasks))


@dataclass(eq=False)
class ClusterWorker:
    """A worker of a cluster. A process here prepares, on the CPU, and then names the cluster's device, `node`."""

    executor: Any
    settings: WorkerSettings
    _here: LocalWorker | None = field(default=None, init=False)
    node = ""

    def prepares(self, task: Task) -> bool:
        """Begin to prepare here, if that is the task. Return whether it is."""
        if not isinstance(task, PrepareTask):
            return False
        self._here = self.executor.local.start(self.settings.model_copy(update={"device": "cpu", "others": ()}))
        self._here.do(task)
        return True

    def prepared(self) -> Reply | None:
        """Return the reply to the preparation, None while it goes on."""
        assert self._here is not None
        reply = self._here.poll()
        if reply is None or reply.status != "done":
            return reply
        gpus = tuple(f"cuda:{number}" for number in range(self.executor.asked.gpus))
        return Reply(status="done", text=Device(name=self.node, gpus=gpus).model_dump_json(), last=True)

    def stop(self) -> None:
        """End the preparation. What the cluster has goes on."""
        if self._here is not None:
            self._here.stop()
            self._here = None


def own_environment(threads: int) -> dict[str, str]:
    """Return the variables that a worker needs beside those of its machine: import path, plugins, threads, memory."""
    quiet: dict[str, str] = {}
    quiet_threads(threads, quiet)
    every = environment(threads).items()
    return {
        name: value
        for name, value in every
        if name in quiet or name.startswith("TRACKABLATE_") or os.environ.get(name) != value
    }


def _count(option: str, key: str, text: str, least: int = 1) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or int(text) < least:
        raise BadInput(f"{option} {key}={text}: write a number from {least}")
    return int(text)
