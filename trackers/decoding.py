"""From score map and boxes to one box: the window on the scores, the argmax, and what becomes of the box in the image.

`multiply` is OSTrack's way (section 3.4; DETRack, section 4.1, uses it too), `blend` LoRAT's (the published code); another
way is another entry of POST_PROCESSING.
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
"""LoRAT: the window's share in the blended score."""


def hanning_window(side: int) -> Tensor:
    """OSTrack's window, (side, side): the outer product of 0.5 (1 - cos(2 pi k / (side + 1))), k = 1..side, so that the
    edges are not zero.
    """
    k = torch.arange(1, side + 1, dtype=torch.float64)
    hann = 0.5 * (1 - torch.cos(2 * torch.pi * k / (side + 1)))
    return torch.outer(hann, hann).float()


def zero_edged_window(side: int) -> Tensor:
    """LoRAT's window, (side, side): the outer product of 0.5 (1 - cos(2 pi k / (side - 1))), k = 0..side - 1."""
    hann = torch.hann_window(side, periodic=False, dtype=torch.float64)
    return torch.outer(hann, hann).float()


def multiplied(scores: Tensor, window: Tensor) -> Tensor:
    """Score times window."""
    return scores * window


def blended(scores: Tensor, window: Tensor) -> Tensor:
    """A weighted mean of score and window."""
    return (1 - WINDOW_SHARE) * scores + WINDOW_SHARE * window


def best_boxes(
    prediction: Prediction, window: Tensor | None = None, weigh: Callable[[Tensor, Tensor], Tensor] = multiplied
) -> tuple[Tensor, Tensor]:
    """The box of the cell whose score, weighed with the window, is highest: (B, 4) xyxy, and its unweighed score (B,)."""
    scores = prediction.score_map.flatten(1)
    weighed = scores if window is None else weigh(scores, window.flatten())
    best = weighed.argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    return prediction.boxes.flatten(1, 2)[rows, best], scores[rows, best]


@dataclass(frozen=True)
class PostProcessing:
    """Boxes are xywh in image pixels. window(side), weigh: see `best_boxes`. placed(box, width, height, min_side): the
    predicted box as it is reported. followed(placed, last): what the next search starts from. searched(box, min_side): the
    box that a search crop is cut around.
    """

    window: Callable[[int], Tensor]
    weigh: Callable[[Tensor, Tensor], Tensor]
    placed: Callable[[Box, int, int, float], Box]
    followed: Callable[[Box, Box], Box]
    searched: Callable[[Box, float], Box]


def _clipped(box: Box, width: int, height: int, min_side: float) -> Box:
    """LoRAT: cut to the image, however small; a box wholly outside it has no area left."""
    return clip(box, width, height)


def _if_valid(placed: Box, last: Box) -> Box:
    """LoRAT: the last box where the new one has no area, which is one that does not meet the image."""
    return placed if valid(placed) else last


def _at_least(box: Box, min_side: float) -> Box:
    """LoRAT: sides of at least min_side, about the same centre, for the crop only."""
    size = np.maximum(box[2:], min_side)
    return np.concatenate([box[:2] + (box[2:] - size) / 2, size])


POST_PROCESSING: Registry[PostProcessing] = Registry("window")
POST_PROCESSING.add(
    "multiply",
    PostProcessing(hanning_window, multiplied, inside_image, lambda placed, last: placed, lambda box, least: box),
)
POST_PROCESSING.add("blend", PostProcessing(zero_edged_window, blended, _clipped, _if_valid, _at_least))
