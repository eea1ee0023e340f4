"""STARK's corner head (Yan et al. 2021, section 3.1): a heat map for each of two corners, the box is their expectation.

No cell is scored and no cell has a box of its own: there is one box per search crop.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trackablate.trackers.heads.convolutional import tower
from trackablate.trackers.spec import CornerHead, Denoising, Labels
from trackablate.trackers.tokens import Prediction, SearchTokens
from trackablate.trackers.training.losses import giou_loss

GIOU_WEIGHT, L1_WEIGHT = 2.0, 5.0
"""lambda_iou and lambda_L1 of STARK's equation 2."""


class CornerOutput(NamedTuple):
    """boxes: (B, 4), the expected corners x1, y1, x2, y2 in units of the crop, unordered. peaks: (B, 2), the highest
    probability of either corner's heat map.
    """

    boxes: Tensor
    peaks: Tensor


class CornerExpectationHead(nn.Module):
    """Two towers over the dense map, top left and bottom right; eliminated tokens are zeros on it."""

    def __init__(
        self,
        spec: CornerHead,
        dim: int,
        grid: int,
        labels: Labels = "corner",
        denoising: Denoising | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.top_left = tower(dim, spec.channels, 1)
        self.bottom_right = tower(dim, spec.channels, 1)
        axis = torch.arange(grid, dtype=torch.float32) / grid
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.corners: Tensor
        self.register_buffer("corners", torch.stack([x, y], dim=-1).reshape(-1, 2), persistent=False)

    def forward(self, tokens: SearchTokens, truth: Tensor | None = None) -> CornerOutput:
        """The expected corners: a cell stands for its index / grid, its upper left corner, as in the official code; the
        softmax runs over all cells, in float32 under autocast.
        """
        dense = tokens.dense()
        towers = (self.top_left, self.bottom_right)
        heat = torch.stack([corner(dense).float().flatten(1).softmax(dim=1) for corner in towers], dim=1)
        return CornerOutput((heat @ self.corners).flatten(1), heat.amax(dim=-1))

    def losses(self, output: CornerOutput, truth: Tensor) -> dict[str, Tensor]:
        """5 x L1 and 2 x GIoU of the one box. truth: (B, 4) xyxy."""
        return {
            "l1": L1_WEIGHT * (output.boxes - truth).abs().mean(),
            "giou": GIOU_WEIGHT * giou_loss(output.boxes, truth).mean(),
        }

    def predict(self, output: CornerOutput) -> Prediction:
        """The same box at every cell, its corners put in order, so that a window over the map changes nothing (STARK has
        none). STARK learns no score either: ours, the same at every cell, is the geometric mean of both heat maps' peaks, 1
        where both corners are certain.
        """
        cells = (-1, self.grid, self.grid)
        first, second = output.boxes[:, :2], output.boxes[:, 2:]
        boxes = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=1)
        score = output.peaks.prod(dim=1).sqrt()
        return Prediction(score[:, None, None].expand(cells), boxes[:, None, None].expand(*cells, 4))
