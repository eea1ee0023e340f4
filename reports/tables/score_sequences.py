"""Scored trackers by attribute, by sequence, and on the hardest sequences. Trackers are columns, in their standing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from trackablate.harness.scoring.metrics import Metric, values
from trackablate.harness.scoring.raw_scoring import Scored, SequenceInfo, TrackerScores
from trackablate.reports.statistics.bootstrap import ratio_estimate
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import cell_of
from trackablate.reports.tables.footnotes import Notes
from trackablate.reports.tables.ranking import ranked
from trackablate.reports.tables.score_table import (
    better,
    caveat,
    coverage,
    headline,
    missing,
    row_notes,
    standing,
    usable,
)

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


def attributes_of(scored: Scored) -> dict[str, list[SequenceInfo]]:
    """Each attribute's sequences: the protocol's attributes in its order, then any others by name; those without a
    sequence are left out.
    """
    found = sorted({attribute for s in scored.sequences for attribute in s.attributes} - set(scored.attributes))
    members = {name: [s for s in scored.sequences if name in s.attributes] for name in (*scored.attributes, *found)}
    return {name: sequences for name, sequences in members.items() if sequences}


def attribute_name(attribute: str) -> str:
    """ "fast motion (FM)", or the attribute itself where it is no known abbreviation."""
    words = ATTRIBUTE_NAMES.get(attribute)
    return f"{words} ({attribute})" if words else attribute


def attribute_cells(scored: Scored, sequences: Sequence[SequenceInfo]) -> dict[str, Cell]:
    """By tracker: the main dialect's headline metric over some sequences; a dash for a tracker that lacks one of them,
    unless incomplete ones are allowed.
    """
    metric = headline(scored.dialects[0])
    order, last = standing(scored), set()
    cells = {}
    for tracker in order:
        whole = [s.name for s in sequences if s.name in tracker.tallies]
        if len(whole) < len(sequences):
            last.add(tracker.name)
        if not whole or (len(whole) < len(sequences) and not scored.allow_incomplete):
            cells[tracker.name] = Cell()
            continue
        tallies = [tracker.tallies[name] for name in whole]
        cells[tracker.name] = cell_of(
            ratio_estimate(*values(tallies, metric.key, scored.dialects[0])), metric.scale, bounded=True
        )
    return ranked(cells, metric.decimals, better(metric), frozenset(last))


def attribute_table(scored: Scored) -> Table | None:
    """The headline metric by attribute; None where no sequence has one."""
    members = attributes_of(scored)
    if not members:
        return None
    metric = headline(scored.dialects[0])
    rows = [
        _row(attribute_name(name), {":n": Cell(float(len(found)))}, attribute_cells(scored, found), metric)
        for name, found in members.items()
    ]
    return _table(
        scored,
        f"{metric.symbol} by attribute",
        "A sequence counts under each of its attributes, so the rows are not independent of each other.",
        [Column(":n", "n", "seq.", 0, group=scored.title)],
        rows,
        "Attribute",
    )


def sequence_values(scored: Scored, tracker: TrackerScores) -> dict[str, float]:
    """The headline metric of each sequence in the printed unit, where it is defined."""
    dialect, metric = scored.dialects[0], headline(scored.dialects[0])
    names = [s.name for s in scored.sequences if s.name in tracker.tallies]
    numerators, weights = values(scored.tallies(tracker), metric.key, dialect)
    shares = np.divide(numerators, weights, out=np.full_like(numerators, math.nan), where=weights > 0)
    return {name: float(metric.scale * v) for name, v in zip(names, shares, strict=True) if np.isfinite(v)}


def sequence_table(scored: Scored) -> Table:
    """Every sequence, the hardest first: by the mean over the trackers whose means are shown."""
    shown = {t.name: sequence_values(scored, t) for t in scored.trackers if usable(scored, t)}
    others = {t.name: sequence_values(scored, t) for t in scored.trackers if not usable(scored, t)}
    metric = headline(scored.dialects[0])
    means = {s.name: _mean([of[s.name] for of in shown.values() if s.name in of]) for s in scored.sequences}
    order = sorted(
        scored.sequences, key=lambda s: (means[s.name] is None, _sign(metric) * (means[s.name] or 0.0), s.name)
    )
    rows = [_sequence_row(s, means[s.name], shown | others, metric) for s in order]
    return _table(
        scored,
        f"{metric.symbol} by sequence, hardest first",
        "Ordered by the mean over the trackers that have a mean over all sequences.",
        [
            Column(":frames", "Frames", "", 0, group="sequence"),
            Column(":attributes", "Attributes", group="sequence"),
            Column(":mean", "Mean", metric.unit, metric.decimals, group="trackers"),
        ],
        rows,
        "Sequence",
    )


def hardest_table(whole: Table) -> Table:
    """The head of the table by sequence."""
    title = whole.title.replace(
        "by sequence, hardest first", f"on the {min(HARDEST, len(whole.rows))} hardest sequences"
    )
    return replace(whole, title=title, rows=whole.rows[:HARDEST])


def sequence_file(scored: Scored, whole: Table) -> Table:
    """The table by sequence for a program: with incomplete trackers, a column names those without a whole result."""
    lacking = [tracker for tracker in standing(scored) if not scored.complete(tracker)]
    if not lacking:
        return whole
    rows = [
        replace(
            row,
            cells={**row.cells, ":incomplete": Cell(text=_names([t for t in lacking if row.name not in t.tallies]))},
        )
        for row in whole.rows
    ]
    return replace(whole, columns=(*whole.columns, Column(":incomplete", "Incomplete")), rows=tuple(rows))


def _names(trackers: Sequence[TrackerScores]) -> str:
    return "; ".join(tracker.name for tracker in trackers)


def _sequence_row(
    sequence: SequenceInfo, mean: float | None, found: Mapping[str, Mapping[str, float]], metric: Metric
) -> TableRow:
    cells = {name: Cell(of.get(sequence.name)) for name, of in found.items()}
    facts = {
        ":frames": Cell(float(sequence.frames)),
        ":attributes": Cell(text=" ".join(sorted(sequence.attributes))),
        ":mean": Cell(mean),
    }
    return _row(sequence.name, facts, ranked(cells, metric.decimals, better(metric)), metric)


def _row(name: str, facts: dict[str, Cell], trackers: Mapping[str, Cell], metric: Metric) -> TableRow:
    """trackers: their cells by name."""
    return TableRow(name, "variant", facts | {column_key(t, metric): cell for t, cell in trackers.items()})


def column_key(tracker: str, metric: Metric) -> str:
    """The key of a tracker's column, which no other column has whatever the tracker is called."""
    return f"{tracker} {metric.key}"


def _mean(found: list[float]) -> float | None:
    return fmean(found) if found else None


def _sign(metric: Metric) -> int:
    """What makes the hardest sequence the smallest."""
    return -1 if metric.lower_is_better else 1


def _table(
    scored: Scored, title: str, question: str, columns: list[Column], rows: list[TableRow], corner: str
) -> Table:
    dialect, metric, notes = scored.dialects[0], headline(scored.dialects[0]), Notes()
    trackers = [
        Column(
            column_key(t.name, metric),
            t.name,
            metric.unit,
            metric.decimals,
            better(metric),
            group="trackers",
            note=f"{metric.symbol} of {t.name}, dialect {dialect.name}",
            footnotes=row_notes(scored, t, notes),
        )
        for t in standing(scored)
    ]
    return Table(
        title=f"{scored.title}: {title}",
        question=f"{question} {coverage(scored)}; dialect {dialect.name}",
        caveat=caveat(scored),
        columns=(*columns, *trackers),
        rows=tuple(rows),
        footnotes=notes.texts,
        missing=missing(scored),
        corner=corner,
        subject="tracker",
    )
