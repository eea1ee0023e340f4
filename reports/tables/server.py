"""The columns of a protocol whose true boxes are on an evaluation server: what the server returned, as it was entered."""

from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.reports.results import ProtocolFacts, RowResult, StudyResult
from trackablate.reports.table import Cell
from trackablate.reports.tables.accuracy import difference_column, metric_column, metric_key, not_one_shot
from trackablate.reports.tables.block import NOT_APPLICABLE, Block
from trackablate.reports.tables.effects import primary_metric
from trackablate.reports.tables.footnotes import Notes

PLAIN_DIFFERENCE = (
    "Row minus baseline, from two figures of the evaluation server: it says nothing of single sequences, so nothing tells"
    " how much of the difference is chance."
)


def server_block(result: StudyResult, facts: ProtocolFacts, notes: Notes) -> Block:
    """A column for each of the protocol's metrics, and the difference to the baseline in the first of them; empty where
    nothing was returned for any row.
    """
    block = Block()
    if not any(has_scores(row, facts.name) for row in result.rows):
        return block
    for name in facts.metrics:
        _column(result, facts, METRICS[name], block, notes)
        if name == primary_metric(result, facts):
            _difference(result, facts, METRICS[name], block, notes)
    return block


def has_scores(row: RowResult, protocol: str) -> bool:
    """Whether anything was returned for a row."""
    found = row.on_server.get(protocol)
    return found is not None and any(returned.scores for returned in found.returned)


def server_value(row: RowResult, protocol: str, metric: str) -> float | None:
    """The mean over a row's seeds, a share; None where the server's figure of any is missing."""
    found = row.on_server.get(protocol)
    figures = [returned.scores.get(metric) for returned in found.returned] if found else []
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known and len(known) == len(figures) else None


def _column(result: StudyResult, facts: ProtocolFacts, metric: Metric, block: Block, notes: Notes) -> None:
    key = metric_key(facts.name, metric.key)
    for row in result.rows:
        value = server_value(row, facts.name, metric.key)
        if value is None:
            block.put(row.name, key, Cell() if row.role == "variant" else NOT_APPLICABLE)
            continue
        remarks = not_one_shot(row.on_server[facts.name].records, facts)
        block.put(row.name, key, Cell(value * metric.scale, footnotes=tuple(notes.add(text) for text in remarks)))
    for cited in result.cited:
        block.put(cited.name, key, NOT_APPLICABLE)
    footnote = notes.add(_by_the_server(result, facts))
    block.columns.append(metric_column(facts, metric, "by the evaluation server", (footnote,)))


def _by_the_server(result: StudyResult, facts: ProtocolFacts) -> str:
    of = [row.on_server[facts.name] for row in result.rows if facts.name in row.on_server]
    dates = sorted({returned.entered for found in of for returned in found.returned if returned.entered})
    return (
        f"By the evaluation server of {facts.name}, as entered by hand on {', '.join(dates)} for the boxes that were"
        " submitted: no scores of single sequences, so no interval."
    )


def _difference(result: StudyResult, facts: ProtocolFacts, metric: Metric, block: Block, notes: Notes) -> None:
    baseline = next((row for row in result.rows if row.baseline), None)
    reference = server_value(baseline, facts.name, metric.key) if baseline else None
    if baseline is None or reference is None:
        return
    key = f"{metric_key(facts.name, metric.key)}:delta"
    for row in result.rows:
        value = server_value(row, facts.name, metric.key)
        if value is not None and not row.baseline:
            block.put(row.name, key, Cell((value - reference) * metric.scale))
        elif row.role != "variant":
            block.put(row.name, key, NOT_APPLICABLE)
    block.put(baseline.name, key, Cell(text="baseline"))
    for cited in result.cited:
        block.put(cited.name, key, NOT_APPLICABLE)
    block.columns.append(difference_column(facts, metric, baseline.name, notes.add(PLAIN_DIFFERENCE)))
