"""What an evaluation server returned for a run's boxes, entered by hand: nobody else has the true boxes.

RUN/server/EVALUATION.json
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from datasets.atomic import write_text
from datasets.registry import UnknownName, unknown
from harness.errors import BadInput
from harness.metrics import METRICS
from harness.protocol_store import ProtocolRecord
from harness.spec import Evaluation
from harness.store import RunFolder, read_document

NOTHING = "no scores of its evaluation server yet"
CHANGED = "its boxes are not those any more that the server's scores were entered for: submit it again"


class _Kept(BaseModel):
    """scores: percent by metric; entered: the date; boxes: digest of the result files at that time."""

    model_config = ConfigDict(extra="forbid")

    scores: dict[str, float]
    entered: str
    boxes: str


@dataclass(frozen=True)
class Returned:
    """scores: shares in 0..1 by metric, empty where there are none, for the reason given."""

    scores: Mapping[str, float] = field(default_factory=dict)
    entered: str = ""
    reason: str = ""


def parse_scores(given: Iterable[str], record: ProtocolRecord) -> dict[str, float]:
    """METRIC=PERCENT, as `returned` takes them, checked. Raises UnknownName for a metric that is none of the protocol's,
    BadInput for what is no percentage: a share of 1, as some servers print, is not taken for 1 %."""
    metrics, scores = [name for name, _ in record.metrics], dict[str, float]()
    for entry in given:
        name, _, text = entry.partition("=")
        if name not in metrics:
            raise UnknownName(unknown(f"metric of {record.name}", name, metrics))
        try:
            percent = float(text)
        except ValueError:
            raise BadInput(f"{entry!r} is not METRIC=PERCENT: write {name}=72.9") from None
        if not 1 < percent <= 100:
            raise BadInput(f"{entry!r}: {name} in percent lies above 1 and at most at 100: a share times 100")
        if name in scores:
            raise BadInput(f"{name} is given twice: give it once")
        scores[name] = percent
    if not scores:
        raise BadInput(f"no scores: give METRIC=PERCENT for any of {', '.join(metrics)}")
    return scores


def enter_scores(folder: RunFolder, evaluation: Evaluation, record: ProtocolRecord, scores: dict[str, float]) -> None:
    """Keep what the server returned for the boxes that are there now; what was entered before is replaced. Raises BadInput
    where a sequence was not tracked."""
    boxes = _digest(folder, evaluation, record)
    if boxes is None:
        raise BadInput(
            f"the run {folder.run.name} was not tracked on all of {record.name}: nothing can have been scored"
        )
    kept = _Kept(scores=scores, entered=f"{datetime.now(UTC):%Y-%m-%d}", boxes=boxes)
    write_text(_file(folder, evaluation), kept.model_dump_json(indent=1))


def returned(folder: RunFolder, evaluation: Evaluation, record: ProtocolRecord) -> Returned:
    """What was entered for a run's boxes as they are. Raises BadInput for a damaged file."""
    kept = read_document(_file(folder, evaluation), _Kept)
    if kept is None:
        return Returned(reason=NOTHING)
    if kept.boxes != _digest(folder, evaluation, record):
        return Returned(reason=CHANGED)
    return Returned({name: value / METRICS[name].scale for name, value in kept.scores.items()}, kept.entered)


def _digest(folder: RunFolder, evaluation: Evaluation, record: ProtocolRecord) -> str | None:
    return folder.results_digest(evaluation, [sequence.name for sequence in record.sequences])


def _file(folder: RunFolder, evaluation: Evaluation) -> Path:
    return folder.path / "server" / f"{evaluation.key}.json"
