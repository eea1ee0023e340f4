"""Accuracy against what it costs, with the Pareto front: the variants that no other beats in both."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.reports.figures.drawing import GREY, Drawing, Look, legend, listed, panels, telling
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.table import Cell, Table
from trackablate.reports.tables.accuracy import metric_key
from trackablate.reports.tables.block import si
from trackablate.reports.tables.costs import Cost, cost_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class _Panel:
    """One kind of cost, and whether more of it is worse."""

    label: str
    unit: str
    of: Callable[[Cost], float | None]
    dearer: bool = True


PANELS = (
    _Panel("training, device time", "h", lambda c: c.device_hours),
    _Panel("peak memory of the training", "B", lambda c: c.peak_memory_bytes),
    _Panel("tracking speed", "frames/s", lambda c: c.fps, dearer=False),
    _Panel("per tracking step", "MACs", lambda c: c.macs),
)


@dataclass(frozen=True)
class Scores:
    """The primary metric on the first protocol, as the table has it, of every row that has one."""

    metric: Metric
    protocol: str
    cells: dict[str, Cell]

    def of(self, name: str) -> float:
        """Return the figure of a row that has one."""
        return self.cells[name].value or 0.0


def scores_of(result: Result, table: Table) -> Scores | None:
    """Return the primary metric on the first protocol, None for a result without protocols."""
    if not result.protocols:
        return None
    facts = result.protocols[0]
    metric = METRICS[primary_metric(result, facts)]
    key = metric_key(facts, metric.key)
    cells = {row.name: row.cells[key] for row in table.rows if key in row.cells and row.cells[key].value is not None}
    return Scores(metric, facts.name, cells)


def against_cost(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw the primary metric on the first protocol against each cost in which the variants differ."""
    scores = scores_of(result, table)
    if scores is None:
        return None
    costs = {row.name: cost_of(row) for row in result.variants if row.name in scores.cells}
    places = {panel: {n: x for n, cost in costs.items() if (x := panel.of(cost)) is not None} for panel in PANELS}
    known = {panel: xs for panel, xs in places.items() if telling([(x, scores.of(name)) for name, x in xs.items()])}
    if not known:
        return None
    figure, axes = panels(len(known), height=2.7, most=2)
    readings, fronts = Readings("against"), {}
    levels = {row.name: looks[row.name] for row in result.of_role("floor", "control") if row.name in scores.cells}
    for (panel, points), ax in zip(known.items(), axes, strict=True):
        fronts[panel.label] = _draw(points, panel, scores, looks, ax, readings)
        for name, look in levels.items():  # their cost is negligible
            ax.axhline(scores.of(name), color=GREY, linestyle=look.dash, linewidth=1)
    legend(axes[min(1, len(axes) - 1)], {name: looks[name] for name in costs} | levels, "right")
    symbol = scores.metric.symbol
    words = "; ".join(f"{label}: {', '.join(names)}" for label, names in fronts.items())
    spread = " with its 95 % interval" if any(cell.low is not None for cell in scores.cells.values()) else ""
    caption = (
        f"{symbol} on {scores.protocol}{spread} against measured cost, profile {result.profile_name}. Line:"
        " the Pareto front, the variants that none beats in both. Grey dashes: floors and controls."
    )
    alt = f"{symbol} against cost: {listed({name: scores.of(name) for name in costs})}. Pareto front: {words}."
    return Drawing("accuracy-cost", figure, alt, caption, readings)


def front(points: Iterable[tuple[str, float, float]]) -> list[str]:
    """Return the names on the Pareto front, by cost, of points of name, cost (less is better), and score (more is better).

    No other point costs at most as much and scores at least as much, one of them strictly.
    """
    found: list[tuple[str, float, float]] = []
    for name, cost, score in sorted(points, key=lambda p: (p[1], -p[2], p[0])):
        if not found or score > found[-1][2] or (cost, score) == found[-1][1:]:
            found.append((name, cost, score))
    return [name for name, _, _ in found]


def _draw(
    points: dict[str, float], panel: _Panel, scores: Scores, looks: dict[str, Look], ax: "Axes", readings: Readings
) -> list[str]:
    """Draw the variants at their costs, and return the names on the Pareto front, by cost."""
    divisor, unit = _unit(panel, max(points.values()))
    for name, cost in points.items():
        cell, look, x, value = scores.cells[name], looks[name], cost / divisor, scores.of(name)
        spread, interval = None, ""
        if cell.low is not None and cell.high is not None:
            spread, interval = [[value - cell.low], [cell.high - value]], f" [{cell.low:.1f}, {cell.high:.1f}]"
        ax.errorbar(x, value, yerr=spread, color=look.colour, marker=look.marker, markersize=6, linewidth=1.2)
        readings.add(
            ax, panel.label, name, (x, value), f"{scores.metric.symbol} {value:.1f}{interval} at {x:.3g} {unit}"
        )
    way, up = 1 if panel.dearer else -1, scores.metric.sign
    best = front((name, way * cost, up * scores.of(name)) for name, cost in points.items())
    corners = [(points[name] / divisor, scores.of(name)) for name in best]
    ax.plot(*zip(*corners, strict=True), color="#000000", linewidth=0.9, alpha=0.6, zorder=1, drawstyle="steps-post")
    ax.set(xlabel=f"{panel.label} ({unit})", ylabel=f"{scores.metric.symbol} ({scores.metric.unit})")
    ax.margins(x=0.15)
    return best


def _unit(panel: _Panel, largest: float) -> tuple[float, str]:
    if panel.unit == "h":
        small = [(1 / 3600, "s"), (1 / 60, "min")]
        return next(((divisor, unit) for divisor, unit in small if largest < 120 * divisor), (1.0, "h"))
    if panel.unit == "frames/s":
        return 1.0, panel.unit
    divisor, prefix = si(largest)
    return divisor, f"{prefix}{panel.unit}" if panel.unit == "B" else f"{prefix} {panel.unit}".strip()
