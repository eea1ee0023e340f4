"""Makes the main table of a result. Its order, ranks, missing figures and footnotes are decided here.

The one rule for missing data: a missing value makes its mean missing, is shown as a dash, and ranks last; every absent
run is named. A mean is never taken over a part of a protocol's sequences, unless the user allows it for raw results, and
then every table says so. A blank cell is a figure that cannot exist for the row.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from trackablate.ablations.study import Row, Study
from trackablate.harness.exchange.server_scores import NOT_SUBMITTED, NOTHING
from trackablate.harness.record import RunRecord
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker
from trackablate.reports.results import Result, coverage, standing
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import add_protocol, value_of
from trackablate.reports.tables.block import NOT_APPLICABLE, Block, Footnotes, ranked
from trackablate.reports.tables.costs import add_measured
from trackablate.reports.tables.effects import effects, floor_effects
from trackablate.reports.tables.printed import add_paper_scale, add_published
from trackablate.trackers.spec import OutsideSpec

ROLES = ("variant", "floor", "control")
GENERAL = (NOT_SUBMITTED, NOTHING)
"""Reasons that hold for every row until something is submitted: they are given once, not for each row."""

UNLIKE_OTHERS = (TRIAL, OUTSIDE) = ("Trial", "Outside tracker, not trained here")
"""Beginnings of the footnotes of variants whose figures are not like the others'."""


def pivot(result: Result) -> Table:
    """Return the main table: factors, each protocol, measured cost, size at paper scale, published figures."""
    footnotes, block = Footnotes(), Block()
    found, floors = effects(result), floor_effects(result)
    at_row = {row.name: _row_notes(result, row, footnotes) for row in result.rows}
    if result.study:
        _add_factors(result, result.study, block, footnotes)
    for facts in result.protocols:
        add_protocol(result, facts, found, floors, block, footnotes)
    if result.study:
        add_measured(result, block, footnotes)
        add_paper_scale(result, block, footnotes)
        add_published(result, block, footnotes)
    columns = tuple(block.columns)
    rows = tuple(_row(name, result, block, at_row.get(name, ())) for name in _order(result))
    return Table(
        title=result.title,
        question=result.question,
        caveat=result.caveat,
        columns=columns,
        rows=_ranked(result, rows, columns),
        footnotes=footnotes.texts,
        missing=missing(result),
        corner="Row" if result.study else "Tracker",
        subject=result.subject,
    )


def missing(result: Result) -> tuple[str, ...]:
    """Return everything that should be in the report and is not, with the reason."""
    return tuple(dict.fromkeys((*result.missing, *(f"{name}{what}" for name, what in _absent(result)))))


def absences(result: Result) -> list[str]:
    """Return what `missing` returns, one line for each reason, with all its rows."""
    names: dict[str, list[str]] = {}
    for name, what in _absent(result):
        names.setdefault(what, []).append(name)
    return [*dict.fromkeys(result.missing), *(f"{', '.join(rows)}{what}" for what, rows in names.items())]


def protocol_table(
    result: Result,
    facts: ScoredProtocol,
    title: str,
    columns: Iterable[Column],
    rows: Iterable[TableRow],
    footnotes: Footnotes | None = None,
    *,
    question: str = "",
    corner: str = "Tracker",
) -> Table:
    """Return a further table of one protocol; it names what is missing if the trackers are raw results."""
    return Table(
        title=f"{facts.title}: {title}",
        question=question or coverage(facts),
        caveat=result.caveat,
        columns=tuple(columns),
        rows=tuple(rows),
        footnotes=footnotes.texts if footnotes else (),
        missing=missing(result) if not result.study else (),
        corner=corner,
        subject=result.subject,
    )


def _add_factors(result: Result, study: Study, block: Block, footnotes: Footnotes) -> None:
    """Add the columns of what a study varies; its remarks stand at the first."""
    words = {row.name: row.cells for row in study.rows} | {r.name: r.cells for r in result.rows if r.cells}
    remarks = tuple(map(footnotes.add, study.remarks))
    for at, name in enumerate(study.factors):
        cells = {row: Cell(text=texts[at]) for row, texts in words.items() if at < len(texts)}
        block.add(Column(f"factor:{name}", name, footnotes=() if at else remarks), cells, _order(result))


def _order(result: Result) -> list[str]:
    """Return a study's variants in its own order, absent ones too, then floors, controls and cited trackers."""
    if result.study is None:
        return [row.name for row in standing(result)]
    study = [row.name for row in result.study.rows]
    others = [row.name for role in ROLES for row in result.of_role(role) if row.name not in study]
    return [*study, *others, *(row.name for row in result.of_role("cited"))]


def _row(name: str, result: Result, block: Block, footnotes: tuple[int, ...]) -> TableRow:
    found = next((row for row in result.rows if row.name == name), None)
    cells = block.cells.get(name, {})
    if found is None:  # a row of the study that was not asked for
        baseline = result.study is not None and name == result.study.baseline_row.name
        return TableRow(name, "variant", cells, baseline, footnotes)
    if found.role == "cited":  # nobody ran it here: it has no figures but printed and recomputed ones
        measured = (column.key for column in block.columns if column.panel != "published")
        cells = dict.fromkeys(measured, NOT_APPLICABLE) | cells
    return TableRow(name, found.role, cells, found.baseline, footnotes)


def _row_notes(result: Result, row: ScoredTracker, footnotes: Footnotes) -> tuple[int, ...]:
    texts = []
    if row.role != "variant" and row.description:
        texts.append(f"{row.role.capitalize()}: {row.description.rstrip('.')}.")
    if row.role == "variant":
        texts += _coupled(result, row) + _from_outside(row)
    texts += [f"Failed{_of_seed(row, record)}: {record.failure.summary}" for record in row.records if record.failure]
    if any(record.verdict == "trial" for record in row.records):
        texts.append(f"{TRIAL}: trained from uncommitted or unknown code, not to be published.")
    return tuple(footnotes.add(text) for text in texts)


def _from_outside(row: ScoredTracker) -> list[str]:
    """Return what a row is that was not trained here."""
    asked = row.record.asked if row.record else None
    if asked and asked.imported:
        return [f"Imported, not trained here: the weights of the file with SHA-256 {asked.imported.sha256}."]
    outside = asked.tracker if asked and isinstance(asked.tracker, OutsideSpec) else None
    way = "its FPS includes the way of the frames to its process"
    return [f"{OUTSIDE}: {outside.name}; {way}."] if outside else []


def _coupled(result: Result, row: ScoredTracker) -> list[str]:
    """Return the declared couplings in whose field this row differs from the baseline."""
    if result.study is None:
        return []
    asked: Row | None = next((r for r in result.study.rows if r.name == row.name), None)
    published = result.profile is None or result.profile.recipe is None
    changed = result.study.differences(asked, published=published) if asked else ()
    return [f"Also differs in {c.field}: {c.reason}." for c in result.study.coupled if _any_within(changed, c.field)]


def _any_within(changed: Iterable[str], field: str) -> bool:
    return any(name == field or name.startswith(f"{field}.") for name in changed)


def _ranked(result: Result, rows: tuple[TableRow, ...], columns: tuple[Column, ...]) -> tuple[TableRow, ...]:
    """Return the rows with ranks among the variants, column by column; missing figures and those of a part rank last."""
    cells = {row.name: dict(row.cells) for row in rows}
    variants = [row.name for row in rows if row.role == "variant"]
    partial = [facts.name for facts in result.protocols if facts.allow_incomplete]
    last = frozenset(row.name for row in result.rows if any(not row.protocols[name].complete for name in partial))
    for column in (c for c in columns if c.better and not c.signed):
        of_column = {name: cells[name].get(column.key, Cell()) for name in variants}
        found = ranked(of_column, column.decimals, column.better or "higher", last)
        for name in (n for n, cell in found.items() if cell.rank is not None):
            cells[name][column.key] = found[name]
    return tuple(replace(row, cells=cells[row.name]) for row in rows)


def _absent(result: Result) -> Iterator[tuple[str, str]]:
    """Yield the name of every row without a figure, protocol by protocol, and the reason."""
    if result.study:
        present = {row.name for row in result.rows}
        yield from ((row.name, ": not asked for") for row in result.study.rows if row.name not in present)
    for row in standing(result):
        for facts in result.protocols if row.role != "cited" else ():
            reasons = _server_reasons(result, row, facts) if facts.on_server else _reasons(row, facts)
            yield from ((row.name, f" on {facts.name}: {text}") for text in reasons)


def _of_seed(row: ScoredTracker, record: RunRecord) -> str:
    """Return which of a row's runs it is, empty for a single one."""
    return f" (seed {record.asked.seed})" if len(row.records) > 1 else ""


def _reasons(row: ScoredTracker, facts: ScoredProtocol) -> Iterator[str]:
    found = row.protocols.get(facts.name)
    if found is not None and found.complete:
        return
    if text := _unfinished(row, (found.records if found else ()) or row.records):
        yield text
    else:
        yield found.incompleteness if found else "not evaluated"


def _server_reasons(result: Result, row: ScoredTracker, facts: ScoredProtocol) -> Iterator[str]:
    found = row.protocols.get(facts.name)
    if found is None:
        return
    if text := _unfinished(row, found.records):
        yield text
        return
    some = result.has_returned(facts.name)
    for record, returned in zip(found.records, found.returned, strict=True):
        general = returned.reason in GENERAL and (row.role != "variant" or not some)
        if returned.reason and not general:
            yield f"{returned.reason}{_of_seed(row, record)}"
    if all(returned.scores for returned in found.returned):
        lacking = [METRICS[m].symbol for m in facts.metrics if value_of(row, facts, METRICS[m]) is None]
        if lacking:
            yield f"{', '.join(lacking)} not entered"


def _unfinished(row: ScoredTracker, records: Sequence[RunRecord]) -> str:
    for record in records:
        if record.failure is not None:
            return f"failed{_of_seed(row, record)}: {record.failure.summary}"
    if row.role == "variant" and any(r.asked.data is not None and r.training is None for r in records):
        return "not trained to the end"
    return ""
