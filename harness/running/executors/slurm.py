"""Runs as jobs of SLURM, handed in through submitit: one job for each task.

Everything goes through the folder `jobs` of the store, which every node has to see. A task is a file, and so is the reply to
it; what a job prints is in a folder beside them, which stays if the job fails. A job's name says which task it has, so that
a command that is started again finds the jobs of the one before. This process only hands in jobs and reads replies; it also
prepares the study, which takes seconds. Imports no torch.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from math import ceil, inf
from pathlib import Path
from signal import SIGUSR2

from pydantic import BaseModel

from trackablate.harness.documents import read_document, write_document
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.running.executors import elsewhere
from trackablate.harness.running.executors.elsewhere import (
    Preparing,
    Resources,
    devices,
    own_environment,
    pairs,
    places,
)
from trackablate.harness.running.executors.local import LOG_TAIL, LocalExecutor
from trackablate.harness.running.tasks import Execution, PrepareTask, Reply, Task, WorkerSettings
from trackablate.harness.running.threads import drop_launchers, quiet_threads
from trackablate.harness.running.worker import answer
from trackablate.harness.spec import Profile
from trackablate.harness.store import Store
from trackablate.harness.training.stopping import Interrupted, listen

PASSED_ON = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "nodelist": "nodelist",
    "exclude": "exclude",
    "gpus": "gpus_per_node",
    "cpus": "cpus_per_task",
    "memory": "mem",
    "time": "time",
}
"""The keys of --slurm, and what submitit calls them; `jobs` is beside them."""
MINUTES = 240
"""A job's time unless the user says another: a run that takes longer goes on in the same job, which is queued again."""
SIGNAL_SECONDS = 90
"""How long before the end of its time a job is told so."""
LOOK_SECONDS, REPLY_SECONDS = 15.0, 1.0
"""How often SLURM is asked about the jobs, and the store for replies."""
GRACE_SECONDS = 90.0
"""How long a reply may stay unseen after its job's end: network file systems remember folders for a minute."""
MOST_RESTARTS = 100
"""How often a job is queued again because its time was over."""
PREFIX = "trackablate-"
"""Of the names of jobs."""
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
)


class Order(BaseModel):
    """What a job has to do. `task` is the task's line of JSON."""

    task: str
    settings: WorkerSettings


def resources(text: str, profile: Profile, each: int, device: str) -> Resources:
    """Return what --slurm asks for, by default what a profile's runs need with so many GPUs or processes each.

    Raises:
        BadInput: A key or value that SLURM does not know, or fewer GPUs than share a run.
    """
    asked = pairs("--slurm", text, (*PASSED_ON, "jobs"))
    found = elsewhere.resources("--slurm", asked, each, device)
    gpus, cpus = found.gpus, found.cpus
    memory = asked.get("memory", f"{ceil(profile.worker_gigabytes * max(each, gpus))}G")
    if not re.fullmatch(r"\d+[KMGT]?B?", memory):
        raise BadInput(f"--slurm memory={memory}: write a size, as memory=16G")
    known = {**asked, "cpus": cpus, "memory": memory, "time": minutes(asked["time"]) if "time" in asked else MINUTES}
    known["gpus"] = gpus
    return replace(found, parameters={PASSED_ON[key]: value for key, value in known.items() if value and key != "jobs"})


def minutes(text: str) -> int:
    """Return a time as SLURM writes it, in minutes: 90, 90:00, 1:30:00, 2-0, 2-12:00 or 2-12:00:00. Raises BadInput."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not found or not any(map(int, filter(None, found.groups()))):
        raise BadInput(f"--slurm time={text}: write minutes, hours:minutes:seconds or days-hours, as time=4:00:00")
    days, *parts = (int(part or 0) for part in found.groups())
    first, second, third = parts
    if found[1] or found[4]:
        return ceil(days * 1440 + first * 60 + second + third / 60)
    return ceil(first + second / 60)


def refuse_absent() -> None:
    """Raise BadInput if there is no SLURM here, or no submitit."""
    if find_spec("submitit") is None:
        raise BadInput("--executor slurm needs a package: python -m pip install 'trackablate[slurm]'")
    if shutil.which("sbatch") is None:
        raise BadInput(
            "--executor slurm: sbatch is not on the PATH; start the command where jobs are handed in, as on a login node"
        )


class SlurmExecutor:
    """Hands tasks to SLURM. `detached`: it leaves when all jobs are handed in."""

    def __init__(self, store: Store, asked: Resources, *, detached: bool = False) -> None:
        self.folder, self.asked, self.detached = store.root / "jobs", asked, detached
        self.local = LocalExecutor(store.logs)
        self.left: dict[str, str] = {}
        self._states: dict[str, tuple[str, str]] = {}
        self._replies = self.stale = frozenset(file.name for file in self.folder.glob("*.reply.json"))
        self.looked = self._asked = self._read = -inf

    def start(self, settings: WorkerSettings) -> "SlurmWorker":
        """Return a worker; its jobs are handed in when it has tasks."""
        return SlurmWorker(self, settings)

    def places(self, tasks: int, store: Store, device: str, how: Execution) -> list[WorkerSettings]:
        """Return the settings of a worker for each task, or for as many as shall be at work at once."""
        return places(self.asked, tasks, store, device, how)

    def farewell(self) -> str:
        """Return what the user has to know of the jobs that go on without this process, "" if there are none."""
        if not self.left:
            return ""
        store, jobs = shlex.quote(str(self.folder.parent)), " ".join(sorted(self.left.values(), key=_number))
        return (
            f"{len(self.left)} jobs go on: `python -m harness watch --store {store}` shows them, the same command takes up"
            f" their results, and `scancel {jobs}` ends them\n"
        )

    def job(self, name: str) -> tuple[str, str]:
        """Return the number and state of the newest job of a name, by what SLURM said last; two empty texts for none.

        Raises RunFailed if SLURM has never answered: jobs of the command before would be handed in a second time.
        """
        if time.monotonic() - self._asked >= LOOK_SECONDS:
            self._asked = time.monotonic()
            self._look()
        return self._states.get(name, ("", ""))

    def replied(self, key: str) -> bool:
        """Return whether the reply to a task is there, by what the store had last."""
        if time.monotonic() - self._read >= REPLY_SECONDS:
            self._read = time.monotonic()
            self._replies = frozenset(file.name for file in self.folder.glob("*.reply.json"))
        return f"{key}.reply.json" in self._replies

    def submit(self, name: str, order: Path, threads: int) -> str:
        """Hand in a job and return its number. Raises RunFailed with the words of SLURM."""
        from submitit import SlurmExecutor as Submitter
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        submitter = Submitter(order.with_suffix(""), python=f"{shlex.quote(sys.executable)} -P")
        submitter.update_parameters(
            job_name=name,
            setup=[f"export {key}={shlex.quote(value)}" for key, value in own_environment(threads).items()],
            signal_delay_s=SIGNAL_SECONDS,
            stderr_to_stdout=True,
            srun_args=[f"--cpus-per-task={self.asked.cpus}"],  # which srun of newer versions does not take from the job
            additional_parameters={"requeue": True},
            **self.asked.parameters,
        )
        try:
            return str(submitter.submit(carry_out, str(order)).job_id)
        except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError, OSError) as error:
            raise RunFailed(
                f"SLURM did not take a job: {error}. If that says that you have too many, use --slurm jobs=N"
            ) from error

    def _look(self) -> None:
        asked = ["squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%j"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode == 0:  # else the last answer counts
            lines = [line.split("|", 2) for line in done.stdout.splitlines() if f"|{PREFIX}" in line]
            lines.sort(key=lambda line: _number(line[0]))
            self._states = {name: (job, state) for job, state, name in lines}
            self.looked = time.monotonic()
        elif self.looked == -inf:
            raise RunFailed(f"squeue does not answer ({done.stderr.strip()}): start the command again when it does")


@dataclass
class SlurmWorker:
    """One job after the other, or none: the next task is the next job. Preparation is done by a process here."""

    executor: SlurmExecutor
    settings: WorkerSettings
    _here: Preparing | None = None
    _key: str = ""
    _job: str = ""
    _since: float = 0.0
    _gone: float | None = None

    def do(self, task: Task) -> None:
        """Hand in a job for the task, unless a process before this one did and it has not ended."""
        if isinstance(task, PrepareTask):
            device = devices("a node of SLURM", self.executor.asked)
            self._here = Preparing(self.executor.local, self.settings, task, device)
            return
        line = task.model_dump_json()
        self._key, self._gone = sha256(f"{self.settings.store} {line}".encode()).hexdigest()[:16], None
        self._job, state = self.executor.job(self._name)
        replied = self._reply.exists() and self._reply.name not in self.executor.stale  # since the study was planned
        if not replied and (not self._job or state in ENDED):
            self._reply.unlink(missing_ok=True)
            write_document(self._order, Order(task=line, settings=self.settings))
            self._job = self.executor.submit(self._name, self._order, self.settings.threads)
        self._since = time.monotonic()
        self.executor.left[self._key] = self._job

    def poll(self) -> Reply | None:
        """Return the reply to the task, None while its job waits or is at work."""
        if self._here is not None:
            return self._here.poll()
        if not self._key:
            return None
        if self.executor.replied(self._key) and (reply := read_document(self._reply, Reply)):
            return self._ended(reply)
        job, state = self.executor.job(self._name)
        if self.executor.looked <= self._since or (job and state not in ENDED):
            self._gone = None
            return None
        if self._gone is None:
            self._gone = time.monotonic()
            return None
        if time.monotonic() - self._gone < GRACE_SECONDS:
            return None
        how = f"ended as {state}" if state else "is not known to SLURM any more"
        return self._ended(Reply(status="died", text=f"job {self._job} of SLURM {how}: {self._said()}", last=True))

    def at_work(self) -> bool:
        """Return whether the job has left the queue."""
        return self.executor.job(self._name)[1] not in ("", "PENDING", "CONFIGURING", "REQUEUED")

    def stop(self) -> None:
        """Leave the job to itself."""
        if self._here is not None:
            self._here.stop()
            self._here = None

    def _ended(self, reply: Reply) -> Reply:
        self._reply.unlink(missing_ok=True)
        self._order.unlink(missing_ok=True)
        if reply.status == "done":
            shutil.rmtree(self._order.with_suffix(""), ignore_errors=True)
        del self.executor.left[self._key]
        self._key = ""
        return reply.model_copy(update={"last": True})

    def _said(self) -> str:
        log = self._order.with_suffix("") / f"{self._job}_0_log.out"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
        return "\n".join(lines[-LOG_TAIL:]) or "it said nothing"

    @property
    def _name(self) -> str:
        return f"{PREFIX}{self._key}"

    @property
    def _order(self) -> Path:
        return self.executor.folder / f"{self._key}.json"

    @property
    def _reply(self) -> Path:
        return reply_file(self._order)


def reply_file(order: Path) -> Path:
    """Return the file for the reply to an order."""
    return order.with_name(f"{order.stem}.reply.json")


def carry_out(file: str) -> None:
    """Do what an order says, write the reply and exit. At the end of its time the job is queued again."""
    order = read_document(Path(file), Order)
    if order is None:
        raise BadInput(f"{file} is not there: is the store on a file system that this node sees?")
    drop_launchers()
    quiet_threads(order.settings.threads)
    listen()
    try:
        reply = answer(order.task, order.settings)
    except Interrupted as error:
        sys.stderr.write(f"{error}\n")
        if error.number == SIGUSR2 and int(os.environ.get("SLURM_RESTART_COUNT", "0")) < MOST_RESTARTS:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
            return
        raise
    write_document(reply_file(Path(file)), reply)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # submitit would write a result of its own, into a folder that may be gone by now


def _number(job: str) -> int:
    return int(job.partition("_")[0])
