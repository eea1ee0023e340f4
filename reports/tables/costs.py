"""The measured columns: size, training cost, memory and speed at the profile that was run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from trackablate.datasets.errors import counted
from trackablate.harness.record import RunRecord, TrainingCost
from trackablate.harness.scoring.scored import ScoredTracker
from trackablate.harness.spec import Recipe
from trackablate.harness.speed import Forward, Speed
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column
from trackablate.reports.tables.block import Block, Footnotes, decimals_for, si, time_unit
from trackablate.trackers.spec import FloorSpec

TRAINING = (
    "All attempts and phases of the training: data, steps, validation; mean over seeds. Of rows with several trainings, that"
    " behind the first protocol scored here."
)
DEVICE = (
    "Device time: on a CPU the process's CPU time, on a GPU the wall time during which the GPU was held. Runs that share a"
    " machine slow each other down."
)
MACS = (
    "Multiply-accumulates of one tracking step at batch 1, adaptation merged: linear layers, convolutions and both products"
    " of attention."
)

SPEED = ("fps", "fps_from_jpeg", "latency", "latency95", "forward")
"""The fields of `Speed` that `Cost` has too."""


@dataclass(frozen=True)
class Cost:
    """One row's measured costs in plain units; None is unknown. A floor or control has at most a speed."""

    params: int | None = None
    trainable_params: int | None = None
    macs: int | None = None
    train_seconds: float | None = None
    device_hours: float | None = None
    peak_memory_bytes: int | None = None
    reserved_bytes: int | None = None
    driver_bytes: int | None = None
    mfu: float | None = None
    fps: float | None = None
    fps_from_jpeg: float | None = None
    latency: float | None = None
    latency95: float | None = None
    forward: Forward | None = None

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
    told = speed.model_dump(include=set(SPEED)) if speed else {}
    costs = [record.training.cost for record in same_training(row) if record.training is not None]
    if training is None or not costs:
        return Cost(**told)
    first, booked = training.cost, [cost for cost in costs if cost.phases]
    reached = [share for cost in costs if (share := cost.mfu()) is not None]
    return Cost(
        params=first.params,
        trainable_params=first.trainable_params,
        macs=speed.macs if speed and speed.macs else first.macs,
        train_seconds=fmean(cost.wall() for cost in booked) if booked else None,
        device_hours=fmean(cost.device() for cost in booked) / 3600 if booked else None,
        peak_memory_bytes=max((held for c in costs if (held := c.memory()) is not None), default=None),
        reserved_bytes=max((c.reserved_bytes for c in costs if c.reserved_bytes is not None), default=None),
        driver_bytes=max((c.driver_bytes for c in costs if c.driver_bytes is not None), default=None),
        mfu=fmean(reached) if reached else None,
        **told,
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
    """One measured column; a note that is `important` changes what the figure means, and is a footnote."""

    key: str
    symbol: str
    of: Callable[[Cost], float | None]
    unit: str
    note: str = ""
    important: bool = False
    divisor: float | None = None


def add_measured(result: Result, block: Block, footnotes: Footnotes) -> None:
    """Add the measured columns that at least one row fills, under headings that name profile and device."""
    costs = {row.name: cost_of(row) for row in result.rows}
    others = [row.name for row in result.of_role("floor", "control", "cited")]
    group = f"measured, profile {result.profile_name}, {trained_on(result.rows)}"
    times = [seconds for cost in costs.values() for seconds in (cost.train_seconds, cost.device_seconds)]
    for measure in _measures(result, *time_unit(max((s for s in times if s is not None), default=0.0))):
        found = {name: value for name, cost in costs.items() if (value := measure.of(cost)) is not None}
        if not found:
            continue
        divisor, prefix = (measure.divisor, "") if measure.divisor else si(max(found.values()))
        at_column, at_row = footnotes.shared(_memory_kinds(result)) if measure.key == "memory" else ((), {})
        at_column = (footnotes.add(measure.note),) if measure.important else at_column
        unit, digits = f"{prefix}{measure.unit}", decimals_for(max(found.values()) / divisor)
        cells = {name: Cell(value / divisor, footnotes=at_row.get(name, ())) for name, value in found.items()}
        column = Column(measure.key, measure.symbol, unit, digits, None, group, measure.note, "cost")
        block.add(replace(column, footnotes=at_column), cells, others)
    _add_fps(result, block, footnotes)


def _measures(result: Result, divisor: float, unit: str) -> tuple[_Measure, ...]:
    """Return the columns; divisor and unit are those of times."""
    device = f"{DEVICE} {shared_machine(result)}".strip()
    return (
        _Measure("params", "Params", lambda c: c.params, "", "parameters of the tracker as trained"),
        _Measure("trainable_params", "Trainable", lambda c: c.trainable_params, "", "parameters that training moves"),
        _Measure("macs", "MACs", lambda c: c.macs, "", MACS, True),
        _Measure("train_wall", "Train wall", lambda c: c.train_seconds, unit, TRAINING, True, divisor),
        _Measure("train_device", "Train device", lambda c: c.device_seconds, unit, device, True, divisor),
        _Measure("memory", "Peak mem.", lambda c: c.peak_memory_bytes, "B"),
    )


def trained_on(rows: Iterable[ScoredTracker]) -> str:
    """Return the name of the device that the rows were trained on, for a heading."""
    records = [record for row in rows if row.role == "variant" for record in row.records]
    trained = [record.training for record in records if record.asked.trained_here]
    return one_device(training.where.device for training in trained if training)


def tracked_on(rows: Iterable[ScoredTracker]) -> str:
    """Return the name of the device on which the speeds of the rows were measured."""
    return one_device(row.record.speed.device for row in rows if row.record and row.record.speed)


def one_device(devices: Iterable[str]) -> str:
    """Return the device, or that there are several."""
    found = set(devices)
    return found.pop() if len(found) == 1 else f"{len(found)} devices, see the provenance" if found else "no device yet"


def shared_machine(result: Result) -> str:
    """Return which rows were trained while others shared the machine, empty if none was."""
    shared: dict[int, list[str]] = {}
    for row in result.variants:
        training = row.record.training if row.record else None
        if training and training.where.concurrent_workers > 1:
            shared.setdefault(training.where.concurrent_workers, []).append(row.name)
    at_once = "; ".join(f"{count} at a time: {', '.join(names)}" for count, names in shared.items())
    return f"Trained beside other runs on the machine, {at_once}." if shared else ""


def _memory_kinds(result: Result) -> dict[str, str]:
    records = {row.name: row.record for row in result.variants if row.record}
    trained = {name: record.training.cost for name, record in records.items() if record.training}
    before = [cost.resident_before_bytes / 1e6 for cost in trained.values() if cost.resident_before_bytes is not None]
    least, most = (f"{end(before, default=0.0):.0f}" for end in (min, max))
    held = least if least == most else f"{least} to {most}"
    return {
        name: "Peak memory of the training: "
        + _memory_kind(cost, held)
        + _as_computed(cost, records[name].asked.recipe)
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


def _as_computed(cost: TrainingCost, recipe: Recipe | None) -> str:
    """Return how many pairs were computed at a time, if not as many as the recipe says."""
    published, used = (recipe.pairs_at_once if recipe else None), cost.pairs_at_once
    twice = " Activations were computed twice, because memory did not hold them." if cost.recomputed else ""
    if cost.fsdp:
        twice += " GPUs or processes divided parameters, gradients and optimizer states among them (--fsdp)."
    if recipe and recipe.compile:
        twice += " Blocks were compiled." if cost.compiled else " Blocks could not be compiled on this machine."
    if published is None or used is None or used == published:
        return twice
    if used > published:
        return f" {published} pairs at a time as published; after the first steps {used}, which took more.{twice}"
    return (
        f" {used} pairs at a time instead of {published}, which did not fit; the result is the same to rounding.{twice}"
    )


def _add_fps(result: Result, block: Block, footnotes: Footnotes) -> None:
    without = [row.name for row in result.rows if row.role == "control" or _stands_still(row)]
    measured = {row.name: row.record.speed for row in result.rows if row.record and row.name not in without}
    speeds = {name: speed for name, speed in measured.items() if speed}
    if not speeds:
        return
    at_column, at_row = footnotes.shared({name: _conditions(name, speeds) for name in speeds})
    note = "tracking speed, median over rounds; brackets: its range over rounds, not a 95 % interval"
    # Speeds that were not measured together are not ranked.
    together = len({tuple(speed.measured_with) for speed in speeds.values()}) == 1
    better: Literal["higher"] | None = "higher" if at_column and together else None
    digits = 0 if max(s.fps for s in speeds.values()) >= 100 else 1
    device, trained = one_device(speed.device for speed in speeds.values()), trained_on(result.rows)
    # Beside columns of the same profile and device, whose heading says so.
    group = "synthetic video" if device == trained else f"profile {result.profile_name}, synthetic video, {device}"
    cells = {name: Cell(s.fps, low=s.low, high=s.high, footnotes=at_row.get(name, ())) for name, s in speeds.items()}
    block.add(
        Column("fps", "FPS", "frames/s", digits, better, group, note, "cost", footnotes=at_column), cells, without
    )


def _computed(rows: list[str], speeds: Mapping[str, Speed]) -> str:
    """Return how the networks of these rows were computed, "" if all were as they are written."""
    ways = {row: way for row in rows if (way := speeds[row].forward)}
    kinds = dict.fromkeys(ways.values())
    if not kinds or list(kinds) == ["eager"]:
        return ""
    if len(kinds) == 1:
        return f"every network: {next(iter(kinds))}, "
    return "".join(f"{row}: {way}, " for row, way in ways.items())


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
    rounds = f"median of {speed.rounds} rounds of {speed.frames_per_round} frames"
    return (
        f"FPS at batch 1 on a synthetic video of 160 x 120 pixels, at every profile: {speed.device}, "
        f"{counted(speed.threads, 'thread')}, {_computed(beside, speeds)}decoding excluded, {rounds}, {together};"
        " brackets: range over rounds."
    )
