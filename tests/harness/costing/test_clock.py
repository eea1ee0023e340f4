"""The peak of a process's memory is its own."""

import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from places import ROOT
from trackablate.harness.costing.clock import STATUS, mapped_bytes, own_bytes, peak_rss_bytes

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


@pytest.mark.skipif(not STATUS.exists(), reason="this system does not tell")
def test_mapped_files_are_told_apart_from_what_the_process_holds(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(50 * MIB))
    own, mapped = own_bytes(), mapped_bytes()
    assert own is not None
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        assert pages.rfind(b"x") == -1, "reads all of it"
        assert mapped_bytes() - mapped > 45 * MIB
        assert (own_bytes() or 0) - own < 20 * MIB
    held = np.ones(50 * MIB, dtype=np.uint8)
    assert (own_bytes() or 0) - own > held.nbytes - 20 * MIB
