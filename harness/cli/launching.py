"""A study as the user types it, and on how many GPUs and machines a command does its runs, as user or launcher say it."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Literal

import typer

from trackablate.datasets.protocols import as_asked
from trackablate.harness.errors import BadInput
from trackablate.harness.running.tasks import AS_USUAL, Execution, Joining
from trackablate.harness.running.threads import LAUNCHED

LAUNCHERS = ("env", "slurm")
FIRST_PORT, PORTS = 20_000, 10_000
"""Ports from which the number of a SLURM step chooses one: below those that systems give by themselves."""


@dataclass(frozen=True)
class StudyRequest:
    """A study as the user typed it.

    Attributes:
        seeds: Number of seeds; None for the study's own number.
        results: NAME=PATH of cited trackers' raw results.
        beside: [NAME=]RUN of further rows.
        purpose: Only `run` writes to the store, or makes it; `report` needs one, but no data.
        changes: Fields of every run as FIELD=VALUE.
        grid: SEQUENCE,FRAME,FRAME,... of the report's figure of frames.
    """

    study: str
    profile: str
    protocols: list[str]
    data: list[str]
    only: list[str]
    store: Path
    seeds: int | None = None
    results: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    purpose: Literal["run", "plan", "report"] = "run"
    changes: tuple[str, ...] = ()
    how: Execution = AS_USUAL
    device: str = "auto"
    truncate: bool = False
    grid: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that does the same, without paths of this machine."""
        nowhere = tuple(f"{entry.split('=')[0]}=PATH" for entry in self.results)
        names = [f"{entry.split('=')[0]}=PATH" for entry in self.data]
        study, profile = Path(self.study).name, Path(self.profile).name
        return replace(self, study=study, profile=profile, data=names, results=nowhere).typed

    @property
    def typed(self) -> str:
        """The command that does the same here, as a user types it; without the store, which messages add."""
        words = ["python -m harness run", quote(self.study)]
        words += ["--profile", quote(self.profile)] if self.profile != "mini" else []
        words += [f"--protocol {quote(as_asked(name))}" for name in self.protocols]
        words += [f"--data {quote(entry)}" for entry in self.data]
        words += [f"--only {quote(name)}" for name in self.only]
        words += [f"--seeds {self.seeds}"] if self.seeds is not None else []
        words += [f"--results {quote(entry)}" for entry in self.results]
        words += [f"--set {quote(text)}" for text in self.changes]
        words += [f"--gpus-per-run {self.how.gpus_per_run}"] if self.how.gpus_per_run > 1 else []
        words += ["--fit-memory"] if self.how.fit_memory else []
        words += ["--fsdp"] if self.how.fsdp else []
        words += [f"--with {quote(entry)}" for entry in self.beside]
        words += ["--truncate"] if self.truncate else []
        return " ".join(words)


def shared(gpus_per_run: int, nodes: int, node_rank: int, rendezvous: str) -> Execution:
    """Return on how many GPUs and machines runs are done. Raises BadInput.

    Of the processes that a launcher has started on a machine, all but the first end here: that one starts its own.
    """
    if rendezvous in LAUNCHERS and (nodes > 1 or node_rank):
        raise BadInput(f"--rendezvous {rendezvous} says which machines there are: leave out --nodes and --node-rank")
    if rendezvous == "slurm":
        return Execution(gpus_per_run=gpus_per_run, joining=in_slurm(os.environ))
    if rendezvous != "env":
        return Execution(gpus_per_run=gpus_per_run, joining=joining(nodes, node_rank, rendezvous))
    place, local, each = launched(LAUNCHED)
    if gpus_per_run not in (1, each):
        raise BadInput(f"--gpus-per-run {gpus_per_run}: the launcher says {each}; leave it out")
    if local:
        raise typer.Exit(0)
    return Execution(gpus_per_run=each, joining=place)


def in_slurm(said: Mapping[str, str]) -> Joining | None:
    """Return this machine's place in a step of SLURM, whose first machine leads, None if it works alone.

    Raises:
        BadInput: This is no process of such a step, or not the only one on its machine.
    """
    try:
        nodes, tasks, node = (int(said[f"SLURM_{name}"]) for name in ("STEP_NUM_NODES", "STEP_NUM_TASKS", "NODEID"))
        number = int(said["SLURM_JOB_ID"]) + int(said["SLURM_STEP_ID"])
        words = ["scontrol", "show", "hostnames", said["SLURM_STEP_NODELIST"]]
        host = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0]
    except (KeyError, ValueError, IndexError, OSError, subprocess.CalledProcessError) as error:
        raise BadInput("--rendezvous slurm: this is no step of SLURM; start the command by srun") from error
    if tasks != nodes:
        raise BadInput(f"--rendezvous slurm: {tasks} tasks on {nodes} nodes; use srun --ntasks-per-node=1")
    if nodes == 1:
        return None
    return Joining(nodes=nodes, node=node, host=host, port=FIRST_PORT + number % PORTS)


def joining(nodes: int, node: int, rendezvous: str) -> Joining | None:
    """Return this machine's place as the user types it, None if it works alone. Raises BadInput."""
    if nodes == 1 and not node and not rendezvous:
        return None
    host, _, port = rendezvous.rpartition(":")
    if not host or not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
        raise BadInput(
            f"--rendezvous {rendezvous or '(none)'}: write HOST:PORT, a port of the machine with --node-rank 0"
        )
    if node >= nodes:
        raise BadInput(f"--node-rank {node}: with --nodes {nodes} it is a number from 0 to {nodes - 1}")
    return Joining(nodes=nodes, node=node, host=host, port=int(port)) if nodes > 1 else None


def launched(said: Mapping[str, str]) -> tuple[Joining | None, int, int]:
    """Return this machine's place by the variables of torchrun or accelerate, and this process's number and count here.

    Raises:
        BadInput: The variables are not whole, or machines have different numbers of processes.
    """
    try:
        size, rank, port = (int(said[name]) for name in ("WORLD_SIZE", "RANK", "MASTER_PORT"))
        each, local = int(said.get("LOCAL_WORLD_SIZE", "1")), int(said.get("LOCAL_RANK", "0"))
        nodes, host = size // each, said["MASTER_ADDR"]
        node = int(said.get("GROUP_RANK", rank // each))
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise BadInput(
            "--rendezvous env: WORLD_SIZE, RANK, MASTER_ADDR and MASTER_PORT are not all in the environment; start the"
            " command by torchrun or accelerate launch, or name HOST:PORT"
        ) from error
    if nodes * each != size:
        raise BadInput(f"--rendezvous env: {size} processes on machines of {each}: start as many on each machine")
    if nodes == 1:
        return None, local, each
    room = f"trackablate {said.get('TORCHELASTIC_RUN_ID', '')} {said.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    opens = said.get("TORCHELASTIC_USE_AGENT_STORE", "False") != "True"
    return Joining(nodes=nodes, node=node, host=host, port=port, opens=opens, room=room), local, each
