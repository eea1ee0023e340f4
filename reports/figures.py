"""The report's figures: success, accuracy against cost, training. matplotlib is imported where a figure is drawn, without
pyplot and its global state. The same input gives the same bytes: no dates, fixed ids."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.metrics import DIALECTS, METRICS, curve
from harness.record import CurvePoint
from reports.accuracy import metric_key, ordered
from reports.costs import Cost, cost_of
from reports.effects import complete, primary_metric
from reports.results import ProtocolFacts, RowResult, StudyResult
from reports.statistics import curve_band
from reports.table import Cell, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC", "#CA9161", "#56B4E9", "#FBAFE4", "#ECE133")
"""seaborn's "colorblind" palette without its grey, which is the floors'."""
GREY = "#777777"
MARKERS = "osD^vPX*h"
Dash = Literal["-", "--", ":", "-."]
DASHES: tuple[Dash, ...] = ("--", ":", "-.")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
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
    """One figure as files and for the page: alt says in words what it shows."""

    name: str
    svg: bytes
    pdf: bytes
    alt: str
    caption: str

    @property
    def inline(self) -> str:
        """The SVG element alone, its ids made unique to this figure so that several fit on one page."""
        text = self.svg.decode()
        text = text[text.index("<svg") :]
        text = re.sub(r'\bid="', f'id="{self.name}-', text)
        return re.sub(r'(url\(#|href="#)', rf"\g<1>{self.name}-", text)


@dataclass(frozen=True)
class Look:
    """How one row is drawn, the same in every figure."""

    colour: str
    marker: str
    dash: Dash


def pictures(result: StudyResult, table: Table) -> list[Picture]:
    """The figures that the study's data allow, in the page's order."""
    from matplotlib import rc_context

    looks = _looks(result)
    with rc_context(STYLE):
        return [p for draw in (_success, _training, _against_cost) if (p := draw(result, table, looks)) is not None]


def _looks(result: StudyResult) -> dict[str, Look]:
    variants = [row.name for row in result.rows if row.role == "variant"]
    others = [row.name for row in result.rows if row.role != "variant"]
    return distinct_looks(variants) | {n: Look(GREY, "", DASHES[i % len(DASHES)]) for i, n in enumerate(others)}


def distinct_looks(names: Sequence[str]) -> dict[str, Look]:
    """A colour and a marker for each name; where colours run out, the line's dashes tell the rounds apart."""
    dashes: tuple[Dash, ...] = ("-", *DASHES)
    turns = ((divmod(index, len(PALETTE)), name) for index, name in enumerate(names))
    return {name: Look(PALETTE[at], MARKERS[at], dashes[turn % len(dashes)]) for (turn, at), name in turns}


def _success(result: StudyResult, table: Table, looks: dict[str, Look]) -> Picture | None:
    shown = [facts for facts in result.protocols if any(complete(row, facts) for row in result.rows)]
    if not shown:
        return None
    figure, axes = canvas(min(len(shown), 3), rows=-(-len(shown) // 3), height=3.4)
    areas = {facts.name: _success_axes(result, facts, looks, ax) for facts, ax in zip(shown, axes, strict=False)}
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    alt = "Success curves, area under the curve. " + "; ".join(f"{name}: {_listed(a)}" for name, a in areas.items())
    caption = (
        "Success: share of frames (averaged over sequences, dialect ostrack) whose overlap exceeds the threshold; in the"
        " legend the mean of its 21 points. Bands of the variants: pointwise 95 % bootstrap over sequences."
    )
    return picture("success", figure, alt, caption)


def _success_axes(result: StudyResult, facts: ProtocolFacts, looks: dict[str, Look], ax: "Axes") -> dict[str, float]:
    areas = {}
    for row in result.rows:
        found = complete(row, facts)
        if found is None:
            continue
        thresholds, shares, weights = curve(ordered(found), "success", DIALECTS["ostrack"].on(facts.name))
        mean, low, high = curve_band(100 * shares, weights)
        areas[row.name], look = float(mean.mean()), looks[row.name]
        line = ax.plot(thresholds, mean, color=look.colour, linestyle=look.dash, linewidth=1.4)[0]
        line.set(marker=look.marker, markevery=4, markersize=4)
        if row.role == "variant":
            ax.fill_between(thresholds, low, high, color=look.colour, alpha=0.1, linewidth=0)
    ax.set(title=facts.name, xlabel="overlap threshold", ylabel="success (%)", xlim=(0, 1), ylim=(0, 101))
    legend(ax, {f"{name}  {area:.1f}": looks[name] for name, area in areas.items()}, "upper right")
    return areas


def _against_cost(result: StudyResult, table: Table, looks: dict[str, Look]) -> Picture | None:
    if not result.protocols:
        return None
    facts = result.protocols[0]
    metric = METRICS[primary_metric(result, facts)]
    cells = {row.name: row.cells.get(metric_key(facts.name, metric.key), Cell()) for row in table.rows}
    costs = {row.name: cost_of(row) for row in result.rows if row.role == "variant"}
    scored = [cost for name, cost in costs.items() if cells[name].value is not None]
    known = [panel for panel in _cost_panels() if any(panel[1](cost) is not None for cost in scored)]
    if not known:
        return None
    figure, axes = canvas(len(known), height=2.9, sharey=True)
    for (label, of), ax in zip(known, axes, strict=True):
        points = {name: x for name, cost in costs.items() if (x := of(cost)) is not None}
        _cost_axes(points, cells, result, looks, ax)
        ax.set_xlabel(label)
    axes[0].set_ylabel(f"{metric.symbol} ({metric.unit}), {facts.name}")
    legend(axes[-1], {row.name: looks[row.name] for row in result.rows if cells[row.name].value is not None}, "right")
    alt = f"{metric.symbol} against speed, training time and size: " + _listed(
        {name: cells[name].value or 0.0 for name in costs if cells[name].value is not None}
    )
    caption = (
        f"{metric.symbol} with its 95 % interval against measured cost, profile {result.profile.name}. Grey lines: floors"
        " and controls."
    )
    return picture("accuracy-cost", figure, f"{alt}.", caption)


def _cost_panels() -> tuple[tuple[str, Callable[[Cost], float | None]], ...]:
    return (
        ("speed (frames/s)", lambda c: c.fps),
        ("training, device time (s)", lambda c: c.device_seconds),
        ("parameters (M)", lambda c: None if c.params is None else c.params / 1e6),
    )


def _cost_axes(
    points: dict[str, float], cells: dict[str, Cell], result: StudyResult, looks: dict[str, Look], ax: "Axes"
) -> None:
    for name, x in points.items():
        cell, look = cells[name], looks[name]
        if cell.value is None:
            continue
        spread = None if cell.low is None or cell.high is None else [[cell.value - cell.low], [cell.high - cell.value]]
        ax.errorbar(x, cell.value, yerr=spread, color=look.colour, marker=look.marker, markersize=6, linewidth=1.2)
    for row in result.rows:
        value = cells[row.name].value
        if row.role != "variant" and value is not None:
            ax.axhline(value, color=looks[row.name].colour, linestyle=looks[row.name].dash, linewidth=1)
    ax.margins(x=0.15)


def _training(result: StudyResult, table: Table, looks: dict[str, Look]) -> Picture | None:
    curves = {row.name: row.record.training.curve for row in _trained(result) if row.record.training}
    if not any(curves.values()):
        return None
    figure, (left, right) = canvas(2, height=2.7)
    for name, points in curves.items():
        _line(left, [(p.step, 100 * p.validation_iou) for p in points if p.validation_iou is not None], looks[name])
        _line(right, [(p.step, total_loss(p)) for p in points if p.losses], looks[name], marked=False)
    left.set(xlabel="step", ylabel="validation IoU (%)")
    right.set(xlabel="step", ylabel="total loss")
    legend(left, {name: looks[name] for name in curves}, "lower right")
    last = {
        n: 100 * v[-1]
        for n, c in curves.items()
        if (v := [p.validation_iou for p in c if p.validation_iou is not None])
    }
    caption = (
        "Training: mean IoU on held-out pairs, and the sum of the losses; losses of different heads do not compare."
    )
    return picture("training", figure, f"Training curves. Last validation IoU in percent: {_listed(last)}.", caption)


def _trained(result: StudyResult) -> Iterator[RowResult]:
    return (row for row in result.rows if row.role == "variant" and row.record.training is not None)


def total_loss(point: CurvePoint) -> float:
    """The loss named total where the training books one, else the sum of its parts."""
    return point.losses.get("total", sum(point.losses.values()))


def _line(ax: "Axes", points: list[tuple[int, float]], look: Look, marked: bool = True) -> None:
    x, y = [p[0] for p in points], [p[1] for p in points]
    ax.plot(x, y, color=look.colour, marker=look.marker if marked else "", markersize=4, linewidth=1.4)


def canvas(
    columns: int, height: float, rows: int = 1, sharey: bool = False, width: float | None = None
) -> tuple["Figure", list["Axes"]]:
    """A figure and its axes, row by row. height: that of one row, in inches; width: None for what fits the columns."""
    from matplotlib.figure import Figure

    width = width or {1: 5.6, 2: 7.2}.get(columns, 9.4)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    return figure, list(axes.flat)


def legend(ax: "Axes", rows: dict[str, Look], place: str) -> None:
    """A legend whose texts are set afterwards, since matplotlib drops labels that start with an underscore."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.marker, linewidth=1.5, markersize=5)
        for look in rows.values()
    ]
    where = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if place == "right" else {"loc": place}
    drawn = ax.legend(handles, [str(index) for index in range(len(rows))], **where)
    for text, name in zip(drawn.get_texts(), rows, strict=True):
        text.set_text(name)


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())


def picture(name: str, figure: "Figure", alt: str, caption: str) -> Picture:
    """A drawn figure as files, always the same bytes."""
    from matplotlib import rc_context

    svg, pdf = io.BytesIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    figure.set_layout_engine("none")  # the places found for the first file hold for the second
    figure.savefig(pdf, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return Picture(name, svg.getvalue(), pdf.getvalue(), alt, caption)
