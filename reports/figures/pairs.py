"""Every sequence, variant against baseline: what a mean hides."""

import math
from typing import TYPE_CHECKING

import numpy as np

from trackablate.harness.scoring.metrics import METRICS, Metric
from trackablate.reports.figures.drawing import Drawing, Look, panels, short
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import ProtocolFacts, ProtocolResult, RowResult, StudyResult
from trackablate.reports.statistics.bootstrap import Floats
from trackablate.reports.table import Table
from trackablate.reports.tables.effects import complete, primary_metric, samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 9
"""Variants with a panel; further ones are named in the caption."""


def pairs(result: StudyResult, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """The primary metric of each sequence of the first protocol on which the baseline is complete."""
    for facts in result.protocols:
        baseline = next((row for row in result.rows if row.baseline and complete(row, facts)), None)
        others = [row for row in result.rows if row.role == "variant" and not row.baseline and complete(row, facts)]
        if baseline and others:
            return _drawing(result, facts, baseline, others, looks)
    return None


def _drawing(
    result: StudyResult, facts: ProtocolFacts, baseline: RowResult, others: list[RowResult], looks: dict[str, Look]
) -> Drawing | None:
    metric = METRICS[primary_metric(result, facts)]
    reference = by_sequence(baseline.protocols[facts.name], facts, metric)
    shown = others[:MOST]
    figure, axes = panels(len(shown), height=3.0)
    readings, words = Readings("sequence"), []
    for row, ax in zip(shown, axes, strict=True):
        found = by_sequence(row.protocols[facts.name], facts, metric)
        words.append(_panel(row.name, found, baseline.name, reference, metric, looks[row.name], ax, readings))
    left_out = f" Not drawn: {', '.join(row.name for row in others[MOST:])}." if len(others) > MOST else ""
    caption = (
        f"{metric.symbol} of every sequence of {facts.name}: each variant against {baseline.name}. Above the diagonal the"
        f" variant has more.{left_out}"
    )
    return Drawing("pairs", figure, f"Per sequence. {' '.join(words)}", caption, readings)


def by_sequence(found: ProtocolResult, facts: ProtocolFacts, metric: Metric) -> dict[str, float]:
    """A metric of each sequence over all seeds, in its own unit; sequences of which nothing counts are left out."""
    numerators, weights = (of_seeds.sum(axis=0) for of_seeds in samples(found, facts, metric.key))
    score: Floats = np.divide(numerators, weights, out=np.full_like(numerators, np.nan), where=weights > 0)
    pairs = zip(sorted(found.tallies), metric.scale * score, strict=True)
    return {name: float(value) for name, value in pairs if math.isfinite(value)}


def _panel(
    name: str,
    found: dict[str, float],
    baseline: str,
    reference: dict[str, float],
    metric: Metric,
    look: Look,
    ax: "Axes",
    readings: Readings,
) -> str:
    shared = [sequence for sequence in reference if sequence in found]
    above = sum(found[s] > reference[s] for s in shared)
    below = sum(found[s] < reference[s] for s in shared)
    ax.axline((0, 0), slope=1, color="#000000", linewidth=0.7)
    ax.plot(
        [reference[s] for s in shared], [found[s] for s in shared], look.marker or "o", color=look.colour, alpha=0.6
    )
    for s in shared:
        text = f"{found[s]:.1f} against {reference[s]:.1f} ({found[s] - reference[s]:+.1f})"
        readings.add(ax, s, name, (reference[s], found[s]), text)
    for line in ax.lines[1:]:
        line.set(markersize=4, markeredgewidth=0)
    ax.set(title=f"more on {above}, less on {below}", xlabel="", ylabel="", aspect="equal")
    ax.set_xlabel(f"{metric.symbol}, {short(baseline)}")
    ax.set_ylabel(f"{metric.symbol}, {short(name)}")
    return f"{name} has more than {baseline} on {above} sequences and less on {below}."
