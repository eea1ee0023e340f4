"""NFS: both layouts, and how 240-fps rows become the boxes of 30-fps frames."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from trackablate.datasets.benchmarks import nfs
from trackablate.datasets.benchmarks.nfs import decode_vatic
from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import PROTOCOLS

JPEG = bytes(cv2.imencode(".jpg", np.full((30, 40, 3), 90, np.uint8))[1])


def _row(frame: int, *, track: int = 0, lost: int = 0, occluded: int = 0, generated: int = 0) -> str:
    """A box of 10 x 20 px whose left edge is at the frame's number."""
    return f'{track} {frame} 5 {frame + 10} 25 {frame} {lost} {occluded} {generated} "a ball"\n'


def _rows(last: int) -> str:
    return "".join(map(_row, range(1, last + 1)))


def _original(root: Path, images: int, rows: str, name: str = "bee") -> None:
    for rate in ("30", "240"):
        folder = root / name / rate / name
        folder.mkdir(parents=True)
        for number in range(1, (images if rate == "30" else 1) + 1):
            (folder / f"{number:05d}.jpg").write_bytes(JPEG)
        (root / name / rate / f"{name}.txt").write_text(rows)


def _processed(root: Path, images: int, text: str, name: str = "bee") -> None:
    (root / "sequences" / name).mkdir(parents=True)
    for number in range(1, images + 1):
        (root / "sequences" / name / f"{number:05d}.jpg").write_bytes(JPEG)
    (root / "anno").mkdir(exist_ok=True)
    (root / f"anno/nfs_{name}.txt").write_text(text)


def test_every_eighth_row_is_a_box(tmp_path: Path) -> None:
    _original(tmp_path, 3, _rows(17))
    sequences = nfs.PART(tmp_path)
    sequences.check(deep=True)
    assert sequences.names == ("bee",)
    assert sequences.coverage == "1 of 100 sequences"
    assert sequences[0].boxes.tolist() == [[1, 5, 10, 20], [9, 5, 10, 20], [17, 5, 10, 20]]
    assert len(sequences[0]) == 3
    assert sequences[0].frames[2].shape == (30, 40, 3)


@pytest.mark.parametrize(("flag", "visible"), [("lost", False), ("occluded", False), ("generated", True)])
def test_lost_and_occluded_are_not_visible_and_generated_is(flag: str, visible: bool) -> None:
    rows = "".join(_row(n, **({flag: 1} if n == 9 else {})) for n in range(1, 18))
    assert decode_vatic(rows.encode()).visible.tolist() == [True, visible, True]


def test_a_flag_between_two_30_fps_frames_does_not_count() -> None:
    rows = "".join(_row(n, lost=int(n in (2, 8, 10))) for n in range(1, 18))
    assert decode_vatic(rows.encode()).visible.all()


def test_a_missing_row_between_does_not_shift_the_others() -> None:
    """As in LoRAT; the got10k toolkit would take row 8, 16, ... from then on."""
    rows = "".join(_row(n) for n in range(1, 26) if n not in (3, 12))
    assert decode_vatic(rows.encode()).boxes[:, 0].tolist() == [1, 9, 17, 25]
    assert decode_vatic(rows.encode()).bad == ()


def _bad(rows: str) -> list[tuple[int, str]]:
    return [(bad.line, bad.problem) for bad in decode_vatic(rows.encode()).bad]


def test_rows_that_are_none_are_named() -> None:
    rows = _rows(17).splitlines(keepends=True)
    without = "".join(rows[:8] + rows[9:])
    assert _bad(without) == [(16, "comes where the row of an earlier frame is missing")]
    assert _bad("".join(rows[1:])) == [(8, "comes where the row of an earlier frame is missing")]
    assert _bad("".join([*rows[:4], rows[3], *rows[4:]])) == [(5, "its frame is not after the one before")]
    assert _bad("".join([*rows[:4], _row(5, track=1), *rows[5:]])) == [(5, "is of another track than the first row")]
    assert _bad("".join([*rows[:4], "0 5 5 15 25 5 0 0\n", *rows[5:]]))[0] == (5, "9 numbers wanted, this line has 8")
    assert _bad("".join([*rows[:4], rows[4].replace(" 25 ", " x ", 1), *rows[5:]]))[0][0] == 5


def test_a_bad_row_comes_with_its_file(tmp_path: Path) -> None:
    _original(tmp_path, 3, _rows(17).replace("0 9 5 ", "0 nine 5 "))
    with pytest.raises(DataError) as caught:
        nfs.PART(tmp_path).check_annotations()
    assert f"{tmp_path / 'bee/30/bee.txt'}, line 9: 9 finite numbers wanted" in str(caught.value)


def test_an_empty_file_has_no_boxes(tmp_path: Path) -> None:
    assert len(decode_vatic(b"").boxes) == 0
    _original(tmp_path, 3, "")
    with pytest.raises(DataError, match="0 boxes for 3 frames"):
        nfs.PART(tmp_path).check_annotations()


def test_the_processed_layout_has_tabs_and_sizes(tmp_path: Path) -> None:
    _processed(tmp_path, 2, "3\t4\t10\t12\n5.5\t6\t10\t12\n")
    sequences = nfs.PART(tmp_path)
    sequences.check(deep=True)
    assert sequences.names == ("bee",)
    assert sequences[0].boxes.tolist() == [[3, 4, 10, 12], [5.5, 6, 10, 12]]
    assert sequences[0].visible.all()


def test_nan_in_the_processed_layout_is_refused(tmp_path: Path) -> None:
    _processed(tmp_path, 2, "3\t4\t10\t12\nNaN\tNaN\tNaN\tNaN\n")
    with pytest.raises(DataError, match="line 2"):
        nfs.PART(tmp_path).check_annotations()


def test_the_layouts_have_different_digests_for_different_boxes(tmp_path: Path) -> None:
    _original(tmp_path / "a", 2, _rows(9))
    _processed(tmp_path / "b", 2, "1\t5\t10\t20\n9\t5\t10\t20\n")
    _processed(tmp_path / "c", 2, "1\t5\t10\t20\n8\t5\t10\t20\n")
    a, b, c = (nfs.PART(tmp_path / name).digest() for name in "abc")
    assert a == b != c


def test_the_list() -> None:
    assert len(nfs.PART.clips()) == 100
    assert nfs.PART.clips()[0].name == "Gymnastics"
    assert not any(clip.name.startswith("nfs_") for clip in nfs.PART.clips())
    assert (PROTOCOLS["nfs"].origin, PROTOCOLS["nfs"].metrics[0]) == (0, ("auc", "ostrack"))


@pytest.mark.parametrize(("more", "frames"), [(1, 6), (-1, 5), (0, 6)])
def test_published_clips_may_have_one_image_or_row_too_many(tmp_path: Path, more: int, frames: int) -> None:
    """The got10k toolkit trims them (its datasets/nfs.py); two too many are refused."""
    _original(tmp_path, 6, "".join(_row(1 + 8 * k) for k in range(6 + more)), "bird_2")
    _original(tmp_path, 6, "".join(_row(1 + 8 * k) for k in range(8)), "bowling_1")
    sequences = nfs.PART(tmp_path)
    found = sequences[sequences.names.index("bird_2")]
    assert len(found.boxes) == len(found) == len(found.visible) == frames
    with pytest.raises(DataError, match="8 boxes for 6 frames"):
        sequences[sequences.names.index("bowling_1")]
