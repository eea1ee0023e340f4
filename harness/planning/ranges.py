"""Quantities that are only known to lie in a range."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """A quantity in any unit, with low <= expected <= high."""

    low: float
    expected: float
    high: float

    def times(self, factor: float) -> "Range":
        """Return the range multiplied by a factor of at least 0."""
        return Range(self.low * factor, self.expected * factor, self.high * factor)


NOTHING = Range(0.0, 0.0, 0.0)


def about(value: float, error: float) -> Range:
    """Return the range of a value with a relative error: value / (1 + error) to value * (1 + error)."""
    return Range(value / (1 + error), value, value * (1 + error))


def total(ranges: Iterable[Range]) -> Range:
    """Return the sum. Ends add to ends, because errors that have one source do not cancel."""
    found = list(ranges)
    return Range(sum(r.low for r in found), sum(r.expected for r in found), sum(r.high for r in found))
