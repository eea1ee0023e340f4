"""A registry of named values. Errors name both claimants of a name, or the names nearest to an unknown one."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from trackablate.datasets.errors import unsafe

T = TypeVar("T")


class UnknownName(KeyError):
    """A name that is not registered. The message lists the nearest names and all names."""

    def __str__(self) -> str:
        """Return the message itself, which KeyError would show in quotes."""
        return str(self.args[0])


class Registry(Mapping[str, T], Generic[T]):
    """A mapping of names to values of one kind.

    Args:
        kind: A word for messages ("study", "protocol").
        declared: Returns what files of the user declare, by name, besides the entries. It is given the name that is looked
            for, which may be a file's, or "" for all.
        hint: What to do besides, for the message on an unknown name.
    """

    def __init__(
        self, kind: str, declared: Callable[[str], Mapping[str, T]] = lambda _name: {}, hint: str = ""
    ) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._declared, self._hint = declared, hint

    def add(self, name: str, value: T) -> T:
        """Register and return the value.

        Raises ValueError if the name is taken, naming both claimants, or if it has characters that are not printed.
        """
        if unsafe(name):
            raise ValueError(f"{self.kind} {name!r}: use printable characters")
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is claimed twice: by {self._entries[name]!r} and by {value!r}")
        self._entries[name] = value
        return value

    def __getitem__(self, name: str) -> T:
        if name in self._entries:
            return self._entries[name]
        declared = self._declared(name)
        if name in declared:
            return declared[name]
        raise UnknownName(unknown(self.kind, name, self) + self._hint)

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from self._declared("")

    def __len__(self) -> int:
        return len(self._entries) + len(self._declared(""))

    @property
    def built_in(self) -> Mapping[str, T]:
        """The entries without what files of the user declare."""
        return self._entries


MOST_LISTED, SHOWN = 30, 8
"""Number of names that are all listed, and of those that stand for more."""
SURE = 0.75
"""Likeness of two names, by difflib's ratio, from which a suggestion is sure to be meant."""


def near(name: str, known: Iterable[str], cutoff: float = 0.4) -> list[str]:
    """Return the known names that are most like a name: one that differs in case alone, else up to three."""
    folded = {entry.casefold(): entry for entry in known}
    if name.casefold() in folded:
        return [folded[name.casefold()]]
    return [folded[entry] for entry in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=cutoff)]


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: the nearest names, then all, or some of too many to be read."""
    names = sorted(known)
    found = near(name, names)
    hint = f"did you mean {' or '.join(found)}?" if found else ""
    many = len(names) > MOST_LISTED
    every = f"there are: {', '.join(names)}"
    if many:
        every = "" if near(name, names, SURE) else f"there are {len(names)}: {', '.join(names[:SHOWN])}, ..."
    return f"no {kind} is called {name!r}: {' '.join(filter(None, (hint, every)))}"
