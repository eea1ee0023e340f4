"""OTB100: what is read, its quirks, clips of one's own beside it, and that every kind of bad data is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from places import SHARED
from trackablate.datasets.benchmarks import otb
from trackablate.datasets.benchmarks.otb import PART
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.reading.reader import StoredSequences
from trackablate.datasets.reading.tables import rows
from video_factory import HEIGHT, JPEG, WIDTH, zipped

REAL = SHARED / "real/otb"
CLIPS = {clip.name: clip for clip in PART.clips()}
IMAGES = {row["name"]: row["images"].split() for row in rows("otb100.csv")}


def _open(root: Path) -> StoredSequences:
    return PART(root)


def _make(root: Path, name: str = "Clip", frames: int = 3, boxes: str | None = None) -> Path:
    """A sequence of the plain layout."""
    folder = root / name
    (folder / "img").mkdir(parents=True)
    for number in range(1, frames + 1):
        (folder / "img" / f"{number:04d}.jpg").write_bytes(JPEG)
    (folder / "groundtruth_rect.txt").write_text("2,3,10,12\n" * frames if boxes is None else boxes)
    return folder


def _make_by_rule(root: Path, name: str, *, pattern: int = 0) -> Path:
    """A known sequence with all its annotated frames and one image more before and after them; line n starts at x n."""
    clip = CLIPS[name]
    assert clip.first is not None and clip.last is not None
    folder = root / clip.fields["folder"]
    for number in range(clip.first - 1, clip.last + 2):
        file = folder / (IMAGES[name][pattern] % number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(JPEG)
    lines = "".join(f"{n},1,10,10\n" for n in range(1, clip.last - clip.first + 2))
    (folder / clip.fields["annotation"]).write_text(lines)
    return folder


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        _open(root).check()
    return str(caught.value)


def test_boxes_become_0_based_and_only_their_corner_moves(tmp_path: Path) -> None:
    folder = _make(tmp_path, frames=2)
    (folder / "groundtruth_rect.txt").write_bytes(b"\xef\xbb\xbf1,2,10,12\r\n5,6,7,0\r\n\r\n\n")
    assert _open(tmp_path)[0].boxes.tolist() == [[0, 1, 10, 12], [4, 5, 7, 0]]


@pytest.mark.parametrize("separator", [",", "\t", " ", "   "])
def test_every_separator_reads_alike(tmp_path: Path, separator: str) -> None:
    _make(tmp_path, frames=1, boxes=separator.join(("2", "3", "10", "12")))
    assert _open(tmp_path)[0].boxes.tolist() == [[1, 2, 10, 12]]


def test_separators_are_not_mixed_in_one_file(tmp_path: Path) -> None:
    folder = _make(tmp_path, boxes="2,3,10,12\n2\t3\t10\t12\n2,3,10,12\n")
    said = _message(tmp_path)
    assert f"{folder / 'groundtruth_rect.txt'}, line 2: numbers separated by tabs" in said


def test_every_bad_line_is_listed_with_file_line_and_remedy(tmp_path: Path) -> None:
    folder = _make(tmp_path, frames=4, boxes="2,3,10,12\n2,3,10\n\n2,3,nan,12\n")
    said = _message(tmp_path)
    for line, text in ((2, "has 3, got '2,3,10'"), (3, "has 0"), (4, "4 finite numbers wanted, got '2,3,nan,12'")):
        assert f"{folder / 'groundtruth_rect.txt'}, line {line}: " in said
        assert text in said
    assert "line 1" not in said
    assert said.count('write "x,y,w,h"') == 3


@pytest.mark.parametrize("sides", ["0,12", "10,-1"])
def test_only_the_first_box_must_have_an_area(tmp_path: Path, sides: str) -> None:
    _make(tmp_path, "Later", boxes=f"2,3,10,12\n2,3,{sides}\n2,3,10,12\n")
    _open(tmp_path).check()
    bad = _make(tmp_path, "First", boxes=f"2,3,{sides}\n2,3,10,12\n2,3,10,12\n")
    assert f"{bad / 'groundtruth_rect.txt'}, line 1: the first box needs a positive width and height" in _message(
        tmp_path
    )


def test_a_first_box_outside_the_image_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, "Edge", boxes=f"{WIDTH},3,10,12\n" * 3)
    _open(tmp_path).check()
    _make(tmp_path, "Off", boxes=f"{WIDTH + 1},3,10,12\n" * 3)
    said = _message(tmp_path)
    assert f"line 1: the first box lies outside the image of {WIDTH} x {HEIGHT} pixels; correct it" in said
    assert "Edge" not in said


def test_a_control_character_reaches_no_terminal(tmp_path: Path) -> None:
    _make(tmp_path, boxes="\x1b[31m,2,3,4\n" * 3)
    assert "\x1b" not in _message(tmp_path)


@pytest.mark.parametrize("lines", [0, 2, 4])
def test_as_many_boxes_as_frames(tmp_path: Path, lines: int) -> None:
    folder = _make(tmp_path, boxes="2,3,10,12\n" * lines)
    said = f"{lines} boxes for 3 frames; give one line for each image, and no more"
    assert _message(tmp_path) == f"{folder / 'groundtruth_rect.txt'}: {said}"


def test_a_known_sequence_must_have_its_frames(tmp_path: Path) -> None:
    _make(tmp_path, "Deer", frames=20)
    said = _message(tmp_path)
    assert "Deer/groundtruth_rect.txt: 20 boxes for 71 frames" in said
    assert "OTB100's Deer is frames 1 to 71: restore the file" in said
    assert "or rename the sequence if it is one of your own" in said


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = _make(tmp_path, frames=0, boxes="2,3,10,12\n" * 3)
    for name in ("frame10.jpg", "frame9.JPEG", "frame0011.png"):
        (folder / "img" / name).write_bytes(JPEG)
    (folder / "img" / "Thumbs.db").touch()
    frames = _open(tmp_path)[0].frames
    assert isinstance(frames, ImageFiles)
    assert [*frames.names] == ["frame9.JPEG", "frame10.jpg", "frame0011.png"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1.jpg", "'0001.jpg' and '1.jpg' have the same number; rename or remove"),
        ("cover.png", "'cover.png' must end in its number; rename or remove"),
    ],
)
def test_a_frame_has_one_number(tmp_path: Path, name: str, said: str) -> None:
    (_make(tmp_path) / "img" / name).write_bytes(JPEG)
    assert said in _message(tmp_path)
    assert name in _message(tmp_path)


def test_no_sequence_at_all(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "Deer.zip").touch()
    assert _message(tmp_path) == f"{tmp_path}: holds no sequence of OTB100; expected {otb.LAYOUT.title} in it"
    assert "neither a folder nor a zip archive" in _message(tmp_path / "nowhere")


def test_a_sequence_given_as_root_is_told_from_none(tmp_path: Path) -> None:
    folder = _make(tmp_path)
    assert f"name the folder above it, {tmp_path}" in _message(folder)


def test_half_a_sequence_is_not_left_out(tmp_path: Path) -> None:
    _make(tmp_path, "Whole")
    folder = _make(tmp_path, "Half")
    (folder / "img").rename(tmp_path / "elsewhere")
    assert f"annotations only: no frames under {folder / 'img'}" in _message(tmp_path)
    (tmp_path / "elsewhere").rename(folder / "img")
    (folder / "groundtruth_rect.txt").unlink()
    assert f"{folder / 'groundtruth_rect.txt'}: is missing" in _message(tmp_path)


def test_annotation_alone_is_enough_to_score(tmp_path: Path) -> None:
    folder = _make_by_rule(tmp_path, "Tiger1")
    (folder / "img").rename(tmp_path / "elsewhere")
    sequences = _open(tmp_path)
    sequences.check_annotations()
    assert [len(sequences[0]), len(sequences[0].boxes), sequences[0].size] == [349, 349, (640, 480)]
    with pytest.raises(DataError, match="annotations only"):
        sequences.check()


def test_a_known_sequence_without_annotation_is_not_left_out(tmp_path: Path) -> None:
    _make(tmp_path, "Deer")
    (tmp_path / "Deer/groundtruth_rect.txt").unlink()
    assert "Deer/groundtruth_rect.txt: is missing" in _message(tmp_path)
    assert "restore it" in _message(tmp_path)


def test_two_sequences_of_one_name_are_refused(tmp_path: Path) -> None:
    _make(tmp_path, "Jogging")
    _make(tmp_path, "Jogging_1")
    assert "a second sequence called Jogging_1; rename" in _message(tmp_path)


def test_what_is_there_is_counted(tmp_path: Path) -> None:
    for name in ("Zebra", "Deer", "Boy", ".hidden"):
        _make(tmp_path, name)
    sequences = _open(tmp_path)
    assert sequences.names == ("Boy", "Deer", "Zebra")
    assert sequences.coverage == "2 of 100 sequences and 1 of your own"
    assert [sequences[-1].name, len(sequences)] == ["Zebra", 3]
    with pytest.raises(IndexError):
        sequences[3]


def test_the_table_holds_otb100() -> None:
    assert len(CLIPS) == 100
    assert len({clip.fields["folder"] for clip in PART.clips()}) == 98
    assert sum((clip.span or 0) - clip.skip for clip in PART.clips()) == 59_035
    assert all(clip.attributes and clip.attributes <= set(otb.ATTRIBUTES) for clip in PART.clips())


@pytest.mark.parametrize(
    ("name", "frames", "file", "line"),
    [
        ("David", 471, "img/0300.jpg", 1),
        ("Tiger1", 349, "img/0006.jpg", 6),
        ("Football1", 74, "img/0001.jpg", 1),
        ("Board", 698, "img/00001.jpg", 1),
        ("BlurCar3", 357, "img/0003.jpg", 1),
        ("KiteSurf", 84, "img/0001.jpg", 1),
    ],
)
def test_the_quirks_of_otb100(tmp_path: Path, name: str, frames: int, file: str, line: int) -> None:
    folder = _make_by_rule(tmp_path, name)
    sequence = _open(tmp_path)[0]
    assert isinstance(sequence.frames, ImageFiles)
    assert [sequence.name, len(sequence), len(sequence.boxes), len(sequence.visible)] == [name, *[frames] * 3]
    assert sequence.frames.files.place(sequence.frames.file(0)) == folder / file
    assert sequence.boxes[0].tolist() == [line - 1, 0, 10, 10]
    assert sequence.frames.problems() == []


def test_the_first_box_of_a_late_start_is_the_evaluated_one(tmp_path: Path) -> None:
    annotation = _make_by_rule(tmp_path, "Tiger1") / "groundtruth_rect.txt"
    lines = annotation.read_text().splitlines()
    annotation.write_text("\n".join(["1,1,0,0", *lines[1:]]))
    _open(tmp_path).check()
    annotation.write_text("\n".join([*lines[:5], "1,1,0,0", *lines[6:]]))
    assert "line 6: the first box" in _message(tmp_path)


def test_kitesurf_is_read_in_either_published_layout(tmp_path: Path) -> None:
    folder = _make_by_rule(tmp_path, "KiteSurf", pattern=1)
    frames = _open(tmp_path)[0].frames
    assert isinstance(frames, ImageFiles)
    assert frames.files.place(frames.file(83)) == folder / "jpg/0084.png"


def test_two_targets_share_a_folder(tmp_path: Path) -> None:
    _make_by_rule(tmp_path, "Jogging_1")
    (tmp_path / "Jogging/groundtruth_rect.2.txt").write_text("7,8,10,10\n" * 307)
    first, second = _open(tmp_path)
    assert (first.name, second.name) == ("Jogging_1", "Jogging_2")
    assert (first.boxes[0, 0], second.boxes[0, 0]) == (0, 6)


def test_attributes_come_from_the_folder_then_from_the_table(tmp_path: Path) -> None:
    known, own = _make_by_rule(tmp_path, "Deer"), _make(tmp_path)
    assert [s.attributes for s in _open(tmp_path)] == [{"MB", "FM", "IPR", "BC", "LR"}, set()]
    (known / "attrs.txt").write_text("SV, DEF\n")
    (own / "attrs.txt").write_text("OCC")
    assert [s.attributes for s in _open(tmp_path)] == [{"SV", "DEF"}, {"OCC"}]
    (own / "attrs.txt").write_text("OCC, POC")
    assert f"{own / 'attrs.txt'}, line 1: no attribute is called 'POC'; the attributes are IV, SV" in _message(tmp_path)


def test_the_digest_follows_what_scores_depend_on(tmp_path: Path) -> None:
    def digests() -> Iterator[str]:
        folder = _make(tmp_path / "root")
        yield _open(tmp_path / "root").digest()
        (folder / "groundtruth_rect.txt").write_text("2,3,10,12\n" * 2 + "2,3,10,13\n")
        yield _open(tmp_path / "root").digest()
        folder.rename(tmp_path / "root/Other")
        yield _open(tmp_path / "root").digest()
        _make(tmp_path / "root", "Second")
        yield _open(tmp_path / "root").digest()

    assert len(set(digests())) == 4
    _make(tmp_path / "copy", "Other", boxes="2 3 10 12\n" * 2 + "2.0 3 10 13\n")
    _make(tmp_path / "copy", "Second")
    assert _open(tmp_path / "copy").digest() == _open(tmp_path / "root").digest()


@pytest.mark.parametrize("part", ["img", "img/0002.jpg", "groundtruth_rect.txt", "attrs.txt"])
def test_a_link_out_of_root_is_refused(tmp_path: Path, part: str) -> None:
    root, outside = tmp_path / "root", _make(tmp_path / "outside")
    (outside / "attrs.txt").write_text("OCC")
    folder = _make(root)
    (folder / "attrs.txt").write_text("OCC")
    (folder / part).rename(tmp_path / "moved")
    (folder / part).symlink_to(outside / part)
    assert f"{folder / part}: leads out of {root}; replace the link by a copy of its target" in _message(root)


def test_a_linked_sequence_out_of_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/Clip").symlink_to(_make(tmp_path / "outside"))
    assert "leads out of" in _message(tmp_path / "root")


def test_a_link_within_root_and_a_linked_root_are_followed(tmp_path: Path) -> None:
    folder = _make(tmp_path / "root")
    (folder / "img/0002.jpg").unlink()
    (folder / "img/0002.jpg").symlink_to("0001.jpg")
    (tmp_path / "link").symlink_to("root")
    _open(tmp_path / "link").check()


def test_problems_of_all_sequences_come_in_one_message(tmp_path: Path) -> None:
    (_make(tmp_path, "One") / "img/0002.jpg").write_bytes(JPEG[:-2])
    _make(tmp_path, "Two", boxes="2,3,10,12\n")
    (_make(tmp_path, "Three") / "img/0001.jpg").write_bytes(JPEG[:30] + JPEG[-2:])
    said = _message(tmp_path)
    assert said.startswith("3 problems")
    assert all(text in said for text in ("0002.jpg: is truncated", "1 boxes for 3 frames", "Three"))


def test_real_sequences() -> None:
    if not REAL.is_dir():
        pytest.skip("needs the real OTB sequences Couple and Crossing beside the checkout")
    sequences = _open(REAL)
    sequences.check()
    couple, crossing = sequences
    assert sequences.coverage == "2 of 100 sequences"
    assert [(s.name, len(s), len(s.boxes)) for s in (couple, crossing)] == [
        ("Couple", 140, 140),
        ("Crossing", 120, 120),
    ]
    assert [s.boxes[0].tolist() for s in (couple, crossing)] == [[50, 46, 25, 62], [204, 150, 17, 50]]
    assert couple.attributes == CLIPS["Couple"].attributes == {"SV", "DEF", "FM", "OPR", "BC"}
    assert couple.visible.all()
    assert couple.frames[139].shape == (240, 320, 3)


def test_an_archive_reads_as_the_folder_does(tmp_path: Path) -> None:
    _make_by_rule(tmp_path / "root", "Deer")
    _make(tmp_path / "root")
    folder = _open(tmp_path / "root")
    for within in ("", "OTB100/"):
        archive = _open(zipped(tmp_path / "root", tmp_path / "otb.zip", within))
        archive.check(deep=True)
        assert archive.names == folder.names == ("Deer", "Clip")
        assert archive.digest() == folder.digest()
        assert (archive[0].frames[70] == folder[0].frames[70]).all()
