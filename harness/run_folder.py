"""One run's folder in the store: what it holds, what it lacks, and what is done."""

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from trackablate.datasets.atomic import write_text
from trackablate.harness.errors import BadInput
from trackablate.harness.record import Failure, PhaseProgress, RunRecord, SequenceResult, Speed, TrainingRecord
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.trackers.spec import FloorSpec, leaves

EVALUATION = "evaluation.json"
"""The document in an evaluation's folder that says which evaluation it is."""

M = TypeVar("M", bound=BaseModel)


def read_document(path: Path, model: type[M]) -> M | None:
    """Return the document in a file, None if there is no file. Raises BadInput, with the remedy, for a damaged one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise BadInput(f"{path} {_unreadable(error)}") from error


def _unreadable(error: ValidationError) -> str:
    first = error.errors()[0]
    kind = first["input"].get("kind") if isinstance(first["input"], dict) else None
    if "--plugin" in first["msg"] and isinstance(kind, str):
        return f"has the head {kind!r} of a plugin: name the plugin's file with --plugin FILE"
    if first["type"] == "json_invalid":
        return "is damaged: restore it from a copy, or move it away"
    place = ".".join(map(str, first["loc"]))
    return f"is of another version ({place}: {first['msg']}): use the version of trackablate that wrote it"


class Lacking(NamedTuple):
    """What one run lacks.

    Attributes:
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
        """Write down the specification of the run. Raises BadInput if the folder holds a run of another one."""
        self._refuse_another()
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
        """Return what the run lacks of evaluations on the named sequences. Raises BadInput for another specification."""
        self._refuse_another()
        left = {evaluation: tuple(self.missing(evaluation, names)) for evaluation, names in evaluations.items()}
        return Lacking(
            training=not self.trained,
            sequences={evaluation: names for evaluation, names in left.items() if names},
            speed=tuple(n for n in timed_layers(self.run, evaluations) if self.speed(n) is None),
        )

    def evaluations(self) -> list[Evaluation]:
        """Return the evaluations that the run has results of. Raises BadInput for a folder that cannot be read."""
        found = []
        for folder in sorted(self.path.glob("evaluations/*")):
            if any(folder.glob("[!.]*.json")):  # others were killed at their start
                if (evaluation := read_document(folder / EVALUATION, Evaluation)) is None:
                    remedy = "move it away, and its sequences are tracked again"
                    raise BadInput(f"{folder} does not say which evaluation it holds: {remedy}")
                found.append(evaluation)
        return found

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

    def set_aside(self, evaluation: Evaluation, sequences: Iterable[str]) -> Path:
        """Move the results of some sequences into a folder of their own, and return it. Only the lock's holder may do so."""
        aside = self._evaluation(evaluation) / "former" / time.strftime("%Y%m%d-%H%M%S")
        aside.mkdir(parents=True, exist_ok=True)
        for file in (self._result(evaluation, name) for name in sequences):
            if file.exists():
                file.replace(aside / file.name)
        return aside

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
        """Return all that is known of the run, with its speed at so many layers. Raises BadInput for another run."""
        self._refuse_another()
        speed = self.speed(test_layers)
        return RunRecord(asked=self.run, training=self.training(), speed=speed, failure=self.failure())

    def server_file(self, evaluation: Evaluation) -> Path:
        """Return the file for what was submitted to an evaluation server and what it returned."""
        return self.path / "server" / f"{_key(evaluation)}.json"

    def _refuse_another(self) -> None:
        # The name is a hash of what differs from the defaults: when a default changes, it means another run.
        stored = read_document(self.path / "spec.json", RunSpec)
        if stored is None or stored.model_dump(mode="json") == self.run.model_dump(mode="json"):
            return
        before, now = leaves(stored), leaves(self.run)
        changed = [f"{name} = {before.get(name)}, now {now.get(name)}" for name in now if before.get(name) != now[name]]
        raise BadInput(
            f"{self.path} is a run with {', '.join(changed)}: a default has changed. Raise the `revision` of that"
            " specification (a plugin's head: give it a field `revision: int = 1`), or set the default back"
        )

    def _speed(self, test_layers: int | None) -> Path:
        return self.path / ("speed.json" if test_layers is None else f"speed-first{test_layers}.json")

    def evaluation_folder(self, evaluation: Evaluation) -> Path:
        """Return the folder of an evaluation's results."""
        return self._evaluation(evaluation)

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
    return tuple(dict.fromkeys(e.test_layers for e in evaluations) or (None,)) if run.seed == 0 else ()


@lru_cache(maxsize=1024)
def _key(evaluation: Evaluation) -> str:
    # Hashed once, not again for every sequence.
    return evaluation.key
