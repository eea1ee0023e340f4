"""Box arithmetic. A box is (x, y, w, h): top-left corner and size in pixels, 0-based, float64.

All functions take arrays of shape (..., 4), broadcast them, and leave their arguments unchanged.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Box = NDArray[np.float64]
"""One box, shape (4,)."""
Boxes = NDArray[np.float64]
"""Boxes, shape (N, 4)."""


def xywh_to_xyxy(boxes: ArrayLike) -> Boxes:
    """Return the corners (x1, y1, x2, y2) of boxes, (..., 4)."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([b[..., :2], b[..., :2] + b[..., 2:]], axis=-1)


def xyxy_to_xywh(corners: ArrayLike) -> Boxes:
    """Return the boxes with the corners (x1, y1, x2, y2), (..., 4)."""
    c = np.asarray(corners, dtype=np.float64)
    return np.concatenate([c[..., :2], c[..., 2:] - c[..., :2]], axis=-1)


def centres(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return the box centres (x + w/2, y + h/2), (..., 2)."""
    b = np.asarray(boxes, dtype=np.float64)
    return b[..., :2] + b[..., 2:] / 2


def valid(boxes: ArrayLike) -> NDArray[np.bool_]:
    """Return where all four numbers are finite and both sides are positive, (...,)."""
    b = np.asarray(boxes, dtype=np.float64)
    x, y, w, h = np.moveaxis(b, -1, 0)
    return np.asarray(np.isfinite(x) & np.isfinite(y) & np.isfinite(w) & np.isfinite(h) & (w > 0) & (h > 0))


def clip(boxes: ArrayLike, width: float, height: float) -> Boxes:
    """Cut boxes to the image [0, width] x [0, height]. A box outside the image gets sides of 0."""
    c = xywh_to_xyxy(boxes)
    c[..., 0::2] = c[..., 0::2].clip(0, width)
    c[..., 1::2] = c[..., 1::2].clip(0, height)
    return xyxy_to_xywh(c)


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union of continuous boxes, (...,); 0 if either box has no area."""
    ax, ay, aw, ah = np.moveaxis(np.asarray(a, dtype=np.float64), -1, 0)
    bx, by, bw, bh = np.moveaxis(np.asarray(b, dtype=np.float64), -1, 0)
    inner = _shared_length(ax, aw, bx, bw) * _shared_length(ay, ah, by, bh)
    union = np.maximum(aw, 0) * np.maximum(ah, 0) + np.maximum(bw, 0) * np.maximum(bh, 0) - inner
    ratio: NDArray[np.float64] = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    return ratio


def _shared_length(start: Floats, length: Floats, other: Floats, its_length: Floats) -> Floats:
    shared: Floats = np.maximum(np.minimum(start + length, other + its_length) - np.maximum(start, other), 0)
    return shared
