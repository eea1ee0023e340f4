"""One study at one size in one store: what `plan`, `run` and `report` share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.catalogue import named_study
from ablations.plan import PlannedRow, planned_protocols, planned_rows, tasks
from ablations.study import Study
from datasets.errors import DataError
from datasets.protocols import PROTOCOLS
from datasets.roots import data_root, open_protocol, parse_data_options
from datasets.training import TRAINING_SETS, check_disjoint
from harness.cli.cited import recompute
from harness.errors import BadInput
from harness.profiles import load_profile
from harness.protocol_store import read_protocol
from harness.queue import Missing
from harness.runner import Job, logs_of, missing
from harness.runner import run as run_job
from harness.scoring import Scored
from harness.spec import Profile, TrainingData, VideoData
from harness.store import Store

FORMATS = ("html", "latex", "markdown", "csv", "json")


@dataclass(frozen=True)
class Request:
    """What the user typed. seeds: None for as many as the study says; results: NAME=PATH of cited trackers' raw results;
    reads_only: the store is not made where it is not; must_exist: it has to be there already."""

    study: str
    profile: str
    protocols: list[str]
    data: list[str]
    only: list[str]
    store: Path
    seeds: int | None = None
    results: tuple[str, ...] = ()
    reads_only: bool = False
    must_exist: bool = False


@dataclass(frozen=True)
class Session:
    """A request, resolved and checked."""

    request: Request
    study: Study
    profile: Profile
    rows: list[PlannedRow]
    digests: dict[str, str]
    coverage: dict[str, str]
    store: Store
    job: Job
    recomputed: dict[str, Scored]

    def run(self, device: str) -> None:
        """Do what is missing. Raises BadInput or RunFailed."""
        from harness.executors import LocalExecutor

        run_job(self.job, self.store, LocalExecutor(logs_of(self.store)), device)

    def plan(self) -> dict[str, Any]:
        """The runs, done or not, and what is known of how long the rest takes."""
        lacking = missing(self.job, self.store)
        names = {row.run.fingerprint: row.name for row in reversed(self.rows)}
        return {
            "study": self.study.name,
            "profile": self.profile.name,
            "protocols": self.coverage,
            "runs": [_planned(m, names[m.task.run.fingerprint], self.store) for m in lacking],
            "estimated_seconds": self._estimate(lacking),
            "disk_bytes": int(sum(not m.nothing for m in lacking) * self.profile.disk_gigabytes * 1e9),
            "free_bytes": self.store.free_bytes(),
        }

    def report(self, out: Path | None, *, formats: str = "", as_json: bool = False) -> None:
        """Write the report and print the table."""
        from harness.cli.terminal import say_table
        from reports.assemble import assemble
        from reports.write import write_report

        chosen = chosen_formats(formats)
        result = assemble(self.study, self.profile, self.rows, self.digests, self.store, self.command, self.recomputed)
        folder = out or Path("report") / "-".join([self.study.name, self.profile.name, *self.request.protocols])
        written = write_report(result, folder, chosen)
        say_table(result, written, as_json=as_json)

    @property
    def command(self) -> str:
        """What reproduces this, without the paths of this machine."""
        words = ["python -m harness run", self.study.name]
        words += ["--profile", self.profile.name] if self.profile.name != "mini" else []
        words += [f"--protocol {name}" for name in self.request.protocols]
        words += [f"--data {entry.split('=')[0]}=PATH" for entry in self.request.data]
        words += [f"--only {name}" for name in self.request.only]
        words += [f"--seeds {self.request.seeds}"] if self.request.seeds is not None else []
        words += [f"--results {entry.split('=')[0]}=PATH" for entry in self.request.results]
        return " ".join(words)

    def _estimate(self, lacking: list[Missing]) -> float | None:
        """Wall seconds for the rest, from finished trainings under the same recipe in this store; None without any."""
        finished = [t for m in lacking if (t := self.store.run(m.task.run).training()) is not None]
        left = sum(m.training for m in lacking)
        if not left or not finished:
            return None if left else 0.0
        workers = max(t.where.concurrent_workers for t in finished)
        return sum(t.cost.wall() for t in finished) / len(finished) * math.ceil(left / workers)


def chosen_formats(text: str) -> list[str]:
    """The formats of a comma-separated option, all of them for "". Raises BadInput for one that does not exist."""
    chosen = [f.strip() for f in text.split(",") if f.strip()] or list(FORMATS)
    if unknown := sorted(set(chosen) - set(FORMATS)):
        raise BadInput(f"--format {', '.join(unknown)}: there are {', '.join(FORMATS)}")
    return chosen


def open_session(request: Request) -> Session:
    """Resolve names, find and check the data, open the store: everything that can be refused is refused here."""
    study, profile = named_study(request.study), load_profile(request.profile)
    given = parse_data_options(request.data)
    names = [PROTOCOLS[name].name for name in request.protocols or planned_protocols(study, profile)]
    rows = planned_rows(study, profile, protocols=names, seeds=request.seeds, only=request.only)
    recomputed = recompute(request.results, names, given, request.store)
    if request.must_exist and not (request.store / "store.json").exists():
        raise BadInput(
            f"there is no store at {request.store}: name it with --store, or `python -m harness run {study.name}` first"
        )
    # No store is made only to keep an index in it.
    index = request.store / "index" if (request.store / "store.json").exists() else None
    found = {name: _evaluated(name, given, request) or _opened(name, given, index, request) for name in names}
    if any(len(data.sequences) == 1 for data in found.values()):
        rows = [row for row in rows if row.control == "none"]  # one sequence has no other one's template
    digests = {name: data.digest for name, data in found.items()}
    roots = {PROTOCOLS[name].data or "": str(data.root) for name, data in found.items() if data.root}
    if not request.must_exist:
        for data in _trained_on(rows):
            roots |= training_roots(data, names, given)
    return Session(
        request=request,
        study=study,
        profile=profile,
        rows=rows,
        digests=digests,
        coverage={name: data.coverage for name, data in found.items()},
        store=Store(request.store, make=not request.reads_only),
        job=Job(
            tasks=tasks(rows, digests, roots),
            sizes=[row.tracker_at_paper_scale for row in rows if row.tracker_at_paper_scale],
            sequences={name: data.sequences for name, data in found.items()},
            profile=profile,
        ),
        recomputed=recomputed,
    )


def _trained_on(rows: list[PlannedRow]) -> list[TrainingData]:
    """What the rows are trained on, each once."""
    found: list[TrainingData] = []
    for run in (planned.run for row in rows for planned in row.runs):
        if run.data is not None and run.data not in found:
            found.append(run.data)
    return found


def training_roots(data: TrainingData, protocols: list[str], given: Mapping[str, str]) -> dict[str, str]:
    """Where the videos to train on lie, by data set. Raises DataError where they are not there, and where a tracker would
    be trained or validated on what one of the protocols tests it on."""
    if not isinstance(data, VideoData):
        return {}
    check_disjoint(data.all_sets, protocols)
    roots = {}
    for kind in (TRAINING_SETS[name] for name in data.all_sets):
        root = data_root(kind.data, given).resolve()
        kind.open(root)
        roots[kind.data] = str(root)
    return roots


@dataclass(frozen=True)
class Data:
    """A protocol's sequences by name, the digest of its data, and where they lie, None where nothing lies anywhere."""

    sequences: list[str]
    digest: str
    coverage: str
    root: Path | None


def opened(name: str, given: Mapping[str, str], index: Path | None = None, *, frames: bool = True) -> Data:
    """A protocol's data from where they lie, checked, with their frames unless those are not needed; index: where one may
    be kept. Raises UnknownName or DataError."""
    data = PROTOCOLS[name].data
    sequences = open_protocol(name, given, index)
    sequences.check() if frames else sequences.check_annotations()
    root = data_root(data, given).resolve() if data else None
    return Data(list(sequences.names), sequences.digest(), sequences.coverage, root)


def _opened(name: str, given: Mapping[str, str], index: Path | None, request: Request) -> Data:
    """A protocol's data. A report needs no frames, and where nothing of a protocol is here it says so."""
    if not request.must_exist:
        return opened(name, given, index)
    try:
        return opened(name, given, index, frames=False)
    except DataError:
        if PROTOCOLS[name].data in given:
            raise
        return Data([], "", f"{name}: not here", None)


def _evaluated(name: str, given: Mapping[str, str], request: Request) -> Data | None:
    """What the store keeps of a protocol, for reports made where the data are not. None where it was evaluated never, or
    on more than one version of its data, or where the user says where the data lie."""
    if not request.must_exist or PROTOCOLS[name].data is None or PROTOCOLS[name].data in given:
        return None
    folders = sorted((request.store / "protocols").glob(f"{name}-*/protocol.json"))
    kept = [record for folder in folders if (record := read_protocol(folder.parent)) and record.name == name]
    if len(kept) != 1:
        return None
    sequences = [facts.name for facts in kept[0].sequences]
    return Data(sequences, kept[0].digest, f"{len(sequences)} sequences in the store", None)


def _planned(item: Missing, name: str, store: Store) -> dict[str, Any]:
    folder = store.run(item.task.run)
    failure = folder.failure()
    return {
        "row": name,
        "run": item.task.run.name,
        "done": item.nothing,
        "training": item.training,
        "sequences_missing": item.sequences,
        "speed": item.speed,
        "failed": failure.summary if failure else None,
    }
