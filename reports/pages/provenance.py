"""The origin of every number, as plain rows for the page."""

from dataclasses import dataclass

from trackablate.harness.record import Provenance, RunRecord
from trackablate.harness.spec import Profile
from trackablate.reports.results import Result

UNKNOWN = "–"


@dataclass(frozen=True)
class RunFacts:
    """One run as the provenance section prints it, with the table rows that use it."""

    rows: tuple[str, ...]
    run: str
    fingerprint: str
    verdict: str
    seed: int
    weights: str
    commit: str
    machine: str
    driver: str
    threads: str
    workers: str
    started: str
    versions: str
    command: str
    failure: str
    traceback: str


def runs(result: Result) -> list[RunFacts]:
    """Return every distinct run of the study, in the table's order."""
    by_run: dict[str, list[int]] = {}
    records = {record.asked.fingerprint: record for row in result.rows for record in row.records}
    for index, row in enumerate(result.rows):
        for record in row.records:
            by_run.setdefault(record.asked.fingerprint, []).append(index)
    return [
        _facts(records[run], tuple(result.rows[i].name for i in dict.fromkeys(indices)))
        for run, indices in by_run.items()
    ]


def _facts(record: RunRecord, rows: tuple[str, ...]) -> RunFacts:
    where = _where(record)
    return RunFacts(
        rows=rows,
        run=record.asked.name,
        fingerprint=record.asked.fingerprint,
        verdict=record.verdict if where else "needs no training",
        seed=record.asked.seed,
        weights=record.training.weights_digest[:12] if record.training else UNKNOWN,
        commit=_commit(where),
        machine=f"{where.device}; {where.platform}" if where else UNKNOWN,
        driver=(where.driver or UNKNOWN) if where else UNKNOWN,
        threads=str(where.threads) if where else UNKNOWN,
        workers=str(where.concurrent_workers) if where else UNKNOWN,
        started=where.started if where else UNKNOWN,
        versions=_versions(where),
        command=where.command if where else "",
        failure=record.failure.summary if record.failure else "",
        traceback=record.failure.traceback if record.failure else "",
    )


def _where(record: RunRecord) -> Provenance | None:
    if record.failure is not None:
        return record.failure.where
    return record.training.where if record.training else None


def _commit(where: Provenance | None) -> str:
    if where is None:
        return UNKNOWN
    state = {True: " + uncommitted changes", False: "", None: " (unknown whether changed)"}[where.dirty]
    return f"{where.commit[:10] if where.commit else 'no commit known'}{state}"


def _versions(where: Provenance | None) -> str:
    if where is None:
        return ""
    packages = ", ".join(f"{name} {version}" for name, version in sorted(where.packages.items()))
    return f"Python {where.python}, {packages}"


def versions(found: list[RunFacts]) -> dict[str, list[str]]:
    """Return the distinct sets of versions, each with the rows that ran with it."""
    sets: dict[str, list[str]] = {}
    for run in found:
        if run.versions:
            sets.setdefault(run.versions, []).extend(run.rows)
    return sets


def profile_facts(profile: Profile) -> dict[str, str]:
    """Return the profile in words: what was trained, on what, how long."""
    facts = {"profile": f"{profile.name}: {profile.description}"}
    parts = {"recipe": profile.recipe, "training data": profile.data, "scale": profile.scale}
    for title, part in parts.items():
        if part is not None:
            facts[title] = ", ".join(f"{name} {value}" for name, value in part.model_dump().items())
    return facts
