"""How long one unit of a run's work takes by what a store knows, and how far off that may be. Imports no torch.

The sources, best first: the same tracker, finished under the same recipe on this device; its measured steps (`plan
--calibrate`); another tracker of the same size, finished, scaled by the ratio of MACs; another tracker's measured steps,
scaled; runs that tracked only a few frames; MACs and a published peak.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

from trackablate.harness.costing.hardware import expected_device
from trackablate.harness.planning.calibration import Calibration, Sample, batch_of, calibrations
from trackablate.harness.planning.peaks import ASSUMED, FLOOR_FRAME, Peak, peak_of, training_memory
from trackablate.harness.planning.ranges import Range, about
from trackablate.harness.planning.work import FIXED, VALIDATION_CLIPS, Unit
from trackablate.harness.record import PaperScale, SequenceResult, TrainingRecord
from trackablate.harness.spec import RunSpec, SyntheticData
from trackablate.harness.store import RunFolder, Store, read_document
from trackablate.trackers.spec import FloorSpec, TrackerSpec, fingerprint

Source = Literal["finished", "measured", "scaled", "peak", "assumed", "nothing left"]

SAME_RUN, MEASURED, SCALED, UNCOUNTED = 0.10, 0.20, 0.40, 0.60
"""Assumed relative errors: of a run like a finished one, of measured steps, of another tracker scaled by MACs, and of
another tracker whose MACs are unknown."""
RESULTS_READ = 24
"""Result files read per run. A run may have hundreds, and their times are alike."""
FEWEST_FRAMES = 500
"""With fewer frames, the slow first frames of a process dominate the mean."""


@dataclass(frozen=True)
class UnitTimes:
    """Seconds per unit of work, with their source; memory: peak bytes of a training."""

    source: Source
    note: str
    seconds: Mapping[Unit, Range]
    device_share: float = 1.0
    memory: Range | None = None


@dataclass(frozen=True)
class Known:
    """A sample with its origin; few: it comes from too few frames for a rate."""

    sample: Sample
    source: Literal["finished", "measured"]
    origin: str
    few: bool = False

    def exact(self, run: RunSpec) -> bool:
        """Whether the sample is of a run's own tracker."""
        return fingerprint(self.sample.tracker) == fingerprint(run.tracker)


@dataclass(frozen=True)
class History:
    """What is known of a device; peak: the published figures of a device that the user named."""

    device: str
    store: Store
    calibration: Calibration | None = None
    peak: Peak | None = None

    @cached_property
    def finished(self) -> list[tuple[RunFolder, TrainingRecord]]:
        """Every training in the store that was done on the device."""
        specs = [file.with_name("spec.json") for file in sorted((self.store.root / "runs").glob("*/training.json"))]
        folders = [self.store.run(run) for file in specs if (run := read_document(file, RunSpec))]
        found = [(folder, record) for folder in folders if (record := folder.training())]
        return [(folder, record) for folder, record in found if _same(record.where.device, self.device)]

    @cached_property
    def _measured(self) -> list[Known]:
        """The calibration's samples."""
        found = self.calibration
        beside = f", {found.workers} at once" if found and found.workers > 1 else ""
        samples = found.samples if found else []
        return [Known(sample, "measured", f"measured on this device{beside}") for sample in samples]

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
        note, seconds = self.peak.training(tracker, size, recipe.batch_size)
        return UnitTimes("peak", note, seconds, memory=training_memory(size, recipe.pairs_at_once))

    def tracking_times(self, run: RunSpec) -> UnitTimes | None:
        """Return the unit times of tracking with a run from the best source, None if nothing is known."""
        tracked = [_tracked(self.store.run(run), None), *(_tracked(*found) for found in self._of_its_size(run))]
        if best := self._best(run, [known for known in tracked if known]):
            return best
        if isinstance(run.tracker, FloorSpec):
            return UnitTimes("assumed", "assumed", {**ASSUMED, "tracked": FLOOR_FRAME, "online": FLOOR_FRAME})
        size = self.size(run)
        return UnitTimes("peak", *self.peak.tracking(size)) if self.peak and size else None

    def _of_its_size(self, run: RunSpec) -> list[tuple[RunFolder, TrainingRecord]]:
        """Return the finished runs whose tracker has the same backbone and crops."""
        if isinstance(run.tracker, FloorSpec):
            return []
        axes = ("backbone", "crop")
        return [f for f in self.finished if all(getattr(f[0].run.tracker, a) == getattr(run.tracker, a) for a in axes)]

    def _best(self, run: RunSpec, finished: list[Known]) -> UnitTimes | None:
        """Return what the best of some finished runs and the calibration says of a run."""
        usable = [(one, ratio) for one in (*finished, *self._measured) if (ratio := self._ratio(run, one))]

        def rank(found: tuple[Known, float]) -> tuple[bool, bool, bool, float]:
            one, ratio = found
            return one.few, not one.exact(run), one.source == "measured", max(ratio, 1 / ratio)

        return self._times(run, *min(usable, key=rank)) if usable else None

    def _ratio(self, run: RunSpec, one: Known) -> float | None:
        """Return the factor from a sample's seconds to a run's, None if the sample says nothing of it."""
        sample, size = one.sample, self.size(run)
        if one.source == "measured" and sample.batch != batch_of(run):
            return None
        if one.exact(run):
            return 1.0
        if isinstance(run.tracker, FloorSpec) or not sample.macs:
            return None
        return size.macs / sample.macs if size else 1.0 if one.source == "finished" else None

    def _times(self, run: RunSpec, one: Known, ratio: float) -> UnitTimes:
        sample, exact = one.sample, one.exact(run)
        error = (SAME_RUN if one.source == "finished" else MEASURED) if exact else SCALED
        error = error if exact or self.size(run) else UNCOUNTED
        seconds = {unit: about(s * (1 if unit in FIXED else ratio), error) for unit, s in sample.seconds.items()}
        note = one.origin + ("" if exact else f", times {ratio:.2f} by MACs") + f"; +-{100 * error:.0f} %"
        if one.few:
            seconds = {unit: Range(s.expected / 20, s.expected, s.expected) for unit, s in seconds.items()}
            note = f"{one.origin}, fewer than {FEWEST_FRAMES} frames: mostly its start"
        memory = sample.memory_bytes
        if self.calibration and one.source == "measured" and isinstance(run.data, SyntheticData):
            memory += self.calibration.clip_bytes * (run.data.clips + VALIDATION_CLIPS)  # a training keeps them
        source: Source = one.source if exact else "scaled"
        return UnitTimes(source, note, seconds, sample.device_share, about(memory, error) if memory else None)


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
    run, cost = folder.run, record.cost
    assert run.recipe is not None
    sample = Sample(
        tracker=run.tracker,
        batch=batch_of(run),
        macs=cost.macs,
        seconds={"step": cost.wall() / run.recipe.steps},
        device_share=cost.device() / max(cost.wall(), 1e-9),
        memory_bytes=cost.peak_memory_bytes or 0,
    )
    return Known(sample, "finished", f"{run.name}, finished under this recipe on this device")


def _tracked(folder: RunFolder, record: TrainingRecord | None) -> Known | None:
    """Return how fast a run tracked, by some of its result files; None if there are none."""
    files = islice(sorted(folder.path.glob("evaluations/*/*.json")), RESULTS_READ)
    results = [result for file in files if (result := read_document(file, SequenceResult))]
    if not (frames := sum(len(result.boxes) for result in results)):
        return None
    rate, cost = sum(result.seconds for result in results) / frames, record.cost if record else None
    sample = Sample(
        tracker=folder.run.tracker,
        batch=batch_of(folder.run),
        macs=cost.macs if cost else None,
        seconds={"tracked": rate, "online": 2 * rate},
        device_share=cost.device() / max(cost.wall(), 1e-9) if cost else 1.0,
    )
    return Known(sample, "finished", f"as {folder.run.name} tracked", few=frames < FEWEST_FRAMES)


def _same(recorded: str, asked: str) -> bool:
    """Whether a recorded name is the device's name, or contains its short name as a word."""
    return recorded == asked or f" {asked.lower()} " in f" {recorded.lower()} "
