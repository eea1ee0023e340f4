"""What would resolve a difference: against statsmodels, and by running the study that was recommended."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from simulated_rows import Design, pair
from trackablate.reports.statistics.sample_size import MOST_SEQUENCES, Needed, needed, needed_for
from trackablate.reports.statistics.significance import paired_p
from trackablate.reports.statistics.variance import Noise, noise, row_difference

STUDIES = 800
"""A power of 80 % then has a standard error of 1.4 points."""


def true_noise(design: Design) -> Noise:
    """Of a design with sequences of equal length."""
    shared = 2 * design.interaction**2 + sum(design.residual**2 / seeds for seeds in design.seeds)
    return Noise(design.n, design.seeds, shared, (design.seed**2,) * 2, (design.residual**2,) * 2)


def power(design: Design) -> float:
    rng = np.random.default_rng(12)
    found = [row_difference(*pair(design, rng)).p for _ in range(STUDIES)]
    return float(np.mean([p is not None and p < 0.05 for p in found]))


def test_one_seed_agrees_with_statsmodels() -> None:
    """TTestPower().solve_power(0.3, power=0.8, alpha=0.05) of statsmodels 0.15.0 is 89.15."""
    assert needed_for(0.3, Noise(40, (1, 1), 1.0, (0.0, 0.0), (0.0, 0.0))) == Needed(sequences=90, seeds=None)


def test_power_agrees_with_statsmodels() -> None:
    """TTestPower().power(0.3, 40, 0.05), two-sided, is 0.45652 with the wrong side's 3e-6."""
    assert Noise(40, (1, 1), 1.0, (0.0, 0.0), (0.0, 0.0)).power(0.3, 0.05) == pytest.approx(0.45652, abs=1e-4)


@pytest.mark.parametrize("freedom", [1, 4])
@pytest.mark.parametrize("away", [0.5, 3.0, 12.0])
def test_power_agrees_with_scipys_noncentral_t(freedom: int, away: float) -> None:
    seen = Noise(freedom + 1, (1, 1), freedom + 1.0, (0.0, 0.0), (0.0, 0.0))
    expected = stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, away)
    assert seen.power(away, 0.05) == pytest.approx(expected, abs=3e-3)


def test_that_many_sequences_find_the_difference_four_times_in_five() -> None:
    design = Design(seeds=(3, 3), n=40, seed=0.005, length=0, effect=0.03)
    found = needed_for(design.effect, true_noise(design))
    assert found.sequences is not None
    assert found.sequences > 100
    assert power(replace(design, n=found.sequences)) == pytest.approx(0.8, abs=0.04)


def test_that_many_seeds_find_the_difference_four_times_in_five() -> None:
    design = Design(seeds=(2, 2), n=80, seed=0.01, interaction=0.02, residual=0.06, length=0, effect=0.015)
    found = needed_for(design.effect, true_noise(design))
    assert found.seeds is not None
    assert power(replace(design, seeds=(found.seeds, found.seeds))) == pytest.approx(0.8, abs=0.04)


@pytest.mark.slow
def test_that_many_sequences_of_one_seed_find_the_difference_four_times_in_five() -> None:
    design = Design(seeds=(1, 1), n=30, seed=0, length=0, effect=0.05)
    found = needed_for(design.effect, true_noise(design))
    assert found.sequences is not None
    rng = np.random.default_rng(1)
    p = []
    for _ in range(500):
        (one, weights), (other, _) = pair(replace(design, n=found.sequences), rng)
        p.append(paired_p((one[0], weights[0]), (other[0], weights[0])))
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.8, abs=0.05)


def test_estimates_are_right_in_the_middle() -> None:
    design = Design(seeds=(5, 5), n=80, length=0, effect=0.03)
    planned = needed_for(design.effect, true_noise(design)).sequences
    assert planned is not None
    found = [needed_for(design.effect, n).sequences for n in _noises(design, np.random.default_rng(2))]
    assert np.median([MOST_SEQUENCES if n is None else n for n in found]) == pytest.approx(planned, rel=0.25)


def _noises(design: Design, rng: np.random.Generator) -> list[Noise]:
    found = [noise(*pair(design, rng)) for _ in range(100)]
    return [n for n in found if n is not None]


def test_out_of_reach_is_said() -> None:
    seeds_matter = Noise(80, (2, 2), 0.01, (0.01, 0.01), (0.0, 0.0))
    assert needed_for(0.05, seeds_matter).sequences is None
    sequences_matter = Noise(80, (3, 3), 0.02, (1e-6, 1e-6), (1e-4, 1e-4))
    assert needed_for(0.01, sequences_matter).seeds is None
    assert needed_for(0.0, sequences_matter) == Needed(None, None)


def test_more_is_asked_for_than_there_is_and_more_among_many_comparisons() -> None:
    seen = true_noise(Design(seeds=(3, 3), seed=0.003))
    alone, among = needed_for(0.03, seen), needed_for(0.03, seen, level=0.005)
    assert alone.sequences is not None and among.sequences is not None
    assert among.sequences > alone.sequences > seen.sequences
    huge = 10.0
    assert needed_for(huge, seen) == Needed(sequences=81, seeds=4)
    assert needed_for(huge, Noise(4, (1, 1), 1.0, (0.0, 0.0), (0.0, 0.0))).sequences == 6, "2 / 2**6 is below 0.05"


def test_rows_give_what_their_difference_and_their_noise_give() -> None:
    row, baseline = pair(Design(seed=0, effect=0.03), np.random.default_rng(0))
    seen = noise(row, baseline)
    assert seen is not None
    assert needed(row, baseline) == needed_for(row_difference(row, baseline).value, seen) != Needed(None, None)


def test_a_number_is_found_though_power_falls_again_beyond_it() -> None:
    """With endless sequences three seeds leave two degrees of freedom; before that the sequences lend theirs."""
    seen = Noise(80, (3, 3), 0.0233, (6.2e-5, 0.0), (0.002, 0.0025))
    found = needed_for(0.0235, seen).sequences
    assert found is not None
    assert seen.at(found - 1).power(0.0235, 0.05) < 0.8 <= seen.at(found).power(0.0235, 0.05)
    assert seen.at(1_000_000).power(0.0235, 0.05) < 0.8


def test_nothing_is_said_without_noise_to_go_by() -> None:
    assert needed((np.ones((2, 1)), np.ones((2, 1))), (np.zeros((2, 1)), np.ones((2, 1)))) == Needed(None, None)
