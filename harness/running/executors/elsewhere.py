"""What executors share whose workers are on other machines: options, settings of workers, and preparation here."""

import os
import re
from dataclasses import dataclass, field

from trackablate.harness.errors import BadInput
from trackablate.harness.provenance import command_line
from trackablate.harness.running.executors.local import LocalExecutor, environment
from trackablate.harness.running.tasks import Device, Execution, PrepareTask, Reply, WorkerSettings
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


def places(asked: Resources, tasks: int, store: Store, device: str, how: Execution) -> list[WorkerSettings]:
    """Return the settings of a worker for each task, or for as many as shall be at work at once."""
    gpus, cpus, each = asked.gpus, asked.cpus, how.gpus_per_run
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
    return [settings] * min(max(1, tasks), asked.jobs or max(1, tasks))


def own_environment(threads: int) -> dict[str, str]:
    """Return the variables that a worker needs beside those of its machine: import path, plugins, threads, memory."""
    quiet: dict[str, str] = {}
    quiet_threads(threads, quiet)
    every = environment(threads).items()
    return {name: value for name, value in every if name in quiet or _is_ours(name, value)}


class Preparing:
    """Prepares a study in a process here, on the CPU, and then names the device of the workers elsewhere."""

    def __init__(self, local: LocalExecutor, settings: WorkerSettings, task: PrepareTask, device: Device) -> None:
        self._device = device
        self._worker = local.start(settings.model_copy(update={"device": "cpu", "others": ()}))
        self._worker.do(task)

    def poll(self) -> Reply | None:
        """Return the reply, None while the process is at work."""
        reply = self._worker.poll()
        if reply is None or reply.status != "done":
            return reply
        return Reply(status="done", text=self._device.model_dump_json(), last=True)

    def stop(self) -> None:
        """End the process."""
        self._worker.stop()


def devices(kind: str, asked: Resources) -> Device:
    """Return the device of a worker elsewhere, with the GPUs that it asks for."""
    return Device(name=kind, gpus=tuple(f"cuda:{number}" for number in range(asked.gpus)))


def _count(option: str, key: str, text: str, least: int = 1) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or int(text) < least:
        raise BadInput(f"{option} {key}={text}: write a number from {least}")
    return int(text)


def _is_ours(name: str, value: str) -> bool:
    return name.startswith("TRACKABLATE_") or os.environ.get(name) != value
