"""Online tracking: one box per frame, starting from the first frame's box, with a network or without one.

Many sequences are tracked at once. When a sequence ends, its slot takes the next one, and the batch shrinks when none
is left. What a network computes for a row of a batch can depend, in the last bit, on the batch's size and on the row's
place in it, but never on the other rows. So `schedule` decides from the sequences' lengths alone which sequence is in
which row at which step. If some sequences were tracked before, their rows stay empty, and the boxes of the others are
those of an unbroken run, bit for bit.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trackablate.datasets.boxes import Box, Boxes
from trackablate.datasets.pairs.cropping import Colour, Crop, View, token_mask
from trackablate.datasets.pairs.geometries import GEOMETRIES, CropRequest
from trackablate.datasets.sequence import Image, Sequence
from trackablate.trackers.decoding import POST_PROCESSING, best_boxes
from trackablate.trackers.model import OneStreamTracker


@dataclass(frozen=True)
class Trajectory:
    """A tracked sequence.

    Attributes:
        boxes: (N, 4) xywh in pixels. Frame 0 has the given box.
        seconds: The wall time, or the share of it if several sequences were tracked together. It includes waiting for
            frames, but not the time in which they are read ahead.
    """

    name: str
    boxes: Boxes
    seconds: float


class FrameTracker(Protocol):
    """A tracker of one target that sees one frame after the other."""

    def initialise(self, image: Image, box: Box) -> None:
        """Start on the first frame with box xywh."""

    def update(self, image: Image) -> Box:
        """Return the box xywh in the next frame."""


Template = tuple[Image, Box]
"""An image, and the box in it that a template is cut around."""


@dataclass
class Target:
    """The state of one target.

    Attributes:
        template: (3, S, S), the template crop.
        mask: (Nz,) bool, the template tokens inside its box.
        outside: The colour outside the image.
        box: The last box xywh.
    """

    template: Tensor
    mask: Tensor
    outside: Colour
    box: Box


Row = tuple[Target, Image] | None
"""A target and the image to find it in, or None for an empty row."""

Find = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes templates, search crops and masks, and returns each row's box (B, 4) xyxy in [0, 1] and its score (B,)."""


class NetworkTracker:
    """A network that tracks any number of targets at a time. A target's template is never updated.

    Its products are computed in the 16-bit type `half`, if one is given.

    Attributes:
        find: Computes boxes and scores on the device.
        few_shapes: Whether `find` is given batches of 1, 2, 4, ... rows only, the last of them empty.
    """

    def __init__(self, model: OneStreamTracker, device: torch.device, half: torch.dtype | None = None) -> None:
        self._half = half
        self.model = model.eval().to(device)
        if half is not None:  # autocast would cast them anew in every frame
            for layer in model.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    layer.to(half)
        self.find: Find = self._find
        self.few_shapes = False
        self.device = device
        self.input = model.spec.crop
        self.geometry = GEOMETRIES[self.input.geometry]
        self.post = POST_PROCESSING[self.input.window]
        self.window = self.post.window(model.encoder.search_side).to(device)
        side, pixels = model.encoder.template_side, self.input.template_size
        self._empty = (
            torch.zeros(3, pixels, pixels, device=device),
            torch.zeros(side**2, dtype=torch.bool, device=device),
        )
        self._target: Target | None = None
        self._scores = torch.zeros(1)

    @property
    def score(self) -> float:
        """The score of the one target's last box, before weighing."""
        return float(self._scores[0])

    def target(self, template: Template, box: Box) -> Target:
        """Return a target at box xywh, with the template cut from `template`."""
        image, around = template
        size = self.input.template_size
        view = self.geometry.around(around, CropRequest(self.input.template_factor, size, _extent(image)))
        outside = self.geometry.outside(image)
        mask = torch.from_numpy(token_mask(view, around, self.model.encoder.template_side)).to(self.device)
        (pixels,) = self._tensor([view.cut(image, size, outside)])
        return Target(pixels, mask, outside, np.asarray(box, dtype=np.float64).copy())

    def follow(self, rows: list[Row]) -> list[Box | None]:
        """Find every target in its image, all in one batch. Returns each row's box, None for an empty row."""
        asked = len(rows)
        if self.few_shapes:
            rows = rows + [None] * ((1 << (asked - 1).bit_length()) - asked)
        views = [row and self._view(*row) for row in rows]
        size = self.input.search_size
        blank = np.zeros((size, size, 3), dtype=np.uint8)
        crops = [
            view.cut(row[1], size, row[0].outside) if row and view else blank
            for row, view in zip(rows, views, strict=True)
        ]
        found = self._predict(rows, self._tensor(crops))
        return [
            self._settle(*row, view.to_image(box)) if row and view else None
            for row, view, box in zip(rows[:asked], views, found, strict=False)
        ]

    def initialise(self, image: Image, box: Box) -> None:
        """Cut the template around box xywh, to track one target."""
        self._target = self.target((image, box), box)

    def update(self, image: Image) -> Box:
        """Return the one target's box xywh in the next frame."""
        if self._target is None:
            raise ValueError("no target yet: initialise with the first image and its box")
        (box,) = self.follow([(self._target, image)])
        assert box is not None
        return box

    def _view(self, target: Target, image: Image) -> View:
        box = self.post.searched(target.box, self.input.min_side)
        return self.geometry.around(box, CropRequest(self.input.search_factor, self.input.search_size, _extent(image)))

    @torch.inference_mode()
    def _predict(self, rows: list[Row], search: Tensor) -> NDArray[np.float64]:
        templates = torch.stack([row[0].template if row else self._empty[0] for row in rows])
        masks = torch.stack([row[0].mask if row else self._empty[1] for row in rows])
        boxes, self._scores = self.find(templates, search, masks)
        return boxes.double().cpu().numpy()

    def _find(self, templates: Tensor, search: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, self._half, enabled=self._half is not None):
            found = self.model(templates, search, masks)
        return best_boxes(found, self.window, self.post.weigh)

    def _settle(self, target: Target, image: Image, box: Box) -> Box:
        """Move the target to the predicted box, its size changed as far as size_rate lets it, and return that box."""
        if not np.isfinite(box).all():
            raise ValueError(f"the predicted box {box.tolist()} is not finite")
        rate, smallest = self.input.size_rate, self.input.min_side
        if rate < 1:
            size = target.box[2:] ** (1 - rate) * np.maximum(box[2:], smallest) ** rate
            box = np.concatenate([box[:2] + (box[2:] - size) / 2, size])
        placed = self.post.placed(box, *_extent(image), smallest)
        target.box = self.post.followed(placed, target.box)
        return placed

    def _tensor(self, crops: list[Crop]) -> Tensor:
        pixels = torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format)


def _extent(image: Image) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def schedule(lengths: list[int], slots: int) -> Iterator[list[tuple[int, int]]]:
    """Yield for each step the (sequence, frame) of every row.

    Each sequence has frames 1, 2, ... in one slot. Sequences start in order, as soon as a slot is free. Rows without a
    next sequence are closed.
    """
    waiting = [(i, 1) for i, length in enumerate(lengths) if length > 1]
    rows, waiting = waiting[:slots], waiting[slots:]
    while rows:
        yield rows
        following = []
        for sequence, frame in rows:
            if frame + 1 < lengths[sequence]:
                following.append((sequence, frame + 1))
            elif waiting:
                following.append(waiting.pop(0))
        rows = following


@dataclass(frozen=True)
class TrackingBatch:
    """Sequences to be tracked together.

    Attributes:
        open: Called as open(i); returns sequence i.
        template: Called as template(i, sequence); returns the image and box that its template is cut from.
        lengths: Number of frames of every sequence.
        wanted: The sequences to track. The others only keep their rows.
        slots: The largest number of rows.
        report: Called with the number of frames that were just tracked.
    """

    open: Callable[[int], Sequence]
    template: Callable[[int, Sequence], Template]
    lengths: list[int]
    wanted: frozenset[int]
    slots: int
    report: Callable[[int], None] = lambda frames: None


@dataclass
class _Run:
    sequence: Sequence
    target: Target
    boxes: list[Box]
    seconds: float = field(default=0.0)

    def trajectory(self) -> Trajectory:
        return Trajectory(self.sequence.name, np.stack(self.boxes), self.seconds)


def track_together(tracker: NetworkTracker, batch: TrackingBatch) -> Iterator[Trajectory]:
    """Track the wanted sequences. Yields each trajectory as soon as its last frame is done."""
    runs: dict[int, _Run] = {}
    for i in sorted(batch.wanted):
        if batch.lengths[i] == 1:
            yield _begin(tracker, batch, i).trajectory()
    for places in schedule(batch.lengths, batch.slots):
        live = [(i, frame) for i, frame in places if i in batch.wanted]
        if not live:
            continue
        started = time.perf_counter()
        runs.update({i: _begin(tracker, batch, i) for i, frame in live if frame == 1})
        rows: list[Row] = [
            (runs[i].target, runs[i].sequence.frames[frame]) if i in batch.wanted else None for i, frame in places
        ]
        for (i, _), box in zip(places, tracker.follow(rows), strict=True):
            if box is not None:
                runs[i].boxes.append(box)
        for i, frame in live:
            runs[i].seconds += (time.perf_counter() - started) / len(live)
            if frame == batch.lengths[i] - 1:
                yield runs.pop(i).trajectory()
        batch.report(len(live))


def _begin(tracker: NetworkTracker, batch: TrackingBatch, i: int) -> _Run:
    sequence = batch.open(i)
    return _Run(sequence, tracker.target(batch.template(i, sequence), sequence.boxes[0]), [sequence.boxes[0]])


def track_one_by_one(
    tracker: FrameTracker, sequences: Iterable[Sequence], report: Callable[[int], None] = lambda frames: None
) -> Iterator[Trajectory]:
    """Track sequences one after the other; `report` is called with the number of frames that were just tracked."""
    for sequence in sequences:
        started = time.perf_counter()
        tracker.initialise(sequence.frames[0], sequence.boxes[0])
        boxes = [sequence.boxes[0]]
        for i in range(1, len(sequence)):
            boxes.append(tracker.update(sequence.frames[i]))
            report(1)
        yield Trajectory(sequence.name, np.stack(boxes), time.perf_counter() - started)
