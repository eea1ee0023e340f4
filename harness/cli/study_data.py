"""What a command is given: data of protocols, videos to train on, raw results of cited trackers, and runs by name."""

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trackablate.datasets.errors import DataError, counted, raise_all, shown
from trackablate.datasets.pairs.packed import Packing, read_folder
from trackablate.datasets.pairs.training_sets import TRAINING_SETS
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS, SequenceList, as_asked, official_extent
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.roots import data_root, open_protocol, packed_name, parse_data_options, training_root
from trackablate.harness.cli.options import writable
from trackablate.harness.errors import BadInput
from trackablate.harness.progress.bars import step_bar
from trackablate.harness.record import ProtocolRecord
from trackablate.harness.scoring.raw_reading import ScoreRequest
from trackablate.harness.scoring.raw_scoring import score
from trackablate.harness.scoring.result_files import open_results
from trackablate.harness.scoring.scored import Scored
from trackablate.harness.spec import RunSpec, TrainingData, VideoData
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.floors import FLOORS
from trackablate.trackers.outside.named import outside_tracker
from trackablate.trackers.spec import FloorSpec, OutsideSpec, TrackerSpec

Given = Mapping[str, str]
"""Folder or archive of each data set that --data names."""


def given_data(options: Iterable[str], protocols: Iterable[str], trained_on: Iterable[TrainingData] = ()) -> Given:
    """Return the folder or archive of each data set that --data names.

    Raises:
        DataError: An option is not NAME=PATH, or a name is no data set.
        BadInput: Neither the protocols nor the training read the data set.
    """
    given = parse_data_options(options)
    sets = [name for data in trained_on if isinstance(data, VideoData) for name in data.all_sets]
    used = {PROTOCOLS[name].data for name in protocols} | {TRAINING_SETS[name].data for name in sets}
    used |= {packed_name(TRAINING_SETS[name].data) for name in sets}
    for name in (name for name in given if name not in used):
        if name not in DATA_SETS:
            raise BadInput(
                f"--data {given[name]} holds packed training sets, which are not trained on here: leave it out"
            )
        ways = " or ".join(f"--protocol {as_asked(protocol.name)}" for protocol in DATA_SETS[name].protocols)
        raise BadInput(f"--data {name} is not used: {f'add {ways}' if ways else 'train on it'}, or leave it out")
    return given


def open_store(root: Path, *, make: bool = True) -> Store:
    """Open a store, and say on standard error which it is. Raises BadInput if it cannot be made or written to.

    Args:
        root: Its folder.
        make: Whether it is written to, and made if it is not there.
    """
    store = Store(root, make=False)
    state = "" if store.exists else " (new)" if make else " (not there yet)"
    if make:
        writable(root, "--store")
        store = Store(root)
    sys.stderr.write(f"store: {store.root}{state}\n")
    return store


def training_roots(data: TrainingData, given: Given) -> dict[str, str]:
    """Return where the videos to train on lie, by data set. Raises DataError if any are not there."""
    roots, lacking = roots_to_train_on(data, given)
    raise_all(for_uses(lacking))
    return roots


def roots_to_train_on(data: TrainingData, given: Given) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return where the videos to train on lie, by data set; and each reason why some are not there, with their uses."""
    roots: dict[str, str] = {}
    lacking: dict[str, list[str]] = {}
    if not isinstance(data, VideoData):
        return roots, lacking
    for kind in (TRAINING_SETS[name] for name in data.all_sets):
        try:
            name, found = training_root(kind.data, given)
            kind.found_in(root := found.resolve())
        except DataError as error:
            use = f"to {'train' if kind.name in data.sets else 'validate during training'} on {kind.name}"
            for problem in error.problems:
                lacking.setdefault(problem, []).append(use)
        else:
            roots[name] = str(root)
    return roots, lacking


def for_uses(lacking: Mapping[str, list[str]]) -> list[str]:
    """Return a message for each reason why data are not here, which begins with what they are needed for."""
    return [f"{', '.join(dict.fromkeys(uses))}: {problem}" for problem, uses in lacking.items()]


def packings(runs: Iterable[RunSpec], given: Given) -> dict[str, str]:
    """Return the packing of each training set that is read as packed crops. Data that are not found have none.

    Raises:
        BadInput: It was packed for another recipe; the message has the remedy.
        DataError: The folder is damaged, or of another version.
    """
    found: dict[str, str] = {}
    for run in runs:
        sets = [TRAINING_SETS[name] for name in run.data.all_sets] if isinstance(run.data, VideoData) else []
        for kind in sets:
            try:
                name, root = training_root(kind.data, given)
            except DataError:
                continue  # `training_roots` says so, if anything is trained
            if name == kind.data:
                continue
            assert isinstance(run.tracker, TrackerSpec)
            assert run.recipe is not None
            packing = read_folder(root).packing
            if lacking := packing.lacking(Packing.of(run.tracker.crop, run.recipe)):
                raise BadInput(
                    f"{shown(root)} was packed for another recipe than that of {run.slug} ({', '.join(lacking)}): pack it"
                    f" for this one with `data pack {kind.data}=PATH --for VARIANT --profile PROFILE`, the tracker and the"
                    " profile of this run, or name the data set itself"
                )
            found[kind.name] = packing.words
    return found


@dataclass(frozen=True)
class StudyData:
    """The data of a protocol.

    Attributes:
        sequences: Names of the sequences.
        coverage: How many of the official sequences are here, in words.
        root: Folder or archive of the data; None if they are generated, or not here.
        lengths: Number of frames, by sequence.
        problems: Reasons why the data are not here.
        sequence_list: The sequences, if they are here with their frames.
    """

    sequences: list[str]
    digest: str
    coverage: str
    root: Path | None
    lengths: dict[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    sequence_list: SequenceList | None = None


def opened(name: str, given: Given, index: Path | None = None, *, frames: bool = True) -> StudyData:
    """Return a protocol's data, checked. Raises UnknownName or DataError.

    Args:
        name: Name of the protocol.
        given: Folder or archive of each data set, as the user gave them.
        index: Folder that may keep an index of the data.
        frames: Whether the frames are needed too.
    """
    data = PROTOCOLS[name].data
    sequences = open_protocol(name, given, index)
    if frames:
        with step_bar(f"checking {name}", len(sequences), after=1.0) as bar:
            sequences.check(progress=lambda done, _total: bar(done))
    else:
        sequences.check_annotations()
    root = data_root(data, given).resolve() if data else None
    lengths = dict(zip(sequences.names, sequences.lengths(), strict=True))
    return StudyData(
        sequences=list(sequences.names),
        digest=sequences.digest(),
        coverage=sequences.coverage,
        root=root,
        lengths=lengths,
        sequence_list=sequences if frames else None,
    )


def planned_data(name: str, given: Given, index: Path | None) -> StudyData:
    """Return a protocol's data to track; those of its official list, with the problems, if they are not in order here."""
    try:
        return opened(name, given, index)
    except DataError as error:
        try:
            extent = official_extent(name)
        except ValueError:  # a data set that the user declares has no published length
            raise error from None
        count, frames = len(extent.lengths), extent.frames
        coverage = f"0 of {count} sequences of {name} here; planned for all, {frames} frames by {extent.source}"
        return StudyData(list(extent.lengths), "not here", coverage, None, extent.lengths, tuple(error.problems))


def reported_data(name: str, given: Given, store: Store, runs: Iterable[RunSpec], asked: str = "") -> StudyData:
    """Return a protocol's data for a report, which needs no frames.

    It takes what `--data` names, else the version that the store has results of, else what is configured, if anything is.

    Args:
        name: Name of the protocol.
        given: Folder or archive of each data set, as the user gave them.
        store: The study's store.
        runs: The study's runs.
        asked: Digest of the version that the study was last started with; it decides between equally large ones.
    """
    data = PROTOCOLS[name].data
    if data and data not in given:
        kept = store.protocols(name)
        if len(kept) > 1:  # another study may have been evaluated on another version
            seen = {e.data for run in runs for e in store.run(run).evaluations() if e.protocol == name}
            kept = largest([record for record in kept if record.digest in seen])
            kept = [record for record in kept if record.digest == asked] or kept
        if len(kept) > 1:
            raise BadInput(which_version(name, kept))
        if kept:
            return StudyData(
                kept[0].names, kept[0].digest, f"{counted(len(kept[0].names), 'sequence')} in the store", None
            )
    try:
        return opened(name, given, store.index if store.exists else None, frames=False)
    except DataError:
        if data in given:
            raise
        return StudyData([], "", f"{name}: not here", None)


def largest(versions: Sequence[ProtocolRecord]) -> list[ProtocolRecord]:
    """Return the versions of a protocol's data with the most sequences: the whole benchmark, if any is whole."""
    most = max((len(record.sequences) for record in versions), default=0)
    return [record for record in versions if len(record.sequences) == most]


def which_version(name: str, versions: Sequence[ProtocolRecord]) -> str:
    """Return the message for versions that only the user can choose from."""
    return (
        f"the store has results on {len(versions)} versions of the data of {name}, each of {len(versions[0].sequences)}"
        f" sequences: choose one with --data {PROTOCOLS[name].data or name}=PATH"
    )


def recompute(
    entries: Sequence[str],
    protocols: Sequence[str],
    given: Given,
    store: Path,
    taken: Collection[str] = (),
) -> dict[str, Scored]:
    """Score raw results of trackers that a study only cites by our own rules; return the scores by protocol.

    Args:
        entries: NAME=PATH, or NAME@PROTOCOL=PATH if the study has several protocols.
        protocols: Names of the study's protocols.
        given: Folder or archive of each data set.
        store: Folder of the store.
        taken: Names of the study's own rows.

    Raises:
        BadInput: An entry has another form, a name is taken or given twice for one protocol, or results have faults.
        DataError: The annotation or the results cannot be read.
    """
    named: dict[str, dict[str, Path]] = {}
    for entry in entries:
        name, protocol, path = _parsed(entry, protocols)
        if name in taken:
            raise BadInput(f"--results {name}: a row of the study has that name, and is run, not cited: choose another")
        if name in named.setdefault(protocol, {}):
            raise BadInput(f"--results names {name!r} twice for {protocol}: keep one of them")
        named[protocol][name] = path
    return {protocol: _scored(protocol, of, given, store) for protocol, of in named.items()}


def _parsed(entry: str, protocols: Sequence[str]) -> tuple[str, str, Path]:
    left, _, path = entry.partition("=")
    name, _, protocol = left.partition("@")
    if not name or not path:
        raise BadInput(f"--results {entry!r} is not NAME=PATH; write for example --results ATOM=atom.zip")
    if not protocol and len(protocols) != 1:
        raise BadInput(
            f"--results {entry!r}: the study has several protocols ({', '.join(protocols)}); write NAME@PROTOCOL=PATH, or"
            " choose one with --protocol"
        )
    protocol = protocol or protocols[0]
    if protocol not in protocols:
        raise BadInput(f"--results {entry!r}: {unknown('protocol of the study', protocol, protocols)}")
    return name, protocol, Path(path).expanduser()


def _scored(protocol: str, paths: Mapping[str, Path], given: Given, store: Path) -> Scored:
    known = PROTOCOLS[protocol]
    root = data_root(known.data, given) if known.data else None
    sequences = known.open(root)
    request = ScoreRequest(
        protocol=protocol,
        annotations=root,
        results=tuple(open_results(name, path, sequences.names, repetition=None) for name, path in paths.items()),
        dialects=tuple(dict.fromkeys(dialect for _, dialect in known.metrics)),
        command="",
        store=store if (store / "store.json").exists() else None,
        with_failures=True,
    )
    scored = score(request, sequences)
    if faulty := scored.incomplete:
        problems = "; ".join(scored.problems[:5])
        raise BadInput(f"--results {', '.join(faulty)}: not every sequence is whole: {problems}")
    return scored


def asked_run(store: Store, name: str, protocol: str = "") -> RunSpec:
    """Return the run that a name means: a floor, an outside tracker (see `outside_tracker`), or one in the store."""
    untrained = FloorSpec.model_validate({"kind": name}) if name in FLOORS else outside_tracker(name)
    if untrained:
        return RunSpec(tracker=untrained)
    return find_run(store, name, protocol).run


def in_words(store: Store, run: RunSpec) -> str:
    """Return what a run is: the rows that it serves with study and profile, its seed, and its name."""
    if isinstance(run.tracker, OutsideSpec):
        return f"{run.tracker.name}, a tracker from elsewhere"
    rows = [
        f"{row.name} of {record.study} at profile {record.profile.name}"
        for record in store.studies()
        for row in record.rows
        if row.control == "none" and any(planned.run == run for planned in row.runs)
    ]
    others = rows[1] if len(rows) == 2 else f"{len(rows) - 1} other rows"
    also = f" (the same run as {others})" if len(rows) > 1 else ""
    what = f"{rows[0]}{also}" if rows else "imported weights" if run.imported else "a run of no stored study"
    return f"{what}, seed {run.seed}: {run.name}"


def named_run(text: str) -> tuple[str, str]:
    """Return name and run of `[NAME=]RUN`; the name is "" if there is none."""
    name, named, meant = text.partition("=")
    # Otherwise the sign belongs to a tracker's argument.
    return (name, meant) if named and re.fullmatch(r"[\w .+-]+", name) else ("", text)


def find_run(store: Store, name: str, protocol: str = "") -> RunFolder:
    """Return the stored run of that name or unique beginning, or the run of a study's row of that name.

    Args:
        store: The store.
        name: Name of a run or of a row, or the beginning of a run's name. Of a row's runs it means the first seed's.
        protocol: The protocol that a row's run has to serve, "" for its first one.

    Raises:
        UnknownName: No run, or more than one, has that name; the message has the nearest ones.
        BadInput: The store holds no run at all, or the row means several runs.
    """
    folders = {folder.path.name: folder for folder in store.runs()}
    if not folders:
        raise BadInput(f"{shown(store.root)} holds no run: `python -m harness run STUDY` or `train VARIANT` makes some")
    if name in folders:
        return folders[name]
    imported = {folder.run.slug: folder for folder in folders.values() if folder.run.imported}
    if name in imported:
        return imported[name]
    rows = _rows(store, protocol)
    if name in rows:
        of_row = {run: place for run, place in rows[name].items() if run in folders}
        if not of_row:
            raise BadInput(f"the row {name} of {', '.join(rows[name].values())} has no run yet: run the study first")
        if len(of_row) > 1:
            each = "; ".join(f"{run} ({place})" for run, place in of_row.items())
            raise BadInput(f"{name} is a row of several studies or sizes: name one of its runs, {each}")
        return folders[next(iter(of_row))]
    fitting = [n for n in folders if n.startswith(name)]
    if len(fitting) != 1:
        several = f"; {', '.join(fitting)} begin so" if fitting else ""
        raise UnknownName(unknown("run in the store", name, [*imported, *folders, *rows]) + several)
    return folders[fitting[0]]


def _rows(store: Store, protocol: str) -> dict[str, dict[str, str]]:
    """Return, for each row of the store's studies, the name of its run and where it is a row."""
    found: dict[str, dict[str, str]] = {}
    for record in store.studies():
        place = f"{record.study} at {record.profile.name}"
        for row in record.rows:
            serving = [planned for planned in row.runs if protocol in planned.protocols]
            runs = [planned.run.name for planned in serving or row.runs]
            # A control, and a row that runs some of its decoder's layers, are no runs of their own.
            if row.control == "none" and row.test_layers is None:
                found.setdefault(row.name, {}).setdefault(runs[0], place)
    return found
