"""A stored run's boxes for others: an evaluation server's archive and its answer, and raw result files for toolkits."""

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from trackablate.harness.cli.pieces import find_run
from trackablate.harness.errors import BadInput
from trackablate.harness.exchange.server_scores import enter_scores, note_submission, parse_scores
from trackablate.harness.exchange.submission import SERVERS, Asked, build_submission
from trackablate.harness.exchange.writing import LAYOUTS, Tracked, write_results
from trackablate.harness.record import ProtocolRecord, SequenceResult
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import RunFolder, Store

MEAN_TIMES = "the store knows a sequence's seconds as a whole: each frame is given their mean"


def submit_run(
    run: str, protocol: str, store: Path, out: Path | None, test_layers: int | None = None
) -> dict[str, Any]:
    """Build and check the archive of a run for an evaluation server.

    Args:
        run: Name of the run, or the beginning of its name.
        protocol: "got10k" or "trackingnet".
        store: Folder of the store.
        out: Archive to write; by default submission/PROTOCOL-RUN.zip.
        test_layers: Number of decoder layers that ran; None for all.

    Raises:
        UnknownName: The protocol has no server.
        BadInput: The run was not evaluated on the protocol.
        DataError: The server would refuse the archive; the message has every reason.
    """
    server = SERVERS[protocol]
    folder, evaluation, record, results = _evaluated(run, protocol, store, test_layers)
    asked = {f.name: Asked(f.frames, _in_file(f.boxes[0], record.origin)) for f in record.sequences}
    layers = f"-first{test_layers}" if test_layers else ""
    place = out or Path("submission", f"{protocol}-{folder.run.name}{layers}.zip")
    build_submission(protocol, _tracked(results), place, asked, origin=record.origin)
    note_submission(folder, evaluation, results)
    notes = {"note": MEAN_TIMES} if server.times else {}
    command = f"python -m harness returned {folder.run.name} {' '.join(f'{name}=...' for name, _ in record.metrics)}"
    command += (
        f" --protocol {protocol}{f' --test-layers {test_layers}' if test_layers else ''} --store {quote(str(store))}"
    )
    document = {"run": folder.run.name, "protocol": protocol, "archive": str(place), "sequences": len(results)}
    return document | notes | {"what the server says is kept by": command}


def enter_returned(
    run: str, protocol: str, given: list[str], store: Path, test_layers: int | None = None
) -> dict[str, Any]:
    """Keep the scores that the server returned for a run. Raises as `submit_run` and `parse_scores` do."""
    server = SERVERS[protocol]
    folder, evaluation, record, results = _evaluated(run, protocol, store, test_layers)
    scores = parse_scores(given, record)
    replaced = enter_scores(folder, evaluation, results, scores)
    document = {"run": folder.run.name, "protocol": server.name, "scores": scores}
    return document | ({"instead of": replaced} if replaced else {})


def export_run(
    run: str, protocol: str, layout: str, store: Path, out: Path, *, truncate: bool = False
) -> dict[str, Any]:
    """Write a run's boxes on a protocol as another toolkit's raw result files, in the data set's own pixel numbers.

    Raises as `submit_run` does, and UnknownName for an unknown layout.
    """
    chosen = LAYOUTS[layout]
    folder, _, record, results = _evaluated(run, protocol, store)
    name = folder.run.name
    count = write_results(
        layout, out, name, _tracked(results), dataset=protocol, origin=record.origin, truncate=truncate
    )
    notes = [f"numbers are {'cut to integers' if truncate else 'in full'}; the toolkit's own writer {chosen.official}"]
    notes += [MEAN_TIMES] if chosen.times else []
    return {"run": name, "protocol": protocol, "layout": layout, "for": chosen.reader, "folder": str(out)} | {
        "sequences": count,
        "notes": notes,
    }


def _evaluated(
    run: str, protocol: str, store: Path, test_layers: int | None = None
) -> tuple[RunFolder, Evaluation, ProtocolRecord, list[SequenceResult]]:
    # The run, a protocol that it was evaluated on completely, and its results in the protocol's order.
    kept = Store(store, make=False)
    folder = find_run(kept, run)
    command = f"python -m harness evaluate {folder.run.name} --protocol {protocol}"
    complete, begun = [], False
    for record in kept.protocols(protocol):
        evaluation = Evaluation(protocol=protocol, data=record.digest, test_layers=test_layers)
        found = [folder.result(evaluation, facts.name) for facts in record.sequences]
        results = [result for result in found if result is not None]
        begun = begun or bool(results)
        if len(results) == len(found):
            complete.append((folder, evaluation, record, results))
    if len(complete) > 1:
        raise BadInput(
            f"the run {folder.run.name} was evaluated on {len(complete)} versions of {protocol}: use a new --store"
        )
    if not complete:
        how = "only partly" if begun else "not"
        what = f"with {test_layers} of its decoder's layers " if test_layers else ""
        first = "do that first, by running the study that does" if test_layers else f"do that first, `{command}`"
        raise BadInput(f"the run {folder.run.name} was {how} evaluated {what}on {protocol}: {first}")
    return complete[0]


def _tracked(results: list[SequenceResult]) -> Iterator[Tracked]:
    return ((result.name, result.boxes, result.seconds) for result in results)


def _in_file(box: tuple[float, float, float, float], origin: int) -> tuple[float, float, float, float]:
    x, y, w, h = box
    return x + origin, y + origin, w, h
