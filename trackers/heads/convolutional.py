"""Convolutional heads over the dense map, on which eliminated tokens are zeros: OSTrack's centre head (OSTrack, section
3.3), and the anchor-free one of LoRAT's ablations.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trackablate.trackers.spec import CentreHead, ConvHead, Denoising, Labels
from trackablate.trackers.tokens import Prediction, SearchTokens, cell_centres
from trackablate.trackers.training.assignment import gaussian_heatmap, touched_cells
from trackablate.trackers.training.losses import anchor_free_losses, centre_focal_loss, cxcywh_to_xyxy, giou_loss

PROBABILITY = (1e-4, 1 - 1e-4)
"""OSTrack's bounds of scores and sizes: the focal loss takes their logarithm."""


class CentreOutput(NamedTuple):
    """logits, score: (B, G, G). size, offset: (B, 2, G, G) as (x, y), the size in units of the crop, the offset in cells
    (or of the crop, where it counts from the cells' centres). boxes: (B, G, G, 4) xyxy in [0, 1], the box of every cell.
    """

    logits: Tensor
    score: Tensor
    size: Tensor
    offset: Tensor
    boxes: Tensor


class DenseOutput(NamedTuple):
    """logits: (B, N); boxes: (B, N, 4) xyxy in units of the crop; N = G * G cells in raster order."""

    logits: Tensor
    boxes: Tensor


def tower(dim: int, channels: int, outputs: int) -> nn.Sequential:
    """Four 3x3 convolutions, each with batch normalisation and ReLU and half as wide as the one before, and a 1x1 to the
    outputs: OSTrack's, STARK's and LoRAT's alike.
    """
    widths = [dim, channels, channels // 2, channels // 4, channels // 8]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], outputs, 1))


class ConvCentreHead(nn.Module):
    """Three towers over the dense map, score, offset and size; eliminated tokens are zeros on it.

    offset_from `index` is OSTrack's: a cell's centre is (cell index + offset) / G, the index, not the cell's middle.
    `centre` is LoRAT's ablation: the cell's middle plus the offset in units of the crop, nothing clamped.
    """

    def __init__(
        self,
        spec: CentreHead,
        dim: int,
        grid: int,
        labels: Labels = "gaussian",
        denoising: Denoising | None = None,
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
        """Score and box of every cell."""
        dense = tokens.dense()
        logits = self.score(dense)[:, 0].float()
        size, offset = self.size(dense).float().sigmoid(), self.offset(dense).float()
        score, centre = logits.sigmoid(), self.cells + offset
        if self.spec.offset_from == "index":
            score, size, centre = score.clamp(*PROBABILITY), size.clamp(*PROBABILITY), centre / self.grid
        boxes = cxcywh_to_xyxy(torch.cat([centre, size], dim=1).permute(0, 2, 3, 1))
        return CentreOutput(logits, score, size, offset, boxes)

    def losses(self, output: CentreOutput, truth: Tensor) -> dict[str, Tensor]:
        """The losses that belong to the labels. truth: (B, 4) xyxy."""
        return CENTRE_LOSSES[self.labels](output, truth)

    def predict(self, output: CentreOutput) -> Prediction:
        """The maps as they are."""
        return Prediction(output.score, output.boxes)


def ostrack_losses(output: CentreOutput, truth: Tensor) -> dict[str, Tensor]:
    """Focal loss of the heat map, 5 x L1 and 2 x GIoU of the box at the predicted peak (as the official code does, not at
    the true centre).
    """
    best = output.score.flatten(1).argmax(dim=1)
    boxes = output.boxes.flatten(1, 2)[torch.arange(len(best), device=best.device), best]
    heatmap = gaussian_heatmap(truth, output.score.shape[-1])
    return {
        "focal": centre_focal_loss(output.score.clamp(*PROBABILITY), heatmap),
        "l1": 5 * (boxes - truth).abs().mean(),
        "giou": 2 * giou_loss(boxes, truth).mean(),
    }


def touched_cell_losses(output: CentreOutput, truth: Tensor, *, iou_aware: bool) -> dict[str, Tensor]:
    """LoRAT's labels, hard or the IoU of the cell's own box: score and GIoU at every cell that the true box touches."""
    positive = touched_cells(truth, output.score.shape[-1])
    boxes = output.boxes.flatten(1, 2)
    return anchor_free_losses(output.logits.flatten(1), boxes, truth, positive, iou_aware=iou_aware)


CENTRE_LOSSES: dict[Labels, Callable[[CentreOutput, Tensor], dict[str, Tensor]]] = {
    "gaussian": ostrack_losses,
    "hard": partial(touched_cell_losses, iou_aware=False),
    "iou-aware": partial(touched_cell_losses, iou_aware=True),
}


class ConvBoxHead(nn.Module):
    """Two towers, score and box: what LoRAT's MLP head predicts, by convolutions (LoRAT's ablation /convhead). Distances
    left, top, right, bottom from the cell's centre, each a sigmoid in units of the crop's side.
    """

    def __init__(
        self, spec: ConvHead, dim: int, grid: int, labels: Labels = "hard", denoising: Denoising | None = None
    ) -> None:
        super().__init__()
        self.grid, self.labels = grid, labels
        self.score = tower(dim, spec.channels, 1)
        self.box = tower(dim, spec.channels, 4)
        self.centres: Tensor
        self.register_buffer("centres", cell_centres(grid), persistent=False)

    def forward(self, tokens: SearchTokens, truth: Tensor | None = None) -> DenseOutput:
        """Score and box of every cell."""
        dense = tokens.dense()
        distance = self.box(dense).float().sigmoid().flatten(2).transpose(1, 2)
        boxes = torch.cat([self.centres - distance[..., :2], self.centres + distance[..., 2:]], dim=-1)
        return DenseOutput(self.score(dense).float().flatten(1), boxes)

    def losses(self, output: DenseOutput, truth: Tensor) -> dict[str, Tensor]:
        """LoRAT's losses at the cells that the true box touches. truth: (B, 4) xyxy."""
        positive = touched_cells(truth, self.grid)
        return anchor_free_losses(output.logits, output.boxes, truth, positive, iou_aware=self.labels == "iou-aware")

    def predict(self, output: DenseOutput) -> Prediction:
        """Sigmoid scores and boxes on the map."""
        shape = (-1, self.grid, self.grid)
        return Prediction(output.logits.sigmoid().reshape(shape), output.boxes.reshape(*shape, 4))
