"""Tracking speed at batch 1, all compared trackers in one process, their rounds interleaved.

So a machine that slows down slows all of them, and nothing else of ours runs meanwhile.
"""

import statistics
import time
from dataclasses import dataclass

import torch

from datasets.sequence import Sequence
from harness.devices import device_name, synchroniser
from harness.record import Speed
from harness.store import RunFolder
from trackers.floors import FLOORS
from trackers.inference import FrameTracker, NetworkTracker
from trackers.spec import FloorSpec

ROUNDS = 9
FRAMES = 24
WARM_UP_FRAMES = 10


@dataclass(frozen=True)
class _Candidate:
    folder: RunFolder
    tracker: FrameTracker


def measure_speed(folders: list[RunFolder], sequence: Sequence, device: torch.device) -> None:
    """Measure frames per second of every run on the same frames, already decoded, and write it into the store."""
    from harness.evaluate import trained_model

    images = [sequence.frames[i] for i in range(min(len(sequence), FRAMES + 1))]
    candidates = [
        _Candidate(
            f,
            FLOORS[f.run.tracker.kind]()
            if isinstance(f.run.tracker, FloorSpec)
            else NetworkTracker(trained_model(f), device),
        )
        for f in folders
    ]
    wait = synchroniser(device)

    def seconds(tracker: FrameTracker, frames: int) -> float:
        tracker.initialise(images[0], sequence.boxes[0])
        wait()
        started = time.perf_counter()
        for i in range(frames):
            tracker.update(images[1 + i % (len(images) - 1)])
        wait()
        return time.perf_counter() - started

    for candidate in candidates:
        seconds(candidate.tracker, WARM_UP_FRAMES)
    rates: list[list[float]] = [[] for _ in candidates]
    for _ in range(ROUNDS):
        for candidate, own in zip(candidates, rates, strict=True):
            own.append(FRAMES / seconds(candidate.tracker, FRAMES))
    names = [f.run.name for f in folders]
    for candidate, own in zip(candidates, rates, strict=True):
        candidate.folder.set_speed(
            Speed(
                fps=statistics.median(own),
                low=min(own),
                high=max(own),
                rounds=ROUNDS,
                frames_per_round=FRAMES,
                device=device_name(device),
                threads=torch.get_num_threads(),
                measured_with=names,
            )
        )
