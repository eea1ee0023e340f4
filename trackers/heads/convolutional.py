"""Convolutional heads over the map of search tokens: OSTrack's centre head (section 3.3), and LoRAT's anchor-free one.

Eliminated tokens are zeros on the map.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trackablate.trackers.heads.mlp import DistanceHead, DistanceOutput
from trackablate.trackers.spec import CentreHead, ConvHead, Denoising, Labels
from trackablate.trackers.tokens import Prediction, SearchTokens, cell_centres
from trackablate.trackers.training.assignment import gaussian_heatmap, touched_cells
from trackablate.trackers.training.losses import anchor_free_losses, centre_focal_loss, cxcywh_to_xyxy, giou_loss

PROBABILITY = (1e-4, 1 - 1e-4)
"""OSTrack's bounds of scores and sizes. The focal loss takes the scores' logarithm."""


class CentreOutput(NamedTuple):
    """What the centre head's towers say of each cell.

    Attributes:
        logits: (B, G, G).
        score: (B, G, G).
        size: (B, 2, G, G) as (width, height), in units of the crop.
        offset: (B, 2, G, G) as (x, y), in cells, or in units of the crop if it counts from the cells' centres.
        boxes: (B, G, G, 4) xyxy in [0, 1], the box of every cell.
    """

    logits: Tensor
    score: Tensor
    size: Tensor
    offset: Tensor
    boxes: Tensor

    @property
    def best_boxes(self) -> Tensor:
        """The box with the highest score, (B, 4) xyxy."""
        best = self.score.flatten(1).argmax(dim=1)
        return self.boxes.flatten(1, 2)[torch.arange(len(best), device=best.device), best]


def tower(dim: int, channels: int, outputs: int) -> nn.Sequential:
    """Return four 3x3 convolutions and a 1x1 convolution to the outputs, as in OSTrack, STARK and LoRAT.

    Each 3x3 convolution has batch normalisation and ReLU and is half as wide as the one before.
    """
    widths = [dim, channels, channels // 2, channels // 4, channels // 8]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], outputs, 1))


class ConvCentreHead(nn.Module):
    """Three towers over the map, for score, offset and size.

    With offset_from `index` (OSTrack) a box's centre is (cell index + offset) / G. With `centre` (LoRAT's ablation) it
    is the cell's middle plus the offset in units of the crop, and nothing is clamped.
    """

    def __init__(
        self, spec: CentreHead, dim: int, grid: int, labels: Labels = "gaussian", denoising: Denoising | None = None
    ) -> None:
        super().__init__()
        self.spec, self.grid, self.labels = spec, grid, labels
        self.score = tower(dim, spec.channels, 1)
        self.offset = tower(dim, spec.channels, 2)
        self.size = tower(dim, spec.channels, 2)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        middles = cell_centres(grid).T.reshape(2, grid, grid)
        self.cells: Tensor
        self.register_buffer(
            "cells", (middles * grid).floor() if spec.offset_from == "index" else middles, persistent=False
        )

    def forward(self, tokens: SearchTokens, truth: Tensor | None = None) -> CentreOutput:
        """Return score and box of every cell."""
        dense = tokens.dense()
        logits = self.score(dense)[:, 0].float()
        size, offset = self.size(dense).float().sigmoid(), self.offset(dense).float()
        score, centre = logits.sigmoid(), self.cells + offset
        if self.spec.offset_from == "index":
            score, size, centre = score.clamp(*PROBABILITY), size.clamp(*PROBABILITY), centre / self.grid
        boxes = cxcywh_to_xyxy(torch.cat([centre, size], dim=1).permute(0, 2, 3, 1))
        return CentreOutput(logits, score, size, offset, boxes)

    def losses(self, output: CentreOutput, truth: Tensor) -> dict[str, Tensor]:
        """Return the losses that belong to the labels. truth: (B, 4) xyxy."""
        return CENTRE_LOSSES[self.labels](output, truth)

    def predict(self, output: CentreOutput) -> Prediction:
        """Return the maps as they are."""
        return Prediction(output.score, output.boxes)


def ostrack_losses(output: CentreOutput, truth: Tensor) -> dict[str, Tensor]:
    """Return the focal loss of the heat map, and 5 x L1 and 2 x GIoU of one box.

    That box is the one at the predicted peak, as in the official code, not the one at the true centre. The true box is
    cut to the crop for L1 and GIoU, but not for the heat map.
    """
    boxes = output.best_boxes
    heatmap, truth = gaussian_heatmap(truth, output.score.shape[-1]), truth.clamp(0, 1)
    return {
        "focal": centre_focal_loss(output.score.clamp(*PROBABILITY), heatmap),
        "l1": 5 * (boxes - truth).abs().mean(),
        "giou": 2 * giou_loss(boxes, truth).mean(),
    }


def touched_cell_losses(output: CentreOutput, truth: Tensor, *, iou_aware: bool) -> dict[str, Tensor]:
    """Return score and GIoU losses at every cell that the true box touches (LoRAT).

    The score's target is 1 or, if iou_aware, the IoU of the cell's own box.
    """
    positive = touched_cells(truth, output.score.shape[-1])
    boxes = output.boxes.flatten(1, 2)
    return anchor_free_losses(output.logits.flatten(1), boxes, truth, positive, iou_aware=iou_aware)


CENTRE_LOSSES: dict[Labels, Callable[[CentreOutput, Tensor], dict[str, Tensor]]] = {
    "gaussian": ostrack_losses,
    "hard": partial(touched_cell_losses, iou_aware=False),
    "iou-aware": partial(touched_cell_losses, iou_aware=True),
}


class ConvBoxHead(DistanceHead):
    """Two towers that predict by convolutions what LoRAT's MLP head predicts (LoRAT's ablation /convhead)."""

    def __init__(
        self, spec: ConvHead, dim: int, grid: int, labels: Labels = "hard", denoising: Denoising | None = None
    ) -> None:
        super().__init__(tower(dim, spec.channels, 1), tower(dim, spec.channels, 4), grid, labels)

    def forward(self, tokens: SearchTokens, truth: Tensor | None = None) -> DistanceOutput:
        """Return score and box of every cell."""
        dense = tokens.dense()
        every = torch.arange(tokens.grid**2, device=dense.device).expand(len(dense), -1)
        cells = SearchTokens(dense.flatten(2).transpose(1, 2), every, tokens.grid)
        distance = self.box(dense).float().sigmoid().flatten(2).transpose(1, 2)
        return self.placed(self.score(dense).float().flatten(1), distance, cells)
