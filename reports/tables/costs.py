"""The measured columns: size, training cost, memory and speed at the profile that was run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from trackablate.harness.record import RunRecord, Speed
from trackablate.reports.results import RowResult, StudyResult
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.block import NOT_APPLICABLE, Block, decimals_for, si
from trackablate.reports.tables.footnotes import Notes
from trackablate.trackers.spec import FloorSpec


@dataclass(frozen=True)
class Cost:
    """One row's measured costs in plain units; None is unknown, and everything of a floor or control but its speed."""

    params: int | None = None
    trainable_params: int | None = None
    macs: int | None = None
    train_seconds: float | None = None
    device_hours: float | None = None
    peak_memory_bytes: int | None = None
    fps: float | None = None

    @property
    def device_seconds(self) -> float | None:
        """Device time of the training."""
        return None if self.device_hours is None else self.device_hours * 3600


def cost_of(row: RowResult) -> Cost:
    """The costs of one row: times are means over its seeds, memory is the largest; of several trainings the first counts. A
    control shares another run's weights: their cost is shown once, at that run.
    """
    if row.role == "control" or _stands_still(row):
        return Cost()
    speed = row.record.speed
    fps = speed.fps if speed else None
    costs = [record.training.cost for record in same_training(row) if record.training is not None]
    if row.record.training is None or not costs:
        return Cost(fps=fps)
    first, booked = row.record.training.cost, [cost for cost in costs if cost.phases]
    return Cost(
        params=first.params,
        trainable_params=first.trainable_params,
        macs=speed.macs if speed and speed.macs else first.macs,
        train_seconds=fmean(cost.wall() for cost in booked) if booked else None,
        device_hours=fmean(cost.device() for cost in booked) / 3600 if booked else None,
        peak_memory_bytes=max((c.peak_memory_bytes for c in costs if c.peak_memory_bytes is not None), default=None),
        fps=fps,
    )


def same_training(row: RowResult) -> list[RunRecord]:
    """The first training's runs, one for each seed."""
    first = row.record.asked
    return [r for r in row.records if (r.asked.recipe, r.asked.data) == (first.recipe, first.data)]


def _stands_still(row: RowResult) -> bool:
    """The static box computes nothing: the speed at which it does so says nothing."""
    tracker = row.record.asked.tracker
    return isinstance(tracker, FloorSpec) and tracker.kind == "static"


TRAINING = (
    "All attempts and phases of the training: data, steps, validation; mean over seeds. Of rows with several trainings, that"
    " behind the first protocol scored here."
)
DEVICE = (
    "Device time: on a CPU the process's CPU time, on a GPU the wall time during which the GPU was held. Runs that shared"
    " a machine slow each other down: the provenance gives the number of concurrent workers."
)
MACS = (
    "Multiply-accumulates of one tracking step at batch 1, adaptation merged: linear layers, convolutions and both products"
    " of attention."
)


def measured_block(result: StudyResult, notes: Notes) -> Block:
    """The measured columns that at least one row fills."""
    block, group = Block(), f"measured, profile {result.profile.name}"
    costs = {row.name: cost_of(row) for row in result.rows}
    time = _time_unit([c.train_seconds for c in costs.values()] + [c.device_seconds for c in costs.values()])
    for measure in _measures(time):
        _column(result, costs, measure, group, block, notes)
    _fps(result, group, block, notes)
    return block


@dataclass(frozen=True)
class _Measure:
    key: str
    symbol: str
    of: Callable[[Cost], float | None]
    unit: str
    note: str
    divisor: float | None = None


def _measures(time: tuple[float, str]) -> tuple[_Measure, ...]:
    divisor, unit = time
    return (
        _Measure("params", "Params", lambda c: c.params, "", "parameters of the tracker as trained"),
        _Measure("trainable_params", "Trainable", lambda c: c.trainable_params, "", "parameters that training moves"),
        _Measure("macs", "MACs", lambda c: c.macs, "", MACS),
        _Measure("train_wall", "Train wall", lambda c: c.train_seconds, unit, TRAINING, divisor),
        _Measure("train_device", "Train device", lambda c: c.device_seconds, unit, DEVICE, divisor),
        _Measure("memory", "Peak mem.", lambda c: c.peak_memory_bytes, "B", ""),
    )


NOTED = {"macs", "train_wall", "train_device"}
"""Columns whose note is a footnote too: it changes what the figure means."""


def _column(
    result: StudyResult, costs: dict[str, Cost], measure: _Measure, group: str, block: Block, notes: Notes
) -> None:
    found = {name: value for name, cost in costs.items() if (value := measure.of(cost)) is not None}
    if not found:
        return
    divisor, prefix = (measure.divisor, "") if measure.divisor else si(max(found.values()))
    at_column, at_row = _memory_notes(result, notes) if measure.key == "memory" else ((), {})
    if measure.key in NOTED:
        at_column = (notes.add(measure.note),)
    for row in result.rows:
        if row.name in found:
            block.put(row.name, measure.key, Cell(found[row.name] / divisor, footnotes=at_row.get(row.name, ())))
        elif row.role != "variant":
            block.put(row.name, measure.key, NOT_APPLICABLE)
    digits = decimals_for(max(found.values()) / divisor)
    unit = f"{prefix}{measure.unit}"
    block.columns.append(
        Column(measure.key, measure.symbol, unit, digits, None, group, measure.note, "cost", footnotes=at_column)
    )


def _time_unit(seconds: list[float | None]) -> tuple[float, str]:
    longest = max((s for s in seconds if s is not None), default=0.0)
    return (1.0, "s") if longest < 1200 else (60.0, "min") if longest < 4 * 3600 else (3600.0, "h")


def _memory_notes(result: StudyResult, notes: Notes) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    kinds = {
        row.name: f"Peak memory of the training: {row.record.training.cost.memory_kind or 'kind not recorded'}."
        for row in result.rows
        if row.role == "variant" and row.record.training and row.record.training.cost.peak_memory_bytes is not None
    }
    return notes.shared(kinds)


def _fps(result: StudyResult, group: str, block: Block, notes: Notes) -> None:
    without = {row.name for row in result.rows if row.role == "control" or _stands_still(row)}
    speeds = {row.name: row.record.speed for row in result.rows if row.record.speed and row.name not in without}
    if not speeds:
        return
    at_column, at_row = notes.shared({name: _conditions(speed) for name, speed in speeds.items()})
    for row in result.rows:
        if row.name in without:
            block.put(row.name, "fps", NOT_APPLICABLE)
        elif speed := speeds.get(row.name):
            cell = Cell(speed.fps, low=speed.low, high=speed.high)
            block.put(row.name, "fps", replace(cell, footnotes=at_row.get(row.name, ())))
    note = "tracking speed, median over rounds; brackets: its range over rounds, not a 95 % interval"
    # Speeds that were not measured together are not ranked.
    better: Literal["higher"] | None = "higher" if at_column else None
    digits = 0 if max(s.fps for s in speeds.values()) >= 100 else 1
    block.columns.append(Column("fps", "FPS", "frames/s", digits, better, group, note, "cost", footnotes=at_column))


def _conditions(speed: Speed) -> str:
    together = (
        f"{len(speed.measured_with)} trackers interleaved in one process"
        if len(speed.measured_with) > 1
        else "measured alone: not comparable with the other rows"
    )
    return (
        f"FPS at batch 1 on {speed.device}, {speed.threads} thread{'s' * (speed.threads != 1)}, decoding excluded: median"
        f" of {speed.rounds} rounds of {speed.frames_per_round} frames, {together}; brackets: range over rounds."
    )
