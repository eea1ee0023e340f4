"""What remains of a study, in time, device time, memory and disk: for each run, and in all. Imports no torch.

A run's time is its counted work times the seconds of each unit. A study's time is that of preparing it, of its runs, the
longest first, each on the first free worker, and of measuring speed on one worker at the end.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trackablate.harness.planning.history import SAME_RUN, History, Source, UnitTimes
from trackablate.harness.planning.work import SPEED_FRAMES, Range, seconds_of, speed_work, tracking_work, training_work
from trackablate.harness.running.observer import Pending
from trackablate.harness.running.runner import Job, disk_bytes, timed, unknown_protocols
from trackablate.harness.store import Store

COUNTING, KEEPING = Range(0.4, 0.8, 6.0), Range(0.02, 0.1, 0.5)
"""Assumed seconds of counting one tracker on the meta device, and of keeping one sequence's thumbnails."""
START = Range(3.0, 5.0, 20.0)
"""Assumed seconds until a worker has imported what it needs, has drawn its textures, and works at full speed."""
BOX_BYTES, RECORD_BYTES = 70, 100_000
"""Assumed size of one box in a result file, and of all records of a run."""


@dataclass(frozen=True)
class RunEstimate:
    """What is left of one run. Its seconds are wall seconds on one worker; `online` is its part of measuring speed."""

    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    training: Range
    tracking: Range
    online: Range
    device_seconds: Range
    memory_bytes: Range | None
    disk_bytes: int

    @property
    def wall_seconds(self) -> Range:
        """Wall seconds of training and tracking."""
        return Range.total([self.training, self.tracking])


@dataclass(frozen=True)
class StudyEstimate:
    """What is left of a study on so many workers. Runs without an estimate are `unknown`; the times exclude them."""

    device: str
    workers: int
    unknown: tuple[str, ...]
    prepare_seconds: Range
    speed_seconds: Range
    wall_seconds: Range
    device_seconds: Range
    memory_bytes: Range | None
    disk_bytes: int


@dataclass(frozen=True)
class OtherWork:
    """What a study does besides its missing runs: trackers to be counted, and sequences whose thumbnails are to be kept.

    `timed_again` is the seconds of measuring known speeds again, which happens if another one is missing; `run_bytes` the
    disk space of a run whose tracker was not counted.
    """

    sizes: int = 0
    thumbnails: int = 0
    timed_again: float = 0.0
    run_bytes: int = 0


def other_work(job: Job, store: Store) -> OtherWork:
    """Return what a job does besides its missing runs."""
    speeds = (store.run(one.run).speed(one.test_layers) for task in job.tasks for one in timed(task))
    return OtherWork(
        sizes=sum(store.paper_scale(spec) is None for spec in job.sizes),
        thumbnails=sum(len(job.sequences[e.protocol]) for e in unknown_protocols(job, store)),
        timed_again=sum(SPEED_FRAMES / speed.fps for speed in speeds if speed),
        run_bytes=disk_bytes(job.profile),
    )


def estimates(items: Sequence[Pending], history: History, run_bytes: int) -> dict[str, RunEstimate | None]:
    """Return the estimate of every run that lacks something, by the run's name."""
    return {item.run.name: estimate_run(item, history, run_bytes) for item in items if not item.missing.nothing}


def estimate_run(item: Pending, history: History, run_bytes: int) -> RunEstimate | None:
    """Return what is left of one run, None if nothing is known of its training, its tracking, or its videos' lengths."""
    run, nothing = item.run, UnitTimes("nothing left", "", {})
    training, tracking, online = training_work(item), tracking_work(item), speed_work(item)
    trains = history.training_times(run) if training else nothing
    tracks = history.tracking_times(run) if tracking or online else nothing
    if trains is None or tracks is None or (item.missing.sequences and not item.frames):
        return None
    used = ({"training": trains} if training else {}) | ({"tracking": tracks} if tracking else {})
    learned, followed = seconds_of(training, trains.seconds), seconds_of(tracking, tracks.seconds)
    size = history.size(run)
    weights = 4 * size.trainable_params if size and item.missing.training else 0
    return RunEstimate(
        sources=tuple(dict.fromkeys(times.source for times in used.values())) or ("nothing left",),
        notes=tuple(f"{part}: {times.note}" for part, times in used.items()),
        training=learned,
        tracking=followed,
        online=seconds_of(online, tracks.seconds),
        device_seconds=Range.total([learned.times(trains.device_share), followed.times(tracks.device_share)]),
        memory_bytes=trains.memory,
        disk_bytes=weights + BOX_BYTES * item.frames + RECORD_BYTES if size or not run.recipe else run_bytes,
    )


def estimate_study(
    found: Mapping[str, RunEstimate | None], history: History, workers: int, other: OtherWork
) -> StudyEstimate:
    """Return the estimate of a study that does these runs, given by name."""
    runs, unknown = [run for run in found.values() if run], tuple(name for name, run in found.items() if not run)
    prepare = Range.total([START, COUNTING.times(other.sizes), KEEPING.times(other.thumbnails)]) if found else Range()
    online = [run.online for run in runs if run.online.high]
    speed = Range.total([*online, Range.about(other.timed_again, SAME_RUN)]) if online else Range()
    ends = ("low", "expected", "high")
    work = Range(*(makespan([getattr(r.wall_seconds, e) for r in runs], workers, getattr(START, e)) for e in ends))
    return StudyEstimate(
        device=history.device,
        workers=workers,
        unknown=unknown,
        prepare_seconds=prepare,
        speed_seconds=speed,
        wall_seconds=Range.total([prepare, work, speed]),
        device_seconds=Range.total(seconds for run in runs for seconds in (run.device_seconds, run.online)),
        memory_bytes=max((run.memory_bytes for run in runs if run.memory_bytes), key=lambda m: m.high, default=None),
        disk_bytes=sum(run.disk_bytes for run in runs) + other.run_bytes * len(unknown),
    )


def makespan(seconds: Iterable[float], workers: int, start: float = 0.0) -> float:
    """Return when the last of some tasks ends, if the longest starts first, and each on the first free worker.

    The first worker has prepared the study. The others are ready after `start` seconds.
    """
    tasks = sorted(filter(None, seconds), reverse=True)
    free = [0.0] + [start] * (min(workers, len(tasks)) - 1)
    for task in tasks:
        heapq.heappush(free, heapq.heappop(free) + task)
    return max(free)
