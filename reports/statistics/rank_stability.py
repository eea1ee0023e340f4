"""How stable a ranking is: the two-level bootstrap, over seeds and over sequences.

A resample draws the same sequences for all rows, since all rows share the difficulty of a sequence, and draws seeds for
each row independently. A row's value in a resample is the mean over its seeds of the ratio of the drawn sequences, plus the
mean deviation of the drawn seeds. The deviations are scaled to the estimated variance component of the seeds
(`reports.statistics.variance`). Unscaled, two or three deviations vary too little when they are redrawn, and they contain
the residual that drawing the sequences already adds. A row of one seed varies by its sequences alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trackablate.reports.statistics.bootstrap import RESAMPLES, SEED, Floats, Sample, multiplicities, quotient
from trackablate.reports.statistics.variance import by_seed, noise


@dataclass(frozen=True)
class Stability:
    """The ranks of R rows under resampling.

    Attributes:
        ranks: (R, R), row by rank, best rank first: the share of resamples in which the row has the rank. Each row and
            each column sums to 1.
        best: the share of resamples in which the row that is best on all data, or one of several that tie, is best.
    """

    ranks: Floats
    best: float


def rank_stability(rows: Sequence[Sample], lower_is_better: bool = False, resamples: int = RESAMPLES) -> Stability:
    """Rank R rows under resampling. k rows that tie for k ranks have a share of 1 / k of each.

    Rows are numerators and weights (S, n), or (n,), of the same n sequences. ValueError if there are no rows, fewer than two
    sequences, different numbers of sequences, or a row without a value.
    """
    samples = [by_seed(row) for row in rows]
    _check(samples)
    sign = -1 if lower_is_better else 1
    whole = np.array([quotient(a.sum(axis=1), b.sum(axis=1)).mean() for a, b in samples])
    drawn = sign * np.stack([_resampled(row, resamples, k) for k, row in enumerate(samples)], axis=1)
    ranks = _rank_shares(drawn[np.isfinite(drawn).all(axis=1)])
    leaders = sign * whole == (sign * whole).max()
    return Stability(ranks, float(ranks[leaders, 0].sum()))


def _check(samples: Sequence[Sample]) -> None:
    counts = sorted({numerators.shape[1] for numerators, _ in samples})
    if len(counts) != 1:
        raise ValueError(f"a ranking needs rows of the same sequences, found {counts or 'no rows'}")
    if any(noise(sample) is None for sample in samples):
        raise ValueError("a ranking under resampling needs two sequences or more, and a finite value of every row")


def _resampled(sample: Sample, resamples: int, row: int) -> Floats:
    numerators, weights = sample
    drawn = multiplicities(numerators.shape[1], resamples)
    values: Floats = quotient(drawn @ numerators.T, drawn @ weights.T).mean(axis=1)
    return values + _seed_draws(sample, resamples, row)


def _seed_draws(sample: Sample, resamples: int, row: int) -> Floats:
    numerators, weights = sample
    seeds, seen = len(numerators), noise(sample)
    ratios = quotient(numerators.sum(axis=1), weights.sum(axis=1))
    away = ratios - ratios.mean()
    if seen is None or not away.any():
        return np.zeros(resamples)
    # A mean of S redrawn deviations has the variance sum(away**2) / S**2.
    scaled = away * np.sqrt(seen.seed[0] / seeds) * seeds / np.sqrt((away**2).sum())
    counts = np.random.default_rng((SEED, row)).multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    draws: Floats = counts @ scaled / seeds
    return draws


def _rank_shares(values: Floats) -> Floats:
    """Return the (R, R) shares of each rank for (resamples, R) values; larger is better."""
    rows = values.shape[1]
    shares = np.zeros((rows, rows))
    for row in range(rows):
        first = (values > values[:, [row]]).sum(axis=1)
        tied = (values == values[:, [row]]).sum(axis=1)
        for rank in range(rows):
            has = (first <= rank) & (rank < first + tied)
            shares[row, rank] = (has / tied).mean()
    return shares
