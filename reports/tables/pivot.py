"""One study's records to one table: pure, and the only place where the report decides anything.

Missing data: a missing value poisons its mean, is a dash, ranks last, and every absent run is named. A mean is never
taken over a part of a protocol's sequences. Blank is a figure that cannot exist for the row.
"""

from collections.abc import Iterable
from dataclasses import replace

from trackablate.ablations.study import Row
from trackablate.reports.results import RowResult, StudyResult
from trackablate.reports.table import Cell, Column, Role, Table, TableRow
from trackablate.reports.tables.absence import absent, of_seed
from trackablate.reports.tables.accuracy import protocol_block
from trackablate.reports.tables.block import NOT_APPLICABLE, Block
from trackablate.reports.tables.costs import measured_block
from trackablate.reports.tables.effects import effects
from trackablate.reports.tables.footnotes import Notes
from trackablate.reports.tables.printed import paper_scale_block, published_block
from trackablate.reports.tables.ranking import ranked
from trackablate.reports.tables.server import server_block

ROLES = ("variant", "floor", "control")


def pivot(result: StudyResult) -> Table:
    """The study's table: factors, each protocol, measured cost, size at paper scale, published figures."""
    notes, found = Notes(), effects(result)
    at_row = {row.name: _row_notes(result, row, notes) for row in result.rows}
    remarks = tuple(notes.add(text) for text in result.study.remarks)
    blocks = [
        _factors(result, remarks),
        *(protocol_block(result, facts, found, notes) for facts in result.protocols),
        *(server_block(result, facts, notes) for facts in result.on_server),
        measured_block(result, notes),
        paper_scale_block(result, notes),
        published_block(result, notes),
    ]
    columns = tuple(column for block in blocks for column in block.columns)
    rows = tuple(_row(name, result, blocks, at_row.get(name, ())) for name in _order(result))
    return Table(
        title=result.study.title,
        question=result.study.question,
        caveat=_caveat(result),
        columns=columns,
        rows=_ranked(rows, columns),
        footnotes=notes.texts,
        missing=tuple(dict.fromkeys((*result.missing, *absent(result)))),
    )


def _factors(result: StudyResult, remarks: tuple[int, ...]) -> Block:
    """What is varied; the study's remarks hang on the first column."""
    names = list(result.study.factors)
    block = Block([Column(f"factor:{name}", name, footnotes=remarks if name == names[0] else ()) for name in names])
    words = {row.name: row.cells for row in result.study.rows} | {
        row.name: row.cells for row in result.rows if row.cells
    }
    for name in _order(result):
        cells = (*words.get(name, ()), *("" for _ in block.columns))
        for column, text in zip(block.columns, cells, strict=False):
            block.put(name, column.key, Cell(text=text))
    return block


def _order(result: StudyResult) -> list[str]:
    """Variants in the study's order, absent ones too, then floors, then controls."""
    present = {row.name: row for row in result.rows}
    absent = [row.name for row in result.study.rows if row.name not in present]
    study = [row.name for row in result.study.rows]
    by_role = [row.name for role in ROLES for row in result.rows if row.role == role and row.name not in study]
    return [
        *(name for name in study if name in present or name in absent),
        *by_role,
        *(row.name for row in result.cited),
    ]


def _row(name: str, result: StudyResult, blocks: list[Block], footnotes: tuple[int, ...]) -> TableRow:
    found = next((row for row in result.rows if row.name == name), None)
    cells = {key: cell for block in blocks for key, cell in block.cells.get(name, {}).items()}
    baseline = found.baseline if found else name == result.study.baseline_row.name
    other: Role = "cited" if any(cited.name == name for cited in result.cited) else "variant"
    if other == "cited":  # what nobody ran here has no figures but the printed and the recomputed
        measured = (column.key for block in blocks for column in block.columns if column.panel != "published")
        cells = dict.fromkeys(measured, NOT_APPLICABLE) | cells
    return TableRow(name, found.role if found else other, cells, baseline, footnotes)


def _caveat(result: StudyResult) -> str:
    if result.profile.comparable_with_paper:
        return ""
    return result.profile.caveat or f"Profile {result.profile.name}: not comparable with the paper's figures."


def _row_notes(result: StudyResult, row: RowResult, notes: Notes) -> tuple[int, ...]:
    texts = (
        [f"{row.role.capitalize()}: {row.description.rstrip('.')}."]
        if row.role != "variant" and row.description
        else []
    )
    if row.role == "variant":
        texts += _coupled(result, row)
    texts += [f"Failed{of_seed(row, record)}: {record.failure.summary}" for record in row.records if record.failure]
    if any(record.verdict == "trial" for record in row.records):
        texts.append("Trial: trained from uncommitted or unknown code, not to be published.")
    return tuple(notes.add(text) for text in texts)


def _coupled(result: StudyResult, row: RowResult) -> list[str]:
    """The declared couplings in whose field this row differs from the baseline."""
    asked: Row | None = next((r for r in result.study.rows if r.name == row.name), None)
    if asked is None:
        return []
    changed = result.study.differences(asked)
    return [f"Also differs in {c.field}: {c.reason}." for c in result.study.coupled if _any_within(changed, c.field)]


def _any_within(changed: Iterable[str], field: str) -> bool:
    return any(name == field or name.startswith(f"{field}.") for name in changed)


def _ranked(rows: tuple[TableRow, ...], columns: tuple[Column, ...]) -> tuple[TableRow, ...]:
    """Ranks among the variants, column by column; what is missing ranks last."""
    cells = {row.name: dict(row.cells) for row in rows}
    variants = [row.name for row in rows if row.role == "variant"]
    for column in (c for c in columns if c.better and not c.signed):
        of_column = {name: cells[name].get(column.key, Cell()) for name in variants}
        found = ranked(of_column, column.decimals, column.better or "higher")
        for name in (n for n, cell in found.items() if cell.rank is not None):
            cells[name][column.key] = found[name]
    return tuple(replace(row, cells=cells[row.name]) for row in rows)
