"""Which studies a store has anything of, at which profile, and how far each is."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from trackablate.ablations.plan import planned_protocols, planned_rows, tasks
from trackablate.ablations.study import Study
from trackablate.harness.record import PlannedRow, ProtocolRecord
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import Profile
from trackablate.harness.store import RunFolder, Store, read_protocol
from trackablate.trackers.spec import FloorSpec


@dataclass(frozen=True)
class StoredStudy:
    """A study at a profile's size, of which at least one variant's run is in the store. digests: protocol name to the
    digest of the data that it was evaluated on, "" where it was not. tasks: one for each of its runs; seeds: as many as the
    store has of any row.
    """

    study: Study
    profile: Profile
    rows: list[PlannedRow]
    digests: dict[str, str]
    tasks: list[RunTask]
    seeds: int = 1

    @property
    def folder(self) -> str:
        """Where its page lies in the site."""
        return re.sub(r"[^\w.-]", "_", f"{self.study.name}-{self.profile.name}")

    @property
    def command(self) -> str:
        """What runs the rest and makes its report."""
        profile = "" if self.profile.name == "mini" else f" --profile {self.profile.name}"
        seeds = "" if self.seeds == self.study.seeds else f" --seeds {self.seeds}"
        return f"python -m harness run {self.study.name}{profile}{seeds}"

    @cached_property
    def runs(self) -> dict[str, RunTask]:
        """Its runs by name. A name takes hashing the whole specification, so each is asked for once."""
        return {task.run.name: task for task in self.tasks}


def stored_studies(store: Store, studies: Sequence[Study], profiles: Sequence[Profile]) -> Iterator[StoredStudy]:
    """Those of these studies and profiles that the store has a run of, in their order."""
    kept = kept_protocols(store)
    present = {path.name for path in (store.root / "runs").glob("*")}
    for study in studies:
        for profile in profiles:
            found = _stored(store, study, profile, kept, present)
            if found is not None:
                yield found


def kept_protocols(store: Store) -> list[ProtocolRecord]:
    """What the store keeps of protocols, by name and digest."""
    folders = sorted(path.parent for path in (store.root / "protocols").glob("*/protocol.json"))
    return [record for folder in folders if (record := read_protocol(folder)) is not None]


def _stored(
    store: Store, study: Study, profile: Profile, kept: list[ProtocolRecord], present: set[str]
) -> StoredStudy | None:
    rows = planned_rows(study, profile)
    variants = {planned.run.name for row in rows if row.role == "variant" for planned in row.runs}
    here = sorted(variants & present)
    if not here:
        return None
    seeds = _seeds(study, profile, present)
    evaluated = {e.name for name in here for e in (store.root / "runs" / name / "evaluations").glob("*")}
    extra = [record.name for record in kept if any(key.startswith(f"{record.name}-") for key in evaluated)]
    planned = planned_protocols(study, profile)
    protocols = tuple(dict.fromkeys((*planned, *extra)))
    rows = planned_rows(study, profile, protocols=protocols, seeds=seeds)
    digests = {name: _digest(name, rows, kept, store) for name in protocols}
    return StoredStudy(study, profile, rows, digests, tasks(rows, digests, {}), seeds)


def _seeds(study: Study, profile: Profile, present: set[str]) -> int:
    """How many seeds of the study's rows the store has anything of, and not fewer than the study asks for."""
    seeds = study.seeds
    while any(_of_seed(row, seeds) & present for row in planned_rows(study, profile, seeds=seeds + 1)):
        seeds += 1
    return seeds


def _of_seed(row: PlannedRow, seed: int) -> set[str]:
    return {planned.run.name for planned in row.runs if planned.run.seed == seed and row.role == "variant"}


def _digest(protocol: str, rows: list[PlannedRow], kept: list[ProtocolRecord], store: Store) -> str:
    """Of several versions of a protocol's data, the one that most of the study's runs were evaluated on."""
    versions = [record.digest for record in kept if record.name == protocol]
    if len(versions) == 1:
        return versions[0]
    return max(versions, key=lambda digest: (_evaluations(rows, protocol, digest, store), digest), default="")


def _evaluations(rows: list[PlannedRow], protocol: str, digest: str, store: Store) -> int:
    found = tasks([row for row in rows if row.on(protocol)], dict.fromkeys(_protocols(rows), digest), {})
    keys = [(store.run(t.run).path, e.key) for t in found for e in t.evaluations if e.protocol == protocol]
    return sum((path / "evaluations" / key).exists() for path, key in keys)


def _protocols(rows: list[PlannedRow]) -> set[str]:
    return {protocol for row in rows for planned in row.runs for protocol in planned.protocols}


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is. failed: run and reason; started: when the latest of its runs began."""

    done: int
    wanted: int
    failed: tuple[tuple[str, str], ...]
    started: str

    @property
    def state(self) -> str:
        """In words."""
        if self.done == self.wanted:
            return "done"
        words = f"{self.done} of {self.wanted} runs"
        return f"{words}, {len(self.failed)} failed" if self.failed else words


def progress(found: StoredStudy, store: Store, kept: Sequence[ProtocolRecord]) -> StudyProgress:
    """Counts a run as done when it is trained and every sequence of its protocols is tracked."""
    sequences = {(record.name, record.digest): [s.name for s in record.sequences] for record in kept}
    done, failed, started = 0, [], [""]
    for name, task in found.runs.items():
        folder = RunFolder(store.root / "runs" / name, task.run)
        training, failure = folder.training(), folder.failure()
        if failure is not None:
            failed.append((name, failure.summary))
        if training is not None:
            started.append(training.where.started)
        lists = [sequences.get((e.protocol, e.data)) for e in task.evaluations]
        tracked = all(
            names is not None and not folder.missing(evaluation, names)
            for evaluation, names in zip(task.evaluations, lists, strict=True)
        )
        trained = training is not None or isinstance(task.run.tracker, FloorSpec)
        done += trained and tracked and failure is None
    return StudyProgress(done, len(found.tasks), tuple(failed), max(started))
