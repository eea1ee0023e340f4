"""STARK's corner head (Yan et al. 2021, section 3.1): one heat map per corner, whose expectations are the box.

Cells have neither a score nor a box of their own: there is one box for each search crop.
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
    """One box for each search crop.

    Attributes:
        boxes: (B, 4), the expected corners x1, y1, x2, y2 in units of the crop, not ordered.
        peaks: (B, 2), the highest probability of each corner's heat map.
    """

    boxes: Tensor
    peaks: Tensor


class CornerExpectationHead(nn.Module):
    """Two towers over the map, for the top left and the bottom right corner. Eliminated tokens are zeros on the map."""

    def __init__(
        self, spec: CornerHead, dim: int, grid: int, labels: Labels = "corner", denoising: Denoising | None = None
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
        """Return the expected corners, with a softmax over all cells, in float32 under autocast.

        A cell stands for its upper left corner, index / grid, as in the official code.
        """
        dense = tokens.dense()
        towers = (self.top_left, self.bottom_right)
        heat = torch.stack([corner(dense).float().flatten(1).softmax(dim=1) for corner in towers], dim=1)
        return CornerOutput((heat @ self.corners).flatten(1), heat.amax(dim=-1))

    def losses(self, output: CornerOutput, truth: Tensor) -> dict[str, Tensor]:
        """Return 5 x L1 and 2 x GIoU of the one box. truth: (B, 4) xyxy."""
        return {
            "l1": L1_WEIGHT * (output.boxes - truth).abs().mean(),
            "giou": GIOU_WEIGHT * giou_loss(output.boxes, truth).mean(),
        }

    def predict(self, output: CornerOutput) -> Prediction:
        """Return the same box at every cell, with its corners in order.

        A window over the map then changes nothing; STARK has no window. STARK learns no score either. Ours, the same at
        every cell, is the geometric mean of both heat maps' peaks, which is 1 if both corners are certain.
        """
        cells = (-1, self.grid, self.grid)
        first, second = output.boxes[:, :2], output.boxes[:, 2:]
        boxes = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=1)
        score = output.peaks.prod(dim=1).sqrt()
        return Prediction(score[:, None, None].expand(cells), boxes[:, None, None].expand(*cells, 4))
