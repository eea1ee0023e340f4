"""Two trackers on one protocol: their difference with its interval, a rank test, and where they differ most.

The difference is resampled jointly over sequences. Wilcoxon's signed-rank test compares the sequences' own values, each
with the same weight. If a dialect pools frames (GOT-10k), that is another question than the difference of the pooled
scores, in which a long sequence weighs more, and the two may disagree.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from trackablate.datasets.errors import counted
from trackablate.datasets.registry import unknown
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.metrics import METRICS, Dialect
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker
from trackablate.reports.results import Result, coverage, primary_metric, standing
from trackablate.reports.statistics.bootstrap import Estimate, paired_difference, signed_rank
from trackablate.reports.statistics.variance import row_difference, row_estimate
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import FEW, FOOTNOTED_BELOW
from trackablate.reports.tables.block import Footnotes, cell_of
from trackablate.reports.tables.pivot import protocol_table

LARGEST = 10
EXACT = 12
"""Decimals (of shares) beyond which two sequences are equal: less is the rounding of sums."""
MOST_PAIRS = 66
"""Pairs up to which all are compared: those of twelve trackers."""
UNRESOLVED = "Not resolved: the 95 % interval of the difference contains 0."
PAIRED = (
    "95 % interval over sequences, BCa bootstrap, stretched for small samples: the same sequences are drawn for both. With"
    " several seeds or repetitions it covers those too. Not corrected for the number of comparisons."
)
RANK_TEST = (
    "Wilcoxon signed-rank test, two-sided, over the sequences' own values, each with the same weight; sequences without a"
    " difference are ranked and then left out (Pratt). Not corrected for the number of comparisons."
)
POOLED = (
    "This dialect pools frames: the scores and their difference weigh sequences by their frames, the rank test and the"
    " counts of sequences do not."
)


@dataclass(frozen=True)
class SequencePair:
    """Both trackers' values of one sequence, in the printed unit."""

    name: str
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Tracker a against tracker b by one metric.

    Attributes:
        of_a, of_b, difference: Shares with intervals; the difference is a minus b.
        p: P value of the rank test, None without sequences.
        wins: Number of sequences on which a is better.
        sequences: Those that count for both, by decreasing distance.
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


def compare(result: Result, facts: ScoredProtocol, a: str, b: str, metric: str, dialect: Dialect) -> Comparison:
    """Compare two trackers.

    Raises:
        BadInput: A name is unknown, the two are the same, their sequences differ, or they are incomplete and that is
            not allowed.
    """
    one, other = _named(result, a), _named(result, b)
    _check(facts, one, other)
    scores = one.protocols[facts.name], other.protocols[facts.name]
    of_a, of_b = (of.samples(metric, dialect) for of in scores)
    single = len(of_a[0]) == len(of_b[0]) == 1
    first, second = ((numerators[0], weights[0]) for numerators, weights in (of_a, of_b))
    difference = paired_difference(first, second) if single else row_difference(of_a, of_b)
    known = [of.by_sequence(METRICS[metric], dialect) for of in scores]
    pairs = [SequencePair(n, known[0][n], known[1][n]) for n in scores[0].names if n in known[0] and n in known[1]]
    differences = np.array([_apart(pair, metric) for pair in pairs])
    better = METRICS[metric].sign * differences
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        dialect=dialect.name,
        of_a=row_estimate(*of_a),
        of_b=row_estimate(*of_b),
        difference=replace(difference, p=None),
        p=signed_rank(differences),
        wins=int((better > 0).sum()),
        losses=int((better < 0).sum()),
        ties=int((better == 0).sum()),
        sequences=tuple(sorted(pairs, key=lambda pair: (-abs(_apart(pair, metric)), pair.name))),
    )


def _apart(pair: SequencePair, metric: str) -> float:
    """Return a minus b as a share, without the rounding of sums."""
    return round((pair.a - pair.b) / METRICS[metric].scale, EXACT)


def _named(result: Result, name: str) -> ScoredTracker:
    for row in result.rows:
        if row.name == name:
            return row
    raise BadInput(unknown("scored tracker", name, [row.name for row in result.rows]))


def _check(facts: ScoredProtocol, one: ScoredTracker, other: ScoredTracker) -> None:
    if one.name == other.name:
        raise BadInput(f"{one.name} cannot be compared with itself: name two trackers")
    names, others = (row.protocols[facts.name].names for row in (one, other))
    if apart := sorted(set(names) ^ set(others)):
        more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
        raise BadInput(
            f"{one.name} and {other.name} have whole results of different sequences: only one of them has"
            f" {', '.join(apart[:3])}{more}; complete the results, or compare two trackers of the same sequences"
        )
    if not (one.usable(facts) and other.usable(facts)):
        raise BadInput(
            f"{one.name} and {other.name} are incomplete, {len(names)} of {len(facts.sequences)} sequences:"
            " complete the results, or compare what is there with --allow-incomplete"
        )


def comparisons(result: Result) -> list[Comparison]:
    """Compare the two trackers that the result names by every metric of its first protocol; none for none.

    Raises:
        BadInput: As `compare` does.
    """
    if result.compare is None:
        return []
    facts = result.protocols[0]
    return [compare(result, facts, *result.compare, metric, dialect) for metric, dialect in facts.dialects.items()]


def comparison_table(result: Result, found: list[Comparison]) -> Table:
    """Return one row per metric: both scores, their difference, the rank test, and how many sequences either wins."""
    first, facts = found[0], result.protocols[0]
    rows = [(METRICS[one.metric].symbol, one) for one in found]
    title, question = f"{first.a} against {first.b}", f"{first.a} minus {first.b}, on the same sequences."
    return _table(result, facts, rows, title, question, (first.a, first.b), "Metric")


def pair_table(result: Result, facts: ScoredProtocol) -> Table | None:
    """Return every pair of trackers by the primary metric; None for fewer than two, or for very many."""
    rows = [row for row in standing(result) if row.role in ("variant", "cited") and row.usable(facts)]
    pairs = [
        (one.name, other.name)
        for one, other in combinations(rows, 2)
        if one.protocols[facts.name].names == other.protocols[facts.name].names
    ]
    if not 0 < len(pairs) <= MOST_PAIRS:
        return None
    metric = primary_metric(result, facts)
    found = [(f"{a} against {b}", compare(result, facts, a, b, metric, facts.dialects[metric])) for a, b in pairs]
    title = f"every two {result.subject}s by {METRICS[metric].symbol}"
    return _table(
        result, facts, found, title, "First minus second, on the same sequences.", ("first", "second"), "Pair"
    )


def _table(
    result: Result,
    facts: ScoredProtocol,
    rows: list[tuple[str, Comparison]],
    title: str,
    question: str,
    names: tuple[str, str],
    corner: str,
) -> Table:
    footnotes, (a, b) = Footnotes(), names
    pools = any(facts.dialects[one.metric].pooling == "frames" for _, one in rows)
    notes = (footnotes.add(PAIRED), *((footnotes.add(POOLED),) if pools else ()))
    group, sequences = f"{a} against {b}", "sequences"
    columns = (
        Column("a", a, "%", 1, group=group),
        Column("b", b, "%", 1, group=group),
        Column("difference", "Difference", "points", 1, "higher", group, signed=True, footnotes=notes),
        Column("p", "p", "Wilcoxon", 4, group=group, footnotes=(footnotes.add(RANK_TEST),)),
        Column("wins", f"{a} better", "", 0, group=sequences),
        Column("losses", f"{b} better", "", 0, group=sequences),
        Column("ties", "equal", "", 0, group=sequences),
    )
    lines = [TableRow(name, "variant", _cells(one, footnotes)) for name, one in rows]
    question = f"{question} {coverage(facts)}"
    return protocol_table(result, facts, title, columns, lines, footnotes, question=question, corner=corner)


def _cells(found: Comparison, footnotes: Footnotes) -> dict[str, Cell]:
    scale = METRICS[found.metric].scale
    shown = cell_of(found.difference, scale)
    few = (footnotes.add(FEW),) if found.difference.n < FOOTNOTED_BELOW else ()
    difference = replace(shown, delta=shown.value, delta_low=shown.low, delta_high=shown.high)
    unresolved = (footnotes.add(UNRESOLVED),) if difference.resolved is False else ()
    cells = {
        "a": cell_of(found.of_a, scale, bounded=True),
        "b": cell_of(found.of_b, scale, bounded=True),
        "difference": replace(difference, footnotes=(*few, *unresolved)),
        "p": Cell(found.p) if found.p is None or found.p >= 1e-4 else Cell(text="< 0.0001"),
    }
    return cells | {key: Cell(float(getattr(found, key))) for key in ("wins", "losses", "ties")}


def largest_table(result: Result, found: Comparison) -> Table:
    """Return the sequences on which the two differ most."""
    metric, facts = METRICS[found.metric], result.protocols[0]
    frames = {s.name: s.frames for s in facts.sequences}
    rows = []
    for pair in found.sequences[:LARGEST]:
        figures = {"frames": frames[pair.name], "a": pair.a, "b": pair.b, "difference": pair.a - pair.b}
        rows.append(TableRow(pair.name, "variant", {key: Cell(float(value)) for key, value in figures.items()}))
    group = f"{metric.symbol}, dialect {found.dialect}"
    columns = (
        Column("frames", "Frames", "", 0, group="sequence"),
        Column("a", found.a, metric.unit, metric.decimals, group=group),
        Column("b", found.b, metric.unit, metric.decimals, group=group),
        Column("difference", "Difference", "points", metric.decimals, group=group, signed=True),
    )
    title = f"where {found.a} and {found.b} differ most"
    question = f"The {counted(len(rows), 'sequence')} with the largest differences in {metric.symbol}."
    return protocol_table(result, facts, title, columns, rows, question=question, corner="Sequence")
