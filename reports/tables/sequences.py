"""A protocol's primary metric by attribute, by sequence, and on the hardest sequences. Trackers are the columns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker, SequenceInfo
from trackablate.reports.results import Result, coverage, primary_metric, standing
from trackablate.reports.statistics.variance import row_estimate
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import note_incomplete
from trackablate.reports.tables.block import Footnotes, cell_of, ranked
from trackablate.reports.tables.pivot import protocol_table

HARDEST = 10
ATTRIBUTE_NAMES: Mapping[str, str] = {
    "ARC": "aspect ratio change",
    "AS": "adversarial sample",
    "BC": "background clutter",
    "CM": "camera motion",
    "DEF": "deformation",
    "FM": "fast motion",
    "FOC": "full occlusion",
    "IPR": "in-plane rotation",
    "IV": "illumination variation",
    "LR": "low resolution",
    "MB": "motion blur",
    "MS": "modality switch",
    "OCC": "occlusion",
    "OPR": "out-of-plane rotation",
    "OV": "out of view",
    "POC": "partial occlusion",
    "ROT": "rotation",
    "SOB": "similar object",
    "SV": "scale variation",
    "TC": "thermal crossover",
    "VC": "viewpoint change",
}
"""The benchmarks' abbreviations in words (LaSOT, TNL2K, UAV123, OTB). Others stand as they are."""


def attribute_cells(result: Result, facts: ScoredProtocol, sequences: Sequence[str]) -> dict[str, Cell]:
    """Return by tracker the primary metric over some sequences, with ranks among the variants.

    A tracker that lacks one of them has a dash, unless incomplete ones are allowed.
    """
    metric, last, cells = METRICS[primary_metric(result, facts)], set(), {}
    for row in columns_of(result, facts):
        scores = row.protocols[facts.name]
        there = set(scores.names)
        whole = [name for name in sequences if name in there]
        if len(whole) < len(sequences):
            last.add(row.name)
        if not whole or (len(whole) < len(sequences) and not facts.allow_incomplete):
            cells[row.name] = Cell()
            continue
        sample = scores.samples(metric.key, facts.dialects[metric.key], whole)
        cells[row.name] = cell_of(row_estimate(*sample), metric.scale, bounded=True)
    return cells | _ranked(result, cells, metric, frozenset(last))


def attribute_table(result: Result, facts: ScoredProtocol) -> Table | None:
    """Return the primary metric by attribute, None if no sequence has one."""
    if not facts.members:
        return None
    metric = METRICS[primary_metric(result, facts)]
    rows = [
        _row(_in_words(name), {":n": Cell(float(len(found)))}, attribute_cells(result, facts, found), metric)
        for name, found in facts.members.items()
    ]
    return _table(
        result,
        facts,
        f"{metric.symbol} by attribute",
        "A sequence counts under each of its attributes, so the rows are not independent of each other.",
        [Column(":n", "n", "seq.", 0, group="sequences")],
        rows,
        "Attribute",
    )


def sequence_table(result: Result, facts: ScoredProtocol) -> Table:
    """Return every sequence, the hardest first: by the mean over the variants whose means are shown."""
    metric = METRICS[primary_metric(result, facts)]
    dialect, rows = facts.dialects[metric.key], columns_of(result, facts)
    found = {row.name: row.protocols[facts.name].by_sequence(metric, dialect) for row in rows}
    shown = [found[row.name] for row in rows if row.role == "variant" and row.usable(facts)]
    means = {s.name: _mean([of[s.name] for of in shown if s.name in of]) for s in facts.sequences}
    order = sorted(facts.sequences, key=lambda s: (means[s.name] is None, metric.sign * (means[s.name] or 0.0), s.name))
    return _table(
        result,
        facts,
        f"{metric.symbol} by sequence, hardest first",
        f"Ordered by the mean over the {result.subject}s that have a mean over all sequences.",
        [
            Column(":frames", "Frames", "", 0, group="sequence"),
            Column(":attributes", "Attributes", group="sequence"),
            Column(":mean", "Mean", metric.unit, metric.decimals, group="trackers"),
        ],
        [_sequence_row(result, s, means[s.name], found, metric) for s in order],
        "Sequence",
    )


def hardest_table(whole: Table) -> Table:
    """Return the head of the table by sequence."""
    title = whole.title.replace(
        "by sequence, hardest first", f"on the {min(HARDEST, len(whole.rows))} hardest sequences"
    )
    return replace(whole, title=title, rows=whole.rows[:HARDEST])


def sequence_file(result: Result, facts: ScoredProtocol, whole: Table) -> Table:
    """Return the table by sequence for a program: a column names the incomplete trackers that lack a sequence."""
    rows = [row for row in columns_of(result, facts) if not row.protocols[facts.name].complete]
    if not rows:
        return whole
    lacking = {row.name: set(row.protocols[facts.name].names) for row in rows}
    lines = []
    for line in whole.rows:
        names = "; ".join(name for name, there in lacking.items() if line.name not in there)
        lines.append(replace(line, cells={**line.cells, ":incomplete": Cell(text=names)}))
    return replace(whole, columns=(*whole.columns, Column(":incomplete", "Incomplete")), rows=tuple(lines))


def columns_of(result: Result, facts: ScoredProtocol) -> list[ScoredTracker]:
    """Return the trackers with any whole sequence on a protocol; raw results have a column even without one."""
    found = [row for row in standing(result) if facts.name in row.protocols]
    return [row for row in found if row.protocols[facts.name].names or not result.study]


def column_key(tracker: str, metric: Metric) -> str:
    """Return the key of a tracker's column, which no other column has, whatever the tracker is called."""
    return f"{tracker} {metric.key}"


def _in_words(attribute: str) -> str:
    """Return "fast motion (FM)", or the attribute itself if it is no known abbreviation."""
    words = ATTRIBUTE_NAMES.get(attribute)
    return f"{words} ({attribute})" if words else attribute


def _sequence_row(
    result: Result,
    sequence: SequenceInfo,
    mean: float | None,
    found: Mapping[str, Mapping[str, float]],
    metric: Metric,
) -> TableRow:
    cells = {name: Cell(of.get(sequence.name)) for name, of in found.items()}
    facts = {
        ":frames": Cell(float(sequence.frames)),
        ":attributes": Cell(text=" ".join(sorted(sequence.attributes))),
        ":mean": Cell(mean),
    }
    return _row(sequence.name, facts, cells | _ranked(result, cells, metric), metric)


def _ranked(
    result: Result, cells: Mapping[str, Cell], metric: Metric, last: frozenset[str] = frozenset()
) -> dict[str, Cell]:
    variants = {row.name: cells[row.name] for row in result.variants if row.name in cells}
    return ranked(variants, metric.decimals, metric.better, last)


def _row(name: str, facts: dict[str, Cell], trackers: Mapping[str, Cell], metric: Metric) -> TableRow:
    """Return a row with the cells of its trackers, which are given by name."""
    return TableRow(name, "variant", facts | {column_key(t, metric): cell for t, cell in trackers.items()})


def _mean(found: list[float]) -> float | None:
    return fmean(found) if found else None


def _table(
    result: Result,
    facts: ScoredProtocol,
    title: str,
    question: str,
    columns: list[Column],
    rows: list[TableRow],
    corner: str,
) -> Table:
    metric, footnotes = METRICS[primary_metric(result, facts)], Footnotes()
    columns += [
        Column(
            column_key(row.name, metric),
            row.name,
            metric.unit,
            metric.decimals,
            metric.better,
            group="trackers",
            note=f"{metric.symbol} of {row.name}, dialect {facts.dialects[metric.key].name}",
            footnotes=note_incomplete(row, facts, footnotes),
        )
        for row in columns_of(result, facts)
    ]
    question = f"{question} {coverage(facts)}"
    return protocol_table(result, facts, title, columns, rows, footnotes, question=question, corner=corner)
