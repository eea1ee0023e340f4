"""Raw results read and tallied, sequence by sequence, by as many processes as there are cores."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.boxes import valid
from trackablate.datasets.errors import DataError
from trackablate.datasets.progress import OnProgress
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading.frames import NoFrames
from trackablate.datasets.reading.tables import quirks
from trackablate.datasets.sequence import Sequence
from trackablate.harness.scoring.failure_modes import FailureCounts, failures
from trackablate.harness.scoring.raw_cache import FAILURES, ScoredSequence
from trackablate.harness.scoring.result_files import ResultFiles
from trackablate.harness.scoring.threshold_counts import TREATMENTS, tally

WORTH_A_POOL = 40
"""Sequences times trackers below which starting processes costs more than it saves."""


@dataclass(frozen=True)
class ScoreRequest:
    """What to score.

    Attributes:
        annotations: The place of the annotation, None for a protocol without files.
        truncate: Whether predicted numbers are cut to integers first, as pytracking's files are.
        store: The folder where tallies are kept, None to keep none.
        cores: Number of processes; 0 for one per core.
        with_failures: Whether failures are counted too, for a page.
        every_dialect: Whether all dialects were asked for. One that cannot be had is then left out with a message.
        own_metrics: Whether the protocol's own metrics are columns, those of other dialects than the first too.
    """

    protocol: str
    annotations: Path | None
    results: tuple[ResultFiles, ...]
    dialects: tuple[str, ...]
    command: str
    truncate: bool = False
    allow_incomplete: bool = False
    store: Path | None = None
    cores: int = 0
    with_failures: bool = False
    every_dialect: bool = False
    own_metrics: bool = False


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


SequenceOutcome = list[tuple[int, ScoredSequence | tuple[str, ...]]]


class Broken(NamedTuple):
    """A sequence whose annotation cannot be used, and why."""

    problems: tuple[str, ...]


def read_all(
    request: ScoreRequest,
    sequences: SequenceList,
    todo: Mapping[int, list[int]],
    asked: frozenset[str],
    report: OnProgress,
) -> Iterator[tuple[int, SequenceOutcome | Broken]]:
    """Read and tally what is not kept: yield each sequence's index, and each result's tally (without a stamp) or faults.

    `todo` has the indices of the results to read for the index of each sequence, `asked` the treatments of boxes to
    tally, and FAILURES. `report` is called after each sequence.
    """
    jobs, cores = list(todo.items()), request.cores or usable_cores()
    if cores < 2 or sum(map(len, todo.values())) < WORTH_A_POOL:
        reader = _Reader(request, sequences, request.results, asked)
        for done, job in enumerate(jobs, start=1):
            yield job[0], reader(job)
            report(done, len(jobs))
        return
    # Results are pickled here, since a forked process would share the position in an open archive with all others.
    start = (request, pickle.dumps(request.results), asked)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(cores, context, _start, start) as pool:
        chunk = max(1, len(jobs) // (8 * cores))
        try:
            for done, (job, found) in enumerate(
                zip(jobs, pool.map(_read, jobs, chunksize=chunk), strict=True), start=1
            ):
                yield job[0], found
                report(done, len(jobs))
        except KeyboardInterrupt:  # else the pool waits for what its processes have begun
            # What has not begun goes first: the pool's thread fails on it once the processes are gone.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.kill()
            raise


class _Reader:
    """Reads one sequence's annotation and some results of it."""

    def __init__(
        self, request: ScoreRequest, sequences: SequenceList, results: tuple[ResultFiles, ...], asked: frozenset[str]
    ) -> None:
        protocol = PROTOCOLS[request.protocol]
        self.sequences, self.results, self.asked, self.truncate = sequences, results, asked, request.truncate
        self.treatments = tuple(t for t in TREATMENTS if t in asked)
        self.origin, self.sparse = np.array([protocol.origin, protocol.origin, 0, 0]), protocol.sparse
        self.quirks = quirks(protocol.data or "")

    def __call__(self, job: tuple[int, list[int]]) -> SequenceOutcome | Broken:
        index, numbers = job
        try:
            sequence = self.sequences[index]
            size = self._size(sequence)
        except DataError as error:
            return Broken(error.problems)
        return [(number, self._scored(sequence, size, self.results[number])) for number in numbers]

    def _scored(
        self, sequence: Sequence, size: tuple[int, int] | None, results: ResultFiles
    ) -> ScoredSequence | tuple[str, ...]:
        truth, visible = sequence.boxes + self.origin, sequence.visible
        rules = self.quirks.get(sequence.name, {})
        longer, early = rules.get("evaluate-first") or rules.get("results-longer"), rules.get("results-early")
        raw = results.read(
            sequence.name, len(truth), may_be_longer=longer is not None, early=int(early.value) if early else 0
        )
        if raw.faults:
            return raw.faults
        remarks = [first_row_misread(raw.boxes[0], truth[0], sequence.size)]
        if raw.ignored and (rule := longer or early):
            which = f"after row {len(truth)}" if longer else f"before frame {raw.ignored + 1}"
            remarks.append(f"rows that no evaluated frame has are ignored ({rule.source})\t, {raw.ignored} {which}")
        boxes = np.trunc(raw.boxes) if self.truncate else raw.boxes
        wanted = FAILURES in self.asked
        failed = failures(boxes, truth, valid(truth) & visible) if wanted else FailureCounts.total(())
        counts = tally(boxes, truth, visible, size=size, treatments=self.treatments, sparse=self.sparse)
        return ScoredSequence(
            "", len(counts.codes), sequence.attributes, self.asked, counts, failed, tuple(filter(None, remarks))
        )

    def _size(self, sequence: Sequence) -> tuple[int, int] | None:
        """Return the image's (width, height), from its first frame if clipping needs it and no list has it."""
        if sequence.size is not None or "clipped" not in self.asked or isinstance(sequence.frames, NoFrames):
            return sequence.size
        height, width = sequence.frames[0].shape[:2]
        return width, height


Reading = Callable[[NDArray[np.float64]], NDArray[np.float64]]
READINGS: dict[str, Reading] = {
    "x1,y1,x2,y2": lambda b: np.array([b[0], b[1], b[2] - b[0], b[3] - b[1]]),
    "cx,cy,w,h, from its centre": lambda b: np.array([b[0] - b[2] / 2, b[1] - b[3] / 2, b[2], b[3]]),
    "x,y,h,w": lambda b: b[[0, 1, 3, 2]],
    "y,x,h,w": lambda b: b[[1, 0, 3, 2]],
    "y,x,w,h": lambda b: b[[1, 0, 2, 3]],
    "y1,x1,y2,x2": lambda b: np.array([b[1], b[0], b[3] - b[1], b[2] - b[0]]),
}
"""What four numbers mean that were not written as x,y,w,h: the box, by the meaning."""
NEAR = 2.0
"""Pixels by which a first row may differ from the given box: writers truncate, round, and count from 0 or 1."""


def first_row_misread(row: NDArray[np.float64], given: NDArray[np.float64], size: tuple[int, int] | None) -> str:
    """Return a remark on a first row (4,) that is the given box (4,) only by another meaning of its numbers; "" for others.

    The given box is the annotation's x, y, w, h; the size is (width, height) of the images. Behind a tab stand both boxes.
    """

    def fits(box: NDArray[np.float64]) -> bool:
        return bool((np.abs(box - given) < NEAR).all())

    if fits(row):
        return ""
    found = [name for name, read in READINGS.items() if fits(read(row))]
    if not found and (np.abs(row) <= 1).all():
        pixels = row * np.tile(size or (0, 0), 2)
        names = ["x,y,w,h"] * fits(pixels) + [name for name, read in READINGS.items() if fits(read(pixels))]
        found = [f"{name} in shares of the image" for name in names] or ["shares of the image"] * (size is None)
    written, wanted = (",".join(f"{v:g}" for v in box) for box in (row, given))
    told = f"row 1 is not the given box, but it is as {found[0]}; write x,y,w,h in pixels" if found else ""
    return told and f"{told}\t: {written} for {wanted}"


_reader: _Reader | None = None


def _start(request: ScoreRequest, results: bytes, asked: frozenset[str]) -> None:
    """Open the same files anew in a new process."""
    _end_with_parent()
    global _reader
    sequences = PROTOCOLS[request.protocol].open(request.annotations)
    _reader = _Reader(request, sequences, pickle.loads(results), asked)


def _end_with_parent() -> None:
    """Leave it to the parent to be stopped, and end with it, whatever ended it."""
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _read(job: tuple[int, list[int]]) -> SequenceOutcome | Broken:
    assert _reader is not None
    return _reader(job)
