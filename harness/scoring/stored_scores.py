"""Stored boxes to scores: a run's results on a protocol, tallied against the annotation that the store keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trackablate.datasets.benchmark import Protocol
from trackablate.datasets.boxes import valid
from trackablate.harness.documents import undamaged
from trackablate.harness.record import ProtocolRecord, RunRecord, SequenceResult
from trackablate.harness.scoring.failure_modes import FailureCounts, failures
from trackablate.harness.scoring.metrics import DIALECTS, Dialect, Tally, tally, treatments
from trackablate.harness.scoring.scored import TrackerScores
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import RunFolder


@dataclass(frozen=True)
class ScoredResult:
    """One tracked sequence, its tally and its failures."""

    result: SequenceResult
    tally: Tally
    failures: FailureCounts


def stored_scores(
    folder: RunFolder, evaluation: Evaluation, protocol: ProtocolRecord, *, truncate: bool = False
) -> dict[str, ScoredResult]:
    """Return what a run has of a protocol, by sequence.

    Sequences that are not tracked yet are left out; so are results of former weights, and damaged ones, with a warning.
    `truncate` cuts boxes to integers first, towards zero, in the pixel numbers of the data set's files, as the writers of
    pytracking and OSTrack do.
    """
    origin = np.array([protocol.origin, protocol.origin, 0, 0])
    needed = treatments(dialects_of(protocol).values())
    scored = {}
    for record in () if folder.of_former_weights(evaluation) else protocol.sequences:
        result = undamaged(folder.result, evaluation, record.name, len(record.boxes))
        if result is not None:
            boxes, truth, visible = np.array(result.boxes), np.array(record.boxes), np.array(record.visible)
            boxes = np.trunc(boxes + origin) - origin if truncate else boxes
            failed = failures(boxes, truth, valid(truth) & visible)
            counts = tally(
                boxes,
                truth,
                visible,
                origin=protocol.origin,
                size=record.size,
                treatments=needed,
                sparse=protocol.sparse,
            )
            scored[record.name] = ScoredResult(result, counts, failed)
    return scored


def scores_of_runs(
    runs: Sequence[tuple[RunFolder, RunRecord]],
    evaluation: Evaluation,
    protocol: ProtocolRecord,
    *,
    truncate: bool = False,
) -> TrackerScores:
    """Return the scores of a tracker's runs, seed by seed."""
    found = [stored_scores(folder, evaluation, protocol, truncate=truncate) for folder, _ in runs]
    first = found[0]
    return TrackerScores(
        sequences=tuple(sorted(record.name for record in protocol.sequences)),
        seeds=tuple({name: one.tally for name, one in seed.items()} for seed in found),
        failures=tuple({name: one.failures for name, one in seed.items()} for seed in found),
        boxes={name: np.array(one.result.boxes) for name, one in first.items()},
        seconds=sum(one.result.seconds for one in first.values()) if first else None,
        records=tuple(record for _, record in runs),
    )


def dialects_of(protocol: ProtocolRecord | Protocol) -> dict[str, Dialect]:
    """Return each metric of a protocol with its dialect."""
    return {metric: DIALECTS[dialect].on(protocol.scored_as or protocol.name) for metric, dialect in protocol.metrics}
