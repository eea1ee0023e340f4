"""The crop geometries by name: views around a box, their jitter in training, and the colour outside the image."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from trackablate.datasets.boxes import Box, clip, xyxy_to_xywh
from trackablate.datasets.pairs.aligned_cropping import AlignedView, Placement, aligned, placement_around, view_around
from trackablate.datasets.pairs.cropping import BLACK, Colour, View, Window, window_around
from trackablate.datasets.registry import Registry
from trackablate.datasets.sequence import Image

LEAST_SHOWN = 10.0
"""LoRAT: least sides of the target in a jittered search crop, in crop pixels, for crops of 224 px and above."""


@dataclass(frozen=True)
class Jitter:
    """The jitter of the search crop in training.

    Attributes:
        scale: Standard deviation of the log of its size, for each axis.
        centre: Range of its shift, in units of the target's mean side: up to centre / 2 in each direction in OSTrack's
            geometry, up to centre in LoRAT's.
    """

    scale: float
    centre: float


@dataclass(frozen=True)
class CropRequest:
    """A crop of `size` pixels, `factor` times as large as the box, from an image of image_size (width, height)."""

    factor: float
    size: int
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """One way to cut crops.

    Attributes:
        around: Returns the view around a box xywh. Raises ValueError for a box that cannot be shown.
        jittered: Draws one jittered view around a box; None if it shows too little of the target.
        reach: Returns how far from the box's centre a jittered view can show the image, in x and y, with a jitter of size of
            so many standard deviations.
        outside: Returns the colour for pixels outside the image.
    """

    around: Callable[[Box, CropRequest], View]
    jittered: Callable[[Box, CropRequest, Jitter, Generator], View | None]
    outside: Callable[[Image], Colour]
    reach: Callable[[Box, float, Jitter, float], Box]


def _jittered_square(box: Box, request: CropRequest, jitter: Jitter, rng: Generator) -> Window | None:
    """OSTrack, section 4.1: size x exp(scale x N(0, 1)), centre + U(-1/2, 1/2) x centre x sqrt(w h).

    At least half of the target must be visible.
    """
    size = box[2:] * np.exp(rng.standard_normal(2) * jitter.scale)
    reach = np.sqrt(size.prod()) * jitter.centre
    centre = box[:2] + box[2:] / 2 + (rng.random(2) - 0.5) * reach
    window = window_around(np.concatenate([centre - size / 2, size]), request.factor)
    inside = clip(box - (window.left, window.top, 0, 0), window.side, window.side)
    return window if inside[2:].prod() >= 0.5 * box[2:].prod() else None


def _square_reach(box: Box, factor: float, jitter: Jitter, spread: float) -> Box:
    side = math.sqrt(box[2] * box[3]) * math.exp(spread * jitter.scale / math.sqrt(2))
    return np.full(2, side * (factor + min(jitter.centre, factor)) / 2 + 1)


def _jittered_aligned(box: Box, request: CropRequest, jitter: Jitter, rng: Generator) -> AlignedView | None:
    """LoRAT, the published code: `jittered_placement`, with at least LEAST_SHOWN of each side of the target in the crop."""
    placement = jittered_placement(box, request, jitter, rng)
    view = aligned(placement, request.size, request.image_size)
    shown = _asked(placement, box, request.size)[2:]
    least = min(LEAST_SHOWN, LEAST_SHOWN * request.size / 224)
    return view if (shown >= least).all() else None


def jittered_placement(box: Box, request: CropRequest, jitter: Jitter, rng: Generator) -> Placement:
    """Draw a placement by LoRAT's rule.

    The scale of each axis is divided by exp(jitter.scale x N(0, 1)). The offset centres the box at that scale, plus
    U(-1, 1) x jitter.centre x the box's scaled mean side.
    """
    plain = placement_around(box, request.factor, request.size)
    scale = np.array(plain.scale) / np.exp(rng.standard_normal(2) * jitter.scale)
    reach = float((box[2:] * scale).sum()) * 0.5 * jitter.centre
    offset = request.size / 2 - (box[:2] + box[2:] / 2) * scale + rng.uniform(-1, 1, 2) * reach
    return Placement((float(scale[0]), float(scale[1])), (float(offset[0]), float(offset[1])))


def _aligned_reach(box: Box, factor: float, jitter: Jitter, spread: float) -> Box:
    # A part of the target is in the crop: its centre is at most half a crop and half a target away from the crop's.
    half = 1 / (2 * placement_around(box, factor, 1).scale[0]) * math.exp(spread * jitter.scale)
    shift = float(box[2:].sum()) * 0.5 * math.exp(spread * jitter.scale) * jitter.centre
    return half + np.minimum(shift, half + box[2:] / 2) + 1


def _asked(placement: Placement, box: Box, size: int) -> Box:
    """Return the box as placed and cut to the crop, xywh in crop pixels."""
    corners = np.concatenate([box[:2], box[:2] + box[2:]]) * np.tile(placement.scale, 2) + np.tile(placement.offset, 2)
    return clip(xyxy_to_xywh(corners), size, size)


def mean_colour(image: Image) -> Colour:
    """Return the mean of each channel of the image (LoRAT's colour outside)."""
    red, green, blue, _ = cv2.mean(image)
    return red, green, blue


def black(image: Image) -> Colour:
    """Return black (OSTrack's colour outside)."""
    return BLACK


GEOMETRIES: Registry[Geometry] = Registry("crop geometry")
GEOMETRIES.add(
    "ostrack", Geometry(lambda box, asked: window_around(box, asked.factor), _jittered_square, black, _square_reach)
)
GEOMETRIES.add(
    "lorat",
    Geometry(
        lambda box, asked: view_around(box, asked.factor, asked.size, asked.image_size),
        *(_jittered_aligned, mean_colour, _aligned_reach),
    ),
)
