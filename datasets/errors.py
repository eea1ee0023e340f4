"""The error of bad data: what is wrong, in which file and line, and what to do about it."""

from pathlib import Path
from typing import Self

LISTED = 10
"""How many problems one message spells out; the others are counted."""


class DataError(ValueError):
    """A data set that cannot be used as it lies: `DataError(problem, ...)`, one text for each problem.

    Each names the file, the line (1-based) and the remedy. The message is the only problem, or a list of the first
    LISTED ones and the number of the others.
    """

    @classmethod
    def at(cls, file: Path, problem: str, remedy: str, *, line: int | None = None) -> Self:
        """The error of one file: "<file>, line <line>: <problem>; <remedy>"."""
        place = shown(file) if line is None else f"{shown(file)}, line {line}"
        return cls(f"{place}: {problem}; {remedy}")

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, also those that the message only counts."""
        return self.args

    def __str__(self) -> str:
        if len(self.args) == 1:
            return str(self.args[0])
        more = [f"and {len(self.args) - LISTED} more"] if len(self.args) > LISTED else []
        return "\n".join([f"{len(self.args)} problems in the data:", *self.args[:LISTED], *more])


class NothingThereError(DataError):
    """A place that has nothing of what was looked for: for a part of a data set that is not everywhere, no fault."""


def raise_all(problems: list[str]) -> None:
    """Raise one DataError for all problems, none for none."""
    if problems:
        raise DataError(*problems)


def shown(text: object) -> str:
    """Text from outside, made fit for a terminal: control characters and undecodable bytes appear escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
