"""LoRAT's head: per token, one MLP for the score and one for the box (LoRAT, section 3.4)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackers.assignment import touched_cells
from trackers.losses import box_iou, giou_loss
from trackers.spec import Denoising, MLPHead
from trackers.tokens import Prediction, SearchTokens, cell_centres


class MLPOutput(NamedTuple):
    """logits: (B, N); boxes: (B, N, 4) xyxy in [0, 1] of the crop; tokens: where the N tokens are."""

    logits: Tensor
    boxes: Tensor
    tokens: SearchTokens


def _mlp(dim: int, layers: int, outputs: int) -> nn.Sequential:
    hidden = [module for _ in range(layers - 1) for module in (nn.Linear(dim, dim), nn.GELU())]
    mlp = nn.Sequential(*hidden, nn.Linear(dim, outputs))
    for module in mlp:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return mlp


class TokenMLPHead(nn.Module):
    """Distances left, top, right, bottom from the cell's centre, each a sigmoid in units of the crop's side."""

    def __init__(self, spec: MLPHead, dim: int, grid: int, denoising: Denoising | None = None) -> None:
        super().__init__()
        self.score = _mlp(dim, spec.layers, 1)
        self.box = _mlp(dim, spec.layers, 4)
        self.centres: Tensor
        self.register_buffer("centres", cell_centres(grid), persistent=False)

    def forward(self, tokens: SearchTokens, truth: Tensor | None = None) -> MLPOutput:
        """Score and box of every kept token."""
        distance = self.box(tokens.features).sigmoid()
        reference = self.centres[tokens.index]
        boxes = torch.cat([reference - distance[..., :2], reference + distance[..., 2:]], dim=-1)
        return MLPOutput(self.score(tokens.features).squeeze(-1).float(), boxes.float(), tokens)

    def losses(self, output: MLPOutput, truth: Tensor) -> dict[str, Tensor]:
        """Binary cross-entropy towards the IoU at every cell that the true box touches and 0 elsewhere, and GIoU at
        these cells; both summed over the batch and divided by the number of positives. truth: (B, 4)."""
        positive = touched_cells(truth, output.tokens.grid).gather(1, output.tokens.index)
        target = truth[:, None].expand_as(output.boxes)
        quality = box_iou(output.boxes, target).detach() * positive
        count = positive.sum().clamp(min=1)
        score = F.binary_cross_entropy_with_logits(output.logits, quality, reduction="sum") / count
        return {"score": score, "giou": (giou_loss(output.boxes, target) * positive).sum() / count}

    def predict(self, output: MLPOutput) -> Prediction:
        """Sigmoid scores and boxes on the map."""
        tokens = output.tokens
        score = tokens.dense(output.logits.sigmoid()[..., None])[:, 0]
        return Prediction(score, tokens.dense(output.boxes).permute(0, 2, 3, 1))
