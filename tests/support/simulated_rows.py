"""Rows with known truth: skewed sequences of unequal length, seeds and sequences crossed; shares, so 0.01 is a point."""

from dataclasses import dataclass

import numpy as np

from trackablate.reports.statistics.bootstrap import Floats, Sample

TRUTH = 0.65
_LEFT_SKEWED = (2.2, 0.8)


@dataclass(frozen=True)
class Design:
    """Standard deviations. sequence: of how hard sequences are; interaction: of how much a row is at ease with one,
    beyond the others; residual: between seeds on one sequence; length: of the logarithm of the sequences' frames."""

    seeds: tuple[int, int] = (3, 3)
    n: int = 80
    seed: float = 0.01
    interaction: float = 0.10
    residual: float = 0.05
    sequence: float = 0.25
    length: float = 0.3
    effect: float = 0.0


def pair(design: Design, rng: np.random.Generator) -> tuple[Sample, Sample]:
    """A row whose true value is TRUTH + effect, and a baseline whose true value is TRUTH."""
    weights = np.exp(rng.normal(0, design.length, design.n))
    hardness = design.sequence * standardised(rng, design.n)
    row, baseline = (
        truth
        + hardness
        + design.interaction * standardised(rng, design.n)
        + design.seed * rng.normal(size=(seeds, 1))
        + design.residual * rng.normal(size=(seeds, design.n))
        for seeds, truth in zip(design.seeds, (TRUTH + design.effect, TRUTH), strict=True)
    )
    return _sample(row, weights), _sample(baseline, weights)


def standardised(rng: np.random.Generator, n: int) -> Floats:
    """Beta values with mean 0 and standard deviation 1, as skewed as overlaps are."""
    a, b = _LEFT_SKEWED
    return (rng.beta(a, b, n) - a / (a + b)) / np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))


def _sample(values: Floats, weights: Floats) -> Sample:
    return values * weights, np.broadcast_to(weights, values.shape)
