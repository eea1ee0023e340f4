"""The figures of scored raw results: one per curve that the main dialect reads, and how two trackers differ."""

from collections.abc import Iterable

import numpy as np

from trackablate.harness.scoring.dialects import Curve
from trackablate.harness.scoring.metrics import METRICS, Metric, curve
from trackablate.harness.scoring.raw_scoring import Scored, TrackerScores
from trackablate.reports.figures.curves import TITLES, metric_of_curve
from trackablate.reports.figures.drawing import (
    GREY,
    PALETTE,
    STYLE,
    Drawing,
    Look,
    Picture,
    canvas,
    distinct_looks,
    legend,
    picture,
)
from trackablate.reports.statistics.bootstrap import curve_band
from trackablate.reports.tables.comparison import Comparison, tracker_named
from trackablate.reports.tables.score_table import incompleteness, standing, usable

MOST_BANDS = 4
"""Trackers up to which each has a band: more bands hide each other."""
BESIDE = 4.3
"""Inches: three of this width stand side by side on the page."""
MOST_INSIDE = 6
"""Trackers up to which the legend fits into the axes."""


def score_pictures(scored: Scored, compared: Comparison | None) -> list[Picture]:
    """The figures, in the page's order; none where no tracker's means are shown."""
    from matplotlib import rc_context

    shown = [tracker for tracker in standing(scored) if usable(scored, tracker)]
    looks = distinct_looks([tracker.name for tracker in standing(scored)])
    kinds = dict.fromkeys(reading.curve for reading in scored.dialects[0].readings.values())
    with rc_context(STYLE):
        found = [_curve(scored, kind, shown, looks) for kind in kinds] if shown else []
        return found + ([_differences(scored, compared)] if compared and compared.sequences else [])


def _curve(scored: Scored, kind: Curve, shown: list[TrackerScores], looks: dict[str, Look]) -> Picture:
    dialect = scored.dialects[0]
    metric = metric_of_curve(dialect, kind)
    inside = len(shown) <= MOST_INSIDE
    figure, (ax,) = canvas(1, height=3.4, width=BESIDE if inside else None)
    labels = {}
    for tracker in shown:
        thresholds, numerators, weights = curve(scored.tallies(tracker), kind, dialect)
        if not weights.sum():
            continue
        mean, low, high = curve_band(100 * numerators, weights)
        look = looks[tracker.name]
        line = ax.plot(thresholds, mean, color=look.colour, linestyle=look.dash, linewidth=1.4)[0]
        line.set(marker=look.marker, markevery=max(1, len(thresholds) // 5), markersize=4)
        if len(shown) <= MOST_BANDS:
            ax.fill_between(thresholds, low, high, color=look.colour, alpha=0.1, linewidth=0)
        labels[_label(scored, tracker, metric)] = look
    title, x, y = TITLES[kind]
    ax.set(title=f"{scored.title}, dialect {dialect.name}", xlabel=x, ylabel=y, xlim=(0, thresholds[-1]), ylim=(0, 101))
    legend(ax, labels, "best" if inside else "right")
    bands = " Bands: pointwise 95 % bootstrap over sequences." if len(shown) <= MOST_BANDS else ""
    over = "pooled over all frames" if dialect.pooling == "frames" else "averaged over sequences"
    caption = f"{title}: share of frames, {over}. In the legend {metric.symbol}: {metric.description}.{bands}"
    return picture(Drawing(kind, figure, f"{title} curves, {metric.symbol}: {_listed(labels)}.", caption))


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(" ".join(label.split()) for label in labels)


def _label(scored: Scored, tracker: TrackerScores, metric: Metric) -> str:
    value = scored.score(tracker, metric.key, scored.dialects[0])
    number = "–" if value is None else f"{value:.{metric.decimals}f}"
    part = incompleteness(scored, tracker)
    label = f"{tracker.name}  {number}"
    return f"{label}\n({part})" if part else label


def _differences(scored: Scored, found: Comparison) -> Picture:
    """Every sequence's difference, in order of its value."""
    metric = METRICS[found.metric]
    ordered = -np.sort([metric.scale * (pair.b - pair.a) for pair in found.sequences])
    figure, (ax,) = canvas(1, height=3.0)
    edges = np.arange(len(ordered) + 1) + 0.5
    ax.stairs(ordered.clip(0), edges, fill=True, color=PALETTE[0])
    ax.stairs(ordered.clip(None, 0), edges, fill=True, color=PALETTE[3])
    mean = metric.scale * found.difference.value
    ax.axhline(0, color="#000000", linewidth=0.6)
    ax.axhline(mean, color=GREY, linestyle="--", linewidth=1)
    part = incompleteness(scored, tracker_named(scored, found.a))
    title = f"above 0 {found.a} is better, below 0 {found.b}"
    ax.set(title=f"{title}\n({part})" if part else title, xlabel="sequence, by difference")
    ax.set(ylabel=f"Δ{metric.symbol} (points)", xlim=(0.5, len(ordered) + 0.5))
    caption = (
        f"{metric.symbol} of {found.a} minus that of {found.b}, sequence by sequence, ordered. Dashed: the difference of the"
        " scores."
    )
    alt = f"{found.a} is better on {found.wins} sequences, {found.b} on {found.losses}, both are equal on {found.ties}."
    return picture(Drawing("differences", figure, alt, caption))
