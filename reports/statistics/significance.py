"""Whether a difference is more than chance, alone and among all comparisons of a table.

With one seed per row, the p value is the larger of two. The sign-flip test exchanges row and baseline on random sequences,
as if the two were the same; it keeps its level from six sequences up if differences are symmetric. The inverted interval
follows skew and agrees with the printed interval (BCa, stretched for small samples; `reports.statistics.bootstrap`): if
that interval contains 0, p is at least 0.05. The reverse can happen: the interval excludes 0 and the sign flips put p above
0.05. Then p decides. With several seeds per row, p and interval come from one t statistic (`reports.statistics.variance`).
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
"""Random exchanges. With the observed one, p is a multiple of 1 / 10,000 (Davison & Hinkley, 1997, section 4.2)."""
ALL_FLIPS = 12
"""Up to this many sequences, every exchange is tried."""
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Verdict:
    """The test of one difference among all of a table.

    `adjusted` is p after Holm's correction for all differences of the table.
    """

    p: float
    adjusted: float

    @property
    def resolved(self) -> bool:
        """Whether the adjusted p value is below 0.05."""
        return self.adjusted < SIGNIFICANT

    @property
    def level(self) -> float:
        """The level at which this difference is tested: 0.05 divided by Holm's factor on its p value."""
        return SIGNIFICANT * self.p / self.adjusted if self.adjusted else SIGNIFICANT


def verdicts(differences: Sequence[Estimate | None]) -> tuple[Verdict | None, ...]:
    """Return a verdict per difference of a table, corrected for all that have a p value; None for those without one."""
    found = [d.p for d in differences if d is not None and d.p is not None]
    adjusted = iter(holm(found))
    return tuple(None if d is None or d.p is None else Verdict(d.p, next(adjusted)) for d in differences)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p values in the order given, which keep the chance of any false alarm below the level (Holm, 1979).

    The i-th smallest of m p values, counted from 0, is multiplied by m - i. The results are made non-decreasing in that
    order and are at most 1. The p values need not be independent. ValueError if one lies outside [0, 1].
    """
    given = np.asarray(p_values, dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"p values lie between 0 and 1: {list(p_values)}")
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(p) for p in adjusted]


def sign_flip(row: Sample, baseline: Sample) -> float | None:
    """Return the two-sided p value that row and baseline are exchangeable, or None if their difference is undefined.

    The statistic is the difference of the ratios; numerators and weights are (n,) each, of the same sequences. The test is
    exact for up to `ALL_FLIPS` sequences, and otherwise uses `FLIPS` random exchanges with a fixed seed.
    """
    observed = quotient(*_sums(row)) - quotient(*_sums(baseline))
    if not np.isfinite(observed):
        return None
    exchanged = exchanges(len(row[0]))
    numerators, weights = (exchanged @ (b - r) for r, b in zip(row, baseline, strict=True))
    (a, a_weight), (b, b_weight) = _sums(row), _sums(baseline)
    flipped = quotient(a + numerators, a_weight + weights) - quotient(b - numerators, b_weight - weights)
    extreme = np.abs(flipped[np.isfinite(flipped)]) >= abs(observed) * (1 - _ROUNDING)
    return float(extreme.mean())


def paired_p(row: Sample, baseline: Sample) -> float | None:
    """Return the p value of a difference of one seed each, arrays of shape (n,), or None if there is no interval."""
    one, other = ratio(*row), ratio(*baseline)
    flipped = sign_flip(row, baseline)
    by_interval = inverted(lambda drawn: one(drawn) - other(drawn), len(row[0]))
    if flipped is None or by_interval is None:
        return None
    found = paired_difference(row, baseline)
    held = found.low is not None and found.high is not None and found.low <= 0 <= found.high
    # The inverted interval is only as fine as the resamples. Near its edge the printed bounds decide.
    return max(flipped, by_interval, SIGNIFICANT) if held else max(flipped, by_interval)


@lru_cache(maxsize=4)
def exchanges(n: int) -> Floats:
    """Return which of n sequences change sides, (exchanges, n) of 0 and 1; the first row exchanges none."""
    if n <= ALL_FLIPS:
        flips = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        flips = np.random.default_rng(SEED).integers(0, 2, (FLIPS + 1, n))
        flips[0] = 0
    found = flips.astype(np.float64)
    found.setflags(write=False)
    return found


def _sums(sample: Sample) -> tuple[Floats, Floats]:
    return np.asarray(sample[0].sum()), np.asarray(sample[1].sum())
