"""Is a difference more than chance, and does it stay so among all comparisons of a table?

One seed per row: the p value is the larger of two. The sign-flip test exchanges row and baseline sequence by sequence, as
chance would if nothing told them apart; it keeps its level from six sequences up where differences are symmetric. The
inverted interval follows skew, and keeps p from contradicting the printed interval, of which it is the other reading (BCa,
stretched for small samples; `reports.statistics.bootstrap`): where that holds 0, p is at least 0.05. The reverse is
possible: the
interval may leave 0 out while the sign flips put p above 0.05. Then p decides. Several seeds per row: see
`reports.statistics.variance`; there p and interval are two readings of one t statistic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trackablate.reports.statistics.bootstrap import (
    LEVEL,
    SEED,
    Estimate,
    Floats,
    Sample,
    inverted,
    paired_difference,
    quotient,
    ratio,
)

SIGNIFICANT = 1 - LEVEL
FLIPS = 9999
"""Random exchanges; with the observed one p is a multiple of 1 / 10,000 (Davison & Hinkley, 1997, section 4.2)."""
ALL_FLIPS = 12
"""Up to this many sequences every exchange is tried."""
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Verdict:
    """One difference among all of a table. p: its own; adjusted: Holm's; resolved: adjusted below 0.05."""

    p: float
    adjusted: float

    @property
    def resolved(self) -> bool:
        """Whether the difference is told from chance among all comparisons of the table."""
        return self.adjusted < SIGNIFICANT

    @property
    def level(self) -> float:
        """The level at which this difference is tested: 0.05 over the factor that Holm put on its p value."""
        return SIGNIFICANT * self.p / self.adjusted if self.adjusted else SIGNIFICANT


def verdicts(differences: Sequence[Estimate | None]) -> tuple[Verdict | None, ...]:
    """One verdict per difference of a table, corrected for all that have a p value; None for those without."""
    found = [d.p for d in differences if d is not None and d.p is not None]
    adjusted = iter(holm(found))
    return tuple(None if d is None or d.p is None else Verdict(d.p, next(adjusted)) for d in differences)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: the chance of any false alarm stays below the level (Holm, 1979).

    The i-th smallest of m, counted from 0, is multiplied by m - i; none becomes smaller than one before it, or more than
    1. Needs no independence. Raises ValueError for a p value outside [0, 1].
    """
    given = np.asarray(p_values, dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"p values lie between 0 and 1: {list(p_values)}")
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(p) for p in adjusted]


def sign_flip(row: Sample, baseline: Sample, seed: int = SEED) -> float | None:
    """Two-sided p value that row and baseline are exchangeable: numerators and weights, each (n,), same sequences.

    The statistic is the difference of the ratios. Exact up to `ALL_FLIPS` sequences, else `FLIPS` random exchanges with a
    fixed seed. None where the difference is undefined.
    """
    observed = quotient(*_sums(row)) - quotient(*_sums(baseline))
    if not np.isfinite(observed):
        return None
    exchanged = exchanges(len(row[0]), seed)
    numerators, weights = (exchanged @ (b - r) for r, b in zip(row, baseline, strict=True))
    (a, a_weight), (b, b_weight) = _sums(row), _sums(baseline)
    flipped = quotient(a + numerators, a_weight + weights) - quotient(b - numerators, b_weight - weights)
    extreme = np.abs(flipped[np.isfinite(flipped)]) >= abs(observed) * (1 - _ROUNDING)
    return float(extreme.mean())


def paired_p(row: Sample, baseline: Sample) -> float | None:
    """The p value of a difference of one seed each, arrays of shape (n,); None where there is no interval."""
    one, other = ratio(*row), ratio(*baseline)
    flipped = sign_flip(row, baseline)
    by_interval = inverted(lambda drawn: one(drawn) - other(drawn), len(row[0]))
    if flipped is None or by_interval is None:
        return None
    found = paired_difference(row, baseline)
    held = found.low is not None and found.high is not None and found.low <= 0 <= found.high
    # The inverted interval is as fine as the resamples are: at its very edge the printed bounds have the last word.
    return max(flipped, by_interval, SIGNIFICANT) if held else max(flipped, by_interval)


@lru_cache(maxsize=4)
def exchanges(n: int, seed: int) -> Floats:
    """Which of n sequences change sides, (exchanges, n) of 0 and 1; the first row exchanges none."""
    if n <= ALL_FLIPS:
        flips = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        flips = np.random.default_rng(seed).integers(0, 2, (FLIPS + 1, n))
        flips[0] = 0
    found = flips.astype(np.float64)
    found.setflags(write=False)
    return found


def _sums(sample: Sample) -> tuple[Floats, Floats]:
    return np.asarray(sample[0].sum()), np.asarray(sample[1].sum())
