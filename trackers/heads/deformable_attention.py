"""Deformable attention over one feature map (DETRack, equation 1; Zhu et al. 2020, section 4.1)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackablate.trackers.tokens import SearchTokens


class DeformableAttention(nn.Module):
    """Attention in which each query reads `points` positions per head around its reference box.

    Eliminated tokens are absent from the map: a sample at such a cell, or outside the map, reads zero.
    """

    def __init__(self, width: int, heads: int, points: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads, self.points = heads, points
        self.offsets = nn.Linear(width, heads * points * 2)
        self.weights = nn.Linear(width, heads * points)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as Deformable DETR does: head m looks in direction m, point k is k steps away, with equal weights."""
        angle = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        nn.init.zeros_(self.offsets.weight)
        with torch.no_grad():
            self.offsets.bias.copy_((direction[:, None] * steps[:, None]).flatten())
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        for linear in (self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: Tensor, reference: Tensor, tokens: SearchTokens) -> Tensor:
        """Return the attended values (B, Q, width). query: (B, Q, width); reference: (B, Q, 4) cxcywh in [0, 1].

        The values are projected before they are laid out on the map, so nothing is computed for removed tokens.
        """
        batch, queries, _ = query.shape
        weights = self.weights(query).view(batch, queries, self.heads, self.points).softmax(-1)
        values = tokens.dense(self.value(tokens.features))
        attended: Tensor = self.output(sample(values, self.locations(query, reference), weights).to(query.dtype))
        return attended

    def locations(self, query: Tensor, reference: Tensor) -> Tensor:
        """Return the positions that each query samples, (B, Q, heads, points, 2) as (x, y) in [0, 1] of the map.

        An offset of `points` reaches the edge of the reference box (Deformable DETR, appendix A.4). The paper gives an
        offset four numbers, like a box; a sampling position has two.
        """
        batch, queries, _ = query.shape
        offsets = self.offsets(query).view(batch, queries, self.heads, self.points, 2)
        centre, size = reference[:, :, None, None, :2], reference[:, :, None, None, 2:]
        where: Tensor = centre + offsets / self.points * size / 2
        return where


def sample(values: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of bilinear samples (B, Q, C), heads concatenated: the bracket of equation 1.

    values: (B, C, height, width), of which head m owns the m-th share of the channels; zero outside the map. locations:
    (B, Q, M, P, 2) as (x, y) in [0, 1] from the map's outer edges. weights: (B, Q, M, P). Samples are taken in the
    precision of the locations, because half-precision coordinates would be off by a noticeable share of a cell.
    """
    batch, queries, heads, points, _ = locations.shape
    maps = values.to(locations.dtype).reshape(batch * heads, -1, *values.shape[2:])
    where = (2 * locations - 1).transpose(1, 2).reshape(batch * heads, queries, points, 2)
    samples = F.grid_sample(maps, where, mode="bilinear", padding_mode="zeros", align_corners=False)
    shares = weights.to(samples.dtype).transpose(1, 2).reshape(batch * heads, 1, queries, points)
    return (samples * shares).sum(-1).reshape(batch, -1, queries).transpose(1, 2)
