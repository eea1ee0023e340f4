"""Intervals by bootstrap over sequences.

Method. The unit that is resampled is the sequence, since frames of one video are not independent. A resample is a row of
multiplicities (how often each sequence was drawn), so every statistic is a function of multiplicities and all resamples
are one matrix product. Intervals are the 95 % BCa intervals (bias-corrected and accelerated; Efron, 1987) of
`RESAMPLES` resamples with a fixed seed: the same input gives the same interval. A difference of two rows is resampled
jointly, the same sequences for both (paired), which cancels how hard the sequences are.

What an interval covers: other sequences of the same kind. It does not cover another training seed: one run per row. A
second level is a statistic whose multiplicities also weigh runs; nothing else here would change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Multiplicities (R, n) to values (R,)."""

RESAMPLES = 4000
SEED = 20240229
LEVEL = 0.95
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval (None with fewer than two sequences) and the number of sequences."""

    value: float
    low: float | None
    high: float | None
    n: int


def ratio(numerators: Floats, weights: Floats) -> Statistic:
    """The statistic sum(numerators) / sum(weights) of the drawn sequences; NaN where the weights sum to 0."""
    return lambda drawn: _quotient(drawn @ numerators, drawn @ weights)


def ratio_estimate(numerators: Floats, weights: Floats, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """sum(numerators) / sum(weights) with its interval. Arrays of shape (n,), one entry per sequence."""
    return estimate(ratio(numerators, weights), len(numerators), resamples, seed)


def paired_difference(
    row: tuple[Floats, Floats], baseline: tuple[Floats, Floats], resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate:
    """Row minus baseline, each (numerators, weights) of the same sequences in the same order.

    Raises ValueError where the lengths differ.
    """
    if len(row[0]) != len(baseline[0]):
        raise ValueError(f"a paired difference needs the same sequences: {len(row[0])} against {len(baseline[0])}")
    of_row, of_baseline = ratio(*row), ratio(*baseline)
    return estimate(lambda drawn: of_row(drawn) - of_baseline(drawn), len(row[0]), resamples, seed)


def estimate(statistic: Statistic, n: int, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """Value and BCa interval of any statistic of n sequences. The value is NaN where the statistic is."""
    value = float(statistic(np.ones((1, n)))[0]) if n else float("nan")
    if n < 2 or not np.isfinite(value):
        return Estimate(value, None, None, n)
    drawn = statistic(multiplicities(n, resamples, seed))
    drawn = drawn[np.isfinite(drawn)]
    left_out = statistic(np.ones((n, n)) - np.eye(n))
    low, high = np.quantile(drawn, _bca_levels(drawn, value, left_out))
    return Estimate(value, float(low), float(high), n)


def curve_band(numerators: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Value and pointwise 95 % percentile band of a curve. numerators: (n, points), weights: (n,); each (points,)."""
    whole = numerators.sum(axis=0) / weights.sum()
    drawn = multiplicities(len(weights), RESAMPLES, SEED)
    curves = (drawn @ numerators) / (drawn @ weights)[:, None]
    low, high = np.quantile(curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return whole, low, high


def signed_rank(differences: Floats) -> float | None:
    """Two-sided p value of the Wilcoxon signed-rank test that paired differences (n,) are symmetric about 0.

    Differences of exactly 0 are ranked and then left out (Pratt, 1959): they count towards there being none. The null
    distribution is exact for up to 50 differences without zeros and ties, else the normal one. 1 where all are 0, None
    for no differences. Raises ValueError for a difference that is not finite.
    """
    if not np.isfinite(differences).all():
        raise ValueError("a signed-rank test needs finite differences")
    if not differences.any():
        return 1.0 if len(differences) else None
    from scipy.stats import wilcoxon

    sizes = np.abs(differences)
    exact = len(sizes) <= 50 and sizes.all() and len(np.unique(sizes)) == len(sizes)
    found = wilcoxon(differences, zero_method="pratt", method="exact" if exact else "approx")
    return float(found.pvalue)


@lru_cache(maxsize=8)
def multiplicities(n: int, resamples: int, seed: int) -> Floats:
    """How often each of n sequences is drawn, (resamples, n); the same matrix for the same arguments."""
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    drawn.setflags(write=False)
    return drawn


def _bca_levels(drawn: Floats, value: float, left_out: Floats) -> tuple[float, float]:
    """The quantiles of the resampled values that bound the interval; the plain ones where BCa is not defined."""
    plain = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    below = float(((drawn < value).mean() + (drawn <= value).mean()) / 2)
    away = left_out.mean() - left_out
    spread = float((away**2).sum() ** 1.5)
    if not 0 < below < 1 or not np.isfinite(spread) or spread == 0:
        return plain
    bias, acceleration = _NORMAL.inv_cdf(below), float((away**3).sum()) / (6 * spread)
    return _corrected(plain[0], bias, acceleration), _corrected(plain[1], bias, acceleration)


def _corrected(level: float, bias: float, acceleration: float) -> float:
    shifted = bias + _NORMAL.inv_cdf(level)
    return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))


def _quotient(numerators: Floats, weights: Floats) -> Floats:
    return np.divide(numerators, weights, out=np.full_like(numerators, np.nan), where=weights > 0)
