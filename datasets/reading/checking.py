"""Checks of frames before a tracker sees them.

Names, numbers and counts are compared for all sequences. Of at most SEQUENCES of them, spread over the list, the first
frame is decoded and compared with its size and box, and FRAMES frames are checked by their first and last bytes. A deep
check does so with every frame of every sequence.
"""

import typing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.benchmark import OnProgress
from trackablate.datasets.boxes import Boxes
from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.reading.annotation import Annotation, SequenceFiles
from trackablate.datasets.reading.frames import ImageFiles, NoFrames
from trackablate.datasets.reading.tables import quirks

SEQUENCES = 1000
FRAMES = 8


def frame_problems(
    entries: typing.Sequence[SequenceFiles],
    annotation: Callable[[int], Annotation],
    *,
    deep: bool,
    progress: OnProgress,
) -> list[str]:
    """Return one message for each problem of annotation and frames.

    Args:
        entries: The sequences' files.
        annotation: Gives the annotation of a sequence by its index, or raises DataError.
        deep: Check every frame's file instead of a sample.
        progress: Told how many sequences are done.
    """
    problems = []
    count = len(entries)
    sample = range(count) if deep else set(_spread(count, SEQUENCES))

    def check(number: int) -> list[str]:
        return _problems(entries[number], lambda: annotation(number), opened=number in sample, deep=deep)

    # Threads: this waits for disks, and OpenCV decodes beside Python.
    with ThreadPoolExecutor() as pool:
        for done, found in enumerate(pool.map(check, range(count)), start=1):
            problems += found
            progress(done, count)
    return problems


def _problems(entry: SequenceFiles, read: Callable[[], Annotation], *, opened: bool, deep: bool) -> list[str]:
    try:
        annotation = read()
        if annotation.frames is None:
            NoFrames(entry.files, entry.folders, len(annotation.boxes)).refuse()
    except DataError as error:
        return list(error.problems)
    if not opened:
        return []
    frames = ImageFiles(entry.files, annotation.folder, annotation.frames)
    damaged = quirks(entry.rules.data).get(entry.clip.name, {}).get("damaged-frame")
    sample = range(len(frames)) if deep else _spread(len(frames), FRAMES)
    extra = [i for i, name in enumerate(frames.names) if damaged and name == damaged.value and i not in sample]
    problems = frames.problems([*sample, *extra])
    if damaged:
        hint = f"; it was published like this, {damaged.source}"
        problems = [p + hint if damaged.value in p else p for p in problems]
    return problems or _first_frame_problems(frames, annotation, entry)


def _spread(count: int, most: int) -> list[int]:
    """At most that many evenly spread numbers below `count`, the first and the last among them."""
    numbers: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    return [int(number) for number in numbers]


def _first_frame_problems(frames: ImageFiles, annotation: Annotation, entry: SequenceFiles) -> list[str]:
    """Return what is wrong with the first frame: it cannot be decoded, has another size, or does not contain its box."""
    try:
        width, height = frames.size
    except DataError as error:
        return list(error.problems)
    if annotation.size is not None and annotation.size != (width, height):
        said = f"the data set says {annotation.size[0]} x {annotation.size[1]}"
        problem = f"{shown(frames.file(0))} has {width} x {height} pixels, {said}"
        return [str(DataError.at(entry.place, problem, "restore the images: boxes do not fit resized ones"))]
    if _touches(annotation.boxes[0], width, height):
        return []
    problem = f"the first box lies outside the image of {width} x {height} pixels"
    return [str(DataError.at(entry.place, problem, "correct it, or restore the images", line=entry.clip.skip + 1))]


def _touches(box: Boxes, width: int, height: int) -> bool:
    x, y, w, h = box
    return bool(x < width and y < height and x + w > 0 and y + h > 0)
