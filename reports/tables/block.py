"""A block of columns that belong together, with its cells: what the pivot assembles a table from."""

from dataclasses import dataclass, field

from trackablate.reports.table import Cell, Column


@dataclass
class Block:
    """columns in order; cells: row name to column key to cell."""

    columns: list[Column] = field(default_factory=list)
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)

    def put(self, row: str, key: str, cell: Cell) -> None:
        """Set one cell."""
        self.cells.setdefault(row, {})[key] = cell


NOT_APPLICABLE = Cell(text="")
"""A figure that cannot exist for the row, such as the training time of a floor: blank, where a dash is missing data."""


def si(largest: float) -> tuple[float, str]:
    """Divisor and prefix with which the largest figure of a column is at least 1."""
    for divisor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if largest >= divisor:
            return divisor, prefix
    return 1.0, ""


def decimals_for(largest: float) -> int:
    """Decimals that leave about three digits to the largest figure of a column."""
    return 0 if largest >= 1000 else 1 if largest >= 10 else 2
