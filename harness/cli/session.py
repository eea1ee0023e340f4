"""One study at one size in one store: what `plan`, `run` and `report` share."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from trackablate.ablations.catalogue import named_study
from trackablate.ablations.plan import planned_protocols, planned_rows, tasks
from trackablate.ablations.study import FaultyStudy, Other, Study
from trackablate.datasets.errors import counted, raise_all
from trackablate.datasets.pairs.training_sets import check_disjoint
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.cli.launching import StudyRequest
from trackablate.harness.cli.study_data import (
    Given,
    StudyData,
    asked_run,
    for_uses,
    given_data,
    named_run,
    open_store,
    packings,
    planned_data,
    recompute,
    reported_data,
    roots_to_train_on,
)
from trackablate.harness.cli.terminal import say_doing
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile, with_changes, with_packed
from trackablate.harness.record import PlannedRow, StudyRecord
from trackablate.harness.running.image_files import find_replaced
from trackablate.harness.running.runner import Job, refuse_at_once
from trackablate.harness.scoring.dialects import known_protocol
from trackablate.harness.scoring.scored import Scored
from trackablate.harness.spec import Evaluation, Profile, TrainingData, VideoData
from trackablate.harness.store import Store
from trackablate.trackers.plugins import load_plugins

if TYPE_CHECKING:
    from trackablate.reports.results import FrameRow, Result


@dataclass(frozen=True)
class Session:
    """A request, resolved and checked.

    Attributes:
        rows: Rows of the report. A run of some rows reports all, with what the store has of the others.
        digests: Digest of each protocol's data.
        coverage: How much of each protocol's data is here, in words.
        recomputed: Scores of cited trackers' raw results, by protocol.
        problems: Reasons why data are not here, which only `plan` accepts.
        grid: The frames that the request asks for.
    """

    request: StudyRequest
    study: Study
    profile: Profile
    rows: list[PlannedRow]
    digests: dict[str, str]
    coverage: dict[str, str]
    store: Store
    job: Job
    recomputed: dict[str, Scored]
    problems: tuple[str, ...] = ()
    grid: "tuple[FrameRow, ...]" = ()

    def refuse_absent_data(self) -> None:
        """Raise BadInput if the data of this plan are not here."""
        if self.problems:
            raise BadInput(
                "the study cannot run here: data are missing (listed above); name them with --data NAME=PATH"
            )

    def draw(self, out: Path | None, formats: str = "") -> "tuple[Result, list[Path]]":
        """Return the result and the report's files, which stay as they are if they were made from the same files.

        A report with fewer results than the one that stands in its folder goes into a folder beside it, unless the user
        has named the folder.
        """
        from trackablate.reports.assemble import assemble
        from trackablate.reports.pages.made_from import keep_source, unchanged
        from trackablate.reports.pages.write import write_report

        chosen = chosen_formats(formats)
        source = self._source(chosen)  # before reading: what is written meanwhile must make the next report another one
        asked = StudyRecord(
            study=self.study.name,
            profile=self.profile,
            digests=self.digests,
            seeds=self.request.seeds or self.study.seeds,
            command=self.request.command,
            rows=tuple(self.rows),
        )
        result = assemble(self.study, asked, self.store, self.recomputed, truncate=self.request.truncate)
        folder, count = self._place(out, result), result.figures
        written = [] if self.recomputed else unchanged(folder, source)
        if not written:
            written = write_report(replace(result, grid=self.grid), folder, chosen)
            keep_source(folder, source, written, count)
        return result, written

    def _place(self, out: Path | None, result: "Result") -> Path:
        """Return the folder of a report. It says so on standard error if the report that stands there has more results."""
        from trackablate.reports.pages.made_from import results_in

        folder = out or self.folder
        if result.figures >= (standing := results_in(folder)):
            return folder
        said = f"the report in {folder} has {counted(standing, 'result')}, and this one has {result.figures}"
        if out:
            say_doing(f"{said}: it is replaced")
            return out
        part = folder.with_name(f"{folder.name}-part")
        say_doing(f"{said}, which goes to {part}; --out {folder} would replace the other")
        return part

    def elsewhere(self) -> str:
        """Return with which options the store has results of this study, if it has none of what is asked for; else ""."""
        records = [one for one in (self.store.studies() if self.store.exists else []) if one.study == self.study.name]
        runs = [planned.run for row in self.rows if row.role == "variant" for planned in row.runs]
        tracked = [run.seed for run in runs if self.store.run(run).evaluations()]
        others = [name for one in records if (name := one.profile.name) != self.profile.name]
        if tracked and (self.request.seeds or self.study.seeds) > (seeds := max(tracked) + 1):
            there = f"the store has {self.study.name} with {counted(seeds, 'seed')}"
            return f"{there}: report it with --seeds {seeds}, or train the others by `{self.request.typed}`"
        return "" if tracked or not others else f"the store has {self.study.name} at --profile {' and '.join(others)}"

    @property
    def folder(self) -> Path:
        """The folder of the report, unless the user names one. A report of some rows has a folder of its own."""
        only = ["only", *self.request.only] if self.request.only else []
        return Path("report") / "-".join([self.study.name, self.profile.name, *self.request.protocols, *only])

    def _source(self, formats: list[str]) -> str:
        # All that a report shows comes from the request, the code, and these files.
        from trackablate.reports.pages.made_from import source_digest

        paths = [self.store.run(planned.run).path for row in self.rows for planned in row.runs]
        paths += [self.store.protocol(Evaluation(protocol=name, data=digest)) for name, digest in self.digests.items()]
        rows = [row for row in self.rows if row.tracker_at_paper_scale]
        sizes = [self.store.paper_scale(row.tracker_at_paper_scale) for row in rows if row.tracker_at_paper_scale]
        own = [(name, PROTOCOLS[name].metrics, PROTOCOLS[name].scored_as) for name in self.digests]
        asked = (
            self.request.command,
            formats,
            self.study,
            self.profile,
            self.digests,
            sizes,
            load_plugins(),
            own,
            *self.request.grid,
        )
        return source_digest(repr(asked), paths)

    def study_record(self) -> StudyRecord:
        """Return what the study is asked to be, together with what earlier starts asked of it.

        Of a protocol's data it has the version with the most sequences, the newest one of equally large ones.
        """
        before = self.store.study(self.study.name, self.profile.name)
        digests = dict(before.digests if before else {})
        for name, digest in self.digests.items():
            sizes = {record.digest: len(record.sequences) for record in self.store.protocols(name)}
            if sizes.get(digests.get(name, ""), 0) <= len(self.job.sequences[name]):
                digests[name] = digest
        seeds = max(self.request.seeds or self.study.seeds, before.seeds if before else 1)
        rows = planned_rows(self.study, self.profile, protocols=digests, seeds=seeds, only=self.request.only)
        controls = {row.control for row in self.rows}
        asked = replace(
            self.request,
            protocols=[] if tuple(digests) == planned_protocols(self.study, self.profile) else list(digests),
            only=[],
            seeds=None if seeds == self.study.seeds else seeds,
            results=(),
            truncate=False,
        )
        return StudyRecord(
            study=self.study.name,
            profile=self.profile,
            digests=digests,
            seeds=seeds,
            command=asked.command,
            rows=tuple(row for row in rows if row.control in controls),
        )


def chosen_formats(text: str) -> list[str]:
    """Return the formats of a comma-separated option, all of them for "". Raises BadInput for one that does not exist."""
    from trackablate.reports.pages.write import FORMATS

    chosen = [f.strip() for f in text.split(",") if f.strip()] or list(FORMATS)
    if unknown := sorted(set(chosen) - set(FORMATS)):
        raise BadInput(f"--format {', '.join(unknown)}: there are {', '.join(FORMATS)}")
    return chosen


def open_session(request: StudyRequest) -> Session:
    """Resolve names, check the data and open the store; all that can be refused before any work is refused here.

    That includes a tracker that would be trained or validated on what one of the protocols tests it on.
    """
    asked, store = _resolved(request), Store(request.store, make=False)
    request, names, rows = asked.request, asked.names, asked.rows
    recomputed = recompute(request.results, names, asked.given, store.root, taken={row.name for row in rows})
    if request.purpose == "report":
        if not recomputed and not store.exists:
            first = f"name it with --store, or `{request.typed} --store {quote(str(store.root))}` first"
            raise BadInput(f"there is no store at {store.root}: {first}")
        found, roots, problems = _stored_data(asked, store), dict[str, str](), list[str]()
    else:
        found, roots, problems = _data_here(asked, store)
    if any(len(data.sequences) == 1 for data in found.values()):
        rows = [row for row in rows if row.control == "none"]  # one sequence has no other one's template
    digests = {name: data.digest for name, data in found.items()}
    request, reported = _reported(request, asked.study, asked.profile, names, rows)
    frames = _grid(request, digests, asked.given, store)
    job = _job(request, asked.profile, rows, found, roots, store)
    return Session(
        request=request,
        study=asked.study,
        profile=asked.profile,
        rows=reported,
        digests=digests,
        coverage={name: data.coverage for name, data in found.items()},
        store=open_store(request.store, make=request.purpose == "run"),
        job=job,
        recomputed=recomputed,
        problems=tuple(problems),
        grid=frames,
    )


@dataclass(frozen=True)
class _Resolved:
    """A request whose names are known: its rows, and the places of data that it gives, by name."""

    request: StudyRequest
    study: Study
    profile: Profile
    names: list[str]
    rows: list[PlannedRow]
    given: Given


def _resolved(request: StudyRequest) -> _Resolved:
    profile = with_changes(load_profile(request.profile), request.changes)
    study = _with_others(named_study(request.study), request.beside, Store(request.store, make=False))
    names = [known_protocol(name).name for name in request.protocols or planned_protocols(study, profile)]
    request = replace(request, protocols=names if request.protocols else [])
    rows = planned_rows(study, profile, protocols=names, seeds=request.seeds, only=request.only)
    given = given_data(request.data, names, _trained_on(rows))
    if packed := packings((planned.run for row in rows for planned in row.runs), given):
        profile = with_packed(profile, packed)
        rows = planned_rows(study, profile, protocols=names, seeds=request.seeds, only=request.only)
    return _Resolved(request, study, profile, names, rows, given)


def _stored_data(asked: _Resolved, store: Store) -> dict[str, StudyData]:
    """Return the data of each protocol as the store knows them."""
    known = store.study(asked.study.name, asked.profile.name) if store.exists else None
    runs = [planned.run for row in asked.rows for planned in row.runs]
    digests = known.digests if known else {}
    return {name: reported_data(name, asked.given, store, runs, digests.get(name, "")) for name in asked.names}


def _data_here(asked: _Resolved, store: Store) -> tuple[dict[str, StudyData], dict[str, str], list[str]]:
    """Return the data of each protocol, the place of each data set, and what is not here, which only a plan accepts."""
    index = store.index if store.exists else None  # no store is made only to keep an index in it
    found = {name: planned_data(name, asked.given, index) for name in asked.names}
    lacking: dict[str, list[str]] = {}
    for name, tested in found.items():
        for problem in tested.problems:
            lacking.setdefault(problem, []).append(f"to track {name}")
    roots: dict[str, str] = {}
    for data in _trained_on(asked.rows):
        if isinstance(data, VideoData):
            check_disjoint(data.all_sets, asked.names)
        more, reasons = roots_to_train_on(data, asked.given)
        roots |= more
        for problem, uses in reasons.items():
            lacking.setdefault(problem, []).extend(uses)
    problems = for_uses(lacking)
    if asked.request.purpose == "run":
        raise_all(problems)
    return found, roots, problems


def _job(
    request: StudyRequest,
    profile: Profile,
    rows: list[PlannedRow],
    found: Mapping[str, StudyData],
    roots: Mapping[str, str],
    store: Store,
) -> Job:
    """Return what has to be done. Raises BadInput for what cannot be done here."""
    places = {PROTOCOLS[name].data or "": str(data.root) for name, data in found.items() if data.root}
    work = tasks(rows, {name: data.digest for name, data in found.items()}, {**roots, **places})
    lists = {name: data.sequence_list for name, data in found.items() if data.sequence_list is not None}
    replaced, messages = find_replaced(work, store, lists, act=request.purpose == "run")
    sys.stderr.writelines(f"{message}\n" for message in messages)
    job = Job(
        tasks=work,
        sizes=[row.tracker_at_paper_scale for row in rows if row.tracker_at_paper_scale],
        sequences={name: data.sequences for name, data in found.items()},
        profile=profile,
        lengths={name: data.lengths for name, data in found.items()},
        how=request.how,
        replaced=replaced,
    )
    if request.purpose == "run":
        refuse_at_once(job, store, request.device)
    return job


def _grid(
    request: StudyRequest, digests: Mapping[str, str], given: Mapping[str, str], store: Store
) -> "tuple[FrameRow, ...]":
    if not request.grid:
        return ()
    from trackablate.reports.figures.frame_grid import read_frames

    return read_frames(request.grid, digests, given, store)


def _with_others(study: Study, beside: tuple[str, ...], store: Store) -> Study:
    """Return the study with the rows beside it that its file and the user name, as `[NAME=]RUN`."""
    others = list(study.others)
    for text in (*study.beside, *beside):
        name, meant = named_run(text)
        run = asked_run(store, meant)
        others.append(Other(name or (run.imported.name if run.imported else meant), run))
    return replace(study, others=tuple(others))


def _reported(
    request: StudyRequest, study: Study, profile: Profile, names: list[str], rows: list[PlannedRow]
) -> tuple[StudyRequest, list[PlannedRow]]:
    """Return the request and the rows of the report: all rows, unless the report alone is asked for."""
    if not request.only or request.purpose != "run":
        return request, rows
    try:
        whole = planned_rows(study, profile, protocols=names, seeds=request.seeds)
    except FaultyStudy:  # two of the rows that --only leaves out are one run at this profile
        return request, rows
    controls = {row.control for row in rows}
    return replace(request, only=[]), [row for row in whole if row.control in controls]


def _trained_on(rows: list[PlannedRow]) -> list[TrainingData]:
    found: list[TrainingData] = []
    for run in (planned.run for row in rows for planned in row.runs):
        if run.data is not None and run.data not in found:
            found.append(run.data)
    return found
