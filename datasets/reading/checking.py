"""Frames verified before a tracker sees them: that every one is listed, and by a sample (or all) that files are whole.

Names, numbers and counts are compared for all sequences. Of at most SEQUENCES of them, spread over the list, the first
frame is decoded, its size compared and its box looked for in it, and FRAMES frames are looked at from both ends; `deep`
does so with every frame of every sequence.
"""

import typing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.benchmark import OnProgress
from trackablate.datasets.boxes import Boxes
from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.reading.annotation import AnnotationSource, Record
from trackablate.datasets.reading.frames import ImageFiles, NoFrames
from trackablate.datasets.reading.layouts import Clip
from trackablate.datasets.reading.tables import quirks

SEQUENCES = 1000
FRAMES = 8


class Checked(typing.Protocol):
    """What is checked: see `datasets.reading.reader.Sequences`."""

    @property
    def entries(self) -> typing.Sequence[tuple[AnnotationSource, Clip]]: ...

    def record(self, number: int) -> Record: ...


def frame_problems(sequences: Checked, *, deep: bool, progress: OnProgress) -> list[str]:
    """One message for everything that is wrong with annotation and frames."""
    problems = []
    count = len(sequences.entries)
    sample = range(count) if deep else set(_spread(count, SEQUENCES))
    # Threads: this waits for disks, and OpenCV decodes beside Python.
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda number: _problems(sequences, number, opened=number in sample, deep=deep), range(count))
        for done, each in enumerate(found, start=1):
            problems += each
            progress(done, count)
    return problems


def _problems(sequences: Checked, number: int, *, opened: bool, deep: bool) -> list[str]:
    source, clip = sequences.entries[number]
    try:
        record = sequences.record(number)
        if record.frames is None:
            NoFrames(source.files, source.folders(clip), len(record.boxes)).refuse()
    except DataError as error:
        return list(error.problems)
    if not opened:
        return []
    frames = ImageFiles(source.files, record.folder, record.frames)
    known = quirks(source.rules.data).get(clip.name, {})
    damaged = known.get("damaged-frame")
    looked_at = range(len(frames)) if deep else _spread(len(frames), FRAMES)
    extra = [i for i, name in enumerate(frames.names) if damaged and name == damaged.value and i not in looked_at]
    problems = frames.problems([*looked_at, *extra])
    if damaged:
        hint = f"; it is published so, {damaged.source}"
        problems = [p + hint if damaged.value in p else p for p in problems]
    return problems or _first_frame_problems(frames, record, source, clip)


def _spread(count: int, most: int) -> list[int]:
    """At most so many of 0..count, first and last among them."""
    numbers: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    return [int(number) for number in numbers]


def _first_frame_problems(frames: ImageFiles, record: Record, source: AnnotationSource, clip: Clip) -> list[str]:
    """Whether the frame that a tracker starts from can be decoded, is as large as said, and has its box in it."""
    try:
        width, height = frames.size
    except DataError as error:
        return list(error.problems)
    place = source.files.place(source.places.paths(clip)[0])
    if record.size is not None and record.size != (width, height):
        said = f"the data set says {record.size[0]} x {record.size[1]}"
        problem = f"{shown(frames.file(0))} has {width} x {height} pixels, {said}"
        return [str(DataError.at(place, problem, "restore the images: boxes do not fit resized ones"))]
    if _touches(record.boxes[0], width, height):
        return []
    problem = f"the first box lies outside the image of {width} x {height} pixels"
    return [str(DataError.at(place, problem, "correct it, or restore the images", line=clip.skip + 1))]


def _touches(box: Boxes, width: int, height: int) -> bool:
    x, y, w, h = box
    return bool(x < width and y < height and x + w > 0 and y + h > 0)
