"""Success, precision and normalised precision curves with their bands, a panel per protocol."""

from typing import TYPE_CHECKING

import numpy as np

from trackablate.harness.scoring.dialects import Curve
from trackablate.harness.scoring.metrics import METRICS, Metric, curve
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker, TrackerScores
from trackablate.reports.figures.drawing import Drawing, Look, legend, panels
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result, standing
from trackablate.reports.statistics.bootstrap import Floats, curve_band
from trackablate.reports.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES: dict[Curve, tuple[str, str, str]] = {
    "success": ("Success", "overlap threshold", "success (%)"),
    "precision": ("Precision", "centre error threshold (px)", "precision (%)"),
    "norm_precision": ("Normalised precision", "normalised centre error threshold", "normalised precision (%)"),
}
"""The title of each curve, and its axes."""
SHARES = {
    "success": "overlap exceeds the threshold",
    "precision": "centre error is at most the threshold",
    "norm_precision": "centre error, in units of the target's size, is at most the threshold",
}
MOST_INSIDE = 7
"""Rows whose legend has room among the curves."""
MOST_BANDS = 8
"""Variants up to which each has a band: more bands hide each other."""


def curves(kind: Curve, result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw one kind of curve, a panel for each protocol that reads a metric off it."""
    metrics = {facts.name: metric for facts in result.scored_here if (metric := _metric(facts, kind))}
    shown = [f for f in result.scored_here if f.name in metrics and any(row.usable(f) for row in result.rows)]
    if not shown:
        return None
    title, across, _ = TITLES[kind]
    figure, axes = panels(len(shown), height=3.4)
    readings, summary, named = Readings(across), [], len(shown) > 1
    for facts, ax in zip(shown, axes, strict=True):
        labels = _panel(
            result, facts, metrics[facts.name], kind, looks, ax, readings if not named else readings.of(facts.name)
        )
        summary.append(f"{facts.name}: {', '.join(' '.join(label.split()) for label in labels)}")
    dialects = ", ".join(dict.fromkeys(facts.dialects[metrics[facts.name].key].name for facts in shown))
    described = "; ".join(dict.fromkeys(f"{m.symbol}: {m.description}" for m in metrics.values()))
    bands = " Bands: pointwise 95 % bootstrap over sequences." if len(result.variants) <= MOST_BANDS else ""
    caption = (
        f"{title}: share of frames (averaged as dialect {dialects} does) whose {SHARES[kind]}. In the legend"
        f" {described}.{bands}"
    )
    return Drawing(kind, figure, f"{title} curves. {'; '.join(summary)}", caption, readings)


def _metric(facts: ScoredProtocol, kind: Curve) -> Metric | None:
    """Return the metric that a curve's legend shows: AUC if it is read off the curve, else the first that is."""
    how = {key: dialect.readings[key] for key, dialect in facts.dialects.items()}
    read = [key for key, reading in how.items() if reading.curve == kind and reading.how != "in time"]
    return METRICS["auc" if "auc" in read else read[0]] if read else None


def _panel(
    result: Result,
    facts: ScoredProtocol,
    metric: Metric,
    kind: Curve,
    looks: dict[str, Look],
    ax: "Axes",
    readings: Readings,
) -> list[str]:
    """Draw one protocol's curves and return their labels."""
    labels, end = {}, 1.0
    for row in standing(result):
        found = row.usable(facts)
        if found is None:
            continue
        thresholds, (mean, low, high) = _band(found, kind, facts, metric)
        labels[_label(row, facts, metric)] = look = looks[row.name]
        line = ax.plot(thresholds, mean, color=look.colour, linestyle=look.dash, linewidth=1.4)[0]
        line.set(marker=look.marker, markevery=max(1, len(thresholds) // 5), markersize=4)
        if row.role == "variant" and len(result.variants) <= MOST_BANDS:
            ax.fill_between(thresholds, low, high, color=look.colour, alpha=0.12, linewidth=0)
        for x, y, lower, upper in zip(thresholds, mean, low, high, strict=True):
            readings.add(ax, f"{x:g}", row.name, (x, y), f"{y:.1f} [{lower:.1f}, {upper:.1f}]")
        end = float(thresholds[-1])
    if (threshold := facts.dialects[metric.key].readings[metric.key].at) is not None:
        ax.axvline(threshold, color="#000000", linestyle=":", linewidth=0.7)
    _, x_label, y_label = TITLES[kind]
    ax.set(title=facts.title, xlabel=x_label, ylabel=y_label, xlim=(0, end), ylim=(0, 101))
    legend(ax, labels, "best" if len(labels) <= MOST_INSIDE else "right")
    return list(labels)


def _label(row: ScoredTracker, facts: ScoredProtocol, metric: Metric) -> str:
    """Return a row's name with its figure as the table has it, and how much of it there is."""
    value = row.percent(facts, metric.key)
    label = f"{row.name}  {'–' if value is None else f'{value:.{metric.decimals}f}'}"
    part = row.protocols[facts.name].incompleteness
    return f"{label}\n({part})" if part else label


def _band(
    found: TrackerScores, kind: Curve, facts: ScoredProtocol, metric: Metric
) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
    """Return the thresholds, and the mean over seeds with its band over sequences, in percent."""
    dialect = facts.dialects[metric.key]
    each = [curve([tallies[name] for name in found.names], kind, dialect) for tallies in found.seeds]
    numerators, weights = (np.mean([seed[part] for seed in each], axis=0) for part in (1, 2))
    return each[0][0], curve_band(100 * numerators, weights)
