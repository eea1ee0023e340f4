"""Results as JSON documents: metrics in percent, sizes in bytes, times in seconds, null where a figure is unknown."""

import json
import math
from dataclasses import asdict
from typing import Any

from trackablate.ablations.study import Study
from trackablate.harness.scoring.failure_modes import KINDS
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.statistics.bootstrap import Estimate
from trackablate.reports.table import Cell, Table, TableRow
from trackablate.reports.tables.accuracy import metric_key
from trackablate.reports.tables.answers import answers
from trackablate.reports.tables.comparison import Comparison, comparisons
from trackablate.reports.tables.cost_report import phase_costs
from trackablate.reports.tables.costs import SPEED, cost_of
from trackablate.reports.tables.dialects import flattering
from trackablate.reports.tables.effects import stability
from trackablate.reports.tables.printed import printed
from trackablate.reports.tables.sequences import attribute_cells, columns_of


def results_json(result: Result, table: Table) -> str:
    """Return everything as text, by the contract of a study or of raw results, with the main table's intervals."""
    study = _study(result, result.study, table) if result.study else _raw_results(result, table)
    return as_text(
        study
        | {
            "command": result.command,
            "answers": list(answers(result, table)),
            "caveat": table.caveat,
            "ranking": _ranking(result),
            "footnotes": list(table.footnotes),
            "missing": list(table.missing),
        }
    )


def as_text(document: dict[str, Any]) -> str:
    """Return the file's text.

    Raises:
        ValueError: A number is not finite, which JSON has no word for.
    """
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def score_document(result: Result) -> dict[str, Any]:
    """Return what `score --json` prints: every dialect's metrics by tracker, and what is wrong."""
    (facts,) = result.protocols
    lacking = {row.name: row.protocols[facts.name].incompleteness for row in result.rows}
    return {
        "protocol": facts.name,
        "coverage": facts.coverage,
        "dialects": {
            d.name: {row.name: {m: row.percent(facts, m, d) for m in metrics} for row in result.rows}
            for d, metrics in facts.readings
        },
        "sequences": len(facts.sequences),
        "frames": facts.frames,
        "allow_incomplete": facts.allow_incomplete,
        "truncated": facts.truncated,
        "incomplete": {name: text for name, text in lacking.items() if text},
        "problems": list(result.problems),
    }


def _raw_results(result: Result, table: Table) -> dict[str, Any]:
    (facts,) = result.protocols
    rows, details = {row.name: row for row in table.rows}, _details(result, facts)
    return score_document(result) | {
        "title": facts.title,
        "source": facts.source,
        "flattering": flattering(result, facts),
        "attributes": facts.members,
        "trackers": [
            {
                "name": row.name,
                "layout": row.layout,
                "incomplete": row.protocols[facts.name].incompleteness or None,
                "sequences": len(row.protocols[facts.name].names),
                "repetitions": len(row.protocols[facts.name].seeds),
                "metrics": _metrics(rows[row.name], facts),
                **details[row.name],
                "faults": list(row.faults),
            }
            for row in result.rows
        ],
        "comparison": [_comparison(found) for found in comparisons(result)],
    }


def _study(result: Result, study: Study, table: Table) -> dict[str, Any]:
    rows = {row.name: row for row in result.rows}
    details = {facts.name: _details(result, facts) for facts in result.scored_here}
    return {
        "study": study.name,
        "title": table.title,
        "question": table.question,
        "profile": result.profile_name,
        "comparable_with_paper": result.comparable_with_paper,
        "primary_metric": study.primary_metric,
        "rows": [
            _row(result, study, row, rows.get(row.name))
            | {"sequences": {name: of[row.name] for name, of in details.items() if row.name in of}}
            for row in table.rows
        ],
        "phases": [_phases(row) for row in result.rows if row.records],
    }


def _row(result: Result, study: Study, row: TableRow, found: ScoredTracker | None) -> dict[str, Any]:
    protocols = {facts.name: _metrics(row, facts) for facts in result.protocols}
    scale = found.paper_scale if found else None
    tracker = found or ScoredTracker(row.name, "variant", {})
    return {
        "name": row.name,
        "role": row.role,
        "baseline": row.baseline,
        "factors": {name: row.cells[f"factor:{name}"].text for name in study.factors},
        "verdict": tracker.verdict,
        "run": tracker.record.asked.name if tracker.record else None,
        "runs": [record.asked.name for record in tracker.records],
        "metrics": next(iter(protocols.values()), {}),
        "protocols": protocols,
        "deltas": {facts.name: _delta(row, facts, primary_metric(result, facts)) for facts in result.protocols},
        "cost": asdict(cost_of(tracker)),
        "paper_scale": {key: getattr(scale, key) if scale else None for key in ("params", "macs", "macs_linear_conv")},
        "published": _published(result, study, row.name) if row.role in ("variant", "cited") else {},
    }


def _details(result: Result, facts: ScoredProtocol) -> dict[str, dict[str, Any]]:
    """Return by tracker what a protocol's scores say beyond their means: by attribute, by sequence, and the failures."""
    by_attribute = {name: attribute_cells(result, facts, found) for name, found in facts.members.items()}
    primary = METRICS[primary_metric(result, facts)]
    document = {}
    for row in columns_of(result, facts):
        scores = row.protocols[facts.name]
        failed = scores.total_failures
        document[row.name] = {
            "attributes": {name: _cell(cells[row.name]) for name, cells in by_attribute.items()},
            "by_sequence": scores.by_sequence(primary, facts.dialects[primary.key]),
            "failures": failed
            and {
                "frames_looked_at": failed.counted,
                "frames": dict(zip(KINDS, failed.frames, strict=True)),
                "episodes": dict(zip(KINDS, failed.episodes, strict=True)),
            },
        }
    return document


def _metrics(row: TableRow, facts: ScoredProtocol) -> dict[str, Any]:
    return {metric: _cell(row.cells.get(metric_key(facts, metric), Cell())) for metric in facts.metrics}


def _cell(cell: Cell) -> dict[str, Any]:
    return {"mean": cell.value, "ci95": None if cell.low is None else [cell.low, cell.high], "n": cell.n}


def _delta(row: TableRow, facts: ScoredProtocol, metric: str) -> dict[str, Any]:
    key = metric_key(facts, metric)
    cell = row.cells.get(key, Cell())
    bounds = None if cell.delta_low is None else [cell.delta_low, cell.delta_high]
    mean = row.cells.get(f"{key}:delta", Cell()).value if cell.delta is None else cell.delta
    return {"metric": metric, "mean": mean, "ci95": bounds, "p_holm": cell.p, "resolved": cell.resolved}


def _phases(row: ScoredTracker) -> dict[str, Any]:
    """Return a row's costs by phase, in seconds and joules."""
    costs, cost = phase_costs(row), cost_of(row)
    return {
        "name": row.name,
        "trainings": costs.trainings,
        "training": {name: phase.model_dump() for name, phase in costs.phases.items()},
        "evaluation_seconds": costs.evaluation,
        "mfu": cost.mfu,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "reserved_bytes": cost.reserved_bytes,
        "driver_bytes": cost.driver_bytes,
    } | {key: getattr(cost, key) for key in SPEED}


def _ranking(result: Result) -> dict[str, Any]:
    """Return by protocol each row's shares of ranks from the first on, and how often the best stays best."""
    document = {}
    for facts in result.scored_here:
        if (found := stability(result, facts)) is not None:
            names, ranks = found
            shares = {name: [float(share) for share in row] for name, row in zip(names, ranks.ranks, strict=True)}
            document[facts.name] = {"metric": primary_metric(result, facts), "ranks": shares, "best_stays": ranks.best}
    return document


def _published(result: Result, study: Study, name: str) -> dict[str, Any]:
    """Return what is printed for a row by "PROTOCOL:METRIC" and by name.

    The metrics of one protocol stand by metric alone too: of the protocol whose metrics the row has if it is the
    study's, else of the study's first.
    """
    scored = result.protocols[0].name if result.protocols else ""
    plain = scored if scored in study.protocols else study.protocols[0]
    document: dict[str, Any] = {}
    for key, one in printed(result, name).items():
        value = {"value": one.value, "source": one.source.title, "trust": one.source.trust}
        document[key] = value | ({"note": one.entry.note} if one.entry.note else {})
        if key.startswith(f"{plain}:"):
            document[key.removeprefix(f"{plain}:")] = document[key]
    return document


def _comparison(found: Comparison) -> dict[str, Any]:
    scale = METRICS[found.metric].scale
    return {
        **{key: getattr(found, key) for key in ("a", "b", "metric", "dialect")},
        "score_a": _estimate(found.of_a, scale),
        "score_b": _estimate(found.of_b, scale),
        "difference": _estimate(found.difference, scale),
        "wilcoxon_p": found.p,
        **{key: getattr(found, key) for key in ("wins", "losses", "ties")},
        "sequences": [{**asdict(pair), "difference": pair.a - pair.b} for pair in found.sequences],
    }


def _estimate(found: Estimate, scale: float) -> dict[str, Any]:
    bounds = None if found.low is None or found.high is None else [scale * found.low, scale * found.high]
    return {"mean": scale * found.value if math.isfinite(found.value) else None, "ci95": bounds, "n": found.n}
