"""The cost of each row by phase: device time of data, steps and validation, evaluation, energy, memory and speed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from trackablate.harness.record import PhaseCost
from trackablate.harness.scoring.scored import ScoredTracker
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.block import NOT_APPLICABLE, Block, Footnotes, decimals_for, si, time_unit
from trackablate.reports.tables.costs import DEVICE, cost_of, same_training

PHASES = {"data": "data", "train": "steps", "validate": "validation"}
"""The phases that a training's clock books, in the order of the columns, with their headings."""
EVALUATION = "Wall time of tracking the protocol's sequences, decoding of the video included; sequences are batched."
ENERGY = (
    "Energy of the whole device during the training, by its own counter: a GPU's (NVML), or the processor packages' (RAPL,"
    " memory not counted). What else ran on the device at that time is counted too."
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
    def total(self) -> PhaseCost | None:
        """All phases together, None without a training; energy only if every phase has it."""
        return _added(list(self.phases.values())) if self.phases else None


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
    footnotes, measured = Footnotes(), [row for row in result.rows if row.records]
    costs = {row.name: phase_costs(row) for row in measured}
    blocks = [_training(costs, footnotes), _evaluation(costs, footnotes), _energy(costs, footnotes), _device(measured)]
    rows = tuple(_row(row, costs[row.name], blocks, footnotes) for row in measured)
    return Table(
        title="Cost by phase",
        question="Where do time, memory and energy go?",
        caveat=result.caveat,
        columns=tuple(column for block in blocks for column in block.columns),
        rows=rows,
        footnotes=footnotes.texts,
    )


def _training(costs: Mapping[str, PhaseCosts], footnotes: Footnotes) -> Block:
    """Return device time by phase and in all, and the wall time that it took."""
    block = Block()
    totals = {row: cost.total for row, cost in costs.items() if cost.total}
    if not totals:
        return block
    longest = max(total.wall_seconds for total in totals.values())
    device = (footnotes.add(DEVICE),)
    for name in dict.fromkeys(name for cost in costs.values() for name in cost.phases):
        found = {row: cost.phases[name].device_seconds for row, cost in costs.items() if name in cost.phases}
        column = Column(f"phase:{name}", PHASES.get(name, name), group="training", footnotes=device)
        _times(block, column, found, longest)
    found = {row: total.device_seconds for row, total in totals.items()}
    _times(block, Column("phase:device", "device time", group="training", footnotes=device), found, longest)
    found = {row: total.wall_seconds for row, total in totals.items()}
    _times(block, Column("phase:wall", "wall time", group="training"), found, longest)
    return block


def _evaluation(costs: Mapping[str, PhaseCosts], footnotes: Footnotes) -> Block:
    block = Block()
    longest = max((seconds for cost in costs.values() for seconds in cost.evaluation.values()), default=0.0)
    for name in dict.fromkeys(name for cost in costs.values() for name in cost.evaluation):
        column = Column(f"evaluation:{name}", name, group="evaluation", footnotes=(footnotes.add(EVALUATION),))
        found = {row: cost.evaluation[name] for row, cost in costs.items() if name in cost.evaluation}
        _times(block, column, found, longest)
    return block


def _energy(costs: Mapping[str, PhaseCosts], footnotes: Footnotes) -> Block:
    """Return the energy of the trainings that were metered."""
    block = Block()
    joules = {name: c.total.energy_joules for name, c in costs.items() if c.total and c.total.energy_joules is not None}
    if joules:
        unit, divisor = ("kWh", 3.6e6) if max(joules.values()) >= 3.6e6 else ("Wh", 3600.0)
        digits, notes = decimals_for(max(joules.values()) / divisor), (footnotes.add(ENERGY),)
        block.columns.append(Column("energy", "energy", unit, digits, group="training", panel="cost", footnotes=notes))
        for name, value in joules.items():
            block.put(name, "energy", Cell(value / divisor))
    return block


def _device(rows: list[ScoredTracker]) -> Block:
    """Return peak memory and speed, as in the study's table."""
    block, costs = Block(), {row.name: cost_of(row) for row in rows}
    memory = {name: c.peak_memory_bytes for name, c in costs.items() if c.peak_memory_bytes is not None}
    speeds = {name: c.fps for name, c in costs.items() if c.fps is not None}
    for key, symbol, unit, values in (("memory", "peak mem.", "B", memory), ("fps", "FPS", "frames/s", speeds)):
        if values:
            divisor, prefix = si(max(values.values())) if key == "memory" else (1.0, "")
            digits = decimals_for(max(values.values()) / divisor)
            block.columns.append(Column(key, symbol, prefix + unit, digits, group="device", panel="cost"))
            for name, value in values.items():
                block.put(name, key, Cell(value / divisor))
    return block


def _times(block: Block, column: Column, seconds: Mapping[str, float], longest: float) -> None:
    """Add a column of times in the unit that suits the longest of its group."""
    divisor, unit = time_unit(longest)
    digits = decimals_for(max(seconds.values()) / divisor)
    block.columns.append(replace(column, unit=unit, decimals=digits, panel="cost"))
    for row, value in seconds.items():
        block.put(row, column.key, Cell(value / divisor))


def _row(row: ScoredTracker, cost: PhaseCosts, blocks: list[Block], footnotes: Footnotes) -> TableRow:
    cells = {key: cell for block in blocks for key, cell in block.cells.get(row.name, {}).items()}
    if row.role != "variant":  # it trains nothing
        keys = (column.key for block in blocks for column in block.columns)
        cells = {key: NOT_APPLICABLE for key in keys if not key.startswith("evaluation:")} | cells
    notes = (footnotes.add(MEAN),) if cost.trainings > 1 else ()
    return TableRow(row.name, row.role, cells, row.baseline, notes)


def _added(costs: list[PhaseCost]) -> PhaseCost:
    known = [cost.energy_joules for cost in costs if cost.energy_joules is not None]
    return PhaseCost(
        wall_seconds=sum(cost.wall_seconds for cost in costs),
        device_seconds=sum(cost.device_seconds for cost in costs),
        energy_joules=sum(known) if len(known) == len(costs) else None,
    )


def _mean(costs: list[PhaseCost]) -> PhaseCost:
    energy = _added(costs).energy_joules
    return PhaseCost(
        wall_seconds=fmean(cost.wall_seconds for cost in costs),
        device_seconds=fmean(cost.device_seconds for cost in costs),
        energy_joules=None if energy is None else energy / len(costs),
    )
