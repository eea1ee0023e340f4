"""p values of one seed and Holm's correction: by hand, against scipy and statsmodels, and by their rate of false alarms."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from simulated_rows import Design, pair
from trackablate.reports.statistics.bootstrap import Estimate, Sample, inverted, paired_difference, ratio
from trackablate.reports.statistics.significance import Verdict, exchanges, holm, paired_p, sign_flip, verdicts
from trackablate.reports.statistics.variance import row_difference


def one_seed(design: Design, rng: np.random.Generator) -> tuple[Sample, Sample]:
    (numerators, weights), (others, _) = pair(design, rng)
    return (numerators[0], weights[0]), (others[0], weights[0])


def test_holm_by_hand() -> None:
    """Sorted: 0.005 × 4, 0.01 × 3, 0.03 × 2, 0.04 × 1; the last may not undercut the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_holm_agrees_with_statsmodels() -> None:
    """multipletests(..., method="holm") of statsmodels 0.15.0."""
    given = [0.0121, 0.2142, 0.0003, 0.0462, 0.0121, 0.0099, 0.7313]
    assert holm(given) == pytest.approx([0.0605, 0.4284, 0.0021, 0.1386, 0.0605, 0.0594, 0.7313])


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_probability(wrong: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, wrong])


def test_holm_keeps_the_chance_of_any_false_alarm() -> None:
    rng = np.random.default_rng(0)
    alarms = [min(holm(list(rng.uniform(size=8)))) < 0.05 for _ in range(2000)]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.015)


def test_verdicts_leave_out_what_has_no_p_value() -> None:
    def of(p: float | None) -> Estimate:
        return Estimate(0.1, 0.0, 0.2, 80, p=p)

    found = verdicts([of(0.02), None, of(None), of(0.03), of(0.001)])
    assert found[1] is None
    assert found[2] is None
    kept = [verdict for verdict in found if verdict is not None]
    assert [verdict.adjusted for verdict in kept] == pytest.approx([0.04, 0.04, 0.003])
    assert all(verdict.resolved for verdict in kept)
    assert not Verdict(0.03, 0.06).resolved
    assert Verdict(0.03, 0.06).level == pytest.approx(0.025)
    assert Verdict(0.0, 0.0).level == pytest.approx(0.05)


def test_sign_flips_by_hand() -> None:
    """Differences 3, 1, 2: of the eight sums ±3 ±1 ±2, two are as far from 0 as 6 is; of 3, −1, 2, four are as far as 4."""
    ones = np.ones(3)
    assert sign_flip((np.array([3.0, 1, 2]), ones), (np.zeros(3), ones)) == pytest.approx(2 / 8)
    assert sign_flip((np.array([3.0, -1, 2]), ones), (np.zeros(3), ones)) == pytest.approx(4 / 8)


def test_sign_flips_agree_with_scipys_permutation_test() -> None:
    rng = np.random.default_rng(8)
    one, other = rng.normal(0.4, 1, 10), rng.normal(size=10)
    theirs = stats.permutation_test(
        (one, other), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), permutation_type="samples"
    )
    assert sign_flip((one, np.ones(10)), (other, np.ones(10))) == pytest.approx(theirs.pvalue)


def test_exchanged_weights_move_with_their_numerators() -> None:
    rng = np.random.default_rng(2)
    one, other = (rng.uniform(0, 5, 4), rng.uniform(1, 9, 4)), (rng.uniform(0, 5, 4), rng.uniform(1, 9, 4))

    def difference(flips: tuple[int, ...]) -> float:
        a, a_weight = (np.where(flips, y, x).sum() for x, y in zip(one, other, strict=True))
        b, b_weight = (np.where(flips, x, y).sum() for x, y in zip(one, other, strict=True))
        return float(a / a_weight - b / b_weight)

    all_of_them = [abs(difference(flips)) for flips in product((0, 1), repeat=4)]
    expected = np.mean([value >= all_of_them[0] - 1e-12 for value in all_of_them])
    assert sign_flip(one, other) == pytest.approx(expected)


def test_all_exchanges_are_tried_where_they_are_few_and_the_observed_one_is_among_the_drawn() -> None:
    assert len({tuple(row) for row in exchanges(5)}) == 32
    drawn = exchanges(30)
    assert drawn.shape == (10_000, 30)
    assert not drawn[0].any()
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
def test_false_alarms_of_one_seed_are_about_one_in_twenty() -> None:
    rng = np.random.default_rng(3)
    found = np.array([paired_p(*one_seed(Design(seeds=(1, 1), seed=0), rng)) for _ in range(800)])
    assert 0.03 <= (found < 0.05).mean() <= 0.07


@pytest.mark.parametrize("n", [6, 12, 40])
def test_no_false_alarm_from_an_interval_that_holds_zero(n: int) -> None:
    rng, held = np.random.default_rng(4), 0
    for _ in range(100):
        found = row_difference(*one_seed(Design(seeds=(1, 1), n=n, effect=0.28 / n**0.5), rng))
        assert found.p is not None and found.low is not None and found.high is not None
        if found.low <= 0 <= found.high:
            held += 1
            assert found.p >= 0.05
    assert 10 <= held <= 90


@pytest.mark.parametrize(("n", "effect"), [(10, 0.11), (80, 0.04)])
def test_the_inverted_interval_agrees_with_the_interval(n: int, effect: float) -> None:
    rng = np.random.default_rng(6)
    agree = 0
    for _ in range(200):
        one, other = one_seed(Design(seeds=(1, 1), n=n, effect=effect), rng)
        a, b = ratio(*one), ratio(*other)
        p = inverted(lambda drawn, a=a, b=b: a(drawn) - b(drawn), n)
        found = paired_difference(one, other)
        assert p is not None and found.low is not None and found.high is not None
        agree += (p < 0.05) == (not found.low <= 0 <= found.high)
    assert agree >= 198


def test_the_inverted_interval_of_symmetric_values_is_the_t_test() -> None:
    """Far beyond 0.05 too: the stretch is that of the level asked for. Half a per cent is 20 resamples of 4000."""
    values = stats.norm.ppf((np.arange(24) + 0.5) / 24)
    for shift in (0.2, 0.4, 0.6):
        p = inverted(ratio(values + shift, np.ones(24)), 24, resamples=40_000)
        assert p == pytest.approx(stats.ttest_1samp(values + shift, 0).pvalue, rel=0.15)


def test_a_row_against_itself_is_not_told_apart_and_an_undefined_one_has_no_p() -> None:
    shares, ones = np.random.default_rng(0).uniform(size=12), np.ones(12)
    assert paired_p((shares, ones), (shares, ones)) == 1
    assert paired_p((np.full(12, np.nan), ones), (shares, ones)) is None
    assert paired_p((shares, np.zeros(12)), (shares, ones)) is None


def test_a_clear_difference_is_as_small_as_the_exchanges_allow() -> None:
    shares, ones = np.random.default_rng(0).uniform(size=40), np.ones(40)
    assert paired_p((shares + 0.5, ones), (shares, ones)) == pytest.approx(1 / 10_000, abs=2e-4)
