"""Success, precision and normalised precision curves with their bands, a panel per protocol."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from trackablate.harness.scoring.dialects import Curve
from trackablate.harness.scoring.metrics import DIALECTS, METRICS, Dialect, Metric, curve, values
from trackablate.reports.figures.drawing import Drawing, Look, legend, listed, panels
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import ProtocolFacts, ProtocolResult, StudyResult
from trackablate.reports.statistics.bootstrap import Floats, curve_band
from trackablate.reports.table import Table
from trackablate.reports.tables.effects import complete

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Draw = Callable[[StudyResult, Table, dict[str, Look]], Drawing | None]
TITLES: dict[Curve, tuple[str, str, str]] = {
    "success": ("Success", "overlap threshold", "success (%)"),
    "precision": ("Precision", "centre error threshold (px)", "precision (%)"),
    "norm_precision": ("Normalised precision", "normalised centre error threshold", "normalised precision (%)"),
}
"""What each curve is called, and its axes."""
SHARES = {
    "success": "overlap exceeds the threshold; in the legend the mean of its 21 points",
    "precision": "centre error is at most the threshold; in the legend precision at 20 px, where the dotted line stands",
    "norm_precision": "centre error, in units of the target's size, is at most the threshold; the legend says of what",
}
MOST_INSIDE = 7
"""Rows whose legend has room among the curves."""
MOST_BANDS = 8
"""Variants up to which each has a band: more bands hide each other."""


def metric_of_curve(dialect: Dialect, kind: Curve) -> Metric:
    """The first metric that is read off a curve: the one its legend shows."""
    return METRICS[next(key for key, reading in dialect.readings.items() if reading.curve == kind)]


def curves(kind: Curve) -> Draw:
    """What draws one kind of curve."""

    def draw(result: StudyResult, table: Table, looks: dict[str, Look]) -> Drawing | None:
        return _drawing(result, kind, looks)

    return draw


def _drawing(result: StudyResult, kind: Curve, looks: dict[str, Look]) -> Drawing | None:
    read = {facts.name: rules for facts in result.protocols if (rules := _rules(facts, kind)) is not None}
    shown = [f for f in result.protocols if f.name in read and any(complete(row, f) for row in result.rows)]
    if not shown:
        return None
    title, across, _ = TITLES[kind]
    figure, axes = panels(len(shown), height=3.4)
    readings, summary = Readings(across), {}
    for facts, ax in zip(shown, axes, strict=True):
        summary[facts.name] = _panel(result, facts, read[facts.name], kind, looks, ax, readings, len(shown) > 1)
    dialects = ", ".join(dict.fromkeys(rules[0].name for rules in read.values()))
    caption = (
        f"{title}: share of frames (averaged as dialect {dialects} does) whose {SHARES[kind]}. Bands of the variants:"
        " pointwise 95 % bootstrap over sequences."
    )
    alt = f"{title} curves. " + "; ".join(f"{name}: {listed(found)}" for name, found in summary.items())
    return Drawing(kind, figure, alt, caption, readings)


def _rules(facts: ProtocolFacts, kind: Curve) -> tuple[Dialect, str | None] | None:
    """The dialect to draw a curve by and the metric its legend shows; every protocol has success curves."""
    if kind == "success":
        return DIALECTS["ostrack"].on(facts.name), None
    for metric, dialect in facts.dialects.items():
        if dialect.readings[metric].curve == kind:
            return dialect, metric
    return None


def _panel(
    result: StudyResult,
    facts: ProtocolFacts,
    rules: tuple[Dialect, str | None],
    kind: Curve,
    looks: dict[str, Look],
    ax: "Axes",
    readings: Readings,
    named: bool,
) -> dict[str, float]:
    dialect, metric = rules
    bands = sum(row.role == "variant" for row in result.rows) <= MOST_BANDS
    numbers, end = {}, 1.0
    for row in result.rows:
        found = complete(row, facts)
        if found is None:
            continue
        thresholds, (mean, low, high) = _band(found, kind, dialect)
        numbers[row.name], look = _number(found, metric, dialect, mean), looks[row.name]
        line = ax.plot(thresholds, mean, color=look.colour, linestyle=look.dash, linewidth=1.4)[0]
        line.set(marker=look.marker, markevery=max(1, len(thresholds) // 5), markersize=4)
        if row.role == "variant" and bands:
            ax.fill_between(thresholds, low, high, color=look.colour, alpha=0.12, linewidth=0)
        for x, y, lower, upper in zip(thresholds, mean, low, high, strict=True):
            at = f"{facts.name}, {x:g}" if named else f"{x:g}"
            readings.add(ax, at, row.name, (x, y), f"{y:.1f} [{lower:.1f}, {upper:.1f}]")
        end = float(thresholds[-1])
    if metric is not None and (at_threshold := dialect.readings[metric].at) is not None:
        ax.axvline(at_threshold, color="#000000", linestyle=":", linewidth=0.7)
    _, x_label, y_label = TITLES[kind]
    ax.set(title=facts.name, xlabel=x_label, ylabel=y_label, xlim=(0, end), ylim=(0, 101))
    inside = "lower left" if kind == "success" else "lower right"
    place = inside if len(numbers) <= MOST_INSIDE else "right"
    legend(ax, {f"{name}  {number:.1f}": looks[name] for name, number in numbers.items()}, place)
    return numbers


def _band(found: ProtocolResult, kind: Curve, dialect: Dialect) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
    """Thresholds, and the mean over seeds with its band over sequences, in percent."""
    names = sorted(found.tallies)
    whole = [tallies for tallies in found.seeds if tallies.keys() == found.tallies.keys()]
    each = [curve([tallies[name] for name in names], kind, dialect) for tallies in whole]
    numerators, weights = (np.mean([seed[part] for seed in each], axis=0) for part in (1, 2))
    return each[0][0], curve_band(100 * numerators, weights)


def _number(found: ProtocolResult, metric: str | None, dialect: Dialect, mean: Floats) -> float:
    """What the legend shows: the area under a success curve, else the metric as the table has it."""
    if metric is None:
        return float(mean.mean())
    names = sorted(found.tallies)
    whole = [tallies for tallies in found.seeds if tallies.keys() == found.tallies.keys()]
    pairs = [values([tallies[name] for name in names], metric, dialect) for tallies in whole]
    return METRICS[metric].scale * float(np.mean([part.sum() / weights.sum() for part, weights in pairs]))
