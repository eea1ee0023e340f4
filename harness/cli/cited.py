"""Raw results of trackers that a study only cites, scored by our own rules: `--results NAME=PATH`."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.roots import data_root
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.raw_reading import ScoreRequest
from trackablate.harness.scoring.raw_scoring import score
from trackablate.harness.scoring.result_files import open_results
from trackablate.harness.scoring.scored import Scored


def recompute(
    entries: Sequence[str],
    protocols: Sequence[str],
    given: Mapping[str, str],
    store: Path,
    taken: Collection[str] = (),
) -> dict[str, Scored]:
    """Return the scores of the results that are given for each protocol, by protocol.

    Args:
        entries: NAME=PATH, or NAME@PROTOCOL=PATH if the study has several protocols.
        taken: Names of the study's own rows.

    Raises:
        BadInput: An entry is neither, its name is taken or given twice for one protocol, or results have faults, all of
            which are named.
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
