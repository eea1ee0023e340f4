"""Image files as frames: decoded one by one when asked for, and checked together without decoding."""

import os
import stat
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from datasets.errors import DataError, raise_all
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
        found = ((file, _fault(file, self.root)) for file in self.files)
        return [str(DataError.at(file, fault, _AGAIN)) for file, fault in found if fault]

    def check(self) -> None:
        """Raise one DataError that lists all problems; decodes nothing."""
        raise_all(self.problems())


def inside(file: Path, root: Path) -> Path:
    """The same path, if it lies within root after following links; else DataError: data never reach out of its folder."""
    if not _is_inside(file, root):
        raise DataError.at(file, f"leads out of {root}", "replace the link by a copy of what it points to")
    return file


def _is_inside(file: Path, root: Path) -> bool:
    real_root = os.path.realpath(root)
    return os.path.commonpath([real_root, os.path.realpath(file)]) == real_root


def _decode(file: Path, root: Path) -> Image:
    if fault := _unreadable(file, root):
        raise DataError.at(file, fault, _AGAIN)
    content = file.read_bytes()
    if fault := _fault_of(content):
        raise DataError.at(file, fault, _AGAIN)
    try:
        # Decoded from memory, because OpenCV opens no path that its file functions cannot spell.
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise DataError.at(file, "cannot be decoded as an image", _AGAIN)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _unreadable(file: Path, root: Path) -> str | None:
    """Why the file must not or cannot be opened. Asked first: opening a named pipe would wait for ever."""
    if not _is_inside(file, root):
        return f"leads out of {root}"
    try:
        status = file.stat()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "is no ordinary file"
    return None if os.access(file, os.R_OK) else "cannot be read (no permission)"


def _fault(file: Path, root: Path) -> str | None:
    if reason := _unreadable(file, root):
        return reason
    with file.open("rb") as opened:
        head = opened.read(len(_PNG))
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - _TAIL))
        tail = opened.read()
    if (head.startswith(_JPEG) and _JPEG_END in tail) or (head == _PNG and _PNG_END in tail):
        return None
    return _fault_of(file.read_bytes())


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
