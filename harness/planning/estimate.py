"""What remains of a study, in time, device time, memory and disk: for each run, and in total. Imports no torch.

Wall time is that of the runner's own way of working: tasks longest first onto so many workers, a preparation before, and
the measurement of speed after, which runs alone.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from trackablate.harness.planning.history import Evidence
from trackablate.harness.planning.span import Span, about, total
from trackablate.harness.planning.unit_times import (
    ASSUMED_START,
    GUESSED,
    MEASURED,
    NOTHING,
    Source,
    TrackingRates,
    TrainingRates,
    tracking_rates,
    training_rates,
)
from trackablate.harness.planning.workload import BOX_BYTES, Tracking, Training, tracking_left, training_left
from trackablate.harness.running.observer import Missing
from trackablate.trackers.spec import FloorSpec

SPEED_FRAMES = 9 * 24 + 10 + 25
"""Frames of one run in `harness.tracking.speed`: rounds, warm-up, and the video, whose drawing they share."""
COUNTING = Span(low=1.0, expected=2.0, high=6.0)
"""Assumed seconds of counting one tracker on the meta device."""
KEEPING = Span(low=0.02, expected=0.1, high=0.5)
"""Assumed seconds of keeping one sequence's thumbnails: six frames drawn or decoded."""
START = Span(low=2.0, expected=5.0, high=15.0)
"""Assumed seconds until a worker has loaded what it needs, where that was not measured."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunEstimate(_Document):
    """One run. seconds: wall time of its task on one worker, from its start to its end; device_seconds: of the device, as in
    PhaseCost; online: seconds of its part of the speed measurement. notes: the sources, with their uncertainty.
    """

    run: str
    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    start: Span
    training: Span
    tracking: Span
    online: Span
    device_seconds: Span
    memory_bytes: Span | None
    disk_bytes: int

    @property
    def seconds(self) -> Span:
        """Wall seconds of the task, 0 where only its speed is left to measure."""
        work = total([self.training, self.tracking])
        return total([self.start, work]) if work.high else NOTHING


class StudyEstimate(_Document):
    """All that remains. wall: seconds with `workers` at a time; device_seconds: over all workers; memory_bytes: of the
    largest run; unknown: runs of which nothing is known, then wall and device_seconds are of the others alone.
    """

    device: str
    workers: int
    runs: tuple[RunEstimate, ...]
    unknown: tuple[str, ...]
    prepare: Span
    speed: Span
    wall: Span
    device_seconds: Span
    memory_bytes: Span | None
    disk_bytes: int

    def of(self, run: str) -> RunEstimate | None:
        """The estimate of a run by its name."""
        return next((estimate for estimate in self.runs if estimate.run == run), None)


class Around(_Document):
    """What a study does beside its runs: trackers to be counted, sequences whose thumbnails are to be kept, and runs whose
    speed is to be measured again beside the missing ones.
    """

    sizes: int = 0
    thumbnails: int = 0
    measured_again: tuple[str, ...] = ()


def estimate_run(item: Missing, evidence: Evidence, disk_bytes: int) -> RunEstimate | None:
    """What is left of one run; disk_bytes: of a run of its profile, where the tracker's size is not known. None where
    nothing is known of its training or tracking.
    """
    training, tracking = training_left(item), tracking_left(item)
    trains = training_rates(item.task.run, evidence) if training.steps else None
    tracks = tracking_rates(item.task.run, evidence)
    if (training.steps and trains is None) or ((tracking.frames or item.speed) and tracks is None):
        return None
    learned, followed = _training_seconds(training, trains), _tracking_seconds(tracking, tracks)
    if trains and evidence.calibration:
        learned = total([learned, about(evidence.calibration.first, MEASURED)])
    busy = total(
        [learned.times(trains.device_share if trains else 1), followed.times(tracks.device_share if tracks else 1)]
    )
    return RunEstimate(
        run=item.task.run.name,
        sources=tuple(dict.fromkeys(r.source for r in (trains, tracks if tracking.frames else None) if r))
        or ("nothing left",),
        notes=_notes(trains, tracks if tracking.frames else None),
        start=start_of(evidence) if busy.high else NOTHING,
        training=learned,
        tracking=followed,
        online=_online(item, tracks),
        device_seconds=busy,
        memory_bytes=trains.memory if trains else None,
        disk_bytes=_disk(item, tracking, evidence, disk_bytes),
    )


def estimate_study(
    lacking: Sequence[Missing], evidence: Evidence, workers: int, disk_bytes: int, around: Around
) -> StudyEstimate:
    """All that is missing, together. disk_bytes: of one run, as its profile says."""
    return combined(estimates(lacking, evidence, disk_bytes), evidence, workers, disk_bytes, around)


def estimates(lacking: Sequence[Missing], evidence: Evidence, disk_bytes: int) -> dict[str, RunEstimate | None]:
    """The estimate of every run that lacks something, by its name."""
    return {item.task.run.name: estimate_run(item, evidence, disk_bytes) for item in lacking if not item.nothing}


def combined(
    found: Mapping[str, RunEstimate | None], evidence: Evidence, workers: int, disk_bytes: int, around: Around
) -> StudyEstimate:
    """The estimates of single runs as one of a study that does all of them."""
    runs = tuple(estimate for estimate in found.values() if estimate)
    unknown = tuple(name for name, estimate in found.items() if estimate is None)
    prepare = _prepare(around, evidence) if found else NOTHING
    speed = _speed(runs, around, evidence)
    return StudyEstimate(
        device=evidence.device,
        workers=workers,
        runs=runs,
        unknown=unknown,
        prepare=prepare,
        speed=speed,
        wall=total([prepare, _makespan([run.seconds for run in runs], workers), speed]),
        device_seconds=total([*(run.device_seconds for run in runs), *(run.online for run in runs)]),
        memory_bytes=max((run.memory_bytes for run in runs if run.memory_bytes), key=lambda m: m.high, default=None),
        disk_bytes=sum(run.disk_bytes for run in runs) + disk_bytes * len(unknown),
    )


def makespan(seconds: Iterable[float], workers: int) -> float:
    """When the last task ends, where the longest are started first, each on the first free worker."""
    free = [0.0] * workers
    for task in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + task)
    return max(free)


def start_of(evidence: Evidence) -> Span:
    """Seconds until a worker works."""
    if evidence.calibration:
        return about(evidence.calibration.start, MEASURED)
    return ASSUMED_START if evidence.peak else START


def _makespan(spans: list[Span], workers: int) -> Span:
    low, expected, high = (makespan([getattr(s, end) for s in spans], workers) for end in ("low", "expected", "high"))
    return Span(low=low, expected=expected, high=high)


def _training_seconds(work: Training, rates: TrainingRates | None) -> Span:
    if rates is None:
        return NOTHING
    parts = [rates.setup, rates.step.times(work.steps), rates.validated.times(work.validated)]
    parts += [
        rates.textures.times(work.splits),
        rates.clip.times(work.clips),
        rates.drawn.times(work.frames),
        rates.decoded.times(work.decoded),
    ]
    return total(parts)


def _tracking_seconds(work: Tracking, rates: TrackingRates | None) -> Span:
    if rates is None or not work.frames:
        return NOTHING
    parts = [rates.setup.times(work.evaluations), rates.frame.times(work.frames), rates.clip.times(work.clips)]
    parts.append(rates.textures.times(work.splits))
    return total([*parts, rates.drawn.times(work.drawn), rates.decoded.times(work.decoded)])


def _online(item: Missing, rates: TrackingRates | None) -> Span:
    if rates is None or not item.speed:
        return NOTHING
    return total([rates.setup, rates.online.times(SPEED_FRAMES)])


def _notes(trains: TrainingRates | None, tracks: TrackingRates | None) -> tuple[str, ...]:
    training = (f"training: {trains.note}",) if trains else ()
    return (*training, f"tracking: {tracks.note}") if tracks else training


def _prepare(around: Around, evidence: Evidence) -> Span:
    keeping = KEEPING
    if evidence.calibration:
        drawing = evidence.calibration.drawing
        keeping = about(6 * drawing.frame + drawing.clip, GUESSED)
    textures = about(evidence.calibration.drawing.textures, MEASURED) if evidence.calibration else NOTHING
    once = textures if around.thumbnails else NOTHING
    return total([start_of(evidence), once, COUNTING.times(around.sizes), keeping.times(around.thumbnails)])


def _speed(runs: tuple[RunEstimate, ...], around: Around, evidence: Evidence) -> Span:
    """The speed of all runs is measured anew as soon as one lacks it; those that have it take as long as the others."""
    own = [run.online for run in runs if run.online.high]
    if not own:
        return NOTHING
    textures = about(evidence.calibration.drawing.textures, MEASURED) if evidence.calibration else NOTHING
    mean = total(own).times(1 / len(own))
    return total([start_of(evidence), textures, *own, mean.times(len(around.measured_again))])


def _disk(item: Missing, tracking: Tracking, evidence: Evidence, assumed: int) -> int:
    """Weights of what trains, boxes, and what is written beside them; as the profile says where nothing was counted."""
    tracker = item.task.run.tracker
    size = None if isinstance(tracker, FloorSpec) else evidence.size(tracker)
    if size is None and not isinstance(tracker, FloorSpec):
        return assumed
    weights = 4 * size.trainable_params if size and item.training else 0
    return weights + BOX_BYTES * tracking.frames + 100_000
