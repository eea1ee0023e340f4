"""The shipped declarations of published benchmarks, on files in their layouts."""

import subprocess
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
    assert checked(DECLARED / "vasttrack.toml", data) == "1 sequences, of no list"
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
    assert checked(DECLARED / "itb.toml", data) == "1 sequences, of no list"


def test_every_declaration_is_tested_here_and_named_on_its_page() -> None:
    page = (ROOT / "docs" / "declared.md").read_text()
    assert {file.stem for file in DECLARED.glob("*.toml")} == {"vasttrack", "avist", "itb"}
    assert all(f"(declared/{file.name})" in page for file in DECLARED.iterdir())
