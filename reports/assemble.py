"""Gathers a study's rows from the store into what a report is made of. Runs nothing, needs no torch and no data set."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from trackablate.ablations.study import Study
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.exchange.server_scores import returned
from trackablate.harness.protocol_store import ON_SERVER, read_strip
from trackablate.harness.record import PlannedRow, ProtocolRecord, SequenceFacts
from trackablate.harness.scoring.metrics import DIALECTS
from trackablate.harness.scoring.raw_scoring import Scored
from trackablate.harness.scoring.stored_scores import dialects_of, stored_scores
from trackablate.harness.spec import Evaluation, Profile
from trackablate.harness.store import RunFolder, Store, read_protocol
from trackablate.reports.results import (
    CitedRow,
    FilmStrip,
    ProtocolFacts,
    ProtocolResult,
    RowResult,
    ServerResult,
    StudyResult,
)
from trackablate.reports.table import Role
from trackablate.reports.tables.server import has_scores

ROLES: dict[str, Role] = {"variant": "variant", "floor": "floor", "control": "control"}


def assemble(
    study: Study,
    profile: Profile,
    rows: list[PlannedRow],
    digests: Mapping[str, str],
    store: Store,
    command: str,
    recomputed: Mapping[str, Scored] = MappingProxyType({}),
) -> StudyResult:
    """The study as far as the store has it. digests: protocol name to the digest of its data; recomputed: by protocol, raw
    results of cited trackers that the user gave.
    """
    protocols = {name: Evaluation(protocol=name, data=digest) for name, digest in digests.items()}
    kept = {name: read_protocol(store.protocol(evaluation)) for name, evaluation in protocols.items()}
    tracked = {name: record for name, record in kept.items() if record is not None}
    known = {name: record for name, record in tracked.items() if not record.on_server}
    missing = [f"protocol {name}: nothing was evaluated on it yet" for name in digests if name not in tracked]
    served = {name: record for name, record in tracked.items() if record.on_server}
    found = tuple(_row(row, known, served, digests, store) for row in rows)
    silent = [name for name in served if not any(has_scores(row, name) for row in found)]
    missing += [f"protocol {name}: {ON_SERVER.format(name)}" for name in silent]
    facts = {name: _facts(record, store, protocols[name]) for name, record in known.items()}
    facts |= {name: _scored_facts(scored) for name, scored in recomputed.items() if name not in facts}
    return StudyResult(
        study=study,
        profile=profile,
        protocols=tuple(facts[name] for name in digests if name in facts),
        rows=found,
        missing=tuple(missing),
        command=command,
        cited=tuple(_cited(study, recomputed)),
        on_server=tuple(_facts(record, store, protocols[name], strips=False) for name, record in served.items()),
    )


def _cited(study: Study, recomputed: Mapping[str, Scored]) -> Iterator[CitedRow]:
    """The trackers that the study cites, then those that the user adds, with what their raw results score."""
    given = (tracker.name for scored in recomputed.values() for tracker in scored.trackers)
    for name in dict.fromkeys((*study.cited, *given)):
        yield CitedRow(name, {p: found for p, scored in recomputed.items() if (found := _of_tracker(name, scored))})


def _of_tracker(name: str, scored: Scored) -> ProtocolResult | None:
    tracker = next((t for t in scored.trackers if t.name == name), None)
    return None if tracker is None else ProtocolResult(dict(tracker.tallies), expected=len(scored.sequences))


def _scored_facts(scored: Scored) -> ProtocolFacts:
    """A protocol that only raw results were scored on."""
    protocol = PROTOCOLS[scored.protocol]
    return ProtocolFacts(
        name=protocol.name,
        description=protocol.description,
        source=scored.source,
        sequences=len(scored.sequences),
        frames=sum(sequence.frames for sequence in scored.sequences),
        dialects={metric: DIALECTS[dialect].on(protocol.name) for metric, dialect in protocol.metrics},
        one_shot=protocol.one_shot,
        attributes={s.name: tuple(sorted(s.attributes)) for s in scored.sequences},
    )


def _row(
    row: PlannedRow,
    known: Mapping[str, ProtocolRecord],
    served: Mapping[str, ProtocolRecord],
    digests: Mapping[str, str],
    store: Store,
) -> RowResult:
    done = [_Done(planned.protocols, store.run(planned.run), row.test_layers) for planned in row.runs]
    protocols = [name for name in (*known, *served) if any(name in one.protocols for one in done)]
    shown = next((one for one in done if protocols and protocols[0] in one.protocols), done[0])
    first, *others = sorted(done, key=lambda one: one is not shown)  # costs are of the training that is scored here
    return RowResult(
        name=row.name,
        role=ROLES[row.role],
        cells=row.cells,
        description=row.description,
        record=first.record,
        more_records=tuple(one.record for one in others),
        protocols={name: _result(row, done, known[name], digests[name]) for name in protocols if name in known},
        paper_scale=store.paper_scale(row.tracker_at_paper_scale) if row.tracker_at_paper_scale else None,
        baseline=row.baseline,
        on_server={name: _on_server(row, done, served[name], digests[name]) for name in protocols if name in served},
    )


class _Done:
    """One of a row's runs, read once: what it is evaluated on, its folder, and its record."""

    def __init__(self, protocols: tuple[str, ...], folder: RunFolder, test_layers: int | None) -> None:
        self.protocols, self.folder, self.record = protocols, folder, folder.record(test_layers)


def _on_server(row: PlannedRow, done: list[_Done], protocol: ProtocolRecord, digest: str) -> ServerResult:
    evaluation, on = row.evaluation(protocol.name, digest), [one for one in done if protocol.name in one.protocols]
    return ServerResult(
        tuple(returned(one.folder, evaluation, protocol) for one in on), tuple(one.record for one in on)
    )


def _result(row: PlannedRow, done: list[_Done], protocol: ProtocolRecord, digest: str) -> ProtocolResult:
    evaluation, on = row.evaluation(protocol.name, digest), [one for one in done if protocol.name in one.protocols]
    first, *more = (stored_scores(one.folder, evaluation, protocol) for one in on)
    return ProtocolResult(
        tallies={name: scored.tally for name, scored in first.items()},
        expected=len(protocol.sequences),
        boxes={name: np.array(scored.result.boxes) for name, scored in first.items()},
        more_seeds=tuple({name: scored.tally for name, scored in found.items()} for found in more),
        seconds=sum(scored.result.seconds for scored in first.values()) if first else None,
        records=tuple(one.record for one in on),
    )


def _facts(record: ProtocolRecord, store: Store, evaluation: Evaluation, *, strips: bool = True) -> ProtocolFacts:
    return ProtocolFacts(
        name=record.name,
        description=record.description,
        source=record.source,
        sequences=len(record.sequences),
        frames=sum(s.frames for s in record.sequences) if record.on_server else record.frames,
        dialects=dialects_of(record),
        one_shot=record.one_shot,
        attributes={s.name: tuple(s.attributes) for s in record.sequences},
        strips={s.name: _strip(s, store, evaluation) for s in record.sequences} if strips else {},
    )


def _strip(facts: SequenceFacts, store: Store, evaluation: Evaluation) -> FilmStrip:
    return FilmStrip(
        sequence=facts.name,
        frames=tuple(facts.strip),
        jpegs=read_strip(store.protocol(evaluation), facts),
        scale=facts.scale,
        truth=np.array(facts.boxes)[facts.strip],
        path=np.array(facts.boxes),
    )
