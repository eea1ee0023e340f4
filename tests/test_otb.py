"""The OTB reader and image frames: what is read, and that every kind of bad data is named with its remedy."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import otb
from datasets.errors import LISTED, DataError
from datasets.frames import ImageFiles
from datasets.otb import OtbSequences, parse_box, read_boxes, rules

REAL = Path(__file__).parents[1].parent / "shared/real/otb"
RULES = {rule.name: rule for rule in rules()}
WIDTH, HEIGHT = 40, 30


def _encoded(suffix: str = ".jpg") -> bytes:
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return bytes(cv2.imencode(suffix, picture)[1])


JPEG, PNG = _encoded(".jpg"), _encoded(".png")


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
    rule = RULES[name]
    folder = root / rule.folder
    for number in range(rule.first - 1, rule.last + 2):
        file = folder / (rule.images[pattern] % number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(JPEG)
    count = rule.last - rule.first + 1
    (folder / rule.annotation).write_text("".join(f"{n},1,10,10\n" for n in range(1, count + 1)))
    return folder


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        OtbSequences(root).check()
    return str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["2,3,10,12", "2\t3\t10\t12", "2 3 10 12", "2,  3\t10 12", " 2 ,3, 10\t\t12 ", "2.0,3e0,+10.,1.2e1", "2,3,10,12\r"],
)
def test_every_separator_reads_alike(line: str) -> None:
    assert parse_box(line) == (2, 3, 10, 12)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3", "has 3"),
        ("1,2,3,4,5", "has 5"),
        ("1,2,3,4,", "has 5"),
        ("", "has 0"),
        ("1,,3,4", "finite numbers"),
        ("1,2,x,4", "finite numbers"),
        ("1,2,nan,4", "finite numbers"),
        ("1,2,inf,4", "finite numbers"),
        ("1,2,1e999,4", "finite numbers"),
        ("1_0,2,3,4", "finite numbers"),
        ("0x1,2,3,4", "finite numbers"),
        ("١,2,3,4", "finite numbers"),
    ],
)
def test_a_line_that_is_no_box_is_refused(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_box(line)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)
SEPARATORS = st.sampled_from([",", "\t", " ", ", ", " ,\t", "   "])


@given(st.tuples(*[NUMBERS] * 4), st.tuples(*[SEPARATORS] * 3))
def test_what_is_written_is_read(numbers: tuple[float, ...], separators: tuple[str, ...]) -> None:
    line = "".join(f"{n!r}{s}" for n, s in zip(numbers, (*separators, ""), strict=True))
    assert parse_box(line) == numbers


@given(st.text(max_size=30))
def test_any_text_is_four_finite_numbers_or_refused(line: str) -> None:
    try:
        box = parse_box(line)
    except ValueError:
        return
    assert len(box) == 4
    assert np.isfinite(box).all()


def test_boxes_become_0_based_and_only_their_corner_moves(tmp_path: Path) -> None:
    file = tmp_path / "b.txt"
    file.write_bytes(b"\xef\xbb\xbf1,2,10,12\r\n5 6 7 0\r\n\r\n\n")
    assert read_boxes(file).tolist() == [[0, 1, 10, 12], [4, 5, 7, 0]]
    assert read_boxes(file, origin=0).tolist() == [[1, 2, 10, 12], [5, 6, 7, 0]]


def test_every_bad_line_is_listed_with_file_line_and_remedy(tmp_path: Path) -> None:
    folder = _make(tmp_path, frames=4, boxes="2,3,10,12\n2,3,10\n\n2,3,nan,12\n")
    said = _message(tmp_path)
    for line, text in ((2, "has 3, got '2,3,10'"), (3, "has 0"), (4, "4 finite numbers, got '2,3,nan,12'")):
        assert f"{folder / 'groundtruth_rect.txt'}, line {line}: " in said
        assert text in said
    assert "line 1" not in said
    assert said.count('write "x,y,w,h"') == 3


@pytest.mark.parametrize("sides", ["0,12", "10,-1"])
def test_only_the_first_box_must_have_an_area(tmp_path: Path, sides: str) -> None:
    _make(tmp_path, "Later", boxes=f"2,3,10,12\n2,3,{sides}\n2,3,10,12\n")
    OtbSequences(tmp_path).check()
    bad = _make(tmp_path, "First", boxes=f"2,3,{sides}\n2,3,10,12\n2,3,10,12\n")
    assert f"{bad / 'groundtruth_rect.txt'}, line 1: the first box needs a positive width and height" in _message(
        tmp_path
    )


def test_a_first_box_outside_the_image_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, "Edge", boxes=f"{WIDTH},3,10,12\n" * 3)
    OtbSequences(tmp_path).check()
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
    said = f"{lines} boxes for 3 frames; give one line for each image in img/, and no more"
    assert _message(tmp_path) == f"{folder / 'groundtruth_rect.txt'}: {said}"


def test_a_known_sequence_must_have_its_frames(tmp_path: Path) -> None:
    _make(tmp_path, "Deer", frames=20)
    said = _message(tmp_path)
    assert "Deer/groundtruth_rect.txt: 20 boxes for 71 frames" in said
    assert "OTB100's Deer is frames 1 to 71: restore the file" in said
    assert "rename the folder" in said


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = _make(tmp_path, frames=0, boxes="2,3,10,12\n" * 3)
    for name in ("frame10.jpg", "frame9.JPEG", "frame0011.png"):
        (folder / "img" / name).write_bytes(JPEG)
    (folder / "img" / "Thumbs.db").touch()
    frames = OtbSequences(tmp_path)[0].frames
    assert isinstance(frames, ImageFiles)
    assert [file.name for file in frames.files] == ["frame9.JPEG", "frame10.jpg", "frame0011.png"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1.jpg", "has the same number as 0001.jpg; remove one"),
        ("cover.png", "must end in its number; rename or remove"),
    ],
)
def test_a_frame_has_one_number(tmp_path: Path, name: str, said: str) -> None:
    (_make(tmp_path) / "img" / name).write_bytes(JPEG)
    assert said in _message(tmp_path)
    assert name in _message(tmp_path)


def test_no_sequence_at_all(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "Deer.zip").touch()
    assert _message(tmp_path) == f"{tmp_path}: holds no OTB sequence; expected {otb.LAYOUT} in it"
    assert f"expected {otb.LAYOUT}" in _message(tmp_path / "nowhere")


def test_a_sequence_given_as_root_is_told_from_none(tmp_path: Path) -> None:
    folder = _make(tmp_path)
    assert f"name the folder that it lies in, {tmp_path}" in _message(folder)


@pytest.mark.parametrize(("lost", "said"), [("img", "no img"), ("groundtruth_rect.txt", "no groundtruth_rect.txt")])
def test_half_a_sequence_is_not_left_out(tmp_path: Path, lost: str, said: str) -> None:
    _make(tmp_path, "Whole")
    folder = _make(tmp_path, "Half")
    (folder / lost).rename(tmp_path / "elsewhere.txt")
    assert f"{folder}: has " in _message(tmp_path)
    assert f"{said}; add it" in _message(tmp_path)


def test_a_known_sequence_without_annotation_is_not_left_out(tmp_path: Path) -> None:
    _make(tmp_path, "Deer")
    (tmp_path / "Deer/groundtruth_rect.txt").unlink()
    assert "Deer/groundtruth_rect.txt: is missing" in _message(tmp_path)
    assert "restore it" in _message(tmp_path)


def test_two_sequences_of_one_name_are_refused(tmp_path: Path) -> None:
    _make(tmp_path, "Jogging")
    _make(tmp_path, "Jogging_1")
    assert "a second sequence called Jogging_1; rename this folder" in _message(tmp_path)


def test_what_is_there_is_counted(tmp_path: Path) -> None:
    for name in ("Zebra", "Deer", "Boy", ".hidden"):
        _make(tmp_path, name)
    sequences = OtbSequences(tmp_path)
    assert sequences.names == ("Boy", "Deer", "Zebra")
    assert sequences.coverage == "2 of 100 sequences and 1 of your own"
    assert [sequences[-1].name, len(sequences)] == ["Zebra", 3]
    with pytest.raises(IndexError):
        sequences[3]


def test_the_table_holds_otb100() -> None:
    assert len(RULES) == 100
    assert len({rule.folder for rule in rules()}) == 98
    assert sum(rule.last - rule.first + 1 - rule.skip for rule in rules()) == 59_035
    assert all(rule.attributes and rule.attributes <= set(otb.ATTRIBUTES) for rule in rules())


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
    sequence = OtbSequences(tmp_path)[0]
    assert isinstance(sequence.frames, ImageFiles)
    assert [sequence.name, len(sequence), len(sequence.boxes), len(sequence.visible)] == [name, *[frames] * 3]
    assert sequence.frames.files[0] == folder / file
    assert sequence.boxes[0].tolist() == [line - 1, 0, 10, 10]
    assert sequence.frames.problems() == []


def test_the_first_box_of_a_late_start_is_the_evaluated_one(tmp_path: Path) -> None:
    annotation = _make_by_rule(tmp_path, "Tiger1") / "groundtruth_rect.txt"
    lines = annotation.read_text().splitlines()
    annotation.write_text("\n".join(["1,1,0,0", *lines[1:]]))
    OtbSequences(tmp_path).check()
    annotation.write_text("\n".join([*lines[:5], "1,1,0,0", *lines[6:]]))
    assert "line 6: the first box" in _message(tmp_path)


def test_kitesurf_is_read_in_either_published_layout(tmp_path: Path) -> None:
    folder = _make_by_rule(tmp_path, "KiteSurf", pattern=1)
    frames = OtbSequences(tmp_path)[0].frames
    assert isinstance(frames, ImageFiles)
    assert frames.files[-1] == folder / "jpg/0084.png"


def test_two_targets_share_a_folder(tmp_path: Path) -> None:
    _make_by_rule(tmp_path, "Jogging_1")
    (tmp_path / "Jogging/groundtruth_rect.2.txt").write_text("7,8,10,10\n" * 307)
    first, second = OtbSequences(tmp_path)
    assert (first.name, second.name) == ("Jogging_1", "Jogging_2")
    assert (first.boxes[0, 0], second.boxes[0, 0]) == (0, 6)


def test_attributes_come_from_the_folder_then_from_the_table(tmp_path: Path) -> None:
    known, own = _make_by_rule(tmp_path, "Deer"), _make(tmp_path)
    assert [s.attributes for s in OtbSequences(tmp_path)] == [{"MB", "FM", "IPR", "BC", "LR"}, set()]
    (known / "attrs.txt").write_text("SV, DEF\n")
    (own / "attrs.txt").write_text("OCC")
    assert [s.attributes for s in OtbSequences(tmp_path)] == [{"SV", "DEF"}, {"OCC"}]
    (own / "attrs.txt").write_text("OCC, POC")
    assert f"{own / 'attrs.txt'}, line 1: no attribute is called 'POC'; OTB's attributes are IV, SV" in _message(
        tmp_path
    )


def test_the_digest_follows_what_scores_depend_on(tmp_path: Path) -> None:
    def digests() -> Iterator[str]:
        folder = _make(tmp_path / "root")
        yield OtbSequences(tmp_path / "root").digest()
        (folder / "groundtruth_rect.txt").write_text("2,3,10,12\n" * 2 + "2,3,10,13\n")
        yield OtbSequences(tmp_path / "root").digest()
        folder.rename(tmp_path / "root/Other")
        yield OtbSequences(tmp_path / "root").digest()
        _make(tmp_path / "root", "Second")
        yield OtbSequences(tmp_path / "root").digest()

    assert len(set(digests())) == 4
    _make(tmp_path / "copy", "Other", boxes="2 3 10 12\n" * 2 + "2.0 3 10 13\n")
    _make(tmp_path / "copy", "Second")
    assert OtbSequences(tmp_path / "copy").digest() == OtbSequences(tmp_path / "root").digest()


@pytest.mark.parametrize("part", ["", "img", "img/0002.jpg", "groundtruth_rect.txt", "attrs.txt"])
def test_a_link_out_of_root_is_refused(tmp_path: Path, part: str) -> None:
    root, outside = tmp_path / "root", _make(tmp_path / "outside")
    (outside / "attrs.txt").write_text("OCC")
    folder = _make(root)
    (folder / "attrs.txt").write_text("OCC")
    (folder / part).rename(tmp_path / "moved")
    (folder / part).symlink_to(outside / part)
    named = folder / (part or "groundtruth_rect.txt")
    assert _message(root) == f"{named}: leads out of {root}; replace the link by a copy of what it points to"


def test_a_link_within_root_and_a_linked_root_are_followed(tmp_path: Path) -> None:
    folder = _make(tmp_path / "root")
    (folder / "img/0002.jpg").unlink()
    (folder / "img/0002.jpg").symlink_to("0001.jpg")
    (tmp_path / "link").symlink_to("root")
    OtbSequences(tmp_path / "link").check()


def test_a_linked_frame_is_refused_at_access_too(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/1.jpg").symlink_to("../secret.jpg")
    with pytest.raises(DataError, match="leads out of"):
        ImageFiles([tmp_path / "root/1.jpg"], tmp_path / "root")[0]


BAD_IMAGES = {
    "empty": (b"", "is empty"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "is truncated (a JPEG"),
    "JPEG short of 2 bytes": (JPEG[:-2], "is truncated (a JPEG"),
    "JPEG filled up with zeros": (JPEG[:-20] + bytes(5000), "is truncated (a JPEG"),
    "thumbnail's end only": (
        JPEG[:2] + b"\xff\xe1\x00\x0aExif\xff\xd9\xff\xd9" + JPEG[2 : len(JPEG) // 2] + bytes(200),
        "is truncated (a JPEG",
    ),
    "half a PNG": (PNG[: len(PNG) // 2], "is truncated (a PNG"),
    "PNG short of 1 byte": (PNG[:-1], "is truncated (a PNG"),
    "text": (b"<html>not found</html>", "is neither JPEG nor PNG"),
    "three bytes": (JPEG[:3], "is truncated"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_found_without_and_with_decoding(tmp_path: Path, kind: str) -> None:
    content, said = BAD_IMAGES[kind]
    file = tmp_path / "1.jpg"
    file.write_bytes(content)
    frames = ImageFiles([file], tmp_path)
    for use in (frames.check, lambda: frames[0]):
        with pytest.raises(DataError) as caught:
            use()
        assert str(caught.value).startswith(f"{file}: {said}")
        assert str(caught.value).endswith("copy it again from the source of the data set")


GOOD_IMAGES = {
    "JPEG": JPEG,
    "PNG": PNG,
    "JPEG with padding": JPEG + bytes(50),
    "JPEG with much behind it": JPEG + b"MakerNote" * 500,
    "PNG with much behind it": PNG + bytes(5000),
    "JPEG with a thumbnail's end": JPEG[:2] + b"\xff\xe1\x00\x0aExif\xff\xd9\xff\xd9" + JPEG[2:],
    "JPEG with fill bytes": JPEG[:2] + b"\xff\xff" + JPEG[2:],
}


@pytest.mark.parametrize("kind", GOOD_IMAGES)
def test_a_whole_image_passes(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "1.jpg"
    file.write_bytes(GOOD_IMAGES[kind])
    frames = ImageFiles([file], tmp_path)
    frames.check()
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    assert frames.size == (WIDTH, HEIGHT)


def test_frames_are_rgb_also_under_an_odd_path(tmp_path: Path) -> None:
    file = tmp_path / "füße 跟踪 %d.png"
    picture = np.zeros((6, 8, 3), dtype=np.uint8)
    picture[..., 2] = 200
    file.write_bytes(bytes(cv2.imencode(".png", picture)[1]))
    frames = ImageFiles([file], tmp_path)
    assert frames[0].dtype == np.uint8
    assert frames[-1][0, 0].tolist() == [200, 0, 0]
    with pytest.raises(IndexError, match="frame 1 of 1"):
        frames[1]


def test_grey_images_have_three_channels(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(bytes(cv2.imencode(".jpg", np.full((6, 8), 90, dtype=np.uint8))[1]))
    assert ImageFiles([tmp_path / "1.jpg"], tmp_path)[0].shape == (6, 8, 3)


def test_an_image_with_broken_content_is_refused_when_decoded(tmp_path: Path) -> None:
    file = tmp_path / "1.jpg"
    file.write_bytes(JPEG[:20] + b"\xff\xda" + bytes(40) + JPEG[-2:])
    with pytest.raises(DataError, match="cannot be decoded"):
        ImageFiles([file], tmp_path)[0]


def test_all_bad_files_are_counted_and_the_first_named(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(LISTED + 3)]
    os.mkfifo(files[0])
    files[1].mkdir()
    with pytest.raises(DataError) as caught:
        ImageFiles(files, tmp_path).check()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{LISTED + 3} problems in the data:"
    assert "no ordinary file" in lines[1]
    assert "no ordinary file" in lines[2]
    assert lines[LISTED].startswith(f"{files[LISTED - 1]}: is missing; copy it again")
    assert lines[LISTED + 1 :] == ["and 3 more"]
    assert len(caught.value.problems) == LISTED + 3


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
    sequences = OtbSequences(REAL)
    sequences.check()
    couple, crossing = sequences
    assert sequences.coverage == "2 of 100 sequences"
    assert [(s.name, len(s), len(s.boxes)) for s in (couple, crossing)] == [
        ("Couple", 140, 140),
        ("Crossing", 120, 120),
    ]
    assert [s.boxes[0].tolist() for s in (couple, crossing)] == [[50, 46, 25, 62], [204, 150, 17, 50]]
    assert couple.attributes == RULES["Couple"].attributes == {"SV", "DEF", "FM", "OPR", "BC"}
    assert couple.visible.all()
    assert couple.frames[139].shape == (240, 320, 3)
