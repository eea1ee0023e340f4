"""How every renderer writes a figure, and how a wide table is cut into panels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from trackablate.reports.table import Cell, Column, Table, TableRow

DASH = "–"


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


def panels(table: Table, fits: Callable[[tuple[Column, ...]], bool] = lambda columns: True) -> tuple[Panel, ...]:
    """Return the table cut where the columns' panel changes, and before a group with which the columns no longer fit.

    A group is split only if it does not fit alone, or beside the factors, which never stand alone.
    """
    packed: list[tuple[Column, ...]] = []
    for group in groups(table.columns):
        last = packed[-1] if packed else ()
        joins = bool(last) and (not last[-1].group or last[-1].panel == group.columns[0].panel)
        if joins and fits((*last, *group.columns)):
            packed[-1] = (*last, *group.columns)
        elif joins and not (last[-1].group and fits(group.columns)):
            packed[-1:] = _filled((*last, *group.columns), fits)
        else:
            packed += _filled(group.columns, fits)
    return tuple(panel_of(table, columns) for columns in packed)


def _filled(columns: tuple[Column, ...], fits: Callable[[tuple[Column, ...]], bool]) -> list[tuple[Column, ...]]:
    """Return the columns in runs that fit, each as long as possible; the last column does not stand alone."""
    runs: list[tuple[Column, ...]] = [()]
    for column in columns:
        if runs[-1] and not fits((*runs[-1], column)):
            runs.append(())
        runs[-1] += (column,)
    if len(runs) > 1 and len(runs[-1]) == 1 < len(runs[-2]):
        runs[-2:] = [runs[-2][:-1], (runs[-2][-1], *runs[-1])]
    return runs


def panel_of(table: Table, columns: tuple[Column, ...]) -> Panel:
    """Return these columns with the rows that have anything in them."""
    shown = tuple(row for row in table.rows if any(_says_something(row.cells.get(c.key)) for c in columns))
    return Panel(columns, shown)


def _says_something(cell: Cell | None) -> bool:
    """Return whether a cell has a figure, words or a dash, and not the blank of what cannot exist."""
    return cell is None or cell.text != ""


def used_notes(panel: Panel) -> tuple[int, ...]:
    """Return the footnotes that a panel refers to, in order."""
    cells = [cell for row in panel.rows for c in panel.columns if (cell := row.cells.get(c.key)) is not None]
    carriers: tuple[Column | TableRow | Cell, ...] = (*panel.rows, *panel.columns, *cells)
    return tuple(sorted({index for carrier in carriers for index in carrier.footnotes}))


def references(footnotes: tuple[int, ...]) -> str:
    """Return the printed numbers of footnotes, counted from 1."""
    return ",".join(str(index + 1) for index in footnotes)
