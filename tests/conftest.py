"""Runs before every test module: keeps torch to one thread, and the checkout's folders out of other packages' way."""

import os
import sys

import pytest

from places import SRC
from trackablate.datasets import protocols
from trackablate.harness.checkout import hide_checkout
from trackablate.harness.running.threads import quiet_threads

hide_checkout()
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(SRC), *filter(None, [os.environ.get("PYTHONPATH")])]
)  # for child processes
quiet_threads(1)


def pytest_collection_finish() -> None:
    """Torch keeps a user's OMP_NUM_THREADS; the tests' numbers and times are meant for one thread. Torch is not loaded
    here: tests without it start in no time."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def _declares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of declared data sets are known to a process, and to those that it starts; no test knows another one's."""
    monkeypatch.setattr(protocols, "DECLARED", {})
    monkeypatch.setenv(protocols.VARIABLE, "")
