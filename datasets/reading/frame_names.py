"""The names of a video's frames, kept as ranges of consecutive numbers: a few bytes for each video."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
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


@dataclass(frozen=True)
class FrameNames:
    """Names in order, like a tuple, made when they are needed."""

    ranges: tuple[FrameRange, ...]

    @cached_property
    def _length(self) -> int:
        return sum(group.length for group in self.ranges)

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

    def cut(self, start: int, stop: int) -> "FrameNames":
        """Return the frames from index `start` to before index `stop`."""
        return self._between(accumulate((group.length for group in self.ranges), initial=0), start, stop)

    def numbered(self, first: int, last: int) -> "FrameNames":
        """Return the frames with numbers first..last, both included. Every name must have a number."""
        return self._between((group.first for group in self.ranges), first, last + 1)

    def _between(self, begins: Iterable[int], start: int, stop: int) -> "FrameNames":
        """Return what lies in [start, stop) of ranges that begin at the given places."""
        parts = []
        for group, at in zip(self.ranges, begins, strict=False):
            low, high = max(start - at, 0), min(stop - at, group.length)
            if low < high:
                parts.append(group._replace(first=group.first + low, length=high - low))
        return FrameNames(tuple(parts))

    def gap(self, first: int) -> int | None:
        """Return the smallest missing number from `first` to the last frame, None if none is missing."""
        for group in self.ranges:
            if group.first > first:
                return first
            first = max(first, group.first + group.length)
        return None


def frame_names(found: Iterable[str], order: Literal["number", "name"]) -> FrameNames:
    """Return the frames among a folder's files, sorted by the number that ends their name, or by name.

    Raises ValueError if the order is "number" and a frame has no number, or the same number as another frame.
    """
    names = sorted(name for name in found if name.lower().endswith(SUFFIXES))
    if order == "number":
        names.sort(key=len)
    if not names:
        return FrameNames(())
    begin = _split(names[0])
    whole = begin._replace(length=len(names)) if begin.digits else begin
    if whole.names() == names:  # nearly always, and much faster than name by name
        return FrameNames((whole,))
    return FrameNames(tuple(_ranges(names if order == "name" else _by_number(sorted(names)))))


def _ranges(names: list[str]) -> Iterator[FrameRange]:
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
