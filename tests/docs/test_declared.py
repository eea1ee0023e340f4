"""The shipped declarations of published benchmarks, on files in their layouts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import said
from places import ROOT
from trackablate.datasets import protocols
from trackablate.harness.scoring.dialects import DIALECTS, known_protocol
from video_factory import boxes, images, write

DECLARED = ROOT / "docs" / "declared"


@pytest.fixture(autouse=True)
def _own_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "DECLARED", {})
    monkeypatch.setenv(protocols.VARIABLE, "")


def checked(file: Path, data: Path) -> str:
    return str(said("data", "check", file, "--data", f"{file.stem}={data}")["protocols"][file.stem])


def vast(data: Path, folder: str = "img", width: int = 8) -> Path:
    names = {
        f"Adhesive Tape/Adhesive Tape-38/{folder}/{number:0{width}}.jpg": image
        for number, image in enumerate(images("a", range(1, 5)).values(), start=1)
    }
    rows = boxes(3) + "0,0,0,0\n"
    return write(data, names | {"Adhesive Tape/Adhesive Tape-38/Groundtruth.txt": rows})


@pytest.mark.parametrize(("folder", "width"), [("img", 8), ("imgs", 5)])
def test_vasttrack(folder: str, width: int, tmp_path: Path) -> None:
    """Both names of the folder of images that readers use. The invisible frame misses everything, as in its toolkit."""
    data = vast(tmp_path / "data", folder, width)
    assert checked(DECLARED / "vasttrack.toml", data) == "1 sequence, of no list"
    write(tmp_path / "results", {"Adhesive Tape-38.txt": boxes(3) + "9,9,9,9\n"})
    where = ["--protocol", DECLARED / "vasttrack.toml", "--annotations", data, "--dialect", "ostrack"]
    found = said("score", f"Mine={tmp_path / 'results'}", *where)["dialects"]["ostrack"]["Mine"]
    assert found["precision"] == found["norm_precision"] == 75
    assert DIALECTS["ostrack"].on(known_protocol("vasttrack").scored_as).flags == "used"


def test_vasttracks_official_list_tells_what_is_missing(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "declared.md").read_text()
    (command,) = (line for line in page.splitlines() if "vasttrack_test_list.txt)" in line)
    (tmp_path / "vasttrack_test_list.txt").write_text("Adhesive Tape-38\nAardwolf-1\n")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    text = (DECLARED / "vasttrack.toml").read_text()
    (tmp_path / "vasttrack.toml").write_text(f'{text}list = "vasttrack_test.csv"\n')
    assert checked(tmp_path / "vasttrack.toml", vast(tmp_path / "data")) == "1 of 2 sequences"


def test_avist(tmp_path: Path) -> None:
    shown = {
        f"sequences/air_show/img_{number:05}.jpg": image
        for number, image in enumerate(images("a", range(1, 4)).values(), start=1)
    }
    flags = {f"{kind}/air_show_{kind}.txt": "0\n1\n0\n" for kind in ("full_occlusion", "out_of_view")}
    data = write(tmp_path, shown | flags | {"anno/air_show.txt": boxes(3).replace(",", " ")})
    assert checked(DECLARED / "avist.toml", data) == "1 of 120 sequences"


def test_itb(tmp_path: Path) -> None:
    data = write(tmp_path, images("human/dance", range(1, 4)) | {"human/dance/groundtruth.txt": boxes(3)})
    assert checked(DECLARED / "itb.toml", data) == "1 sequence, of no list"


FRAMES = [f"cat/cat-1/img/{number:08}.jpg" for number in range(1, 8)]
BETWEEN = [[0.0] * 4] * 2
"""What stands in the rows between is not known: these would be misses if they were read."""


@pytest.mark.parametrize("several", [False, True])
def test_lagot(several: bool, tmp_path: Path) -> None:
    """Frames 0, 3 and 6 are annotated; in the last one the target is absent."""
    rows = [[2.0, 3.0, 10.0, 12.0], *BETWEEN, [22.0, 3.0, 10.0, 12.0], *BETWEEN, [-1.0] * 4]
    xywh = {"0": rows, "7": rows[3:4] + rows[1:]} if several else rows
    (tmp_path / "a.json").write_text(json.dumps({"cat-1": {"xywh": xywh, "frames": FRAMES}}))
    data = write(tmp_path / "LaSOT", images("cat/cat-1/img", range(1, 10)))
    for name in ("lagot.py", "lagot.toml"):
        (tmp_path / name).write_text((DECLARED / name).read_text())
    subprocess.run([sys.executable, "lagot.py", "a.json", data], cwd=tmp_path, check=True)
    names = ["cat-1-0", "cat-1-7"] if several else ["cat-1"]
    assert checked(tmp_path / "lagot.toml", data) == f"{len(names)} of {len(names)} sequences"
    write(tmp_path / "results", {f"{name}.txt": "22,3,10,12\n" * 7 for name in names})
    found = said("score", f"Mine={tmp_path / 'results'}", "--protocol", tmp_path / "lagot.toml", "--annotations", data)
    assert found["frames"] == 3 * len(names)
    assert found["dialects"]["ostrack_exclude_invalid"]["Mine"]["op50"] == pytest.approx(100)
    write(tmp_path / "results", {f"{name}.txt": "2,3,10,12\n" * 7 for name in names})
    found = said("score", f"Mine={tmp_path / 'results'}", "--protocol", tmp_path / "lagot.toml", "--annotations", data)
    assert found["dialects"]["ostrack_exclude_invalid"]["Mine"]["op50"] == pytest.approx(50)


def test_every_declaration_is_tested_here_and_named_on_its_page() -> None:
    page = (ROOT / "docs" / "declared.md").read_text()
    assert {file.stem for file in DECLARED.glob("*.toml")} == {"vasttrack", "avist", "itb", "lagot"}
    assert all(f"(declared/{file.name})" in page for file in DECLARED.iterdir())
