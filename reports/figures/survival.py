"""Survival curves: the share of sequences in which a tracker has not failed yet, over the time of the video."""

import numpy as np

from trackablate.harness.scoring.metrics import FAILED_BELOW, FAILED_FRAMES, Dialect
from trackablate.harness.scoring.scored import ScoredProtocol, TrackerScores
from trackablate.reports.figures.drawing import Drawing, Look, legend, panels
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import Result, standing
from trackablate.reports.statistics.bootstrap import Floats, curve_band, quotient
from trackablate.reports.table import Table

METRIC = "until_failure"
TIMES = np.linspace(0, 1, 101)
"""Shares of a video at which the curve is read."""
CAPTION = (
    "Share of sequences in which the tracker has not failed yet, over the time of the video. It fails where its overlap is"
    f" at most {FAILED_BELOW} in {FAILED_FRAMES} frames on end; the end of a curve is the share without any failure. Bands:"
    " pointwise 95 % bootstrap over sequences."
)


def survival(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw a panel for each protocol that has a metric in time, or return None if none has."""
    shown = [(facts, in_time) for facts in result.scored_here if (in_time := _in_time(facts))]
    shown = [(facts, in_time) for facts, in_time in shown if any(row.usable(facts) for row in result.rows)]
    if not shown:
        return None
    figure, axes = panels(len(shown), height=3.2)
    readings, ends = Readings("% of the video"), []
    for (facts, in_time), ax in zip(shown, axes, strict=True):
        labels, marks = {}, readings.of(facts.name) if len(shown) > 1 else readings
        for row in standing(result):
            found = row.usable(facts)
            if found and (alive := _alive(found, in_time))[1].any():
                labels[row.name] = look = looks[row.name]
                share, low, high = curve_band(*alive)
                ax.step(100 * TIMES, share, where="post", color=look.colour, linestyle=look.dash, linewidth=1.4)
                if row.role == "variant":
                    ax.fill_between(100 * TIMES, low, high, step="post", color=look.colour, alpha=0.1, linewidth=0)
                for at in range(0, len(TIMES), 10):
                    text = f"{share[at]:.1f} [{low[at]:.1f}, {high[at]:.1f}]"
                    marks.add(ax, f"{100 * TIMES[at]:g}", row.name, (100 * TIMES[at], share[at]), text)
                ends.append(f"{row.name} {share[-1]:.1f} % on {facts.name}")
        ax.set(title=facts.title, xlabel="% of the video", ylabel="not failed (% of sequences)", ylim=(0, 101))
        legend(ax, labels, "right")
    return Drawing("survival", figure, f"Survival curves. Without a failure: {', '.join(ends)}", CAPTION, readings)


def _in_time(facts: ScoredProtocol) -> Dialect | None:
    """Return the dialect that reads overlaps in time: of a column, or one that raw results are asked for; None without."""
    return next((dialect for dialect in (*facts.dialects.values(), *facts.rules) if METRIC in dialect.readings), None)


def _alive(found: TrackerScores, dialect: Dialect) -> tuple[Floats, Floats]:
    """Return in percent how many seeds of each sequence are alive (n, times), and the weights (n,): 0 if no frame counts."""
    until = quotient(*found.samples(METRIC, dialect))[..., None]
    alive = 100 * ((until > TIMES) | (until == 1)).mean(axis=0)
    return alive, np.isfinite(until[0, :, 0]).astype(np.float64)
