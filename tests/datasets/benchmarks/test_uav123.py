"""UAV123: sequences as ranges of shared folders, NaN while hidden, attributes by name."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from trackablate.datasets.benchmarks import uav123
from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading.frames import ImageFiles

CLIPS = {clip.name: clip for clip in uav123.PART.clips()}


def _jpeg(grey: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((8, 12, 3), grey, np.uint8))[1])


JPEG, BOUNDARY = _jpeg(90), _jpeg(200)


def _images(root: Path, folder: str, last: int, first: int = 1) -> Path:
    path = root / "data_seq/UAV123" / folder
    path.mkdir(parents=True)
    for number in range(first, last + 1):
        (path / f"{number:06d}.jpg").write_bytes(BOUNDARY if number == 577 else JPEG)
    return path


def _annotation(root: Path, name: str, hidden: tuple[int, ...] = ()) -> Path:
    """Boxes whose left edge is at the number of the row, as the file counts."""
    clip = CLIPS[name]
    rows = range(1, clip.last - clip.first + 2)
    file = root / f"anno/UAV123/{name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join("NaN,NaN,NaN,NaN\n" if n in hidden else f"{n},2,5,6\n" for n in rows))
    return file


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        uav123.PART(root).check()
    return str(caught.value)


def test_ranges_of_one_folder_share_their_boundary_frame(tmp_path: Path) -> None:
    _images(tmp_path, "truck4", 1261)
    for name in ("truck4_1", "truck4_2"):
        _annotation(tmp_path, name)
    sequences = uav123.PART(tmp_path)
    sequences.check()
    one, two = sequences
    assert [one.name, two.name] == ["truck4_1", "truck4_2"]
    assert [len(one), len(two)] == [577, 685]
    assert isinstance(one.frames, ImageFiles)
    assert isinstance(two.frames, ImageFiles)
    assert one.frames.file(576) == two.frames.file(0) == "data_seq/UAV123/truck4/000577.jpg"
    assert two.frames.file(684).endswith("001261.jpg")
    assert [int(s.frames[i].mean()) for s, i in ((one, 575), (one, 576), (two, 0), (two, 1))] == [90, 200, 200, 90]
    assert two.boxes[0].tolist() == [0, 1, 5, 6]


def test_nan_is_hidden(tmp_path: Path) -> None:
    _images(tmp_path, "uav6", 109)
    _annotation(tmp_path, "uav6", hidden=(3, 109))
    sequence = uav123.PART(tmp_path)[0]
    assert np.flatnonzero(~sequence.visible).tolist() == [2, 108]
    assert np.isnan(sequence.boxes[2]).all()
    assert not np.isnan(sequence.boxes[sequence.visible]).any()


def test_half_a_row_of_nan_is_no_row(tmp_path: Path) -> None:
    _images(tmp_path, "uav6", 109)
    file = _annotation(tmp_path, "uav6")
    file.write_text(file.read_text().replace("\n3,2,5,6\n", "\nNaN,2,5,6\n"))
    assert f"{file}, line 3: " in _message(tmp_path)


def test_the_official_range_decides(tmp_path: Path) -> None:
    folder = _images(tmp_path, "uav6", 109)
    (folder / "000110.jpg").write_bytes(JPEG)
    file = _annotation(tmp_path, "uav6")
    uav123.PART(tmp_path).check()
    file.write_text(file.read_text() + "1,2,5,6\n")
    assert "110 boxes for 109 frames" in _message(tmp_path)


@pytest.mark.parametrize("lost", [1, 50, 109])
def test_a_missing_frame_is_named(tmp_path: Path, lost: int) -> None:
    folder = _images(tmp_path, "uav6", 109)
    _annotation(tmp_path, "uav6")
    (folder / f"{lost:06d}.jpg").unlink()
    assert f"frame number {lost} is missing" in _message(tmp_path)


def test_annotation_that_is_missing_is_not_left_out(tmp_path: Path) -> None:
    _images(tmp_path, "truck4", 1261)
    _annotation(tmp_path, "truck4_1")
    assert f"{tmp_path / 'anno/UAV123/truck4_2.txt'}: is missing" in _message(tmp_path)


def test_attributes_are_those_of_the_file_then_of_the_table_by_name(tmp_path: Path) -> None:
    _images(tmp_path, "uav6", 109)
    _annotation(tmp_path, "uav6")
    assert uav123.PART(tmp_path)[0].attributes == CLIPS["uav6"].attributes != frozenset()
    (tmp_path / "anno/UAV123/att").mkdir()
    (tmp_path / "anno/UAV123/att/uav6.txt").write_text("0,1,0,0,0,0,0,0,1,0,0,1\n")
    assert uav123.PART(tmp_path)[0].attributes == {"SV", "SOB", "LR"}
    (tmp_path / "anno/UAV123/att/uav6.txt").write_text("0,1,0,0,0,0,0,0,1,0,0\n")
    assert "att/uav6.txt" in _message(tmp_path)


def test_annotation_alone_is_enough_for_scoring(tmp_path: Path) -> None:
    _annotation(tmp_path, "uav1_3", hidden=(2,))
    sequences = uav123.PART(tmp_path)
    sequences.check_annotations()
    assert (sequences.names, len(sequences[0])) == (("uav1_3",), 997)
    assert sequences.coverage == "1 of 123 sequences"


def test_the_table() -> None:
    assert len(CLIPS) == 123
    assert len({clip.fields["folder"] for clip in CLIPS.values()}) == 91
    assert sum(clip.last - clip.first + 1 for clip in CLIPS.values()) == 112_578
    assert (CLIPS["bird1_2"].first, CLIPS["uav1_3"].first) == (775, 2473)
    assert set().union(*(clip.attributes for clip in CLIPS.values())) == set(uav123.ATTRIBUTES)
    # Columns of the att files in pytracking's order would give IV, SV, FOC, BC and VC.
    assert CLIPS["boat7"].attributes == {"SV", "ARC", "FM", "VC", "CM"}
    assert PROTOCOLS["uav123"].origin == 1
