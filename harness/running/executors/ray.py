"""Runs as tasks of an existing Ray cluster, which is never started here: one Ray task for each task.

A Ray task starts a worker process on its node, as the local executor does here, and waits for its reply. The order is a
file in a folder of this command in the store, which every node has to see: only the file's name and the reply go through
Ray. If Ray loses a task with its node, it is handed in again, and its run goes on from its checkpoint. When the command
ends, so do its tasks, and each training saves a checkpoint first. Imports no torch.
"""

import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trackablate.datasets.atomic import LEFTOVER
from trackablate.datasets.lease import Lease, held
from trackablate.harness.documents import read_document, write_document
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.running.executors import cluster
from trackablate.harness.running.executors.cluster import ClusterExecutor, ClusterWorker, Resources
from trackablate.harness.running.executors.local import STOP_SECONDS, LocalExecutor
from trackablate.harness.running.queue import Slot
from trackablate.harness.running.tasks import Reply, RunTask, SpeedTask, Task, WorkerSettings
from trackablate.harness.store import Store

KEYS = ("address", "gpus", "cpus", "jobs")
"""The keys of --ray."""
AGAIN = 3
"""How often a task that Ray has lost is handed in again."""
LOOK_SECONDS = 0.5
"""How often Ray is asked which tasks have ended, and the store which have begun."""
ANSWER_SECONDS = 60.0
"""How long a node may take to look for a file in the store."""


class RayOrder(BaseModel):
    """What a Ray task has to do."""

    task: RunTask | SpeedTask
    settings: WorkerSettings


def resources(text: str, each: int, device: str) -> Resources:
    """Return what --ray asks for. Raises BadInput for what Ray does not know, or fewer GPUs than share a run."""
    asked = cluster.pairs("--ray", text, KEYS)
    address = asked.get("address", "auto")
    if not re.fullmatch(r"auto|[^/\s]+:\d{1,5}", address):
        raise BadInput(
            f"--ray address={address}: write auto or HOST:PORT of the cluster's head, and start the command on a machine of"
            " the cluster"
        )
    return replace(cluster.resources("--ray", asked, each, device), parameters={"address": address})


def join(store: Path, asked: Resources) -> None:
    """Connect to the cluster, and let each node that may get tasks look for a file in the store, or where it will be.

    Raises BadInput if there is no Ray or no cluster, no node has the resources, or one cannot work for this store.
    """
    if find_spec("ray") is None:
        raise BadInput("--executor ray needs a package: python -m pip install 'trackablate[ray]'")
    _connect(str(asked.parameters["address"]))
    import ray

    fit = [node for node in ray.nodes() if node["Alive"] and _fits(node["Resources"], asked)]
    if not fit:
        raise BadInput(
            f"--ray gpus={asked.gpus},cpus={asked.cpus}: no node of the cluster has so many; ask for fewer, or start such"
            " a node first"
        )
    _refuse_blind(fit, store)


class RayExecutor(ClusterExecutor):
    """Hands tasks to a Ray cluster that this process has joined."""

    def __init__(self, store: Store, asked: Resources) -> None:
        super().__init__(store, asked)
        self.folder = store.root / "jobs" / f"ray-{secrets.token_hex(8)}"
        self.waiting: set[Any] = set()
        self.failed: set[Path] = set()
        self._ended: set[Any] = set()
        self._begun: set[Path] = set()
        self._looked = -LOOK_SECONDS
        for folder in self.folder.parent.glob("ray-*"):
            _clear(folder)
        self._lease = Lease(self.folder, seconds=LEFTOVER).acquire()

    def start(self, settings: WorkerSettings) -> "RayWorker":
        """Return a worker; the cluster hears of it when it has a task."""
        return RayWorker(self, settings)

    def farewell(self) -> str:
        """Clear up, and return nothing: tasks end with this process."""
        self._lease.release()
        for task in set(self.folder.glob("[!.]*")) - self.failed:
            shutil.rmtree(task, ignore_errors=True)  # a node may have begun with it while it was withdrawn
        _clear(self.folder)
        return ""

    def hand_in(self, order: Path, threads: int) -> Any:
        """Return Ray's reference to the reply that a new task will give."""
        task = _remote(carry_out, threads, num_cpus=self.asked.cpus, num_gpus=self.asked.gpus)
        reference = task.remote(str(order))
        self.waiting.add(reference)
        return reference

    def has_ended(self, reference: Any) -> bool:
        """Return whether a task has ended, by what Ray said last."""
        self._look()
        return reference in self._ended

    def has_begun(self, order: Path) -> bool:
        """Return whether a node has begun with an order, by what the store had last."""
        self._look()
        return order.parent in self._begun

    def forget(self, reference: Any) -> None:
        """Ask no more about a task."""
        self.waiting.discard(reference)
        self._ended.discard(reference)

    def _look(self) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        import ray

        self._looked = time.monotonic()
        every = list(self.waiting)
        self._ended = set(ray.wait(every, num_returns=len(every), timeout=0)[0]) if every else set()
        self._begun = {log.parent for log in self.folder.glob("*/*.log")}


@dataclass
class RayWorker(ClusterWorker):
    """One Ray task after the other."""

    executor: RayExecutor
    node = "a node of Ray"
    _order: Path = Path()
    _reference: Any = None
    _lost: int = 0

    def do(self, task: Task) -> None:
        """Hand the task to the cluster."""
        if self.prepares(task):
            return
        assert isinstance(task, RunTask | SpeedTask)
        self._order, self._lost = self.executor.folder / secrets.token_hex(4) / "order.json", 0
        write_document(self._order, RayOrder(task=task, settings=self.settings))
        self._reference = self.executor.hand_in(self._order, self.settings.threads)

    def poll(self) -> Reply | None:
        """Return the reply to the task, None while it waits or is at work."""
        if self._here is not None:
            return self.prepared()
        if self._reference is None or not self.executor.has_ended(self._reference):
            return None
        reply = self._received()
        if reply is None:
            self._reference = self.executor.hand_in(self._order, self.settings.threads)
            return None
        self._reference = None
        self._order.unlink(missing_ok=True)
        if reply.status == "done":
            shutil.rmtree(self._order.parent, ignore_errors=True)
        else:
            self.executor.failed.add(self._order.parent)
        return reply.model_copy(update={"last": True})

    def at_work(self) -> bool:
        """Return whether a node has begun with the task."""
        return self.executor.has_begun(self._order)

    def stop(self) -> None:
        """End the task; a training saves a checkpoint first."""
        super().stop()
        if self._reference is not None:
            import ray

            self._order.unlink(missing_ok=True)
            ray.cancel(self._reference)
            if not ray.wait([self._reference], timeout=2 * STOP_SECONDS)[0]:
                ray.cancel(self._reference, force=True)
            self.executor.forget(self._reference)
            self._reference = None
            shutil.rmtree(self._order.parent, ignore_errors=True)

    def _received(self) -> Reply | None:
        """Return the reply, None if Ray has lost the task and it is to be handed in again."""
        import ray
        from ray.exceptions import RayError, TaskCancelledError

        try:
            return Reply.model_validate_json(ray.get(self._reference))
        except TaskCancelledError:
            return Reply(status="died", text="its task was cancelled on the cluster")
        except RayError as error:
            self._lost += 1
            if self._lost <= AGAIN:
                return None
            return Reply(status="died", text=f"Ray lost its task {self._lost} times, the last time so: {_said(error)}")
        finally:
            self.executor.forget(self._reference)


def carry_out(file: str) -> str:
    """Do what an order says in a new process of this node, and return its reply as JSON. This is what a Ray task does."""
    order = read_document(Path(file), RayOrder) if Path(file).exists() else None
    if order is None:
        text = (
            f"{file} is not on the node {socket.gethostname()}: the store has to be on a file system that all nodes see"
        )
        return Reply(status="bad input", text=text).model_dump_json()
    slot = Slot(LocalExecutor(Path(file).parent), order.settings)
    try:
        slot.do(order.task)
        return slot.wait(partial(_stop_if_withdrawn, Path(file))).model_dump_json()
    finally:  # also when the task is cancelled, which is a KeyboardInterrupt here, and another one every two seconds
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        slot.stop()
        signal.signal(signal.SIGINT, before)


def _stop_if_withdrawn(order: Path) -> None:
    # Ray's own message does not always arrive.
    if not order.exists():
        raise RunFailed(f"{order} was withdrawn")


def sees(file: str) -> str:
    """Return "yes" if a file is there, else "no"."""
    return "yes" if Path(file).exists() else "no"


def _connect(address: str) -> None:
    import ray

    before = signal.getsignal(signal.SIGTERM)
    try:
        if address != "auto":  # which Ray would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10.0).close()
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise BadInput(
            f"--executor ray: no cluster can be joined at {address} ({_said(error)}); start one with `ray start --head`, or"
            " name its head by --ray address=HOST:PORT"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray has set its own


def _clear(folder: Path) -> None:
    """Remove the files of a command that has ended, but not what its failed tasks have printed."""
    if held(folder):
        return
    for task in folder.glob("[!.]*"):
        # The command was killed, and so were its tasks; perhaps while it wrote the order.
        if (task / "order.json").exists() or not any(task.glob("*.log")):
            shutil.rmtree(task, ignore_errors=True)
    if not any(folder.glob("[!.]*")):
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_blind(nodes: Iterable[dict[str, Any]], store: Path) -> None:
    import ray
    from ray.exceptions import RayError

    place = next(folder for folder in (store.absolute(), *store.absolute().parents) if folder.is_dir())
    with tempfile.NamedTemporaryFile(dir=place, prefix=".seen-by-ray.", suffix=".tmp") as sign:
        answers = [(node["NodeManagerHostname"], _asked(node, sign.name)) for node in nodes]
        for name, reference in answers:
            try:
                answer = ray.get(reference, timeout=ANSWER_SECONDS)
            except RayError as error:
                raise BadInput(
                    f"the node {name} cannot do this project's work ({_said(error)}): nodes need the Python environment of"
                    " this machine, at the same place"
                ) from error
            if answer != "yes":
                raise BadInput(f"the node {name} does not see {place}: name a --store that all nodes see")


def _asked(node: dict[str, Any], sign: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return _remote(sees, 1, num_cpus=0, scheduling_strategy=there).remote(sign)


def _remote(function: Any, threads: int, **options: Any) -> Any:
    import ray

    own = {"env_vars": cluster.own_environment(threads)}
    return ray.remote(function).options(max_retries=0, runtime_env=own, **options)


def _fits(has: dict[str, float], asked: Resources) -> bool:
    return has.get("CPU", 0) >= asked.cpus and has.get("GPU", 0) >= asked.gpus


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
