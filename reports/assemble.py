"""Gathers a study's rows from the store into a result. Runs nothing and needs neither torch nor a data set."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from trackablate.ablations.study import Study
from trackablate.datasets.protocols import PROTOCOLS, official_extent
from trackablate.datasets.registry import UnknownName
from trackablate.harness.exchange.server_scores import returned
from trackablate.harness.protocol_store import ON_SERVER, read_strip
from trackablate.harness.record import PlannedRow, ProtocolRecord, RunRecord, SequenceRecord, StudyRecord
from trackablate.harness.scoring.scored import (
    Scored,
    ScoredProtocol,
    ScoredTracker,
    SequenceInfo,
    TrackerScores,
)
from trackablate.harness.scoring.stored_scores import dialects_of, scores_of_runs
from trackablate.harness.scoring.threshold_counts import annotated
from trackablate.harness.spec import Evaluation
from trackablate.harness.speed import last_measured_together
from trackablate.harness.store import RunFolder, Store, read_protocol
from trackablate.reports.results import FilmStrip, Result, has_returned


def assemble(
    study: Study,
    asked: StudyRecord,
    store: Store,
    recomputed: Mapping[str, Scored] = MappingProxyType({}),
    *,
    truncate: bool = False,
) -> Result:
    """Return the study with everything that the store has of what was asked.

    `recomputed` has the scored raw results of cited trackers by protocol. `truncate` cuts boxes to integers before they are
    scored.
    """
    digests = asked.digests
    kept = {n: read_protocol(store.protocol(Evaluation(protocol=n, data=d))) for n, d in digests.items()}
    known = {name: record for name, record in kept.items() if record is not None}
    timed = [store.run(row.runs[0].run).speeds(row.test_layers) for row in asked.rows]
    together, _ = last_measured_together(timed)
    found = [_row(row, known, digests, store, together, truncate=truncate) for row in asked.rows]
    protocols = {name: _given(scored) for name, scored in recomputed.items()}
    protocols |= {name: _of_record(record, truncate=truncate) for name, record in known.items()}
    missing = [f"protocol {name}: nothing was evaluated on it yet" for name in digests if name not in known]
    missing += [
        f"protocol {name}: {ON_SERVER.format(name)}"
        for name in known
        if protocols[name].on_server and not has_returned(found, name)
    ]
    return Result(
        protocols=tuple(
            sorted((protocols[name] for name in digests if name in protocols), key=lambda one: one.on_server)
        ),
        rows=(*found, *_cited(study, recomputed)),
        command=asked.command,
        study=study,
        profile=asked.profile,
        missing=tuple(missing),
        strips={name: _strips(record, store, digests[name]) for name, record in known.items() if not record.on_server},
    )


def _cited(study: Study, recomputed: Mapping[str, Scored]) -> Iterator[ScoredTracker]:
    """Yield the trackers that the study cites and those that the user adds, with the scores of their raw results."""
    given = [tracker for scored in recomputed.values() for tracker in scored.trackers]
    for name in dict.fromkeys((*study.cited, *(tracker.name for tracker in given))):
        found = {p: one for tracker in given if tracker.name == name for p, one in tracker.protocols.items()}
        in_order = {p: replace(one, sequences=tuple(sorted(one.sequences))) for p, one in found.items()}
        yield ScoredTracker(name, "cited", in_order)


def _given(scored: Scored) -> ScoredProtocol:
    """Return a protocol that only raw results were scored on, with the columns that a study shows."""
    protocol = PROTOCOLS[scored.protocol.name]
    names = [sequence.name for sequence in scored.protocol.sequences]
    return replace(scored.protocol, dialects=dialects_of(protocol), rules=(), coverage=_coverage(protocol.name, names))


def _row(
    row: PlannedRow,
    known: Mapping[str, ProtocolRecord],
    digests: Mapping[str, str],
    store: Store,
    together: Sequence[str],
    *,
    truncate: bool,
) -> ScoredTracker:
    """Return a row with its scores; `together`: the runs beside which its speed shall have been measured."""
    folders = [store.run(planned.run) for planned in row.runs]
    runs = [(folder, folder.record(row.test_layers, together)) for folder in folders]
    on = {
        name: [run for run, planned in zip(runs, row.runs, strict=True) if name in planned.protocols]
        for name in sorted(known, key=lambda name: known[name].on_server)
    }
    on = {name: of for name, of in on.items() if of}
    shown = next(iter(on.values()), runs)[0]  # costs are of the training behind the first protocol
    return ScoredTracker(
        name=row.name,
        role=row.role,
        protocols={name: _scores(row, of, known[name], digests[name], truncate=truncate) for name, of in on.items()},
        cells=row.cells,
        description=row.description,
        records=tuple(record for _, record in sorted(runs, key=lambda run: run is not shown)),
        paper_scale=store.paper_scale(row.tracker_at_paper_scale) if row.tracker_at_paper_scale else None,
        baseline=row.baseline,
    )


def _scores(
    row: PlannedRow, runs: list[tuple[RunFolder, RunRecord]], protocol: ProtocolRecord, digest: str, *, truncate: bool
) -> TrackerScores:
    evaluation = row.evaluation(protocol.name, digest)
    if not protocol.on_server:
        return scores_of_runs(runs, evaluation, protocol, truncate=truncate)
    return TrackerScores(
        sequences=tuple(sorted(sequence.name for sequence in protocol.sequences)),
        records=tuple(record for _, record in runs),
        returned=tuple(returned(folder, evaluation, protocol) for folder, _ in runs),
    )


def _of_record(record: ProtocolRecord, *, truncate: bool) -> ScoredProtocol:
    return ScoredProtocol(
        name=record.name,
        title=record.title,
        description=record.description,
        source=record.source,
        sequences=tuple(SequenceInfo(s.name, _frames(s, record), frozenset(s.attributes)) for s in record.sequences),
        coverage=_coverage(record.name, [sequence.name for sequence in record.sequences]),
        dialects=dialects_of(record),
        attributes=PROTOCOLS[record.name].attributes if record.name in PROTOCOLS else record.attributes,
        one_shot=record.one_shot,
        on_server=record.on_server,
        truncated=truncate and not record.on_server,
    )


def _coverage(protocol: str, names: Sequence[str]) -> str:
    """Return how many of the official sequences there are; "" if all are, or if nobody lists them."""
    try:
        official = official_extent(protocol).lengths
    except (UnknownName, ValueError):
        return ""
    present = sum(name in official for name in names)
    return f"{present} of {len(official)} sequences" if present < len(official) else ""


def _frames(sequence: SequenceRecord, record: ProtocolRecord) -> int:
    """Return the number of frames of a sequence that are scored."""
    if record.sparse:
        return int(annotated(np.array(sequence.boxes)).sum())
    return sequence.frames if record.on_server else len(sequence.boxes)


def _strips(record: ProtocolRecord, store: Store, digest: str) -> dict[str, FilmStrip]:
    folder, found = store.protocol(Evaluation(protocol=record.name, data=digest)), {}
    for one in record.sequences:
        boxes, jpegs = np.array(one.boxes), read_strip(folder, one)
        if not jpegs:
            continue
        found[one.name] = FilmStrip(one.name, tuple(one.strip), jpegs, one.scale, boxes[one.strip], boxes)
    return found
