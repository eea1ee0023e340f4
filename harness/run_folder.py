"""One run's folder in the store: what it holds, what it lacks, and what is done."""

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from trackablate.datasets.atomic import read_ordinary, refuse_lost, whole_archive, write_bytes, write_text
from trackablate.datasets.changes import DataState
from trackablate.datasets.errors import unsafe
from trackablate.datasets.lease import Lease, held
from trackablate.harness.documents import damaged, is_whole, read_document, readable, undamaged, write_document
from trackablate.harness.errors import BadInput
from trackablate.harness.record import Failure, PhaseProgress, RunRecord, SequenceResult, TrainingBegan, TrainingRecord
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.speed import Speed
from trackablate.trackers.spec import TrackerSpec, leaves

EVALUATION = "evaluation.json"
"""The document in an evaluation's folder that says which evaluation it is."""
BEFORE = "checkpoint-before.pt"
"""The checkpoint before the last one."""
MADE_WITH = "weights.sha256"
"""The file in an evaluation's folder that has the digest of the weights which its results were made with."""
MOST_BYTES = 100
"""Of such a file."""
BEGAN = "training-began"
"""The document in a run's folder that says what the data were when the training began."""
DIVERGED = "diverged.pt"
"""The batch at which the loss of a training was not finite, beside its checkpoint."""


class Missing(NamedTuple):
    """What the store lacks of one run.

    Attributes:
        training: Whether it has to be trained.
        sequences: Names of the sequences that have to be tracked, by evaluation; evaluations that lack nothing are left out.
        speed: Numbers of decoder layers (None: all) for which its speed has to be measured.
    """

    training: bool
    sequences: Mapping[Evaluation, tuple[str, ...]]
    speed: tuple[int | None, ...]

    @property
    def untracked(self) -> int:
        """Number of sequences that have to be tracked, over all evaluations."""
        return sum(map(len, self.sequences.values()))

    @property
    def scores(self) -> bool:
        """Whether the run has to be trained or tracked: speed is measured when that is done."""
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

    def lock(self) -> Lease:
        """Return the run's lock. Only its holder works on the run; the lock goes with its process."""
        return Lease(self.path)

    def clean(self) -> None:
        """Remove what killed processes left behind. Only the lock's holder may call this."""
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        if self.training() is not None:
            forget_checkpoints(self.checkpoint)

    def mend(self, evaluations: Iterable[Evaluation]) -> list[Path]:
        """Move aside what is damaged and can be made again, and return it: results of sequences, speeds, failure, progress.

        Only the lock's holder may call this.
        """
        for evaluation in evaluations:
            about = self.evaluation_folder(evaluation) / EVALUATION
            if about.parent.is_dir() and not is_whole(about):
                write_document(about, evaluation, indent=1)
        single = [*self.path.glob("speed*.json"), self.path / "failure.json", self.path / "progress.json"]
        bad = [file for file in single if file.exists() and not is_whole(file)]
        bad += [file for file in self.path.glob("evaluations/*/[!.]*.json") if not holds_its_sequence(file)]
        for file in bad:
            file.replace(file.with_name(f"{file.name}.damaged"))
        return bad

    def claim(self) -> None:
        """Write down the specification of the run. Raises BadInput if the folder holds a run of another one."""
        self._refuse_another()
        write_document(self.path / "spec.json", self.run, indent=1)

    @property
    def trained(self) -> bool:
        """Whether the run can track: it is trained, or a floor or outside tracker, which needs no training here."""
        return not isinstance(self.run.tracker, TrackerSpec) or self.training() is not None

    def training(self) -> TrainingRecord | None:
        """Return the record of the finished training, None while it is not finished, or if its weights are gone."""
        return self.past_training() if self.weights.exists() else None

    def past_training(self) -> TrainingRecord | None:
        """Return the record of the finished training, also if its weights are gone since."""
        return read_document(self.path / "training.json", TrainingRecord)

    def fault_of_weights(self) -> str:
        """Return what is wrong with the weights that a training or an import has made, "" if nothing is or none are made."""
        file = self.path / "training.json"
        record = readable(read_document, file, TrainingRecord)
        if not self.weights.exists():
            return "is gone" if file.exists() or self.run.imported else ""
        if record is None:
            return "has no whole record" if file.exists() or self.run.imported else ""
        if not self.weights.is_file():  # reading a pipe would never end
            return "is no ordinary file"
        with self.weights.open("rb") as opened:
            whole = file_digest(opened, "sha256").hexdigest() == record.weights_digest
        return "" if whole else "is damaged (its SHA-256 is not the one that was recorded)"

    @property
    def remedy_of_weights(self) -> str:
        """What the user can do if the weights are gone or damaged."""
        if imported := self.run.imported:
            return f"import the file with SHA-256 {imported.sha256} again, as {imported.name}"
        if not self.weights.exists():
            return "restore it from a copy, or let `run` train the run again"
        return "restore it from a copy, or move it away to train the run again"

    def refuse_lost_import(self) -> None:
        """Raise BadInput if the run is an import whose weights are gone or damaged: no training makes them again."""
        if self.run.imported and (fault := self.fault_of_weights()):
            raise BadInput(f"{self.weights} {fault}: {self.remedy_of_weights}")

    def training_began(self, sets: Iterable[str]) -> dict[str, DataState] | None:
        """Return what the training sets were when the training began; None if it begins now, without a checkpoint."""
        file = self.path / BEGAN
        if not (self.checkpoint.exists() or older(self.checkpoint).exists()):
            file.unlink(missing_ok=True)
        if file.exists() and not file.stat().st_size:  # of an older version, which had the time alone
            return {name: DataState(since=file.stat().st_mtime) for name in sets}
        began = undamaged(read_document, file, TrainingBegan)
        return began.sets if began else None

    def begin_training(self, sets: dict[str, DataState]) -> None:
        """Write what the sets of a new training are."""
        write_document(self.path / BEGAN, TrainingBegan(sets=sets))

    def replace_weights(self, content: bytes) -> None:
        """Write the weights that a training has made, which goes on from its checkpoint until their record is written."""
        (self.path / "training.json").unlink(missing_ok=True)  # with the record of former ones they would seem damaged
        write_bytes(self.weights, content)

    def finish_training(self, record: TrainingRecord) -> None:
        """Write the record of the training, whose weights must be there, and remove the checkpoints."""
        write_document(self.path / "training.json", record)
        forget_checkpoints(self.checkpoint)

    def missing(self, evaluations: Mapping[Evaluation, Iterable[str]], *, compiled: bool = False) -> Missing:
        """Return what is missing of evaluations on the named sequences. Raises BadInput for another specification.

        A damaged record of the training counts as missing: the worker that is given the run says so. Weights that are gone
        are missing if there is anything left to do with them. A `compiled` speed is not that of a network as it is written.
        """
        undamaged(self._refuse_another)
        left = {evaluation: tuple(self.untracked(evaluation, names)) for evaluation, names in evaluations.items()}
        sequences = {evaluation: names for evaluation, names in left.items() if names}
        speeds = {n: self.speed(n) for n in timed_layers(self.run, evaluations)}
        speed = tuple(n for n, one in speeds.items() if one is None or (compiled and one.forward == "eager"))
        used = self.training if sequences or speed or not left else self.past_training
        trains = isinstance(self.run.tracker, TrackerSpec) and undamaged(used) is None
        return Missing(training=trains, sequences=sequences, speed=speed)

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

    def result(self, evaluation: Evaluation, sequence: str, frames: int | None = None) -> SequenceResult | None:
        """Return the boxes of one sequence, of so many frames if that is known, None while it is not tracked.

        Raises Damaged for a file that was changed, or is of another sequence.
        """
        file = self._result(evaluation, sequence)
        found = read_document(file, SequenceResult)
        if found is not None and found.name != sequence:
            raise damaged(file, f"it is the result of {found.name!r}")
        if found is not None and frames not in (None, len(found.boxes)):
            raise damaged(file, f"it has {len(found.boxes)} boxes for {frames} frames")
        return found

    def results(self, evaluation: Evaluation) -> Iterator[SequenceResult]:
        """Yield every stored result of an evaluation, by name."""
        for file in sorted(self.evaluation_folder(evaluation).glob("[!.]*.json")):
            if file.name != EVALUATION and (found := read_document(file, SequenceResult)):
                yield found

    def add_result(self, evaluation: Evaluation, result: SequenceResult) -> None:
        """Write the boxes of one sequence; the first one also writes which evaluation this is."""
        file = self._result(evaluation, result.name)
        if not (about := file.with_name(EVALUATION)).exists():
            if record := undamaged(self.past_training):
                write_text(file.with_name(MADE_WITH), record.weights_digest)
            write_document(about, evaluation, indent=1)
        write_document(file, result)

    def untracked(self, evaluation: Evaluation, sequences: Iterable[str]) -> list[str]:
        """Return the sequences without a result of the present weights, in the given order."""
        former = self.of_former_weights(evaluation)
        return [name for name in sequences if former or not self._result(evaluation, name).exists()]

    def of_former_weights(self, evaluation: Evaluation, digest: str = "") -> bool:
        """Return whether the results are known to be of other weights than those of this SHA-256, or than the recorded ones.

        Results of older versions do not say it, and count as those of the weights that are there.
        """
        try:
            content = read_ordinary(self.evaluation_folder(evaluation) / MADE_WITH, MOST_BYTES)
            made_with = content.decode(errors="replace").strip()
        except FileNotFoundError:
            return False
        except OSError:  # no ordinary file
            made_with = ""
        if not digest and (record := undamaged(self.past_training)):
            digest = record.weights_digest
        return bool(digest) and made_with != digest  # also if the file is damaged

    def set_former_aside(self, digest: str = "") -> None:
        """Move all results of other weights into folders of their own. Only the lock's holder may do so."""
        for evaluation in (e for e in self.evaluations() if self.of_former_weights(e, digest)):
            aside = self.set_aside(evaluation, [result.name for result in self.results(evaluation)])
            for name in (EVALUATION, MADE_WITH):
                if (file := self.evaluation_folder(evaluation) / name).exists():
                    file.replace(aside / name)

    def set_aside(self, evaluation: Evaluation, sequences: Iterable[str]) -> Path:
        """Move the results of some sequences into a folder of their own, and return it. Only the lock's holder may do so."""
        aside = self.evaluation_folder(evaluation) / "former" / time.strftime("%Y%m%d-%H%M%S")
        aside.mkdir(parents=True, exist_ok=True)
        for file in (self._result(evaluation, name) for name in sequences):
            if file.exists():
                file.replace(aside / file.name)
        return aside

    def unfinished(self, evaluation: Evaluation) -> Path:
        """Return the file that is there from the begin of an `evaluate --again` until all is tracked."""
        return self.evaluation_folder(evaluation) / "former" / "unfinished"

    def speed(self, test_layers: int | None = None) -> Speed | None:
        """Return the tracking speed with so many decoder layers, None while it is not measured."""
        return undamaged(read_document, self._speed(test_layers), Speed)

    def speeds(self, test_layers: int | None = None) -> list[Speed]:
        """Return the tracking speeds that were measured beside each set of runs, the last one first."""
        last = self._speed(test_layers)
        files = [last, *sorted(self.path.glob(f"{last.stem}-beside-*.json"))]
        return [speed for file in files if (speed := undamaged(read_document, file, Speed))]

    def set_speed(self, speed: Speed, test_layers: int | None = None) -> None:
        """Write the measured tracking speed. One that was measured beside other runs is kept, for their table."""
        file, before = self._speed(test_layers), self.speed(test_layers)
        if before and before.measured_with != speed.measured_with:
            write_document(file.with_stem(f"{file.stem}-beside-{before.session}"), before)
        write_document(file, speed)
        file.with_stem(f"{file.stem}-beside-{speed.session}").unlink(missing_ok=True)

    def failure(self) -> Failure | None:
        """Return why the last attempt failed, None if it did not."""
        return undamaged(read_document, self.path / "failure.json", Failure)

    def set_failure(self, failure: Failure | None) -> None:
        """Write why the run failed, or remove that."""
        if failure is None:
            (self.path / "failure.json").unlink(missing_ok=True)
        else:
            write_document(self.path / "failure.json", failure)

    def progress(self) -> PhaseProgress | None:
        """Return how far the work is, as the process that last worked on the run said."""
        return undamaged(read_document, self.path / "progress.json", PhaseProgress)

    def held(self) -> bool:
        """Return whether a process holds the run's lock now; True if nobody can tell, as for a machine that is away."""
        return held(self.path)

    def silent(self) -> float:
        """Return the seconds since the process that works on the run gave its last sign of life."""
        file = self.path / "progress.json"
        return max(0.0, time.time() - file.stat().st_mtime) if file.exists() else math.inf

    def set_progress(self, progress: PhaseProgress) -> None:
        """Write how far the work is."""
        write_document(self.path / "progress.json", progress)

    def record(self, test_layers: int | None = None, beside: Sequence[str] = ()) -> RunRecord:
        """Return all that is known of the run, with its speed beside the named runs, else the last. Raises BadInput."""
        undamaged(self._refuse_another)
        training, speeds = undamaged(self.past_training), self.speeds(test_layers)
        speed = next((one for one in speeds if one.measured_with == list(beside)), next(iter(speeds), None))
        return RunRecord(asked=self.run, training=training, speed=speed, failure=self.failure())

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
        return self.path / "evaluations" / _key(evaluation)

    def _result(self, evaluation: Evaluation, sequence: str) -> Path:
        file = f"{sequence}.json"
        if Path(sequence).name != sequence or file == EVALUATION or unsafe(sequence):
            raise BadInput(f"sequence name {sequence!r} is no file name: rename the sequence's folder")
        return self.evaluation_folder(evaluation) / file


def older(checkpoint: Path) -> Path:
    """Return the file of the checkpoint before the newest one, to which a training goes back if that one is damaged."""
    return checkpoint.with_name(BEFORE)


def keep_older(checkpoint: Path) -> None:
    """Keep the checkpoint as the older one, since a new one is written now; a damaged one replaces no whole one."""
    refuse_lost(checkpoint)
    if whole_archive(checkpoint):
        link = checkpoint.with_name(f".{checkpoint.name}.link.tmp")
        link.unlink(missing_ok=True)
        try:
            link.hardlink_to(checkpoint)
        except OSError:  # a file system without links
            checkpoint.replace(older(checkpoint))
        else:
            link.replace(older(checkpoint))


def forget_checkpoints(checkpoint: Path) -> None:
    """Remove the checkpoints of a training that has ended."""
    for file in (checkpoint, older(checkpoint), checkpoint.with_name(DIVERGED), checkpoint.with_name(BEGAN)):
        file.unlink(missing_ok=True)


def timed_layers(run: RunSpec, evaluations: Iterable[Evaluation]) -> tuple[int | None, ...]:
    """Return the numbers of decoder layers (None: all) with which a run's speed is measured.

    These are the numbers that its evaluations use. Only the first seed is measured: the weights of others compute as fast.
    """
    return tuple(dict.fromkeys(e.test_layers for e in evaluations) or (None,)) if run.seed == 0 else ()


@lru_cache(maxsize=1024)
def _key(evaluation: Evaluation) -> str:
    # Hashed once, not again for every sequence.
    return evaluation.key


def holds_its_sequence(file: Path) -> bool:
    """Return whether a file of an evaluation's folder is whole, and the result of the sequence that it is named after."""
    # Known by the first words of a result as this program writes it; read as a whole only if it looks otherwise.
    if not is_whole(file):
        return False
    usual = f'{{"name":{json.dumps(file.stem, ensure_ascii=False)},'
    if file.name == EVALUATION or file.read_bytes().startswith(usual.encode()):
        return True
    found = readable(read_document, file, SequenceResult)
    return found is None or found.name == file.stem
