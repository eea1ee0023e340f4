"""Every frame decoded, for damage inside an image, which its first and last bytes do not show.

libjpeg fills what it cannot decode, and says so on the process's standard error only. So processes of their own decode, with
their standard error in a file that is read after each image.
"""

import multiprocessing
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import cv2

from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.frame_names import FrameNames
from trackablate.datasets.reading.frames import ImageFiles

HARMLESS = 64
"""Bytes before a JPEG's end marker that no pixel needs: some cameras write a few."""
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_DAMAGE = ("Corrupt JPEG", "Premature end", "Invalid", "libpng error", "Inconsistent progression")

Video = tuple[int, str, FrameNames]
"""The number of its files among several, its folder in them, and its frames."""


def decoding_problems(files: Sequence[Files], videos: Sequence[Video]) -> Iterator[list[str]]:
    """Yield one message for each frame of each video that cannot be decoded whole, video by video."""
    if not videos:
        return
    context = multiprocessing.get_context("spawn")  # threads that have decoded images do not survive a fork
    with ProcessPoolExecutor(min(len(videos), os.cpu_count() or 1), context, _start, (list(files),)) as pool:
        yield from pool.map(_problems, videos)


_files: list[Files] = []
_said = -1


def _start(files: list[Files]) -> None:
    global _said
    _files[:] = files
    cv2.setNumThreads(1)
    with tempfile.TemporaryFile() as said:
        _said = os.dup(said.fileno())
    os.dup2(_said, 2)


def _problems(video: Video) -> list[str]:
    number, folder, names = video
    frames, found = ImageFiles(_files[number], folder, names), list[str]()
    for index in range(len(frames)):
        os.lseek(_said, 0, os.SEEK_SET)
        os.ftruncate(_said, 0)
        try:
            frames[index]
        except DataError as error:
            found.extend(error.problems)
        else:
            if told := _damage(os.pread(_said, 4096, 0).decode(errors="replace")):
                file = frames.files.place(frames.file(index))
                found.append(str(DataError.at(file, f"is damaged inside ({told})", frames.remedy)))
    return found


def _damage(said: str) -> str:
    """Return the first line that a decoder says of damage, "" for none."""
    for line in said.splitlines():
        extra = _EXTRANEOUS.search(line)
        if line.startswith(_DAMAGE) and not (extra and int(extra[1]) <= HARMLESS):
            return line
    return ""
