"""Accuracy against training length, a bubble per variant whose area is its computation (DETRack, Figure 1).

What is printed in papers and was not measured here is drawn hollow, and only its accuracy and computation are known: it
stands at the right of the panel, apart from the measured bubbles.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablations.published import published
from reports.costs import cost_of
from reports.figures.cost import scores_of
from reports.figures.drawing import Drawing, Look, canvas, legend, listed
from reports.figures.values import Readings
from reports.results import RowResult, StudyResult
from reports.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAIRS_PER_EPOCH = 60_000
"""What OSTrack, DETRack and most one-stream trackers call an epoch, in training pairs."""
LARGEST_BUBBLE = 900.0
"""Area of the largest bubble, in square points."""


@dataclass(frozen=True)
class _Bubble:
    name: str
    epochs: float
    score: float
    macs: float


def against_epochs(result: StudyResult, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """The primary metric against epochs, for at least two variants whose computation is known."""
    scores = scores_of(result, table)
    if scores is None:
        return None
    bubbles = [b for row in result.rows if row.role == "variant" and (b := _bubble(row, scores.of(row.name)))]
    if len(bubbles) < 2:
        return None
    figure, (ax,) = canvas(1, height=3.2, width=6.2)
    readings, largest = Readings("epochs"), max(bubble.macs for bubble in bubbles)
    for bubble in sorted(bubbles, key=lambda b: -b.macs):
        area, colour = LARGEST_BUBBLE * bubble.macs / largest, looks[bubble.name].colour
        ax.scatter(bubble.epochs, bubble.score, s=area, color=colour, alpha=0.45, edgecolor=colour, linewidth=1.2)
        text = f"{scores.metric.symbol} {bubble.score:.1f}, {bubble.macs / 1e9:.3g} GMACs"
        readings.add(ax, f"{bubble.epochs:.3g} epochs", bubble.name, (bubble.epochs, bubble.score), text)
    printed = _printed(result, ax, looks) if scores.metric.key == "ao" else {}
    ax.set(xlabel=f"epochs of {PAIRS_PER_EPOCH // 1000} 000 training pairs", title=f"{scores.protocol}")
    ax.set(ylabel=f"{scores.metric.symbol} ({scores.metric.unit})")
    ax.margins(y=0.25)
    ax.set_xlim(0, 1.5 * max(bubble.epochs for bubble in bubbles))
    legend(ax, {b.name: looks[b.name] for b in bubbles}, "right")
    figures = f"{listed({b.name: b.score for b in bubbles})}"
    return Drawing(
        "epochs",
        figure,
        f"{scores.metric.symbol} against training length: {figures}.",
        f"Accuracy against training length; area: MACs of one tracking step, {largest / 1e9:.3g} G at the largest."
        f"{_printed_note(result, printed)}",
        readings,
    )


def _bubble(row: RowResult, score: float | None) -> _Bubble | None:
    recipe, macs = row.record.asked.recipe, cost_of(row).macs
    if score is None or recipe is None or macs is None:
        return None
    return _Bubble(row.name, recipe.steps * recipe.batch_size / PAIRS_PER_EPOCH, score, macs)


def _printed(result: StudyResult, ax: "Axes", looks: dict[str, Look]) -> dict[str, float]:
    """The paper's own figures of the study's rows, as hollow marks on the right edge."""
    found = {row.name: published(result.study.name, row.name) for row in result.rows if row.role == "variant"}
    printed = {name: entry[0].ao for name, entry in found.items() if entry and entry[0].ao is not None}
    edge = ax.get_yaxis_transform()
    for name, value in printed.items():
        ax.plot(
            0.985, value, marker=looks[name].marker, color=looks[name].colour, markerfacecolor="none", transform=edge
        )
    return printed


def _printed_note(result: StudyResult, printed: dict[str, float]) -> str:
    if not printed:
        return ""
    comparable = "" if result.profile.comparable_with_paper else ", not comparable"
    return f" Hollow, at the right edge: printed in the paper{comparable}; the axis does not apply to them."
