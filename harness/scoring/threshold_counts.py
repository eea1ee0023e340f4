"""Tallies: for one tracked sequence, how many frames of each class pass each threshold.

Any dialect's scores follow from a tally, so that scoring by other rules needs neither boxes nor data. A frame's class
is the set of facts (`Fact`) that dialects treat differently; a sequence has only a few classes. The thresholds are the
union of all dialects': IoU k/100, pixels k/2, and shares of the target's size k/200, for k = 0..100.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Boxes, Floats, iou

GRID = 101
OVERLAPS = np.arange(GRID) / 100
ERRORS = np.arange(GRID) / 2
NORM_ERRORS = np.arange(GRID) / 200
_OTB_ROUNDING = 0.5e-4
"""round(error, 4) <= t means error <= t + 0.00005."""

TALLY_REVISION = 2
"""Raised when the same boxes would give another tally, so that stored tallies are not used any more."""

Treated = Literal["plain", "held", "rounded", "clipped"]
"""The treatment of the boxes before they are measured."""

TREATMENTS: tuple[Treated, ...] = ("held", "rounded", "clipped")
"""All but "plain", which is always measured."""

Counts = NDArray[np.int32]


class Fact(IntFlag):
    """Facts about a frame.

    VISIBLE: not flagged absent. The true box, in the data set's own pixel numbers, is SIZED: w, h > 0; BROAD: w, h >= 1;
    PLACED: x, y > 0; CENTRED: its centre's x, y > 0; NUMERIC: without NaN. The predicted box is DEGENERATE: w or h <= 0.
    """

    FIRST = 1
    VISIBLE = 2
    SIZED = 4
    BROAD = 8
    PLACED = 16
    CENTRED = 32
    NUMERIC = 64
    DEGENERATE = 128


class Measured(NamedTuple):
    """Frame counts (C, GRID) by class and threshold t under one treatment of the boxes.

    Attributes:
        overlap: (C,) sums of IoU.
        above: IoU > t.
        from_: IoU >= t; an IoU of 0 passes no threshold.
        within: Centre error <= t px.
        within_rounded: The same with errors rounded to 4 decimals.
        norm_within: Normalised error <= t, see `_distances`.
        norm_broad_within: The same with the other normalised error.
    """

    overlap: Floats
    above: Counts
    from_: Counts
    within: Counts
    within_rounded: Counts
    norm_within: Counts
    norm_broad_within: Counts


@dataclass(frozen=True, eq=False)
class Tally:
    """One sequence's classes (C,), their numbers of frames (C,), and the counts under each treatment.

    Attributes:
        codes: (N,) the class of each frame, in time.
        overlaps: (N,) its IoU, of boxes as they are.
    """

    classes: NDArray[np.uint8]
    frames: Counts
    measured: Mapping[Treated, Measured]
    codes: NDArray[np.uint8]
    overlaps: Floats


def tally(
    prediction: Boxes,
    truth: Boxes,
    visible: NDArray[np.bool_],
    *,
    origin: int = 0,
    size: tuple[int, int] | None = None,
    treatments: tuple[Treated, ...] = TREATMENTS,
    sparse: bool = False,
) -> Tally:
    """Return the tally of one sequence from its boxes (N, 4), x, y, w, h, and flags (N,), False for absent.

    `origin` is added to x and y to get the data set's own pixel numbers. Without the `size` (width, height) of the image,
    "clipped" is left out of the treatments; "plain" is always measured. If the annotation is `sparse`, only its `annotated`
    frames count. Raises ValueError if the lengths differ, or a predicted number is not finite.
    """
    if prediction.shape != truth.shape or len(visible) != len(truth):
        raise ValueError(f"{len(prediction)} predicted boxes for {len(truth)} true ones and {len(visible)} flags")
    if sparse:
        counted = annotated(truth)
        prediction, truth, visible = prediction[counted], truth[counted], visible[counted]
    if not np.isfinite(prediction.sum()):
        raise ValueError(f"predicted box {int(np.argmin(np.isfinite(prediction).all(axis=1)))} is not finite")
    if origin:
        shift = np.array([origin, origin, 0, 0])
        prediction, truth = prediction + shift, truth + shift
    codes = _codes(prediction, truth, visible)
    classes = np.flatnonzero(np.bincount(codes, minlength=256)).astype(np.uint8)
    groups = [np.flatnonzero(codes == code) for code in classes]
    measured: dict[Treated, Measured] = {"plain": _measure(prediction, truth, groups)}
    for treatment in treatments:
        boxes = _treated(treatment, prediction, truth, size)
        if boxes is not None:
            measured[treatment] = _measure(*boxes, groups, -np.inf if treatment == "rounded" else 1.0)
    overlaps = _distances(prediction, truth, 1.0)[0]
    return Tally(classes, np.array([len(g) for g in groups], dtype=np.int32), measured, codes, overlaps)


def annotated(truth: Boxes) -> NDArray[np.bool_]:
    """Return which frames of a sparse annotation count, (N,): all others have a box of NaN (`Protocol.sparse`)."""
    return np.asarray(~np.isnan(truth).any(axis=1))


def _codes(prediction: Boxes, truth: Boxes, visible: NDArray[np.bool_]) -> NDArray[np.uint8]:
    x, y, w, h = np.ascontiguousarray(truth.T)
    with np.errstate(invalid="ignore"):
        facts = {
            Fact.FIRST: np.arange(len(truth)) == 0,
            Fact.VISIBLE: visible,
            Fact.SIZED: (w > 0) & (h > 0),
            Fact.BROAD: (w >= 1) & (h >= 1),
            Fact.PLACED: (x > 0) & (y > 0),
            Fact.CENTRED: (x + (w - 1) / 2 > 0) & (y + (h - 1) / 2 > 0),
            Fact.NUMERIC: ~np.isnan(x + y + w + h),
            Fact.DEGENERATE: (prediction[:, 2] <= 0) | (prediction[:, 3] <= 0),
        }
    codes = np.zeros(len(truth), dtype=np.uint8)
    for fact, holds in facts.items():
        codes |= holds.astype(np.uint8) * np.uint8(fact)
    return codes


def _treated(
    treatment: Treated, prediction: Boxes, truth: Boxes, size: tuple[int, int] | None
) -> tuple[Boxes, Boxes] | None:
    """Return both boxes after a treatment; None if it changes nothing or cannot be done."""
    if treatment == "held":
        held = _held(prediction, truth)
        return None if held is None else (held, truth)
    if treatment == "rounded":
        return prediction.round(), truth.round()
    if treatment == "clipped" and size is not None:
        return _clipped(prediction, size), _clipped(truth, size)
    return None


def _held(prediction: Boxes, truth: Boxes) -> Boxes | None:
    """Replace boxes without area by the box before, except in frames whose true box is NaN.

    Toolkits do this before they put the truth into the first frame.
    """
    bad = (prediction[:, 2] <= 0) | (prediction[:, 3] <= 0)
    if not bad[1:].any():
        return None
    bad = bad & ~np.isnan(truth).any(axis=1)
    return prediction[np.maximum.accumulate(np.where(bad, 0, np.arange(len(bad))))]


def _clipped(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """Cut boxes to the image by GOT-10k's rule (`rect_iou`).

    It differs from `datasets.boxes.clip` left of and above the image: the corner moves to the edge without changing the
    size, which is cut only at the far edges.
    """
    corner = boxes[:, :2].clip(0, size)
    return np.concatenate([corner, boxes[:, 2:].clip(0, np.asarray(size) - corner)], axis=1)


def _measure(prediction: Boxes, truth: Boxes, groups: list[NDArray[np.int64]], smallest_side: float = 1.0) -> Measured:
    overlap, error, norm, norm_broad = _distances(prediction, truth, smallest_side)
    found = Measured(np.zeros(len(groups)), *np.zeros((6, len(groups), GRID), dtype=np.int32))
    for row, group in enumerate(groups):
        o, e = np.sort(overlap[group]), np.sort(error[group])
        n, broad = np.sort(norm[group]), np.sort(norm_broad[group])  # NaN sorts last, beyond every threshold
        found.overlap[row] = o.sum()
        found.above[row] = len(o) - o.searchsorted(OVERLAPS, "right")
        found.from_[row] = len(o) - o.searchsorted(OVERLAPS, "left")
        found.from_[row, 0] = found.above[row, 0]
        found.within[row] = e.searchsorted(ERRORS, "right")
        found.within_rounded[row] = e.searchsorted(ERRORS + _OTB_ROUNDING, "right")
        found.norm_within[row] = n.searchsorted(NORM_ERRORS, "right")
        found.norm_broad_within[row] = broad.searchsorted(NORM_ERRORS, "right")
    return found


def _distances(prediction: Boxes, truth: Boxes, smallest_side: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Return IoU, centre error in pixels, and two normalised errors.

    Most toolkits divide each centre by the true side before subtracting them. A side of 0 becomes 1e-16, as in pysot,
    which alone measures such boxes. got10k and TrackingNet divide the difference by the side, or by `smallest_side` if
    that is larger. The two round differently, and integer boxes often lie exactly on a threshold.
    """
    (px, py, pw, ph), (x, y, w, h) = np.ascontiguousarray(prediction.T), np.ascontiguousarray(truth.T)
    cx, cy, pcx, pcy = x + (w - 1) / 2, y + (h - 1) / 2, px + (pw - 1) / 2, py + (ph - 1) / 2
    dx, dy = pcx - cx, pcy - cy
    with np.errstate(divide="ignore", invalid="ignore"):
        broad = np.sqrt(np.square(dx / np.maximum(w, smallest_side)) + np.square(dy / np.maximum(h, smallest_side)))
        w, h = np.where(w == 0, 1e-16, w), np.where(h == 0, 1e-16, h)
        norm = np.sqrt(np.square(pcx / w - cx / w) + np.square(pcy / h - cy / h))
    return iou(truth, prediction), np.sqrt(dx * dx + dy * dy), norm, broad
