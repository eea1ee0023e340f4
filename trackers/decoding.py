"""From score map and boxes to one box: the Hanning window and the argmax (OSTrack, section 3.4; DETRack, section 4.1)."""

import torch
from torch import Tensor

from trackers.tokens import Prediction


def hanning_window(side: int) -> Tensor:
    """OSTrack's window, (side, side): the outer product of 0.5 (1 - cos(2 pi k / (side + 1))), k = 1..side, so that the
    edges are not zero."""
    k = torch.arange(1, side + 1, dtype=torch.float64)
    hann = 0.5 * (1 - torch.cos(2 * torch.pi * k / (side + 1)))
    return torch.outer(hann, hann).float()


def best_boxes(prediction: Prediction, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The box of the cell whose score, times the window, is highest: (B, 4) xyxy, and its unweighted score (B,)."""
    scores = prediction.score_map.flatten(1)
    weighted = scores if window is None else scores * window.flatten()
    best = weighted.argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    return prediction.boxes.flatten(1, 2)[rows, best], scores[rows, best]
