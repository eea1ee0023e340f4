"""Why a row has no figure on a protocol, in words."""

from collections.abc import Iterator, Sequence

from trackablate.harness.exchange.server_scores import NOT_SUBMITTED, NOTHING
from trackablate.harness.record import RunRecord
from trackablate.harness.scoring.metrics import METRICS
from trackablate.reports.results import ProtocolFacts, RowResult, StudyResult
from trackablate.reports.tables.effects import complete
from trackablate.reports.tables.server import has_scores, server_value

GENERAL = (NOT_SUBMITTED, NOTHING)
"""What holds of every row before anything was submitted, and of floors and controls mostly for good."""


def absent(result: StudyResult) -> Iterator[str]:
    """Every row without a figure, protocol by protocol, with the reason."""
    present = {row.name for row in result.rows}
    yield from (f"{row.name}: not asked for" for row in result.study.rows if row.name not in present)
    for row in result.rows:
        for facts in result.protocols:
            if complete(row, facts) is None:
                yield f"{row.name} on {facts.name}: {_reason(row, facts.name)}"
        for facts in result.on_server:
            yield from (f"{row.name} on {facts.name}: {text}" for text in _server_reasons(result, row, facts))


def of_seed(row: RowResult, record: RunRecord) -> str:
    """Which of a row's runs it is, "" where there is one."""
    return f" (seed {record.asked.seed})" if len(row.records) > 1 else ""


def _reason(row: RowResult, protocol: str) -> str:
    found = row.protocols.get(protocol)
    if text := _unfinished(row, (found.records if found else ()) or row.records):
        return text
    if found:
        done = [f"{len(tallies)} of {found.expected} sequences" for tallies in found.seeds]
        return done[0] if len(done) == 1 else "; ".join(f"seed {i}: {text}" for i, text in enumerate(done))
    return "not evaluated"


def _server_reasons(result: StudyResult, row: RowResult, facts: ProtocolFacts) -> Iterator[str]:
    found = row.on_server.get(facts.name)
    if found is None:
        return
    if text := _unfinished(row, found.records):
        yield text
        return
    some = any(has_scores(other, facts.name) for other in result.rows)
    for record, returned in zip(found.records, found.returned, strict=True):
        general = returned.reason in GENERAL and (row.role != "variant" or not some)
        if returned.reason and not general:
            yield f"{returned.reason}{of_seed(row, record)}"
    if all(returned.scores for returned in found.returned):
        lacking = [METRICS[m].symbol for m in facts.metrics if server_value(row, facts.name, m) is None]
        if lacking:
            yield f"{', '.join(lacking)} not entered"


def _unfinished(row: RowResult, records: Sequence[RunRecord]) -> str:
    for record in records:
        if record.failure is not None:
            return f"failed{of_seed(row, record)}: {record.failure.summary}"
    if row.role == "variant" and any(r.asked.data is not None and r.training is None for r in records):
        return "not trained to the end"
    return ""
