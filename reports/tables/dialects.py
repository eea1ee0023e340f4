"""What the choice of a dialect is worth: the same raw results by every dialect that was asked for."""

from collections.abc import Mapping

from trackablate.harness.scoring.metrics import DIALECTS, METRICS, Dialect, Metric
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker
from trackablate.reports.results import Result, standing
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import note_incomplete
from trackablate.reports.tables.block import Footnotes, ranked
from trackablate.reports.tables.pivot import protocol_table

FLATTERS = 0.05
"""Points beyond the strict reading from which a dialect is said to flatter: half of the last printed digit."""
GROUP_WIDTH = 6
"""Dialects under one heading: a heading's columns are never parted, and names of dialects are long."""

Gains = Mapping[str, Mapping[str, float]]
"""Dialect to metric to the most points that a tracker gains over the strict reading; only what is worth saying."""


def flattering(result: Result, facts: ScoredProtocol) -> Gains:
    """Return the dialects that give more than the strict reading of the same metric, and how much."""
    found: dict[str, dict[str, float]] = {}
    for dialect in facts.rules:
        for metric in dialect.metrics:
            gains = [_gain(row, facts, dialect, metric) for row in result.rows]
            most = max((gain for gain in gains if gain is not None), default=0.0)
            if most >= FLATTERS:
                found.setdefault(dialect.name, {})[metric] = most
    return found


def _gain(row: ScoredTracker, facts: ScoredProtocol, dialect: Dialect, metric: str) -> float | None:
    """Return how many points a dialect gives beyond the strict reading of the same metric.

    The strict reading has every frame in the denominator and counts what cannot be measured as a miss. None if either
    figure is missing, or if the dialect reads another quantity off another curve under the same name (only of the
    success curve all readings are the area).
    """
    strict = DIALECTS["strict"].on(facts.name)
    if metric not in strict.readings or (metric != "auc" and strict.readings[metric] != dialect.readings[metric]):
        return None
    ours, theirs = row.percent(facts, metric, dialect), row.percent(facts, metric, strict)
    return None if ours is None or theirs is None else ours - theirs


def dialect_tables(result: Result, facts: ScoredProtocol, gains: Gains) -> list[Table]:
    """Return one table by each dialect's headline metric, then by the main dialect's other two; none for one dialect.

    `gains` are those that `flattering` gives.
    """
    if len(facts.rules) < 2:
        return []
    headlines = {dialect.name: METRICS[dialect.metrics[0]] for dialect in facts.rules}
    tables = [_table(result, facts, headlines, gains)]
    for key in facts.rules[0].metrics[1:3]:
        having = {d.name: METRICS[key] for d in facts.rules if key in d.metrics}
        tables += [_table(result, facts, having, gains)] if len(having) > 1 else []
    return tables


def _table(result: Result, facts: ScoredProtocol, metric_of: Mapping[str, Metric], gains: Gains) -> Table:
    """Return the table of the dialects in `metric_of`, each with its metric."""
    footnotes, order = Footnotes(), standing(result)
    # Dialects of the same metric stand side by side, in the order in which each metric first comes.
    metrics = list(dict.fromkeys(metric.key for metric in metric_of.values()))
    shown = [d for d in facts.rules if d.name in metric_of]
    dialects = sorted(shown, key=lambda d: metrics.index(metric_of[d.name].key))
    last = frozenset(row.name for row in order if not row.protocols[facts.name].complete)
    cells, columns = {}, []
    for place, dialect in enumerate(dialects):
        metric = metric_of[dialect.name]
        figures = {row.name: Cell(row.percent(facts, metric.key, dialect)) for row in order}
        cells[dialect.name] = ranked(figures, metric.decimals, metric.better, last)
        before = sum(metric_of[d.name] == metric for d in dialects[:place])
        gain = gains.get(dialect.name, {}).get(metric.key)
        columns.append(_column(dialect, metric, _group(metric, before), gain, footnotes))
    rows = [
        TableRow(
            row.name,
            "variant",
            {d: of[row.name] for d, of in cells.items()},
            footnotes=note_incomplete(row, facts, footnotes),
        )
        for row in order
    ]
    title = f"{METRICS[metrics[0]].symbol} of the same results by every dialect"
    question = "What differs along a row is the rules alone."
    return protocol_table(result, facts, title, columns, rows, footnotes, question=question)


def _group(metric: Metric, before: int) -> str:
    """Return the heading above a dialect: its metric, with a number where so many have it that they would not fit."""
    part = before // GROUP_WIDTH
    return f"{metric.symbol}, part {part + 1}" if part else metric.symbol


def _column(dialect: Dialect, metric: Metric, group: str, gain: float | None, footnotes: Footnotes) -> Column:
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
        better=metric.better,
        group=group,
        note=f"{metric.symbol} by dialect {dialect.name}: {dialect.description}",
        footnotes=(footnotes.add(text),),
    )
