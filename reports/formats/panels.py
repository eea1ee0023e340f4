"""How every renderer writes a figure, and how a wide table is cut into panels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from trackablate.reports.table import Cell, Column, Table, TableRow

DASH = "–"
LITTLE = 30
"""Characters up to which a sentence of a footnote says little, such as the name of a dialect."""


def figure(cell: Cell | None, column: Column) -> str:
    """Return a cell's figure or words, a dash if it is missing."""
    if cell is None or (cell.value is None and cell.text is None):
        return DASH
    return cell.text if cell.text is not None else column.written(cell.value or 0.0)


def interval(cell: Cell | None, column: Column) -> str:
    """Return the interval in brackets, empty if there is none."""
    if cell is None or cell.low is None or cell.high is None:
        return ""
    return f"[{column.written(cell.low)}, {column.written(cell.high)}]"


def direction(cell: Cell | None, column: Column) -> Literal["better", "worse", ""]:
    """Return to which side a signed cell's difference is resolved, empty if it is not resolved."""
    if cell is None or not column.signed or not cell.resolved or cell.delta is None:
        return ""
    return "better" if (cell.delta > 0) == (column.better != "lower") else "worse"


def heading(column: Column) -> str:
    """Return symbol and unit."""
    return f"{column.symbol} ({column.unit})" if column.unit else column.symbol


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one heading."""

    title: str
    columns: tuple[Column, ...]


def groups(columns: Sequence[Column]) -> tuple[Group, ...]:
    """Return the columns' headings in order."""
    return tuple(Group(title, tuple(found)) for title, found in groupby(columns, key=lambda c: c.group))


@dataclass(frozen=True)
class Panel:
    """A part of the table that is printed as a table of its own, with the rows that have a figure in it."""

    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]


def panels(table: Table, most: int) -> tuple[Panel, ...]:
    """Return the table cut where the columns' panel changes, and before the group that makes it wider than `most` columns.

    The factors never stand alone; a group of more columns is cut too.
    """
    runs: list[list[Column]] = [[]]
    for group in groups(table.columns):
        last = runs[-1]
        fits = last and last[-1].panel == group.columns[0].panel and len(last) + len(group.columns) <= most
        if not fits and any(column.group for column in last):
            runs.append([])
        for column in group.columns:
            if len(runs[-1]) == most:
                runs.append([])
            runs[-1].append(column)
    return tuple(panel_of(table, tuple(columns)) for columns in runs if columns)


def page_panels(table: Table) -> tuple[Panel, ...]:
    """Return the table in parts that fit a page of 1,050 pixels. An interval is wider than a figure."""
    intervals = any(cell.low is not None for row in table.rows for cell in row.cells.values())
    return panels(table, 10 if intervals else 16)


def panel_of(table: Table, columns: tuple[Column, ...]) -> Panel:
    """Return these columns with the rows that have anything in them."""
    shown = tuple(row for row in table.rows if any(_says_something(row.cells.get(c.key)) for c in columns))
    return Panel(columns, shown)


def _says_something(cell: Cell | None) -> bool:
    """Return whether a cell has a figure, words or a dash, and not the blank of what cannot exist."""
    return cell is None or cell.text != ""


def mark(index: int) -> str:
    """Return the mark of a footnote in every format, counted from 0: a, b, ... z, aa, ab. A number would read as a power."""
    letter = chr(ord("a") + index % 26)
    return letter if index < 26 else mark(index // 26 - 1) + letter


def references(footnotes: tuple[int, ...]) -> str:
    """Return the marks of some footnotes."""
    return ",".join(map(mark, sorted(footnotes)))


def beginning(footnote: str) -> str:
    """Return the first sentence of a footnote, and the second too if the first says little."""
    sentences = re.split(r"(?<=[\w)%]\.)(?<!\b[A-Z]\.) (?=[A-Z*])", footnote)  # not after an initial
    return " ".join(sentences[: 1 if len(sentences[0]) >= LITTLE else 2])
