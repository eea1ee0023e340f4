"""How much more data would resolve a difference.

The difference and its sources of noise are taken as estimated. Sequences or seeds are added until a study of that size
would find a difference of that size in four of five cases. The result is as uncertain as the difference: a difference that
is barely resolved may be smaller in truth, and then needs more data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log2

from trackablate.reports.statistics.bootstrap import Sample
from trackablate.reports.statistics.significance import SIGNIFICANT
from trackablate.reports.statistics.variance import Noise, noise, row_difference

POWER = 0.8
MOST_SEQUENCES = 10_000
MOST_SEEDS = 100
"""Larger numbers of sequences or seeds are reported as out of reach."""


@dataclass(frozen=True)
class Needed:
    """The numbers that would resolve a difference; None if that number is out of reach.

    Attributes:
        sequences: number of sequences, with the present seeds.
        seeds: seeds per row, for both rows, with the present sequences; also None if no row has a second seed.
    """

    sequences: int | None
    seeds: int | None


def needed(row: Sample, baseline: Sample, level: float = SIGNIFICANT) -> Needed:
    """Return the numbers that would resolve a difference; both are None without a difference or an estimate of its noise.

    Rows are given as to `row_difference`. The level is two-sided: `Verdict.level` for one comparison of a table.
    """
    effect, seen = row_difference(row, baseline).value, noise(row, baseline)
    return Needed(None, None) if seen is None else needed_for(effect, seen, level)


def needed_for(effect: float, seen: Noise, level: float = SIGNIFICANT) -> Needed:
    """Return the same for a known effect and known sources of noise. The numbers are above the present ones."""
    if not effect:
        return Needed(None, None)
    sequences = _smallest(
        lambda n: seen.at(n).power(effect, level) >= POWER, _fewest_sequences(seen, level), MOST_SEQUENCES
    )
    if max(seen.seeds) == 1:
        return Needed(sequences, None)
    seeds = _smallest(
        lambda s: seen.at(seen.sequences, s).power(effect, level) >= POWER, max(seen.seeds) + 1, MOST_SEEDS
    )
    return Needed(sequences, seeds)


def _fewest_sequences(seen: Noise, level: float) -> int:
    """Return one more than now; with one seed, enough for the sign-flip test, whose least p value is 2 / 2**n."""
    able = floor(log2(2 / level)) + 1 if max(seen.seeds) == 1 else 0
    return max(seen.sequences + 1, able)


def _smallest(reaches: Callable[[int], bool], least: int, most: int) -> int | None:
    """Return the smallest number from `least` to `most` that reaches, or None.

    The search walks in steps of a tenth and then halves. Halving from `most` would be wrong because power can fall again:
    with very many sequences only the seeds' part remains, which has few degrees of freedom.
    """
    below, at = least - 1, least
    while not reaches(at):
        if at == most:
            return None
        below, at = at, min(at + max(1, at // 10), most)
    while at - below > 1:
        middle = (below + at) // 2
        below, at = (below, middle) if reaches(middle) else (middle, at)
    return at
