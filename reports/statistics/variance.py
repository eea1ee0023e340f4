"""Rows of several training seeds: how much of a figure's variance comes from seeds, and how much from sequences.

Every seed is evaluated on the same sequences, so seeds and sequences are crossed, not nested. The value of seed s on
sequence i is modelled as mean + seed[s] + sequence[i] + residual[s, i], and the variance of a row's value is
seed / S + sequence / n + residual / (S n). The parts are estimated by an analysis of variance of the jackknife
pseudo-values of each seed's ratio, which make a ratio of sums behave like a mean (Davison & Hinkley, 1997, section 2.7). A
negative estimate counts as 0. Interval and p value come from one t statistic with Satterthwaite's degrees of freedom
(Satterthwaite, 1946). In a difference of two rows, the sequences are shared and the seeds are not.

Seeds are not resampled because a resample of two or three seeds varies too little (by a factor (S - 1) / S of the seeds'
variance), and because resampling crossed factors counts the residual three times (Owen, 2007). Such intervals covered 86 to
98 % where these covered 93 to 96 %; docs/statistics.md has the figures. Rows of one seed use the bootstrap over sequences
(`reports.statistics.bootstrap`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from trackablate.reports.statistics.bootstrap import (
    FEWEST_SEQUENCES,
    LEVEL,
    Estimate,
    Floats,
    Sample,
    paired_difference,
    quotient,
)
from trackablate.reports.statistics.bootstrap import ratio_estimate as of_one_seed
from trackablate.reports.statistics.significance import paired_p

_MIDPOINTS = (np.arange(100) + 0.5) / 100
"""Levels at which the distribution of an estimated variance is read."""


@dataclass(frozen=True)
class Noise:
    """The sources of variance of a figure of one row, or of a difference of two. Variances are in squared units.

    Attributes:
        sequences: number of sequences.
        seeds: number of seeds of each row.
        shared: variance over sequences of the values averaged over seeds, residuals included.
        seed: variance component of the seeds of each row; 0 if no row has a second seed.
        residual: variance component of the residual of each row; 0 if no row has a second seed.
    """

    sequences: int
    seeds: tuple[int, ...]
    shared: float
    seed: tuple[float, ...]
    residual: tuple[float, ...]

    @property
    def variance(self) -> float:
        """Variance of the figure."""
        return sum(value for value, _ in self._terms())

    @property
    def freedom(self) -> float:
        """Degrees of freedom of that variance (Satterthwaite, 1946)."""
        spread = sum(value**2 / freedom for value, freedom in self._terms())
        return self.variance**2 / spread if spread else self.sequences - 1.0

    def at(self, sequences: int, seeds: int | None = None) -> "Noise":
        """Return the same noise for other numbers of sequences and of seeds per row; None keeps the present seeds."""
        wanted = self.seeds if seeds is None else (seeds,) * len(self.seeds)
        persistent = max(0.0, self.shared - self._averaged(self.seeds))
        return replace(self, sequences=sequences, seeds=wanted, shared=persistent + self._averaged(wanted))

    def half_width(self) -> float:
        """Return half the width of the 95 % interval."""
        from scipy.special import stdtrit  # imported here because score pages import this module without scipy

        return float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * sqrt(self.variance)

    def p(self, effect: float) -> float:
        """Return the two-sided p value that the true figure is 0."""
        from scipy.special import stdtr

        if not self.variance:
            return 0.0 if effect else 1.0
        return 2 * float(stdtr(self.freedom, -abs(effect) / sqrt(self.variance)))

    def power(self, effect: float, level: float) -> float:
        """Return the chance to find a true effect of this size, with the right sign, at this two-sided level.

        This is the noncentral t distribution, computed as a mean over the possible estimates of the variance, because
        scipy's function is NaN for large effects.
        """
        from scipy.special import gammaincinv, ndtr, stdtrit

        if not self.variance:
            return 1.0 if effect else level / 2
        bound, away = stdtrit(self.freedom, 1 - level / 2), abs(effect) / sqrt(self.variance)
        estimated = np.sqrt(2 * gammaincinv(self.freedom / 2, _MIDPOINTS) / self.freedom)
        return float(ndtr(away - bound * estimated).mean())

    def _averaged(self, seeds: Sequence[int]) -> float:
        return sum(residual / count for residual, count in zip(self.residual, seeds, strict=True))

    def _terms(self) -> list[tuple[float, float]]:
        """Return the independent parts of the variance, each with its degrees of freedom."""
        sequences = (self.shared / self.sequences, self.sequences - 1.0)
        parts = [seed / count for seed, count in zip(self.seed, self.seeds, strict=True)]
        if max(self.seeds) == 1:
            return [sequences]
        if min(self.seeds) == 1:  # the row of one seed borrows the other's component: one estimate, not two
            return [sequences, (sum(parts), max(self.seeds) - 1.0)]
        return [sequences, *((part, count - 1.0) for part, count in zip(parts, self.seeds, strict=True))]


def row_estimate(numerators: Floats, weights: Floats) -> Estimate:
    """Return the mean over seeds of sum(numerators) / sum(weights), with its 95 % interval over seeds and sequences.

    Both are (S, n), or (n,) for one seed; ValueError if the shapes differ. With one seed, the interval is the stretched BCa
    interval over sequences, which does not cover seeds.
    """
    sample = by_seed((numerators, weights))
    if len(sample[0]) == 1:
        return of_one_seed(sample[0][0], sample[1][0])
    return _around(_value(sample), noise(sample), sample[0].shape[1], len(sample[0]))


def row_difference(row: Sample, baseline: Sample) -> Estimate:
    """Return row minus baseline with its 95 % interval and, from `FEWEST_SEQUENCES` up, its p value.

    With one seed each, the result is the stretched paired BCa interval and the p value of
    `reports.statistics.significance`; they do not cover seeds. If only one row has several seeds, the other is assumed to
    vary as much with the seed. Rows are numerators and weights, (S, n) or (n,), of the same sequences in the same order; S
    may differ, and seeds are unrelated. ValueError if the numbers of sequences or the shapes differ.
    """
    one, other = by_seed(row), by_seed(baseline)
    n = one[0].shape[1]
    if n != other[0].shape[1]:
        raise ValueError(f"a paired difference needs the same sequences: {n} against {other[0].shape[1]}")
    if len(one[0]) == len(other[0]) == 1:
        first, second = (one[0][0], one[1][0]), (other[0][0], other[1][0])
        found = paired_difference(first, second)
        return replace(found, p=paired_p(first, second) if n >= FEWEST_SEQUENCES else None)
    effect, seen = _value(one) - _value(other), noise(one, other)
    found = _around(effect, seen, n, min(len(one[0]), len(other[0])))
    return replace(found, p=seen.p(effect)) if seen is not None and n >= FEWEST_SEQUENCES else found


def noise(row: Sample, baseline: Sample | None = None) -> Noise | None:
    """Return the sources of noise of a row, or of its difference to a baseline on the same sequences.

    None for fewer than two sequences or a value that is not finite.
    """
    samples = [by_seed(row)] + ([] if baseline is None else [by_seed(baseline)])
    if samples[0][0].shape[1] < 2:
        return None
    pseudo = [pseudo_values(*sample) for sample in samples]
    if not all(np.isfinite(values).all() for values in pseudo):
        return None
    averaged = [values.mean(axis=0) for values in pseudo]
    shared = averaged[0] - averaged[1] if len(averaged) == 2 else averaged[0]
    parts = _borrowed([_components(values) for values in pseudo])
    return Noise(
        sequences=len(shared),
        seeds=tuple(len(values) for values in pseudo),
        shared=float(shared.var(ddof=1)),
        seed=tuple(seed for seed, _ in parts),
        residual=tuple(residual for _, residual in parts),
    )


def by_seed(sample: Sample) -> Sample:
    """Return both arrays as (S, n), or raise ValueError if their shapes differ."""
    numerators, weights = np.atleast_2d(sample[0]), np.atleast_2d(sample[1])
    if numerators.shape != weights.shape or numerators.ndim != 2 or not len(numerators):
        raise ValueError(f"numerators and weights are both (seeds, sequences): {numerators.shape}, {weights.shape}")
    return numerators, weights


def pseudo_values(numerators: Floats, weights: Floats) -> Floats:
    """Return the jackknife pseudo-values of each seed's ratio, (S, n), shifted so that their mean is the ratio."""
    n = numerators.shape[1]
    sums, totals = numerators.sum(axis=1, keepdims=True), weights.sum(axis=1, keepdims=True)
    left_out = quotient(sums - numerators, totals - weights)
    pseudo: Floats = quotient(sums, totals) + (n - 1) * (left_out.mean(axis=1, keepdims=True) - left_out)
    return pseudo


def _components(values: Floats) -> tuple[float, float] | None:
    """Return the variance components of seed and residual by two-way analysis of variance, or None for one seed."""
    seeds, n = values.shape
    if seeds == 1:
        return None
    of_seed, of_sequence = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    left = values - of_seed - of_sequence + values.mean()
    residual = float((left**2).sum()) / ((seeds - 1) * (n - 1))
    return max(0.0, float(of_seed.var(ddof=1)) - residual / n), residual


def _borrowed(parts: Sequence[tuple[float, float] | None]) -> list[tuple[float, float]]:
    known = [part for part in parts if part is not None] or [(0.0, 0.0)]
    return [known[0] if part is None else part for part in parts]


def _around(value: float, seen: Noise | None, n: int, seeds: int) -> Estimate:
    if seen is None:
        return Estimate(value, None, None, n, seeds)
    half = seen.half_width()
    return Estimate(value, value - half, value + half, n, seeds)


def _value(sample: Sample) -> float:
    return float(quotient(sample[0].sum(axis=1), sample[1].sum(axis=1)).mean())
