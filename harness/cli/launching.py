"""On how many GPUs and machines a command does its runs, as the user or a launcher says it."""

import os
import re
import subprocess
from collections.abc import Mapping

import typer

from trackablate.harness.errors import BadInput
from trackablate.harness.running.tasks import Execution, Joining
from trackablate.harness.running.threads import LAUNCHED

LAUNCHERS = ("env", "slurm")
FIRST_PORT, PORTS = 20_000, 10_000
"""Ports from which the number of a SLURM step chooses one: below those that systems give by themselves."""


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
