"""Convergence: validation IoU against steps, wall time and device time, and the loss."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from trackablate.harness.record import CurvePoint, TrainingRecord
from trackablate.reports.figures.drawing import Drawing, Look, legend, listed, panels, telling
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result
from trackablate.reports.table import Table
from trackablate.reports.tables.block import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = dict[str, list[tuple[float, float]]]
"""The points of each row's line."""


def training(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw the convergence of every variant's first run, each against what differs along a line."""
    rows = [(row.name, row.record) for row in result.variants if row.record and row.record.asked.trained_here]
    found = {name: record.training for name, record in rows if record.training}
    longest = max((p.seconds for record in found.values() for p in record.curve), default=0.0)
    divisor, unit = time_unit(longest)
    against: dict[str, Callable[[CurvePoint, TrainingRecord], float]] = {
        "step": lambda p, _: p.step,
        f"wall time ({unit})": lambda p, _: p.seconds / divisor,
        f"device time ({unit})": lambda p, record: p.seconds * _device_share(record) / divisor,
    }
    shown = [(label, "validation IoU (%)", _validations(found, place)) for label, place in against.items()]
    shown.append(
        ("step", "total loss", {n: [(p.step, total_loss(p)) for p in r.curve if p.losses] for n, r in found.items()})
    )
    shown = [panel for panel in shown if any(map(telling, panel[2].values()))]
    if not shown:
        return None
    figure, axes = panels(len(shown), height=2.5, most=2)
    readings = Readings("at")
    for (label, value, lines), ax in zip(shown, axes, strict=True):
        _panel(ax, label, value, lines, looks, readings)
    legend(axes[min(1, len(axes) - 1)], {name: looks[name] for name in found}, "right")
    caption = (
        "Convergence: mean IoU on held-out pairs against steps, wall time and device time of the training (the run's device"
        " time, spread evenly over its wall time), and the sum of the losses; losses of different heads do not compare."
    )
    last = {name: points[-1][1] for name, points in _validations(found, against["step"]).items() if points}
    alt = f"Training curves. Last validation IoU in percent: {listed(last)}."
    return Drawing("training", figure, alt, caption, readings)


def _validations(found: dict[str, TrainingRecord], place: Callable[[CurvePoint, TrainingRecord], float]) -> Lines:
    return {
        name: [(place(p, r), 100 * p.validation_iou) for p in r.curve if p.validation_iou is not None]
        for name, r in found.items()
    }


def _device_share(record: TrainingRecord) -> float:
    """Return device seconds per wall second of the training."""
    wall = record.cost.wall()
    return record.cost.device() / wall if wall else 1.0


def _panel(ax: "Axes", label: str, value: str, lines: Lines, looks: dict[str, Look], readings: Readings) -> None:
    for name, points in lines.items():
        look = looks[name]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        ax.plot(xs, ys, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4, linewidth=1.4)
        for x, y in points:
            readings.add(ax, f"{value} at {label} {x:.4g}", name, (x, y), f"{y:.3g}")
    ax.set(xlabel=label, ylabel=value)


def total_loss(point: CurvePoint) -> float:
    """Return the loss named total if the training books one, else the sum of its parts."""
    return point.losses.get("total", sum(point.losses.values()))
