"""Orders to jobs of SLURM: files in a store's folder `jobs`, with replies beside them, and how a job carries one out."""

import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGUSR2
from typing import Annotated

from pydantic import BaseModel, Field

from trackablate.datasets.atomic import LEFTOVER
from trackablate.harness.documents import read_document, readable, write_document
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.running.executors.slurm_jobs import Jobs
from trackablate.harness.running.tasks import WorkerSettings
from trackablate.harness.running.threads import drop_launchers, quiet_threads
from trackablate.harness.running.worker import answer
from trackablate.harness.store import Store
from trackablate.harness.training.stopping import Interrupted, listen

MOST_RESTARTS = 100
"""How often a job is queued again because its time was over."""
REPLIED = ".reply.json"


class SlurmOrder(BaseModel):
    """What a job has to do.

    Attributes:
        task: The task's line of JSON.
        batch: Name of the jobs that were handed in together, and of the folder where they print: no path, since that goes.
        index: The job's number in its array, None if it is alone in its batch.
        asked: The resources that were asked for, as submitit calls them.
    """

    task: str
    settings: WorkerSettings
    batch: str = Field(pattern=r"^\w+$")
    index: int | None
    asked: dict[str, str | int]


class SlurmBatch(BaseModel):
    """The orders of jobs that were handed in together, by their number in the array: the names of their files."""

    orders: list[Annotated[str, Field(pattern=r"^\w+\.json$")]]


def batch_file(folder: Path) -> Path:
    """Return the file in a batch's folder that names its orders."""
    return folder / "orders.json"


def refuse_shared(folder: Path) -> None:
    """Make the folder of jobs. Raises BadInput if others may write to it, since jobs run as this user."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    about = folder.stat()
    if about.st_uid != os.getuid():
        raise BadInput(
            f"{folder} belongs to another user, who could change what your jobs do: use a store of your own; `store pull`"
            " copies results"
        )
    if about.st_mode & 0o022:
        raise BadInput(f"others may write to {folder}, and so change what your jobs do: chmod go-w {folder}")


def reply_file(order: Path) -> Path:
    """Return the file for the reply to an order."""
    return order.with_name(f"{order.stem}{REPLIED}")


def handed_in_and_replied(store: Store) -> tuple[int, int]:
    """Return how many orders a store has, and how many replies to them: those that no command has cleared away."""
    names = [file.name for file in (store.root / "jobs").glob("*.json")]
    replied = sum(name.endswith(REPLIED) for name in names)
    return len(names) - replied, replied


def read_order(file: Path) -> SlurmOrder | None:
    """Return the order in a file; None if there is none, or it is damaged."""
    return readable(read_document, file, SlurmOrder)


def left_behind(store: Store, jobs: Jobs) -> tuple[list[Path], str]:
    """Return the files of orders of this user whose jobs have ended while no command read their replies.

    Young ones are left out: a command may be handing them in, or reading the reply. The text says why none is known, "" if
    they are.
    """
    files = [file for file in (store.root / "jobs").glob("*.json") if not file.name.endswith(REPLIED)]
    before = time.time() - LEFTOVER
    old = [file for file in files if _own_since(file, before)]
    orders = {file: order for file in old if (order := read_order(file))}
    try:
        ended = {file: one for file, one in orders.items() if not jobs.job(one.batch, one.index).goes_on}
    except (RunFailed, OSError):
        return [], f"jobs: {len(orders)} orders stay, since squeue does not answer here: go where jobs are handed in"
    found = [path for file in ended for path in (file, reply_file(file)) if path.exists()]
    for file, order in ended.items():
        kind = "*.pkl" if order.index is None else f"*_{order.index}_*.pkl"
        found += file.with_name(order.batch).glob(kind)
    return found, ""


def carry_out(place: Path | str) -> int:
    """Do what this job's order says, and write the reply. Return the exit status.

    At the end of its time the job is queued again.

    Args:
        place: Folder of the batch. Jobs that an earlier version has handed in name the order's file, as a string.
    """
    file = Path(place) if isinstance(place, str) else _own_order(place)
    order = read_document(file, SlurmOrder)
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
            subprocess.run(["scontrol", "requeue", _own_number()], check=True)
            return 0
        return 128 + error.number
    write_document(reply_file(file), reply)
    return 0


def _own_order(folder: Path) -> Path:
    batch = read_document(batch_file(folder), SlurmBatch)
    if batch is None:
        return batch_file(folder)
    # A single job may have the variable of an array in which the command was started.
    index = int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0) if len(batch.orders) > 1 else 0
    return folder.with_name(batch.orders[index])


def _own_since(order: Path, before: float) -> bool:
    try:
        stats = [file.stat() for file in (order, reply_file(order)) if file.exists()]
    except FileNotFoundError:  # a command has just taken the reply up
        return False
    return bool(stats) and stats[0].st_uid == os.getuid() and max(about.st_mtime for about in stats) < before


def _own_number() -> str:
    # One job of an array has the number of the whole array as its own, and would queue all of it again.
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


if __name__ == "__main__":
    status = carry_out(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a thread of a logger or plugin would else keep the job, and its GPU
