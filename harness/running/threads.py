"""Settings of the environment that must be made before torch is loaded."""

import os
from collections.abc import MutableMapping


def quiet_threads(threads: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let a process use `threads` CPU threads that sleep while they wait. The user's own settings win.

    If anything else runs on the machine, GNU OpenMP's busy waiting makes two threads ten times slower than one.
    """
    for name, value in {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
    }.items():
        environment.setdefault(name, value)


LAUNCHERS = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "OMPI_COMM_WORLD_", "PMI_", "MV2_COMM_WORLD_")
RANKS = (
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "NODE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)

LAUNCHED: dict[str, str] = {}
"""What a launcher said of this process before the command line dropped it, for `--rendezvous env`."""


def drop_launchers(environment: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """Remove the settings of accelerate, torchrun and MPI, and return them.

    What a run computes is in its specification. A left-over ACCELERATE_GRADIENT_ACCUMULATION_STEPS would change its
    weights, and a left-over WORLD_SIZE would let it wait for other processes for ever.
    """
    found = sorted(name for name in environment if name in RANKS or name.startswith(LAUNCHERS))
    return {name: environment.pop(name) for name in found}
