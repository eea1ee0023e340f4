"""LoRAT's crop geometry (the published code): one scale for x and y, whole pixels, the image's mean colour outside.

A box of w x h, with m = (w + h) / 2, is shown in an area of (w + (f - 1) m)(h + (f - 1) m) pixels, centred in the crop.
The part of the crop that the image covers is rounded outwards to whole crop pixels; the matching part of the image is
rounded outwards to whole image pixels, and then resized. Therefore the true scale and offset of the crop differ slightly
from the requested ones, for each axis. Boxes are mapped by the true ones, exactly in both directions.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Boxes
from trackablate.datasets.pairs.cropping import ALMOST_ONE, Colour, sides_of
from trackablate.datasets.sequence import Image


@dataclass(frozen=True)
class Placement:
    """The requested position of the image in the crop.

    Image pixel (x, y) lies at (x * scale[0] + offset[0], y * scale[1] + offset[1]) in crop pixels.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]


@dataclass(frozen=True)
class PixelSpan:
    """One axis of a view: image pixels source[0] to source[1] lie at crop pixels target[0] to target[1]."""

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def scale(self) -> float:
        """Crop pixels per image pixel."""
        return (self.target[1] - self.target[0]) / (self.source[1] - self.source[0])

    @property
    def offset(self) -> float:
        """Position of the image's pixel 0 in the crop."""
        return self.target[0] - self.source[0] * self.scale


@dataclass(frozen=True)
class AlignedView:
    """A crop of size x size pixels that shows one rectangle of whole image pixels (a `datasets.pairs.cropping.View`)."""

    x: PixelSpan
    y: PixelSpan
    size: int

    def to_crop(self, boxes: Boxes) -> Boxes:
        """See View."""
        corner = boxes[..., :2] * (self.x.scale, self.y.scale) + (self.x.offset, self.y.offset)
        return np.concatenate([corner, corner + boxes[..., 2:] * (self.x.scale, self.y.scale)], axis=-1) / self.size

    def to_image(self, boxes: Boxes) -> Boxes:
        """See View."""
        scale, pixels = (self.x.scale, self.y.scale), boxes * self.size
        corner = (pixels[..., :2] - (self.x.offset, self.y.offset)) / scale
        return np.concatenate([corner, (pixels[..., 2:] - pixels[..., :2]) / scale], axis=-1)

    @property
    def bottom(self) -> int:
        """See View."""
        return self.y.source[1]

    def inside(self, image_size: tuple[int, int]) -> bool:
        """See View."""
        return self.x.target == self.y.target == (0, self.size)

    def cut(self, image: Image, size: int, outside: Colour) -> NDArray[np.float32]:
        """See View. Not rounded to bytes, as published. Raises ValueError for another size than the view's."""
        if size != self.size:
            raise ValueError(f"this view was aligned to crops of {self.size} px, not of {size} px")
        (x1, x2), (y1, y2) = self.x.target, self.y.target
        shown = image[self.y.source[0] : self.y.source[1], self.x.source[0] : self.x.source[1]].astype(np.float32)
        shown = np.asarray(cv2.resize(shown, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        if shown.shape[:2] == (size, size):
            return shown
        row = np.tile(np.asarray(outside, dtype=np.float32), size)  # by rows, which is ten times as fast as by pixels
        crop = np.tile(row, (size, 1)).reshape(size, size, 3)
        crop[y1:y2, x1:x2] = shown
        return crop


def placement_around(box: NDArray[np.float64], factor: float, size: int) -> Placement:
    """Return the placement of a crop of size x size around a box xywh. Raises ValueError if the box has no area."""
    x, y, w, h = sides_of(box)
    margin = (factor - 1) * (w + h) / 2
    scale = size / math.sqrt((w + margin) * (h + margin))
    return Placement((scale, scale), (size / 2 - (x + w / 2) * scale, size / 2 - (y + h / 2) * scale))


def aligned(placement: Placement, size: int, image_size: tuple[int, int]) -> AlignedView | None:
    """Return the view of an image of (width, height) at a placement, None if it shows nothing of the image."""
    x, y = (
        _span(scale, offset, size, length)
        for scale, offset, length in zip(placement.scale, placement.offset, image_size, strict=True)
    )
    return AlignedView(x, y, size) if x is not None and y is not None else None


def view_around(box: NDArray[np.float64], factor: float, size: int, image_size: tuple[int, int]) -> AlignedView:
    """Return the view around a box xywh.

    Raises ValueError for a box without area, or one so far outside that the crop shows nothing of the image.
    """
    view = aligned(placement_around(box, factor, size), size, image_size)
    if view is None:
        raise ValueError(
            f"a crop around the box {box.tolist()} shows nothing of the image of {image_size[0]} x {image_size[1]} px"
        )
    return view


def _span(scale: float, offset: float, size: int, length: int) -> PixelSpan | None:
    low = math.floor(min(max(offset, 0.0), size))
    high = math.floor(min(max(length * scale + offset, 0.0), size) + ALMOST_ONE)
    back, start = 1 / scale, -offset / scale
    first = max(math.floor(low * back + start), 0)
    last = min(math.floor(high * back + start + ALMOST_ONE), length)
    return PixelSpan((first, last), (low, high)) if low < high and first < last else None
