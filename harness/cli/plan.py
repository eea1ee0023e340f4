"""`plan`: what of a study is done, what remains and what it takes, what fits a budget, and what came of predictions."""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows
from trackablate.ablations.study import FaultyStudy, Study
from trackablate.datasets.errors import counted
from trackablate.datasets.registry import UnknownName
from trackablate.harness.checkout import as_called
from trackablate.harness.cli.session import Session
from trackablate.harness.cli.terminal import say_lines, say_to, size_of
from trackablate.harness.costing.hardware import expected_device, expected_gpus
from trackablate.harness.costing.loader_processes import default_loader_workers, loader_bytes
from trackablate.harness.errors import BadInput
from trackablate.harness.planning.budget import RULE, Budget, Candidate, choose, parse_budget
from trackablate.harness.planning.calibration import calibrate, count
from trackablate.harness.planning.estimate import RunEstimate, StudyEstimate, estimate_study, estimates, other_work
from trackablate.harness.planning.forecasts import compared, forecasts
from trackablate.harness.planning.history import History, gather
from trackablate.harness.progress.announcing import also_said, announced
from trackablate.harness.progress.bars import display
from trackablate.harness.progress.forecaster import Forecaster
from trackablate.harness.record import PlannedRow
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.observer import Pending
from trackablate.harness.running.runner import Job, cpu_workers, pending
from trackablate.harness.spec import Profile
from trackablate.harness.store import Store
from trackablate.trackers.spec import TrackerSpec

REMEDY = (
    "measure this device in a minute with --calibrate, or name one of harness/costing/devices.toml with --device-peak"
)


def plan_document(
    session: Session, calibrated: bool, device: str, device_peak: str, gpus: int, budget: str
) -> dict[str, Any]:
    """Return the whole plan, for JSON. The parameters after the session are the command's options, "" for none.

    Raises:
        BadInput: The budget is faulty, or a run has no estimate for it; or data that a calibration needs are not here.
    """
    limit, items = parse_budget(budget) if budget else None, pending(session.job, session.store)
    if calibrated and any(item.missing.scores for item in items):
        if session.problems:
            raise BadInput(f"--calibrate trains and tracks on the study's own data: {session.problems[0]}")
        store = Store(session.store.root)
        with announced(store, f"{session.study.name} at {session.profile.name}") as say:
            say("calibrating", None)
            calibrate(items, session.profile, store, LocalExecutor(store.logs), device)
    with tempfile.TemporaryDirectory() as folder:
        store = session.store
        if device_peak:
            store = store if store.exists else Store(Path(folder) / "store")  # planning makes no store
            count((item.run.tracker for item in items if not item.missing.nothing), store, LocalExecutor(store.logs))
        history = gather(store, expected_device(device), device_peak)
        found = _Plan(session, items, history, gpus if device_peak else len(expected_gpus(device)))
        return found.document() | {"budget": found.chosen(budget, limit) if limit else None}


class _Plan:
    """A study's missing work with its estimates; gpus: how many there are, 0 for work on the CPU."""

    def __init__(self, session: Session, items: list[Pending], history: History, gpus: int) -> None:
        self.session, self.items, self.history, self.gpus = session, items, history, gpus
        self.other = other_work(session.job, session.store)
        self.found = estimates(items, history, self.other.run_bytes)
        self.needs = {row.name: _runs([row]) for row in session.rows}
        others = {name: study for name, study in STUDIES.items() if name != session.study.name}
        self.shared = {name: _runs_of(study, session.profile) for name, study in others.items()}

    def document(self) -> dict[str, Any]:
        whole, peak, store = self.estimate(list(self.found)), self.history.peak, self.session.store
        outcome = compared(forecasts(store), [item.run.name for item in self.items])
        return {
            "study": self.session.study.name,
            "profile": self.session.profile.name,
            "protocols": self.session.coverage,
            "runs": [self.run(item) for item in self.items],
            "estimated_seconds": None if whole.unknown else whole.wall_seconds.expected,
            "estimate": _document(whole) | {"memory_limit_bytes": peak.gigabytes * 1e9 if peak else None},
            "disk_bytes": whole.disk_bytes,
            "free_bytes": store.free_bytes(),
            "loader": self.loader(whole.workers),
            "compared": outcome.model_dump(mode="json"),
            "missing_here": list(self.session.problems),
        }

    def loader(self, trainings: int) -> dict[str, int]:
        """Return how many processes make the pairs of each training that is left, and the memory of the largest one."""
        asked = self.session.job.how.loader_workers
        runs = [item.run for item in self.items if item.missing.training]
        sizes = [
            loader_bytes(run.tracker.crop, run.recipe)
            for run in runs
            if run.recipe and isinstance(run.tracker, TrackerSpec)
        ]
        count = default_loader_workers(self.gpus, trainings) if asked is None else asked
        return {"workers": count if sizes else 0, "bytes_each": max(sizes, default=0)}

    def run(self, item: Pending) -> dict[str, Any]:
        run, estimate = item.run, self.found.get(item.run.name)
        failure, network = self.session.store.run(run).failure(), isinstance(run.tracker, TrackerSpec)
        rows = [name for name, needed in self.needs.items() if run.name in needed]
        return {
            "row": rows[0],
            "rows": rows,
            "run": run.name,
            "done": item.missing.nothing,
            "training": item.missing.training,
            "steps_done": item.steps_done,
            "sequences_missing": item.missing.untracked,
            "sequences_by_row": self.by_row(item),
            "speed": bool(item.missing.speed),
            "failed": failure.summary if failure else None,
            "shared_with": [name for name, needed in self.shared.items() if network and run.name in needed],
            "estimate": _document(estimate, "training", "tracking", "online") if estimate else None,
        }

    def by_row(self, item: Pending) -> dict[str, int]:
        """Return how many sequences a run lacks for each row: the baseline is tracked again for its control."""
        found = Counter[str]()
        for evaluation, row in zip(item.task.evaluations, item.task.rows, strict=False):
            found[row] += len(item.missing.sequences.get(evaluation, ()))
        return {row: count for row, count in found.items() if count}

    def estimate(self, names: list[str]) -> StudyEstimate:
        """Return the estimate of some of the runs that lack something."""
        workers = min(self.gpus or cpu_workers(self.session.profile, len(names)), len(names))
        return estimate_study({name: self.found[name] for name in names}, self.history, max(1, workers), self.other)

    def chosen(self, asked: str, budget: Budget) -> dict[str, Any]:
        """Return which rows fit the budget. Raises BadInput if a run has no estimate."""
        if unknown := self.estimate(list(self.found)).unknown:
            raise BadInput(f"--budget needs an estimate of every run, and {unknown[0]} has none: {REMEDY}")
        candidates = [self.candidate(row) for row in self.session.rows if row.role == "variant"]
        chosen = choose(candidates, lambda names: budget.holds(self.of_rows(names)))
        baseline = {row.name for row in self.session.rows if row.baseline}
        only = [name for name in chosen if name not in baseline] or chosen
        return {
            "asked": asked,
            "rule": RULE,
            "chosen": chosen,
            "left_out": [c.name for c in candidates if c.name not in chosen],
            "estimate": _document(self.of_rows(chosen)) if chosen else None,
            "command": as_called(replace(self.session.request, only=only).typed) if chosen else None,
        }

    def candidate(self, row: PlannedRow) -> Candidate:
        shared = sum(bool(needed & self.needs[row.name]) for needed in self.shared.values())
        seconds = sum(run.wall_seconds.expected for name in self.lacking_in([row.name]) if (run := self.found[name]))
        return Candidate(row.name, row.cells, row.baseline, shared, seconds)

    def of_rows(self, names: list[str]) -> StudyEstimate:
        """Return the estimate of a study of these variants, with the floors and the controls."""
        rows = [row.name for row in self.session.rows if row.role != "variant" or row.name in names]
        return self.estimate(self.lacking_in(rows))

    def lacking_in(self, rows: list[str]) -> list[str]:
        """Return the runs of some rows that lack something."""
        return [name for name in self.found if any(name in self.needs[row] for row in rows)]


def _runs_of(study: Study, profile: Profile) -> set[str]:
    try:
        return _runs(planned_rows(study, profile))
    except (FaultyStudy, UnknownName):  # what --set changes is what this study varies, or none of its rows has it
        return set()


def _runs(rows: list[PlannedRow]) -> set[str]:
    return {planned.run.name for row in rows for planned in row.runs}


def _document(estimate: RunEstimate | StudyEstimate, *left_out: str) -> dict[str, Any]:
    hours = asdict(estimate.device_seconds.times(1 / 3600))
    kept = {name: value for name, value in asdict(estimate).items() if name not in ("device_seconds", *left_out)}
    return kept | {"wall_seconds": asdict(estimate.wall_seconds), "device_hours": hours}


def say_plan(plan: dict[str, Any]) -> None:
    """Write a plan on standard output: a line per run, what remains, what fits, what came of it, what is missing here."""
    places = "; ".join(f"{name} ({coverage})" for name, coverage in plan["protocols"].items())
    lines = [f"{plan['study']}, profile {plan['profile']}, on {places}"]
    width, name = (max(len(run[key]) for run in plan["runs"]) for key in ("row", "run"))
    lines += [f"  {run['row']:<{width}}  {run['run']:<{name}}  {_state(run)}" for run in plan["runs"]]
    lines += _remains(plan)
    sources: dict[str, list[str]] = {}
    for run in plan["runs"]:
        for note in run["estimate"]["notes"] if run["estimate"] else []:
            sources.setdefault(note, []).append(run["row"])
    lines += [f"  time of {note} ({', '.join(rows)})" for note, rows in sources.items()]
    lines += [*_fits(plan["budget"]), *_last_start(plan["compared"])]
    lines += [f"not here: {problem}" for problem in plan["missing_here"]]
    say_lines(lines, 6)


@contextmanager
def forecast(job: Job, store: Store, what: str, *, study: bool = False) -> Iterator[Forecaster]:
    """Yield an observer that predicts a study and shows how far it is, here and to those who `watch` the store.

    The predictions of a study are logged, and compared with the outcome, also if it ends early: on standard error, because
    the report goes to standard output.
    """
    shown = display()
    try:
        with announced(store, what) as say:
            observer = Forecaster(job, store, also_said(shown.show, say), logged=study)
            yield observer
            observer.drawn()
    finally:
        shown.close()
        if study:
            rows = {task.run.name: task.row for task in job.tasks}
            say_to(sys.stderr, _outcome(observer.outcome().model_dump(mode="json"), rows), 4)


def duration(seconds: float) -> str:
    """Return seconds as people say them: 45 s, 12 min, 3.4 h, 12 days."""
    if seconds < 5400:
        return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def _state(run: dict[str, Any]) -> str:
    if run["failed"]:
        return f"failed: {run['failed']}"
    others = run["shared_with"]
    shared = f" (shared with the stud{'ies' if len(others) > 1 else 'y'} {', '.join(others)})" if others else ""
    if run["done"]:
        return f"done{shared}"
    begun = f" from step {run['steps_done']} on" if run["steps_done"] else ""
    parts = [f"train{begun}"] if run["training"] else []
    rows = [f"{count} as {row}" for row, count in run["sequences_by_row"].items()]
    by_row = f" ({', '.join(rows)})" if len(rows) > 1 else ""
    parts += [f"track {counted(run['sequences_missing'], 'sequence')}{by_row}"] if run["sequences_missing"] else []
    parts += ["measure FPS"] if run["speed"] else []
    wall = run["estimate"] and run["estimate"]["wall_seconds"]
    return f"{', '.join(parts)}{f': {_range(wall, duration)}' if wall and wall['high'] else ''}{shared}"


def _remains(plan: dict[str, Any]) -> list[str]:
    estimate, done = plan["estimate"], sum(run["done"] for run in plan["runs"])
    runs = f"{done} of {counted(len(plan['runs']), 'run')} done"
    disk = f"disk: about {size_of(plan['disk_bytes'])} of {size_of(plan['free_bytes'])} free"
    loader = []
    if count := plan["loader"]["workers"]:
        each = size_of(plan["loader"]["bytes_each"])
        loader = [
            f"  each training's pairs: made by {count} process{'es' * (count > 1)} of about {each} (--loader-workers)"
        ]
    if estimate["unknown"]:
        none = f"for {len(estimate['unknown'])} of them there is no estimate of time yet"
        return [f"{runs}; {none}; {disk}", *loader, f"  to get one, {REMEDY}"]
    if all(run["done"] for run in plan["runs"]):
        return [f"{runs}; nothing is left"]
    needed, limit, device = estimate["memory_bytes"], estimate["memory_limit_bytes"], estimate["device"]
    at_once = f", {estimate['workers']} runs at a time" if estimate["workers"] > 1 else ""
    memory = f"; peak memory of a run {_range(needed, size_of)}" if needed else ""
    lines = [f"{runs}; what remains takes {_range(estimate['wall_seconds'], duration)} on {device}{at_once};"]
    lines.append(f"  {_device_time(estimate['device_hours'])}{memory}; {disk}")
    lines += loader
    if limit and needed and needed["expected"] > limit:
        lines.append(f"  that is more than the {size_of(limit)} of {device}: it will most likely not fit")
    return lines


def _fits(budget: dict[str, Any] | None) -> list[str]:
    if not budget:
        return []
    if not budget["chosen"]:
        return [f"within {budget['asked']}: nothing, not even the baseline"]
    wall, hours = budget["estimate"]["wall_seconds"], budget["estimate"]["device_hours"]
    return [
        f"within {budget['asked']}: {', '.join(budget['chosen'])}",
        f"  left out: {', '.join(budget['left_out']) or 'nothing'}",
        f"  rule: {budget['rule']}",
        f"  takes {_range(wall, duration)}, {_device_time(hours)}: {budget['command']}",
    ]


def _outcome(outcome: dict[str, Any], rows: dict[str, str]) -> list[str]:
    """Return predicted against actual, a line for each row; nothing if no prediction came to its end."""
    lines = [f"  {rows[run['run']]}: {_gap(run['wall'])}; device time {_gap(run['device'])}" for run in outcome["runs"]]
    if outcome["wall"]:
        whole = f"{counted(outcome['started'], 'run')}, preparing and FPS together"
        lines.append(f"  {whole}: {_gap(outcome['wall'])}; device time of the runs {_gap(outcome['device'])}")
    return ["time as predicted -> as it was:", *lines] if lines else []


def _last_start(outcome: dict[str, Any]) -> list[str]:
    """Return how good the prediction of the last start was; `--json` has that of every run."""
    return [f"last start, as predicted -> as it was: {_gap(outcome['wall'])}"] if outcome["wall"] else []


def _gap(one: dict[str, Any]) -> str:
    expected, actual = one["predicted"]["expected"], one["actual"]
    gap = f" ({100 * one['gap']:+.0f} %)" if max(expected, actual) >= 10 else ""  # rounding would be most of it
    return f"{duration(expected)} -> {duration(actual)}{gap}"


def _device_time(hours: dict[str, float]) -> str:
    if hours["high"] >= 1:
        return f"{_range(hours, '{:.3g}'.format)} device-hours"
    return f"device time {_range({end: 3600 * count for end, count in hours.items()}, duration)}"


def _range(span: dict[str, float], say: Callable[[float], str]) -> str:
    low, expected, high = (say(span[end]) for end in ("low", "expected", "high"))
    return expected if low == high else f"{expected} ({low} to {high})"
