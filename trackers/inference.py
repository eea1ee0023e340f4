"""Online tracking: one box per frame from the first frame's box, with a network or without one.

Sequences are tracked in groups of fixed composition, all of a group in lockstep, and a group is always run whole: what a
network computes for one sequence can depend, in the last bit, on the batch beside it, and results must not depend on
where an earlier attempt was killed.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.boxes import Boxes
from datasets.cropping import crop, inside_image, token_mask, window_around
from datasets.sequence import Image, Sequence
from trackers.decoding import best_boxes, hanning_window
from trackers.model import OneStreamTracker


@dataclass(frozen=True)
class Trajectory:
    """name: of the sequence; boxes: (N, 4) xywh in pixels, frame 0 the given box; seconds: the wall time it took (its
    share, where several sequences were tracked together)."""

    name: str
    boxes: Boxes
    seconds: float


class FrameTracker(Protocol):
    """Frame by frame, one target."""

    def initialise(self, image: Image, box: NDArray[np.float64]) -> None: ...

    def update(self, image: Image) -> NDArray[np.float64]: ...


Template = tuple[Image, NDArray[np.float64]]


class NetworkTracker:
    """A network tracking `slots` targets at a time; state is one box per slot, the template is never updated."""

    def __init__(self, model: OneStreamTracker, device: torch.device) -> None:
        self.model = model.eval().to(device)
        self.device = device
        self.input = model.spec.crop
        self.window = hanning_window(model.encoder.search_side).to(device)
        self._boxes: list[NDArray[np.float64]] = []
        self._templates: Tensor = torch.empty(0)
        self._masks: Tensor = torch.empty(0)

    def initialise_all(self, templates: list[Template], boxes: list[NDArray[np.float64]]) -> None:
        """templates: the image and box that each slot's template is cut from; boxes: where each slot starts."""
        windows = [window_around(box, self.input.template_factor) for _, box in templates]
        crops = [crop(image, w, self.input.template_size) for (image, _), w in zip(templates, windows, strict=True)]
        side = self.model.encoder.template_side
        masks = [token_mask(w, box, side) for (_, box), w in zip(templates, windows, strict=True)]
        self._templates = self._tensor(crops)
        self._masks = torch.from_numpy(np.stack(masks)).to(self.device)
        self._boxes = [np.asarray(box, dtype=np.float64).copy() for box in boxes]

    def update_all(self, images: list[Image]) -> list[NDArray[np.float64]]:
        """The next frame of every slot; returns every slot's box."""
        windows = [window_around(box, self.input.search_factor) for box in self._boxes]
        crops = [crop(image, w, self.input.search_size) for image, w in zip(images, windows, strict=True)]
        found = self._predict(self._tensor(crops))
        placed = [w.to_image(box) for box, w in zip(found, windows, strict=True)]
        self._boxes = [self._settled(*slot) for slot in zip(placed, self._boxes, images, strict=True)]
        return list(self._boxes)

    def initialise(self, image: Image, box: NDArray[np.float64]) -> None:
        """One target: cut the template around box xywh."""
        self.initialise_all([(image, box)], [box])

    def update(self, image: Image) -> NDArray[np.float64]:
        """One target: its box xywh in the next frame."""
        return self.update_all([image])[0]

    @torch.inference_mode()
    def _predict(self, search: Tensor) -> NDArray[np.float64]:
        prediction = self.model(self._templates, search, self._masks)
        boxes, _ = best_boxes(prediction, self.window)
        return boxes.double().cpu().numpy()

    def _settled(self, box: NDArray[np.float64], last: NDArray[np.float64], image: Image) -> NDArray[np.float64]:
        """The predicted box with its size followed as far as size_rate lets it, inside the image."""
        rate, smallest = self.input.size_rate, self.input.min_side
        if rate < 1:
            size = last[2:] ** (1 - rate) * np.maximum(box[2:], smallest) ** rate
            box = np.concatenate([box[:2] + (box[2:] - size) / 2, size])
        return inside_image(box, image.shape[1], image.shape[0], smallest)

    def _tensor(self, crops: list[Image]) -> Tensor:
        return torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).float()


def track_group(
    tracker: NetworkTracker, group: list[Sequence], template_of: Callable[[int], Template]
) -> Iterator[Trajectory]:
    """Track a group in lockstep; a sequence's trajectory comes as soon as its last frame is done. template_of(i) is the
    image and box that sequence i's template is cut from. Slots of finished sequences idle on their last frame, so that
    the batch keeps its shape."""
    started = time.perf_counter()
    boxes = [[sequence.boxes[0]] for sequence in group]
    tracker.initialise_all([template_of(i) for i in range(len(group))], [b[0] for b in boxes])
    total = sum(len(sequence) for sequence in group)
    for frame in range(max(len(s) for s in group)):
        if frame:
            images = [s.frames[min(frame, len(s) - 1)] for s in group]
            for i, box in enumerate(tracker.update_all(images)):
                if frame < len(group[i]):
                    boxes[i].append(box)
        for i, sequence in enumerate(group):
            if frame == len(sequence) - 1:
                share = (time.perf_counter() - started) * len(sequence) / total
                yield Trajectory(sequence.name, np.stack(boxes[i]), share)


def track_one_by_one(tracker: FrameTracker, sequences: Iterable[Sequence]) -> Iterator[Trajectory]:
    """Track sequences one after the other."""
    for sequence in sequences:
        started = time.perf_counter()
        tracker.initialise(sequence.frames[0], sequence.boxes[0])
        boxes = [sequence.boxes[0], *(tracker.update(sequence.frames[i]) for i in range(1, len(sequence)))]
        yield Trajectory(sequence.name, np.stack(boxes), time.perf_counter() - started)
