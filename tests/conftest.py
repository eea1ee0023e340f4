"""Runs before every test module: binds the project's own packages, and keeps torch to one thread."""

import sys

import harness
from harness.threads import quiet_threads

__all__ = ["harness"]

quiet_threads(1)


def pytest_collection_finish() -> None:
    """Torch keeps a user's OMP_NUM_THREADS; the tests' numbers and times are meant for one thread. Torch is not loaded
    here: tests without it start in no time."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
