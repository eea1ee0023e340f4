"""Image files as frames: decoded one by one when asked for, and checked together without decoding."""

import os
import stat
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from datasets.errors import DataError, raise_all, shown
from datasets.sequence import Image

_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"
_TAIL = 64
_AGAIN = "copy it again from the source of the data set"


class ImageFiles:
    """Frames from image files (JPEG or PNG, told by content), in the order given, decoded anew at each access.

    root: the folder that no file may lie outside of, links followed. Access raises DataError for a file that is
    missing, truncated, undecodable or outside root: OpenCV alone would show a truncated JPEG with grey in its place.
    """

    def __init__(self, files: Iterable[Path], root: Path) -> None:
        self.files = tuple(files)
        self.root = root

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> Image:
        try:
            file = self.files[index]
        except IndexError:
            raise IndexError(f"frame {index} of {len(self)}") from None
        return _decode(file, self.root)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the first frame, as decoded (a JPEG's header may ask for a rotation)."""
        height, width = self[0].shape[:2]
        return width, height

    def problems(self) -> list[str]:
        """One message for each file that is missing, no file, empty, of another format, truncated or outside root.

        Reads the first and last bytes of each; the whole of those only that do not end as they should.
        """
        found: list[str] = []
        for file in self.files:
            try:
                _check_ends(file, self.root)
            except DataError as error:
                found.extend(error.problems)
        return found

    def check(self) -> None:
        """Raise one DataError that lists all problems; decodes nothing."""
        raise_all(self.problems())


def inside(file: Path, root: Path) -> Path:
    """The same path, if it lies within root after following links; else DataError: data never reach out of root."""
    real_root = os.path.realpath(root)
    if os.path.commonpath([real_root, os.path.realpath(file)]) != real_root:
        raise DataError.at(file, f"leads out of {shown(root)}", "replace the link by a copy of what it points to")
    return file


def _decode(file: Path, root: Path) -> Image:
    _check_readable(file, root)
    content = file.read_bytes()
    _check_content(file, content)
    try:
        # Decoded from memory, because OpenCV opens no path that its file functions cannot spell.
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise DataError.at(file, "cannot be decoded as an image", _AGAIN)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _check_readable(file: Path, root: Path) -> None:
    """Asked before a file is opened, because opening a named pipe would wait for ever."""
    try:
        ordinary = stat.S_ISREG(inside(file, root).stat().st_mode)
    except FileNotFoundError:
        raise DataError.at(file, "is missing", _AGAIN) from None
    except OSError as error:
        raise DataError.at(file, f"cannot be read ({error.strerror})", _AGAIN) from None
    if not ordinary:
        raise DataError.at(file, "is no ordinary file", _AGAIN)
    if not os.access(file, os.R_OK):
        raise DataError.at(file, "cannot be read (no permission)", "make it readable")


def _check_ends(file: Path, root: Path) -> None:
    """Check a file by its first and last bytes, and by all of them only where those leave a doubt."""
    _check_readable(file, root)
    with file.open("rb") as opened:
        head = opened.read(len(_PNG))
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - _TAIL))
        tail = opened.read()
    if not ((head.startswith(_JPEG) and _JPEG_END in tail) or (head == _PNG and _PNG_END in tail)):
        _check_content(file, file.read_bytes())


def _check_content(file: Path, content: bytes) -> None:
    if fault := _fault_of(content):
        raise DataError.at(file, fault, _AGAIN)


def _fault_of(content: bytes) -> str | None:
    """What is wrong with an image file's bytes, short of decoding them."""
    if not content:
        return "is empty"
    if content.startswith(_JPEG):
        return None if _jpeg_ends(content) else "is truncated (a JPEG without its end marker)"
    if content.startswith(_PNG):
        return None if _PNG_END in content else "is truncated (a PNG without its end chunk)"
    return "is neither JPEG nor PNG"


def _jpeg_ends(content: bytes) -> bool:
    """Whether an end marker follows the first scan. A thumbnail in the header has its own, which does not count; what
    follows the end (padding, camera data) does not matter."""
    at = content.find(b"\xff", 2)
    while 0 <= at < len(content) - 3:
        marker = content[at + 1]
        if marker == 0xDA:
            return content.find(_JPEG_END, at) >= 0
        is_fill = marker in (0x00, 0xFF)
        at = content.find(b"\xff", at + 1 if is_fill else at + 2 + int.from_bytes(content[at + 2 : at + 4]))
    return False
