"""The error for bad data: what is wrong, in which file and line, and what to do."""

import errno
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Self

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
LISTED = 10
"""Number of problems that one message shows; the others are only counted."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""Errors of a disk that is full or cannot be written, which name no file when a write fails."""


class DataError(ValueError):
    """Data that cannot be used: `DataError(problem, ...)`, with one text for each problem.

    Each text names the file, the line (from 1) and the remedy. The message lists the first LISTED problems and counts
    the others.
    """

    @classmethod
    def at(cls, file: Path, problem: str, remedy: str, *, line: int | None = None) -> Self:
        """Return the error of one file: "<file>, line <line>: <problem>; <remedy>"."""
        place = shown(file) if line is None else f"{shown(file)}, line {line}"
        return cls(f"{place}: {problem}; {remedy}")

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, including those that the message only counts."""
        return self.args

    def __str__(self) -> str:
        if len(self.args) == 1:
            return str(self.args[0])
        more = [f"and {len(self.args) - LISTED} more"] if len(self.args) > LISTED else []
        return "\n".join([f"{len(self.args)} problems:", *self.args[:LISTED], *more])


class NothingThereError(DataError):
    """A place without any of the wanted data. This is not a fault for parts of a data set that a user need not have."""


def raise_all(problems: list[str]) -> None:
    """Raise one DataError for all problems, if there are any."""
    if problems:
        raise DataError(*problems)


def some(names: Iterable[str], most: int = LISTED) -> str:
    """Return the first of some names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + more


def counted(number: int, noun: str) -> str:
    """Return a number of things, as in "1 run" and "2,000 runs"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def shown(text: object) -> str:
    """Return text from outside that is safe for a terminal: control characters and undecodable bytes are escaped."""
    found = str(text)
    return found if found.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in found)


def unsafe(text: str) -> bool:
    """Return whether text has characters that change what a terminal shows, or that no XML or UTF-8 file may hold."""
    return _UNSAFE.search(text) is not None


def printable(text: str) -> str:
    """Return a message whose lines are safe for a terminal, as `shown` makes them."""
    return "\n".join(map(shown, text.split("\n"))) if unsafe(text) else text
