"""Runs what is missing: asks the store, hands tasks to the executor, shows progress, and measures speed at the end."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadInput, RunFailed
from harness.executors import Executor, Work
from harness.provenance import command_line
from harness.queue import POLL_SECONDS, Missing, run_all, said
from harness.spec import Evaluation, Profile, RunSpec
from harness.store import Store
from harness.tasks import Device, PrepareTask, RunTask, SpeedTask, Timed, WorkerSettings
from harness.worker import BAD_INPUT
from trackers.spec import FloorSpec, TrackerSpec


@dataclass(frozen=True)
class Job:
    """A study's work: its runs, the trackers whose paper-scale size it prints, and how many sequences a protocol has."""

    tasks: list[RunTask]
    sizes: list[TrackerSpec]
    sequences: dict[str, list[str]]
    profile: Profile


def missing(job: Job, store: Store) -> list[Missing]:
    """What each of the job's runs lacks."""
    return [_missing(task, job, store) for task in job.tasks]


def run(job: Job, store: Store, executor: Executor, device: str) -> None:
    """Do all that is missing. Raises BadInput before any training, and RunFailed after everything else was done where a
    run failed; in both cases the store keeps what was done."""
    lacking = [m for m in missing(job, store) if not m.nothing]
    sizes = [spec for spec in job.sizes if store.paper_scale(spec) is None]
    protocols = _unknown_protocols(job, store)
    if not (lacking or sizes or protocols):
        return
    _refuse_little_disk(job, lacking, store)
    found = _prepare(sizes, protocols, job, store, executor, device)
    to_run = sorted((m for m in lacking if m.training or m.sequences), key=_effort, reverse=True)
    settings = _places(found, _cpu_workers(job.profile, len(to_run)), store)
    failures = run_all(to_run, store, executor, settings)
    unmeasured = _trained_without_speed(job, store)
    if unmeasured:
        alone = settings[0].model_copy(update={"workers": 1})
        try:
            _wait(executor.start(SpeedTask(timed=tuple(unmeasured)), alone))
        except RunFailed as error:
            failures.append(f"measuring speed: {error}")
    if failures:
        raise RunFailed("\n".join(failures))


def _missing(task: RunTask, job: Job, store: Store) -> Missing:
    folder = store.run(task.run)
    floor = isinstance(task.run.tracker, FloorSpec)
    return Missing(
        task=task,
        training=not floor and folder.training() is None,
        sequences=sum(len(folder.missing(e, job.sequences[e.protocol])) for e in task.evaluations),
        speed=any(store.run(one.run).speed(one.test_layers) is None for one in _timed(task)),
    )


def _places(found: Device, cpu_workers: int, store: Store) -> list[WorkerSettings]:
    """The settings of each worker: one per GPU, or several on the CPU with one thread each, whatever their number, since
    the last bit of a result depends on the number of threads and must not depend on how much is left to do."""
    places = found.gpus or ("cpu",) * cpu_workers
    threads = max(1, (os.cpu_count() or 1) // len(places)) if found.gpus else 1
    root, command = str(store.root), command_line()
    return [
        WorkerSettings(store=root, device=place, threads=threads, workers=len(places), command=command)
        for place in places
    ]


def _cpu_workers(profile: Profile, tasks: int) -> int:
    """One worker per core, as far as there is work and memory for them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return max(1, min(os.cpu_count() or 1, tasks, int(memory / profile.worker_gigabytes)))


def _effort(item: Missing) -> tuple[bool, int]:
    return item.training, item.sequences


def _unknown_protocols(job: Job, store: Store) -> list[Evaluation]:
    plain = {e.protocol: e for task in job.tasks for e in task.evaluations if e.control == "none"}
    return [e for e in plain.values() if not (store.protocol(e) / "protocol.json").exists()]


def _refuse_little_disk(job: Job, lacking: list[Missing], store: Store) -> None:
    needed = int(len(lacking) * job.profile.disk_gigabytes * 1e9)
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
    return Device.model_validate_json(_wait(executor.start(task, settings)))


def _wait(work: Work) -> str:
    """The output of finished work. Raises as its exit status says."""
    try:
        while work.poll() is None:
            time.sleep(POLL_SECONDS / 4)
    except BaseException:
        work.stop()
        raise
    if work.poll() == BAD_INPUT:
        raise BadInput(said(work))
    if work.poll() != 0:
        raise RunFailed(said(work))
    return work.output()[0]


def _timed(task: RunTask) -> list[Timed]:
    """How a run's speed is measured: once for every number of decoder layers that is tested, and of the first seed alone,
    since another seed's weights compute as fast."""
    layers = dict.fromkeys(evaluation.test_layers for evaluation in task.evaluations) or {None: None}
    return [Timed(run=task.run, test_layers=n) for n in layers] if task.run.seed == 0 else []


def _trained_without_speed(job: Job, store: Store) -> list[Timed]:
    """Runs whose speed is to be measured: all of the job's that are trained as soon as one of them lacks it, so that the
    figures of one table come from one measurement."""
    ready = [task for task in job.tasks if _can_track(task.run, store)]
    timed = [one for task in ready for one in _timed(task)]
    lacking = any(store.run(one.run).speed(one.test_layers) is None for one in timed)
    return timed if lacking else []


def _can_track(run: RunSpec, store: Store) -> bool:
    return isinstance(run.tracker, FloorSpec) or store.run(run).training() is not None


def logs_of(store: Store) -> Path:
    """Where worker logs of a store lie."""
    return store.root / "logs"
