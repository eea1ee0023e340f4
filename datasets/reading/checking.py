"""Checks of frames before a tracker sees them.

Names, numbers and counts are compared for all sequences. Of at most SEQUENCES of them, spread over the list, the first
frame is decoded and compared with its size and box, and FRAMES frames are checked by their first and last bytes. A deep
check does so with every frame of every sequence.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trackablate.datasets.benchmark import OnProgress
from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.reading.annotation import Annotation, SequenceFiles
from trackablate.datasets.reading.frames import ImageFiles, NoFrames
from trackablate.datasets.reading.tables import quirks

SEQUENCES = 1000
FRAMES = 8


def frame_problems(
    entries: Sequence[SequenceFiles], annotation: Callable[[int], Annotation], *, deep: bool, progress: OnProgress
) -> list[str]:
    """Return one message for each problem of annotation and frames.

    `annotation` gives the annotation of a sequence by its index, or raises DataError.
    """
    problems = []
    count = len(entries)
    sample = set(_spread(count, count if deep else SEQUENCES))

    def check(number: int) -> list[str]:
        try:
            return _problems(entries[number], annotation(number), opened=number in sample, deep=deep)
        except DataError as error:
            return list(error.problems)

    # Threads: this waits for disks, and OpenCV decodes beside Python.
    with ThreadPoolExecutor() as pool:
        for done, found in enumerate(pool.map(check, range(count)), start=1):
            problems += found
            progress(done, count)
    return problems


def _problems(entry: SequenceFiles, annotation: Annotation, *, opened: bool, deep: bool) -> list[str]:
    if annotation.frames is None:
        NoFrames(entry.files, entry.folders, len(annotation.boxes)).refuse()
    if not opened:
        return []
    frames = ImageFiles(entry.files, annotation.folder, annotation.frames)
    damaged = quirks(entry.rules.data).get(entry.clip.name, {}).get("damaged-frame")
    sample = _spread(len(frames), len(frames) if deep else FRAMES)
    extra = [i for i, name in enumerate(frames.names) if damaged and name == damaged.value and i not in sample]
    problems = frames.problems([*sample, *extra])
    if damaged:
        hint = f"; it was published like this, {damaged.source}"
        problems = [p + hint if damaged.value in p else p for p in problems]
    if not problems:
        _check_first_frame(frames, annotation, entry)
    return problems


def _spread(count: int, most: int) -> list[int]:
    """Return at most that many evenly spread numbers below `count`, the first and the last among them."""
    numbers = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    return [int(number) for number in numbers]


def _check_first_frame(frames: ImageFiles, annotation: Annotation, entry: SequenceFiles) -> None:
    """Raise DataError for a first frame that cannot be decoded, has another size, or does not contain its box."""
    width, height = frames.size
    if annotation.size is not None and annotation.size != (width, height):
        said = f"the data set says {annotation.size[0]} x {annotation.size[1]}"
        problem = f"{shown(frames.file(0))} has {width} x {height} pixels, {said}"
        raise DataError.at(entry.place, problem, "restore the images: boxes do not fit resized ones")
    x, y, w, h = annotation.boxes[0]
    if not (x < width and y < height and x + w > 0 and y + h > 0):
        problem = f"the first box lies outside the image of {width} x {height} pixels"
        raise DataError.at(entry.place, problem, "correct it, or restore the images", line=entry.clip.skip + 1)
