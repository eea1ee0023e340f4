"""Rows of several training seeds: how much a figure owes to the draw of seeds, and how much to that of sequences.

Method. Every seed is evaluated on the same sequences, so seeds and sequences are crossed, not nested: the value of seed s
on sequence i is modelled as mean + seed[s] + sequence[i] + residual[s, i], and the variance of a row's value is
seed / S + sequence / n + residual / (S n). The parts are estimated by the analysis of variance of the jackknife
pseudo-values of each seed's ratio, which make a ratio of sums behave like a mean (Davison & Hinkley, 1997, section 2.7);
a negative estimate counts as 0. Interval and p value are of one t statistic with Satterthwaite's degrees of freedom
(Satterthwaite, 1946). In a difference of two rows the sequences are shared and the seeds are not.

Why not resample seeds: of two or three seeds a resample shows too little (a factor (S - 1) / S of the seeds' variance),
and resampling crossed factors counts the residual thrice (Owen, 2007). Measured, such intervals cover 86 to 98 % where
these cover 93 to 96 %; docs/statistics.md has the figures. One seed: `reports.statistics.bootstrap`, over sequences alone.
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
"""Levels at which the distribution of an estimated variance is read off."""


@dataclass(frozen=True)
class Noise:
    """What makes a figure of one row, or a difference of two, vary. sequences: how many; seeds: how many each row has;
    shared: variance over sequences of the values averaged over seeds, residuals included; seed, residual: variance
    components of each row, 0 where no row has a second seed. In squared units of the figure.
    """

    sequences: int
    seeds: tuple[int, ...]
    shared: float
    seed: tuple[float, ...]
    residual: tuple[float, ...]

    @property
    def variance(self) -> float:
        """Of the figure."""
        return sum(value for value, _ in self._terms())

    @property
    def freedom(self) -> float:
        """Degrees of freedom of that variance (Satterthwaite, 1946)."""
        spread = sum(value**2 / freedom for value, freedom in self._terms())
        return self.variance**2 / spread if spread else self.sequences - 1.0

    def at(self, sequences: int, seeds: int | None = None) -> "Noise":
        """The same sources of noise with other numbers of sequences and of seeds per row; None: the present ones."""
        wanted = self.seeds if seeds is None else (seeds,) * len(self.seeds)
        persistent = max(0.0, self.shared - self._averaged(self.seeds))
        return replace(self, sequences=sequences, seeds=wanted, shared=persistent + self._averaged(wanted))

    def half_width(self) -> float:
        """Half the 95 % interval."""
        from scipy.special import stdtrit  # a score page imports this module and needs no scipy

        return float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * sqrt(self.variance)

    def p(self, effect: float) -> float:
        """Two-sided p value that the true figure is 0."""
        from scipy.special import stdtr

        if not self.variance:
            return 0.0 if effect else 1.0
        return 2 * float(stdtr(self.freedom, -abs(effect) / sqrt(self.variance)))

    def power(self, effect: float, level: float) -> float:
        """The chance that a true effect of this size is found at this two-sided level, and with the right sign: the
        noncentral t distribution, as a mean over what the variance may be estimated as (scipy's is NaN far out).
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
        """Independent parts of the variance, each with its degrees of freedom."""
        sequences = (self.shared / self.sequences, self.sequences - 1.0)
        parts = [seed / count for seed, count in zip(self.seed, self.seeds, strict=True)]
        if max(self.seeds) == 1:
            return [sequences]
        if min(self.seeds) == 1:  # the row of one seed borrows the other's component: one estimate, not two
            return [sequences, (sum(parts), max(self.seeds) - 1.0)]
        return [sequences, *((part, count - 1.0) for part, count in zip(parts, self.seeds, strict=True))]


def row_estimate(numerators: Floats, weights: Floats) -> Estimate:
    """The mean over seeds of sum(numerators) / sum(weights), with its 95 % interval over seeds and sequences.

    Arrays (S, n), or (n,) for one seed. With one seed: the BCa interval over sequences, stretched for small samples,
    which does not cover seeds. Raises ValueError where the shapes differ.
    """
    sample = by_seed((numerators, weights))
    if len(sample[0]) == 1:
        return of_one_seed(sample[0][0], sample[1][0])
    return _around(_value(sample), noise(sample), sample[0].shape[1], len(sample[0]))


def row_difference(row: Sample, baseline: Sample) -> Estimate:
    """Row minus baseline with its 95 % interval and p value; same sequences in the same order, seeds unrelated.

    Numerators and weights (S, n), or (n,) for one seed; the rows may have different S. With one seed each: the paired BCa
    interval, stretched for small samples, and the p value of `reports.statistics.significance`, which do not cover
    seeds. Where only
    one of them has several, the other is taken to vary with the seed as much. No p value below `FEWEST_SEQUENCES`. Raises
    ValueError where the sequences or shapes differ.
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
    """The sources of noise of a row, or of its difference to a baseline on the same sequences.

    None where they cannot be estimated: fewer than two sequences, or a value that is not finite.
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
    """Both arrays as (S, n). Raises ValueError where their shapes differ."""
    numerators, weights = np.atleast_2d(sample[0]), np.atleast_2d(sample[1])
    if numerators.shape != weights.shape or numerators.ndim != 2 or not len(numerators):
        raise ValueError(f"numerators and weights are both (seeds, sequences): {numerators.shape}, {weights.shape}")
    return numerators, weights


def pseudo_values(numerators: Floats, weights: Floats) -> Floats:
    """Jackknife pseudo-values of each seed's ratio, (S, n), shifted so that the mean of a seed's is its ratio."""
    n = numerators.shape[1]
    sums, totals = numerators.sum(axis=1, keepdims=True), weights.sum(axis=1, keepdims=True)
    left_out = quotient(sums - numerators, totals - weights)
    pseudo: Floats = quotient(sums, totals) + (n - 1) * (left_out.mean(axis=1, keepdims=True) - left_out)
    return pseudo


def _components(values: Floats) -> tuple[float, float] | None:
    """Variance components of seed and residual by the two-way analysis of variance; None for one seed."""
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
