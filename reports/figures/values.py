"""What a figure's marks stand for: a table of values under the figure, each with its place in the drawing.

The table is for readers who cannot see the drawing; the page's script shows the same values at the pointer.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72


@dataclass(frozen=True)
class Value:
    """One mark: what it says, and where it is, in the SVG's own units from its upper left corner."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class ValueTable:
    """The values of one figure: columns are its series; rows: what they are read at, with a value or None for each."""

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Value | None, ...]], ...]


@dataclass
class Readings:
    """Collects values while a figure is drawn; their places are known once it is laid out. corner: what rows are."""

    corner: str
    _marks: dict[tuple[str, str], tuple["Axes", float, float, str]] = field(default_factory=dict)

    def add(self, ax: "Axes", at: str, series: str, place: tuple[float, float], text: str) -> None:
        """A mark at `place` in the axes' data coordinates."""
        self._marks[at, series] = (ax, *place, text)

    def placed(self, figure: "Figure") -> ValueTable:
        """The table, for a figure whose layout is final."""
        columns, rows = (tuple(dict.fromkeys(key[axis] for key in self._marks)) for axis in (1, 0))
        values = {key: _value(figure, *mark) for key, mark in self._marks.items()}
        return ValueTable(self.corner, columns, tuple((at, tuple(values.get((at, c)) for c in columns)) for at in rows))


def _value(figure: "Figure", ax: "Axes", x: float, y: float, text: str) -> Value:
    """Matplotlib counts pixels from the lower left corner, SVG points from the upper left."""
    across, up = ax.transData.transform((x, y)) * POINTS_PER_INCH / figure.dpi
    return Value(text, float(across), float(figure.get_figheight() * POINTS_PER_INCH - up))
