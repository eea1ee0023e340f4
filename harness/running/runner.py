"""Runs what is missing: asks the store, hands tasks to the executor, and measures speed at the end."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.provenance import command_line
from trackablate.harness.running.executors import Executor
from trackablate.harness.running.observer import Missing, Observer
from trackablate.harness.running.queue import run_all, wait_for
from trackablate.harness.running.tasks import Device, PrepareTask, RunTask, SpeedTask, Timed, WorkerSettings
from trackablate.harness.spec import Evaluation, Profile, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.spec import FloorSpec, TrackerSpec


@dataclass(frozen=True)
class Job:
    """A study's work: its runs, the trackers whose paper-scale size it prints, the sequences of each protocol, and how many
    frames those have, where that is known.
    """

    tasks: list[RunTask]
    sizes: list[TrackerSpec]
    sequences: dict[str, list[str]]
    profile: Profile
    lengths: dict[str, dict[str, int]] = field(default_factory=dict)


def missing(job: Job, store: Store) -> list[Missing]:
    """What each of the job's runs lacks."""
    return [_missing(task, job, store) for task in job.tasks]


def run(job: Job, store: Store, executor: Executor, device: str, observer: Observer) -> None:
    """Do all that is missing. Raises BadInput before any training, and RunFailed after everything else was done where a
    run failed; in both cases the store keeps what was done.
    """
    lacking = [m for m in missing(job, store) if not m.nothing]
    sizes = [spec for spec in job.sizes if store.paper_scale(spec) is None]
    protocols = _unknown_protocols(job, store)
    if not (lacking or sizes or protocols):
        return
    _refuse_little_disk(job, lacking, store)
    found = _prepare(sizes, protocols, job, store, executor, device)
    settings = places(found, job.profile, sum(m.training or m.sequences > 0 for m in lacking), store)
    queue = [item for item in observer.prepared(found.name, len(settings), lacking) if item.training or item.sequences]
    failures = run_all(queue, store, executor, settings, observer)
    failures += _measure_speed(job, store, executor, settings[0])
    if failures:
        raise RunFailed("\n".join(failures))
    observer.ended()


def disk_bytes(profile: Profile) -> int:
    """Disk that one run needs, as its profile says."""
    return int(profile.disk_gigabytes * 1e9)


def cpu_workers(profile: Profile, tasks: int) -> int:
    """One worker per core, as far as there is work and memory for them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return max(1, min(os.cpu_count() or 1, tasks, int(memory / profile.worker_gigabytes)))


def _measure_speed(job: Job, store: Store, executor: Executor, place: WorkerSettings) -> list[str]:
    """Measures the speed of what is trained, if any lacks it; what failed."""
    timed = _trained_without_speed(job, store)
    try:
        if timed:
            wait_for(executor.start(SpeedTask(timed=tuple(timed)), place.model_copy(update={"workers": 1})))
    except RunFailed as error:
        return [f"measuring speed: {error}"]
    return []


def _missing(task: RunTask, job: Job, store: Store) -> Missing:
    folder = store.run(task.run)
    floor = isinstance(task.run.tracker, FloorSpec)
    training = not floor and folder.training() is None
    left = {e: folder.missing(e, job.sequences[e.protocol]) for e in task.evaluations}
    frames = {e: sum(job.lengths.get(e.protocol, {}).get(name, 0) for name in names) for e, names in left.items()}
    return Missing(
        task=task,
        training=training,
        sequences=sum(map(len, left.values())),
        speed=any(folder.speed(one.test_layers) is None for one in _timed(task)),
        steps_done=_steps_done(folder) if training else 0,
        frames=sum(frames.values()),
        generated=sum(count for e, count in frames.items() if PROTOCOLS[e.protocol].data is None),
    )


def _steps_done(folder: RunFolder) -> int:
    """Steps that the run's checkpoint has, by what the worker last said of itself; 0 where there is none."""
    progress, recipe = folder.progress(), folder.run.recipe
    if recipe is None or progress is None or progress.phase != "train" or not folder.checkpoint.exists():
        return 0
    return progress.done // recipe.checkpoint_every * recipe.checkpoint_every


def places(found: Device, profile: Profile, tasks: int, store: Store) -> list[WorkerSettings]:
    """The settings of each worker: one per GPU, or several on the CPU with one thread each, whatever their number, since
    the last bit of a result depends on the number of threads and must not depend on how much is left to do.
    """
    places = found.gpus or ("cpu",) * cpu_workers(profile, tasks)
    threads = max(1, (os.cpu_count() or 1) // len(places)) if found.gpus else 1
    root, command = str(store.root), command_line()
    return [
        WorkerSettings(store=root, device=place, threads=threads, workers=len(places), command=command)
        for place in places
    ]


def _unknown_protocols(job: Job, store: Store) -> list[Evaluation]:
    plain = {e.protocol: e for task in job.tasks for e in task.evaluations if e.control == "none"}
    return [e for e in plain.values() if not (store.protocol(e) / "protocol.json").exists()]


def _refuse_little_disk(job: Job, lacking: list[Missing], store: Store) -> None:
    needed = len(lacking) * disk_bytes(job.profile)
    free = store.free_bytes()
    if free < needed:
        raise BadInput(
            f"{store.root} has {free / 1e9:.2f} GB free, {len(lacking)} runs need about {needed / 1e9:.2f} GB: make room, "
            "or name a --store on another disk"
        )


def _prepare(
    sizes: list[TrackerSpec], protocols: list[Evaluation], job: Job, store: Store, executor: Executor, device: str
) -> Device:
    roots = job.tasks[0].roots
    task = PrepareTask(sizes=tuple(sizes), protocols=tuple(protocols), roots=roots)
    settings = WorkerSettings(store=str(store.root), device=device, threads=1, workers=1, command=command_line())
    return Device.model_validate_json(wait_for(executor.start(task, settings)))


def _timed(task: RunTask) -> list[Timed]:
    """How a run's speed is measured: once for every number of decoder layers that is tested, and of the first seed alone,
    since another seed's weights compute as fast.
    """
    layers = dict.fromkeys(evaluation.test_layers for evaluation in task.evaluations) or {None: None}
    return [Timed(run=task.run, test_layers=n) for n in layers] if task.run.seed == 0 else []


def _trained_without_speed(job: Job, store: Store) -> list[Timed]:
    """Runs whose speed is to be measured: all of the job's that are trained as soon as one of them lacks it, so that the
    figures of one table come from one measurement.
    """
    ready = [task for task in job.tasks if _can_track(task.run, store)]
    timed = [one for task in ready for one in _timed(task)]
    lacking = any(store.run(one.run).speed(one.test_layers) is None for one in timed)
    return timed if lacking else []


def _can_track(run: RunSpec, store: Store) -> bool:
    return isinstance(run.tracker, FloorSpec) or store.run(run).training() is not None


def logs_of(store: Store) -> Path:
    """Where worker logs of a store lie."""
    return store.root / "logs"
