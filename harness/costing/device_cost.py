"""The cost of tracking on this machine: frames per second at batch 1, and memory.

Random weights cost the same as trained ones, so no weights are needed.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trackablate.datasets.sequence import Image
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.costing.devices import device_name, for_child, peak_memory_bytes, resolve_device, synchroniser
from trackablate.harness.costing.macs import cost_document
from trackablate.harness.errors import RunFailed
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.inference import FrameTracker, NetworkTracker
from trackablate.trackers.model import build
from trackablate.trackers.outside.processes import OutsideTracker, TrackerFailed
from trackablate.trackers.spec import OutsideSpec, TrackerSpec

ROUNDS, FRAMES, WARM_UP = 5, 8, 4


@dataclass(frozen=True)
class TimedClip:
    """Decoded frames to time trackers on, and the target's `box` in the first frame."""

    images: list[Image]
    box: NDArray[np.float64]
    synchronise: Callable[[], None]

    def seconds(self, tracker: FrameTracker, frames: int) -> float:
        """Return the wall seconds of tracking `frames` frames after the first. A short clip is repeated."""
        tracker.initialise(self.images[0], self.box)
        self.synchronise()
        started = time.perf_counter()
        for i in range(frames):
            tracker.update(self.images[1 + i % (len(self.images) - 1)])
        self.synchronise()
        return time.perf_counter() - started


def cost_on(spec: TrackerSpec, device: str) -> dict[str, Any]:
    """Return `cost_document` with the speed and memory on a device: "auto", "cpu" or "cuda".

    `fps` is the median over rounds of tracking generated frames of 160 x 120 pixels, with cropping and box decoding;
    `fps_range` is its minimum and maximum. `memory_bytes` is the peak allocated on a GPU, or the process's peak
    resident memory on a CPU. Raises BadInput if this machine does not have the device.
    """
    place = resolve_device(device)
    model = build(spec, pretrained=False)
    merge(model)
    rates = _rates(NetworkTracker(model, place), place)
    return cost_document(spec) | {
        "device": device_name(place),
        "fps": statistics.median(rates),
        "fps_range": [min(rates), max(rates)],
        "memory_bytes": peak_memory_bytes(place),
        "memory_kind": "device peak allocated" if place.type == "cuda" else "process peak RSS",
        "threads": torch.get_num_threads(),
    }


def cost_of_outside(spec: OutsideSpec, device: str) -> dict[str, Any]:
    """Return speed and memory of an outside tracker on a device, as `cost_on` does, and its parameters if it holds them.

    Frames reach it through a pipe, which is part of its speed. Raises RunFailed if it fails.
    """
    place = resolve_device(device)
    tracker = OutsideTracker(spec, for_child(place))
    try:
        rates = _rates(tracker, place)
        about = tracker.about()
    except TrackerFailed as error:
        raise RunFailed(f"{spec.name}: {error}") from error
    finally:
        tracker.close()
    return {
        "variant": spec.name,
        "params": about["params"],
        "device": device_name(place),
        "fps": statistics.median(rates),
        "fps_range": [min(rates), max(rates)],
        "memory_bytes": about["memory_bytes"],
        "memory_kind": about["memory_kind"],
    }


def _rates(tracker: FrameTracker, device: torch.device) -> list[float]:
    """Return the frames per second of each round."""
    video = make_sequence("source", 0, length=FRAMES + 1, split="val")
    clip = TimedClip(list(video), video.boxes[0], synchroniser(device))
    clip.seconds(tracker, WARM_UP)
    return [FRAMES / clip.seconds(tracker, FRAMES) for _ in range(ROUNDS)]
