"""The names of a video's frames, kept as ranges of consecutive numbers: a few bytes for each video."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from trackablate.datasets.errors import shown

SUFFIXES = (".jpg", ".jpeg", ".png")
"""File name suffixes of frames, in upper or lower case. Other files of a folder are not frames."""

_NUMBERED = re.compile(r"(.*?)(\d+)(\.\w+)", re.ASCII | re.DOTALL)


class FrameRange(NamedTuple):
    """Frames with consecutive numbers.

    Attributes:
        prefix: What comes before the number; the whole name of a single frame without a number.
        digits: Width to which numbers are padded with zeros; 0 for a single frame without a number.
        first: Number of the first frame.
        suffix: What comes after the number, such as ".jpg".
    """

    prefix: str
    digits: int
    first: int
    length: int
    suffix: str

    def name(self, index: int) -> str:
        """Return the name of one frame by its index in the range."""
        return f"{self.prefix}{self.first + index:0{self.digits}d}{self.suffix}" if self.digits else self.prefix

    def names(self) -> list[str]:
        """Return all names."""
        if not self.digits:
            return [self.prefix]
        pattern = f"{self.prefix.replace('%', '%%')}%0{self.digits}d{self.suffix.replace('%', '%%')}"
        return [pattern % number for number in range(self.first, self.first + self.length)]

    def part(self, start: int, stop: int) -> "FrameRange":
        """Return the frames from index `start` to before index `stop`."""
        return self._replace(first=self.first + start, length=stop - start)


class FrameNames:
    """Names in order, like a tuple, made when they are needed."""

    def __init__(self, ranges: Iterable[FrameRange]) -> None:
        self.ranges = tuple(ranges)
        self._length = sum(group.length for group in self.ranges)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> str:
        index = range(self._length)[index]
        for group in self.ranges:
            if index < group.length:
                return group.name(index)
            index -= group.length
        raise AssertionError

    def __iter__(self) -> Iterator[str]:
        return (name for group in self.ranges for name in group.names())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrameNames) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def cut(self, start: int, stop: int) -> "FrameNames":
        """Return the frames from index `start` to before index `stop`."""
        ranges, at = [], 0
        for group in self.ranges:
            low, high = max(start - at, 0), min(stop - at, group.length)
            if low < high:
                ranges.append(group.part(low, high))
            at += group.length
        return FrameNames(ranges)

    def numbered(self, first: int, last: int) -> "FrameNames":
        """Return the frames with numbers first..last, both included. The names must be in the order of their numbers."""
        ranges = []
        for group in self.ranges:
            low, high = max(first - group.first, 0), min(last + 1 - group.first, group.length)
            if group.digits and low < high:
                ranges.append(group.part(low, high))
        return FrameNames(ranges)

    def gap(self, first: int) -> int | None:
        """Return the smallest missing number from `first` to the last frame, None if none is missing."""
        expected = first
        for group in self.ranges:
            if group.first > expected:
                return expected
            expected = max(expected, group.first + group.length)
        return None


def frame_names(found: Iterable[str], order: Literal["number", "name"]) -> FrameNames:
    """Return the frames among a folder's files, sorted by the number that ends their name, or by name.

    Raises:
        ValueError: Order is "number" and a frame has no number, or the same number as another frame.
    """
    names = sorted(name for name in found if name.lower().endswith(SUFFIXES))
    if not names:
        return FrameNames(())
    if order == "name":
        return FrameNames(_ranges(names))
    if one := _one_range(sorted(names, key=len)):
        return FrameNames((one,))
    return FrameNames(_ranges(_by_number(names)))


def _one_range(names: list[str]) -> FrameRange | None:
    begin = _split(names[0])
    group = begin._replace(length=len(names)) if begin.digits else begin
    return group if group.names() == names else None


def _ranges(names: list[str]) -> Iterator[FrameRange]:
    if one := _one_range(names):
        yield one
        return
    group = _split(names[0])
    for name in names[1:]:
        if group.digits and name == group.name(group.length):
            group = group._replace(length=group.length + 1)
        else:
            yield group
            group = _split(name)
    yield group


def _split(name: str) -> FrameRange:
    found = _NUMBERED.fullmatch(name)
    # A longer number than any video has is a hash or a date: part of the name.
    if found is None or len(found[2]) > 12:
        return FrameRange(name, 0, 0, 1, "")
    return FrameRange(found[1], len(found[2]), int(found[2]), 1, found[3])


def _by_number(names: list[str]) -> list[str]:
    numbered: dict[int, str] = {}
    for name in names:
        group = _split(name)
        if not group.digits:
            raise ValueError(f"the frame {shown(name)!r} must end in its number")
        other = numbered.setdefault(group.first, name)
        if other != name:
            raise ValueError(f"the frames {shown(other)!r} and {shown(name)!r} have the same number")
    return [numbered[number] for number in sorted(numbered)]
