"""How long one unit of a run's work takes by what a store knows, and how far off that may be. Imports no torch.

The sources, best first: the same tracker, finished under the same recipe on this device; a few steps and frames of it that
were measured (`plan --calibrate`); the tracker with the nearest MACs, finished or measured, scaled by their ratio; runs that
tracked only a few frames; MACs and a published peak.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

from trackablate.harness.costing.hardware import expected_device
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
from trackablate.harness.planning.work import Unit
from trackablate.harness.record import PaperScale, TrainingRecord
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.spec import FloorSpec, TrackerSpec, fingerprint

Source = Literal["finished", "measured", "scaled", "peak", "assumed", "nothing left"]

SAME_RUN, MEASURED, SCALED, UNCOUNTED, FEW = 0.10, 0.20, 0.40, 0.60, 20.0
"""Assumed relative errors: of a run like a finished one, of measured steps, of another tracker scaled by MACs, of another
tracker whose MACs are unknown, and of what was tracked on too few frames."""
ALONE_ON_CPU, ALONE = 1.2, 2.0
"""Assumed time of a frame that is tracked alone, as a multiple of one tracked beside others."""
SETUP = Range(0.2, 1.0, 5.0)
"""Assumed seconds until a worker that has imported everything has made a model ready."""
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
    """A run that took time; measured: in a calibration, which trains and tracks a little. A floor has no record."""

    folder: RunFolder
    record: TrainingRecord | None
    measured: bool

    @property
    def step(self) -> float | None:
        """Seconds of a step with all that belongs to it; None if no step was timed."""
        cost, recipe = self.record.cost if self.record else None, self.folder.run.recipe
        return cost.wall() / cost.samples * recipe.batch_size if cost and cost.samples and recipe else None

    @cached_property
    def tracked(self) -> tuple[int, float]:
        """The number of frames of some result files, and the seconds that these took."""
        return readable(self._tracked) or (0, 0.0)

    def _tracked(self) -> tuple[int, float]:
        every = (result for evaluation in self.folder.evaluations() for result in self.folder.results(evaluation))
        results = list(islice(every, RESULTS_READ))
        return sum(len(result.boxes) for result in results), sum(result.seconds for result in results)


@dataclass(frozen=True)
class History:
    """What is known of a device; peak: the published figures of a device that the user named."""

    device: str
    store: Store
    peak: Peak | None = None

    @cached_property
    def known(self) -> list[Known]:
        """The runs in the store that were done on the device, finished or measured, and that can be read."""
        shelves = [file.parent for file in sorted(self.store.calibration.glob("*/store.json"))]
        measured = [
            readable(Store, shelf, make=False) for shelf in shelves if _same(shelf.name, shelf_name(self.device))
        ]
        return [*self._runs(self.store, False), *(k for shelf in measured if shelf for k in self._runs(shelf, True))]

    def _runs(self, store: Store, measured: bool) -> Iterator[Known]:
        for folder in store.runs():
            record = readable(folder.training)
            if isinstance(folder.run.tracker, FloorSpec) or (record and _same(record.where.device, self.device)):
                yield Known(folder, record, measured)

    def size(self, run: RunSpec) -> PaperScale | None:
        """Return the counted size of a run's tracker, None if it is a floor or was not counted."""
        return self.store.paper_scale(run.tracker) if isinstance(run.tracker, TrackerSpec) else None

    def training_times(self, run: RunSpec) -> UnitTimes | None:
        """Return the unit times of a run's training from the best source, None if nothing is known."""
        alike = [k for k in self._alike(run) if (k.folder.run.recipe, k.folder.run.data) == (run.recipe, run.data)]
        found = [self._times(run, k, {"step": k.step}) for k in alike if k.step is not None]
        size, tracker, recipe = self.size(run), run.tracker, run.recipe
        if found or not (self.peak and size and recipe) or isinstance(tracker, FloorSpec):
            return _best(found)
        seconds, memory = self.peak.training(tracker, size, recipe), training_memory(size, recipe.pairs_at_once)
        return UnitTimes("peak", self.peak.note(UTILISATION), seconds, memory=memory)

    def tracking_times(self, run: RunSpec) -> UnitTimes | None:
        """Return the unit times of tracking with a run from the best source, None if nothing is known."""
        if found := [self._tracking(run, known) for known in self._alike(run) if known.tracked[0]]:
            return _best(found)
        if isinstance(run.tracker, FloorSpec):
            frame = FLOOR_FRAME[run.tracker.kind]
            return UnitTimes("assumed", "assumed", {**ASSUMED, "tracked": frame, "online": frame})
        size = self.size(run)
        if self.peak is None or size is None:
            return None
        return UnitTimes("peak", self.peak.note(TRACKING_UTILISATION), self.peak.tracking(size))

    def _alike(self, run: RunSpec) -> list[Known]:
        """Return the same floor, or the networks with the same backbone and crops."""
        axes = ("kind",) if isinstance(run.tracker, FloorSpec) else ("backbone", "crop")
        asked = [getattr(run.tracker, axis) for axis in axes]
        return [k for k in self.known if [getattr(k.folder.run.tracker, axis, None) for axis in axes] == asked]

    def _tracking(self, run: RunSpec, known: Known) -> UnitTimes:
        frames, seconds = known.tracked
        rate, few = seconds / frames, frames < FEWEST_FRAMES and not known.measured
        alone = ALONE_ON_CPU if self.device.startswith("CPU") else ALONE
        times = self._times(run, known, {"tracked": rate, "online": alone * rate})
        if not few:
            return times
        ranges = {unit: Range(s.expected / 20, s.expected, s.expected) for unit, s in times.seconds.items()}
        note = f"as {known.folder.run.name} tracked, fewer than {FEWEST_FRAMES} frames: mostly its start"
        return UnitTimes(times.source, note, ranges, times.device_share, error=FEW)

    def _times(self, run: RunSpec, known: Known, seconds: Mapping[Unit, float]) -> UnitTimes:
        """Return what was timed of a run, scaled to another run."""
        origin, cost, size = known.folder.run, known.record.cost if known.record else None, self.size(run)
        source: Source = "measured" if known.measured else "finished"
        note = "measured on this device" if known.measured else f"{origin.name}, finished on this device"
        ratio, error = 1.0, MEASURED if known.measured else SAME_RUN
        if fingerprint(origin.tracker) != fingerprint(run.tracker):
            counted = size is not None and cost is not None and cost.macs
            ratio, error = (size.macs / counted, SCALED) if size and counted else (1.0, UNCOUNTED)
            source, note = "scaled", f"{note}, times {ratio:.2f} by MACs"
        ranges = {unit: about(s * ratio, error) for unit, s in seconds.items()}
        memory = cost.memory() if cost else None
        return UnitTimes(
            source=source,
            note=f"{note}; +-{100 * error:.0f} %",
            seconds={"setup": SETUP, **ranges},
            device_share=cost.device() / max(cost.wall(), 1e-9) if cost else 1.0,
            memory=about(memory, error) if memory else None,
            error=error,
            distance=max(ratio, 1 / ratio),
        )


def _best(found: Sequence[UnitTimes]) -> UnitTimes | None:
    return min(found, key=lambda times: (times.error, times.distance), default=None)


def gather(store: Store, device: str = "", peak_name: str = "") -> History:
    """Return what a store knows of a device.

    Args:
        store: Where finished runs and calibrations are.
        device: The device's name, "" for this machine's.
        peak_name: Another device by its name in devices.toml, for example RTX 3090. Raises UnknownName for others.
    """
    peak = peak_of(peak_name) if peak_name else None
    return History(peak.name if peak else device or expected_device(), store, peak)


def shelf_name(device: str) -> str:
    """Return the name of the folder in STORE/calibration for what is measured on a device."""
    return re.sub(r"[^\w ().@-]", "_", device)


def _same(recorded: str, asked: str) -> bool:
    """Whether a recorded name is the device's name, or contains its short name as a word."""
    return recorded == asked or f" {asked.lower()} " in f" {recorded.lower()} "
