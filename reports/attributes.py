"""The primary metric by sequence attribute, as one more table: attributes are its rows, the study's rows its columns."""

from dataclasses import replace
from typing import Literal

from harness.metrics import METRICS, Metric, values
from reports.accuracy import cell_of
from reports.effects import complete, primary_metric
from reports.results import ProtocolFacts, ProtocolResult, RowResult, StudyResult
from reports.statistics import ratio_estimate
from reports.table import Cell, Column, Table, TableRow


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
    cells |= _ranked({name: cells[name] for name in variants}, metric)
    return TableRow(attribute, "variant", {":n": Cell(float(len(sequences)))} | cells)


def _cell(result: ProtocolResult, sequences: list[str], facts: ProtocolFacts, metric: Metric) -> Cell:
    if not result.tallies.keys() >= set(sequences):
        return Cell()
    tallies = [result.tallies[name] for name in sequences]
    return cell_of(ratio_estimate(*values(tallies, metric.key, facts.dialects[metric.key])), metric.scale)


def _ranked(cells: dict[str, Cell], metric: Metric) -> dict[str, Cell]:
    """Ranks by the figure as printed, as in the main table."""
    printed = {name: round(cell.value, metric.decimals) for name, cell in cells.items() if cell.value is not None}
    distinct = sorted(set(printed.values()), reverse=not metric.lower_is_better)
    if len(distinct) < 2:
        return {}
    return {name: replace(cells[name], rank=distinct.index(value) + 1) for name, value in printed.items()}
