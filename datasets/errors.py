"""The error of bad data: what is wrong, in which file and line, and what to do about it."""

from pathlib import Path
from typing import Self

LISTED = 10
"""How many problems one message spells out; the others are counted."""


class DataError(ValueError):
    """A data set that cannot be used as it lies. The message names the file, the line (1-based) and the remedy."""

    @classmethod
    def at(cls, file: Path, problem: str, remedy: str, *, line: int | None = None) -> Self:
        """The error of one file: "<file>, line <line>: <problem>; <remedy>"."""
        place = shown(file) if line is None else f"{shown(file)}, line {line}"
        return cls(f"{place}: {problem}; {remedy}")


def raise_all(problems: list[str]) -> None:
    """Raise one DataError for all problems, none for none: the first LISTED in full, then how many more there are."""
    if not problems:
        return
    if len(problems) == 1:
        raise DataError(problems[0])
    more = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
    raise DataError("\n".join([f"{len(problems)} problems in the data:", *problems[:LISTED], *more]))


def shown(text: object) -> str:
    """Text from outside, made fit for a terminal: control characters and undecodable bytes appear escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
