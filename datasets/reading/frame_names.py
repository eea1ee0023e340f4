"""The names of a video's frames, kept as ranges of consecutive numbers: a few bytes for each video."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal, NamedTuple

from trackablate.datasets.errors import shown

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""File name suffixes of frames, in upper or lower case. Other files of a folder are not frames."""
UNREAD = (".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".heic", ".avif", ".mp4", ".avi", ".mkv", ".mov", ".webm")
"""Suffixes of images and videos that are not read; where they lie instead of frames, a message names them."""

Order = Literal["number", "name", "clear"]
"""How frames are sorted. A video's names mostly differ in one number only; then that number decides, whatever its padding.

- number: by the number that ends each name.
- name: by name, where names differ in more than one number, as official lists are read by all toolkits.
- clear: as "name", but names with several beginnings are refused if their last numbers give another order.
"""

_NUMBERED = re.compile(r"(.*?)(\d+)(\.\w+)", re.ASCII | re.DOTALL)
_DIGITS = re.compile(r"(\d+)", re.ASCII)


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
    def _begins(self) -> tuple[int, ...]:
        """The index of each range's first frame, and the number of all frames."""
        return tuple(accumulate((group.length for group in self.ranges), initial=0))

    def __len__(self) -> int:
        return self._begins[-1]

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]
        at = bisect_right(self._begins, index) - 1
        return self.ranges[at].name(index - self._begins[at])

    def __iter__(self) -> Iterator[str]:
        return (name for group in self.ranges for name in group.names())

    def cut(self, start: int, stop: int) -> "FrameNames":
        """Return the frames from index `start` to before index `stop`."""
        return self._between(self._begins, start, stop)

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


def frame_names(found: Iterable[str], order: Order) -> FrameNames:
    """Return the frames among a folder's files, in order.

    Raises ValueError(problem, remedy) if the order is "number" and a frame has no number, if two frames have the same
    number, or if two orders are possible.
    """
    names = sorted(name for name in found if name.lower().endswith(SUFFIXES))
    if not names:
        return FrameNames(())
    by_number = sorted(names, key=len)
    begin = _split(by_number[0])
    whole = begin._replace(length=len(names)) if begin.digits else begin
    if whole.names() == by_number:  # nearly always, and much faster than name by name
        return FrameNames((whole,))
    if order == "number":
        return FrameNames(
            tuple(_ranges(_numbered(names, [_split(n).first if _split(n).digits else None for n in names])))
        )
    return FrameNames(tuple(_ranges(_by_name(names, several=order == "clear"))))


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


def _numbered(names: Sequence[str], numbers: Iterable[int | None]) -> list[str]:
    """Return names in the order of their numbers. Raises ValueError if one has none, or the same as another."""
    found: dict[int, str] = {}
    for name, number in zip(names, numbers, strict=True):
        if number is None:
            raise ValueError(f"the frame {shown(name)!r} must end in its number", "rename or remove it")
        if (other := found.setdefault(number, name)) != name:
            problem = f"the frames {shown(other)!r} and {shown(name)!r} have the same number"
            raise ValueError(problem, "rename or remove one of them")
    return [found[number] for number in sorted(found)]


def _by_name(names: list[str], *, several: bool) -> list[str]:
    """Return sorted names in the order of the one number in which they differ; else by name.

    Raises ValueError if numbers give another order than names; with `several`, last numbers of several beginnings count too.
    """
    parts = [_DIGITS.split(name.rpartition(".")[0]) for name in names]
    beginnings = {tuple(part[::2]) for part in parts}
    if len(beginnings) == 1 and len(parts[0]) > 1:
        varying = [at for at in range(1, len(parts[0]), 2) if len({int(part[at]) for part in parts}) > 1]
        at = max(varying, default=1)
        if len(varying) < 2 and parts[0][at - 1] != ".":  # "0.25" is below "0.3"
            return _numbered(names, [int(part[at]) for part in parts])
    others = [sorted(names, key=lambda name: [int(t) if at % 2 else t for at, t in enumerate(_DIGITS.split(name))])]
    last = [int(part[-2]) for part in parts if len(part) > 1]
    if several and len(beginnings) > 1 and len(set(last)) == len(names):
        others.append(_numbered(names, last))
    for other in others:
        if other != names:
            at = next(at for at in range(len(names)) if names[at] != other[at])
            place = f"after {shown(names[at - 1])!r} comes" if at else "first comes"
            problem = f"two orders are possible: {place} {shown(names[at])!r} by name, {shown(other[at])!r} by number"
            raise ValueError(problem, "pad the numbers with zeros, behind one and the same beginning")
    return names
