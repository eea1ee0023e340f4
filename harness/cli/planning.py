"""The document that `plan` prints: what is done, what remains and what it takes, what fits a budget, what came of it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows
from trackablate.harness.cli.session import Session
from trackablate.harness.costing.hardware import expected_device
from trackablate.harness.errors import BadInput
from trackablate.harness.planning.board import around_of
from trackablate.harness.planning.budget import RULE, Budget, Candidate, choose, parse_budget
from trackablate.harness.planning.calibrating import REMEDY, calibrate, count
from trackablate.harness.planning.estimate import RunEstimate, StudyEstimate, combined, estimates
from trackablate.harness.planning.forecast_log import compared, entries
from trackablate.harness.planning.history import Evidence, gather
from trackablate.harness.planning.span import Span
from trackablate.harness.record import PlannedRow
from trackablate.harness.running.executors import LocalExecutor
from trackablate.harness.running.observer import Missing
from trackablate.harness.running.runner import cpu_workers, disk_bytes, missing
from trackablate.harness.store import Store
from trackablate.trackers.spec import TrackerSpec


@dataclass(frozen=True)
class PlanOptions:
    """calibrate: measure this device first; device: auto, cpu or cuda; device_peak: a device that is not here, by its
    published peak; gpus: how many of it; budget: as `parse_budget` takes it, "" for none.
    """

    calibrate: bool = False
    device: str = "auto"
    device_peak: str = ""
    gpus: int = 1
    budget: str = ""


def plan_document(session: Session, options: PlanOptions) -> dict[str, Any]:
    """All of it, for JSON. Raises BadInput for a budget that is none or that nothing can be held against."""
    budget = parse_budget(options.budget) if options.budget else None
    lacking = missing(session.job, session.store)
    if options.calibrate:
        runs = [m.task.run for m in lacking if not m.nothing] or [m.task.run for m in lacking]
        made = Store(session.store.root)
        calibrate(runs, session.profile, made, LocalExecutor(made.logs), options.device)
    with _counted(session.store, lacking, options) as store:
        evidence = gather(store, expected_device(options.device), options.device_peak)
        plan = _Plan(session, lacking, evidence, options)
        return plan.document(budget)


class _Plan:
    """A study's missing work with its estimates."""

    def __init__(self, session: Session, lacking: list[Missing], evidence: Evidence, options: PlanOptions) -> None:
        self.session, self.lacking, self.evidence, self.options = session, lacking, evidence, options
        self.disk = disk_bytes(session.profile)
        self.found = estimates(lacking, evidence, self.disk)
        self.around = around_of(session.job, session.store)
        self.rows = _rows_of(session.rows)
        self.shared = _shared(session)

    def document(self, budget: Budget | None) -> dict[str, Any]:
        whole = self.estimate(list(self.found))
        names = [m.task.run.name for m in self.lacking]
        known = not whole.unknown
        return {
            "study": self.session.study.name,
            "profile": self.session.profile.name,
            "protocols": self.session.coverage,
            "runs": [self.run(item) for item in self.lacking],
            "estimated_seconds": whole.wall.expected if known else None,
            "estimate": _estimate_document(whole) | {"memory_limit_bytes": self._memory_limit()},
            "disk_bytes": whole.disk_bytes,
            "free_bytes": self.session.store.free_bytes(),
            "budget": self.chosen(budget) if budget else None,
            "compared": compared(entries(self.session.store), names).model_dump(mode="json"),
            "missing_here": list(self.session.problems),
        }

    def run(self, item: Missing) -> dict[str, Any]:
        """One run: what it lacks, who else needs it, what it takes."""
        run = item.task.run
        failure = self.session.store.run(run).failure()
        rows = self.rows[run.fingerprint]
        return {
            "row": rows[0],
            "rows": rows,
            "run": run.name,
            "done": item.nothing,
            "training": item.training,
            "steps_done": item.steps_done,
            "sequences_missing": item.sequences,
            "speed": item.speed,
            "failed": failure.summary if failure else None,
            "shared_with": self.shared.get(run.fingerprint, []),
            "estimate": _run_document(self.found.get(run.name)),
        }

    def estimate(self, names: list[str]) -> StudyEstimate:
        """The estimate of some of the runs that lack something."""
        found = {name: self.found[name] for name in names}
        return combined(found, self.evidence, self._workers(len(names)), self.disk, self.around)

    def _workers(self, runs: int) -> int:
        if self.evidence.peak:
            return max(1, min(self.options.gpus, runs))
        measured = self.evidence.calibration
        on_cpu = self.evidence.device.startswith("CPU")
        return cpu_workers(self.session.profile, runs) if on_cpu else (measured.workers if measured else 1)

    def _memory_limit(self) -> float | None:
        """Bytes of the named device, None where none was named."""
        return self.evidence.peak.gigabytes * 1e9 if self.evidence.peak else None

    def chosen(self, budget: Budget) -> dict[str, Any]:
        """Which rows fit the budget. Raises BadInput where a run has no estimate."""
        if unknown := self.estimate(list(self.found)).unknown:
            raise BadInput(f"--budget needs an estimate of every run, and there is none of {unknown[0]}: {REMEDY}")
        candidates = [self._candidate(row) for row in self.session.rows if row.role == "variant"]
        choice = choose(candidates, lambda names: budget.holds(self._of_rows(names)))
        estimate = self._of_rows(list(choice.chosen)) if choice.chosen else None
        return {
            "asked": self.options.budget,
            "rule": RULE,
            "chosen": list(choice.chosen),
            "left_out": list(choice.left_out),
            "estimate": _estimate_document(estimate) if estimate else None,
            "command": self._command(list(choice.chosen)) if choice.chosen else None,
        }

    def _candidate(self, row: PlannedRow) -> Candidate:
        runs = [self.found.get(name) for name in self._names([row])]
        shared = {study for print_ in _fingerprints([row]) for study in self.shared.get(print_, [])}
        seconds = sum(run.seconds.expected for run in runs if run)
        return Candidate(row.name, row.cells, row.baseline, len(shared), seconds)

    def _of_rows(self, names: list[str]) -> StudyEstimate:
        """What a study of these variants takes: they, the floors, and the controls."""
        rows = [row for row in self.session.rows if row.role != "variant" or row.name in names]
        return self.estimate([name for name in self._names(rows) if name in self.found])

    def _names(self, rows: list[PlannedRow]) -> list[str]:
        wanted = _fingerprints(rows)
        return [m.task.run.name for m in self.lacking if m.task.run.fingerprint in wanted]

    def _command(self, rows: list[str]) -> str:
        baseline = {row.name for row in self.session.rows if row.baseline}
        return self.session.command_for([name for name in rows if name not in baseline] or rows)


@contextmanager
def _counted(store: Store, lacking: list[Missing], options: PlanOptions) -> Iterator[Store]:
    """A store with the sizes that a peak is held against: this one, if it is there, else one that goes when it has served,
    since planning makes no store. Counting needs torch, so a worker does it.
    """
    trackers = [m.task.run.tracker for m in lacking if not m.nothing and isinstance(m.task.run.tracker, TrackerSpec)]
    if not options.device_peak:
        yield store
        return
    with tempfile.TemporaryDirectory() as folder:
        there = (store.root / "store.json").exists()
        used = store if there else Store(Path(folder) / "store")
        known = [used.paper_scale(tracker) for tracker in trackers]
        rest = [t for t, size in zip(trackers, known, strict=True) if size is None or size.activation_bytes is None]
        if rest:
            count(rest, used, LocalExecutor(used.logs))
        yield used


def _fingerprints(rows: list[PlannedRow]) -> set[str]:
    return {planned.run.fingerprint for row in rows for planned in row.runs}


def _rows_of(rows: list[PlannedRow]) -> dict[str, list[str]]:
    """Row names by the fingerprint of the runs that they need."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for fingerprint in _fingerprints([row]):
            found.setdefault(fingerprint, []).append(row.name)
    return found


def _shared(session: Session) -> dict[str, list[str]]:
    """Which other studies need a run at this profile, by its fingerprint. Floors are everyone's, and left out."""
    own = {m.fingerprint for m in (task.run for task in session.job.tasks) if isinstance(m.tracker, TrackerSpec)}
    found: dict[str, list[str]] = {}
    for name, study in STUDIES.items():
        if name != session.study.name:
            for fingerprint in _fingerprints(planned_rows(study, session.profile)) & own:
                found.setdefault(fingerprint, []).append(name)
    return found


def _estimate_document(estimate: StudyEstimate) -> dict[str, Any]:
    return {
        "device": estimate.device,
        "workers": estimate.workers,
        "wall_seconds": estimate.wall.model_dump(),
        "device_hours": estimate.device_seconds.times(1 / 3600).model_dump(),
        "prepare_seconds": estimate.prepare.model_dump(),
        "speed_seconds": estimate.speed.model_dump(),
        "memory_bytes": _span(estimate.memory_bytes),
        "disk_bytes": estimate.disk_bytes,
        "unknown": list(estimate.unknown),
    }


def _run_document(estimate: RunEstimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "wall_seconds": estimate.seconds.model_dump(),
        "device_hours": estimate.device_seconds.times(1 / 3600).model_dump(),
        "memory_bytes": _span(estimate.memory_bytes),
        "disk_bytes": estimate.disk_bytes,
        "sources": list(estimate.sources),
        "notes": list(estimate.notes),
    }


def _span(span: Span | None) -> dict[str, float] | None:
    return span.model_dump() if span else None
