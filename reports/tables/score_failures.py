"""How the trackers fail: frames and episodes of each kind, as `harness.scoring.failure_modes` tells them."""

from trackablate.harness.scoring.failure_modes import (
    EPISODE_FRAMES,
    FAILED_IOU,
    KINDS,
    PLAUSIBLE_SIZE,
    SETTLED_FRAMES,
    FailureCounts,
)
from trackablate.harness.scoring.raw_scoring import Scored, TrackerScores
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.footnotes import Notes
from trackablate.reports.tables.score_table import caveat, coverage, missing, row_notes, standing, usable

NAMES = {"lost": "lost", "drifted": "drifted", "size": "wrong size", "distractor": "distractor (suspected)"}
MEANINGS = {
    "lost": "Lost: the box does not touch the target, and no jump to something else explains it.",
    "drifted": "Drifted: the box touches the target, and would have failed with the true size too: the place is wrong.",
    "size": "Wrong size: the box touches the target; one of the true size at the same centre would not have failed.",
    "distractor": (
        "Distractor: a suspicion, since only the target is annotated. The box jumped (its centre moved by more than its own"
        " size, the root of its area, from one frame to the next), landed where it does not touch the target, did not jump"
        f" again for {SETTLED_FRAMES} frames, and has between 1/{PLAUSIBLE_SIZE:.0f} and {PLAUSIBLE_SIZE:.0f} times the"
        " true size. What it sits on is not known. A slow swap to a neighbour is not seen: it counts as drifted, then lost."
    ),
}
FAILED = (
    f"A frame fails where the IoU is at most {FAILED_IOU}. An episode is a run of at least {EPISODE_FRAMES} failed frames;"
    " shorter dips do not count. Only frames with a visible, annotated target are looked at, those without neither end nor"
    " lengthen a run. Shares are of all frames looked at. An episode counts under the kind of most of its frames."
    " The same for every dialect."
)


def total(tracker: TrackerScores) -> FailureCounts:
    """A tracker's failures over its sequences."""
    return FailureCounts.total(tracker.failures.values())


def failure_table(scored: Scored) -> Table:
    """Frames, their share, and episodes: of all failures, and of each kind."""
    notes = Notes()
    columns = _columns("all", "all failures", notes.add(FAILED))
    for kind in KINDS:
        columns += _columns(kind, NAMES[kind], notes.add(MEANINGS[kind]))
    return Table(
        title=f"{scored.title}: how the trackers fail",
        question=coverage(scored),
        caveat=caveat(scored),
        columns=tuple(columns),
        rows=tuple(
            TableRow(
                t.name, "variant", _cells(total(t)) if usable(scored, t) else {}, footnotes=row_notes(scored, t, notes)
            )
            for t in standing(scored)
        ),
        footnotes=notes.texts,
        missing=missing(scored),
        corner="Tracker",
        subject="tracker",
    )


def _columns(key: str, name: str, note: int) -> list[Column]:
    return [
        Column(f"{key}:share", "Share", "% of frames", 1, group=name, footnotes=(note,)),
        Column(f"{key}:frames", "Frames", "", 0, group=name),
        Column(f"{key}:episodes", "Episodes", "", 0, group=name),
    ]


def _cells(found: FailureCounts) -> dict[str, Cell]:
    counts = {"all": (sum(found.frames), sum(found.episodes))}
    counts |= {k: (found.frames[at], found.episodes[at]) for at, k in enumerate(KINDS)}
    cells = {}
    for key, (frames, episodes) in counts.items():
        cells[f"{key}:share"] = Cell(100 * frames / found.counted if found.counted else None)
        cells[f"{key}:frames"], cells[f"{key}:episodes"] = Cell(float(frames)), Cell(float(episodes))
    return cells
