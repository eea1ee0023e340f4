"""What a tracker costs on a device that is here: frames per second at batch 1, and memory. Random weights cost the same as
trained ones, so none are needed.
"""

import statistics
import time
from typing import Any

import torch

from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.costing.devices import device_name, peak_memory_bytes, resolve_device, synchroniser
from trackablate.harness.costing.macs import cost_document
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.inference import NetworkTracker
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import TrackerSpec

ROUNDS, FRAMES, WARM_UP = 5, 8, 4


def cost_on(spec: TrackerSpec, device: str) -> dict[str, Any]:
    """`cost_document`, and on the device (auto, cpu, cuda): fps, the median over rounds of tracking generated frames of
    160 x 120 pixels, crop and decoding of the box included, with fps_range; memory_bytes, the peak allocated on a GPU, on a
    CPU the process's peak resident memory. Raises BadInput for a device that is not here.
    """
    place = resolve_device(device)
    rates = _rates(_merged(spec), place)
    return cost_document(spec) | {
        "device": device_name(place),
        "fps": statistics.median(rates),
        "fps_range": [min(rates), max(rates)],
        "memory_bytes": peak_memory_bytes(place),
        "memory_kind": "device peak allocated" if place.type == "cuda" else "process peak RSS",
        "threads": torch.get_num_threads(),
    }


def _merged(spec: TrackerSpec) -> OneStreamTracker:
    merged = merge(build(spec, pretrained=False))
    assert isinstance(merged, OneStreamTracker)
    return merged


def _rates(model: OneStreamTracker, device: torch.device) -> list[float]:
    """Frames per second of each round."""
    clip = make_sequence("source", 0, length=FRAMES + 1, split="val")
    images, wait = list(clip), synchroniser(device)
    tracker = NetworkTracker(model, device)
    tracker.initialise(images[0], clip.boxes[0])
    for image in images[1 : WARM_UP + 1]:
        tracker.update(image)
    rates = []
    for _ in range(ROUNDS):
        tracker.initialise(images[0], clip.boxes[0])
        wait()
        began = time.perf_counter()
        for image in images[1:]:
            tracker.update(image)
        wait()
        rates.append(FRAMES / (time.perf_counter() - began))
    return rates
