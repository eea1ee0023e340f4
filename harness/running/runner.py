"""Runs what is missing: asks the store, hands tasks to workers, and measures speed at the end."""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from trackablate.datasets.errors import counted
from trackablate.datasets.lease import Held
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.costing.hardware import expected_device, refuse_unknown_device, several, surely_no_gpu
from trackablate.harness.costing.loader_processes import default_loader_workers
from trackablate.harness.documents import left_out, undamaged
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.provenance import command_line, provenance, refuse_mixed_torch
from trackablate.harness.record import Failure
from trackablate.harness.running.executors.protocol import Executor
from trackablate.harness.running.image_files import Replaced, set_aside
from trackablate.harness.running.observer import Observer, Pending
from trackablate.harness.running.queue import Slot, run_all
from trackablate.harness.running.tasks import (
    AS_USUAL,
    Device,
    Execution,
    PrepareTask,
    RunTask,
    SpeedTask,
    Timed,
    WorkerSettings,
)
from trackablate.harness.spec import GPU_ONLY, Evaluation, Profile
from trackablate.harness.speed import last_measured_together
from trackablate.harness.store import Missing, RunFolder, Store, timed_layers
from trackablate.trackers.outside.named import fault_of
from trackablate.trackers.spec import OutsideSpec, TrackerSpec

STOPPED_AT_ONCE = 32
FORMER = "%s: results of former weights are tracked anew, if the present ones are others; they are kept in %s/*/former"


@dataclass(frozen=True)
class Job:
    """A study's work.

    Attributes:
        tasks: One task for each run.
        sizes: Trackers whose size at paper scale is counted.
        sequences: Names of each protocol's sequences, by protocol name.
        lengths: Number of frames of each protocol's sequences, where that is known.
        how: How the runs are done.
        replaced: Results that are set aside after all checks, and tracked again.
    """

    tasks: list[RunTask]
    sizes: list[TrackerSpec]
    sequences: dict[str, list[str]]
    profile: Profile
    lengths: dict[str, dict[str, int]] = field(default_factory=dict)
    how: Execution = AS_USUAL
    replaced: Replaced = field(default_factory=dict)


def run(job: Job, store: Store, executor: Executor, device: str, observer: Observer | None = None) -> None:
    """Do everything that is missing, on a device as the user names it: auto, cpu, cuda, or one GPU.

    The store keeps what is done, also if this fails. The observer is told how the work gets on.

    Raises:
        BadInput: The user can mend it: the device, the disk, or another process at work. Nothing was done.
        RunFailed: At least one run failed, also because its data changed meanwhile; everything else was done.
    """
    _mend(job, store)
    refuse_unknown_device(device)
    items = [item for item in pending(job, store) if not item.missing.nothing]  # some lack only their speed
    for item in items:
        _refuse_lost(item, store.run(item.run))
    preparation = _preparation(job, store)
    if not (items or preparation.sizes or preparation.protocols):
        return
    _refuse_little_disk(job, len(items), store)
    work = [item for item in items if item.missing.scores]
    _refuse_division(work, job.how)
    workers = _Workers(job, store, executor, device, len(work))
    with workers.started() as slots:
        observer = observer or Observer()
        observer.preparing(several(expected_device(device), job.how.processes), len(slots), items)
        found = _prepared(slots[0], preparation, observer)
        _refuse_precision(work, found)
        workers.fit(slots, found.gpus)
        if job.replaced:  # nothing can be refused any more
            set_aside(job.tasks, store, job.replaced, again=job.how.again)
            _prepared(slots[0], _preparation(job, store), observer)
        place = several(found.name, job.how.processes)
        queue = [item for item in observer.prepared(place, len(slots), items) if item.missing.scores]
        if executor.detached:
            for item, slot in zip(queue, slots, strict=False):
                slot.do(item.task)
            if queue:
                slots[0].poll()  # all are handed in together
            return
        failures = run_all(queue, slots, observer, partial(_died, job, store, place))
        failures += _measure_speed(job, store, slots, observer)
    if failures:
        store.refuse_gone()
        raise RunFailed("\n".join(failures))
    observer.ended()


def _refuse_lost(item: Pending, folder: RunFolder) -> None:
    """Raise BadInput for an import whose weights are gone. Say it if results of former weights are set aside."""
    folder.refuse_lost_import()
    past = undamaged(folder.past_training) if item.missing.training else None
    if past or any(map(folder.of_former_weights, item.task.evaluations)):
        logging.getLogger(__name__).warning(FORMER, folder.run.name, folder.path / "evaluations")


def refuse_at_once(job: Job, store: Store, device: str) -> None:
    """Raise BadInput for work that cannot be done here, as far as that is sure before a store is made or a worker starts."""
    refuse_unknown_device(device)
    refuse_mixed_torch()
    if job.how.fsdp:
        _refuse_fsdp(job)
    items = pending(job, store)
    for tracker in (item.run.tracker for item in items if item.missing.sequences):
        if isinstance(tracker, OutsideSpec) and (reason := fault_of(tracker)):
            raise BadInput(f"{tracker.name} cannot be started: {reason}")
    _refuse_division(items, job.how)
    if surely_no_gpu() and not device.startswith("cuda"):
        _refuse_precision(items, Device(name=expected_device(device), gpus=()))


def _mend(job: Job, store: Store) -> None:
    """Move aside the damaged files of the job's runs, unless another process works on them, so that they are made again."""
    store.sweep()
    for folder, evaluations in ((store.run(task.run), task.evaluations) for task in job.tasks):
        if folder.path.exists():
            with suppress(Held), folder.lock().acquire(timeout=0):
                for file in folder.mend(evaluations):
                    left_out(f"{file} is damaged: it is made again, and kept as {file.name}.damaged")


def _prepared(slot: Slot, preparation: PrepareTask, observer: Observer) -> Device:
    """Return the device after the preparation. A worker that dies is replaced once, since what it has done is kept."""
    try:
        found = slot.ask(preparation, observer.watch)
    except RunFailed:
        found = slot.ask(preparation, observer.watch)
    return Device.model_validate_json(found)


def _refuse_precision(work: list[Pending], device: Device) -> None:
    asked = {item.run.recipe.precision for item in work if item.missing.training and item.run.recipe}
    asked |= {evaluation.precision for item in work if item.missing.sequences for evaluation in item.task.evaluations}
    if (wanting := asked.intersection(GPU_ONLY)) and not device.gpus:
        raise BadInput(
            f"precision {', '.join(sorted(wanting))} needs a GPU, and {device.name} is none: use --device, another"
            " --precision, or a profile with precision = 'fp32' in its [recipe]"
        )


def _refuse_fsdp(job: Job) -> None:
    how, trained = job.how, [task for task in job.tasks if task.run.recipe]
    if how.processes == 1 and not how.joining:
        raise BadInput("--fsdp divides a run's network among its GPUs: add --gpus-per-run 2 or more")
    if how.fit_memory:
        raise BadInput("--fit-memory lets a GPU repeat a step, for which --fsdp needs all GPUs: leave out one of them")
    if trained and not any(task.fully_trained for task in trained):
        raise BadInput(f"--fsdp is for full fine-tuning, and {trained[0].row} trains few parameters: leave it out")


def _refuse_division(work: list[Pending], how: Execution) -> None:
    on = f" on {len(how.machines.names)} machines" if how.machines else ""
    for item in work:
        tracker, recipe = item.run.tracker, item.run.recipe
        if item.missing.training and recipe and isinstance(tracker, TrackerSpec) and not tracker.loss_adds_up:
            parts = -(-recipe.batch_size // recipe.pairs_at_once)
            if parts < how.processes:
                raise BadInput(
                    f"--gpus-per-run {how.gpus_per_run}{on}: the loss of {item.task.row} depends on the parts in which its"
                    f" batch is computed, so that at most {parts} can share it: ask for {parts}{' in all' if on else ''}"
                )


def pending(job: Job, store: Store) -> list[Pending]:
    """Return each of the job's tasks, with what is missing of it."""
    found = [_pending(task, job, store) for task in job.tasks]
    if not any(item.missing.speed for item in found) and _timed_apart(job.tasks, store):
        return [replace(one, missing=one.missing._replace(speed=_timed_layers(one.task, store))) for one in found]
    return found


def disk_bytes(profile: Profile) -> int:
    """Return the disk space that one run needs by its profile."""
    return int(profile.disk_gigabytes * 1e9)


def cpu_workers(profile: Profile, tasks: int) -> int:
    """Return the number of workers on a CPU: one per core, if there is work and memory for them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return max(1, min(os.cpu_count() or 1, tasks, int(memory / profile.worker_gigabytes)))


def worker_settings(
    gpus: Sequence[str], device: str, profile: Profile, tasks: int, store: Store, how: Execution = AS_USUAL
) -> list[WorkerSettings]:
    """Return the settings of each worker: one worker per GPU or group of GPUs, or several on the CPU.

    On a CPU each worker has one thread, whatever their number: the last bit of a result depends on the number of threads,
    and must not depend on how much is left to do. Without `gpus` the work is done on the CPU. `tasks` is their number.

    Raises BadInput if there are fewer devices than shall share a run.
    """
    each = how.gpus_per_run
    places = tuple(gpus) or (device,) * cpu_workers(profile, max(1, tasks) * each)
    threads = max(1, (os.cpu_count() or 1) // len(places)) if gpus else 1
    if each > len(places):
        there = f"{len(gpus)} GPUs are here" if gpus else f"no GPU is here, and {len(places)} processes fit the CPU"
        raise BadInput(f"--gpus-per-run {each}: {there}; ask for fewer")
    groups = [places[first : first + each] for first in range(0, len(places) - each + 1, each)]
    groups = groups[:1] if how.machines else groups  # the machines do one run after the other
    loading = default_loader_workers(len(gpus), len(places)) if how.loader_workers is None else how.loader_workers
    settings = WorkerSettings(
        store=str(store.root),
        device="",
        threads=threads,
        workers=len(groups),
        command=command_line(),
        loader_workers=loading,
        fit_memory=how.fit_memory,
        fsdp=how.fsdp,
        log=how.log,
        machines=how.machines,
    )
    return [settings.model_copy(update={"device": first, "others": tuple(others)}) for first, *others in groups]


def unknown_protocols(job: Job, store: Store) -> list[Evaluation]:
    """Return one evaluation for each of the job's protocols that the store has no record of."""
    # A control tracks the same sequences as the row that it belongs to.
    plain = {e.protocol: e for task in job.tasks for e in task.evaluations if e.control == "none"}
    return [e for e in plain.values() if not store.knows_protocol(e)]


def timed(task: RunTask) -> list[Timed]:
    """Return the speed measurements that a run needs: one for each number of decoder layers that it is tested with."""
    return [Timed(run=task.run, test_layers=layers) for layers in timed_layers(task.run, task.evaluations)]


def _timed_layers(task: RunTask, store: Store) -> tuple[int | None, ...]:
    """Return what a run's speed is measured with; nothing if it is not trained, or the training's record is damaged."""
    trained = undamaged(lambda: store.run(task.run).trained)
    return timed_layers(task.run, task.evaluations) if trained else ()


def _timed_apart(tasks: Sequence[RunTask], store: Store) -> bool:
    """Return whether speeds of the runs are known, but not from one measurement, and can be measured again."""
    every = [(task.run, layers) for task in tasks for layers in _timed_layers(task, store)]
    _, together = last_measured_together(store.run(run).speeds(layers) for run, layers in every)
    outside = [task.run.tracker for task in tasks if isinstance(task.run.tracker, OutsideSpec)]
    return 0 < together < len(every) and not any(map(fault_of, outside))


@dataclass(frozen=True)
class _Workers:
    """The workers for so many tasks of a job."""

    job: Job
    store: Store
    executor: Executor
    device: str
    tasks: int

    @contextmanager
    def started(self) -> Iterator[list[Slot]]:
        """Yield slots, the first of which prepares the study.

        Workers take seconds to import torch. Unless there seems to be a GPU, all start now, while one prepares.
        """
        on_cpu = expected_device(self.device).startswith("CPU")
        slots = self._slots(1, (), self.job.how if on_cpu else AS_USUAL)[: None if on_cpu else 1]
        try:
            for slot in slots:
                slot.start()
            yield slots
        finally:
            with ThreadPoolExecutor(STOPPED_AT_ONCE) as pool:  # each saves a checkpoint
                list(pool.map(Slot.stop, slots))

    def fit(self, slots: list[Slot], gpus: Sequence[str]) -> None:
        """Keep the slots that fit the GPUs that were found, and add the others."""
        wanted = self._slots(self.tasks, gpus, self.job.how)
        for slot in [slot for slot in slots if slot.settings not in [one.settings for one in wanted]]:
            slot.stop()
            slots.remove(slot)
        slots += wanted[len(slots) :]

    def _slots(self, elsewhere: int, gpus: Sequence[str], how: Execution) -> list[Slot]:
        settings = self.executor.worker_settings(elsewhere, self.store, self.device, self.job.how)
        if settings is None:
            settings = worker_settings(gpus, self.device, self.job.profile, self.tasks, self.store, how)
        return [Slot(self.executor, each) for each in settings]


def _preparation(job: Job, store: Store) -> PrepareTask:
    return PrepareTask(
        sizes=tuple(spec for spec in job.sizes if store.paper_scale(spec) is None),
        protocols=tuple(unknown_protocols(job, store)),
        roots=job.tasks[0].roots,
    )


def _pending(task: RunTask, job: Job, store: Store) -> Pending:
    folder, missing = store.run(task.run), _missing(task, job, store)
    frames = {
        evaluation: sum(job.lengths.get(evaluation.protocol, {}).get(name, 0) for name in names)
        for evaluation, names in missing.sequences.items()
    }
    return Pending(
        task=task,
        missing=missing,
        steps_done=_steps_done(folder) if missing.training else 0,
        frames=sum(frames.values()),
        generated=sum(count for e, count in frames.items() if PROTOCOLS[e.protocol].data is None),
    )


def _missing(task: RunTask, job: Job, store: Store) -> Missing:
    asked = {e: job.sequences[e.protocol] for e in task.evaluations}
    found = store.run(task.run).missing(asked, compiled=job.how.compile)
    again = {e: job.replaced.get((task.run.name, e), ()) for e in task.evaluations}
    names = {e: tuple(dict.fromkeys((*found.sequences.get(e, ()), *again[e]))) for e in task.evaluations}
    return found._replace(sequences={e: left for e, left in names.items() if left})


def _steps_done(folder: RunFolder) -> int:
    # The steps that the run's checkpoint has, by what the worker last said of itself.
    progress, recipe = folder.progress(), folder.run.recipe
    if recipe is None or progress is None or not progress.trains or not folder.checkpoint.exists():
        return 0
    return progress.done // recipe.checkpoint_every * recipe.checkpoint_every


def _refuse_little_disk(job: Job, runs: int, store: Store) -> None:
    needed = runs * disk_bytes(job.profile)
    free = store.free_bytes()
    if free < needed:
        raise BadInput(
            f"{store.root} has {free / 1e9:.2f} GB free, {counted(runs, 'run')} need{'s' * (runs == 1)} about"
            f" {needed / 1e9:.2f} GB: make room, or name a --store on another disk"
        )


def _died(job: Job, store: Store, device: str, item: Pending, settings: WorkerSettings, reason: str) -> str:
    # A worker that was killed, or that refused its task, has not written why its run failed. The run may be whole by then.
    if not _missing(item.task, job, store).scores:
        store.run(item.run).set_failure(None)
        return ""
    where = provenance(
        device=device, driver=None, threads=settings.threads, workers=settings.workers, command=settings.command
    )
    with suppress(OSError):  # the disk may be full, which is the reason
        store.run(item.run).set_failure(Failure(summary=reason, traceback="", where=where))
    return f"{item.task.row}, run {item.run.name}: {reason}"


def _measure_speed(job: Job, store: Store, slots: list[Slot], observer: Observer) -> list[str]:
    # All runs that are whole are measured as soon as one of them lacks it, or if they were measured apart, so that the
    # figures of one table come from one measurement, while nothing else of ours runs. A run that failed may fail again,
    # and would take the others along.
    found = [(task, _missing(task, job, store)) for task in job.tasks]
    whole = [(task, missing) for task, missing in found if not missing.scores and store.run(task.run).trained]
    tasks = [task for task, _ in whole]
    if not any(missing.speed for _, missing in whole) and not _timed_apart(tasks, store):
        return []
    every = [one for task in tasks for one in timed(task)]
    first, *others = slots
    for slot in others:
        slot.stop()
    observer.measuring(every[0].run)
    try:
        first.ask(SpeedTask(timed=tuple(every), compile=job.how.compile), observer.watch)
    except (RunFailed, BadInput) as error:
        return [f"measuring speed: {error}"]
    return []
