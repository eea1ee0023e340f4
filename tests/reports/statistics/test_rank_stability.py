"""Ranks under resampling: against the normal approximation, with ties, and with seeds that change the order."""

import numpy as np
import pytest
from scipy import stats

from simulated_rows import Design, pair
from trackablate.reports.statistics.bootstrap import Sample
from trackablate.reports.statistics.rank_stability import rank_stability
from trackablate.reports.statistics.variance import noise, row_difference


def of(values: np.ndarray) -> Sample:
    return values, np.ones_like(values)


def test_two_rows_change_places_as_often_as_their_difference_changes_sign() -> None:
    row, baseline = pair(Design(seeds=(3, 3), effect=0.02), np.random.default_rng(1))
    found, seen = row_difference(row, baseline), noise(row, baseline)
    assert seen is not None
    stable = rank_stability([row, baseline], resamples=20_000)
    expected = stats.norm.cdf(found.value / seen.variance**0.5)
    assert stable.ranks[0, 0] == pytest.approx(expected, abs=0.03)
    assert stable.ranks[1] == pytest.approx(stable.ranks[0, ::-1])
    assert stable.best == max(stable.ranks[:, 0])


def test_every_row_has_some_rank_and_every_rank_some_row() -> None:
    rng = np.random.default_rng(0)
    rows = [of(rng.uniform(size=(seeds, 30))) for seeds in (1, 2, 3, 3)]
    ranks = rank_stability(rows, resamples=500).ranks
    assert ranks.sum(axis=0) == pytest.approx(np.ones(4))
    assert ranks.sum(axis=1) == pytest.approx(np.ones(4))


def test_clear_order_is_certain_either_way_round() -> None:
    shares = np.random.default_rng(0).uniform(0, 0.1, 20)
    rows = [of(shares + offset) for offset in (0.5, 0.9, 0.1)]
    up, down = rank_stability(rows, resamples=200), rank_stability(rows, lower_is_better=True, resamples=200)
    assert up.ranks.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert down.ranks.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert up.best == down.best == 1


def test_rows_that_tie_share_their_ranks() -> None:
    shares = np.random.default_rng(0).uniform(0, 0.1, 20)
    found = rank_stability([of(shares + 0.5), of(shares), of(shares + 0.5)], resamples=200)
    assert found.ranks.tolist() == [[0.5, 0.5, 0], [0, 0, 1], [0.5, 0.5, 0]]
    assert found.best == 1, "one of those that tie for the lead leads"


def test_seeds_that_vary_unsettle_an_order_that_sequences_do_not() -> None:
    level = np.random.default_rng(0).uniform(size=40)
    one, other = level + np.array([[0.00], [0.06]]), level + np.array([[0.02], [0.01]])
    settled = rank_stability([of(one.mean(axis=0)), of(other.mean(axis=0))], resamples=2000)
    assert settled.best == 1
    assert 0.6 < rank_stability([of(one), of(other)], resamples=2000).best < 0.95


def test_resampled_seeds_vary_by_their_variance_component() -> None:
    """Without noise between sequences, the spread of a row is that of its seeds: V / S, not (S - 1) / S of it."""
    from trackablate.reports.statistics.rank_stability import _seed_draws

    means = np.array([[0.0], [0.01], [0.05]])
    drawn = _seed_draws(of(np.repeat(means, 10, axis=1)), 50_000, (1, 0))
    assert drawn.var() == pytest.approx(means.var(ddof=1) / 3, rel=0.02)


def test_same_rows_same_ranks() -> None:
    rows = [of(np.random.default_rng(k).uniform(size=(2, 15))) for k in range(3)]
    assert np.array_equal(rank_stability(rows).ranks, rank_stability(rows).ranks)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([of(np.ones((1, 3))), of(np.ones((1, 4)))], r"\[3, 4\]"),
        ([of(np.ones((1, 1)))], "two sequences or more"),
        ([of(np.array([[1.0, np.nan, 2.0]]))], "finite value"),
    ],
)
def test_rows_that_cannot_be_ranked_are_refused(rows: list[Sample], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_stability(rows)
