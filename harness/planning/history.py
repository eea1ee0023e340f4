"""How long one unit of a run's work takes by what a store knows, and how far off that may be. Imports no torch.

Best is the same tracker, finished under the same recipe here; then a few steps of it (`plan --calibrate`); the tracker with
the nearest MACs, scaled by their ratio; runs that tracked only a few frames; MACs and a published peak.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal

from trackablate.harness.costing.hardware import expected_device
from trackablate.harness.documents import readable
from trackablate.harness.planning import peaks
from trackablate.harness.planning.peaks import ASSUMED, FLOOR_FRAME, Peak, peak_of, training_memory
from trackablate.harness.planning.work import Range, Unit
from trackablate.harness.record import PaperScale, TrainingCost
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.spec import TrackerSpec, fingerprint

Source = Literal["finished", "measured", "scaled", "peak", "assumed", "nothing left"]

SAME_RUN, MEASURED, SCALED, UNCOUNTED = 0.10, 0.20, 0.40, 0.60
"""Assumed relative errors: of a run like a finished one, of measured steps, of another tracker scaled by MACs, and of one
whose MACs are unknown."""
SETUP = Range(0.2, 1.0, 5.0)
"""Assumed seconds until a worker that has imported everything has made a model ready."""
RESULTS_READ = 24
"""Result files read per run. A run may have hundreds, and their times are alike."""
FEWEST_FRAMES = 500
"""With fewer frames of a run, the slow first frames of a process dominate the mean."""


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
    """A run that took time; measured: in a calibration, which trains and tracks a little. A floor has no cost."""

    folder: RunFolder
    cost: TrainingCost | None
    measured: bool

    @property
    def step(self) -> float:
        """Seconds of a step with all that belongs to it, 0 if no step was timed."""
        cost, recipe = self.cost, self.folder.run.recipe
        return cost.wall() / cost.samples * recipe.batch_size if cost and cost.samples and recipe else 0.0

    @cached_property
    def tracked(self) -> tuple[int, float]:
        """The number of frames of some result files, and the seconds that these took."""
        return readable(self._tracked) or (0, 0.0)

    @property
    def few(self) -> bool:
        """Whether it tracked so few frames that they say little."""
        return self.tracked[0] < FEWEST_FRAMES and not self.measured

    def _tracked(self) -> tuple[int, float]:
        plain = [evaluation for evaluation in self.folder.evaluations() if evaluation.arithmetic == "fp32"]
        every = (result for evaluation in plain for result in self.folder.results(evaluation))
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
        """The runs that can be read, finished or measured. Those that are not trained, such as floors, name no device."""
        here = shelf(self.store, self.device).name
        shelves = [file.parent for file in self.store.calibration.glob("*/store.json") if _same(file.parent.name, here)]
        stores = [self.store, *filter(None, (readable(Store, folder) for folder in sorted(shelves)))]
        found = [(folder, readable(folder.training), store) for store in stores for folder in store.runs()]
        return [
            Known(folder, record.cost if record else None, store is not self.store)
            for folder, record, store in found
            if record is None or _same(record.where.device, self.device)
        ]

    def size(self, run: RunSpec) -> PaperScale | None:
        """Return the counted size of a run's tracker, None if it is a floor or was not counted."""
        return self.store.paper_scale(run.tracker) if isinstance(run.tracker, TrackerSpec) else None

    def training_times(self, run: RunSpec) -> UnitTimes | None:
        """Return the unit times of a run's training from the best source, None if nothing is known."""
        alike = [k for k in self._alike(run) if (k.folder.run.recipe, k.folder.run.data) == (run.recipe, run.data)]
        if best := min((k for k in alike if k.step), key=lambda known: self._scale(run, known)[1:], default=None):
            return self._times(run, best, "step", best.step)
        size, tracker, recipe = self.size(run), run.tracker, run.recipe
        if not (self.peak and size and recipe) or not isinstance(tracker, TrackerSpec):
            return None
        seconds, memory = self.peak.training(tracker, size, recipe), training_memory(size, recipe.pairs_at_once)
        return UnitTimes("peak", self.peak.note(peaks.UTILISATION), seconds, memory=memory)

    def tracking_times(self, run: RunSpec) -> UnitTimes | None:
        """Return the unit times of tracking with a run from the best source, None if nothing is known."""
        alike = [known for known in self._alike(run) if known.tracked[0]]
        if best := min(alike, key=lambda known: (known.few, *self._scale(run, known)[1:]), default=None):
            frames, seconds = best.tracked
            return self._times(run, best, "tracked", seconds / frames)
        if not isinstance(run.tracker, TrackerSpec):
            return UnitTimes("assumed", "assumed", {**ASSUMED, "tracked": FLOOR_FRAME[run.tracker.kind]})
        if self.peak is None or (size := self.size(run)) is None:
            return None
        return UnitTimes("peak", self.peak.note(peaks.TRACKING_UTILISATION), self.peak.tracking(size))

    def _alike(self, run: RunSpec) -> list[Known]:
        """Return the same floor or outside tracker, or the networks with the same backbone and crops."""
        axes = ("backbone", "crop") if isinstance(run.tracker, TrackerSpec) else ("kind", "target", "arguments")
        asked = [getattr(run.tracker, axis, None) for axis in axes]
        return [k for k in self.known if [getattr(k.folder.run.tracker, axis, None) for axis in axes] == asked]

    def _scale(self, run: RunSpec, known: Known) -> tuple[float, float, float]:
        """Return the factor from one run's times to another's, its relative error, and the distance of their MACs."""
        if fingerprint(known.folder.run.tracker) == fingerprint(run.tracker):
            return 1.0, MEASURED if known.measured else SAME_RUN, 1.0
        size, macs = self.size(run), known.cost.macs if known.cost else None
        ratio = size.macs / macs if size and macs else 1.0
        return ratio, SCALED if size and macs else UNCOUNTED, max(ratio, 1 / ratio)

    def _times(self, run: RunSpec, known: Known, unit: Unit, seconds: float) -> UnitTimes:
        """Return what was timed of a run, scaled to another run."""
        (ratio, error, _), name, cost = self._scale(run, known), known.folder.run.name, known.cost
        source: Source = "scaled" if error >= SCALED else "measured" if known.measured else "finished"
        note = "measured on this device" if known.measured else f"{name}, finished on this device"
        note += f", times {ratio:.2f} by MACs" if source == "scaled" else ""
        spread, memory = Range.about(seconds * ratio, error), cost.memory() if cost and not cost.fsdp else None
        if few := unit == "tracked" and known.few:
            spread = Range(seconds * ratio / 20, seconds * ratio, seconds * ratio)
        return UnitTimes(
            source=source,
            note=f"{note}; " + ("few frames, mostly its start" if few else f"+-{100 * error:.0f} %"),
            seconds={"setup": SETUP, unit: spread},
            device_share=cost.device() / cost.wall() if cost and cost.wall() else 1.0,
            memory=Range.about(memory, error) if memory else None,
        )


def gather(store: Store, device: str = "", peak_name: str = "") -> History:
    """Return what a store knows of a device, by default this machine's, or of one in devices.toml, as `peak_of` finds it."""
    peak = peak_of(peak_name) if peak_name else None
    return History(peak.name if peak else device or expected_device(), store, peak)


def shelf(store: Store, device: str) -> Path:
    """Return the folder for what is measured on a device."""
    return store.calibration / re.sub(r"[^\w ().@-]", "_", device)


def _same(recorded: str, asked: str) -> bool:
    """Whether a recorded name is the device's name, or contains its short name as a word, and as many devices."""
    alike = re.match(r"\d+ x ", recorded) is None or recorded.split()[0] == asked.split()[0]
    return recorded == asked or (alike and f" {asked.lower()} " in f" {recorded.lower()} ")
