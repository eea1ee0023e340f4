"""Calibrates this device for some runs: starts as many workers as a study would, and keeps what they measured."""

import time

from trackablate.harness.errors import BadInput
from trackablate.harness.planning.calibration import Calibration, keep_calibration, mean_of, to_measure
from trackablate.harness.provenance import command_line
from trackablate.harness.running.executors import Executor
from trackablate.harness.running.queue import Slot, result_of
from trackablate.harness.running.runner import worker_settings
from trackablate.harness.running.tasks import CalibrateTask, Device, PrepareTask, WorkerSettings
from trackablate.harness.spec import Profile, RunSpec
from trackablate.harness.store import Store
from trackablate.trackers.spec import TrackerSpec

REMEDY = "measure this device in under a minute with --calibrate, or name one with --device-peak (harness/devices.toml)"
"""What helps where nothing is known of a run."""
SECONDS = 30.0
"""For steps and frames of all runs; starting, building and drawing come on top, and are measured as well."""


def calibrate(runs: list[RunSpec], profile: Profile, store: Store, executor: Executor, device: str) -> Calibration:
    """Measure the distinct trackers of the runs on as many workers at once as a study of them would use (on GPUs, one,
    since they do not share), count those that are left out, and keep both in the store. Raises BadInput where no run has a
    network, RunFailed where a worker failed.
    """
    measured = to_measure(runs)
    if not measured:
        raise BadInput("nothing to calibrate: none of these runs has a network")
    chosen = {run.fingerprint for run in measured}
    rest = [r.tracker for r in runs if r.fingerprint not in chosen and isinstance(r.tracker, TrackerSpec)]
    found = count(rest, store, executor, device)
    settings = worker_settings(found.gpus, device, profile, len(runs), store)[: 1 if found.gpus else None]
    task = CalibrateTask(runs=tuple(measured), seconds=SECONDS, asked=time.time())
    merged = mean_of([Calibration.model_validate_json(text) for text in _together(task, settings, executor)])
    keep_calibration(store, merged)
    return merged


def count(trackers: list[TrackerSpec], store: Store, executor: Executor, device: str = "cpu") -> Device:
    """Count the size of trackers into the store, with what their backward pass keeps; the device, by the way."""
    settings = WorkerSettings(store=str(store.root), device=device, threads=1, workers=1, command=command_line())
    task = PrepareTask(sizes=tuple(trackers), activations=True, protocols=())
    slot = Slot(executor, settings)
    try:
        return Device.model_validate_json(slot.ask(task))
    finally:
        slot.stop()


def _together(task: CalibrateTask, settings: list[WorkerSettings], executor: Executor) -> list[str]:
    """What each of several workers says that do the same at the same time."""
    slots = [Slot(executor, each) for each in settings]
    try:
        for slot in slots:
            slot.do(task)
        return [result_of(slot.wait()) for slot in slots]
    finally:
        for slot in slots:
            slot.stop()
