"""A figure with what it may be off by."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Span(BaseModel):
    """low <= expected <= high, in any unit. Sums add end by end: errors of one source go the same way and do not cancel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    expected: float
    high: float

    def times(self, factor: float) -> "Span":
        """All three multiplied by a factor of at least 0."""
        return Span(low=self.low * factor, expected=self.expected * factor, high=self.high * factor)

    def plus(self, more: float) -> "Span":
        """All three shifted by what is known exactly."""
        return Span(low=self.low + more, expected=self.expected + more, high=self.high + more)


def about(value: float, error: float) -> Span:
    """A value that may be off by the share `error` (0.2: 20 %); by more upwards than downwards, since what is late can be
    late by any amount: value / (1 + error) to value * (1 + error).
    """
    return Span(low=value / (1 + error), expected=value, high=value * (1 + error))


def total(spans: Iterable[Span]) -> Span:
    """The sum, end by end."""
    spans = list(spans)
    return Span(low=sum(s.low for s in spans), expected=sum(s.expected for s in spans), high=sum(s.high for s in spans))
