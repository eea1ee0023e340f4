"""Bootstrap intervals over sequences.

The sequence is the unit that is resampled, because frames of one video are not independent. A resample is a row of
multiplicities: how often each sequence was drawn. Every statistic is a function of multiplicities, so all resamples are one
matrix product. `estimate` gives the 95 % BCa interval (bias-corrected and accelerated; Efron, 1987) of `RESAMPLES`
resamples with a fixed seed: the same input gives the same interval. A difference of two rows draws the same sequences for
both rows (paired), which cancels the difficulty of the sequences.

A bootstrap over n sequences gives intervals that are too narrow: resamples have (n - 1) / n of the variance they should
have, and the normal distribution ignores that the variance is an estimate. `ratio_estimate` and `paired_difference`, whose
intervals every page prints, therefore stretch the interval about the value by `stretch`: 9.6 % at 20 sequences, 2.2 % at 80.

An interval covers other sequences of the same kind. It does not cover another training seed;
`reports.statistics.variance` does, for rows of several seeds, and uses this module for rows of one.
docs/statistics.md has the measured coverage.
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
"""Maps multiplicities (R, n) to values (R,)."""

Sample = tuple[Floats, Floats]
"""Numerators and weights of one row, both (S, n): S training seeds by n sequences. (n,) means one seed."""

RESAMPLES = 4000
SEED = 20240229
LEVEL = 0.95
FEWEST_SEQUENCES = 4
"""With fewer, a bootstrap interval is little more than the smallest and the largest value, and there is no p value."""
_NORMAL = NormalDist()
_HALVINGS = 40
"""Steps of the search for a p value; each halves the range."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        low, high: bounds, or None with fewer than two sequences.
        n: number of sequences.
        seeds: trainings per row that the interval covers; 1 if it does not cover seeds.
        p: two-sided p value that a difference is 0, before any correction for the number of comparisons, or None.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    seeds: int = 1
    p: float | None = None


def quotient(numerators: Floats, weights: Floats) -> Floats:
    """Return numerators / weights, elementwise, with NaN where a weight is 0."""
    return np.divide(numerators, weights, out=np.full_like(numerators, np.nan), where=weights > 0)


def ratio(numerators: Floats, weights: Floats) -> Statistic:
    """Return the statistic sum(numerators) / sum(weights) of the drawn sequences; it is NaN if the weights sum to 0."""
    return lambda drawn: quotient(drawn @ numerators, drawn @ weights)


def ratio_estimate(numerators: Floats, weights: Floats, resamples: int = RESAMPLES) -> Estimate:
    """Return sum(numerators) / sum(weights), arrays of shape (n,), with its stretched interval."""
    return stretched(estimate(ratio(numerators, weights), len(numerators), resamples))


def paired_difference(
    row: tuple[Floats, Floats], baseline: tuple[Floats, Floats], resamples: int = RESAMPLES
) -> Estimate:
    """Return row minus baseline with its stretched interval.

    Both are numerators and weights, each (n,), of the same sequences in the same order; ValueError if the lengths differ.
    """
    if len(row[0]) != len(baseline[0]):
        raise ValueError(f"a paired difference needs the same sequences: {len(row[0])} against {len(baseline[0])}")
    of_row, of_baseline = ratio(*row), ratio(*baseline)
    return stretched(estimate(lambda drawn: of_row(drawn) - of_baseline(drawn), len(row[0]), resamples))


def estimate(statistic: Statistic, n: int, resamples: int = RESAMPLES) -> Estimate:
    """Return the value of a statistic of n sequences and its plain BCa interval, without an interval if it is NaN."""
    value = _whole(statistic, n)
    if n < 2 or not np.isfinite(value):
        return Estimate(value, None, None, n)
    drawn = _drawn(statistic, n, resamples)
    bias, acceleration = _bias_and_acceleration(statistic, n, drawn, value)
    levels = [_corrected(level, bias, acceleration) for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    low, high = np.quantile(drawn, levels)
    return Estimate(value, float(low), float(high), n)


def stretched(found: Estimate) -> Estimate:
    """Return the estimate with the distance of both bounds from the value multiplied by `stretch`."""
    if found.low is None or found.high is None:
        return found
    factor = stretch(found.n)
    low, high = (found.value + factor * (bound - found.value) for bound in (found.low, found.high))
    return replace(found, low=low, high=high)


def stretch(n: int, level: float = LEVEL) -> float:
    """Return the factor by which a bootstrap interval of n sequences, 2 or more, is too narrow.

    It is sqrt(n / (n - 1)), the missing standard deviation of resamples, times the ratio of the quantile of t with n - 1
    degrees of freedom to the normal quantile.
    """
    from scipy.special import stdtrit

    upper = (1 + level) / 2
    return sqrt(n / (n - 1)) * float(stdtrit(n - 1, upper)) / _NORMAL.inv_cdf(upper)


def inverted(statistic: Statistic, n: int, resamples: int = RESAMPLES) -> float | None:
    """Return the two-sided p value that the statistic is 0, or None if it has no interval.

    The p value is one minus the level of the widest stretched interval without 0 (Davison & Hinkley, 1997, section 5.3,
    solved for the level). A stretched interval does not contain 0 if the plain interval of the same level does not contain
    value - value / stretch. The p value is never below about 1 / resamples.
    """
    value = _whole(statistic, n)
    if n < 2 or not np.isfinite(value):
        return None
    drawn = _drawn(statistic, n, resamples)
    bias, acceleration = _bias_and_acceleration(statistic, n, drawn, value)

    def plain(at: float) -> float:
        below = ((drawn < at).mean() + (drawn <= at).mean()) / 2
        away = _NORMAL.inv_cdf(float(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))) - bias
        scale = 1 + acceleration * away
        return 2 * _NORMAL.cdf(-abs(away / scale - bias)) if scale > 0 else 0.0

    # A larger p means a lower level and so a smaller stretch, which makes plain(...) fall: there is one crossing.
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        low, high = (p, high) if plain(value - value / stretch(n, 1 - p)) > p else (low, p)
    return high


def curve_band(numerators: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return value, low and high, each (points,), of a curve with its pointwise 95 % percentile band.

    Numerators are (n, points), a curve per sequence; weights are (n,).
    """
    whole = numerators.sum(axis=0) / weights.sum()
    drawn = multiplicities(len(weights), RESAMPLES)
    curves = (drawn @ numerators) / (drawn @ weights)[:, None]
    low, high = np.quantile(curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return whole, low, high


def signed_rank(differences: Floats) -> float | None:
    """Return the two-sided p value of the Wilcoxon signed-rank test that paired differences (n,) are symmetric about 0.

    Differences of exactly 0 are ranked and then left out (Pratt, 1959). The null distribution is exact for up to 50
    differences without zeros and ties, otherwise normal. The p value is 1 if all differences are 0, and None for none.
    ValueError if a difference is not finite.
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
def multiplicities(n: int, resamples: int) -> Floats:
    """Return how often each of n sequences is drawn, (resamples, n): the same matrix for the same arguments."""
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    drawn.setflags(write=False)
    return drawn


def _whole(statistic: Statistic, n: int) -> float:
    return float(statistic(np.ones((1, n)))[0]) if n else float("nan")


def _drawn(statistic: Statistic, n: int, resamples: int) -> Floats:
    values = statistic(multiplicities(n, resamples))
    return values[np.isfinite(values)]


def _bias_and_acceleration(statistic: Statistic, n: int, drawn: Floats, value: float) -> tuple[float, float]:
    """Return Efron's z0 and a; both are 0 if BCa is not defined, which gives the percentile interval."""
    below = float(((drawn < value).mean() + (drawn <= value).mean()) / 2)
    left_out = statistic(np.ones((n, n)) - np.eye(n))
    away = left_out.mean() - left_out
    spread = float((away**2).sum() ** 1.5)
    if not 0 < below < 1 or not np.isfinite(spread) or spread == 0:
        return 0.0, 0.0
    return _NORMAL.inv_cdf(below), float((away**3).sum()) / (6 * spread)


def _corrected(level: float, bias: float, acceleration: float) -> float:
    shifted = bias + _NORMAL.inv_cdf(level)
    return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))
