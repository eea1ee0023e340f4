"""Every sequence, one tracker against another: what a mean hides."""

from typing import TYPE_CHECKING

import numpy as np

from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker
from trackablate.harness.tracking.overlay import PALETTE
from trackablate.reports.figures.drawing import GREY, Drawing, Look, canvas, panels, short
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.table import Table
from trackablate.reports.tables.comparison import comparisons

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 9
"""Variants with a panel; further ones are named in the caption."""


def pairs(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw each variant against the baseline, on the first protocol on which the baseline is complete."""
    baseline = result.baseline
    for facts in result.scored_here:
        others = [row for row in result.variants if not row.baseline and row.usable(facts)]
        if baseline and baseline.usable(facts) and others:
            return _drawing(result, facts, baseline, others, looks)
    return None


def _drawing(
    result: Result,
    facts: ScoredProtocol,
    baseline: ScoredTracker,
    others: list[ScoredTracker],
    looks: dict[str, Look],
) -> Drawing:
    metric = METRICS[primary_metric(result, facts)]
    dialect, shown = facts.dialects[metric.key], others[:MOST]
    reference = baseline.protocols[facts.name].by_sequence(metric, dialect)
    figure, axes = panels(len(shown), height=3.0)
    readings, words = Readings("sequence"), []
    for row, ax in zip(shown, axes, strict=True):
        found = row.protocols[facts.name].by_sequence(metric, dialect)
        shared = {s: (reference[s], found[s]) for s in reference if s in found}
        words.append(_panel((row.name, baseline.name), shared, metric, looks[row.name], ax, readings))
    left_out = f" Not drawn: {', '.join(row.name for row in others[MOST:])}." if len(others) > MOST else ""
    caption = (
        f"{metric.symbol} of every sequence of {facts.name}: each variant against {baseline.name}. Above the diagonal the"
        f" variant is higher.{left_out}"
    )
    return Drawing("pairs", figure, f"Per sequence. {' '.join(words)}", caption, readings)


def _panel(
    names: tuple[str, str],
    shared: dict[str, tuple[float, float]],
    metric: Metric,
    look: Look,
    ax: "Axes",
    readings: Readings,
) -> str:
    """Draw the variant, which is named first, over the baseline, whose values come first."""
    name, baseline = names
    above, below = (sum(sign * (y - x) > 0 for x, y in shared.values()) for sign in (1, -1))
    ax.axline((0, 0), slope=1, color="#000000", linewidth=0.7)
    xs, ys = [x for x, _ in shared.values()], [y for _, y in shared.values()]
    ax.plot(xs, ys, look.marker or "o", color=look.colour, alpha=0.6)
    for sequence, (x, y) in shared.items():
        readings.add(ax, sequence, name, (x, y), f"{y:.1f} against {x:.1f} ({y - x:+.1f})")
    for line in ax.lines[1:]:
        line.set(markersize=4, markeredgewidth=0)
    ax.set(title=f"{short(name)}: higher on {above}, lower on {below}", aspect="equal")
    ax.set_xlabel(f"{metric.symbol}, {short(baseline)}")
    ax.set_ylabel(f"{metric.symbol}, {short(name)}")
    return f"{name} has more than {baseline} on {above} sequences and less on {below}."


def compared(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw every sequence's difference of the two trackers that the result compares, in order of its value."""
    found = next(iter(comparisons(result)), None)
    if found is None or not found.sequences:
        return None
    metric, facts = METRICS[found.metric], result.protocols[0]
    ordered = -np.sort([pair.b - pair.a for pair in found.sequences])
    figure, (ax,) = canvas(1, height=3.0)
    edges = np.arange(len(ordered) + 1) + 0.5
    ax.stairs(ordered.clip(0), edges, fill=True, color=PALETTE[0])
    ax.stairs(ordered.clip(None, 0), edges, fill=True, color=PALETTE[3])
    ax.axhline(0, color="#000000", linewidth=0.6)
    ax.axhline(metric.scale * found.difference.value, color=GREY, linestyle="--", linewidth=1)
    part = next(row for row in result.rows if row.name == found.a).protocols[facts.name].incompleteness
    title = f"above 0 {found.a} is better, below 0 {found.b}"
    ax.set(title=f"{title}\n({part})" if part else title, xlabel="sequence, by difference")
    ax.set(ylabel=f"Δ{metric.symbol} (points)", xlim=(0.5, len(ordered) + 0.5))
    caption = (
        f"{metric.symbol} of {found.a} minus that of {found.b}, sequence by sequence, ordered. Dashed: the difference of the"
        " scores."
    )
    alt = f"{found.a} is better on {found.wins} sequences, {found.b} on {found.losses}, both are equal on {found.ties}."
    return Drawing("differences", figure, alt, caption)
