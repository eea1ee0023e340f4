"""Raw results of any tracker: one file of boxes for each sequence, read from a folder or a zip archive.

Nothing is padded, cut or skipped. Each problem of a sequence's result is a `Fault` that names the file and the line. A
sequence with a fault is not scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.numbers import Rows, parse_rows
from trackablate.datasets.reading.opening import open_files
from trackablate.harness.scoring.finding import FoundResults, find_results
from trackablate.harness.scoring.layouts import lines_of_json

FaultKind = Literal[
    "missing", "duplicate", "unreadable", "empty", "short", "long", "not numbers", "nan", "negative", "huge"
]
LARGEST = 1e9
"""The largest plausible coordinate in pixels. Products of two larger ones could overflow in the metrics."""
AGAIN = "track the sequence again"
WITHOUT_TIMES = "the boxes are used without times"


@dataclass(frozen=True)
class Fault:
    """A problem of one sequence's result.

    Its message is "<file>, line <n>: <problem>; <remedy>", with lines from 1, safe to print on a terminal.
    """

    sequence: str
    kind: FaultKind
    message: str


@dataclass(frozen=True, eq=False)
class RawResult:
    """One sequence's result as it is in the files.

    Attributes:
        boxes: (M, 4) x, y, w, h in the data set's own pixel origin. Faulty rows are NaN; (0, 4) if nothing can be read.
            A side may be 0, which dialects treat differently.
        seconds: (M,) if the layout has times. NaN means not measured.
        faults: Empty for a usable result.
        remarks: Problems of the times, which leave the boxes usable.
    """

    name: str
    boxes: NDArray[np.float64]
    seconds: NDArray[np.float64] | None = None
    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()


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

    def unknown(self) -> tuple[str, ...]:
        """Return the result files that belong to no sequence, relative to the root."""
        return self.found.unknown

    def stamp(self, sequence: str) -> str:
        """Return a text that changes when the result of `read` may have changed. Reads no content."""
        times = [self.found.times[sequence]] if sequence in self.found.times else []
        files = [*self.found.results.get(sequence, ()), *times]
        return "|".join(":".join([str(self.files.place(f).absolute()), *map(str, self.files.stamp(f))]) for f in files)

    def read(self, sequence: str, frames: int, *, may_be_longer: bool = False) -> RawResult:
        """Return one sequence's result, with its problems as faults.

        Args:
            sequence: The sequence's name.
            frames: The wanted number of rows.
            may_be_longer: Ignore further rows, as for LaSOT's monkey-17, which has more images than annotation.
        """
        nothing = np.empty((0, 4))
        files = self.found.results.get(sequence, ())
        if len(files) != 1:
            return RawResult(sequence, nothing, faults=(self._not_one(sequence, files),))
        place, rate = self.files.place(files[0]), None
        try:
            content = self.files.read(files[0])
            if place.suffix == ".json":
                content, rate = lines_of_json(content, place)
                place = place.with_name(f"{place.name}, res")  # messages number its boxes as lines
            rows = parse_rows(content, 4)
        except DataError as error:
            return RawResult(sequence, nothing, faults=(Fault(sequence, "unreadable", str(error)),))
        if may_be_longer:
            rows = Rows(rows.values[:frames], tuple(bad for bad in rows.bad if bad.line <= frames))
        boxes, faults = _judged(rows, frames, sequence, place)
        if rate is not None:
            return RawResult(sequence, boxes, np.full(len(boxes), 1 / rate), faults)
        seconds, remarks = self._seconds(sequence, len(boxes), may_be_longer=may_be_longer)
        return RawResult(sequence, boxes, seconds, faults, remarks)

    def _not_one(self, sequence: str, files: tuple[str, ...]) -> Fault:
        place = self.files.root
        if not files:
            problem = f"holds no result for the sequence {shown(sequence)}"
            return Fault(sequence, "missing", str(DataError.at(place, problem, "track it, or give its file this name")))
        others = ", ".join(shown(file) for file in files[1:])
        problem = f"is one of {len(files)} results for the sequence {shown(sequence)}, besides {others}"
        error = DataError.at(self.files.place(files[0]), problem, "keep the one that counts")
        return Fault(sequence, "duplicate", str(error))

    def _seconds(
        self, sequence: str, rows: int, *, may_be_longer: bool
    ) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
        """Return the times of `rows` boxes, or None and the reason."""
        file = self.found.times.get(sequence)
        if file is None:
            return None, ()
        try:
            times = _times(self.files.read(file), self.found.column, self.files.place(file))
            times = times[:rows] if may_be_longer else times
            if len(times) != rows:
                raise DataError.at(self.files.place(file), f"has {len(times)} times for {rows} boxes", WITHOUT_TIMES)
        except DataError as error:
            return None, (str(error),)
        return times, ()


def open_results(name: str, path: Path, sequences: Sequence[str], *, repetition: int | None = 1) -> ResultFiles:
    """Open the results in a folder, a zip archive, or a folder in an archive (results.zip/tracker).

    Args:
        name: The tracker's name.
        path: The place of the results.
        sequences: The names of the sequences to look for.
        repetition: The repetition to open if there are several (GOT-10k). None: all of them, the first one with the
            others in `others`.

    Raises:
        DataError: There are no results, those of several trackers or runs, or the archive is hostile.
    """
    root, folder = _root_of(path)
    files = open_files(root)
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


def _judged(rows: Rows, frames: int, sequence: str, file: Path) -> tuple[NDArray[np.float64], tuple[Fault, ...]]:
    """Return the boxes, with faulty rows as NaN, and one fault of each kind, which counts its lines."""
    boxes, count = rows.values, len(rows.values)
    if not rows.bad and count == frames and _plausible(boxes):
        return boxes, ()
    if not count:
        return boxes, (Fault(sequence, "empty", str(DataError.at(file, "is empty", AGAIN))),)
    bad = [b.line for b in rows.bad]
    negative = (boxes[:, 2] < 0) | (boxes[:, 3] < 0)
    huge = np.asarray((np.abs(boxes) > LARGEST).any(axis=1))
    found: tuple[tuple[FaultKind, list[int], str], ...] = (
        ("not numbers", bad, f"{rows.bad[0].problem}: {rows.bad[0].text!r}" if bad else ""),
        ("nan", sorted(set(_lines(np.isnan(boxes).any(axis=1))) - set(bad)), "the box is NaN"),
        ("negative", _lines(negative), "the box has a negative side"),
        ("huge", _lines(huge), f"a number beyond {LARGEST:g} is not a pixel coordinate"),
        ("short", [count] * (count < frames), f"the file ends here, {frames} lines are wanted"),
        ("long", [frames + 1] * (count > frames), f"the file goes on to line {count}, {frames} lines are wanted"),
    )
    boxes = np.where((negative | huge)[:, None], np.nan, boxes)
    return boxes, tuple(_fault(sequence, kind, file, lines, problem) for kind, lines, problem in found if lines)


def _plausible(boxes: NDArray[np.float64]) -> bool:
    """Return whether no box has a problem. NaN compares as False, so that it counts as a problem."""
    return bool(
        boxes[:, 2].min() >= 0 and boxes[:, 3].min() >= 0 and boxes.min() >= -LARGEST and boxes.max() <= LARGEST
    )


def _lines(rows: NDArray[np.bool_] | np.bool_) -> list[int]:
    """Return the line numbers, from 1, of the marked rows."""
    return [int(row) + 1 for row in np.flatnonzero(rows)]


def _fault(sequence: str, kind: FaultKind, file: Path, lines: list[int], problem: str) -> Fault:
    more = f" (and {len(lines) - 1} more such lines)" if len(lines) > 1 else ""
    return Fault(sequence, kind, str(DataError.at(file, problem + more, AGAIN, line=lines[0])))


def _times(content: bytes, column: int, file: Path) -> NDArray[np.float64]:
    """Return the times of one repetition, which is a column. Raises DataError for a malformed file."""
    columns = max(1, len(content.lstrip().split(b"\n", 1)[0].replace(b",", b" ").split()))
    found = parse_rows(content, columns)
    if found.bad:
        raise DataError.at(
            file, f"{found.bad[0].problem}: {found.bad[0].text!r}", WITHOUT_TIMES, line=found.bad[0].line
        )
    if column >= columns:
        raise DataError.at(file, f"has no column {column + 1} for that repetition", WITHOUT_TIMES)
    times: NDArray[np.float64] = found.values[:, column]
    if (times < 0).any():
        raise DataError.at(file, "a time is negative", WITHOUT_TIMES, line=int(np.argmax(times < 0)) + 1)
    return times
