"""Runs what is missing: asks the store, hands tasks to the executor, shows progress, and measures speed at the end."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress, TaskID

from harness.errors import BadInput, RunFailed
from harness.executors import Executor, Work
from harness.progress import progress_bars
from harness.provenance import command_line
from harness.spec import Evaluation, Profile, RunSpec
from harness.store import Store
from harness.tasks import Device, PrepareTask, RunTask, SpeedTask, WorkerSettings
from harness.worker import BAD_INPUT
from trackers.spec import FloorSpec, TrackerSpec

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """A study's work: its runs, the trackers whose paper-scale size it prints, and how many sequences a protocol has."""

    tasks: list[RunTask]
    sizes: list[TrackerSpec]
    sequences: dict[str, list[str]]
    profile: Profile


@dataclass(frozen=True)
class Missing:
    """What the store lacks for one run."""

    task: RunTask
    training: bool
    sequences: int
    speed: bool

    @property
    def nothing(self) -> bool:
        """Whether the run is done."""
        return not (self.training or self.sequences or self.speed)


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
    places = list(found.gpus) or ["cpu"] * _cpu_workers(job.profile, len(to_run))
    threads = max(1, (os.cpu_count() or 1) // len(places))
    settings = [
        WorkerSettings(
            store=str(store.root), device=place, threads=threads, workers=len(places), command=command_line()
        )
        for place in places
    ]
    failures = _run_all(to_run, store, executor, settings)
    unmeasured = _trained_without_speed(job, store)
    if unmeasured:
        alone = settings[0].model_copy(update={"threads": 1 if places[0] == "cpu" else threads, "workers": 1})
        _wait(executor.start(SpeedTask(runs=tuple(unmeasured)), alone))
    if failures:
        raise RunFailed("\n".join(failures))


def _missing(task: RunTask, job: Job, store: Store) -> Missing:
    folder = store.run(task.run)
    floor = isinstance(task.run.tracker, FloorSpec)
    return Missing(
        task=task,
        training=not floor and folder.training() is None,
        sequences=sum(len(folder.missing(e, job.sequences[e.protocol])) for e in task.evaluations),
        speed=folder.speed() is None,
    )


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
    output, errors = work.output()
    if work.poll() == BAD_INPUT:
        raise BadInput(errors.strip().splitlines()[-1])
    if work.poll() != 0:
        raise RunFailed(f"a worker stopped with status {work.poll()}:\n{errors.strip()}")
    return output


def _run_all(queue: list[Missing], store: Store, executor: Executor, settings: list[WorkerSettings]) -> list[str]:
    """Keep one task going on each worker until the queue is done; returns what failed, each with its reason."""
    failures: list[str] = []
    running: dict[int, tuple[Missing, Work, WorkerSettings]] = {}
    waiting, free = list(queue), list(settings)
    with progress_bars() as bars:
        total = bars.add_task(f"{len(queue)} runs", total=len(queue))
        lines = {id(m): bars.add_task(m.task.run.slug, total=None, start=False) for m in queue}
        try:
            while waiting or running:
                while waiting and free:
                    item, place = waiting.pop(0), free.pop(0)
                    running[id(item)] = item, executor.start(item.task, place), place
                    bars.start_task(lines[id(item)])
                time.sleep(POLL_SECONDS)
                for key, (item, work, place) in list(running.items()):
                    _show(bars, lines[key], item, store)
                    if work.poll() is not None:
                        del running[key]
                        free.append(place)
                        bars.advance(total)
                        bars.remove_task(lines[key])
                        failures += _failure(item, work)
        finally:
            for _, work, _ in running.values():
                work.stop()
    return failures


def _show(bars: Progress, line: TaskID, item: Missing, store: Store) -> None:
    progress = store.run(item.task.run).progress()
    if progress is not None:
        description = f"{item.task.run.slug}: {progress.phase}"
        if bars.tasks[bars.task_ids.index(line)].description != description:
            bars.reset(line, description=description, total=progress.total, completed=progress.done)
        bars.update(line, completed=progress.done)


def _failure(item: Missing, work: Work) -> list[str]:
    status = work.poll()
    if status == 0:
        return []
    _, errors = work.output()
    if status == BAD_INPUT:
        raise BadInput(errors.strip().splitlines()[-1])
    lines = errors.strip().splitlines()
    return [f"{item.task.run.name}: {lines[-1] if lines else f'the worker stopped with status {status}'}"]


def _trained_without_speed(job: Job, store: Store) -> list[RunSpec]:
    """Runs whose speed is to be measured: all of the job's that are trained as soon as one of them lacks it, so that the
    figures of one table come from one measurement."""
    folders = [store.run(task.run) for task in job.tasks]
    ready = [f for f in folders if isinstance(f.run.tracker, FloorSpec) or f.training() is not None]
    lacking = any(f.speed() is None for f in ready)
    return [f.run for f in ready] if lacking else []


def logs_of(store: Store) -> Path:
    """Where worker logs of a store lie."""
    return store.root / "logs"
