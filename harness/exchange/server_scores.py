"""What was submitted to an evaluation server, and what it returned, entered by hand: nobody else has the true boxes.

RUN/server/EVALUATION.json
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trackablate.datasets.atomic import write_text
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.harness.errors import BadInput
from trackablate.harness.record import ProtocolRecord, SequenceResult
from trackablate.harness.scoring.metrics import METRICS
from trackablate.harness.scoring.scored import Returned
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import RunFolder, read_document

NOT_SUBMITTED = "not submitted to its evaluation server"
NOTHING = "no scores of its evaluation server yet"
CHANGED = "its boxes are not those any more that were submitted: submit it again"


class _Kept(BaseModel):
    """boxes: digest of those that were submitted; scores: percent by metric, entered: the date, "" where there are none."""

    model_config = ConfigDict(extra="forbid")

    boxes: str
    scores: dict[str, float] = {}
    entered: str = ""


def parse_scores(given: Sequence[str], record: ProtocolRecord) -> dict[str, float]:
    """METRIC=PERCENT, as `returned` takes them, checked. Raises UnknownName for a metric that is none of the protocol's,
    BadInput for what is no percentage: shares of 1, as some servers print, are not taken for percent.
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
            raise BadInput(f"{entry!r}: {name} in percent lies between 0 and 100")
        if name in scores:
            raise BadInput(f"{name} is given twice: give it once")
        scores[name] = percent
    if not scores:
        raise BadInput(f"no scores: give METRIC=PERCENT for any of {', '.join(metrics)}")
    if max(scores.values()) <= 1:
        raise BadInput(f"{' '.join(given)}: these look like shares of 1: give percent, a hundred times as much")
    return scores


def note_submission(folder: RunFolder, evaluation: Evaluation, results: Sequence[SequenceResult]) -> None:
    """Keep which boxes were submitted; scores of the same boxes stay."""
    kept, boxes = read_document(_file(folder, evaluation), _Kept), _digest(results)
    if kept is None or kept.boxes != boxes:
        write_text(_file(folder, evaluation), _Kept(boxes=boxes).model_dump_json(indent=1))


def enter_scores(
    folder: RunFolder, evaluation: Evaluation, results: Sequence[SequenceResult], scores: dict[str, float]
) -> dict[str, float]:
    """Keep what the server returned for the boxes that were submitted, in percent; returns what was there before. Raises
    BadInput where nothing was submitted, or where the boxes are others since.
    """
    file, command = _file(folder, evaluation), f"`python -m harness submit {folder.run.name} ...`"
    kept = read_document(file, _Kept)
    if kept is None:
        raise BadInput(f"the run {folder.run.name} was {NOT_SUBMITTED} from this store: {command} first")
    if kept.boxes != _digest(results):
        raise BadInput(f"the run {folder.run.name}: {CHANGED}, {command}")
    entered = f"{datetime.now(UTC):%Y-%m-%d}"
    write_text(file, _Kept(boxes=kept.boxes, scores=scores, entered=entered).model_dump_json(indent=1))
    return kept.scores


def returned(folder: RunFolder, evaluation: Evaluation, record: ProtocolRecord) -> Returned:
    """What was entered for a run's boxes as they are, or why there is nothing. Raises BadInput for a damaged file."""
    names = [sequence.name for sequence in record.sequences]
    if missing := folder.missing(evaluation, names):
        return Returned(reason=f"{len(names) - len(missing)} of {len(names)} sequences")
    kept = read_document(_file(folder, evaluation), _Kept)
    if kept is None:
        return Returned(reason=NOT_SUBMITTED)
    if not kept.scores:
        return Returned(reason=NOTHING)
    results = [result for name in names if (result := folder.result(evaluation, name))]
    if kept.boxes != _digest(results):
        return Returned(reason=CHANGED)
    return Returned({name: value / METRICS[name].scale for name, value in kept.scores.items()}, kept.entered)


def _digest(results: Sequence[SequenceResult]) -> str:
    """Identity of the boxes, whatever they took."""
    content = [(result.name, result.boxes) for result in sorted(results, key=lambda result: result.name)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _file(folder: RunFolder, evaluation: Evaluation) -> Path:
    return folder.server_file(evaluation)
