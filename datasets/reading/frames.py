"""Image files as frames: decoded one by one when needed, and checked together without decoding."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Literal, NoReturn

import cv2
import numpy as np

from trackablate.datasets.errors import DataError, shown, some
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.frame_names import UNREAD, FrameNames
from trackablate.datasets.sequence import Image

_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"
_TAIL = 64
MOST_PIXELS = 2**27
"""Pixels of the largest image that is decoded: a frame of 16K video, which takes 0.4 GB. No benchmark comes near."""


class ImageFiles:
    """Frames from the image files of one folder, JPEG, PNG, BMP or WebP by their content, decoded at each access.

    Access raises DataError for a file that is missing, truncated, undecodable or outside the root of `files`. OpenCV
    alone would fill the missing part of a truncated JPEG with grey.
    """

    remedy = "copy it again from the source of the data set"

    def __init__(self, files: Files, folder: str, names: FrameNames) -> None:
        self.files, self.folder, self.names = files, folder, names

    def __len__(self) -> int:
        return len(self.names)

    def content(self, index: int) -> bytes:
        """Return a frame's file, which is whole as far as its ends tell."""
        content = self.files.read(self.file(index))
        if fault := _fault_of(content) or _too_large(content):
            self._refuse(index, fault)
        return content

    def __getitem__(self, index: int, /) -> Image:
        image = decoded(self.content(index))
        if image is None:
            self._refuse(index, "cannot be decoded as an image")
        return image

    def file(self, index: int) -> str:
        """Return a frame's file, relative to the root of `files`."""
        try:
            name = self.names[index]
        except IndexError:
            raise IndexError(f"frame {index} of {len(self)}") from None
        return f"{self.folder}/{name}" if self.folder else name

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the first frame, as decoded (a JPEG's header may ask for a rotation)."""
        height, width = self[0].shape[:2]
        return width, height

    def problems(self, indices: Iterable[int] | None = None) -> list[str]:
        """Return one message for each file that is missing, empty, of another format, truncated or outside the root.

        Looks at all frames or at those with the given indices. Reads the first and last bytes of each file, and the whole
        file only if it does not end as expected.
        """
        found: list[str] = []
        for index in range(len(self)) if indices is None else indices:
            try:
                head, tail = self.files.ends(self.file(index), _TAIL)
                whole = (head.startswith(_JPEG) and _JPEG_END in tail) or (head.startswith(_PNG) and _PNG_END in tail)
                if not whole and (fault := _fault_of(self.files.read(self.file(index)))):
                    self._refuse(index, fault)
            except DataError as error:
                found.extend(error.problems)
        return found

    def _refuse(self, index: int, fault: str) -> NoReturn:
        raise DataError.at(self.files.place(self.file(index)), fault, self.remedy)


def decoded(content: bytes) -> Image | None:
    """Return the image of a file's content, None if it cannot be decoded."""
    try:
        # Decoded from memory: OpenCV cannot open archives, nor paths outside its character set.
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def jpeg(image: Image, quality: int = 95) -> bytes:
    """Return an image as the content of a JPEG file. Raises OSError if OpenCV cannot encode it on this machine."""
    pixels = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise OSError("OpenCV cannot encode JPEG on this machine")
    return content.tobytes()


class NoFrames:
    """Frames of an annotation without images: as many as it has rows. Each access raises DataError."""

    def __init__(self, files: Files, folders: Iterable[str], length: int) -> None:
        self._files, self._folders, self._length = files, tuple(folders), length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int, /) -> Image:
        self.refuse()

    def refuse(self) -> NoReturn:
        """Raise the DataError that says where the images are missing, or that they are of a kind that is not read."""
        if unread := self.unread():
            raise DataError(unread)
        where = " or ".join(shown(self._files.place(folder)) for folder in self._folders) or shown(self._files.root)
        raise DataError(f"annotations only: no frames under {where}; add the images to track them")

    def unread(self) -> str:
        """Return a message on images in the folders that are not read, "" if there are none."""
        for folder in self._folders:
            if found := [name for name in self._files.names(folder) if name.lower().endswith(UNREAD)]:
                problem = f"holds {len(found)} files that are no JPEG, PNG, BMP or WebP: {some(found, 3)}"
                return str(DataError.at(self._files.place(folder), problem, "convert them to one image per frame"))
        return ""


def _fault_of(content: bytes) -> str | None:
    """Return what is wrong with an image file's content before decoding."""
    if not content:
        return "is empty"
    if content.startswith(_JPEG):
        return None if _jpeg_ends(content) else "is truncated (a JPEG without its end marker)"
    if content.startswith(_PNG):
        return None if _PNG_END in content else "is truncated (a PNG without its end chunk)"
    for kind, is_one, at, more in (("BMP", content[:2] == b"BM", 2, 0), ("WebP", content[8:12] == b"WEBP", 4, 8)):
        if is_one:
            size = int.from_bytes(content[at : at + 4], "little") + more
            return None if len(content) >= size else f"is truncated (a {kind} of {size} bytes)"
    return "is neither JPEG nor PNG, BMP or WebP"


def _too_large(content: bytes) -> str:
    """Return how large an image says it is, if that is too much to decode, else ""."""
    width, height = image_size(content)
    return f"says that it is {width} x {height} pixels, too large to decode" if width * height > MOST_PIXELS else ""


def image_size(content: bytes) -> tuple[int, int]:
    """Return the largest (width, height) in pixels that the header of a JPEG, PNG, BMP or WebP names, (0, 0) for none."""

    def number(at: int, count: int, order: Literal["little", "big"] = "little") -> int:
        return int.from_bytes(content[at : at + count], order)

    if content.startswith(_JPEG):
        sizes = [(number(at + 7, 2, "big"), number(at + 5, 2, "big")) for at in _jpeg_frames(content)]
        return max((w for w, _ in sizes), default=0), max((h for _, h in sizes), default=0)
    if content.startswith(_PNG):
        return number(16, 4, "big"), number(20, 4, "big")
    if content[:2] == b"BM":
        wide = number(14, 4) != 12  # the oldest kind has numbers of two bytes; a negative height counts from the top
        height = number(22, 4)
        return (number(18, 4), min(height, 2**32 - height)) if wide else (number(18, 2), number(20, 2))
    kind, mask = content[12:16], 2**14 - 1
    if kind == b"VP8X":
        return number(24, 3) + 1, number(27, 3) + 1
    if kind == b"VP8L":
        return (number(21, 4) & mask) + 1, (number(21, 4) >> 14 & mask) + 1
    return (number(26, 2) & mask, number(28, 2) & mask) if kind == b"VP8 " else (0, 0)


def _jpeg_frames(content: bytes) -> Iterator[int]:
    """Yield the positions of the markers before the first scan that name a JPEG's size."""
    at = content.find(b"\xff", 2)
    while 0 <= at < len(content) - 9 and (marker := content[at + 1]) != 0xDA:
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            yield at
        is_fill = marker in (0x00, 0xFF)
        at = content.find(b"\xff", at + 1 if is_fill else at + 2 + int.from_bytes(content[at + 2 : at + 4]))


def _jpeg_ends(content: bytes) -> bool:
    """Whether an end marker follows the first scan.

    The end marker of a thumbnail in the header does not count. Padding or camera data after the end do not matter.
    """
    at = content.find(b"\xff", 2)
    while 0 <= at < len(content) - 3:
        marker = content[at + 1]
        if marker == 0xDA:
            return content.rfind(_JPEG_END, at) >= 0  # near the end: searched from there
        is_fill = marker in (0x00, 0xFF)
        at = content.find(b"\xff", at + 1 if is_fill else at + 2 + int.from_bytes(content[at + 2 : at + 4]))
    return False
