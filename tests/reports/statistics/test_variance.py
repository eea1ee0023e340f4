"""Intervals of rows of several seeds: against hand computation, scipy's t tests, and known truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from simulated_rows import TRUTH, Design, pair
from trackablate.reports.statistics.bootstrap import Estimate, paired_difference, ratio_estimate
from trackablate.reports.statistics.variance import noise, pseudo_values, row_difference, row_estimate

REPLICATES = 2000
"""A coverage of 95 % then has a standard error of half a point."""


def covers(found: Estimate, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


@pytest.mark.slow
@pytest.mark.parametrize(
    "design",
    [
        Design(seeds=(3, 3), seed=0.01),
        Design(seeds=(5, 5), seed=0.005),
        Design(seeds=(2, 3), seed=0.01, residual=0.1),
    ],
    ids=["3 seeds", "5 seeds", "2 and 3 seeds"],
)
def test_95_percent_intervals_cover_93_to_97_percent_and_p_keeps_its_level(design: Design) -> None:
    rng, row, difference, alarms = np.random.default_rng(7), 0, 0, 0
    for _ in range(REPLICATES):
        one, other = pair(design, rng)
        row += covers(row_estimate(*one), TRUTH)
        found = row_difference(one, other)
        difference += covers(found, 0)
        assert found.p is not None
        alarms += found.p < 0.05
    assert 0.93 <= row / REPLICATES <= 0.97
    assert 0.93 <= difference / REPLICATES <= 0.97
    assert difference + alarms == REPLICATES, "interval and p are two readings of one statistic"


@pytest.mark.slow
@pytest.mark.parametrize(
    "design", [Design(seeds=(1, 1), seed=0, n=20), Design(seeds=(1, 1), seed=0, n=80)], ids=["20", "80"]
)
def test_95_percent_intervals_of_one_seed_cover_93_to_97_percent(design: Design) -> None:
    rng, row, difference = np.random.default_rng(1), 0, 0
    for _ in range(REPLICATES):
        (numerators, weights), (others, _) = pair(design, rng)
        row += covers(ratio_estimate(numerators[0], weights[0], resamples=1000), TRUTH)
        against = (others[0], weights[0])
        difference += covers(paired_difference((numerators[0], weights[0]), against, resamples=1000), 0)
    assert 0.93 <= row / REPLICATES <= 0.97
    assert 0.93 <= difference / REPLICATES <= 0.97


@pytest.mark.slow
def test_intervals_over_sequences_alone_do_not_cover_seeds() -> None:
    """What this module is for: the same data with the seeds averaged away first."""
    rng, hits = np.random.default_rng(7), 0
    design = Design(seeds=(2, 2), interaction=0.03, residual=0.03)
    for _ in range(500):
        (one, weights), (other, _) = pair(design, rng)
        averaged = paired_difference((one.mean(axis=0), weights[0]), (other.mean(axis=0), weights[0]), resamples=500)
        hits += covers(averaged, 0)
    assert hits / 500 < 0.85


def test_one_seed_is_the_bootstrap_over_sequences_to_the_last_digit() -> None:
    (numerators, weights), (others, _) = pair(Design(seeds=(1, 1)), np.random.default_rng(0))
    one, other = (numerators[0], weights[0]), (others[0], weights[0])
    assert row_estimate(numerators, weights) == row_estimate(*one) == ratio_estimate(*one)
    assert replace(row_difference(one, other), p=None) == paired_difference(one, other)


def test_components_by_hand() -> None:
    """Seed means 3 and 6, sequence means 3, 4, 6.5; residuals ±(0.5, 0.5, −1), so their mean square is 3 / 2."""
    values = np.array([[1.0, 2.0, 6.0], [5.0, 6.0, 7.0]])
    found = noise((values, np.ones((2, 3))))
    assert found is not None
    assert (found.sequences, found.seeds) == (3, (2,))
    assert found.shared == pytest.approx(3.25)
    assert found.residual == pytest.approx((1.5,))
    assert found.seed == pytest.approx((4.5 - 1.5 / 3,))
    assert found.variance == pytest.approx(3.25 / 3 + 4 / 2)
    assert found.freedom == pytest.approx((3.25 / 3 + 2) ** 2 / ((3.25 / 3) ** 2 / 2 + 2**2 / 1))
    estimate = row_estimate(values, np.ones((2, 3)))
    half = stats.t.ppf(0.975, found.freedom) * found.variance**0.5
    assert (estimate.value, estimate.n, estimate.seeds) == (pytest.approx(4.5), 3, 2)
    assert (estimate.low, estimate.high) == (pytest.approx(4.5 - half), pytest.approx(4.5 + half))


def test_a_negative_component_counts_as_none() -> None:
    found = noise((np.array([[1.0, 5.0], [5.0, 1.0]]), np.ones((2, 2))))
    assert found is not None
    assert found.seed == (0,)


def test_seeds_that_agree_leave_scipys_paired_t_test() -> None:
    rng, ones = np.random.default_rng(3), np.ones((2, 30))
    one, other = rng.normal(0.1, 1, 30), rng.normal(0, 1, 30)
    found = row_difference((np.stack([one, one]), ones), (np.stack([other, other]), ones))
    theirs = stats.ttest_rel(one, other)
    bounds = theirs.confidence_interval()
    assert (found.low, found.high, found.p) == pytest.approx((bounds.low, bounds.high, theirs.pvalue))


def test_sequences_that_agree_leave_scipys_welch_test_of_the_seeds() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.normal(0.7, 0.02, 4), rng.normal(0.68, 0.01, 3)
    spread = [(np.repeat(means[:, None], 6, axis=1), np.ones((len(means), 6))) for means in (one, other)]
    found = row_difference(spread[0], spread[1])
    theirs = stats.ttest_ind(one, other, equal_var=False)
    bounds = theirs.confidence_interval()
    assert (found.low, found.high, found.p) == pytest.approx((bounds.low, bounds.high, theirs.pvalue))
    assert found.seeds == 3


def test_a_row_of_one_seed_borrows_the_seed_spread_of_the_other() -> None:
    means = np.array([0.70, 0.72, 0.71])
    others = (np.repeat(means[:, None], 6, axis=1), np.ones((3, 6)))
    found = noise((np.full((1, 6), 0.75), np.ones((1, 6))), others)
    assert found is not None
    assert found.variance == pytest.approx(means.var(ddof=1) * (1 + 1 / 3))
    assert found.freedom == pytest.approx(2)


@pytest.mark.slow
def test_a_mixed_pair_covers_too() -> None:
    rng, hits = np.random.default_rng(5), 0
    for _ in range(REPLICATES):
        hits += covers(row_difference(*pair(Design(seeds=(1, 3)), rng)), 0)
    assert 0.93 <= hits / REPLICATES <= 0.97


def test_pseudo_values_are_the_values_where_weights_are_equal_and_keep_the_ratio_where_not() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.uniform(size=(2, 9)), rng.uniform(1, 5, (2, 9))
    assert pseudo_values(values, np.ones((2, 9))) == pytest.approx(values)
    assert pseudo_values(values, weights).mean(axis=1) == pytest.approx(values.sum(axis=1) / weights.sum(axis=1))


def test_their_variance_is_the_jackknife_variance() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.uniform(size=(1, 9)), rng.uniform(1, 5, (1, 9))
    left_out = np.array([np.delete(values, i).sum() / np.delete(weights, i).sum() for i in range(9)])
    jackknife = 8 / 9 * ((left_out - left_out.mean()) ** 2).sum()
    assert pseudo_values(values, weights).var(ddof=1) / 9 == pytest.approx(jackknife)


def test_a_row_without_noise_has_an_exact_difference() -> None:
    half, most, ones = np.full((2, 5), 0.5), np.full((2, 5), 0.75), np.ones((2, 5))
    same, more = row_difference((half, ones), (half, ones)), row_difference((most, ones), (half, ones))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert (more.value, more.low, more.high, more.p) == (0.25, 0.25, 0.25, 0)


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_sequences_have_no_p_value_and_one_no_interval(seeds: int) -> None:
    rng = np.random.default_rng(0)
    one, other, ones = rng.uniform(size=(seeds, 3)), rng.uniform(size=(seeds, 3)), np.ones((seeds, 3))
    assert row_difference((one, ones), (other, ones)).p is None
    single = row_difference((one[:, :1], ones[:, :1]), (other[:, :1], ones[:, :1]))
    assert (single.low, single.high, single.p, single.n) == (None, None, None, 1)
    assert np.isnan(row_estimate(one[:, :0], ones[:, :0]).value)


def test_a_missing_value_poisons_the_row() -> None:
    values = np.array([[0.5, 0.6, 0.7], [0.5, np.nan, 0.7]])
    found = row_estimate(values, np.ones((2, 3)))
    assert np.isnan(found.value)
    assert found.low is None
    assert row_difference((values, np.ones((2, 3))), (np.ones((2, 3)), np.ones((2, 3)))).p is None


def test_rows_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="same sequences: 3 against 4"):
        row_difference((np.ones((2, 3)), np.ones((2, 3))), (np.ones((2, 4)), np.ones((2, 4))))
    with pytest.raises(ValueError, match=r"\(2, 3\), \(1, 3\)"):
        row_estimate(np.ones((2, 3)), np.ones((1, 3)))
