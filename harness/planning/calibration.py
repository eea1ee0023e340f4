"""Measured unit times of a device, as `plan --calibrate` keeps them in the store. Imports no torch.

    STORE/calibration/DEVICE-THREADS-WORKERS.json

There is one document for each number of workers, because workers that share a machine slow each other down.
"""

import re

from pydantic import BaseModel, ConfigDict

from trackablate.datasets.atomic import write_text
from trackablate.harness.errors import BadInput
from trackablate.harness.planning.reading import readable
from trackablate.harness.planning.work import Unit
from trackablate.harness.provenance import command_line
from trackablate.harness.running.executors import Executor
from trackablate.harness.running.queue import Slot, result_of
from trackablate.harness.running.runner import worker_settings
from trackablate.harness.running.tasks import CalibrateTask, Device, PrepareTask, WorkerSettings
from trackablate.harness.spec import Profile, RunSpec
from trackablate.harness.store import Store, read_document
from trackablate.trackers.spec import FloorSpec, TrackerSpec, fingerprint

SECONDS = 30.0
"""For the steps and frames of all trackers together. Starting, building and drawing come in addition."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sample(_Document):
    """Unit times of one tracker.

    Attributes:
        batch: See `batch_of`.
        macs: Multiply-accumulates of tracking one frame, with the adaptation merged.
        seconds: Seconds of each unit. A unit that is absent is part of another one, or takes no time.
        device_share: Device seconds per wall second.
        memory_bytes: Peak memory of a training.
    """

    tracker: TrackerSpec | FloorSpec
    batch: tuple[int, int]
    macs: int | None = None
    seconds: dict[Unit, float]
    device_share: float = 1.0
    memory_bytes: float = 0.0


class Calibration(_Document):
    """What was measured on a device, with so many workers at once; clip_bytes: memory of a clip with its drawn frames."""

    device: str
    threads: int
    workers: int
    clip_bytes: float = 0.0
    samples: list[Sample]


def calibrate(runs: list[RunSpec], profile: Profile, store: Store, executor: Executor, device: str) -> None:
    """Measure the distinct trackers of some runs, and keep the result in the store.

    As many workers measure at the same time as a study would use, and the slowest counts; on GPUs one measures, since
    workers do not share a GPU. Trackers that are left out are counted, so that they can be scaled. Raises BadInput if no
    run has a network, and RunFailed if a worker failed.
    """
    measured = to_measure(runs)
    if not measured:
        raise BadInput("there is nothing to calibrate: none of these runs has a network")
    rest = [r.tracker for r in runs if r not in measured and isinstance(r.tracker, TrackerSpec)]
    found = count(rest, store, executor, device)
    settings = worker_settings(found.gpus, device, profile, len(runs), store)[: 1 if found.gpus else None]
    slots = [Slot(executor, each) for each in settings]
    try:
        for slot in slots:
            slot.do(CalibrateTask(runs=tuple(measured), seconds=SECONDS))
        measurements = [Calibration.model_validate_json(result_of(slot.wait())) for slot in slots]
        keep(store, max(measurements, key=lambda one: sum(sample.seconds.get("step", 0.0) for sample in one.samples)))
    finally:
        for slot in slots:
            slot.stop()


def count(trackers: list[TrackerSpec], store: Store, executor: Executor, device: str = "cpu") -> Device:
    """Count the sizes of trackers into the store, with what the backward pass keeps. Also returns the device."""
    settings = WorkerSettings(store=str(store.root), device=device, threads=1, workers=1, command=command_line())
    task = PrepareTask(sizes=tuple(trackers), activations=True, protocols=())
    slot = Slot(executor, settings)
    try:
        return Device.model_validate_json(slot.ask(task))
    finally:
        slot.stop()


def batch_of(run: RunSpec) -> tuple[int, int]:
    """Return the pairs per step and the pairs at once of a run; (0, 0) for a floor."""
    return (run.recipe.batch_size, run.recipe.pairs_at_once) if run.recipe else (0, 0)


def to_measure(runs: list[RunSpec], most: int = 10) -> list[RunSpec]:
    """Return one run for each distinct tracker and batch; if there are more than `most`, every second, third, ..."""
    networks = [run for run in runs if isinstance(run.tracker, TrackerSpec)]
    distinct = list({(fingerprint(run.tracker), batch_of(run)): run for run in networks}.values())
    return distinct[:: max(1, -(-len(distinct) // most))]


def keep(store: Store, new: Calibration) -> None:
    """Write a calibration. Trackers that were measured before with the same threads and workers stay."""
    file = (
        store.calibration / f"{re.sub('[^A-Za-z0-9]+', '-', new.device).strip('-')}-{new.threads}t{new.workers}w.json"
    )
    old = read_document(file, Calibration)
    every = [*(old.samples if old else []), *new.samples]
    samples = {(fingerprint(sample.tracker), sample.batch): sample for sample in every}
    write_text(file, new.model_copy(update={"samples": list(samples.values())}).model_dump_json(indent=1))


def calibrations(store: Store) -> list[Calibration]:
    """Return all calibrations in a store that can be read."""
    files = sorted(store.calibration.glob("*.json"))
    return [found for file in files if (found := readable(read_document, file, Calibration))]
