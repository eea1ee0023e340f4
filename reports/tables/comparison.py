"""Two trackers on one protocol: their difference with its interval, a rank test, and where they differ most.

The difference is resampled jointly over sequences (`reports.statistics.bootstrap.paired_difference`). Wilcoxon's
signed-rank test
compares the sequences' own values, each with the same weight; where a dialect pools frames (GOT-10k) that is another
question than the difference of the pooled scores, in which a long sequence weighs more, and the two may disagree.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from trackablate.datasets.registry import unknown
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.metrics import METRICS, Dialect, values
from trackablate.harness.scoring.raw_scoring import Scored, TrackerScores
from trackablate.reports.statistics.bootstrap import Estimate, Floats, paired_difference, ratio_estimate, signed_rank
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import FEW, FEW_SEQUENCES, cell_of
from trackablate.reports.tables.footnotes import Notes
from trackablate.reports.tables.score_table import caveat, coverage, headline, metrics_of, missing

LARGEST = 10
EXACT = 12
"""Decimals (of shares) beyond which two sequences are equal: less is the rounding of sums."""
UNRESOLVED = "Not resolved: the 95 % interval of the difference contains 0."
PAIRED = (
    "95 % interval, BCa bootstrap over sequences, stretched for small samples: the same sequences are drawn for both; not"
    " corrected for several metrics."
)
RANK_TEST = (
    "Wilcoxon signed-rank test, two-sided, over the sequences' own values, each with the same weight; sequences without a"
    " difference are ranked and then left out (Pratt). Not corrected for several metrics."
)
POOLED = (
    "This dialect pools frames: the scores and their difference weigh sequences by their frames, the rank test and the"
    " counts of sequences do not."
)


@dataclass(frozen=True)
class SequencePair:
    """Both trackers' values of one sequence, as shares."""

    name: str
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Tracker a against tracker b by one metric. of_a, of_b, difference (a minus b): shares with intervals; p: of the rank
    test, None without sequences; wins: sequences where a is better; sequences: those that count for both, by decreasing
    distance.
    """

    a: str
    b: str
    metric: str
    dialect: str
    of_a: Estimate
    of_b: Estimate
    difference: Estimate
    p: float | None
    wins: int
    losses: int
    ties: int
    sequences: tuple[SequencePair, ...]


def tracker_named(scored: Scored, name: str) -> TrackerScores:
    """The tracker. Raises BadInput for none of that name."""
    for tracker in scored.trackers:
        if tracker.name == name:
            return tracker
    raise BadInput(unknown("scored tracker", name, [tracker.name for tracker in scored.trackers]))


def compare(scored: Scored, a: str, b: str, metric: str, dialect: Dialect) -> Comparison:
    """Compare two trackers. Raises BadInput for an unknown name, one tracker twice, different sets of sequences, or
    incomplete trackers unless those are allowed.
    """
    one, other = tracker_named(scored, a), tracker_named(scored, b)
    names = _same_sequences(scored, one, other)
    of_a = values(scored.tallies(one), metric, dialect)
    of_b = values(scored.tallies(other), metric, dialect)
    shares_a, shares_b = _shares(*of_a), _shares(*of_b)
    defined = np.isfinite(shares_a) & np.isfinite(shares_b)
    differences = (shares_a - shares_b)[defined].round(EXACT)
    better = -differences if METRICS[metric].lower_is_better else differences
    pairs = [SequencePair(n, float(x), float(y)) for n, x, y in zip(names, shares_a, shares_b, strict=True)]
    pairs = [pair for pair, both in zip(pairs, defined, strict=True) if both]
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        dialect=dialect.name,
        of_a=ratio_estimate(*of_a),
        of_b=ratio_estimate(*of_b),
        difference=paired_difference(of_a, of_b),
        p=signed_rank(differences),
        wins=int((better > 0).sum()),
        losses=int((better < 0).sum()),
        ties=int((better == 0).sum()),
        sequences=tuple(sorted(pairs, key=lambda pair: (-round(abs(pair.a - pair.b), EXACT), pair.name))),
    )


def _same_sequences(scored: Scored, one: TrackerScores, other: TrackerScores) -> list[str]:
    if one.name == other.name:
        raise BadInput(f"{one.name} cannot be compared with itself: name two trackers")
    apart = sorted(one.tallies.keys() ^ other.tallies.keys())
    if apart:
        more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
        raise BadInput(
            f"{one.name} and {other.name} have whole results of different sequences: only one of them has"
            f" {', '.join(apart[:3])}{more}; complete the results, or compare two trackers of the same sequences"
        )
    if not one.tallies or not (scored.allow_incomplete or scored.complete(one)):
        raise BadInput(
            f"{one.name} and {other.name} are incomplete, {len(one.tallies)} of {len(scored.sequences)} sequences:"
            " complete the results, or compare what is there with --allow-incomplete"
        )
    return [s.name for s in scored.sequences if s.name in one.tallies]


def _shares(numerators: Floats, weights: Floats) -> Floats:
    return np.divide(numerators, weights, out=np.full_like(numerators, math.nan), where=weights > 0)


def comparisons(scored: Scored, a: str, b: str) -> list[Comparison]:
    """By every metric of the main dialect, the headline first."""
    dialect = scored.dialects[0]
    return [compare(scored, a, b, metric.key, dialect) for metric in metrics_of(dialect)]


def comparison_table(scored: Scored, found: list[Comparison]) -> Table:
    """One row per metric: both scores, their difference, the rank test, and how many sequences either wins."""
    notes, first, dialect = Notes(), found[0], scored.dialects[0]
    pooled = (notes.add(POOLED),) if dialect.pooling == "frames" else ()
    group, sequences = f"{first.a} against {first.b}", "sequences"
    columns = (
        Column("a", first.a, "%", 1, group=group),
        Column("b", first.b, "%", 1, group=group),
        Column(
            "difference",
            "Difference",
            "points",
            1,
            "higher",
            group,
            signed=True,
            footnotes=(notes.add(PAIRED), *pooled),
        ),
        Column("p", "p", "Wilcoxon", 4, group=group, footnotes=(notes.add(RANK_TEST),)),
        Column("wins", f"{first.a} better", "", 0, group=sequences),
        Column("losses", f"{first.b} better", "", 0, group=sequences),
        Column("ties", "equal", "", 0, group=sequences),
    )
    return Table(
        title=f"{scored.title}: {first.a} against {first.b}",
        question=f"{first.a} minus {first.b}, on the same sequences. {coverage(scored)}; dialect {dialect.name}",
        caveat=caveat(scored),
        columns=columns,
        rows=tuple(TableRow(METRICS[c.metric].symbol, "variant", _cells(c, notes)) for c in found),
        footnotes=notes.texts,
        missing=missing(scored),
        corner="Metric",
        subject="tracker",
    )


def _cells(found: Comparison, notes: Notes) -> dict[str, Cell]:
    scale = METRICS[found.metric].scale
    shown = cell_of(found.difference, scale)
    few = (notes.add(FEW),) if found.difference.n < FEW_SEQUENCES else ()
    difference = replace(shown, delta=shown.value, delta_low=shown.low, delta_high=shown.high)
    unresolved = (notes.add(UNRESOLVED),) if difference.resolved is False else ()
    cells = {
        "a": cell_of(found.of_a, scale, bounded=True),
        "b": cell_of(found.of_b, scale, bounded=True),
        "difference": replace(difference, footnotes=(*few, *unresolved)),
        "p": Cell(found.p) if found.p is None or found.p >= 1e-4 else Cell(text="< 0.0001"),
    }
    return cells | {key: Cell(float(getattr(found, key))) for key in ("wins", "losses", "ties")}


def largest_table(scored: Scored, found: Comparison) -> Table:
    """The sequences on which the two differ most, by the headline metric."""
    metric = METRICS[found.metric]
    frames = {s.name: s.frames for s in scored.sequences}
    rows = [
        TableRow(
            pair.name,
            "variant",
            {
                "frames": Cell(float(frames[pair.name])),
                "a": Cell(metric.scale * pair.a),
                "b": Cell(metric.scale * pair.b),
                "difference": Cell(metric.scale * (pair.a - pair.b)),
            },
        )
        for pair in found.sequences[:LARGEST]
    ]
    group = f"{metric.symbol}, dialect {found.dialect}"
    return Table(
        title=f"{scored.title}: where {found.a} and {found.b} differ most",
        question=f"The {len(rows)} sequences with the largest differences in {headline(scored.dialects[0]).symbol}.",
        caveat=caveat(scored),
        columns=(
            Column("frames", "Frames", "", 0, group="sequence"),
            Column("a", found.a, metric.unit, metric.decimals, group=group),
            Column("b", found.b, metric.unit, metric.decimals, group=group),
            Column("difference", "Difference", "points", metric.decimals, group=group, signed=True),
        ),
        rows=tuple(rows),
        missing=missing(scored),
        corner="Sequence",
        subject="tracker",
    )
