"""What a figure's marks stand for: a table of values under the figure, each with its place in the drawing.

The table is for readers who cannot see the drawing; the page's script shows the same values at the pointer.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72


@dataclass(frozen=True)
class Value:
    """One mark: its text, and its place in the SVG's own units from the upper left corner."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class ValueTable:
    """The values of one figure.

    Attributes:
        corner: What the rows are.
        columns: The series.
        rows: Where the series are read, with a value or None for each.
    """

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Value | None, ...]], ...]


@dataclass
class Readings:
    """Collects values while a figure is drawn; their places are known once it is laid out.

    Attributes:
        corner: What the rows are.
        prefix: What stands before each row, to tell the panels of a figure apart.
    """

    corner: str
    prefix: str = ""
    _marks: dict[tuple[str, str], tuple["Axes", float, float, str]] = field(default_factory=dict)

    def add(self, ax: "Axes", at: str, series: str, place: tuple[float, float], text: str) -> None:
        """Add a mark at `place` in the axes' data coordinates."""
        self._marks[f"{self.prefix}{at}", series] = (ax, *place, text)

    def of(self, panel: str) -> "Readings":
        """Return the same collection for one panel, whose rows are named after it."""
        return replace(self, prefix=f"{panel}, ")

    def placed(self, figure: "Figure") -> ValueTable:
        """Return the table, for a figure whose layout is final."""
        columns, rows = (tuple(dict.fromkeys(key[axis] for key in self._marks)) for axis in (1, 0))
        values = {key: _value(figure, *mark) for key, mark in self._marks.items()}
        return ValueTable(self.corner, columns, tuple((at, tuple(values.get((at, c)) for c in columns)) for at in rows))


def _value(figure: "Figure", ax: "Axes", x: float, y: float, text: str) -> Value:
    """Return a mark's place: matplotlib counts pixels from the lower left corner, SVG points from the upper left."""
    across, up = ax.transData.transform((x, y)) * POINTS_PER_INCH / figure.dpi
    return Value(text, float(across), float(figure.get_figheight() * POINTS_PER_INCH - up))
