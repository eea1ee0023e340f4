"""`data check`: every part of a data set that is there is verified, and what is missing is said with what to do."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackablate.datasets.errors import DataError
from trackablate.harness.cli.pieces import check_data, frames_of
from video_factory import JPEG, boxes, images, write, zipped

VAL = "val/GOT-10k_Val_000001"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "root", {f"{VAL}/groundtruth.txt": boxes(20)})
    write(tmp_path / "root", {f"{VAL}/absence.label": "0\n" * 20, f"{VAL}/cover.label": "8\n" * 20})
    return write(tmp_path / "root", images(VAL, range(1, 21)))


def _message(entry: str, *, deep: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        check_data(entry, deep=deep)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_there_and_what_is_not(root: Path, tmp_path: Path, packed: bool) -> None:
    found = check_data(f"got10k={zipped(root, tmp_path / 'g.zip') if packed else root}", deep=True)
    assert found["data"] == "got10k"
    assert found["protocols"] == {"got10k-val": "1 of 180 sequences"}
    missing, *absent = found["problems"]
    assert missing.startswith("missing of GOT-10k's validation set: GOT-10k_Val_000002, ")
    assert [": holds no sequence of GOT-10k's test set; expected" in absent[0], len(absent)] == [True, 2]


def test_annotations_only_are_said_to_be_that(root: Path) -> None:
    for image in root.rglob("*.jpg"):
        image.unlink()
    first = check_data(f"got10k={root}")["problems"][0]
    assert first == "got10k-val: annotations only, enough to score results; add the images to track them"
    (root / VAL / "cover.label").unlink()
    assert "cover.label: is missing" in _message(f"got10k={root}")


def test_a_damaged_frame_is_found_by_going_deep(root: Path) -> None:
    (root / VAL / "00000002.jpg").write_bytes(JPEG[:-2])
    check_data(f"got10k={root}")
    assert "00000002.jpg: is truncated" in _message(f"got10k={root}", deep=True)


def test_all_that_is_wrong_comes_in_one_message(root: Path) -> None:
    write(root, {"test/GOT-10k_Test_000001/groundtruth.txt": "x"})
    (root / VAL / "00000001.jpg").unlink()
    said = _message(f"got10k={root}")
    assert said.startswith("2 problems")
    assert "frame number 1 is missing" in said
    assert "GOT-10k_Test_000001/groundtruth.txt, line 1: 4 numbers wanted" in said


def test_a_hostile_archive_is_refused_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "lasot.zip", "w") as archive:
        archive.writestr("../groundtruth.txt", boxes(3))
    assert "problems" not in (said := _message(f"lasot={tmp_path / 'lasot.zip'}"))
    assert said.count("leads out of it") == 1


def test_nothing_of_the_data_set_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "stray").mkdir()
    for name in ("lasot", "lasot_ext", "trackingnet", "got10k", "tnl2k", "nfs", "uav123", "otb", "coco"):
        assert str(tmp_path) in _message(f"{name}={tmp_path}")
    with pytest.raises(DataError, match="no data set is called 'lasott': did you mean lasot"):
        check_data(f"lasott={tmp_path}")
    with pytest.raises(DataError, match="is neither a folder nor an archive"):
        check_data(f"lasot={tmp_path / 'x'}")


def test_frames_of_a_folder_are_sorted_by_name(tmp_path: Path) -> None:
    write(tmp_path, images("video", range(8, 11), "%d.jpg") | {"video/notes.txt": "x"})
    frames: Iterator[object] = frames_of(tmp_path / "video")
    assert len(list(frames)) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no image \(.jpg, .jpeg, .png\)"):
        frames_of(tmp_path / "empty")
    with pytest.raises(DataError, match="is not there"):
        frames_of(tmp_path / "nowhere")
