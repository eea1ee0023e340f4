"""LaSOT and LaSOT_ext: every layout reads alike, from folders and archives, and every kind of bad file is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from places import SHARED
from trackablate.datasets.benchmarks.lasot import ATTRIBUTES, EXTENSION, TEST, TRAIN
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading import checking
from trackablate.datasets.reading.layouts import box_rows
from trackablate.datasets.reading.reader import StoredSequences
from trackablate.datasets.reading.tables import QUIRKS, attribute_table, quirks, rows
from video_factory import JPEG, boxes, encoded, images, write, zipped

REAL = SHARED / "real/lasot/annotations_test.zip"
COUNT = 12


def _clip(folder: str, count: int = COUNT) -> dict[str, str | bytes]:
    """One sequence as published: fully occluded in frame 3, out of view in frame 4 (from 1)."""
    flags = [["0"] * count, ["0"] * count]
    flags[0][2] = flags[1][3] = "1"
    return {
        f"{folder}/groundtruth.txt": boxes(count),
        f"{folder}/full_occlusion.txt": ",".join(flags[0]),
        f"{folder}/out_of_view.txt": ",".join(flags[1]) + "\n",
        f"{folder}/nlp.txt": "a plane",
        **images(f"{folder}/img", range(1, count + 1)),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", _clip("airplane/airplane-9") | _clip("airplane/airplane-1") | _clip("cat/cat-1"))


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        TEST(root).check()
    return str(caught.value)


def _same(a: StoredSequences, b: StoredSequences) -> None:
    assert a.names == b.names
    assert a.digest() == b.digest()
    for one, two in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.boxes, two.boxes)
        np.testing.assert_array_equal(one.visible, two.visible)
        assert one.attributes == two.attributes


def test_the_published_layout(root: Path) -> None:
    sequences = TEST(root)
    sequences.check(deep=True)
    assert sequences.names == ("airplane-1", "airplane-9", "cat-1")
    assert sequences.coverage == "3 of 280 sequences"
    first = sequences[0]
    assert [len(first), first.boxes.shape, first.size] == [COUNT, (COUNT, 4), None]
    assert first.boxes[0].tolist() == [1, 2, 10, 12]
    assert first.boxes[-1].tolist() == [COUNT, 2, 10, 12]
    assert np.flatnonzero(~first.visible).tolist() == [2, 3]
    assert first.attributes == attribute_table("lasot_test.csv")["airplane-1"] == {"SV", "LR", "POC", "ROT"}
    assert first.frames[COUNT - 1].shape == (30, 40, 3)
    with pytest.raises(IndexError):
        first.frames[COUNT]


@pytest.mark.parametrize("within", ["", "LaSOTBenchmark/"])
def test_an_archive_reads_as_the_folder_does(root: Path, tmp_path: Path, within: str) -> None:
    archive = TEST(zipped(root, tmp_path / "LaSOT.zip", within))
    archive.check(deep=True)
    _same(archive, TEST(root))


def test_sequences_without_class_folders(root: Path) -> None:
    before = TEST(root)
    list(before)
    for folder in [*root.glob("*/*")]:
        folder.rename(root / folder.name)
    for name in ("airplane", "cat"):
        (root / name).rmdir()
    sequences = TEST(root)
    sequences.check()
    _same(sequences, before)


def _annotations_only(root: Path, out: Path) -> Path:
    for sequence in TEST(root):
        group = sequence.name.rpartition("-")[0]
        absent = "".join(f"{int(not seen)}\n" for seen in sequence.visible)
        flags = ",".join("01"[name in sequence.attributes] for name in ATTRIBUTES)
        truth = (root / group / sequence.name / "groundtruth.txt").read_text()
        folder = f"{sequence.name}"
        write(out / "flat", {f"{folder}/groundtruth.txt": truth, f"{folder}/absent.txt": absent})
        write(out / "flat", {f"{folder}/attributes.txt": flags})
        write(
            out / "toolkit/annos", {f"{folder}.txt": truth, f"absent/{folder}.txt": absent, f"att/{folder}.txt": flags}
        )
    return out


@pytest.mark.parametrize("layout", ["flat", "toolkit"])
@pytest.mark.parametrize("packed", [False, True])
def test_annotation_without_images_is_enough_to_score(root: Path, tmp_path: Path, layout: str, packed: bool) -> None:
    where = _annotations_only(root, tmp_path) / layout
    sequences = TEST(zipped(where, tmp_path / "a.zip") if packed else where)
    sequences.check_annotations()
    _same(sequences, TEST(root))
    assert sequences[0].size == (640, 360)
    assert len(sequences[0]) == COUNT
    with pytest.raises(DataError, match="annotations only: no frames under"):
        sequences[0].frames[0]
    with pytest.raises(DataError) as caught:
        sequences.check()
    assert len(caught.value.problems) == 3


def test_attributes_of_a_file_win_over_the_table(root: Path) -> None:
    file = root / "cat/cat-1/attributes.txt"
    file.write_text("1," + ",".join(["0"] * 13))
    assert TEST(root)[2].attributes == {"IV"}
    for bad in ("1,0", "1," + ",".join(["2"] * 13), "x"):
        file.write_text(bad)
        assert f"{file}, line 1: one line of 14 flags wanted" in _message(root)


def test_the_official_lists() -> None:
    test, train, extension = (part.clips() for part in (TEST, TRAIN, EXTENSION))
    assert [len(test), len(train), len(extension)] == [280, 1120, 150]
    names = {clip.name for part in (test, train, extension) for clip in part}
    assert len(names) == 1550
    assert all(clip.fields["group"] + "-" == clip.name.rstrip("0123456789") for clip in (*test, *train, *extension))
    assert all(clip.attributes <= set(ATTRIBUTES) for clip in (*test, *train, *extension))


@pytest.mark.parametrize("name", ["lasot_test", "lasot_train", "lasot_ext"])
def test_the_lists_are_the_known_ones(name: str) -> None:
    known = SHARED / f"protocols/{name}.txt"
    if not known.is_file():
        pytest.skip("needs the lists of sequences beside the checkout, shared/protocols")
    assert [*attribute_table(f"{name}.csv")] == known.read_text().split()


def test_missing_sequences_are_said_and_strangers_named(root: Path) -> None:
    write(root, _clip("cat/cat-2") | _clip("wingsuit/wingsuit-1") | _clip("cat/cat-99"))
    sequences = TEST(root)
    sequences.check()
    assert sequences.names == ("airplane-1", "airplane-9", "cat-1")
    missing, strangers = sequences.notes()
    assert missing.startswith("LaSOT's test set: 277 sequences are not here: airplane-13, airplane-15, ")
    assert "and 267 more; download them" in missing
    assert "not read: cat-99; move" in strangers
    assert TRAIN(root).names == ("cat-2",)
    assert EXTENSION(root).coverage == "1 of 150 sequences"
    assert EXTENSION(root)[0].boxes[0].tolist() == [2, 3, 10, 12]


def test_a_root_with_no_official_sequence_is_a_list_of_ones_own(tmp_path: Path) -> None:
    root = write(tmp_path / "root", _clip("mine/mine-2") | _clip("mine/mine-1") | _clip("cat/cat-2"))
    sequences = TEST(root)
    sequences.check()
    assert sequences.names == ("mine-1", "mine-2")
    assert sequences.coverage == "0 of 280 sequences and 2 of your own"
    assert sequences[0].attributes == set()
    shutil.rmtree(root / "mine")
    with pytest.raises(DataError, match="holds no sequence of LaSOT's test set; expected <class>/<sequence>/img"):
        TEST(root)


def test_a_sequence_given_as_root_is_told_from_none(root: Path) -> None:
    with pytest.raises(DataError, match="this is one sequence: name the folder above it"):
        TEST(root / "cat/cat-1")


def test_a_sequence_twice_is_refused(root: Path) -> None:
    write(root, _clip("cat-1"))
    said = _message(root)
    assert "mixes two layouts: cat-1 as in <sequence>/groundtruth.txt" in said
    assert "keep them in two folders" in said


def test_one_s_own_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a second sequence called mine-1; rename or remove"):
        TEST(write(tmp_path, _clip("a/mine-1") | _clip("b/mine-1")))


FOLDER = "cat/cat-1"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("groundtruth.txt", boxes(COUNT - 1), ": 11 boxes for 12 frames; give one line for each image"),
        ("groundtruth.txt", boxes(COUNT + 1), ": 13 boxes for 12 frames"),
        ("groundtruth.txt", "", ": 0 boxes for 12 frames"),
        (
            "groundtruth.txt",
            boxes(4) + "1,2,3\n" + boxes(7),
            ", line 5: 4 numbers wanted, this line has 3, got '1,2,3'",
        ),
        ("groundtruth.txt", boxes(4) + "1,2,3,nan\n" + boxes(7), ", line 5: 4 finite numbers wanted"),
        ("groundtruth.txt", boxes(4) + "nan,nan,nan,nan\n" + boxes(7), ", line 5: 4 finite numbers wanted, got NaN"),
        ("groundtruth.txt", boxes(4) + "1\t2\t3\t4\n" + boxes(7), ", line 5: numbers separated by tabs"),
        ("groundtruth.txt", "2,3,0,4\n" + boxes(11), ", line 1: the first box needs a positive width and height"),
        ("groundtruth.txt", boxes(COUNT).encode("utf-16"), ", line 1: is UTF-16 text; save it as ASCII or UTF-8"),
        ("groundtruth.txt", "\xe9".encode("latin-1") + boxes(COUNT).encode(), ", line 1: 4 finite numbers wanted"),
        ("full_occlusion.txt", "0,0", ": 2 flags for 12 boxes"),
        ("full_occlusion.txt", "0\n" * 13, ": 13 flags for 12 boxes"),
        ("full_occlusion.txt", "", ": 0 flags for 12 boxes"),
        ("out_of_view.txt", "0,0,2" + ",0" * 9, ", line 1: flag 3 is not a whole number from 0 to 1"),
        ("out_of_view.txt", "0\n0\n0.5\n" + "0\n" * 9, ", line 3: flag 3 is not a whole number from 0 to 1"),
        ("out_of_view.txt", "0,0,x" + ",0" * 9, ", line 1: flag 3 is not a whole number"),
        ("out_of_view.txt", "0,0,-1" + ",0" * 9, ", line 1: flag 3 is not a whole number"),
        ("out_of_view.txt", ("0," * 11 + "0").encode("utf-16"), ", line 1: is UTF-16 text"),
        ("img/00000012.jpg", JPEG[:-2], ": is truncated"),
        ("img/00000001.jpg", b"", ": is empty"),
    ],
)
def test_every_kind_of_bad_file_is_named(root: Path, file: str, content: str | bytes, said: str) -> None:
    write(root, {f"{FOLDER}/{file}": content})
    message = _message(root)
    assert f"{root / FOLDER / file}{said}" in message
    assert "airplane" not in message


@pytest.mark.parametrize("file", ["groundtruth.txt", "full_occlusion.txt", "out_of_view.txt"])
def test_a_missing_file_is_named(root: Path, file: str) -> None:
    (root / FOLDER / file).unlink()
    assert f"{root / FOLDER / file}: is missing; restore it" in _message(root)


def test_both_flag_files_missing_are_not_taken_for_visible(root: Path) -> None:
    for file in ("full_occlusion.txt", "out_of_view.txt"):
        (root / FOLDER / file).unlink()
    assert "full_occlusion.txt: is missing" in _message(root)
    write(root, {f"{FOLDER}/absent.txt": "0\n" * 11 + "1\n"})
    assert np.flatnonzero(~TEST(root)[2].visible).tolist() == [11]


def test_a_missing_frame_is_named_by_its_number(root: Path) -> None:
    (root / FOLDER / "img/00000005.jpg").unlink()
    assert f"{root / FOLDER / 'img'}: frame number 5 is missing; restore it" in _message(root)
    write(root, images(f"{FOLDER}/img", range(5, 6)) | images(f"{FOLDER}/img", range(1)))
    assert "frame 00000000.jpg comes before number 1; remove it" in _message(root)
    (root / FOLDER / "img/00000000.jpg").unlink()
    (root / FOLDER / "img/00000012.jpg").unlink()
    assert "12 boxes for 11 frames" in _message(root)
    (root / FOLDER / "img/00000001.jpg").unlink()
    assert "frame number 1 is missing" in _message(root)


def test_monkey_17_is_evaluated_as_far_as_it_is_annotated(tmp_path: Path) -> None:
    assert quirks("lasot")["monkey-17"]["evaluate-first"].value == "2260"
    files = _clip("monkey/monkey-17", 2260) | images("monkey/monkey-17/img", range(2261, 2271))
    root = write(tmp_path, files)
    sequences = TEST(root)
    sequences.check()
    assert [len(sequences[0]), len(sequences[0].boxes)] == [2260, 2260]
    assert any(note.startswith("monkey-17: evaluate-first, 2260 (more images") for note in sequences.notes())
    (root / "monkey/monkey-17/groundtruth.txt").write_text(boxes(2259))
    assert "2259 boxes for 2270 frames" in _message(root)


def test_a_sample_of_the_frames_is_opened_or_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / FOLDER / "img/00000005.jpg").write_bytes(JPEG[:-2])
    monkeypatch.setattr(checking, "FRAMES", 3)
    sequences = TEST(root)
    sequences.check()
    done: list[tuple[int, int]] = []
    with pytest.raises(DataError, match=r"00000005.jpg: is truncated"):
        sequences.check(deep=True, progress=lambda *now: done.append(now))
    assert done == [(1, 3), (2, 3), (3, 3)]
    monkeypatch.setattr(checking, "FRAMES", COUNT)
    with pytest.raises(DataError, match=r"00000005.jpg: is truncated"):
        sequences.check()
    monkeypatch.setattr(checking, "SEQUENCES", 2)
    (root / FOLDER / "img/00000005.jpg").write_bytes(JPEG)
    (root / "airplane/airplane-9/img/00000005.jpg").write_bytes(JPEG[:-2])
    sequences.check()


def test_resized_images_are_seen_by_the_box_outside(root: Path) -> None:
    write(root, {f"{FOLDER}/groundtruth.txt": boxes(COUNT, first=60)})
    assert "line 1: the first box lies outside the image of 40 x 30 pixels" in _message(root)
    write(root, {f"{FOLDER}/img/00000001.jpg": encoded(size=(100, 50))})
    TEST(root).check()


def test_every_quirk_has_a_rule_and_a_source() -> None:
    assert all(row["rule"] in QUIRKS and row["source"] and row["value"] for row in rows("quirks.csv"))


BOX = st.tuples(*[st.floats(-1e5, 1e5)] * 2, *[st.floats(0.01, 1e5)] * 2)


@given(st.lists(BOX, min_size=1, max_size=6))
def test_boxes_are_read_as_written(written: list[tuple[float, ...]]) -> None:
    found = box_rows("\n".join(",".join(map(repr, box)) for box in written).encode())
    assert found.boxes.tolist() == [list(box) for box in written]
    assert found.visible.all()
    assert found.bad == ()


def test_the_real_annotation_of_the_test_set() -> None:
    if not REAL.is_file():
        pytest.skip("needs the annotation of LaSOT's test set beside the checkout, shared/real/lasot")
    sequences = TEST(REAL)
    sequences.check_annotations()
    assert sequences.coverage == "280 of 280 sequences"
    found = list(sequences)
    assert sum(map(len, found)) == 685_360
    assert sum(int((~sequence.visible).sum()) for sequence in found) == 18_346
    assert all(sequence.attributes == attribute_table("lasot_test.csv")[sequence.name] for sequence in found)
    assert all(sequence.size for sequence in found)
    assert found[0].boxes[0].tolist() == [366, 100, 41, 16]
