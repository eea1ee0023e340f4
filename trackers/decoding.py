"""From a score map with boxes to one box in the image: the window on the scores, the argmax, and the box's limits.

`multiply` is OSTrack's way (section 3.4), which DETRack uses too (section 4.1). `blend` is LoRAT's, as in its published
code. Another way is another entry of `POST_PROCESSING`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trackablate.datasets.boxes import Box, clip, valid
from trackablate.datasets.pairs.cropping import inside_image
from trackablate.datasets.registry import Registry
from trackablate.trackers.tokens import Prediction

WINDOW_SHARE = 0.45
"""The window's share in LoRAT's blended score."""


def hanning_window(side: int) -> Tensor:
    """Return OSTrack's window (side, side), without zeros at its edges.

    It is the outer product of 0.5 (1 - cos(2 pi k / (side + 1))) for k = 1..side.
    """
    k = torch.arange(1, side + 1, dtype=torch.float64)
    hann = 0.5 * (1 - torch.cos(2 * torch.pi * k / (side + 1)))
    return torch.outer(hann, hann).float()


def zero_edged_window(side: int) -> Tensor:
    """Return LoRAT's window (side, side): the outer product of 0.5 (1 - cos(2 pi k / (side - 1))), k = 0..side - 1."""
    hann = torch.hann_window(side, periodic=False, dtype=torch.float64)
    return torch.outer(hann, hann).float()


def multiplied(scores: Tensor, window: Tensor) -> Tensor:
    """Return score times window."""
    return scores * window


def blended(scores: Tensor, window: Tensor) -> Tensor:
    """Return the weighted mean of score and window."""
    return (1 - WINDOW_SHARE) * scores + WINDOW_SHARE * window


def best_boxes(
    prediction: Prediction, window: Tensor | None = None, weigh: Callable[[Tensor, Tensor], Tensor] = multiplied
) -> tuple[Tensor, Tensor]:
    """Return the box (B, 4) xyxy of the cell with the highest weighed score, and its score (B,) before weighing."""
    scores = prediction.score_map.flatten(1)
    weighed = scores if window is None else weigh(scores, window.flatten())
    best = weighed.argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    return prediction.boxes.flatten(1, 2)[rows, best], scores[rows, best]


@dataclass(frozen=True)
class PostProcessing:
    """How scores are weighed and where the box goes. Boxes are xywh in image pixels.

    Attributes:
        window: Called as window(side); returns the window of a side x side map.
        weigh: Called as weigh(scores, window); returns the scores that the argmax is taken of.
        placed: Called as placed(box, width, height, min_side); returns the predicted box as it is reported.
        followed: Called as followed(placed, last); returns the box that the next search starts from.
        searched: Called as searched(box, min_side); returns the box that the search crop is cut around.
    """

    window: Callable[[int], Tensor]
    weigh: Callable[[Tensor, Tensor], Tensor]
    placed: Callable[[Box, int, int, float], Box]
    followed: Callable[[Box, Box], Box]
    searched: Callable[[Box, float], Box]


def _clipped(box: Box, width: int, height: int, min_side: float) -> Box:
    """Clip to the image, however small the rest is (LoRAT). A box outside the image has no area left."""
    return clip(box, width, height)


def _if_valid(placed: Box, last: Box) -> Box:
    """Return the last box if the new one has no area, that is, if it does not meet the image (LoRAT)."""
    return placed if valid(placed) else last


def _at_least(box: Box, min_side: float) -> Box:
    """Return a box with the same centre and sides of at least min_side, for the crop only (LoRAT)."""
    size = np.maximum(box[2:], min_side)
    return np.concatenate([box[:2] + (box[2:] - size) / 2, size])


POST_PROCESSING: Registry[PostProcessing] = Registry("window")
POST_PROCESSING.add(
    "multiply",
    PostProcessing(hanning_window, multiplied, inside_image, lambda placed, last: placed, lambda box, least: box),
)
POST_PROCESSING.add("blend", PostProcessing(zero_edged_window, blended, _clipped, _if_valid, _at_least))
