"""Frames are decoded as far down as a crop needs, to the pixels that OpenCV gives for the whole image."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs import decoding
from trackablate.datasets.pairs.augmentation import AUGMENTATIONS
from trackablate.datasets.pairs.decoding import SAMPLINGS, Frame, header_of
from trackablate.datasets.pairs.geometries import GEOMETRIES
from trackablate.datasets.pairs.sampling import PairGeometry, PairSampler
from trackablate.datasets.reading.frame_names import frame_names
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.reading.opening import open_files
from trackablate.datasets.sequence import Image, Sequence

WIDTH, HEIGHT = 157, 203
EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0"
"""It says that the image is upside down."""
GEOMETRY = PairGeometry(32, 64, 2.0, 4.0, centre_jitter=3.0, scale_jitter=0.25, template_tokens=4, image_pairs=0.3)


def picture(seed: int = 0) -> Image:
    """Noise at two scales: each pixel of a wrong row or column differs."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    return np.asarray(coarse // 2 + rng.integers(0, 128, (HEIGHT, WIDTH, 3), dtype=np.uint8), dtype=np.uint8)


def jpeg(image: Image, *options: int) -> bytes:
    return bytes(cv2.imencode(".jpg", image, options)[1])


def turned(content: bytes) -> bytes:
    return content[:2] + b"\xff\xe1" + (len(EXIF) + 2).to_bytes(2) + EXIF + content[2:]


CUT = {
    **{f"{s:#x}": jpeg(picture(), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, s) for s in SAMPLINGS},
    "restarts": jpeg(picture(), cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    "rough": jpeg(picture(), cv2.IMWRITE_JPEG_QUALITY, 20),
    "comment and fill": jpeg(picture())[:2] + b"\xff\xfe\x00\x06\xff\xc2\xff\xda\xff" + jpeg(picture())[2:],
}
WHOLE = {
    "PNG": bytes(cv2.imencode(".png", picture())[1]),
    "progressive": jpeg(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "grey": jpeg(picture()[..., 0]),
    "upside down": turned(jpeg(picture())),
    "end of the header missing": jpeg(picture())[:30] + b"\xff\xd9",
}


def files(folder: Path, *contents: bytes) -> ImageFiles:
    for number, content in enumerate(contents):
        (folder / f"{number}.jpg").write_bytes(content)
    return ImageFiles(open_files(folder), "", frame_names([f"{n}.jpg" for n in range(len(contents))], "number"))


@pytest.fixture(params=["simplejpeg", "OpenCV alone"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
        assert decoding._simplejpeg() is not None, "the two decode differently here: nothing is faster"
    else:
        monkeypatch.setattr(decoding, "_simplejpeg", lambda: None)
    return str(request.param)


@pytest.mark.parametrize("kind", CUT)
def test_upper_rows_are_those_of_the_whole_image(tmp_path: Path, kind: str, decoder: str) -> None:
    frames = files(tmp_path, CUT[kind])
    lowest = []
    for rows in (1, 15, 16, 17, 31, 32, 63, 64, 100, 191, 192, 202, 203):
        frame = Frame(frames, 0)
        assert frame.size == (WIDTH, HEIGHT)
        frame.rows = rows
        np.testing.assert_array_equal(frame.image[:rows], frames[0][:rows])
        lowest.append(len(frame.image))
    assert (lowest[0], lowest[-1]) == ((1, HEIGHT) if decoder == "simplejpeg" else (HEIGHT, HEIGHT))


@pytest.mark.parametrize("kind", list(WHOLE)[:-1])
def test_other_images_are_decoded_whole_by_opencv(tmp_path: Path, kind: str) -> None:
    frames = files(tmp_path, WHOLE[kind])
    assert header_of(WHOLE[kind]) is None
    frame = Frame(frames, 0)
    assert frame.size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(frame.image, frames[0])


def test_the_tests_image_is_really_turned(tmp_path: Path) -> None:
    frames = files(tmp_path, jpeg(picture()), WHOLE["upside down"])
    np.testing.assert_array_equal(frames[0][::-1, ::-1], frames[1])


def test_a_header_without_an_end_or_a_size_is_none() -> None:
    content = jpeg(picture())
    at = header_of(content)
    assert at is not None
    assert header_of(WHOLE["end of the header missing"]) is None
    assert header_of(content[: at.at] + b"\0\0" + content[at.at + 2 :]) is None
    assert header_of(content[: at.at] + b"\xff\xff\xff\xff" + content[at.at + 4 :]) is None, "too large"
    assert header_of(b"") is None
    assert all(header_of(content[:length]) is None for length in range(at.at))


def test_an_image_that_only_opencv_decodes_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> Image:
        raise ValueError("Corrupt JPEG data")

    frames = files(tmp_path, jpeg(picture()))
    monkeypatch.setattr(decoding, "_simplejpeg", lambda: refuses)
    np.testing.assert_array_equal(Frame(frames, 0).image, frames[0])


def test_a_decoder_with_other_pixels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    ours = simplejpeg.decode_jpeg
    assert decoding._simplejpeg.__wrapped__() is ours
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *given: ours(*given) ^ 1)
    assert decoding._simplejpeg.__wrapped__() is None


class Counted(ImageFiles):
    """Counts how often files are read and decoded whole."""

    read = whole = 0

    def content(self, index: int) -> bytes:
        self.read += 1
        return super().content(index)

    def __getitem__(self, index: int, /) -> Image:
        self.whole += 1
        return super().__getitem__(index)


def sequence(frames: ImageFiles, boxes: np.ndarray) -> Sequence:
    return Sequence("video", frames, boxes, np.ones(len(boxes), dtype=np.bool_))


BOXES = np.array([[60, 70, 30, 24], [5, 2, 25, 40], [100, 150, 50, 45], [40, 60, 70, 90], [70, 90, 12, 15.5]])


@pytest.fixture
def video(tmp_path: Path) -> Sequence:
    contents = [jpeg(picture(n), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, s) for n, s in enumerate(SAMPLINGS[:3])]
    contents += [turned(jpeg(picture(3))), bytes(cv2.imencode(".png", picture(4))[1])]
    return sequence(files(tmp_path, *contents), BOXES)


CASES = list(itertools.product(GEOMETRIES, [*AUGMENTATIONS, None]))


@pytest.mark.parametrize(("geometry", "augmentation"), CASES)
def test_pairs_from_files_are_those_from_decoded_frames(
    video: Sequence, geometry: str, augmentation: str | None, decoder: str
) -> None:
    shape = replace(GEOMETRY, geometry=geometry, augmentation=augmentation or "ostrack")
    at_hand = replace(video, frames=[video.frames[i] for i in range(len(video))])
    drawn = [
        PairSampler(lambda number, rng, of=of: (of, np.arange(5)), shape, 2, augment=augmentation is not None)  # type: ignore[misc]
        for of in (video, at_hand)
    ]
    for number in range(40):
        one, other = (sampler(number) for sampler in drawn)
        for field in ("template", "search", "truth", "mask"):
            found, expected = getattr(one, field), getattr(other, field)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_lorats_colour_outside_is_the_mean_of_the_whole_image(video: Sequence, decoder: str) -> None:
    shape = replace(GEOMETRY, geometry="lorat")
    pair = PairSampler(lambda number, rng: (video, np.array([1])), shape, 0, augment=False)(0)
    assert pair.template[0, 0].tolist() == [np.float32(mean) for mean in cv2.mean(video.frames[1])[:3]]


def test_a_frame_that_serves_twice_is_read_once_and_a_view_is_chosen_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(jpeg(picture()))
    frames = Counted(open_files(tmp_path), "", frame_names(["0.jpg"], "number"))
    PairSampler(lambda number, rng: (sequence(frames, BOXES[:1]), np.arange(1)), GEOMETRY, 0)(0)
    assert frames.read - frames.whole == 1
    far = replace(GEOMETRY, centre_jitter=1e6)
    with pytest.raises(ValueError, match="no pair with a visible target"):
        PairSampler(lambda number, rng: (sequence(frames, BOXES[:1]), np.arange(1)), far, 0)(0)
    assert frames.whole <= 1, "an image was decoded whose crop shows nothing of the target"


def test_a_truncated_file_is_refused_before_any_view(tmp_path: Path) -> None:
    frames = files(tmp_path, jpeg(picture())[:-40])
    with pytest.raises(DataError, match=r"0.jpg: is truncated"):
        Frame(frames, 0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)
