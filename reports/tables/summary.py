"""The short form of a result for the terminal: its sentences, one table for each protocol, and the footnotes that matter."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables import accuracy
from trackablate.reports.tables.answers import Standing, answers, standings
from trackablate.reports.tables.pivot import absences

MOST_FOOTNOTES = 5
TOLD = (accuracy.METHOD, accuracy.METHOD_OF_SEEDS, accuracy.PAIRED, accuracy.HOLM, accuracy.UNRESOLVED)
"""Beginnings of footnotes that the legend and the sentences say."""
TRAINING, SPEED = "train_device", "fps"


@dataclass(frozen=True)
class Summary:
    """A result in short.

    Attributes:
        sentences: The answer to the result's question.
        tables: One for each protocol, the costs in the first. All have the same footnotes.
        legend: What stands in brackets, in the difference and in the verdict.
        missing: What is missing, one line for each reason.
        left_out: Number of footnotes that the full table has besides.
    """

    title: str
    caveat: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    legend: str
    missing: tuple[str, ...]
    left_out: int


def summary(result: Result, table: Table) -> Summary:
    """Return the short form of a result; `table` is its main table."""
    found = standings(result, table)
    parts = [_part(result, table, one, costs=one is found[0]) for one in found]
    chosen = list(dict.fromkeys(index for index in _by_importance(table, parts) if _untold(table.footnotes[index])))
    chosen = chosen[:MOST_FOOTNOTES]
    return Summary(
        title=f"{table.title}: {table.question}",
        caveat="" if result.study else table.caveat,
        sentences=answers(result, table),
        tables=tuple(_with_footnotes(part, chosen) for part in parts),
        legend=_legend(found),
        missing=tuple(absences(result)),
        left_out=len(table.footnotes) - len(chosen),
    )


def _part(result: Result, table: Table, one: Standing, *, costs: bool) -> Table:
    """Return the rows with anything to say on a protocol: figure, difference, verdict, and a cost or two more metrics."""
    key, first = one.column.key, one.first
    known = {column.key: column for column in table.columns}
    keys = (
        ([key for key in (TRAINING, SPEED) if key in known][:1] if costs else []) if result.study else list(known)[1:3]
    )
    unit = "points" if one.column.unit == "%" else one.column.unit
    columns = (
        replace(one.column, panel=""),
        replace(one.column, key="difference", symbol="Difference", unit=unit, signed=True, panel="", footnotes=()),
        Column("verdict", "Verdict"),
        *(replace(known[key], symbol={TRAINING: "Training"}.get(key, known[key].symbol), panel="") for key in keys),
    )
    rows = []
    for row in table.rows:
        cell = row.cells.get(key)
        if row.role == "cited" and (cell is None or cell.value is None):
            continue
        # The difference keeps its interval and its p value, which decide about its colour.
        difference = Cell() if cell is None else replace(cell, value=cell.delta, low=None, high=None, footnotes=())
        if first is not None and row.name == first.name:
            difference = Cell(text="baseline" if result.study else "best")
        cells = {"difference": difference, "verdict": Cell(text=_verdict(row, one))}
        shown = {key: replace(row.cells[key], low=None, high=None) for key in keys if key in row.cells}
        rows.append(replace(row, cells=shown | cells | ({key: cell} if cell else {})))
    return replace(table, title=one.facts.title, caveat="", columns=columns, rows=tuple(rows), missing=())


def _verdict(row: TableRow, one: Standing) -> str:
    """Return a row's verdict in words."""
    cell = row.cells.get(one.column.key)
    if cell is None or cell.value is None:
        return "missing"
    if row.role in ("floor", "control"):
        return f"{row.role}, not beaten" if cell.beaten is False else row.role
    return "" if one.first is None or row.name == one.first.name or row.role == "cited" else one.verdict(row)


def _by_importance(table: Table, parts: list[Table]) -> Iterator[int]:
    """Yield footnotes: of single figures, of variants, of whole columns. The sentences say what floors are."""
    for part in parts:
        for row in part.rows:
            figures = [row.cells[c.key] for c in part.columns if c.key in row.cells]
            yield from (index for cell in figures if cell.value is not None for index in cell.footnotes)
    yield from (index for row in table.rows if row.role == "variant" for index in row.footnotes)
    yield from (index for part in parts for column in reversed(part.columns) for index in column.footnotes)


def _untold(footnote: str) -> bool:
    return not footnote.startswith((*TOLD, accuracy.RANKING.partition(":")[0]))


def without_footnotes(table: Table) -> Table:
    """Return a further table without what its result's summary or page says."""
    return replace(_with_footnotes(table, []), caveat="", missing=())


def _with_footnotes(table: Table, chosen: list[int]) -> Table:
    """Return the table with these footnotes alone, in this order."""

    def kept(footnotes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(chosen.index(index) for index in footnotes if index in chosen)

    columns = tuple(replace(column, footnotes=kept(column.footnotes)) for column in table.columns)
    rows = tuple(
        replace(
            row,
            footnotes=kept(row.footnotes),
            cells={key: replace(cell, footnotes=kept(cell.footnotes)) for key, cell in row.cells.items()},
        )
        for row in table.rows
    )
    return replace(table, columns=columns, rows=rows, footnotes=tuple(table.footnotes[index] for index in chosen))


def _legend(found: list[Standing]) -> str:
    cells = [one.cell(row) for one in found for row in (*one.variants, *one.floors)]
    texts = ["Brackets: 95 % interval over sequences."] if any(cell.low is not None for cell in cells) else []
    first = next((one.first for one in found if one.first), None)
    if first and any(cell.delta is not None for cell in cells):
        texts.append(f"Difference: to {first.name if len(found) == 1 else 'the baseline'}, on the same sequences.")
        texts.append("Better or worse: Holm-corrected p below 0.05.")
    return " ".join(texts)
