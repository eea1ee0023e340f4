"""Frames of training pairs: first their size, from the header, and then the pixels that a crop needs.

JPEG images are decoded from the top down. So where the header says that the image is lower than it is, only its upper part
is decoded, and the pixels are the same. The package simplejpeg does that, if it is installed and decodes as OpenCV does;
otherwise OpenCV decodes whole images. Pixels are equal either way.
"""

from collections.abc import Callable
from functools import cache, cached_property
from typing import NamedTuple, cast

import cv2
import numpy as np

from trackablate.datasets.pairs.cropping import Colour
from trackablate.datasets.pairs.packed import PackedFrames, PackedPicture
from trackablate.datasets.reading.frames import ImageFiles, decoded
from trackablate.datasets.sequence import Frames, Image

MARGIN = 1
"""Rows below a cut that the rows above it depend on: colours of half the resolution are interpolated."""
BLOCK = 32
"""Rows of the largest JPEG block: cuts between blocks save most."""
MOST_PIXELS = 2**26
"""Larger images are left to OpenCV, which has a limit."""
SAMPLINGS = (0x111111, 0x211111, 0x221111, 0x121111, 0x411111)
"""OpenCV's names of the JPEG samplings of colour on which simplejpeg is compared with OpenCV."""

_TABLES = (0xC4, 0xCC)
"""Markers of tables; the others from 0xC0 to 0xCF begin an image, those after 0xC1 a progressive or arithmetic one."""


class Header(NamedTuple):
    """The size of a JPEG image in pixels, and the position of the height in the file."""

    width: int
    height: int
    at: int


class Frame:
    """One frame. It is decoded once, whole or as far down as its crops need.

    Attributes:
        rows: Rows from the top that crops need. Raised before `image` is asked for.
        mean: Mean colour of the whole frame where the image is a crop of it; None where the image tells.

    Args:
        template: Whether only a template is cut from it. Of a packed frame, the rest of the image may then be black.
    """

    def __init__(self, frames: Frames, index: int, *, template: bool = False) -> None:
        self._frames, self._index, self.rows = frames, index, 1
        self.mean: Colour | None = None
        self._packed: PackedPicture | None = None
        if isinstance(frames, PackedFrames):
            self._packed, self.mean = frames.picture(index, template=template), frames.mean(index)
            self._content = self._packed.content
        else:
            self._content = frames.content(index) if isinstance(frames, ImageFiles) else b""
        self._header = header_of(self._content)
        if self._header is None:
            self.image = frames[index]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the whole image."""
        if self._packed is not None:
            return self._packed.size
        if self._header is not None:
            return self._header.width, self._header.height
        return self.image.shape[1], self.image.shape[0]

    @cached_property
    def image(self) -> Image:
        """The image. Rows from `rows` on may be missing."""
        if self._packed is not None and self._header and self._packed.size != self._header[:2]:
            return self._placed(self._packed)
        upper = _upper_rows(self._content, self._header, self.rows) if self._header and _simplejpeg() else None
        return self._frames[self._index] if upper is None else upper

    def _placed(self, packed: PackedPicture) -> Image:
        """Return the picture of a template at its place in a black image."""
        decode = _simplejpeg()
        picture = decode(packed.content) if decode else decoded(packed.content)
        assert picture is not None
        (left, top), (height, width) = packed.corner, picture.shape[:2]
        image = np.zeros((packed.size[1], packed.size[0], 3), dtype=np.uint8)  # of pages that are made when written to
        image[top : top + height, left : left + width] = picture
        return image


def header_of(content: bytes) -> Header | None:
    """Return the header of a JPEG image in colour; None for images that only OpenCV decodes here, and whole.

    Those are of another format, progressive, grey, CMYK, damaged, very large, or have Exif data, which may turn them.
    """
    at, found = 2, None
    while content[:2] == b"\xff\xd8" and at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xDA:
            return found if found and 0 < found.width * found.height <= MOST_PIXELS else None
        if 0xC0 <= marker <= 0xCF and marker not in _TABLES:
            if marker > 0xC1 or found or content[at + 4] != 8 or content[at + 9] != 3:
                return None
            height, width = (int.from_bytes(content[at + place : at + place + 2]) for place in (5, 7))
            found = Header(width, height, at + 5)
        elif marker == 0xE1 and content[at + 4 : at + 8] == b"Exif":
            return None
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4])
    return None


def _upper_rows(content: bytes, header: Header, rows: int) -> Image | None:
    """Decode an image's first rows, at least; None if only OpenCV can."""
    decode = _simplejpeg()
    height = -(-(rows + MARGIN) // BLOCK) * BLOCK
    cut = height < header.height
    if cut:
        content = content[: header.at] + height.to_bytes(2) + content[header.at + 2 :]
    try:
        # Not strict about what follows the cut: "extraneous bytes".
        image = decode(content, strict=not cut) if decode else None
    except ValueError:
        return None
    return image if image is None or not cut else image[:rows]


@cache
def _simplejpeg() -> Callable[..., Image] | None:
    """Return simplejpeg's decoder, if it is installed and its pixels are OpenCV's, whatever libraries the two contain."""
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    picture = np.random.default_rng(0).integers(0, 256, (45, 67, 3), dtype=np.uint8)
    for sampling in SAMPLINGS:
        content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[1]
        if not np.array_equal(decode_jpeg(content, "BGR"), np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))):
            return None
    return cast(Callable[..., Image], decode_jpeg)
