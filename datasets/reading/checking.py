"""Checks of frames before a tracker sees them.

Names, numbers and counts are compared for all sequences. Of at most SEQUENCES of them, spread over the list, the first
frame is decoded and compared with its size and box, and FRAMES frames are checked by their first and last bytes. A deep
check decodes every frame of every sequence.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.progress import OnProgress
from trackablate.datasets.reading.annotation import Annotation, SequenceFiles
from trackablate.datasets.reading.decoding import decoding_problems
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
    problems, count = list[str](), len(entries)
    sample = set(_spread(count, count if deep else SEQUENCES))
    read: dict[int, Annotation] = {}

    def check(number: int) -> list[str]:
        try:
            found = annotation(number)
            if deep and found.frames is not None:
                read[number] = found
            return _problems(entries[number], found, opened=number in sample, frames=0 if deep else FRAMES)
        except DataError as error:
            return list(error.problems)

    # Threads: this waits for disks, and OpenCV decodes beside Python.
    with ThreadPoolExecutor() as pool:
        for done, found in enumerate(pool.map(check, range(count)), start=1):
            problems += found
            if not deep:  # else decoding takes nearly all the time
                progress(done, count)
    for done, found in enumerate(_decoded([(entries[number], read[number]) for number in sorted(read)]), start=1):
        problems += [one for one in found if one not in problems]  # the first frame was looked at before
        progress(done, count)
    return problems


def decoded_of(decoded: int, frames: int) -> str:
    """Return in words how many frames were decoded."""
    return f"all {frames:,} decoded" if decoded == frames else f"{decoded:,} of {frames:,} decoded; --deep decodes all"


def _decoded(whole: Sequence[tuple[SequenceFiles, Annotation]]) -> Iterator[list[str]]:
    """Yield one message for each damaged frame, sequence by sequence."""
    files = list({id(entry.files): entry.files for entry, _ in whole}.values())
    numbers = {id(one): number for number, one in enumerate(files)}
    videos = [(numbers[id(entry.files)], one.folder, one.frames) for entry, one in whole if one.frames is not None]
    for (entry, _), found in zip(whole, decoding_problems(files, videos), strict=True):
        yield _with_hint(found, entry)


def _problems(entry: SequenceFiles, annotation: Annotation, *, opened: bool, frames: int) -> list[str]:
    if annotation.frames is None:
        NoFrames(entry.files, entry.folders, len(annotation.boxes)).refuse()
    if not opened:
        return []
    images = ImageFiles(entry.files, annotation.folder, annotation.frames)
    damaged = quirks(entry.rules.data).get(entry.clip.name, {}).get("damaged-frame")
    sample = _spread(len(images), frames)
    extra = [
        i for i, name in enumerate(images.names) if damaged and frames and name == damaged.value and i not in sample
    ]
    problems = _with_hint(images.problems([*sample, *extra]), entry)
    if not problems:
        _check_first_frame(images, annotation, entry)
    return problems


def _with_hint(problems: list[str], entry: SequenceFiles) -> list[str]:
    """Say of a frame that is known to be damaged that it was published like this."""
    damaged = quirks(entry.rules.data).get(entry.clip.name, {}).get("damaged-frame")
    hint = f"; it was published like this, {damaged.source}" if damaged else ""
    return [p + hint if damaged and damaged.value in p else p for p in problems]


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
