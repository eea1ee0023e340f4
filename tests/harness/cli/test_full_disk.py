"""A disk without room: one message that names the file, no traceback, and nothing half-written."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import store_factory
from places import MINI
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.profiles import load_profile
from trackablate.harness.store import Store

ROOM = 300
"""Bytes that a file can have."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("full")
    store_factory.fill(Store(found / "store"), STUDIES["table3"], load_profile("smoke"))
    return found


def without_room() -> None:
    """No file can grow, as on a full disk; the error names no file either."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


SCORED = ("score", f"a={MINI / 'results' / 'static'}", "--annotations", str(MINI / "annotations"))
COMMANDS = {
    ("report", "table3", "--profile", "smoke", "--format", "json", "--out", "out"): "out/results.json: ",
    (*SCORED, "--protocol", "lasot", "--store", "kept"): "",
    ("export", "ncc", "--protocol", "synthetic-smoke", "--layout", "pytracking", "--out", "out"): "",
    ("site", "--out", "out"): "out/table3-smoke/index.html: ",
}
"""Each command, and the file that its message names."""


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_full_disk(place: Path, words: tuple[str, ...]) -> None:
    before = {file: file.read_bytes() for file in (place / "store").rglob("*") if file.is_file()}
    command = [sys.executable, "-m", "trackablate", *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, preexec_fn=without_room)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("File too large; name another place, or make room there")
    assert COMMANDS[words] in done.stderr
    assert not list(place.rglob("*.tmp"))
    assert {file: file.read_bytes() for file in (place / "store").rglob("*") if file.is_file()} == before
