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

from datasets.sequence import Image, Sequence
from harness.devices import device_name, synchroniser
from harness.evaluate import online_tracker
from harness.record import Speed
from harness.store import RunFolder
from trackers.inference import FrameTracker

ROUNDS = 9
FRAMES = 24
WARM_UP_FRAMES = 10


def measure_speed(folders: list[RunFolder], sequence: Sequence, device: torch.device) -> None:
    """Measure frames per second of every run on the same frames, already decoded, and write it into the store."""
    images = [sequence.frames[i] for i in range(min(len(sequence), FRAMES + 1))]
    clip = _Clip(images, sequence.boxes[0], synchroniser(device))
    trackers = [online_tracker(folder, device) for folder in folders]
    for tracker in trackers:
        clip.seconds(tracker, WARM_UP_FRAMES)
    rates: list[list[float]] = [[] for _ in trackers]
    for _ in range(ROUNDS):
        for tracker, own in zip(trackers, rates, strict=True):
            own.append(FRAMES / clip.seconds(tracker, FRAMES))
    for folder, own in zip(folders, rates, strict=True):
        folder.set_speed(_speed(own, device, [f.run.name for f in folders]))


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


def _speed(rates: list[float], device: torch.device, together: list[str]) -> Speed:
    return Speed(
        fps=statistics.median(rates),
        low=min(rates),
        high=max(rates),
        rounds=ROUNDS,
        frames_per_round=FRAMES,
        device=device_name(device),
        threads=torch.get_num_threads(),
        measured_with=together,
    )
