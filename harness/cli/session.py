"""One study at one size in one store: what `plan`, `run` and `report` share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from trackablate.ablations.catalogue import named_study
from trackablate.ablations.plan import PlannedRow, planned_protocols, planned_rows, tasks
from trackablate.ablations.study import Study
from trackablate.datasets.errors import DataError, raise_all
from trackablate.datasets.extents import official_extent
from trackablate.datasets.pairs.training_sets import TRAINING_SETS, check_disjoint
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.roots import data_root, open_protocol, parse_data_options
from trackablate.harness.cli.cited import recompute
from trackablate.harness.errors import BadInput
from trackablate.harness.planning.forecast_log import StudyComparison, compared, entries
from trackablate.harness.profiles import load_profile
from trackablate.harness.protocol_store import read_protocol
from trackablate.harness.running.runner import Job, logs_of
from trackablate.harness.running.runner import run as run_job
from trackablate.harness.scoring.scored import Scored
from trackablate.harness.spec import Profile, TrainingData, VideoData
from trackablate.harness.store import Store

FORMATS = ("html", "latex", "markdown", "csv", "json")


@dataclass(frozen=True)
class StudyRequest:
    """What the user typed. seeds: None for as many as the study says; results: NAME=PATH of cited trackers' raw results;
    reads_only: the store is not made where it is not; must_exist: it has to be there already.
    """

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
    """A request, resolved and checked. problems: data that are not here, which only `plan` takes for an answer."""

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

    def run(self, device: str, say: Callable[[StudyComparison], None]) -> None:
        """Do what is missing, and say how that compares with what was predicted, also where it ends early. Raises BadInput
        or RunFailed.
        """
        from trackablate.harness.running.executors import LocalExecutor

        before = len(entries(self.store))
        try:
            run_job(self.job, self.store, LocalExecutor(logs_of(self.store)), device)
        finally:
            say(compared(entries(self.store)[before:], [task.run.name for task in self.job.tasks]))

    def refuse_absent_data(self) -> None:
        """Raise BadInput where a plan was made for data that are not here."""
        if self.problems:
            raise BadInput(f"it cannot run here, for want of data, as said above: {len(self.problems)} missing")

    def report(self, out: Path | None, *, formats: str = "", as_json: bool = False) -> None:
        """Write the report and print the table."""
        from trackablate.harness.cli.terminal import say_table
        from trackablate.reports.assemble import assemble
        from trackablate.reports.pages.write import write_report

        chosen = chosen_formats(formats)
        result = assemble(self.study, self.profile, self.rows, self.digests, self.store, self.command, self.recomputed)
        folder = out or Path("report") / "-".join([self.study.name, self.profile.name, *self.request.protocols])
        written = write_report(result, folder, chosen)
        say_table(result, written, as_json=as_json)

    @property
    def command(self) -> str:
        """What reproduces this, without the paths of this machine."""
        return self.command_for(self.request.only)

    def command_for(self, only: list[str]) -> str:
        """What runs these rows as they were asked for, without the paths of this machine."""
        asked = self.request
        words = ["python -m harness run", quote(Path(asked.study).name)]
        words += ["--profile", quote(Path(asked.profile).name)] if asked.profile != "mini" else []
        words += [f"--protocol {name}" for name in asked.protocols]
        words += [f"--data {entry.split('=')[0]}=PATH" for entry in asked.data]
        words += [f"--only {quote(name)}" for name in only]
        words += [f"--seeds {asked.seeds}"] if asked.seeds is not None else []
        words += [f"--results {quote(entry.split('=')[0])}=PATH" for entry in asked.results]
        return " ".join(words)


def chosen_formats(text: str) -> list[str]:
    """The formats of a comma-separated option, all of them for "". Raises BadInput for one that does not exist."""
    chosen = [f.strip() for f in text.split(",") if f.strip()] or list(FORMATS)
    if unknown := sorted(set(chosen) - set(FORMATS)):
        raise BadInput(f"--format {', '.join(unknown)}: there are {', '.join(FORMATS)}")
    return chosen


def open_session(request: StudyRequest) -> Session:
    """Resolve names, find and check the data, open the store: everything that can be refused is refused here, also a tracker
    that would be trained or validated on what one of the protocols tests it on.
    """
    study, profile = named_study(request.study), load_profile(request.profile)
    given = parse_data_options(request.data)
    names = [PROTOCOLS[name].name for name in request.protocols or planned_protocols(study, profile)]
    rows = planned_rows(study, profile, protocols=names, seeds=request.seeds, only=request.only)
    recomputed = recompute(request.results, names, given, request.store, taken={row.name for row in rows})
    if request.must_exist and not recomputed and not (request.store / "store.json").exists():
        raise BadInput(
            f"there is no store at {request.store}: name it with --store, or `python -m harness run {study.name}` first"
        )
    # No store is made only to keep an index in it.
    index = request.store / "index" if (request.store / "store.json").exists() else None
    found = {name: _evaluated(name, given, request) or _opened(name, given, index, request) for name in names}
    problems = [problem for data in found.values() for problem in data.problems]
    if any(len(data.sequences) == 1 for data in found.values()):
        rows = [row for row in rows if row.control == "none"]  # one sequence has no other one's template
    digests = {name: data.digest for name, data in found.items()}
    roots = {PROTOCOLS[name].data or "": str(data.root) for name, data in found.items() if data.root}
    if not request.must_exist:
        for data in _trained_on(rows):
            if isinstance(data, VideoData):
                check_disjoint(data.all_sets, names)
            try:
                roots |= training_roots(data, given)
            except DataError as error:
                if not request.reads_only:
                    raise
                problems.extend(error.problems)
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
            lengths={name: data.lengths for name, data in found.items()},
        ),
        recomputed=recomputed,
        problems=tuple(dict.fromkeys(problems)),
    )


def _trained_on(rows: list[PlannedRow]) -> list[TrainingData]:
    """What the rows are trained on, each once."""
    found: list[TrainingData] = []
    for run in (planned.run for row in rows for planned in row.runs):
        if run.data is not None and run.data not in found:
            found.append(run.data)
    return found


def training_roots(data: TrainingData, given: Mapping[str, str]) -> dict[str, str]:
    """Where the videos to train on lie, by data set. Raises DataError where they are not there."""
    if not isinstance(data, VideoData):
        return {}
    roots: dict[str, str] = {}
    problems: list[str] = []
    for kind in (TRAINING_SETS[name] for name in data.all_sets):
        try:
            root = data_root(kind.data, given).resolve()
            kind.open(root)
        except DataError as error:
            problems += error.problems
        else:
            roots[kind.data] = str(root)
    raise_all(problems)
    return roots


@dataclass(frozen=True)
class Data:
    """A protocol's sequences by name with their frames, the digest of its data, and where they lie, None where nothing
    lies anywhere. problems: why they are not here.
    """

    sequences: list[str]
    digest: str
    coverage: str
    root: Path | None
    lengths: dict[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def opened(name: str, given: Mapping[str, str], index: Path | None = None, *, frames: bool = True) -> Data:
    """A protocol's data from where they lie, checked, with their frames unless those are not needed; index: where one may
    be kept. Raises UnknownName or DataError.
    """
    data = PROTOCOLS[name].data
    sequences = open_protocol(name, given, index)
    sequences.check() if frames else sequences.check_annotations()
    root = data_root(data, given).resolve() if data else None
    lengths = dict(zip(sequences.names, sequences.lengths(), strict=True))
    return Data(list(sequences.names), sequences.digest(), sequences.coverage, root, lengths)


def _opened(name: str, given: Mapping[str, str], index: Path | None, request: StudyRequest) -> Data:
    """A protocol's data. Where nothing of them is here, a report, which needs no frames, says so, and a plan goes by the
    official list and says what is missing.
    """
    if not request.reads_only:
        return opened(name, given, index)
    try:
        return opened(name, given, index, frames=not request.must_exist)
    except DataError as error:
        if not request.must_exist:
            return _official(name, error)
        if PROTOCOLS[name].data in given:
            raise
        return Data([], "", f"{name}: not here", None)


def _official(name: str, error: DataError) -> Data:
    extent = official_extent(name)
    count, frames = len(extent.lengths), extent.frames
    coverage = f"0 of {count} sequences of {name} here; planned for all, {frames} frames by {extent.source}"
    return Data(list(extent.lengths), "not here", coverage, None, extent.lengths, tuple(error.problems))


def _evaluated(name: str, given: Mapping[str, str], request: StudyRequest) -> Data | None:
    """What the store keeps of a protocol, for reports made where the data are not. None where it was evaluated never, or
    on more than one version of its data, or where the user says where the data lie.
    """
    if not request.must_exist or PROTOCOLS[name].data is None or PROTOCOLS[name].data in given:
        return None
    folders = sorted((request.store / "protocols").glob(f"{name}-*/protocol.json"))
    kept = [record for folder in folders if (record := read_protocol(folder.parent)) and record.name == name]
    if len(kept) != 1:
        return None
    sequences = [facts.name for facts in kept[0].sequences]
    return Data(sequences, kept[0].digest, f"{len(sequences)} sequences in the store", None)
