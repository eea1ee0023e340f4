"""Crop geometry, shared by training and tracking so that the two cannot differ.

OSTrack's (section 4.1 of the paper and the published code): a square of side ceil(sqrt(w h) x factor) around the box's
centre, its corner rounded to whole pixels, black outside the image, resized bilinearly. Boxes are mapped by the square
that was really cut (the published code maps by its unrounded centre; the difference is below one pixel).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.boxes import Boxes
from datasets.sequence import Image


@dataclass(frozen=True)
class Window:
    """The square of the image that a crop shows: its corner (left, top) and side in whole image pixels."""

    left: int
    top: int
    side: int

    def to_crop(self, boxes: Boxes) -> Boxes:
        """Image boxes xywh in pixels to crop boxes xyxy in units of the crop's side, (..., 4)."""
        corner = boxes[..., :2] - (self.left, self.top)
        return np.concatenate([corner, corner + boxes[..., 2:]], axis=-1) / self.side

    def to_image(self, boxes: Boxes) -> Boxes:
        """Crop boxes xyxy in units of the crop's side to image boxes xywh in pixels, (..., 4)."""
        pixels = boxes * self.side
        return np.concatenate([pixels[..., :2] + (self.left, self.top), pixels[..., 2:] - pixels[..., :2]], axis=-1)


def window_around(box: NDArray[np.float64], factor: float) -> Window:
    """The square around a box xywh. Raises ValueError for a box without a positive area."""
    x, y, w, h = (float(v) for v in box)
    if not (w > 0 and h > 0 and math.isfinite(x + y + w + h)):
        raise ValueError(f"cannot crop around the box ({x:g}, {y:g}, {w:g}, {h:g}): its sides must be positive")
    side = math.ceil(math.sqrt(w * h) * factor)
    return Window(round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), side)


def crop(image: Image, window: Window, size: int) -> Image:
    """The window of the image, resized to (size, size, 3), black where the window leaves the image."""
    height, width = image.shape[:2]
    x1, y1 = max(window.left, 0), max(window.top, 0)
    x2, y2 = min(window.left + window.side, width), min(window.top + window.side, height)
    if x1 >= x2 or y1 >= y2:
        return np.zeros((size, size, 3), dtype=np.uint8)
    patch: NDArray[np.uint8] = image[y1:y2, x1:x2]
    if patch.shape[0] != window.side or patch.shape[1] != window.side:
        padded = np.zeros((window.side, window.side, 3), dtype=np.uint8)
        padded[y1 - window.top : y2 - window.top, x1 - window.left : x2 - window.left] = patch
        patch = padded
    return np.asarray(cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def inside_image(box: NDArray[np.float64], width: int, height: int, min_side: float) -> NDArray[np.float64]:
    """A box cut to the image, its sides at least min_side pixels (OSTrack's clip_box, whose margin is 10).

    Raises ValueError for a box that is not finite: clipping would make it look like one.
    """
    if not np.isfinite(box).all():
        raise ValueError(f"the predicted box {box.tolist()} is not finite")
    x1 = min(max(0.0, box[0]), width - min_side)
    y1 = min(max(0.0, box[1]), height - min_side)
    x2 = min(max(min_side, box[0] + box[2]), width)
    y2 = min(max(min_side, box[1] + box[3]), height)
    return np.array([x1, y1, max(min_side, x2 - x1), max(min_side, y2 - y1)])


def token_mask(window: Window, box: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """Which of the crop's side x side tokens the box touches, (side * side,) bool (LoRAT's foreground indication)."""
    corners = window.to_crop(np.asarray(box, dtype=np.float64)) * side
    x1, y1 = (int(v) for v in np.floor(corners[:2]).clip(0, side - 1))
    x2, y2 = (int(v) for v in np.floor(corners[2:] + 1 - 1e-4).clip(1, side))
    mask = np.zeros((side, side), dtype=np.bool_)
    mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
    return mask.ravel()
