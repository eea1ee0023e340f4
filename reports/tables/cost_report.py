"""The cost of each row by phase: device time of data, steps and validation, evaluation, energy, memory and speed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from trackablate.harness.record import PhaseCost, TrainingCost
from trackablate.harness.scoring.scored import ScoredTracker
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.block import NOT_APPLICABLE, Block, Footnotes, decimals_for, si, time_unit
from trackablate.reports.tables.costs import DEVICE, cost_of, same_training, shared_machine, trained_on

PHASES = {"data": "data", "train": "steps", "validate": "validation"}
"""The phases that a training's clock books, in the order of the columns, with their headings."""
EVALUATION = "Wall time of tracking the protocol's sequences, decoding of the video included; sequences are batched."
ENERGY = (
    "Energy of the whole device during the training, by its own counter: a GPU's (NVML), or the processor packages' (RAPL,"
    " memory not counted). What else ran on the device at that time is counted too."
)
MFU = (
    "Share of the device's published peak that the steps reach (model FLOPs utilisation), waiting for data left out. The"
    " FLOPs are those of the forward pass, of the gradients of all activations, and of the gradients of the weights that"
    " train; computing activations twice does not count. The peak is the dense one in 16 bits, whatever the precision. A"
    " dash: no peak of this device is known here."
)
HELD = "By driver: what the driver said was taken of the GPU, by whichever process, at the last validation."
FRAME = (
    "At batch 1, as FPS: the time of a frame in the median and at the 95th percentile. From JPEG: frames of 1280 x 720"
    " pixels, which are decoded in time."
)
MEAN = "Mean over its trainings with different seeds."


@dataclass(frozen=True)
class PhaseCosts:
    """One row's costs by phase, as means over its seeds.

    Attributes:
        phases: Costs of the training by phase; empty for a control, which uses the weights of another run.
        evaluation: Wall seconds of tracking, by protocol, of the first seed.
        trainings: Number of seeds.
    """

    phases: dict[str, PhaseCost]
    evaluation: dict[str, float]
    trainings: int = 0

    @property
    def total(self) -> TrainingCost | None:
        """All phases together, None without a training."""
        return TrainingCost(phases=self.phases) if self.phases else None


def phase_costs(row: ScoredTracker) -> PhaseCosts:
    """Return what a row's trainings and evaluations cost."""
    whole = {name: found for name, found in row.protocols.items() if len(found.tallies) == len(found.sequences)}
    evaluation = {name: found.seconds for name, found in whole.items() if found.seconds is not None}
    booked = [r.training.cost.phases for r in same_training(row) if r.training and r.training.cost.phases]
    if row.role != "variant" or not booked:
        return PhaseCosts({}, evaluation)
    names = [*PHASES, *sorted({name for phases in booked for name in phases} - PHASES.keys())]
    means = {name: _mean([p[name] for p in booked if name in p]) for name in names if any(name in p for p in booked)}
    return PhaseCosts(means, evaluation, len(booked))


def cost_table(result: Result) -> Table:
    """Return the costs by phase. Blank: cannot exist for the row; a dash: not booked."""
    footnotes, measured, block = Footnotes(), [row for row in result.rows if row.records], Block()
    costs = {row.name: phase_costs(row) for row in measured}
    _add_training(costs, block, f"{DEVICE} {shared_machine(result)}".strip(), footnotes)
    _add_reached(measured, block, footnotes)
    _add_energy(costs, block, footnotes)
    _add_evaluation(costs, block, footnotes)
    _add_device(measured, block, footnotes)
    return Table(
        title=f"Cost by phase, profile {result.profile_name}, {trained_on(measured)}",
        question="Where do time, memory and energy go?",
        caveat=result.caveat,
        columns=tuple(block.columns),
        rows=tuple(_row(row, costs[row.name], block, footnotes) for row in measured),
        footnotes=footnotes.texts,
    )


def _add_training(costs: Mapping[str, PhaseCosts], block: Block, device: str, footnotes: Footnotes) -> None:
    """Add device time by phase and in all, and the wall time that it took."""
    totals = {row: cost.total for row, cost in costs.items() if cost.total}
    if not totals:
        return
    longest, notes = max(total.wall() for total in totals.values()), (footnotes.add(device),)
    for name in dict.fromkeys(name for cost in costs.values() for name in cost.phases):
        found = {row: cost.phases[name].device_seconds for row, cost in costs.items() if name in cost.phases}
        column = Column(f"phase:{name}", PHASES.get(name, name), group="training", footnotes=notes)
        _add_times(block, column, found, longest)
    found = {row: total.device() for row, total in totals.items()}
    _add_times(block, Column("phase:device", "device time", group="training", footnotes=notes), found, longest)
    found = {row: total.wall() for row, total in totals.items()}
    _add_times(block, Column("phase:wall", "wall time", group="training"), found, longest)


def _add_evaluation(costs: Mapping[str, PhaseCosts], block: Block, footnotes: Footnotes) -> None:
    longest = max((seconds for cost in costs.values() for seconds in cost.evaluation.values()), default=0.0)
    for name in dict.fromkeys(name for cost in costs.values() for name in cost.evaluation):
        column = Column(f"evaluation:{name}", name, group="evaluation", footnotes=(footnotes.add(EVALUATION),))
        found = {row: cost.evaluation[name] for row, cost in costs.items() if name in cost.evaluation}
        _add_times(block, column, found, longest)


def _add_energy(costs: Mapping[str, PhaseCosts], block: Block, footnotes: Footnotes) -> None:
    """Add the energy of the trainings that were metered."""
    energies = {name: cost.total.energy() for name, cost in costs.items() if cost.total}
    joules = {name: energy for name, energy in energies.items() if energy is not None}
    if joules:
        unit, divisor = ("kWh", 3.6e6) if max(joules.values()) >= 3.6e6 else ("Wh", 3600.0)
        column = Column("energy", "energy", unit, group="training", footnotes=(footnotes.add(ENERGY),))
        _add_scaled(block, column, joules, divisor)


def _add_reached(rows: list[ScoredTracker], block: Block, footnotes: Footnotes) -> None:
    """Add the share of the device's peak that the trainings reached."""
    costs = {row.name: cost_of(row) for row in rows}
    reached = {name: Cell(100 * c.mfu) for name, c in costs.items() if c.mfu is not None}
    if reached:
        block.add(Column("mfu", "MFU", "%", 1, None, "training", "", "cost", footnotes=(footnotes.add(MFU),)), reached)


def _add_device(rows: list[ScoredTracker], block: Block, footnotes: Footnotes) -> None:
    """Add memory and speed; peak memory and speed as in the study's table."""
    costs = {row.name: cost_of(row) for row in rows}
    speeds = {name: c.fps for name, c in costs.items() if c.fps is not None}
    for key, field, heading in (
        ("memory", "peak_memory_bytes", "peak mem."),
        ("reserved", "reserved_bytes", "reserved"),
        ("driver", "driver_bytes", "by driver"),
    ):
        if found := {name: held for name, c in costs.items() if (held := getattr(c, field)) is not None}:
            divisor, prefix = si(max(found.values()))
            notes = (footnotes.add(HELD),) if key == "driver" else ()
            _add_scaled(block, Column(key, heading, f"{prefix}B", group="device", footnotes=notes), found, divisor)
    if speeds:
        _add_scaled(block, Column("fps", "FPS", "frames/s", group="device"), speeds, 1.0)
    for key, heading, unit in (
        ("fps_from_jpeg", "FPS from JPEG", "frames/s"),
        ("latency", "frame", "ms"),
        ("latency95", "95 % of frames", "ms"),
    ):
        if found := {name: value for name, c in costs.items() if (value := getattr(c, key)) is not None}:
            column = Column(key, heading, unit, group="device", footnotes=(footnotes.add(FRAME),))
            _add_scaled(block, column, found, 1.0)


def _add_times(block: Block, column: Column, seconds: Mapping[str, float], longest: float) -> None:
    """Add a column of times in the unit that suits the longest of its group."""
    divisor, unit = time_unit(longest)
    _add_scaled(block, replace(column, unit=unit), seconds, divisor)


def _add_scaled(block: Block, column: Column, values: Mapping[str, float], divisor: float) -> None:
    column = replace(column, decimals=decimals_for(max(values.values()) / divisor), panel="cost")
    block.add(column, {row: Cell(value / divisor) for row, value in values.items()})


def _row(row: ScoredTracker, cost: PhaseCosts, block: Block, footnotes: Footnotes) -> TableRow:
    cells = block.cells.get(row.name, {})
    if row.role != "variant":  # it trains nothing
        keys = (column.key for column in block.columns if not column.key.startswith("evaluation:"))
        cells = dict.fromkeys(keys, NOT_APPLICABLE) | cells
    notes = (footnotes.add(MEAN),) if cost.trainings > 1 else ()
    return TableRow(row.name, row.role, cells, row.baseline, notes)


def _mean(costs: list[PhaseCost]) -> PhaseCost:
    energies = [cost.energy_joules for cost in costs if cost.energy_joules is not None]
    return PhaseCost(
        wall_seconds=fmean(cost.wall_seconds for cost in costs),
        device_seconds=fmean(cost.device_seconds for cost in costs),
        energy_joules=sum(energies) / len(energies) if len(energies) == len(costs) else None,
    )
