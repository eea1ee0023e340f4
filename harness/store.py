"""Where runs live on disk. Only this module knows the paths, and only it decides what is done and what is missing.

    STORE/store.json                        format of the store
    STORE/runs/NAME/spec.json               what was asked (NAME: RunSpec.name)
    STORE/runs/NAME/lock                    held by the one process that works on the run
    STORE/runs/NAME/checkpoint.pt           while training
    STORE/runs/NAME/weights.safetensors     result of the training, with training.json as its record
    STORE/runs/NAME/evaluations/KEY/        evaluation.json says which evaluation; one more file per tracked sequence
    STORE/runs/NAME/server/KEY.json         submitted to an evaluation server, returned by it (harness.exchange)
    STORE/runs/NAME/speed.json, failure.json, progress.json
    STORE/studies/STUDY/PROFILE.json        what each study was asked to be when it was last started
    STORE/protocols/KEY/                    protocol.json with annotations, and thumbnails
    STORE/counted/FINGERPRINT.json          sizes counted on the meta device
    STORE/calibration/, forecasts/          measured steps of devices, and forecasts (harness.planning)
    STORE/index/, logs/                     indices of data sets, and what workers wrote on standard error

Every file is written atomically; no file is changed in place. Imports no torch.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from trackablate.datasets.atomic import write_text
from trackablate.harness.errors import BadInput
from trackablate.harness.record import (
    Failure,
    PaperScale,
    PhaseProgress,
    ProtocolRecord,
    RunRecord,
    SequenceResult,
    SizeRecord,
    Speed,
    StudyRecord,
    TrainingRecord,
)
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.trackers.spec import FloorSpec, TrackerSpec, fingerprint

FORMAT = 3
MIGRATED = 2  # the format that `python -m harness store migrate` brings up to date
EVALUATION, PROTOCOL = "evaluation.json", "protocol.json"
"""The documents that say which evaluation or protocol a folder belongs to."""
NOT_ASKED = "nothing is written down of it"
"""Why a run folder without spec.json cannot be read: a process has just begun it, or was killed before it wrote anything."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Lacking:
    """What one run lacks.

    Attributes:
        training: Whether it has to be trained.
        sequences: Names of the sequences that have to be tracked, by evaluation; evaluations that lack nothing are left out.
        speed: Numbers of decoder layers (None: all) for which its speed has to be measured.
    """

    training: bool
    sequences: Mapping[Evaluation, tuple[str, ...]]
    speed: tuple[int | None, ...]

    @property
    def scores(self) -> bool:
        """Whether scores are missing: the run is not trained, or a sequence is not tracked."""
        return self.training or bool(self.sequences)

    @property
    def nothing(self) -> bool:
        """Whether the run is done."""
        return not (self.scores or self.speed)


@dataclass(frozen=True)
class Unreadable:
    """A run folder that cannot be read, and why."""

    name: str
    reason: str


class RunFolder:
    """One run in the store."""

    def __init__(self, path: Path, run: RunSpec) -> None:
        self.path, self.run = path, run
        self.checkpoint = path / "checkpoint.pt"
        self.weights = path / "weights.safetensors"

    def lock(self) -> FileLock:
        """Return the run's lock. Only its holder works on the run; the lock goes with its process."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / "lock")

    def clean(self) -> None:
        """Remove what killed processes left behind. Only the lock's holder may call this."""
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        if self.training() is not None:
            self.checkpoint.unlink(missing_ok=True)

    def claim(self) -> None:
        """Write what was asked."""
        write_text(self.path / "spec.json", self.run.model_dump_json(indent=1))

    @property
    def trained(self) -> bool:
        """Whether the run can track: it is trained, or a floor, which needs no training."""
        return isinstance(self.run.tracker, FloorSpec) or self.training() is not None

    def training(self) -> TrainingRecord | None:
        """Return the record of the finished training, None while it is not finished."""
        return read_document(self.path / "training.json", TrainingRecord) if self.weights.exists() else None

    def finish_training(self, record: TrainingRecord) -> None:
        """Write the record of the training, whose weights must be there, and remove the checkpoint."""
        write_text(self.path / "training.json", record.model_dump_json())
        self.checkpoint.unlink(missing_ok=True)

    def lacking(self, evaluations: Mapping[Evaluation, Iterable[str]]) -> Lacking:
        """Return what the run lacks.

        Args:
            evaluations: Names of the protocol's sequences, by evaluation.
        """
        left = {evaluation: tuple(self.missing(evaluation, names)) for evaluation, names in evaluations.items()}
        return Lacking(
            training=not self.trained,
            sequences={evaluation: names for evaluation, names in left.items() if names},
            speed=tuple(n for n in timed_layers(self.run, evaluations) if self.speed(n) is None),
        )

    def evaluations(self) -> list[Evaluation]:
        """Return the evaluations that the run has results of. Raises BadInput for a folder that cannot be read."""
        return [_evaluation_of(folder) for folder in sorted(self.path.glob("evaluations/*"))]

    def result(self, evaluation: Evaluation, sequence: str) -> SequenceResult | None:
        """Return the boxes of one sequence, None while it is not tracked."""
        return read_document(self._result(evaluation, sequence), SequenceResult)

    def results(self, evaluation: Evaluation) -> Iterator[SequenceResult]:
        """Yield every stored result of an evaluation, by name."""
        for file in sorted(self._evaluation(evaluation).glob("[!.]*.json")):
            if file.name != EVALUATION and (found := read_document(file, SequenceResult)):
                yield found

    def add_result(self, evaluation: Evaluation, result: SequenceResult) -> None:
        """Write the boxes of one sequence; the first one also writes which evaluation this is."""
        file = self._result(evaluation, result.name)
        if not (about := file.with_name(EVALUATION)).exists():
            write_text(about, evaluation.model_dump_json(indent=1))
        write_text(file, result.model_dump_json())

    def missing(self, evaluation: Evaluation, sequences: Iterable[str]) -> list[str]:
        """Return the sequences without a result, in the given order."""
        return [name for name in sequences if not self._result(evaluation, name).exists()]

    def speed(self, test_layers: int | None = None) -> Speed | None:
        """Return the tracking speed with so many decoder layers, None while it is not measured."""
        return read_document(self._speed(test_layers), Speed)

    def set_speed(self, speed: Speed, test_layers: int | None = None) -> None:
        """Write the measured tracking speed."""
        write_text(self._speed(test_layers), speed.model_dump_json())

    def failure(self) -> Failure | None:
        """Return why the last attempt failed, None if it did not."""
        return read_document(self.path / "failure.json", Failure)

    def set_failure(self, failure: Failure | None) -> None:
        """Write why the run failed, or remove that."""
        if failure is None:
            (self.path / "failure.json").unlink(missing_ok=True)
        else:
            write_text(self.path / "failure.json", failure.model_dump_json())

    def progress(self) -> PhaseProgress | None:
        """Return how far the work is, as the process that last worked on the run said."""
        return read_document(self.path / "progress.json", PhaseProgress)

    def set_progress(self, progress: PhaseProgress) -> None:
        """Write how far the work is."""
        write_text(self.path / "progress.json", progress.model_dump_json())

    def record(self, test_layers: int | None = None) -> RunRecord:
        """Return all that is known of the run; its speed is the one with so many decoder layers."""
        speed = self.speed(test_layers)
        return RunRecord(asked=self.run, training=self.training(), speed=speed, failure=self.failure())

    def server_file(self, evaluation: Evaluation) -> Path:
        """Return the file for what was submitted to an evaluation server and what it returned."""
        return self.path / "server" / f"{_key(evaluation)}.json"

    def _speed(self, test_layers: int | None) -> Path:
        return self.path / ("speed.json" if test_layers is None else f"speed-first{test_layers}.json")

    def _evaluation(self, evaluation: Evaluation) -> Path:
        return self.path / "evaluations" / _key(evaluation)

    def _result(self, evaluation: Evaluation, sequence: str) -> Path:
        file = f"{sequence}.json"
        if Path(sequence).name != sequence or file == EVALUATION:
            raise BadInput(f"sequence name {sequence!r} is no file name: rename the sequence's folder")
        return self._evaluation(evaluation) / file


def timed_layers(run: RunSpec, evaluations: Iterable[Evaluation]) -> tuple[int | None, ...]:
    """Return the numbers of decoder layers (None: all) with which a run's speed is measured.

    These are the numbers that its evaluations use. Only the first seed is measured: the weights of others compute as fast.
    """
    return (
        tuple(dict.fromkeys(evaluation.test_layers for evaluation in evaluations) or (None,)) if run.seed == 0 else ()
    )


@lru_cache(maxsize=1024)
def _key(evaluation: Evaluation) -> str:
    # Hashed once, not again for every sequence.
    return evaluation.key


def _evaluation_of(folder: Path) -> Evaluation:
    found = read_document(folder / EVALUATION, Evaluation)
    if found is None:
        raise BadInput(
            f"{folder} does not say which evaluation it holds: delete it, and its sequences are tracked again"
        )
    return found


class Store:
    """A folder of runs.

    Opening makes it, unless `make` is False. Raises BadInput for a store of another format than `accept`, or a place that is
    no store.
    """

    def __init__(self, root: Path, *, make: bool = True, accept: int = FORMAT) -> None:
        self.root = root.expanduser().resolve()
        self.logs, self.index = self.root / "logs", self.root / "index"
        self.calibration, self.forecasts = self.root / "calibration", self.root / "forecasts"
        self._marker = self.root / "store.json"
        others = self._others()  # before looking for the marker: another process may be making this store now
        if self.exists:
            self._check(accept)
        elif make:
            self._create(others)

    @property
    def exists(self) -> bool:
        """Whether the store has been made."""
        return self._marker.exists()

    def run(self, run: RunSpec) -> RunFolder:
        """Return the folder of a run, whether or not it exists."""
        return RunFolder(self.root / "runs" / run.name, run)

    def runs(self) -> Iterator[RunFolder]:
        """Yield the runs whose specification can be read, by name; a warning is logged for each other one."""
        for found in self.folders():
            if isinstance(found, RunFolder):
                yield found
            elif found.reason != NOT_ASKED:
                logging.getLogger(__name__).warning("left out: %s", found.reason)

    def folders(self) -> Iterator[RunFolder | Unreadable]:
        """Yield every run folder by name, also those that cannot be read, with the reason."""
        for path in sorted(path for path in (self.root / "runs").glob("*") if path.is_dir()):
            try:
                run = read_document(path / "spec.json", RunSpec)
            except BadInput as error:
                yield Unreadable(path.name, str(error))
            else:
                yield RunFolder(path, run) if run else Unreadable(path.name, NOT_ASKED)

    def studies(self) -> list[StudyRecord]:
        """Return what each study was asked to be when it was last started. Raises BadInput for a damaged document."""
        files = sorted((self.root / "studies").glob("*/[!.]*.json"))
        return [record for file in files if (record := read_document(file, StudyRecord))]

    def study(self, name: str, profile: str) -> StudyRecord | None:
        """Return the record of a study at a profile's size, None if it was never started."""
        return read_document(self._study(name, profile), StudyRecord)

    def set_study(self, record: StudyRecord) -> None:
        """Write the record of a study, unless the store has it already."""
        before, text = self.study(record.study, record.profile.name), record.model_dump_json(indent=1)
        if before is None or before.model_dump_json(indent=1) != text:  # as text, since a tracker's name is not stored
            write_text(self._study(record.study, record.profile.name), text)

    def paper_scale(self, tracker: TrackerSpec) -> PaperScale | None:
        """Return the counted size of a tracker, None while it is not counted."""
        found = read_document(self._counted(tracker), SizeRecord)
        return found.size if found else None

    def set_paper_scale(self, tracker: TrackerSpec, size: PaperScale) -> None:
        """Write the counted size of a tracker."""
        write_text(self._counted(tracker), SizeRecord(tracker=tracker, size=size).model_dump_json(indent=1))

    def protocol(self, evaluation: Evaluation) -> Path:
        """Return the folder for what reports show of a protocol's sequences."""
        return self.root / "protocols" / f"{evaluation.protocol}-{evaluation.data[:12]}"

    def knows_protocol(self, evaluation: Evaluation) -> bool:
        """Whether the store has the record of an evaluation's protocol."""
        return (self.protocol(evaluation) / PROTOCOL).exists()

    def protocols(self, name: str = "") -> list[ProtocolRecord]:
        """Return the protocols that anything was evaluated on, by name and digest. Raises BadInput for a damaged record.

        Args:
            name: Only the versions of the data of the protocol with this name.
        """
        folders = sorted((self.root / "protocols").glob(f"{name}-*" if name else "*"))
        records = [record for folder in folders if (record := read_protocol(folder)) is not None]
        return [record for record in records if name in ("", record.name)]

    def free_bytes(self) -> int:
        """Return the free space on the store's disk."""
        place = next(p for p in (self.root, *self.root.parents) if p.exists())
        return shutil.disk_usage(place).free

    def _study(self, name: str, profile: str) -> Path:
        plain = (re.sub(r"[^\w.-]", "_", part) for part in (name, profile))
        folder, file = plain
        return self.root / "studies" / folder / f"{file}.json"

    def _counted(self, tracker: TrackerSpec) -> Path:
        return self.root / "counted" / f"{fingerprint(tracker)}.json"

    def _check(self, accept: int) -> None:
        found = stored_format(self._marker)
        if found == accept:
            return
        if found == MIGRATED:
            raise BadInput(
                f"the store {self.root} has format {found}, this version of trackablate reads and writes format {FORMAT}:"
                f" `python -m harness store migrate {self.root}` brings it up to date"
            )
        raise BadInput(
            f"the store {self.root} has format {found}, this version of trackablate reads and writes format {FORMAT}:"
            " use the version that wrote it, or name another --store"
        )

    def _others(self) -> list[Path]:
        # All that lies in the folder, but for a marker that is being written.
        if self.root.exists() and not self.root.is_dir():
            raise BadInput(f"--store {self.root} is a file: name a folder")
        found = list(self.root.iterdir()) if self.root.exists() else []
        return [path for path in found if not path.name.startswith(".store.json.")]

    def _create(self, others: Sequence[Path]) -> None:
        if others:
            raise BadInput(f"--store {self.root} is neither empty nor a store: name another folder")
        try:
            write_text(self._marker, json.dumps({"format": FORMAT}))
        except OSError as error:
            raise BadInput(f"cannot write the store {self.root}: {error}") from error


def stored_format(marker: Path) -> int:
    """Return the format that a store's marker names. Raises BadInput for a damaged marker."""
    try:
        found: int = json.loads(marker.read_text(encoding="utf-8"))["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{marker} is damaged ({error}): name another --store") from error
    return found


def read_protocol(folder: Path) -> ProtocolRecord | None:
    """Return the record in a protocol's folder, None if nothing was evaluated on it. Raises BadInput for a damaged one."""
    return read_document(folder / PROTOCOL, ProtocolRecord)


def read_document(path: Path, model: type[M]) -> M | None:
    """Return the document in a file, None if there is no file. Raises BadInput, with the remedy, for a damaged one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise BadInput(
            f"{path} cannot be read: {error.error_count()} faults, the first is: {first}; if it is damaged or of another "
            "version, delete it"
        ) from error
