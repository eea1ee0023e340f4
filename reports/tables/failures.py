"""How the trackers fail: frames and episodes of each kind, as `harness.scoring.failure_modes` counts them."""

from trackablate.harness.scoring.failure_modes import (
    EPISODE_FRAMES,
    FAILED_IOU,
    KINDS,
    PLAUSIBLE_SIZE,
    SETTLED_FRAMES,
    FailureCounts,
)
from trackablate.harness.scoring.scored import ScoredProtocol
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import note_incomplete
from trackablate.reports.tables.block import Footnotes
from trackablate.reports.tables.pivot import protocol_table
from trackablate.reports.tables.sequences import columns_of

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
OF_SEEDS = "Frames and episodes of all seeds or repetitions together."


def failure_table(result: Result, facts: ScoredProtocol) -> Table | None:
    """Return frames, their share, and episodes, of all failures and of each kind; None if failures were not counted."""
    rows = [row for row in columns_of(result, facts) if row.protocols[facts.name].total_failures is not None]
    if not rows:
        return None
    footnotes = Footnotes()
    several = (footnotes.add(OF_SEEDS),) if any(len(row.protocols[facts.name].seeds) > 1 for row in rows) else ()
    columns = _columns("all", "all failures", (footnotes.add(FAILED), *several))
    for kind in KINDS:
        columns += _columns(kind, NAMES[kind], (footnotes.add(MEANINGS[kind]),))
    lines = []
    for row in rows:
        scores, found = row.usable(facts), row.protocols[facts.name].total_failures
        cells, notes = _cells(found) if scores and found else {}, note_incomplete(row, facts, footnotes)
        lines.append(TableRow(row.name, row.role, cells, row.baseline, notes))
    return protocol_table(result, facts, "how the trackers fail", columns, lines, footnotes)


def _columns(key: str, name: str, notes: tuple[int, ...]) -> list[Column]:
    return [
        Column(f"{key}:share", "Share", "% of frames", 1, group=name, footnotes=notes),
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
