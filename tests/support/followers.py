"""Follows the opening of data sets, as a command's bar does."""

from collections.abc import Iterator
from contextlib import contextmanager

from trackablate.datasets.progress import FOLLOW, Told


@contextmanager
def recorded() -> Iterator[list[tuple[str, str, int, int]]]:
    """All that is told of the work inside: its name, the phase, and how much is done of how much."""
    said: list[tuple[str, str, int, int]] = []

    @contextmanager
    def follow(name: str) -> Iterator[Told]:
        yield lambda phase, done, total: said.append((name, phase, done, total))

    before = FOLLOW.set(follow)
    try:
        yield said
    finally:
        FOLLOW.reset(before)
