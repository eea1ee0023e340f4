"""Distributions over sequences: the primary metric of every row, and its differences to the baseline."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.reports.figures.drawing import Drawing, Look, canvas, listed, short
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.statistics.bootstrap import Floats, quotient
from trackablate.reports.table import GREYED_BELOW, Cell, Table
from trackablate.reports.tables.accuracy import metric_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3
"""Sequences below which a distribution has no shape."""
TICK = 0.07
"""Half the height of a sequence's tick; rows are 1 apart."""
MEAN = 0.22
"""Distance of the mean below the middle of its row."""


@dataclass(frozen=True)
class Spread:
    """One metric of every row on the same sequences.

    Attributes:
        metric: the metric; values are in its own unit.
        protocol: the protocol's name.
        sequences: names of the n sequences.
        rows: values (S, n) of each row, a line per training seed; NaN if no frame of a sequence counts.
        baseline: the row that the others are compared with, or None.
        means: the table's cells of each row, of its mean and of its difference to the baseline.
    """

    metric: Metric
    protocol: str
    sequences: tuple[str, ...]
    rows: dict[str, Floats]
    baseline: str | None
    means: dict[str, tuple[Cell, Cell]] = field(default_factory=dict)

    def differences(self) -> dict[str, Floats]:
        """Return row minus baseline of each sequence (1, n), after the mean over seeds, for all rows but the baseline."""
        if self.baseline is None:
            return {}
        reference = self.rows[self.baseline].mean(axis=0, keepdims=True)
        others = {n: v.mean(axis=0, keepdims=True) - reference for n, v in self.rows.items() if n != self.baseline}
        return {name: values for name, values in others.items() if np.isfinite(values).any()}


def distributions(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw the distributions of the primary metric, or return None if no protocol has enough sequences."""
    spread = spread_of(result, table)
    return drawing_of(spread, looks) if spread and spread.rows else None


def spread_of(result: Result, table: Table) -> Spread | None:
    """Return the primary metric of the complete rows on the first protocol where the baseline, or any row, is complete."""
    for facts in result.scored_here:
        complete = {row.name: done for row in result.rows if (done := row.usable(facts))}
        found = {row.name: complete[row.name] for row in table.rows if row.name in complete}
        baseline = next((row.name for row in result.rows if row.baseline and row.name in found), None)
        first = found.get(baseline or "", next(iter(found.values()), None))
        if first is None or len(first.names) < FEWEST:
            continue
        metric = METRICS[primary_metric(result, facts)]
        same = {name: done for name, done in found.items() if done.names == first.names}
        dialect, key = facts.dialects[metric.key], metric_key(facts, metric.key)
        values = {name: metric.scale * quotient(*done.samples(metric.key, dialect)) for name, done in same.items()}
        rows = {name: each for name, each in values.items() if np.isfinite(each).any()}
        means = {r.name: (r.cells.get(key, Cell()), r.cells.get(f"{key}:delta", Cell())) for r in table.rows}
        return Spread(metric, facts.name, tuple(first.names), rows, baseline if baseline in rows else None, means)
    return None


def drawing_of(spread: Spread, looks: dict[str, Look]) -> Drawing:
    """Draw a violin per row: its values on the left and, if there is a baseline, its differences on the right."""
    changes, symbol, names = spread.differences(), spread.metric.symbol, list(spread.rows)
    figure, axes = canvas(1 + bool(changes), height=0.9 + 0.42 * len(names), sharey=True)
    readings, unit = Readings("row"), "points" if spread.metric.unit == "%" else spread.metric.unit
    for side, (ax, shown) in enumerate(zip(axes, (spread.rows, changes), strict=False)):
        for name, values in shown.items():
            _violin(ax, names.index(name), values, looks[name])
            mean = spread.means.get(name, (Cell(), Cell()))[side]
            _read(readings, ax, (name, names.index(name)), "Δ" * side + symbol, values, spread, mean)
    axes[0].set(xlabel=f"{symbol} ({spread.metric.unit})", ylabel="", ylim=(len(names) - 0.5, -0.5))
    axes[0].set_yticks(range(len(names)), [short(name) for name in names])
    if changes and spread.baseline is not None:
        axes[1].axvline(0, color="#000000", linewidth=0.8)
        axes[1].text(0, names.index(spread.baseline), " baseline", va="center", fontsize="small")
        axes[1].set(xlabel=f"Δ{symbol} to {short(spread.baseline)} ({unit})", ylabel="")
    aside = f" (left), and its difference to {spread.baseline} on the same sequence (right)" if changes else ""
    several = any(len(values) > 1 for values in spread.rows.values())
    together, each = (", all seeds together", " of each seed on the left") if several else ("", "")
    caption = (
        f"{symbol} of the {len(spread.sequences)} sequences of {spread.protocol}{together}{aside}. A tick is a sequence, a"
        f" thick line the median{each}, a diamond the table's mean with its 95 % interval. The table of values names the"
        " sequences at the extremes."
    )
    medians, median_changes = (
        listed({name: float(np.nanmedian(values)) for name, values in of.items()}) for of in (spread.rows, changes)
    )
    words = f" Median differences to {spread.baseline}: {median_changes}." if changes else ""
    alt = f"Distributions of {symbol} over sequences. Medians: {medians}.{words}"
    return Drawing("distributions", figure, alt, caption, readings)


def _violin(ax: "Axes", at: int, values: Floats, look: Look) -> None:
    """Draw values (S, n) as one shape at the height `at`, with a tick per value and the median of each seed."""
    import seaborn

    finite = values[np.isfinite(values)]
    if len(finite) >= GREYED_BELOW:  # fewer have no shape
        seaborn.violinplot(
            x=finite, y=np.full(len(finite), at), ax=ax, orient="h", native_scale=True, cut=0, density_norm="width",
            width=0.8, color=look.colour, saturation=1, alpha=0.3, linewidth=0.7, inner=None,
        )  # fmt: skip
    ends = np.tile([at - TICK, at + TICK, np.nan], len(finite))  # one path: thousands of marks are megabytes
    ax.plot(np.repeat(finite, 3), ends, color=look.colour, linewidth=0.6, alpha=0.7)
    medians = np.nanmedian(values, axis=1)
    ax.plot(medians, np.full(len(medians), at), "|", color="#000000", markersize=11, markeredgewidth=1.6)


def _read(
    readings: Readings, ax: "Axes", row: tuple[str, int], symbol: str, values: Floats, spread: Spread, mean: Cell
) -> None:
    """Draw the mean below the ticks. Note it, the median with the quartiles, and the sequences at both ends."""
    name, at = row
    number = f"{{:{'+' if symbol.startswith('Δ') else ''}.{spread.metric.decimals}f}}"
    if mean.value is not None:
        interval = ""
        if mean.low is not None and mean.high is not None:
            ax.plot([mean.low, mean.high], [at + MEAN] * 2, color="#000000", linewidth=1.2)
            interval = f" [{number.format(mean.low)}, {number.format(mean.high)}]"
        ax.plot(mean.value, at + MEAN, "D", color="#ffffff", markeredgecolor="#000000", markersize=4)
        readings.add(ax, name, f"mean {symbol}", (mean.value, at + MEAN), f"{number.format(mean.value)}{interval}")
    low, median, high = (float(v) for v in np.nanquantile(values, (0.25, 0.5, 0.75)))
    quartiles = f"{number.format(median)} (quartiles {number.format(low)}, {number.format(high)})"
    readings.add(ax, name, f"median {symbol}", (median, at), quartiles)
    for word, place in (("lowest", np.nanargmin(values)), ("highest", np.nanargmax(values))):
        value, sequence = float(values.flat[place]), spread.sequences[int(place) % len(spread.sequences)]
        readings.add(ax, name, f"{word} {symbol}", (value, at), f"{number.format(value)} on {sequence}")
