"""Settings of threads and memory that must be made before torch is loaded."""

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
        # glibc would return the memory of each large tensor and ask for it again, a page at a time
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    }.items():
        environment.setdefault(name, value)
