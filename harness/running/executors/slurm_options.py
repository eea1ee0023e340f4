"""What --slurm asks for, and whether SLURM has it: everything that is refused before a store is made."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from math import ceil

from trackablate.harness.errors import BadInput
from trackablate.harness.running.executors import cluster
from trackablate.harness.running.executors.cluster import Resources, pairs
from trackablate.harness.spec import Profile

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
LEAST_MINUTES = 5
"""A job's shortest time: its imports can take a minute, and SLURM rings 90 s before the end."""
TEST_SECONDS = 60.0
"""How long SLURM may take to say whether it would take a job; it is asked again when jobs are handed in."""
_NEVER = re.compile(r"invalid|configuration is not available", re.IGNORECASE)
"""In words of SLURM; others are of the moment, such as a node that is down or a user who has too many jobs."""


def resources(text: str, profile: Profile, each: int, device: str) -> Resources:
    """Return what --slurm asks for, by default what a profile's runs need with so many GPUs or processes each.

    Raises BadInput for a key or value that SLURM does not know, or fewer GPUs than share a run.
    """
    asked = pairs("--slurm", text, (*PASSED_ON, "jobs"))
    found = cluster.resources("--slurm", asked, each, device)
    gpus, cpus = found.gpus, found.cpus
    memory = asked.get("memory", f"{ceil(profile.worker_gigabytes * max(each, gpus))}G")
    if not re.fullmatch(r"\d+[KMGT]?B?", memory):
        raise BadInput(f"--slurm memory={memory}: write a size, as memory=16G")
    known: dict[str, str | int] = {**asked, "gpus": gpus, "cpus": cpus, "memory": memory}
    known["time"] = minutes(asked["time"]) if "time" in asked else MINUTES
    return replace(found, parameters={PASSED_ON[key]: value for key, value in known.items() if value and key != "jobs"})


def minutes(text: str) -> int:
    """Return a time as SLURM writes it, in minutes: 90, 90:00, 1:30:00, 2-0, 2-12:00 or 2-12:00:00. Raises BadInput."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not found or not any(map(int, filter(None, found.groups()))):
        raise BadInput(f"--slurm time={text}: write minutes, hours:minutes:seconds or days-hours, as time=4:00:00")
    days, *parts = (int(part or 0) for part in found.groups())
    first, second, third = parts
    whole = days * 1440 + first * 60 + second + third / 60 if found[1] or found[4] else first + second / 60
    if whole < LEAST_MINUTES:
        raise BadInput(
            f"--slurm time={text}: a job needs {LEAST_MINUTES} minutes at least, of which starting takes about one and"
            " the last 90 s are for the checkpoint; a longer time is better, as time=4:00:00"
        )
    return ceil(whole)


def refuse_absent() -> None:
    """Raise BadInput if there is no SLURM here, or no submitit."""
    if find_spec("submitit") is None:
        raise BadInput("--executor slurm needs a package: python -m pip install 'trackablate[slurm]'")
    if shutil.which("sbatch") is None:
        raise BadInput(
            "--executor slurm: sbatch is not on the PATH; start the command where jobs are handed in, as on a login node"
        )


def refuse_unknown(asked: Resources) -> None:
    """Raise BadInput with the words of SLURM for resources that it would never give, such as an unknown partition."""
    words = [f"--{key.replace('_', '-')}={value}" for key, value in asked.parameters.items()]
    command = ["sbatch", "--test-only", *words, "--wrap=true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return
    said = done.stderr.strip()
    if done.returncode and _NEVER.search(said):
        raise BadInput(f"--slurm: SLURM would not take such a job: {said.splitlines()[-1]}")


def changes(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Return which keys of --slurm differ, each with the value before and now."""
    differing = {key: passed for key, passed in PASSED_ON.items() if before.get(passed) != now.get(passed)}
    return ", ".join(f"{key} {before.get(at, 'unset')} -> {now.get(at, 'unset')}" for key, at in differing.items())
