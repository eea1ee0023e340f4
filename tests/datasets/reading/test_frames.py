"""Names of frames as runs, and images as frames: what is read, and every kind of bad image named."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackablate.datasets.errors import LISTED, DataError, raise_all
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.frame_names import FrameNames, Order, frame_names
from trackablate.datasets.reading.frames import ImageFiles, NoFrames
from trackablate.datasets.reading.opening import open_files
from video_factory import HEIGHT, JPEG, PNG, WIDTH, encoded, zipped

BMP, WEBP = encoded(".bmp"), encoded(".webp")


@given(
    st.integers(0, 3000),
    st.integers(1, 1200),
    st.integers(1, 8),
    st.sampled_from(["", "img", "a%d-", "frame_"]),
    st.sampled_from([".jpg", ".PNG", ".jpeg"]),
)
def test_consecutive_numbers_are_one_run(first: int, count: int, digits: int, prefix: str, suffix: str) -> None:
    written = [f"{prefix}{n:0{digits}d}{suffix}" for n in range(first, first + count)]
    names = frame_names(reversed([*written, "groundtruth.txt", "Thumbs.db"]), "number")
    assert list(names) == written
    assert [len(names), names[0], names[-1]] == [count, written[0], written[-1]]
    assert len(names.ranges) == 1 or len(written[0]) != len(written[-1])


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 70), st.integers(0, 70))
def test_any_numbers_are_kept_in_order(numbers: set[int], low: int, high: int) -> None:
    names = frame_names([f"{n}.jpg" for n in numbers], "number")
    ordered = sorted(numbers)
    assert list(names) == [f"{n}.jpg" for n in ordered] == [names[i] for i in range(len(names))]
    assert list(names.numbered(low, high)) == [f"{n}.jpg" for n in ordered if low <= n <= high]
    assert list(names.cut(low, high)) == [f"{n}.jpg" for n in ordered[low:high]]
    lacking = [n for n in range(low, ordered[-1]) if n not in numbers]
    assert names.gap(low) == (lacking[0] if lacking else None)
    assert FrameNames(names.ranges) == names


@given(st.lists(st.text("ab.-_ ", min_size=1, max_size=6), unique=True, max_size=12))
def test_names_without_numbers_are_sorted_as_names(stems: list[str]) -> None:
    written = [f"{stem}.jpg" for stem in stems]
    assert list(frame_names(written, "name")) == list(frame_names(written, "clear")) == sorted(written)


@given(
    st.lists(st.text("ab019.-_ ²٣", min_size=1, max_size=6), unique=True, max_size=12),
    st.sampled_from(["name", "clear"]),
)
def test_no_order_but_a_possible_one_comes_back(stems: list[str], order: Order) -> None:
    written = [f"{stem}.jpg" for stem in stems]
    try:
        found = list(frame_names(written, order))
    except ValueError as error:
        assert len(error.args) == 2  # noqa: PT017 problem and remedy
        return
    assert sorted(found) == sorted(written)
    natural = sorted(
        found, key=lambda name: [int(part) if part.isdecimal() else 0 for part in re.split(r"([0-9]+)", name)]
    )
    assert found == sorted(written) or found == natural


NUMBERED = {
    "ffmpeg's %d": ["1", "2", "9", "10", "11"],
    "with a beginning": ["img1", "img2", "img10"],
    "padding that overflows": ["998", "999", "1000", "1001"],
    "an ending after the number": ["frame8_xxx", "frame9_xxx", "frame10_xxx"],
    "a number in the beginning": ["cam2_7", "cam2_8", "cam2_12"],
    "gaps and a long number": ["t999999999999999", "t1000000000000000", "t1000000000000002"],
    "seconds of one width": ["10.25", "10.30", "11.05"],
}


@pytest.mark.parametrize("stems", NUMBERED.values(), ids=NUMBERED)
@pytest.mark.parametrize("order", ["name", "clear"])
def test_names_that_differ_in_one_number_come_in_its_order(stems: list[str], order: Order) -> None:
    written = [f"{stem}.png" for stem in stems]
    assert list(frame_names(reversed(written), order)) == written


AMBIGUOUS = {
    "numbers without padding behind two beginnings": (
        ["a_2", "a_10", "b_1"],
        "'a_10.jpg' by name, 'a_2.jpg' by number",
    ),
    "two numbers without padding": (["1_9", "2_1", "10_1"], "first comes '10_1.jpg' by name, '1_9.jpg' by number"),
    "seconds of two widths": (["0.3", "0.25"], "first comes '0.25.jpg' by name, '0.3.jpg' by number"),
}


@pytest.mark.parametrize(("stems", "message"), AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("order", ["name", "clear"])
def test_two_possible_orders_are_refused_and_both_named(stems: list[str], message: str, order: Order) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        frame_names([f"{stem}.jpg" for stem in stems], order)
    assert "pad the numbers with zeros" in caught.value.args[1]


def test_numbers_behind_several_beginnings_count_except_in_official_lists() -> None:
    written = ["cam_1.jpg", "cam_3.jpg", "img_2.jpg"]
    with pytest.raises(ValueError, match=r"after 'cam_1.jpg' comes 'cam_3.jpg' by name, 'img_2.jpg' by number"):
        frame_names(written, "clear")
    assert list(frame_names(written, "name")) == written
    for agreed in (["a_1.jpg", "a_2.jpg", "b_3.jpg"], ["a_1.jpg", "a_2.jpg", "b_1.jpg"]):
        assert list(frame_names(agreed, "clear")) == agreed


def test_two_frames_of_one_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'01.jpg' and '1.jpg' have the same number"):
        frame_names(["1.jpg", "01.jpg", "2.jpg"], "clear")
    with pytest.raises(ValueError, match=r"'1.jpg' and '1.png' have the same number"):
        frame_names(["1.jpg", "1.png"], "name")


def test_names_need_a_number_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"'cover.png' must end in its number"):
        frame_names(["1.jpg", "cover.png"], "number")
    with pytest.raises(ValueError, match=r"'0001.jpg' and '1.jpg' have the same number"):
        frame_names(["1.jpg", "2.jpg", "0001.jpg"], "number")
    assert list(frame_names(["frame10.jpg", "frame9.JPEG", "frame0011.png"], "number")) == [
        *("frame9.JPEG", "frame10.jpg", "frame0011.png")
    ]


def test_frames_with_gaps_are_found_by_their_index_at_once() -> None:
    """Each of them is a range of its own: going through all for each frame would take minutes."""
    names = [f"{2 * number:08d}.jpg" for number in range(40_000)]
    found, begun = frame_names(names, "number"), time.process_time()
    assert [found[index] for index in range(len(found))] == names
    assert time.process_time() - begun < 10.0


def test_an_index_outside_is_an_index_error() -> None:
    names = frame_names(["1.jpg", "2.jpg"], "number")
    for index in (2, -3):
        with pytest.raises(IndexError):
            names[index]
    assert names[-1] == "2.jpg"


def _frames(root: Path, *files: str) -> ImageFiles:
    return ImageFiles(open_files(root), "", frame_names(files or [f.name for f in root.iterdir()], "name"))


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
    "half a BMP": (BMP[: len(BMP) // 2], "is truncated (a BMP of"),
    "WebP short of 1 byte": (WEBP[:-1], "is truncated (a WebP of"),
    "text": (b"<html>not found</html>", "is neither JPEG nor PNG"),
    "three bytes": (JPEG[:3], "is truncated"),
}


@pytest.fixture(params=["folder", "archive"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], tuple[Files, Path]]:
    """Puts one image into a root: a folder or an archive."""

    def put(content: bytes) -> tuple[Files, Path]:
        root = tmp_path / "root"
        root.mkdir()
        (root / "1.jpg").write_bytes(content)
        where = root if request.param == "folder" else zipped(root, tmp_path / "root.zip")
        return open_files(where), where / "1.jpg"

    return put


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_found_without_and_with_decoding(
    opened: Callable[[bytes], tuple[Files, Path]], kind: str
) -> None:
    content, said = BAD_IMAGES[kind]
    files, place = opened(content)
    frames = ImageFiles(files, "", frame_names(["1.jpg"], "number"))
    with pytest.raises(DataError) as caught:
        frames[0]
    for message in (*frames.problems(), str(caught.value)):
        assert message.startswith(f"{place}: {said}")
        assert message.endswith("copy it again from the source of the data set")
    assert len(frames.problems()) == 1


GOOD_IMAGES = {
    "JPEG": JPEG,
    "BMP": BMP,
    "WebP": WEBP,
    "PNG": PNG,
    "JPEG with padding": JPEG + bytes(50),
    "JPEG with much behind it": JPEG + b"MakerNote" * 500,
    "PNG with much behind it": PNG + bytes(5000),
    "JPEG with a thumbnail's end": JPEG[:2] + b"\xff\xe1\x00\x0aExif\xff\xd9\xff\xd9" + JPEG[2:],
    "JPEG with fill bytes": JPEG[:2] + b"\xff\xff" + JPEG[2:],
}


@pytest.mark.parametrize("kind", GOOD_IMAGES)
def test_a_whole_image_passes(opened: Callable[[bytes], tuple[Files, Path]], kind: str) -> None:
    files, _ = opened(GOOD_IMAGES[kind])
    frames = ImageFiles(files, "", frame_names(["1.jpg"], "number"))
    assert frames.problems() == []
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    assert frames.size == (WIDTH, HEIGHT)


def test_frames_are_rgb_also_under_an_odd_path(tmp_path: Path) -> None:
    file = tmp_path / "füße 跟踪 %d.png"
    picture = np.zeros((6, 8, 3), dtype=np.uint8)
    picture[..., 2] = 200
    file.write_bytes(bytes(cv2.imencode(".png", picture)[1]))
    frames = _frames(tmp_path)
    assert frames[0].dtype == np.uint8
    assert frames[-1][0, 0].tolist() == [200, 0, 0]
    with pytest.raises(IndexError, match="frame 1 of 1"):
        frames[1]


def test_grey_images_have_three_channels(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(bytes(cv2.imencode(".jpg", np.full((6, 8), 90, dtype=np.uint8))[1]))
    assert _frames(tmp_path)[0].shape == (6, 8, 3)


def test_an_image_with_broken_content_is_refused_when_decoded(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(JPEG[:20] + b"\xff\xda" + bytes(40) + JPEG[-2:])
    with pytest.raises(DataError, match="cannot be decoded"):
        _frames(tmp_path)[0]


def test_a_linked_frame_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/1.jpg").symlink_to("../secret.jpg")
    frames = _frames(tmp_path / "root")
    assert "leads out of" in frames.problems()[0]
    with pytest.raises(DataError, match="leads out of"):
        frames[0]


def test_all_bad_files_are_counted_and_the_first_named(tmp_path: Path) -> None:
    files = [f"{number:02d}.jpg" for number in range(LISTED + 3)]
    os.mkfifo(tmp_path / files[0])
    (tmp_path / files[1]).mkdir()
    frames = _frames(tmp_path, *files)
    with pytest.raises(DataError) as caught:
        raise_all(frames.problems())
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{LISTED + 3} problems:"
    assert "not an ordinary file" in lines[1]
    assert "not an ordinary file" in lines[2]
    assert lines[LISTED].startswith(f"{tmp_path / files[LISTED - 1]}: is missing; ")
    assert lines[LISTED + 1 :] == ["and 3 more"]
    assert len(caught.value.problems) == LISTED + 3
    assert len(frames.problems([0, 5])) == 2


def test_no_frames_have_a_length_and_say_where_they_would_lie(tmp_path: Path) -> None:
    frames = NoFrames(open_files(tmp_path), ["a/img", "a/jpg"], 7)
    assert len(frames) == 7
    with pytest.raises(DataError) as caught:
        frames[0]
    assert frames.unread() == ""
    where = f"{tmp_path / 'a/img'} or {tmp_path / 'a/jpg'}"
    assert str(caught.value) == f"annotations only: no frames under {where}; add the images to track them"


def test_images_that_are_not_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a/img").mkdir(parents=True)
    for number in range(5):
        (tmp_path / f"a/img/{number}.TIFF").touch()
    frames = NoFrames(open_files(tmp_path), ["a/jpg", "a/img"], 5)
    named = "holds 5 files that are no JPEG, PNG, BMP or WebP: 0.TIFF, 1.TIFF, 2.TIFF and 2 more; convert them"
    with pytest.raises(DataError) as caught:
        frames[0]
    assert str(caught.value).startswith(f"{tmp_path / 'a/img'}: {named}")
