"""Intervals against known truth, hand computation and scipy."""

import numpy as np
import pytest
from scipy import stats

from trackablate.reports.statistics.bootstrap import (
    RESAMPLES,
    Estimate,
    curve_band,
    estimate,
    multiplicities,
    paired_difference,
    ratio,
    ratio_estimate,
    stretch,
    stretched,
)


def test_value_is_the_weighted_mean_by_hand() -> None:
    found = ratio_estimate(np.array([3.0, 10.0, 2.0]), np.array([10.0, 20.0, 4.0]))
    assert found.value == pytest.approx(15 / 34)
    assert found.n == 3


def test_resamples_draw_n_of_n_and_are_fixed() -> None:
    drawn = multiplicities(7, 100)
    assert drawn.shape == (100, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert len({tuple(row) for row in drawn}) > 50
    assert np.array_equal(drawn, multiplicities.__wrapped__(7, 100))


def test_same_input_same_interval() -> None:
    rng = np.random.default_rng(0)
    shares = rng.beta(2, 1, 30)
    assert ratio_estimate(shares, np.ones(30)) == ratio_estimate(shares, np.ones(30))


@pytest.mark.parametrize("shape", ["symmetric", "skewed"])
def test_agrees_with_scipy_bca(shape: str) -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(20, 200, 60).astype(float)
    shares = rng.beta(2, 2, 60) if shape == "symmetric" else rng.beta(5, 0.6, 60)
    numerators = shares * weights
    ours = estimate(ratio(numerators, weights), 60, resamples=20_000)
    theirs = stats.bootstrap(
        (numerators, weights),
        lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(9),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_bca_moves_with_the_skew() -> None:
    """The plain percentile interval of a skewed sample is not the one we give."""
    numerators = np.random.default_rng(5).beta(6, 0.5, 40)
    found = estimate(ratio(numerators, np.ones(40)), 40)
    low, high = np.quantile(multiplicities(40, RESAMPLES) @ numerators / 40, [0.025, 0.975])
    assert found.low is not None
    assert found.high is not None
    assert found.low < low
    assert found.high < high


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 80])
def test_95_percent_intervals_cover_93_to_97_percent(n: int) -> None:
    """Beta(2, 1) has mean 2/3; 2000 experiments: 95 % coverage has a standard error of half a point."""
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(2000):
        found = ratio_estimate(rng.beta(2, 1, n), np.ones(n), resamples=1000)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 2 / 3 <= found.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_the_stretch_by_hand() -> None:
    """t(0.975, 19) = 2.0930, t(0.975, 4) = 2.7764 and t(0.9, 4) = 1.5332 from printed tables; normal: 1.9600, 1.2816."""
    assert stretch(20) == pytest.approx((20 / 19) ** 0.5 * 2.0930 / 1.9600, abs=1e-4)
    assert stretch(5) == pytest.approx(1.25**0.5 * 2.7764 / 1.9600, abs=1e-4)
    assert stretch(5, 0.8) == pytest.approx(1.25**0.5 * 1.5332 / 1.2816, abs=1e-4)
    assert stretch(100_000) == pytest.approx(1, abs=1e-4)


def test_both_bounds_are_stretched_about_the_value() -> None:
    found, factor = stretched(Estimate(0.6, 0.5, 0.62, 20)), stretch(20)
    assert (found.value, found.n) == (0.6, 20)
    assert (found.low, found.high) == pytest.approx((0.6 - 0.1 * factor, 0.6 + 0.02 * factor))
    assert stretched(Estimate(0.6, None, None, 1)) == Estimate(0.6, None, None, 1)


def test_printed_intervals_are_the_stretched_bca_intervals() -> None:
    rng = np.random.default_rng(4)
    (a, v), (b, w) = ((rng.uniform(0, 5, 9), rng.uniform(5, 9, 9)) for _ in range(2))
    assert ratio_estimate(a, v) == stretched(estimate(ratio(a, v), 9))
    difference = estimate(lambda drawn: ratio(a, v)(drawn) - ratio(b, w)(drawn), 9)
    assert paired_difference((a, v), (b, w)) == stretched(difference)


def test_pairing_cancels_the_difficulty_of_the_sequences() -> None:
    rng = np.random.default_rng(2)
    difficulty = rng.uniform(0, 0.8, 48)
    one, other = difficulty + 0.05 + rng.normal(0, 0.02, 48), difficulty + rng.normal(0, 0.02, 48)
    ones = np.ones(48)
    found = paired_difference((one, ones), (other, ones))
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 0.05 < found.high < 0.08
    alone = ratio_estimate(one, ones)
    assert alone.high is not None
    assert alone.low is not None
    assert found.high - found.low < (alone.high - alone.low) / 5


def test_difference_of_a_row_to_itself_is_exactly_zero() -> None:
    shares = np.random.default_rng(0).uniform(size=12)
    found = paired_difference((shares, np.ones(12)), (shares, np.ones(12)))
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_different_lengths_do_not_pair() -> None:
    with pytest.raises(ValueError, match="same sequences: 3 against 4"):
        paired_difference((np.ones(3), np.ones(3)), (np.ones(4), np.ones(4)))


@pytest.mark.parametrize("n", [0, 1])
def test_no_interval_from_fewer_than_two_sequences(n: int) -> None:
    found = ratio_estimate(np.full(n, 0.5), np.ones(n))
    assert (found.low, found.high, found.n) == (None, None, n)


def test_a_missing_value_poisons_the_mean() -> None:
    found = ratio_estimate(np.array([0.5, np.nan, 0.5]), np.ones(3))
    assert np.isnan(found.value)
    assert found.low is None


def test_sequences_without_frames_weigh_nothing() -> None:
    found = ratio_estimate(np.array([5.0, 0.0, 7.0]), np.array([10.0, 0.0, 10.0]))
    assert found.value == pytest.approx(0.6)
    assert np.isnan(ratio(np.zeros(2), np.zeros(2))(np.ones((1, 2)))[0])


def test_any_statistic_can_be_resampled() -> None:
    shares = np.arange(20.0)
    found = estimate(lambda drawn: 2 * ratio(shares, np.ones(20))(drawn), 20)
    half = estimate(ratio(shares, np.ones(20)), 20)
    assert half.low is not None
    assert found.low == pytest.approx(2 * half.low)


def test_curve_band_encloses_the_curve_pointwise() -> None:
    rng = np.random.default_rng(0)
    curves = np.sort(rng.uniform(size=(40, 21)), axis=1)[:, ::-1]
    whole, low, high = curve_band(curves, np.ones(40))
    assert whole == pytest.approx(curves.mean(axis=0))
    assert (low < whole).all()
    assert (whole < high).all()
