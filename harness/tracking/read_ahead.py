"""Frames read ahead: while a tracker looks at one frame of a sequence, a thread decodes the next one.

Memory is bounded: one frame for each sequence that is being tracked, and two of the sequence that comes next. Only image
files are read ahead, from folders, archives and databases. Generated frames are drawn when they are looked at: drawing
holds Python's lock, so threads would not be faster. `track` reads video files and cameras itself, in order.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import torch

from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.sequence import Image, Sequence

MOST = 8
"""Threads that a process uses at most. Each decodes about a hundred frames of 720p in a second."""


def frame_readers(device: torch.device) -> int:
    """Return how many threads read frames ahead. They have the process's cores beside the one that feeds a GPU.

    There are none on a CPU, where the workers keep all cores busy.
    """
    return max(1, min(MOST, torch.get_num_threads() - 1)) if device.type == "cuda" else 0


class FramesAhead:
    """The frames of `files`. Each access has a thread of `pool` read the frame after it.

    A frame that cannot be read raises its error when it is accessed.
    """

    def __init__(self, files: ImageFiles, pool: Executor) -> None:
        self._files, self._pool = files, pool
        self._coming: dict[int, Future[Image]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int, /) -> Image:
        coming = self._coming.pop(index, None)
        image = coming.result() if coming else self._files[index]
        self._coming = {i: frame for i, frame in self._coming.items() if i == index + 1}
        self.read(index + 1)
        return image

    def read(self, index: int) -> None:
        """Have a thread read a frame, unless it is being read or there is none."""
        if index < len(self) and index not in self._coming:
            self._coming[index] = self._pool.submit(self._files.__getitem__, index)


@contextmanager
def reading_ahead(readers: int) -> Iterator[Callable[[Sequence], Sequence]]:
    """Give a function that returns a sequence with its frames read ahead by `readers` threads.

    The threads have ended when the block is left, also by an error or a signal.
    """
    if not readers:
        yield lambda sequence: sequence
        return
    pool = ThreadPoolExecutor(readers, "frames")

    def ahead(sequence: Sequence) -> Sequence:
        files = sequence.frames
        return replace(sequence, frames=FramesAhead(files, pool)) if isinstance(files, ImageFiles) else sequence

    try:
        yield ahead
    finally:
        pool.shutdown(cancel_futures=True)


def begin(sequence: Sequence) -> None:
    """Have the first two frames of a sequence read, if its frames are read ahead."""
    if isinstance(frames := sequence.frames, FramesAhead):
        frames.read(0)
        frames.read(1)
