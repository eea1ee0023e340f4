"""The names of a video's frames, kept as runs of consecutive numbers: 14 million names are a few bytes for each video."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from trackablate.datasets.errors import shown

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of frames, in any case; other files of a folder are none."""

_NUMBERED = re.compile(r"(.*?)(\d+)(\.\w+)", re.ASCII | re.DOTALL)


class Run(NamedTuple):
    """`length` frames of consecutive numbers from `first` on, padded with zeros to `digits`; one without a number is a run
    of 1 with digits 0, whose name is the prefix.
    """

    prefix: str
    digits: int
    first: int
    length: int
    suffix: str

    def name(self, index: int) -> str:
        """The name of one of them."""
        return f"{self.prefix}{self.first + index:0{self.digits}d}{self.suffix}" if self.digits else self.prefix

    def names(self) -> list[str]:
        """All names."""
        if not self.digits:
            return [self.prefix]
        pattern = f"{self.prefix.replace('%', '%%')}%0{self.digits}d{self.suffix.replace('%', '%%')}"
        return [pattern % number for number in range(self.first, self.first + self.length)]

    def part(self, start: int, stop: int) -> "Run":
        """The frames start..stop, by index, stop not included."""
        return self._replace(first=self.first + start, length=stop - start)


class FrameNames:
    """Names in order, like a tuple, made when they are asked for."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = tuple(runs)
        self._length = sum(run.length for run in self.runs)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> str:
        index = range(self._length)[index]
        for run in self.runs:
            if index < run.length:
                return run.name(index)
            index -= run.length
        raise AssertionError

    def __iter__(self) -> Iterator[str]:
        return (name for run in self.runs for name in run.names())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrameNames) and self.runs == other.runs

    def __hash__(self) -> int:
        return hash(self.runs)

    def cut(self, start: int, stop: int) -> "FrameNames":
        """The frames start..stop, by index, stop not included."""
        runs, at = [], 0
        for run in self.runs:
            low, high = max(start - at, 0), min(stop - at, run.length)
            if low < high:
                runs.append(run.part(low, high))
            at += run.length
        return FrameNames(runs)

    def numbered(self, first: int, last: int) -> "FrameNames":
        """Those whose number is in first..last, both included, where the names are in the order of their numbers."""
        runs = []
        for run in self.runs:
            low, high = max(first - run.first, 0), min(last + 1 - run.first, run.length)
            if run.digits and low < high:
                runs.append(run.part(low, high))
        return FrameNames(runs)

    def gap(self, first: int) -> int | None:
        """The smallest number from `first` on that no frame has, before the last frame; None where there is none. What
        is numbered lower than `first` is of no concern, unless it is the whole.
        """
        expected = first
        for run in self.runs:
            if run.first > expected:
                return expected
            expected = max(expected, run.first + run.length)
        return None


def frame_names(found: Iterable[str], order: Literal["number", "name"]) -> FrameNames:
    """The frames among a folder's files, sorted by the number that ends their name, or by name. Raises ValueError where a
    frame has no number, or the number of another, and numbers are asked for.
    """
    names = sorted(name for name in found if name.lower().endswith(SUFFIXES))
    if not names:
        return FrameNames(())
    if order == "name":
        return FrameNames(_runs(names))
    if one := _one_run(sorted(names, key=len)):
        return FrameNames((one,))
    return FrameNames(_runs(_by_number(names)))


def _one_run(names: list[str]) -> Run | None:
    """The single run that the names are, or None."""
    begin = _split(names[0])
    run = begin._replace(length=len(names)) if begin.digits else begin
    return run if run.names() == names else None


def _runs(names: list[str]) -> Iterator[Run]:
    if one := _one_run(names):
        yield one
        return
    run = _split(names[0])
    for name in names[1:]:
        if run.digits and name == run.name(run.length):
            run = run._replace(length=run.length + 1)
        else:
            yield run
            run = _split(name)
    yield run


def _split(name: str) -> Run:
    found = _NUMBERED.fullmatch(name)
    # A number beyond what any video has is a hash or a date: part of the name.
    if found is None or len(found[2]) > 12:
        return Run(name, 0, 0, 1, "")
    return Run(found[1], len(found[2]), int(found[2]), 1, found[3])


def _by_number(names: list[str]) -> list[str]:
    numbered: dict[int, str] = {}
    for name in names:
        run = _split(name)
        if not run.digits:
            raise ValueError(f"the frame {shown(name)!r} must end in its number")
        other = numbered.setdefault(run.first, name)
        if other != name:
            raise ValueError(f"the frames {shown(other)!r} and {shown(name)!r} have the same number")
    return [numbered[number] for number in sorted(numbered)]
