"""How every figure is drawn: palette, canvas, legend, and the files it becomes.

matplotlib is imported only when a figure is drawn, without pyplot and its global state. The same input gives the same
bytes: no dates, fixed ids.
"""

import io
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trackablate.datasets.errors import printable
from trackablate.harness.tracking.overlay import PALETTE
from trackablate.reports.figures.paper_style import COLUMN_WIDTH, TEXT_WIDTH
from trackablate.reports.figures.values import Readings, ValueTable
from trackablate.reports.results import Result
from trackablate.reports.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

GREY = "#777777"
"""The floors' colour."""
MARKERS = "osD^vPX*h"
LONGEST_NAME = 34
"""Characters of a name in a drawing."""
Dash = Literal["-", "--", ":", "-."]
DASHES: tuple[Dash, ...] = ("--", ":", "-.")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Picture:
    """One figure as files and for the page.

    Attributes:
        pdf: None if only a page is made.
        png: The same as pixels, for a figure that shows images.
        alt: What the figure shows, in words.
        values: What each mark stands for.
    """

    name: str
    svg: bytes
    pdf: bytes | None
    alt: str
    caption: str
    values: ValueTable | None = None
    png: bytes | None = None

    def files(self) -> dict[str, bytes]:
        """Return its files by their place in a report."""
        kinds = {"svg": self.svg, "pdf": self.pdf, "png": self.png}
        return {f"figures/{self.name}.{kind}": content for kind, content in kinds.items() if content is not None}

    @property
    def inline(self) -> str:
        """The SVG element alone, its ids made unique to this figure so that several fit on one page."""
        text = self.svg.decode()
        text = text[text.index("<svg") :]
        text = re.sub(r'\bid="', f'id="{self.name}-', text)
        return re.sub(r'(url\(#|href="#)', rf"\g<1>{self.name}-", text)


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn and not yet a file, with what its marks stand for.

    Attributes:
        dpi: Resolution of its images in print; None if it has no images.
    """

    name: str
    figure: "Figure"
    alt: str
    caption: str
    readings: Readings | None = None
    dpi: int | None = None


@dataclass(frozen=True)
class Look:
    """How one row is drawn, the same in every figure."""

    colour: str
    marker: str
    dash: Dash


Draw = Callable[[Result, Table, dict[str, Look]], Drawing | None]
"""Draws a figure of a result, its main table and the rows' looks, or nothing if there is nothing to draw."""


def looks_of(result: Result) -> dict[str, Look]:
    """Return each row's look: variants and cited trackers in colours, floors and controls in grey dashes."""
    coloured = [row.name for row in (*result.variants, *result.of_role("cited"))]
    others = [row.name for row in result.of_role("floor", "control")]
    return distinct_looks(coloured) | {n: Look(GREY, "", DASHES[i % len(DASHES)]) for i, n in enumerate(others)}


def distinct_looks(names: Sequence[str]) -> dict[str, Look]:
    """Return a colour and a marker for each name; once the colours run out, dashes tell the rounds apart."""
    dashes: tuple[Dash, ...] = ("-", *DASHES)
    turns = ((divmod(index, len(PALETTE)), name) for index, name in enumerate(names))
    return {name: Look(PALETTE[at], MARKERS[at], dashes[turn % len(dashes)]) for (turn, at), name in turns}


def canvas(
    columns: int, height: float, rows: int = 1, sharey: bool = False, width: float | None = None, polar: bool = False
) -> tuple["Figure", list["Axes"]]:
    """Return a figure and its axes, row by row.

    `height` is that of one row and `width` that of the figure, in inches; without a width, one that suits the columns.
    """
    from matplotlib.figure import Figure

    width = width or {1: 5.6, 2: 7.2}.get(columns, 9.4)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    kind = {"projection": "polar"} if polar else None
    axes = figure.subplots(rows, columns, sharey=sharey, squeeze=False, subplot_kw=kind)
    return figure, list(axes.flat)


def panels(number: int, height: float, most: int = 3, polar: bool = False) -> tuple["Figure", list["Axes"]]:
    """Return a figure of `number` axes, at most so many side by side; further places stay blank."""
    columns = min(number, most)
    wide = 7.4 if polar and columns == 1 else None  # words stand all around a circle, and the legend beside them
    figure, axes = canvas(columns, height, rows=-(-number // columns), width=wide, polar=polar)
    for ax in axes[number:]:
        ax.set_axis_off()
    return figure, axes[:number]


def telling(points: Collection[tuple[float, float]]) -> bool:
    """Return whether points differ on both axes. A panel of others shows nothing, and is left out."""
    xs, ys = {x for x, _ in points}, {y for _, y in points}
    return len(xs) > 1 and len(ys) > 1


def legend(ax: "Axes", rows: dict[str, Look], place: str) -> None:
    """Draw a legend."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.marker, linewidth=1.5, markersize=5)
        for look in rows.values()
    ]
    beside = {"loc": "center left", "bbox_to_anchor": (1.5 if ax.name == "polar" else 1.02, 0.5)}
    drawn = ax.legend(
        handles, [str(index) for index in range(len(rows))], **(beside if place == "right" else {"loc": place})
    )
    name_entries(drawn, rows)


def name_entries(legend: "Legend", names: Collection[str]) -> None:
    """Set the texts of a legend after it is drawn, since matplotlib drops labels that start with an underscore."""
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text("\n".join(short(line) for line in name.split("\n")))


def short(name: str) -> str:
    """Return a name that leaves room for the drawing: a long one loses its middle."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 12]}…{name[-11:]}"


def listed(values: dict[str, float]) -> str:
    """Return names with their numbers, for a figure in words."""
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())


def paper_file(figure: "Figure", kind: Literal["pdf", "png"] = "pdf", dpi: int | None = None) -> bytes:
    """Return a figure drawn in the style of a paper, at its column's or its text's width.

    The height shrinks less than the width, since the type keeps its size.
    """
    wide, high = figure.get_size_inches()
    width = COLUMN_WIDTH if wide < TEXT_WIDTH else TEXT_WIDTH
    figure.set_size_inches(width, high * (width / wide) ** 0.6)
    content = io.BytesIO()
    dates = {"pdf": ("CreationDate", "Creator", "Producer"), "png": ("Software",)}
    figure.savefig(content, format=kind, dpi=dpi or "figure", metadata=dict.fromkeys(dates[kind]))
    return content.getvalue()


def picture(drawing: Drawing) -> Picture:
    """Return a drawing as an SVG file, always the same bytes."""
    from matplotlib import rc_context

    svg, figure = io.BytesIO(), drawing.figure
    with rc_context({"svg.hashsalt": drawing.name}):
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    figure.set_layout_engine("none")  # the places of the marks are those of the file
    values = drawing.readings.placed(figure) if drawing.readings else None
    content = printable(svg.getvalue().decode()).encode()  # names of sequences may have what no XML file may hold
    return Picture(drawing.name, content, None, drawing.alt, drawing.caption, values)
