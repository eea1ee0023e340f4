"""The measured columns: size, training cost, memory and speed at the profile that was run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from trackablate.harness.record import RunRecord, Speed, TrainingCost
from trackablate.harness.scoring.scored import ScoredTracker
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.block import NOT_APPLICABLE, Block, Footnotes, decimals_for, si, time_unit
from trackablate.trackers.spec import FloorSpec

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
FOOTNOTED = {"macs", "train_wall", "train_device"}
"""Columns whose note is a footnote too, since it changes what the figure means."""


@dataclass(frozen=True)
class Cost:
    """One row's measured costs in plain units; None is unknown. A floor or control has at most a speed."""

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


def cost_of(row: ScoredTracker) -> Cost:
    """Return the costs of one row: mean times and the largest memory over its seeds, of its first training.

    A control uses another run's weights, whose cost is shown once, at that run.
    """
    if row.record is None or row.role == "control" or _stands_still(row):
        return Cost()
    speed, training = row.record.speed, row.record.training
    fps = speed.fps if speed else None
    costs = [record.training.cost for record in same_training(row) if record.training is not None]
    if training is None or not costs:
        return Cost(fps=fps)
    first, booked = training.cost, [cost for cost in costs if cost.phases]
    return Cost(
        params=first.params,
        trainable_params=first.trainable_params,
        macs=speed.macs if speed and speed.macs else first.macs,
        train_seconds=fmean(cost.wall() for cost in booked) if booked else None,
        device_hours=fmean(cost.device() for cost in booked) / 3600 if booked else None,
        peak_memory_bytes=max((held for c in costs if (held := c.memory()) is not None), default=None),
        fps=fps,
    )


def same_training(row: ScoredTracker) -> list[RunRecord]:
    """Return the first training's runs, one for each seed."""
    asked = [(record.asked.recipe, record.asked.data) for record in row.records]
    return [record for record, of in zip(row.records, asked, strict=True) if of == asked[0]]


def _stands_still(row: ScoredTracker) -> bool:
    """Return whether the row is the static box, whose speed says nothing."""
    tracker = row.record.asked.tracker if row.record else None
    return isinstance(tracker, FloorSpec) and tracker.kind == "static"


@dataclass(frozen=True)
class _Measure:
    key: str
    symbol: str
    of: Callable[[Cost], float | None]
    unit: str
    note: str
    divisor: float | None = None


def measured_block(result: Result, footnotes: Footnotes) -> Block:
    """Return the measured columns that at least one row fills."""
    block, group = Block(), f"measured, profile {result.profile_name}"
    costs = {row.name: cost_of(row) for row in result.rows}
    times = [seconds for cost in costs.values() for seconds in (cost.train_seconds, cost.device_seconds)]
    for measure in _measures(*time_unit(max((s for s in times if s is not None), default=0.0))):
        found = {name: value for name, cost in costs.items() if (value := measure.of(cost)) is not None}
        if found:
            _column(result, found, measure, group, block, footnotes)
    _fps(result, group, block, footnotes)
    return block


def _measures(divisor: float, unit: str) -> tuple[_Measure, ...]:
    """Return the columns; divisor and unit are those of times."""
    return (
        _Measure("params", "Params", lambda c: c.params, "", "parameters of the tracker as trained"),
        _Measure("trainable_params", "Trainable", lambda c: c.trainable_params, "", "parameters that training moves"),
        _Measure("macs", "MACs", lambda c: c.macs, "", MACS),
        _Measure("train_wall", "Train wall", lambda c: c.train_seconds, unit, TRAINING, divisor),
        _Measure("train_device", "Train device", lambda c: c.device_seconds, unit, DEVICE, divisor),
        _Measure("memory", "Peak mem.", lambda c: c.peak_memory_bytes, "B", ""),
    )


def _column(
    result: Result, found: dict[str, float], measure: _Measure, group: str, block: Block, footnotes: Footnotes
) -> None:
    divisor, prefix = (measure.divisor, "") if measure.divisor else si(max(found.values()))
    at_column, at_row = footnotes.shared(_memory_kinds(result)) if measure.key == "memory" else ((), {})
    if measure.key in FOOTNOTED:
        at_column = (footnotes.add(measure.note),)
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


def _memory_kinds(result: Result) -> dict[str, str]:
    trained = {row.name: row.record.training.cost for row in result.variants if row.record and row.record.training}
    before = [cost.resident_before_bytes / 1e6 for cost in trained.values() if cost.resident_before_bytes is not None]
    least, most = (f"{end(before, default=0.0):.0f}" for end in (min, max))
    held = least if least == most else f"{least} to {most}"
    return {
        name: "Peak memory of the training: " + _memory_kind(cost, held)
        for name, cost in trained.items()
        if cost.peak_memory_bytes is not None
    }


def _memory_kind(cost: TrainingCost, held: str) -> str:
    """Return what the figure counts; held: megabytes that the processes held before their trainings."""
    if cost.memory_kind != "process peak RSS":
        return "the most that was allocated on the GPU." if cost.memory_kind else "kind not recorded."
    if cost.resident_before_bytes is None:
        return "the process's peak, with Python and its libraries, which an older record does not tell apart."
    return f"the process's peak, less the {held} MB of Python, its libraries and what it held before."


def _fps(result: Result, group: str, block: Block, footnotes: Footnotes) -> None:
    without = {row.name for row in result.rows if row.role == "control" or _stands_still(row)}
    measured = {row.name: row.record.speed for row in result.rows if row.record and row.name not in without}
    speeds = {name: speed for name, speed in measured.items() if speed}
    if not speeds:
        return
    at_column, at_row = footnotes.shared({name: _conditions(name, speeds) for name in speeds})
    for name in without:
        block.put(name, "fps", NOT_APPLICABLE)
    for name, speed in speeds.items():
        cell = Cell(speed.fps, low=speed.low, high=speed.high)
        block.put(name, "fps", replace(cell, footnotes=at_row.get(name, ())))
    note = "tracking speed, median over rounds; brackets: its range over rounds, not a 95 % interval"
    # Speeds that were not measured together are not ranked.
    together = len({tuple(speed.measured_with) for speed in speeds.values()}) == 1
    better: Literal["higher"] | None = "higher" if at_column and together else None
    digits = 0 if max(s.fps for s in speeds.values()) >= 100 else 1
    block.columns.append(Column("fps", "FPS", "frames/s", digits, better, group, note, "cost", footnotes=at_column))


def _conditions(name: str, speeds: Mapping[str, Speed]) -> str:
    """Return how a row's speed was measured. The text is the same for the rows of one measurement, and only for these."""
    speed = speeds[name]
    beside = [row for row, other in speeds.items() if other.measured_with == speed.measured_with]
    together = "measured alone: not comparable with the other rows"
    if len(speed.measured_with) > 1:
        together = f"{len(speed.measured_with)} trackers interleaved in one process"
        together += (
            "" if len(beside) == len(speeds) else f", of these rows {', '.join(beside)}: not comparable with others"
        )
    return (
        f"FPS at batch 1 on {speed.device}, {speed.threads} thread{'s' * (speed.threads != 1)}, decoding excluded: median"
        f" of {speed.rounds} rounds of {speed.frames_per_round} frames, {together}; brackets: range over rounds."
    )
