"""The columns of a protocol whose true boxes are on an evaluation server: what the server returned, as it was entered."""

from collections.abc import Iterator

from harness.metrics import METRICS, Metric
from harness.server_scores import NOTHING
from reports.accuracy import metric_key, not_one_shot
from reports.block import NOT_APPLICABLE, Block
from reports.effects import primary_metric
from reports.notes import Notes
from reports.results import ProtocolFacts, RowResult, StudyResult
from reports.table import Cell, Column

PLAIN_DIFFERENCE = (
    "Row minus baseline, from two figures of the evaluation server: it says nothing of single sequences, so nothing tells"
    " how much of the difference is chance."
)


def server_block(result: StudyResult, facts: ProtocolFacts, notes: Notes) -> Block:
    """A column for each of the protocol's metrics, and the difference to the baseline in the first of them; empty where
    nothing was returned for any row."""
    block = Block()
    if not any(server_value(row, facts.name, metric) is not None for row in result.rows for metric in facts.metrics):
        return block
    for name in facts.metrics:
        _column(result, facts, METRICS[name], block, notes)
        if name == primary_metric(result, facts):
            _difference(result, facts, METRICS[name], block, notes)
    return block


def server_value(row: RowResult, protocol: str, metric: str) -> float | None:
    """The mean over a row's seeds, a share; None where the server's figure of any is missing."""
    found = [seed.scores.get(metric) for seed in row.on_server.get(protocol, ())]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def not_returned(result: StudyResult, facts: ProtocolFacts) -> Iterator[str]:
    """What is missing of a protocol that something was returned for, row by row."""
    if not any(found.scores for row in result.rows for found in row.on_server.get(facts.name, ())):
        return
    for row in result.rows:
        reasons = {found.reason for found in row.on_server.get(facts.name, ()) if not found.scores}
        for reason in sorted(reasons):
            if not (reason == NOTHING and row.role != "variant"):
                yield f"{row.name} on {facts.name}: {reason}"


def _column(result: StudyResult, facts: ProtocolFacts, metric: Metric, block: Block, notes: Notes) -> None:
    key = metric_key(facts.name, metric.key)
    for row in result.rows:
        value = server_value(row, facts.name, metric.key)
        if value is None:
            block.put(row.name, key, Cell() if row.role == "variant" else NOT_APPLICABLE)
            continue
        remarks = [not_one_shot(row, facts)] if facts.one_shot and not row.record.asked.one_shot else []
        block.put(row.name, key, Cell(value * metric.scale, footnotes=tuple(notes.add(text) for text in remarks)))
    for cited in result.cited:
        block.put(cited.name, key, NOT_APPLICABLE)
    block.columns.append(
        Column(
            key=key,
            symbol=metric.symbol,
            unit=metric.unit,
            decimals=metric.decimals,
            better="lower" if metric.lower_is_better else "higher",
            group=facts.name,
            panel="accuracy",
            note=f"{metric.symbol}: {metric.description}; by the evaluation server",
            footnotes=(notes.add(_by_the_server(result, facts)),),
        )
    )


def _by_the_server(result: StudyResult, facts: ProtocolFacts) -> str:
    dates = sorted({f.entered for row in result.rows for f in row.on_server.get(facts.name, ()) if f.entered})
    return (
        f"By the evaluation server of {facts.name}, as entered by hand on {', '.join(dates)} for the boxes that are in the"
        " store: no scores of single sequences, so no interval."
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
    block.columns.append(
        Column(
            key=key,
            symbol=f"Δ{metric.symbol}",
            unit="points" if metric.unit == "%" else metric.unit,
            decimals=metric.decimals,
            better="lower" if metric.lower_is_better else "higher",
            group=facts.name,
            panel="accuracy",
            note=f"{metric.symbol} minus that of {baseline.name}",
            signed=True,
            footnotes=(notes.add(PLAIN_DIFFERENCE),),
        )
    )
