"""What a frame costs beside the network: crop, normalise, pick the box, place it in the image. One core, 1280 x 720.

    python -m pytest tests/benchmarks/bench_frame.py -s

The yardstick, in the same run and interleaved, is the straightforward way that LoRAT's published code goes: the whole frame
to float32, crop and `F.interpolate` there, normalise, argmax, map back. Each round walks through frames that have left the
cache, as they do while a network runs. Medians over rounds of the thread's CPU time, so that other work on the machine does
not count.
"""

import statistics
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trackablate.datasets.boxes import clip
from trackablate.datasets.pairs.aligned_cropping import view_around
from trackablate.trackers.decoding import POST_PROCESSING, best_boxes
from trackablate.trackers.inference import NetworkTracker, Target
from trackablate.trackers.model import IMAGE_MEAN, IMAGE_STD, Normalise
from trackablate.trackers.spec import CropInput, TrackerSpec
from trackablate.trackers.tokens import Prediction

LIMIT_MS = 1.5
ROUNDS, FRAMES = 15, 24
WIDTH, HEIGHT = 1280, 720
BOX = np.array([600.0, 300.0, 120.0, 90.0])
SPECS = {
    "ostrack": TrackerSpec(),
    "lorat": TrackerSpec(crop=CropInput(geometry="lorat", window="blend", template_size=112, search_size=224)),
}


class Ready(torch.nn.Module):
    """In the network's place: normalises the search crop as the tracker does, and says what was prepared."""

    def __init__(self, spec: TrackerSpec) -> None:
        super().__init__()
        self.spec, self.encoder = spec, _Sides()
        self.normalise = Normalise()
        generator = torch.Generator().manual_seed(0)
        corner = torch.rand(1, 16, 16, 2, generator=generator) * 0.3 + 0.3
        boxes = torch.cat([corner, corner + 0.25], dim=-1)
        self.found = Prediction(torch.rand(1, 16, 16, generator=generator), boxes)

    def forward(self, template: Tensor, search: Tensor, mask: Tensor) -> Prediction:
        self.seen = self.normalise(search)
        return self.found


class _Sides:
    template_side, search_side = 8, 16


def tracker(geometry: str) -> NetworkTracker:
    return NetworkTracker(Ready(SPECS[geometry]), torch.device("cpu"))  # type: ignore[arg-type]


def ours(geometry: str, frames: list[NDArray[np.uint8]]) -> Callable[[NDArray[np.uint8]], object]:
    """One frame of the project's own path, from the same box every time."""
    online = tracker(geometry)
    target = online.target((frames[0], BOX), BOX)

    def frame(image: NDArray[np.uint8]) -> object:
        return online.follow([(Target(target.template, target.mask, target.outside, BOX), image)])

    return frame


def yardstick(frames: list[NDArray[np.uint8]]) -> Callable[[NDArray[np.uint8]], object]:
    """The whole frame to float, then what LoRAT does with it."""
    model, post = Ready(SPECS["lorat"]), POST_PROCESSING["blend"]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    window = post.window(16)
    outside = torch.from_numpy(frames[0]).permute(2, 0, 1).float().mean(dim=(1, 2))

    def frame(image: NDArray[np.uint8]) -> object:
        whole = torch.from_numpy(image).permute(2, 0, 1).contiguous().float()
        view = view_around(post.searched(BOX, 10), 4, 224, (WIDTH, HEIGHT))
        crop = outside.view(3, 1, 1).expand(3, 224, 224).clone()
        part = whole[:, view.y.source[0] : view.y.source[1], view.x.source[0] : view.x.source[1]]
        (x1, x2), (y1, y2) = view.x.target, view.y.target
        crop[:, y1:y2, x1:x2] = F.interpolate(part[None], (y2 - y1, x2 - x1), mode="bilinear")[0]
        ((crop[None] / 255) - mean) / std
        boxes, _ = best_boxes(model.found, window, post.weigh)
        return clip(view.to_image(boxes[0].double().numpy()), WIDTH, HEIGHT)

    return frame


def measured(
    ways: dict[str, Callable[[NDArray[np.uint8]], object]], frames: list[NDArray[np.uint8]]
) -> dict[str, float]:
    """Median milliseconds per frame of every way, their rounds interleaved."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for name, way in ways.items():
                started = time.thread_time()
                for image in frames:
                    way(image)
                times[name].append((time.thread_time() - started) / len(frames) * 1e3)
    return {name: statistics.median(own) for name, own in times.items()}


@pytest.fixture(scope="module")
def milliseconds() -> dict[str, float]:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(FRAMES)]
    ways = {name: ours(name, frames) for name in SPECS} | {"yardstick": yardstick(frames)}
    found = measured(ways, frames)
    sys.stderr.write("\nCPU ms per frame of 1280 x 720: " + ", ".join(f"{k} {v:.2f}" for k, v in found.items()) + "\n")
    return found


@pytest.mark.parametrize("geometry", SPECS)
def test_a_frame_costs_at_most_its_limit(geometry: str, milliseconds: dict[str, float]) -> None:
    said = ", ".join(f"{name} {value:.2f} ms" for name, value in milliseconds.items())
    assert milliseconds[geometry] <= LIMIT_MS, said
    assert milliseconds[geometry] < milliseconds["yardstick"], said


def test_both_ways_see_the_same(milliseconds: dict[str, float]) -> None:
    """The yardstick's crop and ours, to float32: what is compared is the same work."""
    image = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    online = tracker("lorat")
    online.initialise(image, BOX)
    online.update(image)
    view = view_around(BOX, 4, 224, (WIDTH, HEIGHT))
    part = torch.from_numpy(image).permute(2, 0, 1).float()
    part = part[:, view.y.source[0] : view.y.source[1], view.x.source[0] : view.x.source[1]]
    expected = F.interpolate(part[None], (224, 224), mode="bilinear")[0]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    model = online.model
    assert isinstance(model, Ready)
    torch.testing.assert_close(model.seen[0], (expected / 255 - mean) / std, atol=2e-5, rtol=0)
