"""The peak of a process's memory is its own."""

import subprocess
import sys

import numpy as np
import pytest

from places import ROOT
from trackablate.harness.costing.clock import STATUS, peak_rss_bytes

MIB = 2**20


@pytest.mark.skipif(not STATUS.exists(), reason="only getrusage's peak here, which a child process inherits")
def test_a_workers_peak_is_not_that_of_the_process_that_started_it() -> None:
    held = np.ones(400 * MIB, dtype=np.uint8)
    script = "from trackablate.harness.costing.clock import STATUS, peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert peak_rss_bytes() > held.nbytes
    assert 5 * MIB < int(done.stdout) < 200 * MIB


def test_the_peak_stays_when_memory_is_given_back() -> None:
    before = peak_rss_bytes()
    held = np.ones(before + 50 * MIB, dtype=np.uint8)
    peak = peak_rss_bytes()
    assert peak > held.nbytes
    del held
    assert peak_rss_bytes() > peak - MIB, "the kernel counts pages in batches"
