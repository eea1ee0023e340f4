"""Intervals by bootstrap over sequences.

Method. The unit that is resampled is the sequence, since frames of one video are not independent. A resample is a row of
multiplicities (how often each sequence was drawn), so every statistic is a function of multiplicities and all resamples
are one matrix product. `estimate` gives the 95 % BCa interval (bias-corrected and accelerated; Efron, 1987) of
`RESAMPLES` resamples with a fixed seed: the same input gives the same interval. A difference of two rows is resampled
jointly, the same sequences for both (paired), which cancels how hard the sequences are.

Of n sequences a bootstrap shows too little: resamples vary by (n - 1) / n of what they should, and by the normal
distribution where the variance is itself an estimate. The intervals of `ratio_estimate` and `paired_difference`, which are
those that every page prints, are therefore stretched about the value by `stretch`: 9.6 % at 20 sequences, 2.2 % at 80.

What an interval covers: other sequences of the same kind. It does not cover another training seed;
`reports.statistics.variance`
does, for rows of several seeds, and comes back to this module for rows of one. docs/statistics.md says what was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Multiplicities (R, n) to values (R,)."""

Sample = tuple[Floats, Floats]
"""Numerators and weights of one row, both (S, n): S training seeds by n sequences; (n,) counts as one seed."""

RESAMPLES = 4000
SEED = 20240229
LEVEL = 0.95
FEWEST_SEQUENCES = 4
"""Below this many a bootstrap interval is little more than the smallest and the largest value, and no p value is given."""
_NORMAL = NormalDist()
_HALVINGS = 40
"""Of the range in which a p value is looked for."""


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval (None with fewer than two sequences) and the number of sequences. seeds: trainings per
    row that the interval covers, 1 where it does not cover seeds; p: two-sided p value that a difference is 0, not yet
    corrected for the number of comparisons, None where there is none.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    seeds: int = 1
    p: float | None = None


def quotient(numerators: Floats, weights: Floats) -> Floats:
    """Numerators / weights, elementwise; NaN where a weight is 0."""
    return np.divide(numerators, weights, out=np.full_like(numerators, np.nan), where=weights > 0)


def ratio(numerators: Floats, weights: Floats) -> Statistic:
    """The statistic sum(numerators) / sum(weights) of the drawn sequences; NaN where the weights sum to 0."""
    return lambda drawn: quotient(drawn @ numerators, drawn @ weights)


def ratio_estimate(numerators: Floats, weights: Floats, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """sum(numerators) / sum(weights) with its stretched interval. Arrays of shape (n,), one entry per sequence."""
    return stretched(estimate(ratio(numerators, weights), len(numerators), resamples, seed))


def paired_difference(
    row: tuple[Floats, Floats], baseline: tuple[Floats, Floats], resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate:
    """Row minus baseline, each (numerators, weights) of the same sequences in the same order; the interval is stretched.

    Raises ValueError where the lengths differ.
    """
    if len(row[0]) != len(baseline[0]):
        raise ValueError(f"a paired difference needs the same sequences: {len(row[0])} against {len(baseline[0])}")
    of_row, of_baseline = ratio(*row), ratio(*baseline)
    return stretched(estimate(lambda drawn: of_row(drawn) - of_baseline(drawn), len(row[0]), resamples, seed))


def estimate(statistic: Statistic, n: int, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """Value and plain BCa interval of any statistic of n sequences. The value is NaN where the statistic is."""
    value = _whole(statistic, n)
    if n < 2 or not np.isfinite(value):
        return Estimate(value, None, None, n)
    drawn = _drawn(statistic, n, resamples, seed)
    low, high = np.quantile(drawn, _bca_levels(*_bias_and_acceleration(statistic, n, drawn, value)))
    return Estimate(value, float(low), float(high), n)


def stretched(found: Estimate) -> Estimate:
    """The same with both bounds moved away from the value, each by `stretch` of its distance."""
    if found.low is None or found.high is None:
        return found
    factor = stretch(found.n)
    low, high = (found.value + factor * (bound - found.value) for bound in (found.low, found.high))
    return replace(found, low=low, high=high)


def stretch(n: int, level: float = LEVEL) -> float:
    """By how much a bootstrap interval of n sequences, 2 or more, is too narrow: sqrt(n / (n - 1)), which resamples lack in
    standard deviation, times the quantile of t with n - 1 degrees of freedom over the normal one.
    """
    from scipy.special import stdtrit

    upper = (1 + level) / 2
    return sqrt(n / (n - 1)) * float(stdtrit(n - 1, upper)) / _NORMAL.inv_cdf(upper)


def inverted(statistic: Statistic, n: int, resamples: int = RESAMPLES, seed: int = SEED) -> float | None:
    """Two-sided p value that the statistic is 0: one minus the level of the widest stretched interval that leaves 0 out.

    Davison & Hinkley (1997), section 5.3 solved for the level. A stretched interval leaves 0 out where the plain one of
    the same level leaves out value - value / stretch. Never below about 1 / resamples. None where there is no interval.
    """
    value = _whole(statistic, n)
    if n < 2 or not np.isfinite(value):
        return None
    drawn = _drawn(statistic, n, resamples, seed)
    bias, acceleration = _bias_and_acceleration(statistic, n, drawn, value)

    def plain(at: float) -> float:
        below = ((drawn < at).mean() + (drawn <= at).mean()) / 2
        away = _NORMAL.inv_cdf(float(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))) - bias
        scale = 1 + acceleration * away
        return 2 * _NORMAL.cdf(-abs(away / scale - bias)) if scale > 0 else 0.0

    # The stretch falls with p, and with it what the plain interval gives: they meet once.
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        low, high = (p, high) if plain(value - value / stretch(n, 1 - p)) > p else (low, p)
    return high


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


def _whole(statistic: Statistic, n: int) -> float:
    return float(statistic(np.ones((1, n)))[0]) if n else float("nan")


def _drawn(statistic: Statistic, n: int, resamples: int, seed: int) -> Floats:
    values = statistic(multiplicities(n, resamples, seed))
    return values[np.isfinite(values)]


def _bias_and_acceleration(statistic: Statistic, n: int, drawn: Floats, value: float) -> tuple[float, float]:
    """Efron's z0 and a; both 0, which makes the interval the percentile one, where BCa is not defined."""
    below = float(((drawn < value).mean() + (drawn <= value).mean()) / 2)
    left_out = statistic(np.ones((n, n)) - np.eye(n))
    away = left_out.mean() - left_out
    spread = float((away**2).sum() ** 1.5)
    if not 0 < below < 1 or not np.isfinite(spread) or spread == 0:
        return 0.0, 0.0
    return _NORMAL.inv_cdf(below), float((away**3).sum()) / (6 * spread)


def _bca_levels(bias: float, acceleration: float) -> tuple[float, float]:
    """The quantiles of the resampled values that bound the interval."""
    low, high = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    return _corrected(low, bias, acceleration), _corrected(high, bias, acceleration)


def _corrected(level: float, bias: float, acceleration: float) -> float:
    shifted = bias + _NORMAL.inv_cdf(level)
    return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))
