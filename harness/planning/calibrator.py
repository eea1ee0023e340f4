"""Times a run in a worker: a short form of it trains as runs do, and tracks the beginnings of a few sequences."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.sequence import Frames, Image, Sequence
from trackablate.harness.costing.devices import device_name, resolve_device
from trackablate.harness.planning.history import shelf_name
from trackablate.harness.planning.work import FRAMES_PER_CLIP, VALIDATION_CLIPS
from trackablate.harness.record import PhaseCost, Spent, TrainingRecord
from trackablate.harness.running.execute import execute_run
from trackablate.harness.running.fresh import start_afresh
from trackablate.harness.running.tasks import CalibrateTask, RunTask, WorkerSettings
from trackablate.harness.spec import Recipe, RunSpec, SyntheticData
from trackablate.harness.store import RunFolder, Store
from trackablate.harness.tracking.evaluation import SLOTS, evaluate

WARM_UP, FEWEST, MOST = 2, 4, 60
"""Steps that tell the pace, and the bounds of how many steps are then timed."""
FRAMES = 32
"""The most frames of a sequence that are tracked."""
CLIP = 1.5
"""Memory of a generated clip and its plan, as a multiple of its drawn frames."""


def calibrate(task: CalibrateTask, settings: WorkerSettings) -> Spent:
    """Time a run for about the task's seconds, and keep the record in the device's store."""
    device, store, run, frames = resolve_device(settings.device), Store(Path(settings.store)), task.run, FRAMES
    kept = Store(store.calibration / shelf_name(device_name(device))).run(run)
    shutil.rmtree(kept.path, ignore_errors=True)
    kept.claim()
    protocol, evaluation = PROTOCOLS[task.evaluations[0].protocol], task.evaluations[0]
    with tempfile.TemporaryDirectory() as place:
        short = Store(Path(place) / "store")
        store.index.mkdir(exist_ok=True)
        short.index.symlink_to(store.index)
        folder = short.run(run)
        if run.recipe:
            inside = settings.model_copy(update={"store": str(short.root)})
            pace = WARM_UP / _trained(short.run(_short(run, WARM_UP)), task, inside).cost.wall()
            folder = short.run(_short(run, max(FEWEST, min(MOST, round(task.seconds * pace)))))
            kept.weights.touch()
            kept.finish_training(_as_whole(_trained(folder, task, inside), run))
            per_second = 3 * pace * run.recipe.batch_size  # a step goes back as well, which takes twice as long
            frames = max(2, min(FRAMES, round(task.seconds * per_second / SLOTS)))
        whole = protocol.open(Path(task.roots[protocol.data]) if protocol.data else None, store.index)
        whole[0].frames[0]  # generated textures are made once per process
        beginnings = _Beginnings(whole, frames)  # type: ignore[abstract]  # nothing asks for a digest
        evaluate(folder, evaluation, beginnings, device, lambda _: None)
        for result in folder.results(evaluation):
            kept.add_result(evaluation, result)
    return Spent(device_seconds=0.0)


def _trained(folder: RunFolder, task: CalibrateTask, settings: WorkerSettings) -> TrainingRecord:
    start_afresh(settings.threads)  # what the run before held must not count in this one's peak
    execute_run(RunTask(run=folder.run, evaluations=(), roots=task.roots), settings)
    record = folder.training()
    assert record is not None
    return record


def _short(run: RunSpec, steps: int) -> RunSpec:
    """Return the run with so many steps, from random weights, which change no time."""
    assert run.recipe is not None
    recipe = {"steps": steps, "checkpoint_every": steps, "warmup_steps": 1, "validation_pairs": 1}
    data = run.data
    if isinstance(data, SyntheticData):  # as many frames are drawn per pair as in the whole training
        clips = max(1, round((data.clips + _pairs(run.recipe) / data.pairs_per_clip) * steps / run.recipe.steps))
        data = data.model_copy(update={"clips": clips, "pairs_per_clip": _pairs(run.recipe)})
    return run.model_copy(
        update={
            "tracker": run.tracker.model_copy(update={"pretrained": "none"}),
            "recipe": run.recipe.model_copy(update=recipe),
            "data": data,
            "weights": None,
        }
    )


def _as_whole(record: TrainingRecord, run: RunSpec) -> TrainingRecord:
    """Return the record with the share of validation and the memory for clips that the whole training has."""
    assert run.recipe is not None
    cost, recipe, train = record.cost, run.recipe, record.cost.phases["train"]
    share = recipe.validation_pairs / (3 * recipe.checkpoint_every * recipe.batch_size)
    validate = PhaseCost(wall_seconds=share * train.wall_seconds, device_seconds=share * train.device_seconds)
    more = 0
    if isinstance(run.data, SyntheticData) and cost.peak_memory_bytes and cost.resident_before_bytes:
        clip = CLIP * 3 * FRAMES_PER_CLIP * run.data.width * run.data.height
        more = round(clip * (run.data.clips + VALIDATION_CLIPS))
    update = {"phases": cost.phases | {"validate": validate}, "peak_memory_bytes": (cost.peak_memory_bytes or 0) + more}
    return record.model_copy(update={"cost": cost.model_copy(update=update)})


def _pairs(recipe: Recipe) -> int:
    return recipe.steps * recipe.batch_size


@dataclass(frozen=True)
class _Beginning:
    """The first frames of a video."""

    frames: Frames
    length: int

    def __len__(self) -> int:
        return min(self.length, len(self.frames))

    def __getitem__(self, index: int, /) -> Image:
        return self.frames[index]


@dataclass(frozen=True)
class _Beginnings(SequenceList):
    """The first sequences of a protocol, each with its first frames."""

    whole: SequenceList
    frames: int

    @property
    def names(self) -> tuple[str, ...]:
        return self.whole.names[:SLOTS]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int, /) -> Sequence:
        sequence = self.whole[index]
        return replace(sequence, frames=_Beginning(sequence.frames, self.frames))
