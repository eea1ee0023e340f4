"""The machinery behind all readers, on a small benchmark declared here: what a declaration can say, and its rules."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trackablate.datasets.errors import DataError
from trackablate.datasets.reading import tables
from trackablate.datasets.reading.layouts import Clip, FileLayout, FlagFile
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import Quirk
from video_factory import JPEG, boxes, images, write

CLIPS = (Clip("one"), Clip("two", first=3, last=8), Clip("three", first=3, last=8, skip=2))
LAYOUT = FileLayout(
    title="<name>.txt and <name>",
    boxes="{name}.txt",
    frames=("{name}",),
    flags=((FlagFile("{name}.flags", frozenset({1}), optional=True),),),
)
PART = Part(name="mine", data="mine", title="Mine", clips=lambda: CLIPS, layouts=(LAYOUT,))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files: dict[str, str | bytes] = {"one.txt": boxes(6), "two.txt": boxes(6), "three.txt": boxes(6)}
    write(tmp_path, files)
    return write(
        tmp_path, images("one", range(10, 16), "%d.jpg") | images("two", range(12)) | images("three", range(12))
    )


def _quirk(monkeypatch: pytest.MonkeyPatch, name: str, rule: str, value: str) -> None:
    known: Mapping[str, Mapping[str, Quirk]] = {name: {rule: Quirk(value, "its maker")}}
    for module in ("annotation", "checking", "reader"):
        monkeypatch.setattr(
            f"trackablate.datasets.reading.{module}.quirks", lambda data: known if data == "mine" else {}
        )


def test_frames_are_those_of_the_clip(root: Path) -> None:
    sequences = PART(root)
    sequences.check(deep=True)
    found = [sequences.annotation(number).frames for number in range(3)]
    assert [names[0] for names in found if names] == ["10.jpg", "00000003.jpg", "00000005.jpg"]
    assert [len(sequence) for sequence in sequences] == [6, 6, 4]
    assert sequences[2].boxes[0].tolist() == [4, 3, 10, 12]


@pytest.mark.parametrize("number", [3, 5, 8])
def test_a_missing_frame_of_a_range_is_named(root: Path, number: int) -> None:
    (root / f"two/{number:08d}.jpg").unlink()
    with pytest.raises(DataError, match=f"two: frame number {number} is missing; restore it"):
        PART(root)[1]
    for other in range(9, 12):
        (root / f"two/{other:08d}.jpg").unlink()
    with pytest.raises(DataError, match=f"frame number {number} is missing"):
        PART(root)[1]


def test_a_range_fixes_the_number_of_boxes_without_frames_too(root: Path) -> None:
    (root / "two").rename(root / "gone")
    assert len(PART(root)[1]) == 6
    write(root, {"two.txt": boxes(7)})
    with pytest.raises(DataError, match="7 boxes for 6 frames; Mine's two is frames 3 to 8: restore"):
        PART(root)[1]


def test_an_empty_annotation_is_an_error_without_frames_too(root: Path) -> None:
    (root / "one").rename(root / "gone")
    write(root, {"one.txt": "\n\n"})
    with pytest.raises(DataError, match="0 boxes for 1 frames"):
        PART(root)[0]


def test_rows_of_nan_are_hidden_where_the_data_set_has_them(root: Path) -> None:
    write(root, {"one.txt": boxes(4) + "NaN,NaN,NaN,NaN\n" + boxes(1)})
    part = replace(PART, absent="nan", origin=1)
    assert part(root)[0].visible.tolist() == [True, True, True, True, False, True]
    assert np.isnan(part(root)[0].boxes[4]).all()
    with pytest.raises(DataError, match="line 5: 4 finite numbers wanted, got NaN"):
        PART(root)[0]
    write(root, {"one.txt": "NaN,NaN,NaN,NaN\n" + boxes(5)})
    with pytest.raises(DataError, match="line 1: the first box needs a positive width"):
        part(root)[0]
    write(root, {"one.txt": boxes(4) + "NaN,1,2,3\n" + boxes(1)})
    with pytest.raises(DataError, match="line 5: 4 finite numbers wanted, got 'NaN,1,2,3'"):
        part(root)[0]


def test_four_zeros_are_hidden_where_the_data_set_has_them(root: Path) -> None:
    write(root, {"one.txt": boxes(3) + "0,0,0,0\n0,0,0,4\n" + boxes(1), "one.flags": "0,1,0,0,0,0"})
    assert PART(root)[0].visible.tolist() == [True, False, True, True, True, True]
    assert replace(PART, absent="zero")(root)[0].visible.tolist() == [True, False, True, False, True, True]


def test_flags_may_go_on_where_a_quirk_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, {"one.flags": "0,0,0,0,0,1,1"})
    with pytest.raises(DataError, match=r"one\.flags: 7 flags for 6 boxes"):
        PART(root)[0]
    _quirk(monkeypatch, "one", "flags-longer", "6")
    assert PART(root)[0].visible.tolist() == [True] * 5 + [False]
    _quirk(monkeypatch, "one", "flags-longer", "5")
    with pytest.raises(DataError, match="7 flags for 6 boxes"):
        PART(root)[0]


def test_a_frame_that_is_published_damaged_is_looked_at_and_said_to_be(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _quirk(monkeypatch, "two", "damaged-frame", "00000006.jpg")
    monkeypatch.setattr("trackablate.datasets.reading.checking.FRAMES", 2)
    PART(root).check()
    (root / "two/00000006.jpg").write_bytes(JPEG[:-2])
    with pytest.raises(DataError, match=r"00000006\.jpg: is truncated .*; it was published like this, its maker"):
        PART(root).check()


def test_unfit_sequences_are_left_out_of_training_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _quirk(monkeypatch, "two", "not-for-training", "wrong images")
    assert PART(root).names == ("one", "two", "three")
    training = replace(PART, training=True)(root)
    assert [training.names, training.coverage] == [
        ("one", "three"),
        "2 of 3 sequences, 1 left out as unfit for training",
    ]


def test_every_fact_of_the_tables_is_of_a_known_data_set() -> None:
    for file in ("quirks.csv", "frame_sizes.csv"):
        assert {row["data"] for row in tables.rows(file)} <= {
            *("lasot", "lasot_ext", "trackingnet", "got10k", "tnl2k", "tnl2k-train", "nfs", "uav123", "otb")
        }
    assert len(tables.frame_sizes("lasot")) == 1400
    assert tables.frame_sizes("lasot")["airplane-6"] == (406, 720)


def test_ones_own_sequences_have_names_for_a_terminal(tmp_path: Path) -> None:
    assert PART(write(tmp_path / "fine", {"mine.txt": boxes(2)})).names == ("mine",)
    with pytest.raises(DataError, match="a sequence's name must be printable; rename it") as caught:
        PART(write(tmp_path / "odd", {"mi\x1b[31mne.txt": boxes(2)}))
    assert "\x1b" not in str(caught.value)
