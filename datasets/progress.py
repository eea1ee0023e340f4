"""How far the opening of a data set is: the work tells phases and counts, and a command may follow them to show them."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

OnProgress = Callable[[int, int], None]
"""Is told the progress of long work: (done, total)."""
Told = Callable[[str, int, int], None]
"""Is told the progress of work in phases: (phase, done, total). The total is 0 if it is not known."""
Follow = Callable[[str], AbstractContextManager[Told]]
"""Begins to follow some work, which has a name."""
T = TypeVar("T")


@contextmanager
def unseen(_name: str) -> Iterator[Told]:
    """Follow nothing."""
    yield lambda phase, done, total: None


FOLLOW: ContextVar[Follow] = ContextVar("FOLLOW", default=unseen)
"""How the opening of data sets is followed: not at all, unless a command shows it to its user."""
_TOLD: ContextVar[Told] = ContextVar("TOLD", default=lambda phase, done, total: None)


@contextmanager
def followed(name: str) -> Iterator[None]:
    """Let the work inside be followed under a name. Work inside of that is not followed by itself."""
    with FOLLOW.get()(name) as told:
        tokens = FOLLOW.set(unseen), _TOLD.set(told)
        try:
            yield
        finally:
            FOLLOW.reset(tokens[0])
            _TOLD.reset(tokens[1])


def tell(phase: str, done: int = 0, total: int = 0) -> None:
    """Tell how far the work is, if anybody follows it."""
    _TOLD.get()(phase, done, total)


def told_each(phase: str, items: Collection[T]) -> Iterator[T]:
    """Yield the items, and tell how many of them are done."""
    for number, item in enumerate(items):
        tell(phase, number, len(items))
        yield item
