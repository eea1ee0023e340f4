"""Scores of evaluation servers, which alone have the true boxes. Users submit boxes and enter the scores by hand.

The file RUN/server/EVALUATION.json keeps the digest of the submitted boxes, and the scores.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from trackablate.datasets.registry import UnknownName, unknown
from trackablate.harness.documents import read_document, undamaged, write_document
from trackablate.harness.errors import BadInput
from trackablate.harness.record import ProtocolRecord, SequenceResult
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.scoring.scored import Returned
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import RunFolder

NOT_SUBMITTED = "not submitted to its evaluation server"
NOTHING = "no scores of its evaluation server yet"
DAMAGED = "a file is damaged: `run` tracks its sequence again"
CHANGED = "its boxes changed after they were submitted: submit it again"


class _Kept(BaseModel):
    """A submission: the digest of its boxes, the scores in percent by metric, and the date of entering them."""

    model_config = ConfigDict(extra="forbid")

    boxes: str
    scores: dict[str, float] = {}
    entered: str = ""


def parse_scores(given: Sequence[str], record: ProtocolRecord) -> dict[str, float]:
    """Parse METRIC=PERCENT entries into percent by metric.

    Raises:
        BadInput: An entry is not a percentage. Shares of 1, which some servers print, are refused.
        UnknownName: The protocol does not have the metric.
    """
    metrics, scores = [name for name, _ in record.metrics], dict[str, float]()
    for entry in given:
        name, _, text = entry.partition("=")
        if name not in metrics:
            raise UnknownName(unknown(f"metric of {record.name}", name, metrics))
        try:
            percent = float(text)
        except ValueError:
            raise BadInput(f"{entry!r} is not METRIC=PERCENT: write {name}=72.9") from None
        if not 0 <= percent <= 100:
            raise BadInput(f"{entry!r}: {name} in percent must be between 0 and 100")
        if name in scores:
            raise BadInput(f"{name} is given twice: give it once")
        scores[name] = percent
    if not scores:
        raise BadInput(f"no scores: give METRIC=PERCENT for any of {', '.join(metrics)}")
    if max(scores.values()) <= 1:
        raise BadInput(f"{' '.join(given)}: these look like shares of 1: give percent")
    return scores


def note_submission(folder: RunFolder, evaluation: Evaluation, results: Sequence[SequenceResult]) -> None:
    """Record that these boxes were submitted. Scores of the same boxes are kept."""
    kept, boxes = read_document(folder.server_file(evaluation), _Kept), _digest(results)
    if kept is None or kept.boxes != boxes:
        write_document(folder.server_file(evaluation), _Kept(boxes=boxes), indent=1)


def enter_scores(
    folder: RunFolder, evaluation: Evaluation, results: Sequence[SequenceResult], scores: dict[str, float]
) -> dict[str, float]:
    """Keep the server's scores in percent, and return the earlier ones.

    Raises BadInput if nothing was submitted, or if the boxes have changed since.
    """
    file, command = folder.server_file(evaluation), f"`python -m harness submit {folder.run.name} ...`"
    kept = read_document(file, _Kept)
    if kept is None:
        raise BadInput(f"the run {folder.run.name} was {NOT_SUBMITTED} from this store: {command} first")
    if kept.boxes != _digest(results):
        raise BadInput(f"the run {folder.run.name}: {CHANGED}, {command}")
    entered = f"{datetime.now(UTC):%Y-%m-%d}"
    write_document(file, _Kept(boxes=kept.boxes, scores=scores, entered=entered), indent=1)
    return kept.scores


def returned(folder: RunFolder, evaluation: Evaluation, record: ProtocolRecord) -> Returned:
    """Return the scores of a run's present boxes, or why there are none."""
    return undamaged(_returned, folder, evaluation, record) or Returned(reason=DAMAGED)


def _returned(folder: RunFolder, evaluation: Evaluation, record: ProtocolRecord) -> Returned:
    names = [sequence.name for sequence in record.sequences]
    if missing := folder.untracked(evaluation, names):
        return Returned(reason=f"{len(names) - len(missing)} of {len(names)} sequences")
    kept = read_document(folder.server_file(evaluation), _Kept)
    if kept is None:
        return Returned(reason=NOT_SUBMITTED)
    if not kept.scores:
        return Returned(reason=NOTHING)
    results = [result for name in names if (result := folder.result(evaluation, name))]
    if kept.boxes != _digest(results):
        return Returned(reason=CHANGED)
    return Returned({name: value / METRICS[name].scale for name, value in kept.scores.items()}, kept.entered)


def _digest(results: Sequence[SequenceResult]) -> str:
    """Return a hash of the boxes. The seconds of tracking do not count."""
    content = [(result.name, result.boxes) for result in sorted(results, key=lambda result: result.name)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
