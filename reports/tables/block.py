"""What every table is made from: blocks of columns, numbered footnotes, ranks, units, and a cell with its interval."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from trackablate.reports.statistics.bootstrap import FEWEST_SEQUENCES, Estimate
from trackablate.reports.table import Cell, Column

NOT_APPLICABLE = Cell(text="")
"""A figure that cannot exist for the row, such as the training time of a floor: blank, while missing data are a dash."""


@dataclass
class Block:
    """Columns that belong together, with their cells by row name and column key."""

    columns: list[Column] = field(default_factory=list)
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)

    def put(self, row: str, key: str, cell: Cell) -> None:
        """Set one cell."""
        self.cells.setdefault(row, {})[key] = cell

    def add(self, column: Column, cells: Mapping[str, Cell], blank: Iterable[str] = ()) -> None:
        """Add a column with its cells by row; rows in `blank` that have no cell cannot have a figure."""
        self.columns.append(column)
        for row, cell in (dict.fromkeys(blank, NOT_APPLICABLE) | dict(cells)).items():
            self.put(row, column.key, cell)


class Footnotes:
    """The footnotes of one table, in the order in which they are first needed. Equal ones are one."""

    def __init__(self) -> None:
        self._about: dict[str, list[str]] = {}

    def add(self, text: str, about: str = "") -> int:
        """Return the index of a footnote; the same text has the same index.

        `about` is a name or a number in which equal footnotes differ. All of them stand in the text's braces.
        """
        found = self._about.setdefault(text, [])
        if about and about not in found:
            found.append(about)
        return list(self._about).index(text)

    def shared(self, texts: Mapping[str, str]) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
        """Return the footnotes of a column and those of single rows.

        A text that holds for all rows stands at the column; texts that differ stand at their rows.
        """
        distinct = dict.fromkeys(texts.values())
        if len(distinct) == 1:
            return (self.add(next(iter(distinct))),), {}
        return (), {row: (self.add(text),) for row, text in texts.items()}

    @property
    def texts(self) -> tuple[str, ...]:
        """All footnotes in order."""
        return tuple(text.replace("{}", listed(about)) if about else text for text, about in self._about.items())


def listed(names: Sequence[str]) -> str:
    """Return the names separated by commas, by semicolons if one of them has a comma."""
    return ("; " if any("," in name for name in names) else ", ").join(names)


def ranked(
    cells: Mapping[str, Cell], decimals: int, better: Literal["higher", "lower"], last: frozenset[str] = frozenset()
) -> dict[str, Cell]:
    """Return the cells with their ranks by the figures as printed: equal figures rank alike, missing ones rank last.

    The keys in `last` rank last although they have a figure. If fewer than two different figures are left, there is no
    best, and the cells have no ranks.
    """
    printed = {key: round(c.value, decimals) for key, c in cells.items() if c.value is not None and key not in last}
    distinct = sorted(set(printed.values()), reverse=better == "higher")
    if len(distinct) < 2:
        return dict(cells)
    places = {value: place for place, value in enumerate(distinct, 1)}
    return {
        key: replace(c, rank=places[printed[key]] if key in printed else len(distinct) + 1) for key, c in cells.items()
    }


def cell_of(estimated: Estimate, scale: float, *, bounded: bool = False) -> Cell:
    """Return a cell in the printed unit, a dash if the value is undefined; a bounded interval ends at 0 and 1."""
    if not math.isfinite(estimated.value):
        return Cell(n=estimated.n)
    if estimated.n < FEWEST_SEQUENCES or estimated.low is None or estimated.high is None:
        return Cell(value=estimated.value * scale, n=estimated.n)
    low, high = estimated.low, estimated.high
    if bounded:
        low, high = max(low, 0.0), min(high, 1.0)
    return Cell(value=estimated.value * scale, low=low * scale, high=high * scale, n=estimated.n)


def si(largest: float) -> tuple[float, str]:
    """Return the divisor and prefix that make the largest figure of a column at least 1."""
    for divisor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if largest >= divisor:
            return divisor, prefix
    return 1.0, ""


def time_unit(longest: float) -> tuple[float, str]:
    """Return the divisor and the unit that suit a column of times, for its longest in seconds."""
    return (1.0, "s") if longest < 1200 else (60.0, "min") if longest < 4 * 3600 else (3600.0, "h")


def decimals_for(largest: float) -> int:
    """Return the decimals that leave about three digits to the largest figure of a column."""
    return 0 if largest >= 1000 else 1 if largest >= 10 else 2
