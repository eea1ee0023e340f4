"""Where runs live on disk. The store answers one question: what is missing?

    STORE/store.json                        format of the store
    STORE/runs/NAME/spec.json               what was asked (NAME: RunSpec.name)
    STORE/runs/NAME/lock                    held by the one process that works on the run
    STORE/runs/NAME/checkpoint.pt           while training
    STORE/runs/NAME/weights.safetensors     what training left, and training.json its record
    STORE/runs/NAME/evaluations/KEY/*.json  one file per tracked sequence
    STORE/runs/NAME/server/KEY.json         submitted to an evaluation server, returned by it (harness.server_scores)
    STORE/runs/NAME/speed.json, failure.json, progress.json
    STORE/counted/FINGERPRINT.json          sizes counted on the meta device
    STORE/calibration/*.json                measured steps of a device (harness.calibration)
    STORE/estimates/*.json                  what each start of a study predicted, and what came of it (harness.ledger)
    STORE/protocols/KEY/                    thumbnails and annotations that reports show

Every file is written atomically; nothing is changed in place. Imports no torch.
"""

import json
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from trackablate.datasets.atomic import write_text
from trackablate.harness.errors import BadInput
from trackablate.harness.record import Failure, PaperScale, RunRecord, SequenceResult, Speed, TrainingRecord
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.trackers.spec import TrackerSpec, fingerprint

FORMAT = 2

M = TypeVar("M", bound=BaseModel)


class PhaseProgress(BaseModel):
    """What a working process says of itself, for whoever watches."""

    phase: str
    done: int
    total: int


class RunFolder:
    """One run in the store."""

    def __init__(self, path: Path, run: RunSpec) -> None:
        self.path, self.run = path, run
        self.checkpoint = path / "checkpoint.pt"
        self.weights = path / "weights.safetensors"

    def lock(self) -> FileLock:
        """The run's lock: whoever holds it is the only one to work on the run; it goes with its process."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / "lock")

    def clean(self) -> None:
        """Remove what killed processes left behind. Only for whoever holds the lock."""
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        if self.training() is not None:
            self.checkpoint.unlink(missing_ok=True)

    def claim(self) -> None:
        """Write down what was asked."""
        write_text(self.path / "spec.json", self.run.model_dump_json(indent=1))

    def training(self) -> TrainingRecord | None:
        """The record of the finished training, None while there is none."""
        return read_document(self.path / "training.json", TrainingRecord) if self.weights.exists() else None

    def finish_training(self, record: TrainingRecord) -> None:
        """Book the training as done; weights must be there. The checkpoint has served."""
        write_text(self.path / "training.json", record.model_dump_json())
        self.checkpoint.unlink(missing_ok=True)

    def result(self, evaluation: Evaluation, sequence: str) -> SequenceResult | None:
        """What was tracked on one sequence, None where it is missing."""
        return read_document(self._result(evaluation, sequence), SequenceResult)

    def add_result(self, evaluation: Evaluation, result: SequenceResult) -> None:
        """Write one sequence's boxes."""
        write_text(self._result(evaluation, result.name), result.model_dump_json())

    def missing(self, evaluation: Evaluation, sequences: Iterable[str]) -> list[str]:
        """The sequences without a result, in the given order."""
        return [name for name in sequences if not self._result(evaluation, name).exists()]

    def speed(self, test_layers: int | None = None) -> Speed | None:
        """The measured tracking speed, with so many of the decoder's layers."""
        return read_document(self._speed(test_layers), Speed)

    def set_speed(self, speed: Speed, test_layers: int | None = None) -> None:
        """Write the measured tracking speed."""
        write_text(self._speed(test_layers), speed.model_dump_json())

    def failure(self) -> Failure | None:
        """Why the last attempt failed, None where it did not."""
        return read_document(self.path / "failure.json", Failure)

    def set_failure(self, failure: Failure | None) -> None:
        """Write down, or clear, why the run failed."""
        if failure is None:
            (self.path / "failure.json").unlink(missing_ok=True)
        else:
            write_text(self.path / "failure.json", failure.model_dump_json())

    def progress(self) -> PhaseProgress | None:
        """What the process at work says of itself."""
        return read_document(self.path / "progress.json", PhaseProgress)

    def set_progress(self, progress: PhaseProgress) -> None:
        """Say how far the work is."""
        write_text(self.path / "progress.json", progress.model_dump_json())

    def record(self, test_layers: int | None = None) -> RunRecord:
        """All that is known of the run; its speed is that with so many of the decoder's layers."""
        speed = self.speed(test_layers)
        return RunRecord(asked=self.run, training=self.training(), speed=speed, failure=self.failure())

    def _speed(self, test_layers: int | None) -> Path:
        return self.path / ("speed.json" if test_layers is None else f"speed-first{test_layers}.json")

    def _result(self, evaluation: Evaluation, sequence: str) -> Path:
        if Path(sequence).name != sequence:
            raise BadInput(f"sequence name {sequence!r} is no file name: rename the sequence's folder")
        return self.path / "evaluations" / _key(evaluation) / f"{sequence}.json"


@lru_cache(maxsize=1024)
def _key(evaluation: Evaluation) -> str:
    """The evaluation's key, hashed once and not again for every sequence."""
    return evaluation.key


class Store:
    """A folder of runs. Opening makes it, unless `make` is False; raises BadInput for a store of another format or a place
    that is no store.
    """

    def __init__(self, root: Path, *, make: bool = True) -> None:
        self.root = root.expanduser().resolve()
        marker = self.root / "store.json"
        others = self._others()  # before looking for the marker: another process may be making this store now
        if marker.exists():
            self._check(marker)
        elif make:
            self._create(marker, others)

    def run(self, run: RunSpec) -> RunFolder:
        """The folder of a run, whether or not anything is in it yet."""
        return RunFolder(self.root / "runs" / run.name, run)

    def paper_scale(self, tracker: TrackerSpec) -> PaperScale | None:
        """The counted size of a tracker, None where it was not counted yet. What was counted into `paper-scale`, as the
        folder was called once, stands, but for the activations, in which weights were counted once per pair.
        """
        if found := read_document(self._paper_scale(tracker), PaperScale):
            return found
        before = read_document(self.root / "paper-scale" / self._paper_scale(tracker).name, PaperScale)
        return before.model_copy(update={"activation_bytes": None}) if before else None

    def set_paper_scale(self, tracker: TrackerSpec, size: PaperScale) -> None:
        """Keep the counted size of a tracker."""
        write_text(self._paper_scale(tracker), size.model_dump_json())

    def protocol(self, evaluation: Evaluation) -> Path:
        """The folder for what reports show of a protocol's sequences."""
        return self.root / "protocols" / f"{evaluation.protocol}-{evaluation.data[:12]}"

    def free_bytes(self) -> int:
        """Free space on the store's disk."""
        place = next(p for p in (self.root, *self.root.parents) if p.exists())
        return shutil.disk_usage(place).free

    def _paper_scale(self, tracker: TrackerSpec) -> Path:
        return self.root / "counted" / f"{fingerprint(tracker)}.json"

    def _check(self, marker: Path) -> None:
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{marker} is damaged ({error}): name another --store") from error
        if found != FORMAT:
            raise BadInput(
                f"the store {self.root} has format {found}, this version of trackablate reads and writes format {FORMAT}:"
                " use the version that wrote it, or name another --store"
            )

    def _others(self) -> list[Path]:
        """What lies in the folder, but for a marker that is being written."""
        if self.root.exists() and not self.root.is_dir():
            raise BadInput(f"--store {self.root} is a file: name a folder")
        found = list(self.root.iterdir()) if self.root.exists() else []
        return [path for path in found if not path.name.startswith(".store.json.")]

    def _create(self, marker: Path, others: list[Path]) -> None:
        if others:
            raise BadInput(f"--store {self.root} is neither empty nor a store: name another folder")
        try:
            write_text(marker, json.dumps({"format": FORMAT}))
        except OSError as error:
            raise BadInput(f"cannot write the store {self.root}: {error}") from error


def read_document(path: Path, model: type[M]) -> M | None:
    """The document in a file, None where there is no file. Raises BadInput, naming file and remedy, for a damaged one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise BadInput(
            f"{path} cannot be read: {error.error_count()} faults, the first is: {first}; where it is damaged or of another "
            "version, delete it"
        ) from error
