"""The data of a study: its protocols' sequences, the videos to train on, and raw results of cited trackers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trackablate.datasets.errors import DataError, raise_all
from trackablate.datasets.extents import official_extent
from trackablate.datasets.pairs.training_sets import TRAINING_SETS
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.roots import data_root, open_protocol
from trackablate.harness.cli.terminal import step_bar
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.raw_reading import ScoreRequest
from trackablate.harness.scoring.raw_scoring import score
from trackablate.harness.scoring.result_files import open_results
from trackablate.harness.scoring.scored import Scored
from trackablate.harness.spec import TrainingData, VideoData
from trackablate.harness.store import Store


def training_roots(data: TrainingData, given: Mapping[str, str]) -> dict[str, str]:
    """Return where the videos to train on lie, by data set. Raises DataError if any are not there."""
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
    """The data of a protocol.

    Attributes:
        sequences: Names of the sequences.
        coverage: How many of the official sequences are here, in words.
        root: Folder or archive of the data; None if they are generated, or not here.
        lengths: Number of frames, by sequence.
        problems: Reasons why the data are not here.
    """

    sequences: list[str]
    digest: str
    coverage: str
    root: Path | None
    lengths: dict[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def opened(name: str, given: Mapping[str, str], index: Path | None = None, *, frames: bool = True) -> Data:
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
    return Data(list(sequences.names), sequences.digest(), sequences.coverage, root, lengths)


def data_of(name: str, given: Mapping[str, str], store: Store, *, reads_only: bool, must_exist: bool) -> Data:
    """Return a protocol's data for a study.

    If the data are not here, a report, which needs no frames, takes what the store keeps or says so, and a plan goes by the
    official list. Raises DataError if they are needed, or are not in order.

    Args:
        name: Name of the protocol.
        given: Folder or archive of each data set, as the user gave them.
        store: The study's store, made or not.
        reads_only: Whether nothing is tracked.
        must_exist: Whether only what the store has is reported.
    """
    index = store.index if store.exists else None  # no store is made only to keep an index in it
    if must_exist and (kept := _evaluated(name, given, store)):
        return kept
    if not reads_only:
        return opened(name, given, index)
    try:
        return opened(name, given, index, frames=not must_exist)
    except DataError as error:
        if not must_exist:
            return _official(name, error)
        if PROTOCOLS[name].data in given:
            raise
        return Data([], "", f"{name}: not here", None)


def _official(name: str, error: DataError) -> Data:
    extent = official_extent(name)
    count, frames = len(extent.lengths), extent.frames
    coverage = f"0 of {count} sequences of {name} here; planned for all, {frames} frames by {extent.source}"
    return Data(list(extent.lengths), "not here", coverage, None, extent.lengths, tuple(error.problems))


def _evaluated(name: str, given: Mapping[str, str], store: Store) -> Data | None:
    # None if it was never evaluated, or on more than one version of its data, or if the user says where the data lie.
    if PROTOCOLS[name].data is None or PROTOCOLS[name].data in given:
        return None
    kept = store.protocols(name)
    if len(kept) != 1:
        return None
    return Data(kept[0].names, kept[0].digest, f"{len(kept[0].names)} sequences in the store", None)


def recompute(
    entries: Sequence[str],
    protocols: Sequence[str],
    given: Mapping[str, str],
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
        raise BadInput(f"--results {entry!r}: {protocol!r} is none of the study's protocols ({', '.join(protocols)})")
    return name, protocol, Path(path).expanduser()


def _scored(protocol: str, paths: Mapping[str, Path], given: Mapping[str, str], store: Path) -> Scored:
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
