"""`plan`'s document as text: on standard output, a line per run, then what remains in all."""

import sys
from typing import Any, TextIO

from trackablate.harness.planning.calibrating import REMEDY
from trackablate.harness.planning.forecast_log import StudyComparison


def say_plan(plan: dict[str, Any], out: TextIO | None = None) -> None:
    """The runs of a plan, what remains, what fits, what came of it, and what is missing here."""
    out = out or sys.stdout
    out.write(f"{plan['study']}, profile {plan['profile']}: {'; '.join(plan['protocols'].values())}\n")
    width = max(len(run["row"]) for run in plan["runs"])
    name = max(len(run["run"]) for run in plan["runs"])
    for run in plan["runs"]:
        out.write(f"  {run['row']:<{width}}  {run['run']:<{name}}  {_state(run)}\n")
    _say_remains(plan, out)
    _say_sources(plan, out)
    if plan["budget"]:
        _say_budget(plan["budget"], out)
    _say_compared(plan["compared"], out)
    for problem in plan["missing_here"]:
        out.write(f"not here: {problem}\n")


def say_outcome(comparison: StudyComparison) -> None:
    """Predicted against actual, on standard error, where the report has its place on standard output."""
    _say_compared(comparison.model_dump(mode="json"), sys.stderr)


def _say_compared(compared: dict[str, Any], out: TextIO) -> None:
    """Predicted against actual, where anything came to its end."""
    if not compared["runs"]:
        return
    out.write("predicted -> actual wall time, and device time:\n")
    for run in compared["runs"]:
        out.write(f"  {run['run']}: {_came_out(run['wall'])}; device {_came_out(run['device'])}\n")
    if compared["wall"]:
        device = f"; device of all runs {_came_out(compared['device'])}" if compared["device"] else ""
        runs = compared["started"]
        out.write(f"  {runs} run{'s' * (runs > 1)} with all around them: {_came_out(compared['wall'])}{device}\n")


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min, 3.4 h, 12 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def _say_remains(plan: dict[str, Any], out: TextIO) -> None:
    done = sum(run["done"] for run in plan["runs"])
    out.write(f"{done} of {len(plan['runs'])} runs done; ")
    disk = f"disk: about {_bytes(plan['disk_bytes'])} of {_bytes(plan['free_bytes'])} free"
    estimate = plan["estimate"]
    if plan["estimated_seconds"] is None:
        out.write(f"time of {len(estimate['unknown'])} of them: unknown; {disk}\n  {REMEDY}\n")
        return
    if done == len(plan["runs"]):
        out.write(f"nothing is left; {disk}\n")
        return
    out.write(f"what remains takes {_range(estimate['wall_seconds'], duration)} on {_place(estimate)},\n")
    hours = _range(estimate["device_hours"], _hours)
    memory = f"; peak memory of a run {_range(estimate['memory_bytes'], _bytes)}" if estimate["memory_bytes"] else ""
    out.write(f"  {hours} device-hours{memory}; {disk}\n")
    limit, needed = estimate["memory_limit_bytes"], estimate["memory_bytes"]
    if limit and needed and needed["expected"] > limit:
        out.write(f"  that is more than the {_bytes(limit)} of {estimate['device']}: it will most likely not fit\n")


def _say_sources(plan: dict[str, Any], out: TextIO) -> None:
    """Each source once, with the rows it is used for."""
    found: dict[str, list[str]] = {}
    for run in plan["runs"]:
        for note in (run["estimate"] or {"notes": []})["notes"]:
            found.setdefault(note, []).append(run["row"])
    for note, rows in found.items():
        out.write(f"  from {note} ({', '.join(rows)})\n")


def _say_budget(budget: dict[str, Any], out: TextIO) -> None:
    out.write(f"within {budget['asked']}: ")
    if not budget["chosen"]:
        out.write("nothing, not even the baseline\n")
        return
    out.write(f"{', '.join(budget['chosen'])}\n")
    out.write(f"  left out: {', '.join(budget['left_out']) or 'nothing'}\n  rule: {budget['rule']}\n")
    estimate = budget["estimate"]
    hours = _range(estimate["device_hours"], _hours)
    out.write(f"  takes {_range(estimate['wall_seconds'], duration)}, {hours} device-hours: {budget['command']}\n")


def _state(run: dict[str, Any]) -> str:
    shared = f" (also of {', '.join(run['shared_with'])})" if run["shared_with"] else ""
    if run["failed"]:
        return f"failed: {run['failed']}"
    if run["done"]:
        return f"done{shared}"
    trained = f" from step {run['steps_done']} on" if run["steps_done"] else ""
    parts = [f"train{trained}"] if run["training"] else []
    parts += [f"track {run['sequences_missing']} sequences"] if run["sequences_missing"] else []
    parts += ["measure speed"] if run["speed"] else []
    estimate = run["estimate"]
    takes = f": {_range(estimate['wall_seconds'], duration)}" if estimate and estimate["wall_seconds"]["high"] else ""
    return f"{', '.join(parts)}{takes}{shared}"


def _place(estimate: dict[str, Any]) -> str:
    several = f"{estimate['workers']} at a time on " if estimate["workers"] > 1 else ""
    return f"{several}{estimate['device']}"


def _range(span: dict[str, float], say: Any) -> str:
    low, expected, high = (say(span[end]) for end in ("low", "expected", "high"))
    return str(expected) if low == high else f"{expected} ({low} to {high})"


def _came_out(comparison: dict[str, Any]) -> str:
    predicted = duration(comparison["predicted"]["expected"])
    return f"{predicted} -> {duration(comparison['actual'])} ({100 * comparison['gap']:+.0f} %)"


def _hours(hours: float) -> str:
    return f"{hours:.3g}"


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
