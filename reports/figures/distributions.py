"""Distributions over sequences: the primary metric of every row, and its differences to the baseline."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.reports.figures.drawing import Drawing, Look, canvas, listed, short
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.statistics.bootstrap import Floats, quotient
from trackablate.reports.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3
"""Sequences below which a distribution has no shape."""
TICK = 0.07
"""Half the height of a sequence's tick; rows are 1 apart."""


@dataclass(frozen=True)
class Spread:
    """One metric of every row on the same sequences.

    Attributes:
        metric: the metric; values are in its own unit.
        protocol: the protocol's name.
        sequences: names of the n sequences.
        rows: values (S, n) of each row, a line per training seed; NaN if no frame of a sequence counts.
        baseline: the row that the others are compared with, or None.
    """

    metric: Metric
    protocol: str
    sequences: tuple[str, ...]
    rows: dict[str, Floats]
    baseline: str | None

    def differences(self) -> dict[str, Floats]:
        """Return row minus baseline of each sequence (n,), after the mean over seeds, for all rows but the baseline."""
        if self.baseline is None:
            return {}
        reference = self.rows[self.baseline].mean(axis=0)
        others = {name: values.mean(axis=0) - reference for name, values in self.rows.items() if name != self.baseline}
        return {name: values for name, values in others.items() if np.isfinite(values).any()}


def distributions(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw the distributions of the primary metric, or return None if no protocol has enough sequences."""
    spread = spread_of(result)
    return drawing_of(spread, looks) if spread and spread.rows else None


def spread_of(result: Result) -> Spread | None:
    """Return the primary metric of the complete rows on the first protocol where the baseline, or any row, is complete."""
    for facts in result.scored_here:
        found = {row.name: done for row in result.rows if (done := row.usable(facts))}
        baseline = next((row.name for row in result.rows if row.baseline and row.name in found), None)
        first = found.get(baseline or "", next(iter(found.values()), None))
        if first is None or len(first.names) < FEWEST:
            continue
        metric = METRICS[primary_metric(result, facts)]
        same = {name: done for name, done in found.items() if done.names == first.names}
        dialect = facts.dialects[metric.key]
        values = {name: metric.scale * quotient(*done.samples(metric.key, dialect)) for name, done in same.items()}
        rows = {name: each for name, each in values.items() if np.isfinite(each).any()}
        return Spread(metric, facts.name, tuple(first.names), rows, baseline if baseline in rows else None)
    return None


def drawing_of(spread: Spread, looks: dict[str, Look]) -> Drawing:
    """Draw a violin per row: its values on the left and, if there is a baseline, its differences on the right."""
    changes, symbol = spread.differences(), spread.metric.symbol
    figure, axes = canvas(1 + bool(changes), height=0.9 + 0.42 * len(spread.rows), sharey=True)
    readings, places = Readings("row"), {name: at for at, name in enumerate(spread.rows)}
    medians = {name: float(np.nanmedian(values)) for name, values in spread.rows.items()}
    for name, values in spread.rows.items():
        _violin(axes[0], places[name], values, looks[name])
        _read(readings, axes[0], (name, places[name]), symbol, values, spread)
    axes[0].set(xlabel=f"{symbol} ({spread.metric.unit})", ylabel="", ylim=(len(places) - 0.5, -0.5))
    axes[0].set_yticks(list(places.values()), [short(name) for name in places])
    for name, values in changes.items():
        _violin(axes[1], places[name], values[None], looks[name])
        _read(readings, axes[1], (name, places[name]), f"Δ{symbol}", values[None], spread)
    if changes and spread.baseline is not None:
        axes[1].axvline(0, color="#000000", linewidth=0.8)
        axes[1].text(0, places[spread.baseline], " baseline", va="center", fontsize="small")
        axes[1].set(xlabel=f"Δ{symbol} to {short(spread.baseline)} ({_unit(spread.metric)})", ylabel="")
    caption = (
        f"{symbol} of the {len(spread.sequences)} sequences of {spread.protocol}, all seeds together"
        + (f" (left), and its difference to {spread.baseline} on the same sequence (right)" if changes else "")
        + ". Each tick inside a shape is a sequence; the thick line is the median, of each seed on the left. The table of"
        " values names the sequences at the extremes."
    )
    median_changes = listed({name: float(np.nanmedian(values)) for name, values in changes.items()})
    words = f" Median differences to {spread.baseline}: {median_changes}." if changes else ""
    alt = f"Distributions of {symbol} over sequences. Medians: {listed(medians)}.{words}"
    return Drawing("distributions", figure, alt, caption, readings)


def _violin(ax: "Axes", at: int, values: Floats, look: Look) -> None:
    """Draw values (S, n) as one shape at the height `at`, with a tick per value and the median of each seed."""
    import seaborn

    finite = values[np.isfinite(values)]
    seaborn.violinplot(
        x=finite, y=np.full(len(finite), at), ax=ax, orient="h", native_scale=True, cut=0, density_norm="width", width=0.8,
        color=look.colour, saturation=1, alpha=0.3, linewidth=0.7, inner=None,
    )  # fmt: skip
    ends = np.tile([at - TICK, at + TICK, np.nan], len(finite))  # one path: thousands of marks are megabytes
    ax.plot(np.repeat(finite, 3), ends, color=look.colour, linewidth=0.6, alpha=0.7)
    medians = np.nanmedian(values, axis=1)
    ax.plot(medians, np.full(len(medians), at), "|", color="#000000", markersize=11, markeredgewidth=1.6)


def _read(readings: Readings, ax: "Axes", row: tuple[str, int], symbol: str, values: Floats, spread: Spread) -> None:
    """Note the median and quartiles of a shape, and the sequences at both ends of it."""
    name, at = row
    number = f"{{:{'+' if symbol.startswith('Δ') else ''}.{spread.metric.decimals}f}}"
    low, median, high = (float(v) for v in np.nanquantile(values, (0.25, 0.5, 0.75)))
    quartiles = f"{number.format(median)} (quartiles {number.format(low)}, {number.format(high)})"
    readings.add(ax, name, f"median {symbol}", (median, at), quartiles)
    for word, place in (("lowest", np.nanargmin(values)), ("highest", np.nanargmax(values))):
        value, sequence = float(values.flat[place]), spread.sequences[int(place) % len(spread.sequences)]
        readings.add(ax, name, f"{word} {symbol}", (value, at), f"{number.format(value)} on {sequence}")


def _unit(metric: Metric) -> str:
    return "points" if metric.unit == "%" else metric.unit
