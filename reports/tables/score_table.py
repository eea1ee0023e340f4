"""Scored trackers to tables: the main one, by the main dialect, and one that shows what the dialect is worth.

An incomplete tracker has a dash where a mean over all sequences would stand, unless incomplete ones were asked for; it
ranks last either way, and every table says how much of it there is.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from trackablate.harness.scoring.metrics import METRICS, Dialect, Metric, values
from trackablate.harness.scoring.raw_scoring import Scored, TrackerScores, flattery
from trackablate.reports.statistics.bootstrap import RESAMPLES, ratio_estimate
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import FEW, FEW_SEQUENCES, cell_of
from trackablate.reports.tables.footnotes import Notes
from trackablate.reports.tables.ranking import ranked

METHOD = (
    f"Brackets: 95 % interval, BCa bootstrap over sequences, stretched for small samples, {RESAMPLES} resamples, fixed seed:"
    " it covers other sequences of the same kind, not another run of the tracker."
)
PART = (
    "Scores of incomplete trackers are over the sequences that are there, as --allow-incomplete asks: they do not compare"
    " with those of complete ones."
)
FLATTERS = 0.05
"""Points beyond the strict reading from which a dialect is said to flatter: half of the last printed digit."""


GROUP_WIDTH = 6
"""Dialects under one heading: a heading's columns are never parted, and names of dialects are long."""


def metrics_of(dialect: Dialect) -> list[Metric]:
    """The dialect's metrics in order, without those that only repeat another under a second name."""
    readings = list(dialect.readings.items())
    return [METRICS[key] for at, (key, how) in enumerate(readings) if how not in [h for _, h in readings[:at]]]


def headline(dialect: Dialect) -> Metric:
    """The metric that a dialect is known by."""
    return METRICS[dialect.metrics[0]]


def better(metric: Metric) -> Literal["higher", "lower"]:
    """The metric's direction as tables say it."""
    return "lower" if metric.lower_is_better else "higher"


def standing(scored: Scored) -> list[TrackerScores]:
    """The trackers, best first by the main dialect's headline metric; incomplete ones after all others."""
    metric, dialect = headline(scored.dialects[0]), scored.dialects[0]

    def place(tracker: TrackerScores) -> tuple[bool, bool, float, str]:
        value = scored.score(tracker, metric.key, dialect)
        signed = 0.0 if value is None else value if metric.lower_is_better else -value
        return not scored.complete(tracker), value is None, signed, tracker.name

    return sorted(scored.trackers, key=place)


def incompleteness(scored: Scored, tracker: TrackerScores) -> str:
    """ "incomplete: k of n sequences", "" for a complete tracker."""
    if scored.complete(tracker):
        return ""
    return f"incomplete: {len(tracker.tallies)} of {len(scored.sequences)} sequences"


def incomplete(scored: Scored) -> frozenset[str]:
    """The names of the incomplete trackers."""
    return frozenset(tracker.name for tracker in scored.trackers if not scored.complete(tracker))


def usable(scored: Scored, tracker: TrackerScores) -> bool:
    """Whether means of this tracker are shown."""
    return bool(tracker.tallies) and (scored.allow_incomplete or scored.complete(tracker))


def caveat(scored: Scored) -> str:
    """What must be read first where means of a part are shown."""
    return PART if scored.allow_incomplete and incomplete(scored) else ""


def missing(scored: Scored) -> tuple[str, ...]:
    """The incomplete trackers, each with how much there is."""
    return tuple(f"{t.name}: {text}" for t in standing(scored) if (text := incompleteness(scored, t)))


def rules(dialect: Dialect, metrics: list[Metric]) -> str:
    """The dialect and what it calls its metrics, in one sentence each."""
    meanings = "; ".join(f"{metric.symbol}: {metric.description}" for metric in metrics)
    return f"Dialect {dialect.name}. {dialect.description}. {meanings}."


def score_table(scored: Scored) -> Table:
    """One row per tracker, one column per metric of the main dialect, with intervals."""
    dialect, notes = scored.dialects[0], Notes()
    metrics, order = metrics_of(dialect), standing(scored)
    at_columns = (notes.add(rules(dialect, metrics)), notes.add(METHOD))
    columns = {m.key: {t.name: _estimated(scored, t, m, dialect, notes) for t in order} for m in metrics}
    columns = {m.key: ranked(columns[m.key], m.decimals, better(m), incomplete(scored)) for m in metrics}
    return Table(
        title=f"{scored.title}: raw results scored",
        question=f"{coverage(scored)}; dialect {dialect.name}",
        caveat=caveat(scored),
        columns=(
            *(_metric_column(m, dialect, at_columns) for m in metrics),
            Column("sequences", "n", "seq.", 0, group="result files", note="sequences with a whole result"),
        ),
        rows=tuple(
            TableRow(
                t.name,
                "variant",
                {key: column[t.name] for key, column in columns.items()} | {"sequences": _sequences(scored, t)},
                footnotes=row_notes(scored, t, notes),
            )
            for t in order
        ),
        footnotes=notes.texts,
        missing=missing(scored),
        corner="Tracker",
        subject="tracker",
    )


def coverage(scored: Scored) -> str:
    """How much of the protocol the scores are over."""
    cut = "; predicted boxes cut to integers" if scored.truncated else ""
    return f"{scored.coverage}, {sum(s.frames for s in scored.sequences):,} frames{cut}"


def row_notes(scored: Scored, tracker: TrackerScores, notes: Notes) -> tuple[int, ...]:
    """The footnote of an incomplete tracker."""
    text = incompleteness(scored, tracker)
    if not text:
        return ()
    mean = "scored over those alone" if usable(scored, tracker) else "so no mean"
    return (notes.add(f"{tracker.name}: {text}, {mean}."),)


def _metric_column(metric: Metric, dialect: Dialect, footnotes: tuple[int, ...]) -> Column:
    return Column(
        key=metric.key,
        symbol=metric.symbol,
        unit=metric.unit,
        decimals=metric.decimals,
        better=better(metric),
        group=f"dialect {dialect.name}",
        note=f"{metric.symbol}: {metric.description}; dialect {dialect.name}",
        footnotes=footnotes,
    )


def _estimated(scored: Scored, tracker: TrackerScores, metric: Metric, dialect: Dialect, notes: Notes) -> Cell:
    if not usable(scored, tracker):
        return Cell()
    tallies = scored.tallies(tracker)
    cell = cell_of(ratio_estimate(*values(tallies, metric.key, dialect)), metric.scale, bounded=True)
    return cell if len(tallies) >= FEW_SEQUENCES else replace(cell, footnotes=(notes.add(FEW),))


def _sequences(scored: Scored, tracker: TrackerScores) -> Cell:
    if text := incompleteness(scored, tracker):
        return Cell(text=text)
    return Cell(value=float(len(tracker.tallies)))


Gains = Mapping[str, Mapping[str, float]]
"""Dialect to metric to the most points that a tracker gains over the strict reading; only what is worth saying."""


def flattering(scored: Scored) -> Gains:
    """The dialects that give more than the strict reading of the same metric, and how much."""
    found: dict[str, dict[str, float]] = {}
    for dialect in scored.dialects:
        for metric in dialect.metrics:
            gains = [flattery(scored, tracker, dialect, metric) for tracker in scored.trackers]
            most = max((gain for gain in gains if gain is not None), default=0.0)
            if most >= FLATTERS:
                found.setdefault(dialect.name, {})[metric] = most
    return found


def dialect_tables(scored: Scored, gains: Gains) -> tuple[Table, ...]:
    """What the choice of a dialect is worth: one row per tracker, one column per dialect; first each by its headline metric,
    then by the main dialect's other two. () where there is one dialect. gains: as `flattering` gives them.
    """
    if len(scored.dialects) < 2:
        return ()
    tables = [_dialect_table(scored, {d.name: headline(d) for d in scored.dialects}, gains)]
    for key in scored.dialects[0].metrics[1:3]:
        having = {d.name: METRICS[key] for d in scored.dialects if key in d.metrics}
        tables += [_dialect_table(scored, having, gains)] if len(having) > 1 else []
    return tuple(tables)


def _dialect_table(scored: Scored, metric_of: Mapping[str, Metric], gains: Gains) -> Table:
    """metric_of: the dialects that have a column, and what stands in it."""
    notes, order = Notes(), standing(scored)
    # Dialects of the same metric stand side by side, in the order in which each metric first comes.
    metrics = list(dict.fromkeys(metric.key for metric in metric_of.values()))
    shown = [d for d in scored.dialects if d.name in metric_of]
    dialects = sorted(shown, key=lambda d: metrics.index(metric_of[d.name].key))
    cells = {
        d.name: ranked(
            {t.name: Cell(scored.score(t, metric_of[d.name].key, d)) for t in order},
            metric_of[d.name].decimals,
            better(metric_of[d.name]),
            incomplete(scored),
        )
        for d in dialects
    }
    columns = []
    for place, dialect in enumerate(dialects):
        metric = metric_of[dialect.name]
        before = sum(metric_of[d.name] == metric for d in dialects[:place])
        gain = gains.get(dialect.name, {}).get(metric.key)
        columns.append(_dialect_column(dialect, metric, _group(metric, before), gain, notes))
    rows = [
        TableRow(
            t.name, "variant", {d: column[t.name] for d, column in cells.items()}, footnotes=row_notes(scored, t, notes)
        )
        for t in order
    ]
    return Table(
        title=f"{scored.title}: {METRICS[metrics[0]].symbol} of the same results by every dialect",
        question="What differs along a row is the rules alone.",
        caveat=caveat(scored),
        columns=tuple(columns),
        rows=tuple(rows),
        footnotes=notes.texts,
        missing=missing(scored),
        corner="Tracker",
        subject="tracker",
    )


def _group(metric: Metric, before: int) -> str:
    """The heading above a dialect: its metric, counted on where so many have it that they would not fit on paper."""
    part = before // GROUP_WIDTH
    return f"{metric.symbol}, part {part + 1}" if part else metric.symbol


def _dialect_column(dialect: Dialect, metric: Metric, group: str, gain: float | None, notes: Notes) -> Column:
    text = f"{dialect.name}: {dialect.description}."
    if gain is not None:
        text += (
            f" It flatters: up to {gain:.1f} points above the strict reading, in which every frame is in the denominator"
            " and what cannot be measured is a miss."
        )
    return Column(
        key=dialect.name,
        symbol=dialect.name,
        unit=f"{metric.unit}, flatters" if gain is not None else metric.unit,
        decimals=metric.decimals,
        better=better(metric),
        group=group,
        note=f"{metric.symbol} by dialect {dialect.name}: {dialect.description}",
        footnotes=(notes.add(text),),
    )
