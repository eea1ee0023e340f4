"""Runs as jobs of SLURM, handed in through submitit: one job for each task, and one array for tasks that come together.

Everything goes through the folder `jobs` of the store, which every node has to see. A task is a file, its order, and so is
the reply to it. The order says in which batch its job was handed in, and the job's name says so too: that is how a command
finds the jobs of another one. Who hands in holds a lease, so that two commands on one store hand in nothing twice. What the
jobs of a batch print is in a folder of its own, where it stays if they fail. This process only hands in jobs and reads
replies; it also prepares the study, which takes seconds. Imports no torch.
"""

import logging
import secrets
import shlex
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from math import inf
from pathlib import Path

from trackablate.datasets.lease import Lease, LeaseLost
from trackablate.harness.documents import read_document, readable, write_document
from trackablate.harness.errors import RunFailed
from trackablate.harness.running.executors import slurm_jobs
from trackablate.harness.running.executors.cluster import ClusterExecutor, ClusterWorker, Resources
from trackablate.harness.running.executors.local import LOG_TAIL
from trackablate.harness.running.executors.slurm_jobs import Jobs, SlurmJob, brief
from trackablate.harness.running.executors.slurm_options import changes
from trackablate.harness.running.executors.slurm_orders import (
    REPLIED,
    SlurmBatch,
    SlurmOrder,
    batch_file,
    read_order,
    refuse_shared,
    reply_file,
)
from trackablate.harness.running.tasks import Reply, SpeedTask, Task, WorkerSettings
from trackablate.harness.store import Store

REPLY_SECONDS = 1.0
"""How often the store is asked for replies."""
GRACE_SECONDS = 90.0
"""How long a reply may stay unseen after its job's end: network file systems remember folders for a minute."""
UNKNOWN = "is not known to SLURM any more, as if it was cancelled while it waited"


class SlurmExecutor(ClusterExecutor):
    """Hands tasks to SLURM.

    Attributes:
        detached: Whether the command leaves when all jobs are handed in.
        renews: Whether jobs that wait with other resources are cancelled and handed in with those that are asked for now.
        left: The numbers of the jobs that have not replied, by task.
    """

    def __init__(self, store: Store, asked: Resources, *, detached: bool = False, renews: bool = True) -> None:
        super().__init__(store, asked, detached=detached)
        self.folder, self.renews, self._store = store.root / "jobs", renews, store
        self.jobs = Jobs()
        self.left: dict[str, str] = {}
        self._new: list[SlurmWorker] = []
        self._replies: frozenset[str] = frozenset()
        self._read = self._handed_in = -inf
        before = [file.with_name(file.name.removesuffix(REPLIED) + ".json") for file in self.folder.glob(f"*{REPLIED}")]
        self._ended: dict[Path, str] = dict.fromkeys(before, "")
        refuse_shared(self.folder)
        self._clear()  # the study's plan knows what these jobs have done

    def start(self, settings: WorkerSettings) -> "SlurmWorker":
        """Return a worker; its jobs are handed in when it has tasks."""
        return SlurmWorker(self, settings)

    def farewell(self) -> str:
        """Clear up, and return what the user has to know of the jobs that go on without this process, "" for none."""
        with suppress(OSError):  # the disk may be full, which is the reason
            self._clear()
        numbers = (self._known() | self.left).values()
        if not numbers:
            return ""
        store = shlex.quote(str(self.folder.parent))
        told = f"{len(numbers)} jobs of this store go on" if len(numbers) > 1 else "1 job of this store goes on"
        return (
            f"{told}: `python -m harness watch --store {store}` shows them, the same command takes up their results, and"
            f" `scancel {brief(numbers)}` ends them\n"
        )

    def replied(self, order: Path) -> bool:
        """Return whether the reply to an order is there, by what the store had last."""
        if time.monotonic() - self._read >= REPLY_SECONDS:
            self._read = time.monotonic()
            self._replies = frozenset(file.name for file in self.folder.glob(f"*{REPLIED}"))
        return reply_file(order).name in self._replies

    def gather(self, worker: "SlurmWorker") -> None:
        """Keep a worker's task until all tasks that are ready are handed in together."""
        self._new.append(worker)

    def hand_in(self) -> None:
        """Hand in the gathered tasks, except those that have a job or a reply. Raises RunFailed with the words of SLURM."""
        if not self._new or time.monotonic() - self._handed_in < slurm_jobs.LOOK_SECONDS:
            return
        self._handed_in = time.monotonic()
        self._store.refuse_gone()
        with suppress(LeaseLost), Lease(self.folder):
            if not self.jobs.look():
                return
            found = {worker.order: order for worker in self._new if (order := read_order(worker.order))}
            gone = self._cancelled(list(found.values()))
            lacking = [worker for worker in self._new if not self._has_job(worker, found.get(worker.order), gone)]
            for worker in lacking:
                if before := found.get(worker.order):
                    self._remove(worker.order, before)
            most = self.jobs.most_tasks if len(lacking) > 1 else 1
            arrays = -(-len(lacking) // most)
            for first in range(0, len(lacking), most):
                self._submit(lacking[first : first + most], arrays)
            self._new.clear()

    def ended(self, worker: "SlurmWorker") -> None:
        """Forget the job of a worker. Its files go with this command, since another one may wait for the same reply."""
        self.left.pop(worker.key, None)
        self._ended[worker.order] = worker.batch

    def _has_job(self, worker: "SlurmWorker", order: SlurmOrder | None, gone: set[str]) -> bool:
        """Return whether a task has a job, or a reply to one; the worker then waits for it."""
        job = self.jobs.job(order.batch, order.index) if order else SlurmJob()
        found = (job.goes_on and job.number not in gone) or reply_file(worker.order).exists()
        if order and found:
            worker.take(order, job)
        return order is not None and found

    def _known(self) -> dict[str, str]:
        """Return the numbers of the store's jobs that go on, by task, if SLURM has said which there are."""
        files = self.folder.glob("*.json") if self.jobs.looked > -inf else ()
        orders = {file.stem: order for file in files if not file.name.endswith(REPLIED) and (order := read_order(file))}
        jobs = {key: self.jobs.job(order.batch, order.index) for key, order in orders.items()}
        return {key: job.number for key, job in jobs.items() if job.goes_on}

    def _cancelled(self, orders: list[SlurmOrder]) -> set[str]:
        """Cancel jobs that wait for other resources, and those that a killed command has handed in by half.

        Returns their numbers.
        """
        known = [(order, job) for order in orders if (job := self.jobs.job(order.batch, order.index)).goes_on]
        half = {job.number for order, job in known if not _pickle(self.folder / order.batch, job).exists()}
        other = [
            (order, job) for order, job in known if order.asked != self.asked.parameters and job.number not in half
        ]
        waiting = {job.number for _, job in other if self.renews and job.state == "PENDING"}
        if other:
            said, stay = changes(other[0][0].asked, self.asked.parameters), len(other) - len(waiting)
            again = f"jobs that waited, handed in again with it: {len(waiting)}; others, which keep what they have"
            kept = "name --slurm to change that of jobs that wait; jobs that keep what they have"
            _say(f"--slurm {said}: {again if self.renews else kept}: {stay}")
        self.jobs.cancel([*half, *waiting])
        return half | waiting

    def _submit(self, workers: "list[SlurmWorker]", arrays: int) -> None:
        folder, parameters = self.folder / secrets.token_hex(8), self.asked.parameters
        orders = [
            SlurmOrder(task=worker.task, settings=worker.settings, batch=folder.name, index=index, asked=parameters)
            for index, worker in enumerate(workers)
        ]
        if len(orders) == 1:
            orders[0].index = None
        for worker, order in zip(workers, orders, strict=True):
            reply_file(worker.order).unlink(missing_ok=True)
            write_document(worker.order, order)
        folder.mkdir(mode=0o700)  # sbatch reads its script there
        write_document(batch_file(folder), SlurmBatch(orders=[worker.order.name for worker in workers]))
        asked = replace(self.asked, jobs=self.asked.jobs and max(1, self.asked.jobs // arrays))
        try:
            numbers = self.jobs.submit(folder, asked, len(workers), workers[0].settings.threads)
        except RunFailed:
            for worker in workers:
                worker.order.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for worker, order, number in zip(workers, orders, numbers, strict=True):
            worker.take(order, SlurmJob(number, "PENDING"))

    def _clear(self) -> None:
        """Remove the files of jobs that have ended, unless another command has handed in the same task again."""
        if not self._ended or not self.folder.exists():
            return
        with Lease(self.folder):
            for file, batch in self._ended.items():
                order = read_order(file)
                if order is None:
                    reply_file(file).unlink(missing_ok=True)
                elif batch in (order.batch, ""):
                    self._remove(file, order)
        self._ended.clear()

    def _remove(self, file: Path, order: SlurmOrder) -> None:
        reply = readable(read_document, reply_file(file), Reply)
        folder, job = self.folder / order.batch, "" if order.index is None else f"_{order.index}"
        kinds = ["submitted.pkl", "0_result.pkl"] + (["0_log.out"] if reply and reply.status == "done" else [])
        for kind in kinds:
            for one in folder.glob(f"*{job}_{kind}"):
                one.unlink(missing_ok=True)
        if not any(folder.glob("*.pkl")):
            batch_file(folder).unlink(missing_ok=True)
            if not any(folder.glob("*.out")):
                shutil.rmtree(folder, ignore_errors=True)
        reply_file(file).unlink(missing_ok=True)
        file.unlink(missing_ok=True)


@dataclass(eq=False)
class SlurmWorker(ClusterWorker):
    """One job after the other, or none: the next task is the next job."""

    executor: SlurmExecutor
    node = "a node of SLURM"
    key: str = ""
    task: str = ""
    batch: str = ""
    _index: int | None = None
    _measures: bool = False
    _number: str = ""
    _since: float = 0.0
    _gone: float | None = None

    def do(self, task: Task) -> None:
        """Hand in a job for the task with the next poll, unless another command did and it has not ended."""
        if self.prepares(task):
            return
        self.task, self.batch, self._measures = task.model_dump_json(), "", isinstance(task, SpeedTask)
        self.key = sha256(f"{self.settings.store} {self.task}".encode()).hexdigest()[:16]
        self.executor.gather(self)

    def take(self, order: SlurmOrder, job: SlurmJob) -> None:
        """Wait for a job from now on."""
        self.batch, self._index, self._gone = order.batch, order.index, None
        self._number, self._since = job.number, time.monotonic()
        if job.number:
            self.executor.left[self.key] = job.number

    def poll(self) -> Reply | None:
        """Return the reply to the task, None while its job waits or is at work."""
        if self._here is not None:
            return self.prepared()
        if not self.key:
            return None
        self.executor.hand_in()
        if not self.batch:
            return None
        if self.executor.replied(self.order) and (reply := read_document(reply_file(self.order), Reply)):
            return self._end(reply)
        job = self._job
        if self.executor.jobs.looked <= self._since or job.goes_on:
            self._gone = None
            return None
        self._gone = self._gone or time.monotonic()
        if time.monotonic() - self._gone < GRACE_SECONDS and self.order.exists():  # else another command has read it
            return None
        order = read_order(self.order)
        if order and order.batch != self.batch:  # another command has handed it in again
            self.take(order, self.executor.jobs.job(order.batch, order.index))
            return None
        if order is None and self._measures:  # the command that has read the reply says whether it failed
            return self._end(Reply(status="done", text=""))
        how = f"ended as {job.state}" if job.state else UNKNOWN
        return self._end(Reply(status="died", text=f"job {self._number} of SLURM {how}: {self._said()}"))

    def at_work(self) -> bool:
        """Return whether the job has left the queue."""
        return bool(self.batch) and self._job.state not in ("", "PENDING", "CONFIGURING", "REQUEUED")

    @property
    def order(self) -> Path:
        """The file of the order."""
        return self.executor.folder / f"{self.key}.json"

    @property
    def _job(self) -> SlurmJob:
        return self.executor.jobs.job(self.batch, self._index)

    def _end(self, reply: Reply) -> Reply:
        self.executor.ended(self)
        self.key = ""
        return reply.model_copy(update={"last": True})

    def _said(self) -> str:
        log = self.executor.folder / self.batch / f"{self._number}_0_log.out"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
        return "\n".join(lines[-LOG_TAIL:]) or "it said nothing"


@cache
def _say(text: str) -> None:
    """Log a warning once: a command that hands in a few jobs at a time finds one after the other."""
    logging.getLogger(__name__).warning(text)


def _pickle(folder: Path, job: SlurmJob) -> Path:
    """Return the file that submitit keeps for a job once it is handed in whole."""
    return folder / f"{job.number}_submitted.pkl"
