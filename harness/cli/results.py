"""A stored run's boxes for others: an evaluation server's archive and its answer, and raw result files for toolkits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from trackablate.datasets.protocols import PROTOCOLS, as_asked
from trackablate.datasets.roots import open_protocol
from trackablate.harness.cli.study_data import find_run, given_data, largest, which_version
from trackablate.harness.errors import BadInput
from trackablate.harness.exchange.server_scores import enter_scores, note_submission, parse_scores
from trackablate.harness.exchange.submission import SERVERS, ExpectedRows, build_submission
from trackablate.harness.exchange.writing import Tracked, write_results
from trackablate.harness.record import ProtocolRecord, SequenceResult
from trackablate.harness.scoring.dialects import known_protocol
from trackablate.harness.scoring.layouts import LAYOUTS
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import RunFolder, Store

MEAN_TIMES = "the store knows a sequence's seconds as a whole: each frame is given their mean"


@dataclass(frozen=True)
class Wanted:
    """The stored evaluation that the user means.

    Attributes:
        run: Name of a run or of a row, or the beginning of a run's name.
        store: Folder of the store.
        test_layers: Number of decoder layers that ran; None for all.
        data: NAME=PATH of the data, which says which version of them is meant; () for the one with the most sequences.
    """

    run: str
    protocol: str
    store: Path
    test_layers: int | None = None
    data: tuple[str, ...] = ()

    @property
    def options(self) -> str:
        """The options that mean the same evaluation."""
        layers = [f"--test-layers {self.test_layers}"] if self.test_layers else []
        data = [f"--data {quote(entry)}" for entry in self.data]
        return " ".join([f"--protocol {self.protocol}", *layers, *data])


@dataclass(frozen=True)
class _Found:
    folder: RunFolder
    evaluation: Evaluation
    record: ProtocolRecord
    results: list[SequenceResult]


def submit_run(wanted: Wanted, out: Path | None, *, truncate: bool = False) -> dict[str, Any]:
    """Build and check the archive of a run for an evaluation server; by default submission/PROTOCOL-RUN.zip.

    Raises:
        UnknownName: The protocol has no server.
        BadInput: The run was not evaluated on the protocol.
        DataError: The server would refuse the archive; the message has every reason.
    """
    server, protocol = SERVERS[wanted.protocol], wanted.protocol
    found = _evaluated(wanted)
    record, run = found.record, found.folder.run.name
    asked = {f.name: ExpectedRows(f.frames, _in_file(f.boxes[0], record.origin)) for f in record.sequences}
    layers = f"-first{wanted.test_layers}" if wanted.test_layers else ""
    place = out or Path("submission", f"{protocol}-{run}{layers}.zip")
    build_submission(protocol, _tracked(found.results), place, asked, origin=record.origin, truncate=truncate)
    note_submission(found.folder, found.evaluation, found.results)
    notes = {"note": MEAN_TIMES} if server.files.times else {}
    notes |= {"numbers": "cut to integers, as pytracking and OSTrack write them"} if truncate else {}
    scores = " ".join(f"{name}=..." for name, _ in record.metrics)
    document = {"run": run, "protocol": protocol, "archive": str(place), "sequences": len(found.results)}
    command = f"python -m harness returned {run} {scores} {wanted.options}"
    return document | notes | {"what the server says is kept by": command}


def enter_returned(wanted: Wanted, given: list[str]) -> dict[str, Any]:
    """Keep the scores that the server returned for a run. Raises as `submit_run` and `parse_scores` do."""
    SERVERS[wanted.protocol]  # raises UnknownName for a protocol without a server
    found = _evaluated(wanted)
    scores = parse_scores(given, found.record)
    replaced = enter_scores(found.folder, found.evaluation, found.results, scores)
    document = {"run": found.folder.run.name, "protocol": wanted.protocol, "scores": scores}
    return document | ({"instead of": replaced} if replaced else {})


def export_run(wanted: Wanted, layout: str, out: Path, *, truncate: bool = False) -> dict[str, Any]:
    """Write a run's boxes on a protocol as another toolkit's raw result files, in the data set's own pixel numbers.

    Raises as `submit_run` does, and UnknownName for an unknown layout.
    """
    wanted = replace(wanted, protocol=known_protocol(wanted.protocol).name)
    chosen, protocol = LAYOUTS[layout], wanted.protocol
    found = _evaluated(wanted)
    name, origin = found.folder.run.name, found.record.origin
    count = write_results(
        layout, out, name, _tracked(found.results), dataset=protocol, origin=origin, truncate=truncate
    )
    notes = [f"numbers are {'cut to integers' if truncate else 'in full'}; the toolkit's own writer {chosen.official}"]
    notes += [MEAN_TIMES] if chosen.shape.times else []
    return {"run": name, "protocol": protocol, "layout": layout, "for": chosen.reader, "folder": str(out)} | {
        "sequences": count,
        "notes": notes,
    }


def _evaluated(wanted: Wanted) -> _Found:
    # The run, the version of the data that is meant, and the run's results on it, in the protocol's order.
    kept, protocol = Store(wanted.store, make=False), wanted.protocol
    folder = find_run(kept, wanted.run, protocol)
    complete: dict[str, _Found] = {}
    begun = False
    for record in kept.protocols(protocol):
        evaluation = Evaluation(protocol=protocol, data=record.digest, test_layers=wanted.test_layers)
        results = [result for facts in record.sequences if (result := folder.result(evaluation, facts.name))]
        begun = begun or bool(results)
        if len(results) == len(record.sequences):
            complete[record.digest] = _Found(folder, evaluation, record, results)
    chosen = _versions(wanted, complete)
    if len(chosen) > 1:
        raise BadInput(which_version(protocol, chosen))
    if not chosen:
        how = "only partly" if begun and not complete else "not"
        what = f"with {wanted.test_layers} of its decoder's layers " if wanted.test_layers else ""
        on = f"{protocol}{' as --data names it' if complete else ''}"
        command = f"`python -m harness evaluate {folder.run.name} --protocol {as_asked(protocol)}`"
        first = "by running the study that does" if wanted.test_layers else command
        raise BadInput(f"the run {folder.run.name} was {how} evaluated {what}on {on}: do that first, {first}")
    return complete[chosen[0].digest]


def _versions(wanted: Wanted, complete: dict[str, _Found]) -> list[ProtocolRecord]:
    """Return the versions of the data that can be meant: the one that --data names, else those with the most sequences."""
    given, data = given_data(wanted.data, [wanted.protocol]), PROTOCOLS[wanted.protocol].data
    if not given and (data or len(complete) < 2):
        return largest([found.record for found in complete.values()])
    digest = open_protocol(wanted.protocol, given).digest()
    return [complete[digest].record] if digest in complete else []


def _tracked(results: list[SequenceResult]) -> Iterator[Tracked]:
    return ((result.name, result.boxes, result.seconds) for result in results)


def _in_file(box: tuple[float, float, float, float], origin: int) -> tuple[float, float, float, float]:
    x, y, w, h = box
    return x + origin, y + origin, w, h
