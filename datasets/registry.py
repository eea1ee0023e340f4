"""One generic registry: a name found twice names both claimants, a name not found names its nearest neighbours."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class UnknownName(KeyError):
    """A name that is not registered; the message lists the nearest names and all of them."""

    def __str__(self) -> str:
        """The message itself: KeyError would show it in quotes."""
        return str(self.args[0])


class Registry(Mapping[str, T], Generic[T]):
    """Names to values of one kind; `kind` is the word that error messages use ("study", "protocol")."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, value: T) -> T:
        """Register and return the value. Raises ValueError where the name is taken, naming both claimants."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is claimed twice: by {self._entries[name]!r} and by {value!r}")
        self._entries[name] = value
        return value

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownName(unknown(self.kind, name, self._entries)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def unknown(kind: str, name: str, known: Mapping[str, object] | list[str]) -> str:
    """The message for a name that is none of the known ones: nearest first, then all."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"no {kind} is called {name!r}: {hint}there are: {', '.join(sorted(known))}"
