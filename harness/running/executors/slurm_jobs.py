"""This user's jobs of SLURM, by its own programs: which there are, and handing in and cancelling them."""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import groupby
from math import inf
from pathlib import Path
from typing import NamedTuple

from trackablate.harness.errors import RunFailed
from trackablate.harness.running.executors.cluster import Resources, own_environment

SIGNAL_SECONDS = 90
"""How long before the end of its time a job is told so."""
LOOK_SECONDS = 15.0
"""How often SLURM is asked about the jobs, and told of new ones."""
MOST_TASKS = 1000
"""Of one array: SLURM takes 1001 unless its administrator has changed that."""
ORDERS = "trackablate.harness.running.executors.slurm_orders"
"""The module that a job runs."""
PREFIX = "trackablate-"
"""Of the names of jobs."""
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
)


class SlurmJob(NamedTuple):
    """A job's number, as 17 or 17_3 for the third one of an array, and its state; both empty if SLURM knows none."""

    number: str = ""
    state: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether it waits or is at work."""
        return bool(self.number) and self.state not in ENDED


class Jobs:
    """What SLURM said last of the jobs.

    Attributes:
        looked: When it last answered, by the monotonic clock.
    """

    python = f"{shlex.quote(sys.executable)} -u -P"

    def __init__(self) -> None:
        self._found: dict[tuple[str, int | None], SlurmJob] = {}
        self.looked = self._asked = -inf

    def job(self, batch: str, index: int | None) -> SlurmJob:
        """Return a job of those that were handed in together as a batch, by its number there. Asks every LOOK_SECONDS."""
        if time.monotonic() - self._asked >= LOOK_SECONDS:
            self.look()
        if (batch, index) in self._found:
            return self._found[batch, index]
        whole = self._found.get((batch, None), SlurmJob())  # what is said of the rest of an array
        return whole._replace(number=f"{whole.number}_{index}") if whole.number else whole

    def look(self) -> bool:
        """Ask SLURM now. Return whether it has answered; else its last answer counts.

        Raises RunFailed if it has never answered: jobs of the command before would be handed in a second time.
        """
        self._asked = time.monotonic()
        asked = ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T|%j"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            lines = [line.split("|", 2) for line in done.stdout.splitlines() if f"|{PREFIX}" in line]
            self._found = {
                (name.removeprefix(PREFIX), int(index) if index.isdecimal() else None): SlurmJob(
                    f"{array}_{index}" if index.isdecimal() else array, state
                )
                for number, state, name in lines
                for array, _, index in [number.partition("_")]
            }
            self.looked = time.monotonic()
        elif self.looked == -inf:
            raise RunFailed(f"squeue does not answer ({done.stderr.strip()}): start the command again when it does")
        return done.returncode == 0

    @cached_property
    def most_tasks(self) -> int:
        """How many jobs one array may have, by SLURM's configuration; 1 if it takes no arrays."""
        asked = ["scontrol", "show", "config"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=LOOK_SECONDS)
        except (OSError, subprocess.TimeoutExpired):  # some sites give users sbatch and squeue only
            return MOST_TASKS
        found = re.search(r"^MaxArraySize\s*=\s*(\d{1,9})\s*$", done.stdout, re.MULTILINE)
        return max(1, min(MOST_TASKS, int(found[1]))) if found else MOST_TASKS

    def submit(self, folder: Path, asked: Resources, count: int, threads: int) -> list[str]:
        """Hand in jobs for the orders of a batch, several as one array, and return their numbers.

        `folder` is the batch's, where they print. At most `asked.jobs` of an array are at work at once. Raises RunFailed
        with the words of SLURM.
        """
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        class Submitter(submitit.SlurmExecutor):
            # By itself a job would unpickle a call from the store, and so run what others may have written there.
            _submitit_command_str = f"{self.python} -m {ORDERS} {shlex.quote(str(folder))}"

        submitter = Submitter(folder, python=self.python)
        submitter.update_parameters(
            job_name=f"{PREFIX}{folder.name}",
            setup=[f"export {key}={shlex.quote(value)}" for key, value in own_environment(threads).items()],
            signal_delay_s=SIGNAL_SECONDS,
            stderr_to_stdout=True,
            srun_args=[f"--cpus-per-task={asked.cpus}"],  # which srun of newer versions does not take from the job
            array_parallelism=asked.jobs or count,
            additional_parameters={"requeue": True},
            **asked.parameters,
        )
        try:
            return [str(job.job_id) for job in submitter.submit_array([_nothing] * count)]
        except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError, OSError) as error:
            raise RunFailed(
                f"SLURM did not take the jobs: {error}. If that says that you have too many, use --slurm jobs=N"
            ) from error

    def cancel(self, numbers: Sequence[str]) -> None:
        """Cancel jobs, and ask how they are. With `--state`, scancel would cancel whole arrays: it is left out."""
        if numbers:
            subprocess.run(["scancel", *numbers], capture_output=True, check=False)
            self.look()


def _nothing() -> None:
    """Do nothing. Submitit pickles a call for each job, which is never read."""


def brief(numbers: Iterable[str]) -> str:
    """Return numbers of jobs as scancel takes them, those of an array together: 9 '17_[0-2,5]'."""
    pairs = sorted((int(job), int(index or -1)) for job, _, index in (number.partition("_") for number in numbers))
    return " ".join(_of_array(job, [index for _, index in own]) for job, own in groupby(pairs, lambda pair: pair[0]))


def _of_array(job: int, indices: list[int]) -> str:
    if len(indices) == 1:
        return f"{job}" if indices[0] < 0 else f"{job}_{indices[0]}"
    runs = [[index for _, index in own] for _, own in groupby(enumerate(indices), lambda pair: pair[1] - pair[0])]
    return shlex.quote(f"{job}_[{','.join(f'{run[0]}-{run[-1]}' if len(run) > 1 else f'{run[0]}' for run in runs)}]")
