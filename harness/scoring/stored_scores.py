"""What stored boxes score: a run's results on a protocol, tallied against the annotation that the store keeps."""

from dataclasses import dataclass

import numpy as np

from trackablate.harness.record import ProtocolRecord, SequenceResult
from trackablate.harness.scoring.metrics import DIALECTS, Dialect, Tally, tally, treatments
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import RunFolder


@dataclass(frozen=True)
class ScoredResult:
    """One tracked sequence and its tally."""

    result: SequenceResult
    tally: Tally


def stored_scores(folder: RunFolder, evaluation: Evaluation, protocol: ProtocolRecord) -> dict[str, ScoredResult]:
    """What the run has of the protocol, by sequence; a sequence that was not tracked yet is left out. Raises BadInput for
    a damaged file.
    """
    needed = treatments(dialects_of(protocol).values())
    found = [(facts, folder.result(evaluation, facts.name)) for facts in protocol.sequences]
    return {
        facts.name: ScoredResult(
            result,
            tally(
                np.array(result.boxes),
                np.array(facts.boxes),
                np.array(facts.visible),
                origin=protocol.origin,
                size=facts.size,
                treatments=needed,
            ),
        )
        for facts, result in found
        if result is not None
    }


def dialects_of(protocol: ProtocolRecord) -> dict[str, Dialect]:
    """Each metric of a protocol and the dialect that it is in."""
    return {metric: DIALECTS[dialect].on(protocol.name) for metric, dialect in protocol.metrics}
