"""OSTrack's centre head: where the centre is, its offset within the cell, and the size (OSTrack, section 3.3)."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trackers.assignment import gaussian_heatmap
from trackers.losses import centre_focal_loss, cxcywh_to_xyxy, giou_loss
from trackers.spec import CentreHead, Denoising
from trackers.tokens import Prediction, SearchTokens


class CentreOutput(NamedTuple):
    """score: (B, G, G), clamped inside (0, 1); boxes: (B, G, G, 4) xyxy in [0, 1], the box of every cell."""

    score: Tensor
    boxes: Tensor


def _tower(dim: int, channels: int, outputs: int) -> nn.Sequential:
    widths = [dim, channels, channels // 2, channels // 4, channels // 8]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], outputs, 1))


class ConvCentreHead(nn.Module):
    """Three towers over the dense map; eliminated tokens are zeros on it."""

    def __init__(self, spec: CentreHead, dim: int, grid: int, denoising: Denoising | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.score = _tower(dim, spec.channels, 1)
        self.offset = _tower(dim, spec.channels, 2)
        self.size = _tower(dim, spec.channels, 2)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        axis = torch.arange(grid, dtype=torch.float32)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.cells: Tensor
        self.register_buffer("cells", torch.stack([x, y]), persistent=False)

    def forward(self, tokens: SearchTokens, truth: Tensor | None = None) -> CentreOutput:
        """Score and box of every cell. A cell's centre is (cell index + offset) / grid: the index, not its middle."""
        dense = tokens.dense()
        score = self.score(dense)[:, 0].float().sigmoid().clamp(1e-4, 1 - 1e-4)
        size = self.size(dense).float().sigmoid().clamp(1e-4, 1 - 1e-4)
        centre = (self.cells + self.offset(dense).float()) / self.grid
        return CentreOutput(score, cxcywh_to_xyxy(torch.cat([centre, size], dim=1).permute(0, 2, 3, 1)))

    def losses(self, output: CentreOutput, truth: Tensor) -> dict[str, Tensor]:
        """Focal loss of the heat map, 5 x L1 and 2 x GIoU of the box at the predicted peak (as the official code does,
        not at the true centre). truth: (B, 4) xyxy."""
        best = output.score.flatten(1).argmax(dim=1)
        boxes = output.boxes.flatten(1, 2)[torch.arange(len(best), device=best.device), best]
        return {
            "focal": centre_focal_loss(output.score, gaussian_heatmap(truth, self.grid)),
            "l1": 5 * (boxes - truth).abs().mean(),
            "giou": 2 * giou_loss(boxes, truth).mean(),
        }

    def predict(self, output: CentreOutput) -> Prediction:
        """The maps as they are."""
        return Prediction(output.score, output.boxes)
