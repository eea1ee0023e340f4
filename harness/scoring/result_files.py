"""Raw results of any tracker: one file of boxes for each sequence, read from a folder or a zip archive.

Nothing is padded, cut or skipped. Each problem of a sequence's result is a fault, a message that names the file and the
line. A sequence with a fault is not scored.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.numbers import Rows, parse_rows
from trackablate.datasets.reading.opening import open_files
from trackablate.harness.scoring.finding import FoundResults, find_results, like_names
from trackablate.harness.scoring.layouts import lines_of_json

MOST_RESULTS = 200_000
"""Entries of an archive of results: a hundred trackers on a thousand sequences, with a file of times each."""
LARGEST = 1e9
"""The largest plausible coordinate in pixels. Products of two larger ones could overflow in the metrics."""
AGAIN = "track the sequence again"
REWRITE = 'write "x,y,w,h" into each line, without anything else'
WITHOUT_TIMES = "the boxes are used without times"


class RawResult(NamedTuple):
    """One sequence's result as it is in the files.

    Attributes:
        boxes: (M, 4) x, y, w, h in the data set's own pixel origin. Faulty rows are NaN; (0, 4) if nothing can be read.
            A side may be 0, which dialects treat differently.
        seconds: (M,) if the layout has times. NaN means not measured.
        faults: Messages, safe for a terminal: "<file>, line <n>: <problem>; <remedy>". Empty for a usable result.
        remarks: Problems of the times, which leave the boxes usable.
        ignored: Number of rows that the file has besides, by a rule of splits/quirks.csv.
    """

    boxes: NDArray[np.float64]
    seconds: NDArray[np.float64] | None = None
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    ignored: int = 0


@dataclass(frozen=True)
class ResultFiles:
    """One tracker's results. It can be pickled. `others` are further repetitions."""

    name: str
    files: Files
    found: FoundResults
    others: tuple["ResultFiles", ...] = ()

    @property
    def layout(self) -> str:
        """The recognised layout in words for the user."""
        return f"{self.found.layout}; scores are means over all of them" if self.others else self.found.layout

    def stamp(self, sequence: str) -> str:
        """Return a text that changes when the result of `read` may have changed. Reads no content."""
        times = [self.found.times[sequence]] if sequence in self.found.times else []
        files = [*self.found.results.get(sequence, ()), *times]
        return "|".join(":".join([str(self.files.place(f).absolute()), *map(str, self.files.stamp(f))]) for f in files)

    def read(self, sequence: str, frames: int, *, may_be_longer: bool = False, early: int = 0) -> RawResult:
        """Return one sequence's result, of which `frames` rows are wanted, with its problems as faults.

        Further rows are ignored if it `may_be_longer`, as for LaSOT's monkey-17, which has more images than annotation. So
        are the first ones if there are just so many `early` ones besides, as for OTB's Tiger1, evaluated from frame 6.
        """
        rate = None
        try:
            file = self._file(sequence)
            content, place = self.files.read(file), self.files.place(file)
            if place.suffix.lower() == ".json":
                content, rate = lines_of_json(content, place)
                place = place.with_name(f"{place.name}, res")  # messages number its boxes as lines
            rows = parse_rows(content, 4)
        except DataError as error:
            return RawResult(np.empty((0, 4)), faults=(str(error),))
        written = len(rows.values)
        early = early if written == frames + early and not rows.bad else 0
        rows = Rows(rows.values[early:], rows.bad)
        if may_be_longer:
            rows = Rows(rows.values[:frames], tuple(bad for bad in rows.bad if bad.line <= frames))
        boxes, faults = _judged(rows, frames, place)
        ignored = written - len(boxes)
        if rate is not None:
            return RawResult(boxes, np.full(len(boxes), 1 / rate), faults, ignored=ignored)
        seconds, remarks = self._seconds(sequence, slice(early, early + len(boxes)), may_be_longer=may_be_longer)
        return RawResult(boxes, seconds, faults, remarks, ignored)

    def _file(self, sequence: str) -> str:
        files = self.found.results.get(sequence, ())
        if not files:
            like = like_names([sequence], self.found.unknown).get(sequence)
            problem = f"holds no result for the sequence {shown(sequence)}" + (f", but {shown(like)}" if like else "")
            raise DataError.at(self.files.root, problem, "track it, or give its file this name")
        if len(files) > 1:
            others = ", ".join(shown(file) for file in files[1:])
            problem = f"is one of {len(files)} results for the sequence {shown(sequence)}, besides {others}"
            raise DataError.at(self.files.place(files[0]), problem, "keep the one that counts")
        return files[0]

    def _seconds(
        self, sequence: str, rows: slice, *, may_be_longer: bool
    ) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
        """Return the times of the boxes in these rows, or None and the reason."""
        file = self.found.times.get(sequence)
        if file is None:
            return None, ()
        try:
            times = _times(self.files.read(file), self.found.column, self.files.place(file))
            times = times[rows] if may_be_longer or rows.start else times
            if len(times) != rows.stop - rows.start:
                problem = f"has {len(times)} times for {rows.stop - rows.start} boxes"
                raise DataError.at(self.files.place(file), problem, WITHOUT_TIMES)
        except DataError as error:
            return None, (str(error),)
        return times, ()


def open_results(name: str, path: Path, sequences: Sequence[str], *, repetition: int | None = 1) -> ResultFiles:
    """Open the results of some sequences in a folder, a zip archive, or a folder in an archive (results.zip/tracker).

    If there are several repetitions (GOT-10k), one is opened; None opens the first with the others in `others`. Raises
    DataError if there are no results, those of several trackers or runs, or if the archive is hostile.
    """
    root, folder = _root_of(path)
    files = open_files(root, MOST_RESULTS)
    found = find_results(files, folder, sequences, 1 if repetition is None else repetition)
    more = [number for number in found.repetitions if number != 1] if repetition is None else []
    others = tuple(ResultFiles(name, files, find_results(files, folder, sequences, number)) for number in more)
    return ResultFiles(name, files, found, others)


def _root_of(path: Path) -> tuple[Path, str]:
    """Return what can be opened, the path itself or an archive that it leads into, and the folder in it."""
    if not path.exists():
        for above in path.parents:
            if above.is_file():
                return above, path.relative_to(above).as_posix()
    return path, ""


def _judged(rows: Rows, frames: int, file: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the boxes, with faulty rows as NaN, and one fault of each kind, which counts its lines."""
    boxes, count = rows.values, len(rows.values)
    if not count:
        return boxes, (str(DataError.at(file, "is empty", AGAIN)),)
    # NaN compares as False, so that it counts as a problem.
    if not rows.bad and count == frames and boxes[:, 2:].min() >= 0 and np.abs(boxes).max() <= LARGEST:
        return boxes, ()
    bad = [b.line for b in rows.bad]
    # A header or blank lines: without them the file is whole.
    surplus = (
        count > frames
        and bad == [*range(1, count - frames + 1)]
        and not re.search(r"\d", "".join(b.text for b in rows.bad))
    )
    negative = np.asarray((boxes[:, 2:] < 0).any(axis=1))
    huge = np.asarray((np.abs(boxes) > LARGEST).any(axis=1))
    long = [frames + 1] * (count > frames and not surplus)
    found: tuple[tuple[list[int], str, str], ...] = (
        (bad, f"{rows.bad[0].problem}: {rows.bad[0].text!r}" if bad else "", _remedy(rows, frames, surplus=surplus)),
        (sorted(set(_lines(np.asarray(np.isnan(boxes).any(axis=1)))) - set(bad)), "the box is NaN", AGAIN),
        (_lines(negative), "the box has a negative side", AGAIN),
        (_lines(huge), f"a number beyond {LARGEST:g} is not a pixel coordinate", AGAIN),
        ([count] * (count < frames), f"the file ends here, {frames} lines are wanted", AGAIN),
        (long, f"the file goes on to line {count}, {frames} lines are wanted", AGAIN),
    )
    boxes = np.where((negative | huge)[:, None], np.nan, boxes)
    return boxes, tuple(_fault(file, lines, problem, remedy) for lines, problem, remedy in found if lines)


def _remedy(rows: Rows, frames: int, *, surplus: bool) -> str:
    """Return what to do about lines that are no rows: a file that is spelled otherwise needs no tracking."""
    if surplus:
        return "remove what is no box"
    broken_off = [bad.line for bad in rows.bad] == [len(rows.values)] and len(rows.values) <= frames
    overflown = any(word in bad.text.lower() for bad in rows.bad for word in ("nan", "inf"))
    return AGAIN if broken_off or overflown else REWRITE


def _lines(rows: NDArray[np.bool_]) -> list[int]:
    """Return the line numbers, from 1, of the marked rows."""
    return (np.flatnonzero(rows) + 1).tolist()


def _fault(file: Path, lines: list[int], problem: str, remedy: str) -> str:
    more = f" (and {len(lines) - 1} more such lines)" if len(lines) > 1 else ""
    return str(DataError.at(file, problem + more, remedy, line=lines[0]))


def _times(content: bytes, column: int, file: Path) -> NDArray[np.float64]:
    """Return the times of one repetition, which is a column. Raises DataError for a malformed file."""
    columns = max(1, len(content.lstrip().split(b"\n", 1)[0].replace(b",", b" ").split()))
    found = parse_rows(content, columns)
    for bad in found.bad:
        raise DataError.at(file, f"{bad.problem}: {bad.text!r}", WITHOUT_TIMES, line=bad.line)
    if column >= columns:
        raise DataError.at(file, f"has no column {column + 1} for that repetition", WITHOUT_TIMES)
    times: NDArray[np.float64] = found.values[:, column]
    if (times < 0).any():
        raise DataError.at(file, "a time is negative", WITHOUT_TIMES, line=int(np.argmax(times < 0)) + 1)
    return times
