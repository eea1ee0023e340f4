"""Scored raw results as one JSON document: metrics in percent, null where there is no mean."""

import json
import math
from dataclasses import asdict
from typing import Any

from trackablate.harness.scoring.failure_modes import KINDS
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.scoring.raw_scoring import Scored, TrackerScores
from trackablate.reports.statistics.bootstrap import Estimate
from trackablate.reports.table import Table
from trackablate.reports.tables.comparison import Comparison
from trackablate.reports.tables.score_failures import total
from trackablate.reports.tables.score_sequences import attribute_cells, attributes_of, sequence_values
from trackablate.reports.tables.score_table import Gains, caveat, incompleteness


def score_document(scored: Scored) -> dict[str, Any]:
    """What `score --json` prints: every dialect's metrics by tracker, and what is wrong. "incomplete" says by tracker how
    much of it there is.
    """
    return {
        "protocol": scored.protocol,
        "coverage": scored.coverage,
        "dialects": {
            d.name: {t.name: {m: scored.score(t, m, d) for m in d.metrics} for t in scored.trackers}
            for d in scored.dialects
        },
        "sequences": len(scored.sequences),
        "frames": sum(s.frames for s in scored.sequences),
        "allow_incomplete": scored.allow_incomplete,
        "truncated": scored.truncated,
        "incomplete": {t.name: text for t in scored.trackers if (text := incompleteness(scored, t))},
        "problems": list(scored.problems),
    }


def results_document(scored: Scored, table: Table, gains: Gains, compared: list[Comparison]) -> dict[str, Any]:
    """`score_document` and all that the page shows. table: the main one, whose intervals it has."""
    attributes = attributes_of(scored)
    by_attribute = {name: attribute_cells(scored, found) for name, found in attributes.items()}
    rows = {row.name: row for row in table.rows}
    return score_document(scored) | {
        "title": scored.title,
        "source": scored.source,
        "command": scored.command,
        "caveat": caveat(scored),
        "flattering": gains,
        "attributes": {name: [s.name for s in found] for name, found in attributes.items()},
        "trackers": [
            {
                "name": t.name,
                "layout": t.layout,
                "incomplete": incompleteness(scored, t) or None,
                "sequences": len(t.tallies),
                "metrics": {
                    column.key: _cell(rows[t.name].cells[column.key])
                    for column in table.columns
                    if column.key in METRICS
                },
                "attributes": {name: _cell(cells[t.name]) for name, cells in by_attribute.items()},
                "by_sequence": sequence_values(scored, t),
                "failures": _failures(t),
                "faults": list(t.faults),
            }
            for t in scored.trackers
        ],
        "comparison": [_comparison(found) for found in compared],
    }


def as_text(document: dict[str, Any]) -> str:
    """The file's text. Raises ValueError for a number that JSON has not."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _cell(cell: Any) -> dict[str, Any]:
    return {"mean": cell.value, "ci95": None if cell.low is None else [cell.low, cell.high], "n": cell.n}


def _failures(tracker: TrackerScores) -> dict[str, Any]:
    found = total(tracker)
    return {
        "frames_looked_at": found.counted,
        "frames": dict(zip(KINDS, found.frames, strict=True)),
        "episodes": dict(zip(KINDS, found.episodes, strict=True)),
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    scale = METRICS[found.metric].scale
    return {
        **{key: getattr(found, key) for key in ("a", "b", "metric", "dialect")},
        "score_a": _estimate(found.of_a, scale),
        "score_b": _estimate(found.of_b, scale),
        "difference": _estimate(found.difference, scale),
        "wilcoxon_p": found.p,
        **{key: getattr(found, key) for key in ("wins", "losses", "ties")},
        "sequences": [
            {**asdict(pair), "a": scale * pair.a, "b": scale * pair.b, "difference": scale * (pair.a - pair.b)}
            for pair in found.sequences
        ],
    }


def _estimate(found: Estimate, scale: float) -> dict[str, Any]:
    bounds = None if found.low is None or found.high is None else [scale * found.low, scale * found.high]
    return {"mean": scale * found.value if math.isfinite(found.value) else None, "ci95": bounds, "n": found.n}
