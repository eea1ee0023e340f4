"""How long one unit of a run's work takes by what a store knows, and how far off that may be. Imports no torch.

The sources, best first: the same tracker, finished under the same recipe on this device; its measured steps (`plan
--calibrate`); the tracker with the nearest MACs, finished or measured, scaled by their ratio; runs that tracked only a few
frames; MACs and a published peak.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

from trackablate.harness.costing.hardware import expected_device
from trackablate.harness.planning.calibration import Calibration, Sample, batch_of, calibrations
from trackablate.harness.planning.peaks import (
    ASSUMED,
    FLOOR_FRAME,
    TRACKING_UTILISATION,
    UTILISATION,
    Peak,
    peak_of,
    training_memory,
)
from trackablate.harness.planning.ranges import Range, about
from trackablate.harness.planning.reading import readable
from trackablate.harness.planning.work import FIXED, VALIDATION_CLIPS, Unit
from trackablate.harness.record import PaperScale, TrainingRecord
from trackablate.harness.spec import RunSpec, SyntheticData
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.spec import FloorSpec, TrackerSpec, fingerprint

Source = Literal["finished", "measured", "scaled", "peak", "assumed", "nothing left"]

SAME_RUN, MEASURED, SCALED, UNCOUNTED, FEW = 0.10, 0.20, 0.40, 0.60, 20.0
"""Assumed relative errors: of a run like a finished one, of measured steps, of another tracker scaled by MACs, of another
tracker whose MACs are unknown, and of what was tracked on too few frames."""
ALONE_ON_CPU, ALONE = 1.2, 2.0
"""Assumed time of a frame that is tracked alone, as a multiple of one tracked beside others."""
RESULTS_READ = 24
"""Result files read per run. A run may have hundreds, and their times are alike."""
FEWEST_FRAMES = 500
"""With fewer frames, the slow first frames of a process dominate the mean."""


@dataclass(frozen=True)
class UnitTimes:
    """Seconds per unit of work, with their source.

    Attributes:
        memory: Peak bytes of a training.
        error: Relative error; the source with the smallest is the best.
        distance: Ratio of MACs to those of the tracker that was timed, or its inverse, whichever is larger.
    """

    source: Source
    note: str
    seconds: Mapping[Unit, Range]
    device_share: float = 1.0
    memory: Range | None = None
    error: float = 0.0
    distance: float = 1.0


@dataclass(frozen=True)
class Known:
    """A sample and its origin in words; few: it was measured on so few frames that its rate is uncertain."""

    sample: Sample
    source: Source
    origin: str
    few: bool = False


@dataclass(frozen=True)
class History:
    """What is known of a device; peak: the published figures of a device that the user named."""

    device: str
    store: Store
    calibration: Calibration | None = None
    peak: Peak | None = None

    @cached_property
    def finished(self) -> list[tuple[RunFolder, TrainingRecord]]:
        """Every training in the store that was done on the device and whose record can be read."""
        found = [(folder, record) for folder in self.store.runs() if (record := readable(folder.training))]
        return [(folder, record) for folder, record in found if _same(record.where.device, self.device)]

    def size(self, run: RunSpec) -> PaperScale | None:
        """Return the counted size of a run's tracker, None if it is a floor or was not counted."""
        return self.store.paper_scale(run.tracker) if isinstance(run.tracker, TrackerSpec) else None

    def training_times(self, run: RunSpec) -> UnitTimes | None:
        """Return the unit times of a run's training from the best source, None if nothing is known."""
        alike = [f for f in self._of_its_size(run) if (f[0].run.recipe, f[0].run.data) == (run.recipe, run.data)]
        if best := self._best(run, [_trained(*found) for found in alike]):
            return best
        size, tracker, recipe = self.size(run), run.tracker, run.recipe
        if self.peak is None or size is None or recipe is None or isinstance(tracker, FloorSpec):
            return None
        seconds = self.peak.training(tracker, size, recipe.batch_size)
        memory = training_memory(size, recipe.pairs_at_once)
        return UnitTimes("peak", self.peak.note(UTILISATION), seconds, memory=memory)

    def tracking_times(self, run: RunSpec) -> UnitTimes | None:
        """Return the unit times of tracking with a run from the best source, None if nothing is known."""
        alike = [*self._of_its_size(run), (self.store.run(run), None)]
        tracked = [self._tracked(*found) for found in alike]
        if best := self._best(run, [known for known in tracked if known]):
            return best
        if isinstance(run.tracker, FloorSpec):
            frame = FLOOR_FRAME[run.tracker.kind]
            return UnitTimes("assumed", "assumed", {**ASSUMED, "tracked": frame, "online": frame})
        size = self.size(run)
        if self.peak is None or size is None:
            return None
        return UnitTimes("peak", self.peak.note(TRACKING_UTILISATION), self.peak.tracking(size))

    def _of_its_size(self, run: RunSpec) -> list[tuple[RunFolder, TrainingRecord]]:
        """Return the finished runs whose tracker has the same backbone and crops."""
        if isinstance(run.tracker, FloorSpec):
            return []
        axes = ("backbone", "crop")
        return [f for f in self.finished if all(getattr(f[0].run.tracker, a) == getattr(run.tracker, a) for a in axes)]

    @cached_property
    def _read(self) -> dict[tuple[str, bool], Known | None]:
        """What `_tracked` has read, so that no result is read twice and no unreadable one is named twice."""
        return {}

    def _tracked(self, folder: RunFolder, record: TrainingRecord | None) -> Known | None:
        key = (folder.run.name, record is None)
        if key not in self._read:
            self._read[key] = readable(
                _tracked, folder, record, ALONE_ON_CPU if self.device.startswith("CPU") else ALONE
            )
        return self._read[key]

    def _best(self, run: RunSpec, finished: list[Known]) -> UnitTimes | None:
        """Return what the surest of some finished runs and the calibration says of a run."""
        samples = self.calibration.samples if self.calibration else []
        measured = [Known(one, "measured", "measured on this device") for one in samples if one.batch == batch_of(run)]
        found = [times for known in (*finished, *measured) if (times := self._times(run, known))]
        return min(found, key=lambda times: (times.error, times.distance), default=None)

    def _times(self, run: RunSpec, known: Known) -> UnitTimes | None:
        """Return a sample's unit times, scaled to a run; None if they say nothing of it."""
        sample, size, source, note = known.sample, self.size(run), known.source, known.origin
        ratio, error, memory = 1.0, SAME_RUN if source == "finished" else MEASURED, sample.memory_bytes
        if self.calibration and source == "measured" and isinstance(run.data, SyntheticData):
            memory += self.calibration.clip_bytes * (run.data.clips + VALIDATION_CLIPS)  # a training keeps them
        if fingerprint(sample.tracker) != fingerprint(run.tracker):
            if not sample.macs or (source == "measured" and not size):
                return None
            ratio, error = (size.macs / sample.macs, SCALED) if size else (1.0, UNCOUNTED)
            source, note = "scaled", f"{note}, times {ratio:.2f} by MACs"
        seconds = {unit: about(s * (1 if unit in FIXED else ratio), error) for unit, s in sample.seconds.items()}
        held = about(memory, error) if memory else None
        if known.few:
            seconds, error = {unit: Range(s.expected / 20, s.expected, s.expected) for unit, s in seconds.items()}, FEW
            note = f"{note}, fewer than {FEWEST_FRAMES} frames: mostly its start"
        note = note if known.few else f"{note}; +-{100 * error:.0f} %"
        return UnitTimes(source, note, seconds, sample.device_share, held, error, max(ratio, 1 / ratio))


def gather(store: Store, device: str = "", peak_name: str = "") -> History:
    """Return what a store knows of a device.

    Args:
        store: Where finished runs and calibrations are.
        device: The device's name, "" for this machine's.
        peak_name: Another device by its name in devices.toml, for example RTX 3090. Raises UnknownName for others.
    """
    peak = peak_of(peak_name) if peak_name else None
    name = peak.name if peak else device or expected_device()
    measured = [calibration for calibration in calibrations(store) if _same(calibration.device, name)]
    return History(name, store, max(measured, key=lambda c: c.workers, default=None), peak)


def _trained(folder: RunFolder, record: TrainingRecord) -> Known:
    """Return the time of a step with everything that belongs to it."""
    run, cost = folder.run, record.cost
    seconds: dict[Unit, float] = {"step": cost.wall() / (run.recipe.steps if run.recipe else 1)}
    sample = _sample(run, seconds, record).model_copy(update={"memory_bytes": cost.peak_memory_bytes or 0})
    return Known(sample, "finished", f"{run.name}, finished under this recipe on this device")


def _tracked(folder: RunFolder, record: TrainingRecord | None, alone: float) -> Known | None:
    """Return the time of a frame with drawing or decoding it, by some of a run's result files; None if it has none.

    A frame that is tracked alone takes `alone` times as long. Raises BadInput if one of the files, or the document of an
    evaluation, cannot be read.
    """
    every = (result for evaluation in folder.evaluations() for result in folder.results(evaluation))
    results = list(islice(every, RESULTS_READ))
    if not (frames := sum(len(result.boxes) for result in results)):
        return None
    rate = sum(result.seconds for result in results) / frames
    sample = _sample(folder.run, {"tracked": rate, "online": alone * rate}, record)
    return Known(sample, "finished", f"as {folder.run.name} tracked", few=frames < FEWEST_FRAMES)


def _sample(run: RunSpec, seconds: dict[Unit, float], record: TrainingRecord | None) -> Sample:
    share = record.cost.device() / max(record.cost.wall(), 1e-9) if record else 1.0
    macs = record.cost.macs if record else None
    return Sample(tracker=run.tracker, batch=batch_of(run), macs=macs, seconds=seconds, device_share=share)


def _same(recorded: str, asked: str) -> bool:
    """Whether a recorded name is the device's name, or contains its short name as a word."""
    return recorded == asked or f" {asked.lower()} " in f" {recorded.lower()} "
