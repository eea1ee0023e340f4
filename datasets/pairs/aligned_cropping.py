"""LoRAT's way to cut a crop (the published code): one scale for x and y, whole pixels, the image's mean colour outside.

A box of w x h, with m = (w + h) / 2, is shown in an area of (w + (f - 1) m)(h + (f - 1) m) pixels, its centre in the crop's.
What of the image falls into the crop is rounded outwards to whole crop pixels, what of the image those show to whole image
pixels, and the second is resized to the first. So the crop's true scale and offset differ a little from those asked for,
and per axis; boxes are mapped by the true ones, and there and back exactly.
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
    """Where the image is asked to lie: a pixel (x, y) of it at (x * scale[0] + offset[0], y * scale[1] + offset[1]) of the
    crop, in pixels.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]


@dataclass(frozen=True)
class PixelSpan:
    """Along one axis: image pixels source[0] to source[1] lie at the crop's pixels target[0] to target[1]."""

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def scale(self) -> float:
        """Crop pixels per image pixel."""
        return (self.target[1] - self.target[0]) / (self.source[1] - self.source[0])

    @property
    def offset(self) -> float:
        """Where the image's pixel 0 lies in the crop."""
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

    def cut(self, image: Image, size: int, outside: Colour) -> NDArray[np.float32]:
        """See View; not rounded to bytes, as published. Raises ValueError for another size than the view's."""
        if size != self.size:
            raise ValueError(f"this view was aligned to crops of {self.size} px, not of {size} px")
        (x1, x2), (y1, y2) = self.x.target, self.y.target
        shown = image[self.y.source[0] : self.y.source[1], self.x.source[0] : self.x.source[1]].astype(np.float32)
        shown = np.asarray(cv2.resize(shown, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        if shown.shape[:2] == (size, size):
            return shown
        crop = np.full((size, size, 3), outside, dtype=np.float32)
        crop[y1:y2, x1:x2] = shown
        return crop


def placement_around(box: NDArray[np.float64], factor: float, size: int) -> Placement:
    """What a crop of size x size around a box xywh asks for. Raises ValueError for a box without a positive area."""
    x, y, w, h = sides_of(box)
    margin = (factor - 1) * (w + h) / 2
    scale = size / math.sqrt((w + margin) * (h + margin))
    return Placement((scale, scale), (size / 2 - (x + w / 2) * scale, size / 2 - (y + h / 2) * scale))


def aligned(placement: Placement, size: int, extent: tuple[int, int]) -> AlignedView | None:
    """The view that shows an image of extent (width, height) at a placement, None where it shows none of it."""
    x, y = (
        _span(scale, offset, size, length)
        for scale, offset, length in zip(placement.scale, placement.offset, extent, strict=True)
    )
    return AlignedView(x, y, size) if x is not None and y is not None else None


def view_around(box: NDArray[np.float64], factor: float, size: int, extent: tuple[int, int]) -> AlignedView:
    """The view around a box xywh. Raises ValueError for a box without a positive area, and for one so far outside the
    image that the crop would show nothing of it.
    """
    view = aligned(placement_around(box, factor, size), size, extent)
    if view is None:
        raise ValueError(
            f"a crop around the box {box.tolist()} shows nothing of the image of {extent[0]} x {extent[1]} px"
        )
    return view


def _span(scale: float, offset: float, size: int, length: int) -> PixelSpan | None:
    low = math.floor(min(max(offset, 0.0), size))
    high = math.floor(min(max(length * scale + offset, 0.0), size) + ALMOST_ONE)
    back, start = 1 / scale, -offset / scale
    first = max(math.floor(low * back + start), 0)
    last = min(math.floor(high * back + start + ALMOST_ONE), length)
    return PixelSpan((first, last), (low, high)) if low < high and first < last else None
