"""`data check`: every part of a data set that is there is verified, and what is missing is said with what to do."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import DATA_SETS
from trackablate.datasets.reading import reader
from trackablate.datasets.reading.files import Archive
from trackablate.datasets.registry import UnknownName
from trackablate.harness.cli.data import check_data
from trackablate.harness.tracking.video import frames_of
from video_factory import JPEG, boxes, encoded, images, write, zipped

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
    assert found["frames"] == {"got10k-val": "all 20 decoded"}
    missing, *absent = found["problems"]
    assert missing.startswith("GOT-10k's validation set: 179 sequences are not here: GOT-10k_Val_000002, ")
    assert "; download them and put them beside the others: figures of a part do not compare" in missing
    assert [": holds no sequence of GOT-10k's test set; expected" in absent[0], len(absent)] == [True, 2]


def test_an_archive_is_listed_once_for_all_parts_and_annotation_is_read_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing a million entries takes ten seconds; lists of thousands of sequences keep no annotation in memory."""
    second = VAL.replace("000001", "000002")
    write(root, {f"{second}/{file.name}": file.read_bytes() for file in (root / VAL).iterdir()})
    listed, read = list[str](), Counter[str]()
    listing, content = zipfile.ZipFile._RealGetContents, Archive._content  # type: ignore[attr-defined]

    def list_entries(archive: zipfile.ZipFile) -> None:
        listed.append(str(archive.filename))
        listing(archive)

    def read_entry(archive: Archive, name: str, size: int) -> bytes:
        read[name] += 1
        return content(archive, name, size)

    monkeypatch.setattr(reader, "KEPT", 0)
    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", list_entries)
    monkeypatch.setattr(Archive, "_content", read_entry)
    archive = zipped(root, tmp_path / "g.zip")
    listed.clear()
    assert check_data(f"got10k={archive}")["protocols"] == {"got10k-val": "2 of 180 sequences"}
    assert listed == [str(archive)]
    assert read[f"{second}/groundtruth.txt"] == 1


def test_a_check_that_is_not_deep_says_how_much_it_decoded(root: Path) -> None:
    assert check_data(f"got10k={root}")["frames"] == {"got10k-val": "1 of 20 decoded; --deep decodes all"}


def test_annotations_only_are_said_to_be_that(root: Path) -> None:
    for image in root.rglob("*.jpg"):
        image.unlink()
    first = check_data(f"got10k={root}")["problems"][0]
    assert first == "got10k-val: annotations only, enough to score results; add the images to track them"
    assert check_data(f"got10k={root}")["frames"] == {}
    (root / VAL / "cover.label").unlink()
    assert "cover.label: is missing" in _message(f"got10k={root}")


def test_images_that_are_not_read_are_no_annotations_only(root: Path) -> None:
    for image in root.rglob("*.jpg"):
        image.rename(image.with_suffix(".tif"))
    assert "holds 20 files that are no JPEG, PNG, BMP or WebP: 00000001.tif, " in _message(f"got10k={root}")


@pytest.mark.parametrize("suffix", [".bmp", ".webp"])
def test_other_images_are_read(root: Path, suffix: str) -> None:
    for image in root.rglob("*.jpg"):
        image.write_bytes(encoded(suffix))
        image.rename(image.with_suffix(suffix))
    assert check_data(f"got10k={root}", deep=True)["protocols"] == {"got10k-val": "1 of 180 sequences"}


def test_videos_one_folder_too_deep_are_said_to_be_that(tmp_path: Path) -> None:
    inner = "train/GOT-10k_Train_split_01/GOT-10k_Train_000001"
    write(tmp_path, {f"{inner}/groundtruth.txt": boxes(3), **images(inner, range(1, 4))})
    said = "is no sequence, but holds some one folder too deep: GOT-10k_Train_000001; move them one folder up"
    assert f"{tmp_path / 'train/GOT-10k_Train_split_01'}: {said}" in _message(f"got10k={tmp_path}")


@pytest.mark.parametrize("packed", [False, True])
def test_a_root_above_the_right_one_is_told_where_that_is(tmp_path: Path, packed: bool) -> None:
    for group in ("airplane", "bear"):
        name = f"parts/{group}/{group}/{group}-1"
        write(tmp_path / "root", {f"{name}/groundtruth.txt": boxes(3), **images(f"{name}/img", range(1, 4))})
    (tmp_path / "root/notes").mkdir()
    (tmp_path / "root/notes/read.me").touch()
    root = zipped(tmp_path / "root", tmp_path / "root.zip") if packed else tmp_path / "root"
    assert f"; {root / 'parts/airplane'} holds such: name that folder, or move what is in it up" in _message(
        f"lasot={root}"
    )


def test_marks_of_byte_order_are_no_part_of_any_text(root: Path) -> None:
    mark = b"\xef\xbb\xbf"
    plain = check_data(f"got10k={root}")
    write(root, {"val/list.txt": "GOT-10k_Val_000001\r\n", f"{VAL}/meta_info.ini": "resolution: (40,30)\r\n"})
    for file in [*root.rglob("*.txt"), *root.rglob("*.label"), *root.rglob("*.ini")]:
        file.write_bytes(mark + file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert check_data(f"got10k={root}") == plain
    sequences = DATA_SETS["got10k"].parts["got10k-val"](root)
    assert (sequences.names[0], sequences[0].size) == ("GOT-10k_Val_000001", (40, 30))


def test_a_damaged_frame_is_found_by_going_deep(root: Path) -> None:
    (root / VAL / "00000002.jpg").write_bytes(JPEG[:-2])
    check_data(f"got10k={root}")
    assert "00000002.jpg: is truncated" in _message(f"got10k={root}", deep=True)


@pytest.mark.parametrize("packed", [False, True])
def test_damage_inside_a_jpeg_is_found_by_going_deep(root: Path, tmp_path: Path, packed: bool) -> None:
    """A third of the file is zeros, as a broken disk or download leaves it; both ends are whole."""
    third = len(JPEG) // 3
    (root / VAL / "00000007.jpg").write_bytes(JPEG[:third] + bytes(third) + JPEG[2 * third :])
    (root / VAL / "00000008.jpg").write_bytes(JPEG[:-2] + bytes(4) + JPEG[-2:])  # as some cameras write them
    place = zipped(root, tmp_path / "g.zip") if packed else root
    check_data(f"got10k={place}")
    (said,) = _message(f"got10k={place}", deep=True).splitlines()
    assert said.startswith(f"{place / VAL / '00000007.jpg'}: is damaged inside (Corrupt JPEG data: ")
    assert said.endswith("; copy it again from the source of the data set")


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
    with pytest.raises(UnknownName, match="no data set is called 'lasott': did you mean lasot"):
        check_data(f"lasott={tmp_path}")
    with pytest.raises(DataError, match="is neither a folder nor an archive"):
        check_data(f"lasot={tmp_path / 'x'}")


def test_frames_of_a_folder_are_sorted_by_name(tmp_path: Path) -> None:
    write(tmp_path, images("video", range(8, 11), "%d.jpg") | {"video/notes.txt": "x"})
    frames: Iterator[object] = frames_of(tmp_path / "video")
    assert len(list(frames)) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no image \(.jpg, .jpeg, .png, .bmp, .webp\)"):
        frames_of(tmp_path / "empty")
    with pytest.raises(DataError, match="is not there"):
        frames_of(tmp_path / "nowhere")
