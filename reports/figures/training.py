"""Convergence: validation IoU against steps, wall time and device time, and the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trackablate.harness.record import CurvePoint, TrainingRecord
from trackablate.reports.figures.drawing import Drawing, Look, legend, listed, panels
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result
from trackablate.reports.table import Table
from trackablate.reports.tables.block import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class _Axis:
    """An axis of convergence: its label, the place of a point on it, and how a place is written."""

    label: str
    of: Callable[[CurvePoint, TrainingRecord], float]
    written: str


def training(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw the convergence of every variant's first run."""
    found = {row.name: row.record.training for row in result.variants if row.record and row.record.training}
    found = {name: record for name, record in found.items() if record.curve}
    if not found:
        return None
    figure, (*convergence, loss) = panels(4, height=2.5, most=2)
    readings = Readings("at")
    for ax, axis in zip(convergence, _axes(found), strict=True):
        _convergence(ax, axis, found, looks, readings)
    for name, record in found.items():
        points = [(p.step, total_loss(p)) for p in record.curve if p.losses]
        loss.plot(*zip(*points, strict=True), color=looks[name].colour, linestyle=looks[name].dash, linewidth=1.4)
        for step, total in points:
            readings.add(loss, f"loss at step {step}", name, (step, total), f"{total:.3g}")
    loss.set(xlabel="step", ylabel="total loss")
    legend(convergence[0], {name: looks[name] for name in found}, "lower right")
    caption = (
        "Convergence: mean IoU on held-out pairs against steps, wall time and device time of the training (the run's device"
        " time, spread evenly over its wall time), and the sum of the losses; losses of different heads do not compare."
    )
    alt = f"Training curves. Last validation IoU in percent: {listed(_last(found))}."
    return Drawing("training", figure, alt, caption, readings)


def _axes(found: dict[str, TrainingRecord]) -> tuple[_Axis, ...]:
    longest = max(max(p.seconds for p in record.curve) for record in found.values())
    divisor, unit = time_unit(longest)
    return (
        _Axis("step", lambda p, _: p.step, "step {:g}"),
        _Axis(f"wall time ({unit})", lambda p, _: p.seconds / divisor, "{:.4g} " + f"{unit} of wall time"),
        _Axis(
            f"device time ({unit})",
            lambda p, record: p.seconds * _device_share(record) / divisor,
            "{:.4g} " + f"{unit} of device time",
        ),
    )


def _device_share(record: TrainingRecord) -> float:
    """Return device seconds per wall second of the training."""
    wall = record.cost.wall()
    return record.cost.device() / wall if wall else 1.0


def _convergence(
    ax: "Axes", axis: _Axis, found: dict[str, TrainingRecord], looks: dict[str, Look], readings: Readings
) -> None:
    for name, record in found.items():
        points = [(axis.of(p, record), 100 * p.validation_iou) for p in record.curve if p.validation_iou is not None]
        xs, ys, look = [p[0] for p in points], [p[1] for p in points], looks[name]
        ax.plot(xs, ys, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4, linewidth=1.4)
        for x, y in points:
            readings.add(ax, axis.written.format(x), name, (x, y), f"{y:.1f} % IoU")
    ax.set(xlabel=axis.label, ylabel="validation IoU (%)")


def _last(found: dict[str, TrainingRecord]) -> dict[str, float]:
    measured = {n: [p.validation_iou for p in r.curve if p.validation_iou is not None] for n, r in found.items()}
    return {name: 100 * ious[-1] for name, ious in measured.items() if ious}


def total_loss(point: CurvePoint) -> float:
    """Return the loss named total if the training books one, else the sum of its parts."""
    return point.losses.get("total", sum(point.losses.values()))
