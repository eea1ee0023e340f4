"""A store that cannot be written to: everything that only reads works, and what writes says so in one sentence."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import store_factory
from command_line import invoke, said
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.profiles import load_profile
from trackablate.harness.store import Store

SMOKE = load_profile("smoke")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root, shown = tmp_path_factory.mktemp("writable"), tmp_path_factory.mktemp("read-only")
    store_factory.fill(Store(root / "store"), STUDIES["table3"], SMOKE)
    if os.getuid():
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            folder.chmod(0o555)
        yield root / "store"
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        return
    # No permission stops the user root; a mount does.
    mounted = [["mount", "--bind", root, shown], ["mount", "-o", "remount,ro,bind", shown]]
    if any(subprocess.run(command, check=False, capture_output=True).returncode for command in mounted):
        subprocess.run(["umount", shown], check=False, capture_output=True)
        pytest.skip("NOT TESTED: root may not mount anything here, and no permission stops root")
    yield shown / "store"
    subprocess.run(["umount", "--lazy", shown], check=True)  # thumbnails stay open


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One sequence of OTB, black."""
    folder = tmp_path / "otb" / "Basketball"
    (folder / "img").mkdir(parents=True)
    (folder / "groundtruth_rect.txt").write_text("5,6,20,16\n" * 725)
    for number in range(1, 726):
        (folder / "img" / f"{number:04d}.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((60, 80, 3), np.uint8))[1])
    return tmp_path / "otb"


def test_what_only_reads_works(store: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"denied|Read-only"):
        (store / "x").touch()
    here = ("--store", store)
    smoke = ("table3", "--profile", "smoke", *here)
    assert len(said("store", "list", store)) == 6
    assert not said("store", "gc", store)["removed"]
    assert not any(run["training"] for run in said("plan", *smoke)["runs"])
    planned = invoke("plan", *smoke, "--protocol", "otb", "--data", f"otb={data}")
    assert "1 of 100 sequences" in planned.output
    assert said("report", *smoke, "--out", tmp_path / "report")["study"] == "table3"
    unknown = invoke("report", *smoke, "--protocol", "otb", "--data", f"otb={data}", "--out", tmp_path / "other")
    assert unknown.exit_code == 0, unknown.output
    assert said("site", *here, "--out", tmp_path / "site")["pages"]
    assert invoke("watch", "--once", *here).exit_code == 0
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "Basketball.txt").write_text("5,6,20,16\n" * 725)
    scored = ("score", f"A={tmp_path / 'results'}", "--protocol", "otb", "--annotations", data, *here)
    assert said(*scored)["frames"] == 725
    assert said("store", "push", store, tmp_path / "remote")["files"]
    exported = ("export", "ncc", "--protocol", SMOKE.protocols[0], "--layout", "pytracking", "--out", tmp_path / "out")
    assert invoke(*exported, *here).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["run", "table3", "--profile", "smoke", "--store", "STORE"],
        ["train", "ostrack-256", "--profile", "smoke", "--store", "STORE"],
        ["evaluate", "ncc", "--protocol", "synthetic-smoke", "--again", "--store", "STORE"],
        ["store", "gc", "STORE", "--drop", "thumbnails", "--yes"],
        ["store", "pull", "STORE", "REMOTE"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_writes_is_refused_in_one_sentence(store: Path, tmp_path: Path, words: list[str]) -> None:
    places = {"STORE": store, "REMOTE": tmp_path}
    done = invoke(*(places.get(word, word) for word in words))
    assert done.exit_code == 2
    assert done.stderr.strip().count("\n") == 0
    assert "is no folder that can be written: name another" in done.stderr
