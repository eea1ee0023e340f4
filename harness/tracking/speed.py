"""Tracking speed at batch 1, all compared trackers in one process, their rounds interleaved.

So a machine that slows down slows all of them, and nothing else of ours runs meanwhile.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trackablate.datasets.sequence import Image, Sequence
from trackablate.harness.costing.devices import device_name, synchroniser
from trackablate.harness.costing.macs import count_macs
from trackablate.harness.record import Speed
from trackablate.harness.store import RunFolder
from trackablate.harness.tracking.evaluation import online_tracker
from trackablate.trackers.inference import FrameTracker, NetworkTracker

ROUNDS = 9
FRAMES = 24
WARM_UP_FRAMES = 10


def measure_speed(timed: list[tuple[RunFolder, int | None]], sequence: Sequence, device: torch.device) -> None:
    """Measure frames per second of every run, with so many of its decoder's layers, on the same frames, already decoded,
    and write it into the store.
    """
    images = [sequence.frames[i] for i in range(min(len(sequence), FRAMES + 1))]
    clip = _Clip(images, sequence.boxes[0], synchroniser(device))
    trackers = [online_tracker(folder, device, test_layers) for folder, test_layers in timed]
    for tracker in trackers:
        clip.seconds(tracker, WARM_UP_FRAMES)
    rates: list[list[float]] = [[] for _ in trackers]
    for _ in range(ROUNDS):
        for tracker, own in zip(trackers, rates, strict=True):
            own.append(FRAMES / clip.seconds(tracker, FRAMES))
    together = [folder.run.name for folder, _ in timed]
    for (folder, test_layers), tracker, own in zip(timed, trackers, rates, strict=True):
        folder.set_speed(_speed(own, device, together, _macs(tracker)), test_layers)


def _macs(tracker: FrameTracker) -> int | None:
    """Of tracking one frame; None for a floor, which is no network."""
    return count_macs(tracker.model).all if isinstance(tracker, NetworkTracker) else None


@dataclass(frozen=True)
class _Clip:
    images: list[Image]
    box: NDArray[np.float64]
    wait: Callable[[], None]

    def seconds(self, tracker: FrameTracker, frames: int) -> float:
        """Wall seconds of tracking so many frames after the first, over and over the clip."""
        tracker.initialise(self.images[0], self.box)
        self.wait()
        started = time.perf_counter()
        for i in range(frames):
            tracker.update(self.images[1 + i % (len(self.images) - 1)])
        self.wait()
        return time.perf_counter() - started


def _speed(rates: list[float], device: torch.device, together: list[str], macs: int | None) -> Speed:
    return Speed(
        macs=macs,
        fps=statistics.median(rates),
        low=min(rates),
        high=max(rates),
        rounds=ROUNDS,
        frames_per_round=FRAMES,
        device=device_name(device),
        threads=torch.get_num_threads(),
        measured_with=together,
    )
