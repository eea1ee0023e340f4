"""Calibrates a device: a short form of each run of a study trains as runs do, and tracks the beginnings of a few sequences.

A store of its own, STORE/calibration/DEVICE, keeps the records, and predictions read them like those of finished runs
(`harness.planning.history`). Imports no torch, except in workers.
"""

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.sequence import Sequence
from trackablate.harness.costing.hardware import expected_gpus
from trackablate.harness.errors import RunFailed
from trackablate.harness.planning.history import shelf
from trackablate.harness.planning.work import FRAMES_PER_CLIP, VALIDATION_CLIPS
from trackablate.harness.provenance import command_line
from trackablate.harness.record import PhaseCost, Spent, TrainingRecord
from trackablate.harness.running.executors.protocol import Executor
from trackablate.harness.running.observer import Observer, Pending
from trackablate.harness.running.queue import Slot, run_all
from trackablate.harness.running.runner import worker_settings
from trackablate.harness.running.tasks import CalibrateTask, PrepareTask, RunTask, WorkerSettings
from trackablate.harness.spec import Profile, RunSpec, SyntheticData
from trackablate.harness.store import Store
from trackablate.trackers.spec import AnyTracker, TrackerSpec

SECONDS = 20.0
"""For the steps of one worker, about. Starting, building and tracking come in addition."""
MOST_NETWORKS = 10
"""The most networks that are measured. The others are scaled by their MACs."""
WARM_UP, FEWEST, MOST = 2, 4, 60
"""Steps that tell the pace, and the bounds of how many steps are then timed."""
SEQUENCES, FRAMES = 16, 32
"""How many sequences are tracked, as many as runs track together, and the most frames of each."""
CLIP_BYTES = 1.5
"""Memory of a generated clip, as a multiple of its drawn frames."""


def calibrate(items: list[Pending], profile: Profile, store: Store, executor: Executor, device: str) -> None:
    """Measure some of the runs that lack training or tracking, and keep the result in the store.

    As many workers as a study would use work at the same time; on GPUs one, because workers do not share a GPU. Raises
    BadInput if the device, the data or the weights are not here, and RunFailed if a worker failed.
    """
    asked = {item.run.model_copy(update={"seed": 0}): item for item in items if item.missing.scores}
    networks = [run for run in asked if isinstance(run.tracker, TrackerSpec)]
    measured = networks[:: max(1, -(-len(networks) // MOST_NETWORKS))]
    chosen = measured + [run for run in asked if run not in networks]
    if not chosen:
        return
    gpus = [device] * len(expected_gpus(device))
    settings = worker_settings(gpus, device, profile, len(chosen), store)[: 1 if gpus else None]
    slots = [Slot(executor, each) for each in settings]
    seconds = SECONDS * len(slots) / max(1, len(measured))
    queue = [
        replace(each, task=CalibrateTask(run=run, evaluations=task.evaluations, roots=task.roots, seconds=seconds))
        for run, each, task in ((run, asked[run], asked[run].task) for run in chosen)
    ]
    try:
        failures = run_all(queue, slots, Observer(), lambda item, _, reason: f"{item.run.name}: {reason}")
    finally:
        for slot in slots:
            slot.stop()
    if failures:
        raise RunFailed("\n".join(failures))
    count((run.tracker for run in networks if run not in measured), store, executor)


def count(trackers: Iterable[AnyTracker], store: Store, executor: Executor) -> None:
    """Count the networks' sizes, with what the backward pass keeps, unless the store has them."""
    sizes = [(spec, store.paper_scale(spec)) for spec in trackers if isinstance(spec, TrackerSpec)]
    rest = tuple(spec for spec, size in sizes if size is None or size.activation_bytes is None)
    if not rest:
        return
    settings = WorkerSettings(store=str(store.root), device="cpu", threads=1, workers=1, command=command_line())
    slot = Slot(executor, settings)
    try:
        slot.ask(PrepareTask(sizes=rest, activations=True, protocols=()))
    finally:
        slot.stop()


def measure(task: CalibrateTask, settings: WorkerSettings) -> Spent:
    """Time a run's steps for about the task's seconds, and its tracking, in a worker; keep its record."""
    from trackablate.harness.costing.devices import device_name, resolve_device
    from trackablate.harness.tracking.evaluation import evaluate

    device, store, run = resolve_device(settings.device), Store(Path(settings.store)), task.run
    kept = Store(shelf(store, device_name(device))).run(task.run)
    shutil.rmtree(kept.path, ignore_errors=True)
    kept.claim()
    store.index.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        short = Store(Path(place) / "store")
        short.index.symlink_to(store.index)
        if run.recipe:
            pace = WARM_UP / _trained(short, short_form(run, WARM_UP), task, settings).cost.wall()
            run = short_form(run, max(FEWEST, min(MOST, round(task.seconds * pace))))
            record = _trained(short, run, task, settings)
            kept.weights.touch()
            kept.finish_training(_as_whole(record, task.run))
        folder, evaluation = short.run(run), task.evaluations[0]
        if run.imported and (imported := store.run(run).training()):
            folder.claim()
            folder.weights.symlink_to(store.run(run).weights)
            folder.finish_training(imported)
            kept.weights.touch()
            kept.finish_training(imported)
        protocol = PROTOCOLS[evaluation.protocol]
        whole = protocol.open(Path(task.roots[protocol.data]) if protocol.data else None, store.index)
        whole[0].frames[0]  # generated textures are made once per process
        beginnings = _Beginnings(whole)  # type: ignore[abstract]  # nothing asks for a digest
        evaluate(folder, evaluation, beginnings, device, lambda *_: None)
        for result in folder.results(evaluation):
            kept.add_result(evaluation, result)
    return Spent(device_seconds=0.0)


def _trained(store: Store, run: RunSpec, task: CalibrateTask, settings: WorkerSettings) -> TrainingRecord:
    from trackablate.harness.running.execute import execute_run
    from trackablate.harness.running.fresh import start_afresh

    start_afresh(settings.threads)  # what the run before held must not count in this one's peak
    inside = settings.model_copy(update={"store": str(store.root)})
    execute_run(RunTask(run=run, evaluations=(), roots=task.roots), inside)
    record = store.run(run).training()
    assert record is not None
    return record


def short_form(run: RunSpec, steps: int) -> RunSpec:
    """Return the run with so many steps, from random weights, which change no time."""
    assert run.recipe is not None
    whole, data = run.recipe, run.data
    recipe = {"steps": steps, "checkpoint_every": steps, "warmup_steps": 1, "validation_pairs": 1}
    if isinstance(data, SyntheticData):  # as many frames are drawn per pair as in the whole training
        pairs = whole.steps * whole.batch_size
        clips = round((data.clips + pairs / data.pairs_per_clip) * steps / whole.steps)
        data = data.model_copy(update={"clips": max(1, clips), "pairs_per_clip": pairs})
    tracker, short = run.tracker.model_copy(update={"pretrained": "none"}), whole.model_copy(update=recipe)
    return run.model_copy(update={"tracker": tracker, "recipe": short, "data": data, "weights": None})


def _as_whole(record: TrainingRecord, run: RunSpec) -> TrainingRecord:
    """Return the record with the share of validation, and the memory for clips, that the whole training has."""
    assert run.recipe is not None
    cost, recipe, train = record.cost, run.recipe, record.cost.phases["train"]
    share = recipe.validation_pairs / (3 * recipe.checkpoint_every * recipe.batch_size)  # a pair goes back in training
    validate = PhaseCost(wall_seconds=share * train.wall_seconds, device_seconds=share * train.device_seconds)
    peak = cost.peak_memory_bytes or 0
    if isinstance(run.data, SyntheticData) and cost.resident_before_bytes:
        frames = FRAMES_PER_CLIP * (run.data.clips + VALIDATION_CLIPS)
        peak += round(CLIP_BYTES * frames * 3 * run.data.width * run.data.height)
    update = {"phases": cost.phases | {"validate": validate}, "peak_memory_bytes": peak}
    return record.model_copy(update={"cost": cost.model_copy(update=update)})


class _Beginning(Sequence):
    """A video of which the first frames are tracked."""

    def __len__(self) -> int:
        return min(FRAMES, len(self.frames))


@dataclass(frozen=True)
class _Beginnings(SequenceList):
    """The beginnings of a protocol's first sequences."""

    whole: SequenceList

    @property
    def names(self) -> tuple[str, ...]:
        return self.whole.names[:SEQUENCES]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int, /) -> Sequence:
        found = self.whole[index]
        return _Beginning(found.name, found.frames, found.boxes, found.visible)

    def lengths(self) -> tuple[int, ...]:
        return tuple(min(FRAMES, length) for length in self.whole.lengths()[: len(self)])
