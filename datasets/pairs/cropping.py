"""Crops of an image around a box, the same for training and tracking, and OSTrack's crop geometry.

OSTrack's geometry (section 4.1 of the paper and the published code): a square of side ceil(sqrt(w h) x factor) around the
box's centre, its corner rounded to whole pixels, black outside the image, resized bilinearly. It differs from the
published code in two ways, both below a pixel. Boxes are mapped by the square that was really cut, not by its unrounded
centre. A square that leaves the image on the right or below shows the image's last column and row, where the published
code pads one pixel too much.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Boxes
from trackablate.datasets.sequence import Image

Crop = NDArray[np.uint8] | NDArray[np.float32]
"""RGB, (size, size, 3), 0..255: uint8, or float32 from a geometry that does not round."""

Colour = tuple[float, float, float]
"""RGB, 0..255."""

BLACK: Colour = (0.0, 0.0, 0.0)


class View(Protocol):
    """The part of an image that a crop shows, and the mapping of boxes between the two."""

    def to_crop(self, boxes: Boxes) -> Boxes:
        """Map image boxes xywh in pixels to crop boxes xyxy in units of the crop's side, (..., 4)."""

    def to_image(self, boxes: Boxes) -> Boxes:
        """Map crop boxes xyxy in units of the crop's side to image boxes xywh in pixels, (..., 4)."""

    @property
    def bottom(self) -> int:
        """Row of the image from which on the crop shows nothing of it."""

    def inside(self, image_size: tuple[int, int]) -> bool:
        """Return whether the crop shows nothing but an image of (width, height)."""

    def cut(self, image: Image, size: int, outside: Colour) -> Crop:
        """Return the crop, (size, size, 3), with the colour `outside` beyond the image."""


@dataclass(frozen=True)
class Window:
    """A square of the image: its corner (left, top) and side in whole image pixels."""

    left: int
    top: int
    side: int

    def to_crop(self, boxes: Boxes) -> Boxes:
        """See View."""
        corner = boxes[..., :2] - (self.left, self.top)
        return np.concatenate([corner, corner + boxes[..., 2:]], axis=-1) / self.side

    def to_image(self, boxes: Boxes) -> Boxes:
        """See View."""
        pixels = boxes * self.side
        return np.concatenate([pixels[..., :2] + (self.left, self.top), pixels[..., 2:] - pixels[..., :2]], axis=-1)

    @property
    def bottom(self) -> int:
        """See View."""
        return self.top + self.side

    def inside(self, image_size: tuple[int, int]) -> bool:
        """See View."""
        right, bottom = self.left + self.side, self.top + self.side
        return min(self.left, self.top) >= 0 and right <= image_size[0] and bottom <= image_size[1]

    def cut(self, image: Image, size: int, outside: Colour = BLACK) -> NDArray[np.uint8]:
        """See View. Resized by OpenCV's bilinear interpolation of bytes, as published."""
        height, width = image.shape[:2]
        x1, y1 = max(self.left, 0), max(self.top, 0)
        x2, y2 = min(self.left + self.side, width), min(self.top + self.side, height)
        if x1 >= x2 or y1 >= y2:
            return np.full((size, size, 3), outside, dtype=np.uint8)
        patch: NDArray[np.uint8] = image[y1:y2, x1:x2]
        if patch.shape[0] != self.side or patch.shape[1] != self.side:
            edges = y1 - self.top, self.top + self.side - y2, x1 - self.left, self.left + self.side - x2
            colour = [int(value) for value in outside]
            patch = np.asarray(cv2.copyMakeBorder(patch, *edges, cv2.BORDER_CONSTANT, value=colour), dtype=np.uint8)
        return np.asarray(cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def window_around(box: NDArray[np.float64], factor: float) -> Window:
    """Return the square around a box xywh. Raises ValueError for a box without a positive area."""
    x, y, w, h = sides_of(box)
    side = math.ceil(math.sqrt(w * h) * factor)
    return Window(round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), side)


def sides_of(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the four numbers of a box. Raises ValueError for a box without a positive area."""
    x, y, w, h = (float(v) for v in box)
    if not (w > 0 and h > 0 and math.isfinite(x + y + w + h)):
        raise ValueError(f"cannot crop around the box ({x:g}, {y:g}, {w:g}, {h:g}): its sides must be positive")
    return x, y, w, h


def inside_image(box: NDArray[np.float64], width: int, height: int, min_side: float) -> NDArray[np.float64]:
    """Cut a box to the image, with sides of at least min_side pixels (OSTrack's clip_box, whose margin is 10).

    Raises ValueError for a box that is not finite, which clipping would hide.
    """
    if not np.isfinite(box).all():
        raise ValueError(f"the predicted box {box.tolist()} is not finite")
    x1 = min(max(0.0, box[0]), width - min_side)
    y1 = min(max(0.0, box[1]), height - min_side)
    x2 = min(max(min_side, box[0] + box[2]), width)
    y2 = min(max(min_side, box[1] + box[3]), height)
    return np.array([x1, y1, max(min_side, x2 - x1), max(min_side, y2 - y1)])


ALMOST_ONE = 1 - 1e-4
"""Added to an upper edge before it is floored, so that a cell counts from a ten-thousandth of its width (LoRAT)."""


def token_mask(view: View, box: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """Return which of the crop's side x side tokens the box touches, (side * side,) bool (LoRAT's foreground indication)."""
    corners = view.to_crop(np.asarray(box, dtype=np.float64)) * side
    x1, y1 = (int(v) for v in np.floor(corners[:2]).clip(0, side - 1))
    x2, y2 = (int(v) for v in np.floor(corners[2:] + ALMOST_ONE).clip(1, side))
    mask = np.zeros((side, side), dtype=np.bool_)
    mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
    return mask.ravel()
