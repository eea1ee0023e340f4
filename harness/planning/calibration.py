"""Calibrates a device: trains a few steps and tracks a few frames of each run of a study. Imports no torch.

    STORE/calibration/DEVICE/    a store of its own: the record of each run says how many pairs it trained on

Predictions read these records as they read those of finished runs (`harness.planning.history`).
"""

from dataclasses import replace

from trackablate.harness.costing.hardware import expected_gpus
from trackablate.harness.errors import RunFailed
from trackablate.harness.provenance import command_line
from trackablate.harness.running.executors import Executor
from trackablate.harness.running.observer import Missing, Silent
from trackablate.harness.running.queue import Slot, run_all
from trackablate.harness.running.runner import worker_settings
from trackablate.harness.running.tasks import CalibrateTask, PrepareTask, WorkerSettings
from trackablate.harness.spec import Profile
from trackablate.harness.store import Store
from trackablate.trackers.spec import TrackerSpec, fingerprint

SECONDS = 20.0
"""For the steps and frames of one worker, about. Starting, building and drawing come in addition."""
MOST = 10
"""The most trackers that are measured. The others are scaled by their MACs."""


def calibrate(lacking: list[Missing], profile: Profile, store: Store, executor: Executor, device: str) -> None:
    """Measure some of the runs that lack training or tracking, and keep the result in the store.

    As many workers as a study would use work at the same time; on GPUs one, because workers do not share a GPU.

    Raises:
        BadInput: The device, the data or a worker's task is at fault.
        RunFailed: A worker failed.
    """
    chosen, rest = to_measure([item for item in lacking if item.training or item.sequences])
    if not chosen:
        return
    gpus = [device] * len(expected_gpus(device))
    settings = worker_settings(gpus, device, profile, len(chosen), store)[: 1 if gpus else None]
    slots = [Slot(executor, each) for each in settings]
    seconds = SECONDS * len(slots) / max(1, sum(item.training for item in chosen))
    queue = [replace(item, task=_task(item, seconds)) for item in chosen]
    try:
        failures = run_all(queue, slots, Silent(), lambda item, _, reason: f"{item.task.run.name}: {reason}")
        if rest:
            slots[0].ask(PrepareTask(sizes=tuple(rest), protocols=()))
    finally:
        for slot in slots:
            slot.stop()
    if failures:
        raise RunFailed("\n".join(failures))


def count(trackers: list[TrackerSpec], store: Store, executor: Executor) -> None:
    """Count the sizes of trackers into the store, with what the backward pass keeps."""
    settings = WorkerSettings(store=str(store.root), device="cpu", threads=1, workers=1, command=command_line())
    slot = Slot(executor, settings)
    try:
        slot.ask(PrepareTask(sizes=tuple(trackers), activations=True, protocols=()))
    finally:
        slot.stop()


def to_measure(lacking: list[Missing]) -> tuple[list[Missing], list[TrackerSpec]]:
    """Return one run for each distinct tracker, recipe and data, and the trackers that are left out.

    If there are more than MOST networks, every second, third, ... is measured.
    """
    distinct = list({fingerprint(item.task.run.model_copy(update={"seed": 0})): item for item in lacking}.values())
    networks = [item for item in distinct if isinstance(item.task.run.tracker, TrackerSpec)]
    chosen = networks[:: max(1, -(-len(networks) // MOST))]
    floors = [item for item in distinct if item not in networks]
    return [*chosen, *floors], [
        t for i in networks if i not in chosen and isinstance(t := i.task.run.tracker, TrackerSpec)
    ]


def _task(item: Missing, seconds: float) -> CalibrateTask:
    task = item.task
    return CalibrateTask(run=task.run, evaluations=task.evaluations[:1], roots=task.roots, seconds=seconds)
