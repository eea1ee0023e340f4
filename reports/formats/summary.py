"""The short form of a result for terminal and page: sentences, a table for each protocol, the footnotes that matter."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables import accuracy, pivot
from trackablate.reports.tables.answers import Standing, answers, standings
from trackablate.reports.tables.block import NOT_APPLICABLE

MOST_FOOTNOTES = 5
TOLD = (
    accuracy.RANKING,
    accuracy.METHOD,
    accuracy.METHOD_OF_SEEDS,
    accuracy.PAIRED,
    accuracy.HOLM,
    accuracy.UNRESOLVED,
    accuracy.UNBEATEN,
)
"""Beginnings of footnotes that the legend and the sentences say."""
TRAINING, MEMORY, SPEED, DIFFERENCE, VERDICT = "train_device", "memory", "fps", "difference", "verdict"


@dataclass(frozen=True)
class Summary:
    """A result in short.

    Attributes:
        sentences: The answer to the result's question.
        parts: A table for each protocol, the costs in the first, with all footnotes of the full table.
        legend: What stands in brackets, in the difference and in the verdict.
        missing: What is missing, one line for each reason.
        footnotes: Number of footnotes of the full table.
    """

    title: str
    caveat: str
    sentences: tuple[str, ...]
    parts: tuple[Table, ...]
    legend: str
    missing: tuple[str, ...]
    footnotes: int

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The parts with the most important footnotes of what they show, the same for all."""
        untold = (index for index in _by_importance(self.parts) if _untold(self.parts[0].footnotes[index]))
        chosen = list(dict.fromkeys(untold))[:MOST_FOOTNOTES]
        return tuple(_with_footnotes(part, chosen) for part in self.parts)

    @property
    def left_out(self) -> int:
        """Number of footnotes that the full table has besides."""
        return self.footnotes - (len(self.tables[0].footnotes) if self.tables else 0)

    def with_columns(self, keys: Sequence[Sequence[str]]) -> "Summary":
        """Return the summary with these columns alone, given for each part, and the footnotes of these."""
        parts = [
            replace(part, columns=tuple(column for column in part.columns if column.key in kept))
            for part, kept in zip(self.parts, keys, strict=True)
        ]
        return replace(self, parts=tuple(parts))


def summary(result: Result, table: Table, *, wide: bool = False) -> Summary:
    """Return the short form of a result; `table` is its main table.

    `wide` is for more than the 80 columns of a terminal: it has every cost, and what the paper prints.
    """
    found = [one for one in standings(result, table) if one.variants or one.floors]
    return Summary(
        title=f"{table.title}: {table.question}",
        caveat="" if result.study else table.caveat,
        sentences=answers(result, table),
        parts=tuple(
            _part(result, table, one, _further(result, table, one, wide, first=one is found[0])) for one in found
        ),
        legend=_legend(found, result.seeds),
        missing=tuple(pivot.absences(result)),
        footnotes=len(table.footnotes),
    )


def _further(result: Result, table: Table, one: Standing, wide: bool, *, first: bool) -> list[str]:
    """Return the keys of the columns after the verdict: costs in the first part and what is printed, or two more metrics."""
    known = [column.key for column in table.columns]
    if not result.study:
        return known[1:3]
    costs = [key for key in ((TRAINING, MEMORY, SPEED) if wide else (TRAINING, SPEED)) if key in known]
    printed = [key for key in known if wide and key.startswith("published_") and ":" in key and "epochs" not in key]
    same = [key for key in printed if key == f"published_{one.column.key}"]
    costs = costs if wide else costs[:1]
    return (costs if first else []) + (same or (printed if first else []))[:1]


def _part(result: Result, table: Table, one: Standing, more: list[str]) -> Table:
    """Return the rows with anything to say on a protocol: figure, difference, verdict, and further columns."""
    known = {column.key: column for column in table.columns}
    shown = [r for r in table.rows if r.role != "cited" or r.cells.get(one.column.key, Cell()).value is not None]
    rows = [_row(row, one, more) for row in shown]
    unit = "points" if one.column.unit == "%" else one.column.unit
    compared = (
        replace(one.column, key=DIFFERENCE, symbol="Difference", unit=unit, signed=True, footnotes=()),
        Column(VERDICT, "Verdict"),
    )
    further = (replace(known[key], symbol="Training" if key == TRAINING else known[key].symbol) for key in more)
    columns = (one.column, *(compared if any(DIFFERENCE in row.cells for row in rows) else ()), *further)
    columns = tuple(replace(column, panel="") for column in columns)
    return replace(table, title=one.facts.title, caveat="", columns=columns, rows=tuple(rows), missing=())


def _row(row: TableRow, one: Standing, more: list[str]) -> TableRow:
    key, figure = one.column.key, row.cells.get(one.column.key, Cell())
    cells = {key: replace(cell, low=None, high=None) for key in more if (cell := row.cells.get(key)) is not None}
    cells |= {key: figure, VERDICT: Cell(text=_verdict(row, figure, one))}
    if one.first is not None and row.name == one.first.name and one.rival is not None:
        cells[DIFFERENCE] = Cell(text="baseline" if row.baseline else "best")
    elif figure.delta is not None and row.role != "floor":  # its interval and p value decide about the colour
        cells[DIFFERENCE] = replace(figure, value=figure.delta, low=None, high=None, rank=None, footnotes=())
    elif row.role == "cited":
        cells[DIFFERENCE] = NOT_APPLICABLE
    return replace(row, cells=cells)


def _verdict(row: TableRow, cell: Cell, one: Standing) -> str:
    """Return a row's verdict in words."""
    if cell.value is None:
        return "missing"
    if row.role != "variant":
        return row.role if cell.beaten is None else "beaten" if cell.beaten else "unbeaten"
    return "" if one.first is None or row.name == one.first.name else one.verdict(row)


def _by_importance(parts: Sequence[Table]) -> Iterator[int]:
    """Yield footnotes: what unlike variants are, then of figures, of variants, of columns. The sentences tell of floors."""
    of_variants = [index for part in parts for row in part.rows if row.role == "variant" for index in row.footnotes]
    yield from (index for index in of_variants if parts[0].footnotes[index].startswith(pivot.UNLIKE_OTHERS))
    for part in parts:
        for row in part.rows:
            figures = [row.cells[c.key] for c in part.columns if c.key in row.cells]
            yield from (index for cell in figures if cell.value is not None for index in cell.footnotes)
    yield from of_variants
    yield from (index for part in parts for column in reversed(part.columns) for index in column.footnotes)


def _untold(footnote: str) -> bool:
    return not footnote.startswith(tuple(text.partition("{")[0] for text in TOLD))


def without_footnotes(table: Table) -> Table:
    """Return a further table without what its result's summary or page says."""
    return replace(_with_footnotes(table, []), caveat="", missing=())


def _with_footnotes(table: Table, chosen: list[int]) -> Table:
    """Return the table with these footnotes alone, in this order."""

    def kept(footnotes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(chosen.index(index) for index in footnotes if index in chosen)

    rows = [
        replace(
            row,
            footnotes=kept(row.footnotes),
            cells={k: replace(c, footnotes=kept(c.footnotes)) for k, c in row.cells.items()},
        )
        for row in table.rows
    ]
    columns = []
    for column in table.columns:  # what holds of every figure stands at its column
        figures = [cell for row in rows if (cell := row.cells.get(column.key, Cell())).value is not None]
        shared = set.intersection(*(set(cell.footnotes) for cell in figures)) if figures else set[int]()
        for row in rows if shared else ():
            cell = row.cells.get(column.key, Cell())
            row.cells[column.key] = replace(cell, footnotes=tuple(sorted(set(cell.footnotes) - shared)))
        columns.append(replace(column, footnotes=tuple(sorted({*kept(column.footnotes), *shared}))))
    return replace(
        table, columns=tuple(columns), rows=tuple(rows), footnotes=tuple(table.footnotes[index] for index in chosen)
    )


def _legend(found: list[Standing], seeds: int) -> str:
    cells = [one.cell(row) for one in found for row in (*one.variants, *one.floors)]
    over = f"over sequences and up to {seeds} seeds or repetitions" if seeds > 1 else "over sequences"
    texts = [f"Brackets: 95 % interval {over}."] if any(cell.low is not None for cell in cells) else []
    first = next((one.first for one in found if one.first), None)
    if first and any(cell.delta is not None for cell in cells):
        texts.append(f"Difference: to {first.name if len(found) == 1 else 'the baseline'}, on the same sequences.")
    if any(cell.p is not None for cell in cells):
        texts.append("Better or worse: Holm-corrected p below 0.05; not told apart: it may be chance.")
    if any(cell.beaten is not None for cell in cells):
        texts.append("Beaten or unbeaten: whether the best variant is shown to be better than that row.")
    return " ".join(texts)
