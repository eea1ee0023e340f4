"""The primary metric by sequence attribute, as one more table: attributes are its rows, the study's rows its columns."""

from typing import Literal

from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.reports.results import ProtocolFacts, ProtocolResult, RowResult, StudyResult
from trackablate.reports.statistics.variance import row_estimate
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import cell_of
from trackablate.reports.tables.effects import complete, primary_metric, samples
from trackablate.reports.tables.ranking import ranked


def attribute_tables(result: StudyResult) -> list[Table]:
    """One table per protocol whose sequences have attributes."""
    return [_table(result, facts) for facts in result.protocols if any(facts.attributes.values())]


def _table(result: StudyResult, facts: ProtocolFacts) -> Table:
    metric = METRICS[primary_metric(result, facts)]
    found = [(row, complete_) for row in result.rows if (complete_ := complete(row, facts)) is not None]
    better: Literal["lower", "higher"] = "lower" if metric.lower_is_better else "higher"
    columns = [Column(":n", "n", "seq.", 0, group=facts.name)]
    columns += [Column(row.name, row.name, metric.unit, metric.decimals, better, facts.name) for row, _ in found]
    return Table(
        title=f"{metric.symbol} by attribute, {facts.name}",
        question="A sequence counts under each of its attributes, so the rows are not independent of each other.",
        caveat="",
        columns=tuple(columns),
        rows=tuple(_row(name, sequences, found, facts, metric) for name, sequences in _members(facts).items()),
    )


def _members(facts: ProtocolFacts) -> dict[str, list[str]]:
    """Attribute to its sequences, both in order of their names."""
    names = sorted({attribute for attributes in facts.attributes.values() for attribute in attributes})
    return {name: sorted(s for s, attributes in facts.attributes.items() if name in attributes) for name in names}


def _row(
    attribute: str,
    sequences: list[str],
    found: list[tuple[RowResult, ProtocolResult]],
    facts: ProtocolFacts,
    metric: Metric,
) -> TableRow:
    cells = {row.name: _cell(result, sequences, facts, metric) for row, result in found}
    variants = [row.name for row, _ in found if row.role == "variant"]
    better: Literal["lower", "higher"] = "lower" if metric.lower_is_better else "higher"
    cells |= ranked({name: cells[name] for name in variants}, metric.decimals, better)
    return TableRow(attribute, "variant", {":n": Cell(float(len(sequences)))} | cells)


def _cell(result: ProtocolResult, sequences: list[str], facts: ProtocolFacts, metric: Metric) -> Cell:
    if not all(tallies.keys() >= set(sequences) for tallies in result.seeds):
        return Cell()
    return cell_of(row_estimate(*samples(result, facts, metric.key, sequences)), metric.scale, bounded=True)
