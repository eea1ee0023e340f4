"""The cost of tracking on this machine: frames per second at batch 1, and memory.

Random weights cost the same as trained ones, so no weights are needed.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from trackablate.datasets.reading.frames import decoded, jpeg
from trackablate.datasets.sequence import Image
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.costing.devices import device_name, for_child, peak_memory_bytes, resolve_device, synchroniser
from trackablate.harness.costing.macs import cost_document
from trackablate.harness.errors import RunFailed
from trackablate.harness.spec import Precision
from trackablate.harness.tracking.fixed_shapes import forward_of, network_tracker
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.floors import FLOORS
from trackablate.trackers.inference import FrameTracker
from trackablate.trackers.model import build
from trackablate.trackers.outside.processes import OutsideTracker, TrackerFailed
from trackablate.trackers.spec import FloorSpec, OutsideSpec, TrackerSpec

ROUNDS, FRAMES, WARM_UP = 5, 8, 4
JPEG_SIZE = 1280, 720
"""Width and height of the frames with which decoding is timed."""


@dataclass(frozen=True)
class TimedClip:
    """Decoded frames to time trackers on, and the target's `box` in the first frame."""

    images: Sequence[Image]
    box: NDArray[np.float64]
    synchronise: Callable[[], None]

    def seconds(self, tracker: FrameTracker, frames: int) -> list[float]:
        """Return the wall seconds of each of `frames` frames after the first. A short clip is repeated."""
        tracker.initialise(self.images[0], self.box)
        taken = []
        for i in range(frames):
            self.synchronise()
            started = time.perf_counter()
            tracker.update(self.images[1 + i % (len(self.images) - 1)])
            self.synchronise()
            taken.append(time.perf_counter() - started)
        return taken

    def as_jpeg(self) -> "TimedClip":
        """Return the clip as JPEG frames of JPEG_SIZE, which are decoded when they are tracked."""
        height, width = self.images[0].shape[:2]
        scale = np.array([JPEG_SIZE[0] / width, JPEG_SIZE[1] / height] * 2)
        return TimedClip(_Jpegs(self.images), self.box * scale, self.synchronise)


class _Jpegs(Sequence[Image]):
    def __init__(self, images: Sequence[Image]) -> None:
        self._content = [jpeg(np.asarray(cv2.resize(image, JPEG_SIZE), dtype=np.uint8)) for image in images]

    def __len__(self) -> int:
        return len(self._content)

    def __getitem__(self, index: Any) -> Any:
        return decoded(self._content[index])


def speeds(rounds: list[list[float]], from_jpeg: list[float]) -> dict[str, float]:
    """Return the speeds that `harness.speed.Speed` names, of the seconds of each frame of some rounds and of JPEG frames."""
    rates, every = [len(seconds) / sum(seconds) for seconds in rounds], 1000 * np.concatenate(rounds)
    return {
        "fps": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "fps_from_jpeg": len(from_jpeg) / sum(from_jpeg),
        "latency": float(np.median(every)),
        "latency95": float(np.percentile(every, 95)),
    }


def cost_on(spec: TrackerSpec, device: str, precision: Precision = "fp32", *, compile: bool = False) -> dict[str, Any]:
    """Return `cost_document` with the speed and memory on a device: "auto", "cpu" or "cuda".

    `fps` is the median over rounds of tracking generated frames of 160 x 120 pixels, with cropping and box decoding;
    `fps_range` is its minimum and maximum. `latency` and `latency95` are milliseconds of a frame, in the median and at
    the 95th percentile. `fps_from_jpeg` decodes frames of 1280 x 720 pixels in time. `memory_bytes` is the peak
    allocated on a GPU, or the process's peak resident memory on a CPU. Raises BadInput if this machine does not have
    the device, or if that cannot compute in the precision.
    """
    place = resolve_device(device)
    model = build(spec, pretrained=False)
    merge(model)
    tracker = network_tracker(model, place, precision, compile=compile)
    speed = speed_of(tracker, place)
    return cost_document(spec) | {
        "device": device_name(place),
        "precision": precision,
        "forward": forward_of(tracker),
        **speed,
        "memory_bytes": peak_memory_bytes(place),
        "memory_kind": "device peak allocated" if place.type == "cuda" else "process peak RSS",
        "threads": torch.get_num_threads(),
    }


def cost_of_other(spec: OutsideSpec | FloorSpec, device: str) -> dict[str, Any]:
    """Return speed and memory of an outside tracker or a floor, as `cost_on` does, and its parameters if it holds them.

    Frames reach an outside tracker through a pipe, which is part of its speed. Raises RunFailed if it fails.
    """
    place = resolve_device(device)
    if isinstance(spec, FloorSpec):
        about = {"params": 0, "memory_bytes": peak_memory_bytes(torch.device("cpu")), "memory_kind": "process peak RSS"}
        speed = speed_of(FLOORS[spec.kind](), place)
    else:
        tracker = OutsideTracker(spec, for_child(place))
        try:
            speed, about = speed_of(tracker, place), tracker.about()
        except TrackerFailed as error:
            raise RunFailed(f"{spec.name}: {error}") from error
        finally:
            tracker.close()
    return {
        "variant": spec.name,
        "params": about["params"],
        "device": device_name(place),
        **speed,
        "memory_bytes": about["memory_bytes"],
        "memory_kind": about["memory_kind"],
    }


def speed_of(tracker: FrameTracker, device: torch.device) -> dict[str, Any]:
    """Return what `cost_on` says of a tracker's speed."""
    video = make_sequence("source", 0, length=FRAMES + 1, split="val")
    clip = TimedClip(list(video), video.boxes[0], synchroniser(device))
    clip.seconds(tracker, WARM_UP)
    rounds = [clip.seconds(tracker, FRAMES) for _ in range(ROUNDS)]
    found = speeds(rounds, clip.as_jpeg().seconds(tracker, FRAMES))
    return {"fps": found.pop("fps"), "fps_range": [found.pop("low"), found.pop("high")], **found}
