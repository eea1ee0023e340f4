"""Accuracy against training length, a bubble per tracker whose area is its computation (DETRack, Figure 1).

Measured and printed figures never share axes: what papers print stands in a panel of its own, hollow.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trackablate.ablations.recipes import PAIRS, epochs
from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.reports.figures.cost import scores_of
from trackablate.reports.figures.drawing import Drawing, Look, distinct_looks, legend, listed, panels, telling
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result
from trackablate.reports.table import Table
from trackablate.reports.tables.costs import cost_of
from trackablate.reports.tables.printed import printed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST_BUBBLE = 800.0
"""Area of the largest bubble of a panel, in square points."""


@dataclass(frozen=True)
class _Bubble:
    """A tracker; macs are None if a paper does not print them."""

    name: str
    epochs: float
    score: float
    macs: float | None


@dataclass(frozen=True)
class _Panel:
    title: str
    metric: Metric
    bubbles: tuple[_Bubble, ...]
    hollow: bool


def against_epochs(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw a panel of what was measured and one of what is printed, if trackers differ in length and accuracy."""
    both = [panel for panel in (_measured(result, table), _printed(result)) if panel]
    shown = [panel for panel in both if telling([(bubble.epochs, bubble.score) for bubble in panel.bubbles])]
    if not shown:
        return None
    names = list(dict.fromkeys(bubble.name for panel in shown for bubble in panel.bubbles))
    further = distinct_looks([*looks, *(name for name in names if name not in looks)])
    looks = {name: looks.get(name) or further[name] for name in names}
    figure, axes = panels(len(shown), height=3.4)
    readings = Readings("training")
    for panel, ax in zip(shown, axes, strict=True):
        _draw(panel, looks, ax, readings)
    legend(axes[-1], looks, "right")
    words = "; ".join(f"{p.title}: {listed({b.name: b.score for b in p.bubbles})}" for p in shown).replace("\n", ", ")
    caption = (
        "Accuracy against training length; area: multiply-accumulates of one tracking step, by each panel's own scale; a"
        " small cross where they are not known. Hollow: printed in papers, measured by them and not here."
    )
    return Drawing("epochs", figure, f"Accuracy against epochs. {words}.", caption, readings)


def _measured(result: Result, table: Table) -> _Panel | None:
    scores = scores_of(result, table)
    if scores is None:
        return None
    bubbles = []
    for row in result.variants:
        if row.record and row.record.asked.recipe and row.name in scores.cells:
            length = epochs(row.record.asked.recipe)
            bubbles.append(_Bubble(row.name, length, scores.of(row.name), cost_of(row).macs))
    title = f"measured, profile {result.profile_name}\n{scores.protocol}"
    return _Panel(title, scores.metric, tuple(bubbles), hollow=False)


def _printed(result: Result) -> _Panel | None:
    """Return what papers print of the study's rows and of cited trackers, by the metric that most of them print."""
    names = [row.name for row in (*result.variants, *result.of_role("cited"))]
    found = {name: printed(result, name) for name in dict.fromkeys(names)}
    keys = Counter(
        (protocol, metric)
        for figures in found.values()
        for protocol, metric in (key.split(":") for key in figures if ":" in key)
        if metric in METRICS and f"{protocol}:epochs" in figures
    )
    if not keys:
        return None
    protocol, metric = keys.most_common(1)[0][0]
    key, length = f"{protocol}:{metric}", f"{protocol}:epochs"
    bubbles = tuple(
        _Bubble(name, of[length].value, of[key].value, of["flops"].value if "flops" in of else None)
        for name, of in found.items()
        if key in of and length in of
    )
    comparable = "" if result.comparable_with_paper else ", not comparable"
    return _Panel(f"printed in papers{comparable}\n{protocol}", METRICS[metric], bubbles, hollow=True)


def _draw(panel: _Panel, looks: dict[str, Look], ax: "Axes", readings: Readings) -> None:
    largest = max((bubble.macs for bubble in panel.bubbles if bubble.macs), default=1.0)
    for bubble in sorted(panel.bubbles, key=lambda bubble: -(bubble.macs or 0.0)):  # so that none hides another
        colour = looks[bubble.name].colour
        place = (bubble.epochs, bubble.score)
        if bubble.macs:
            area = LARGEST_BUBBLE * bubble.macs / largest
            face = "none" if panel.hollow else colour
            ax.scatter(
                *place, s=area, facecolor=face, alpha=0.9 if panel.hollow else 0.45, edgecolor=colour, linewidth=1.4
            )
        else:
            ax.plot(*place, marker="x", color=colour, markersize=6)
        size = f", {bubble.macs / 1e9:.3g} GMACs" if bubble.macs else ""
        at = f"{bubble.epochs:.3g} epochs, {'printed' if panel.hollow else 'measured'}"
        readings.add(ax, at, bubble.name, place, f"{panel.metric.symbol} {bubble.score:.1f}{size}")
    ax.set(
        title=panel.title,
        xlabel=f"epochs of {PAIRS // 1000}k training pairs",
        ylabel=f"{panel.metric.symbol} (%)",
    )
    ax.margins(0.25)
