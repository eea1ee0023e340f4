"""LoRAT's head: one MLP for the score and one for the box, applied to each token (LoRAT, section 3.4)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trackablate.trackers.spec import Denoising, Labels, MLPHead
from trackablate.trackers.tokens import Prediction, SearchTokens, cell_centres
from trackablate.trackers.training.assignment import touched_cells
from trackablate.trackers.training.losses import anchor_free_losses


class DistanceOutput(NamedTuple):
    """Scores and boxes of N tokens: logits (B, N), boxes (B, N, 4) xyxy in [0, 1] of the crop."""

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


class DistanceHead(nn.Module):
    """The distances to the left, top, right and bottom from each cell's centre, as sigmoids in units of the crop."""

    def __init__(self, score: nn.Module, box: nn.Module, grid: int, labels: Labels) -> None:
        super().__init__()
        self.score, self.box, self.labels = score, box, labels
        self.centres: Tensor
        self.register_buffer("centres", cell_centres(grid), persistent=False)

    def placed(self, logits: Tensor, distance: Tensor, tokens: SearchTokens) -> DistanceOutput:
        """Return the boxes at these distances (B, N, 4) from the tokens' cells, with their logits (B, N)."""
        reference = self.centres[tokens.index]
        boxes = torch.cat([reference - distance[..., :2], reference + distance[..., 2:]], dim=-1)
        return DistanceOutput(logits, boxes.float(), tokens)

    def losses(self, output: DistanceOutput, truth: Tensor) -> dict[str, Tensor]:
        """Return LoRAT's losses at those kept cells that the true box touches. truth: (B, 4) xyxy."""
        positive = touched_cells(truth, output.tokens.grid).gather(1, output.tokens.index)
        iou_aware = self.labels == "iou-aware"
        return anchor_free_losses(output.logits, output.boxes, truth, positive, iou_aware=iou_aware)

    def predict(self, output: DistanceOutput) -> Prediction:
        """Return sigmoid scores and boxes on the map."""
        tokens = output.tokens
        score = tokens.dense(output.logits.sigmoid()[..., None])[:, 0]
        return Prediction(score, tokens.dense(output.boxes).permute(0, 2, 3, 1))


class TokenMLPHead(DistanceHead):
    """LoRAT's head. Eliminated tokens have no score and no box."""

    def __init__(
        self, spec: MLPHead, dim: int, grid: int, labels: Labels = "iou-aware", denoising: Denoising | None = None
    ) -> None:
        super().__init__(_mlp(dim, spec.layers, 1), _mlp(dim, spec.layers, 4), grid, labels)

    def forward(self, tokens: SearchTokens, truth: Tensor | None = None) -> DistanceOutput:
        """Return score and box of every kept token."""
        distance = self.box(tokens.features).float().sigmoid()  # as published, also under autocast
        return self.placed(self.score(tokens.features).squeeze(-1).float(), distance, tokens)
