"""Gathers a study's rows from the store into what a report is made of. Runs nothing, needs no torch and no data set."""

from collections.abc import Mapping

import numpy as np

from ablations.plan import PlannedRow, evaluation_of
from ablations.study import Study
from harness.metrics import DIALECTS, Dialect, tally, treatments
from harness.protocol_store import ON_SERVER, ProtocolRecord, SequenceFacts, read_protocol, read_strip
from harness.spec import Evaluation, Profile
from harness.store import Store
from reports.results import FilmStrip, ProtocolFacts, ProtocolResult, RowResult, StudyResult
from reports.table import Role

ROLES: dict[str, Role] = {"variant": "variant", "floor": "floor", "control": "control"}


def assemble(
    study: Study, profile: Profile, rows: list[PlannedRow], digests: Mapping[str, str], store: Store, command: str
) -> StudyResult:
    """The study as far as the store has it. digests: protocol name to the digest of its data."""
    protocols = {name: Evaluation(protocol=name, data=digest) for name, digest in digests.items()}
    kept = {name: read_protocol(store.protocol(evaluation)) for name, evaluation in protocols.items()}
    tracked = {name: record for name, record in kept.items() if record is not None}
    known = {name: record for name, record in tracked.items() if not record.on_server}
    missing = [f"protocol {name}: nothing was evaluated on it yet" for name in digests if name not in tracked]
    missing += [f"protocol {name}: {ON_SERVER.format(name)}" for name in tracked if name not in known]
    return StudyResult(
        study=study,
        profile=profile,
        protocols=tuple(_facts(record, store, protocols[name]) for name, record in known.items()),
        rows=tuple(_row(row, known, digests, store) for row in rows),
        missing=tuple(missing),
        command=command,
    )


def _row(row: PlannedRow, known: Mapping[str, ProtocolRecord], digests: Mapping[str, str], store: Store) -> RowResult:
    return RowResult(
        name=row.name,
        role=ROLES[row.role],
        cells=row.cells,
        description=row.description,
        record=store.run(row.run).record(),
        protocols={name: _result(row, record, digests[name], store) for name, record in known.items()},
        paper_scale=store.paper_scale(row.tracker_at_paper_scale) if row.tracker_at_paper_scale else None,
        baseline=row.baseline,
    )


def _result(row: PlannedRow, protocol: ProtocolRecord, digest: str, store: Store) -> ProtocolResult:
    folder, evaluation = store.run(row.run), evaluation_of(row, protocol.name, digest)
    tallies, boxes = {}, {}
    needed = treatments(_dialects(protocol).values())
    for facts in protocol.sequences:
        result = folder.result(evaluation, facts.name)
        if result is not None:
            boxes[facts.name] = np.array(result.boxes)
            tallies[facts.name] = tally(
                boxes[facts.name],
                np.array(facts.boxes),
                np.array(facts.visible),
                origin=protocol.origin,
                size=facts.size,
                treatments=needed,
            )
    return ProtocolResult(tallies=tallies, expected=len(protocol.sequences), boxes=boxes)


def _facts(record: ProtocolRecord, store: Store, evaluation: Evaluation) -> ProtocolFacts:
    return ProtocolFacts(
        name=record.name,
        description=record.description,
        source=record.source,
        sequences=len(record.sequences),
        frames=record.frames,
        dialects=_dialects(record),
        one_shot=record.one_shot,
        attributes={s.name: tuple(s.attributes) for s in record.sequences},
        strips={s.name: _strip(s, store, evaluation) for s in record.sequences},
    )


def _dialects(record: ProtocolRecord) -> dict[str, Dialect]:
    """Each column's metric and the dialect it is in."""
    return {metric: DIALECTS[dialect].on(record.name) for metric, dialect in record.metrics}


def _strip(facts: SequenceFacts, store: Store, evaluation: Evaluation) -> FilmStrip:
    return FilmStrip(
        sequence=facts.name,
        frames=tuple(facts.strip),
        jpegs=read_strip(store.protocol(evaluation), facts),
        scale=facts.scale,
        truth=np.array(facts.boxes)[facts.strip],
    )
