"""How much more data would tell a difference from chance.

The difference and its sources of noise are taken as they were estimated, and sequences or seeds are added until a study of
that size would find a difference of that size in four of five cases. The estimate is as uncertain as the difference is:
one that is barely seen may well be smaller in truth, and then needs more.
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
"""More than this of either nobody runs: reported as out of reach."""


@dataclass(frozen=True)
class Needed:
    """sequences: so many with the present seeds; seeds: so many per row, of both rows, with the present sequences. None
    where it cannot be reached that way, or is not known because no row has a second seed.
    """

    sequences: int | None
    seeds: int | None


def needed(row: Sample, baseline: Sample, level: float = SIGNIFICANT) -> Needed:
    """What would resolve a difference that is not resolved; samples as for `row_difference`.

    level: two-sided, 5 % for a comparison on its own; within a table `Verdict.level`. Both None where the rows have no
    difference or no noise can be estimated. Raises ValueError as `row_difference` does.
    """
    effect, seen = row_difference(row, baseline).value, noise(row, baseline)
    return Needed(None, None) if seen is None else needed_for(effect, seen, level)


def needed_for(effect: float, seen: Noise, level: float = SIGNIFICANT) -> Needed:
    """The same for a known effect and known sources of noise; always more than there are now."""
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
    """One more than now; with one seed, enough that the sign-flip test can go below the level: 2 / 2**n is its least."""
    able = floor(log2(2 / level)) + 1 if max(seen.seeds) == 1 else 0
    return max(seen.sequences + 1, able)


def _smallest(reaches: Callable[[int], bool], least: int, most: int) -> int | None:
    """The smallest number from least to most that reaches; None where none does.

    Walked in steps of a tenth, then halved: power can fall again, since with endless sequences what remains is the seeds'
    part, of few degrees of freedom, so halving from `most` would miss what lies between.
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
