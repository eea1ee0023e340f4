"""What a store and a named device say of how long work takes, collected once for a plan. Imports no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from trackablate.harness.costing.hardware import expected_device
from trackablate.harness.planning.calibration import Calibration, calibration
from trackablate.harness.planning.peaks import Peak, peak_of
from trackablate.harness.record import PaperScale, TrainingRecord
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import RunFolder, Store, read_document
from trackablate.trackers.spec import TrackerSpec

RESULTS_READ = 24
"""Result files of a run whose times are read; they are alike, and there may be hundreds."""
FEWEST_FRAMES = 500
"""Of fewer the first ones of the process, which take many times as long, would pass for the rest."""


@dataclass(frozen=True)
class Tracked:
    """Mean wall seconds of one tracked frame, drawing or decoding it included, over so many frames."""

    seconds_per_frame: float
    frames: int

    @property
    def enough(self) -> bool:
        """Whether that is a rate, and not mostly a start."""
        return self.frames >= FEWEST_FRAMES


@dataclass(frozen=True)
class Finished:
    """A training that is done."""

    run: RunSpec
    record: TrainingRecord
    folder: RunFolder

    @cached_property
    def tracked(self) -> Tracked | None:
        """What tracking with it took, None where nothing was tracked."""
        return tracked(self.folder)


@dataclass(frozen=True)
class Evidence:
    """device: the name that records and calibrations carry; peak: of a device that was named, by its published figures."""

    device: str
    store: Store
    calibration: Calibration | None = None
    peak_name: str = ""
    peak: Peak | None = None

    @cached_property
    def finished(self) -> list[Finished]:
        """Every training in the store that was done on the device."""
        return [found for found in _finished(self.store) if _same(found.record.where.device, self.device)]

    def size(self, tracker: TrackerSpec) -> PaperScale | None:
        """The counted size of a tracker, None where nobody counted it."""
        return self.store.paper_scale(tracker)


def gather(store: Store, device: str = "", peak_name: str = "") -> Evidence:
    """What is known of a device. device: its name, this machine's if ""; peak_name: another one, by its published peak
    (RTX 3090): what the store has measured on that very device counts as well. Raises UnknownName.
    """
    peak_name, peak = peak_of(peak_name) if peak_name else ("", None)
    name = peak_name or device or expected_device()
    measured = [c for file in calibrated_devices(store) if _same(file, name) and (c := calibration(store, file))]
    best = max(measured, key=lambda c: c.workers, default=None)
    return Evidence(device=name, store=store, calibration=best, peak_name=peak_name, peak=peak)


def calibrated_devices(store: Store) -> list[str]:
    """The devices that the store has a calibration of."""
    found = (read_document(file, Calibration) for file in sorted((store.root / "calibration").glob("*.json")))
    return sorted({c.device for c in found if c is not None})


def tracked(folder: RunFolder) -> Tracked | None:
    """What tracking took by some of a run's result files; None where there are none."""
    every = (result for evaluation in folder.evaluations() for result in folder.results(evaluation))
    results = list(islice(every, RESULTS_READ))
    frames = sum(len(result.boxes) for result in results)
    return Tracked(sum(result.seconds for result in results) / frames, frames) if frames else None


def _finished(store: Store) -> Iterable[Finished]:
    for folder in store.runs():
        record = folder.training()
        if record is not None:
            yield Finished(folder.run, record, folder)


def _same(recorded: str, asked: str) -> bool:
    """Whether a recorded name is the device: the name itself, or one that holds the short name as a word of its own."""
    return recorded == asked or f" {asked.lower()} " in f" {recorded.lower()} "
