"""Denoising queries made from the true box (DETRack, section 3.5), and the mask that separates them from the others.

There are `groups` groups of one positive and one negative query, in the order positive, negative, positive, negative,
and so on. All randomness comes from torch's global generator. Each row of the paper's Table 5
has its own source of their content.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trackablate.trackers.spec import Denoising
from trackablate.trackers.tokens import SearchTokens
from trackablate.trackers.training.assignment import cells_inside
from trackablate.trackers.training.losses import cxcywh_to_xyxy, xyxy_to_cxcywh

MIN_SIDE = 0.01
"""Smallest side of a noised box in search crops, so that clipping and scaling never make an empty reference."""


class DenoisingQueries(NamedTuple):
    """The extra queries: content (B, 2 * groups, C) and boxes (B, 2 * groups, 4) cxcywh in [0, 1], without gradient."""

    content: Tensor
    boxes: Tensor


class EmbeddedContent(nn.Module):
    """Two learned embeddings, one for all positives and one for all negatives, as in DN-DETR for object detection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.labels = nn.Embedding(2, width)

    def forward(self, tokens: SearchTokens, truth: Tensor, groups: int) -> Tensor:
        """Return (B, 2 * groups, C): rows 0 (positive) and 1 (negative) in turn, independent of the image."""
        turn = torch.arange(2 * groups, device=truth.device) % 2
        content: Tensor = self.labels(turn.expand(len(truth), -1))
        return content


def centre_and_corner(tokens: SearchTokens, truth: Tensor, groups: int) -> Tensor:
    """Return the tokens (B, 2 * groups, C) at the true box's centre and at a corner: DETRack's choice (Fig. 3b)."""
    return tokens_at(nearest_kept(content_points(truth, groups).flatten(1, 2), tokens), tokens)


def centre_and_outside(tokens: SearchTokens, truth: Tensor, groups: int) -> Tensor:
    """Return the token at the true box's centre and a random one outside the box, in turn: (B, 2 * groups, C)."""
    positive = nearest_kept(content_points(truth, groups)[:, :, 0], tokens)
    return tokens_at(torch.stack([positive, random_outside(truth, tokens, groups)], dim=2).flatten(1), tokens)


Content = Callable[[SearchTokens, Tensor, int], Tensor]
CONTENT: dict[str, Callable[[int], Content]] = {
    "embedding": EmbeddedContent,
    "centre-corner": lambda width: centre_and_corner,
    "centre-outside": lambda width: centre_and_outside,
}
"""The sources of the queries' content, each made for the decoder's width."""


class DenoisingBranch(nn.Module):
    """The extra queries of a training step. It has parameters only if their content is learned."""

    def __init__(self, spec: Denoising, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.content = CONTENT[spec.kind](width)

    def forward(self, tokens: SearchTokens, truth: Tensor) -> DenoisingQueries:
        """Return the queries. tokens: the encoder's, projected to the decoder's width. truth: (B, 4) xyxy in [0, 1]."""
        content = self.content(tokens, truth, self.spec.groups)
        return DenoisingQueries(content.to(tokens.features.dtype), noised_boxes(truth, self.spec).flatten(1, 2))


def noised_boxes(truth: Tensor, spec: Denoising) -> Tensor:
    """Return noised true boxes, (B, groups, 2, 4) cxcywh: [..., 0, :] positive, [..., 1, :] negative.

    A positive's centre moves by less than shift * side / 2, and its sides change by a factor in 1 -+ scale. A
    negative's noise lies between one and two times that bound. Boxes are clipped to the crop, and no side is below
    MIN_SIDE.
    """
    shape = (truth.shape[0], spec.groups, 2, 4)
    magnitude = torch.rand(shape, device=truth.device)
    magnitude = magnitude + torch.arange(2, device=truth.device)[:, None]
    noise = magnitude * (torch.randint(0, 2, shape, device=truth.device) * 2 - 1)
    box = xyxy_to_cxcywh(truth.detach().float())[:, None, None]
    centre = box[..., :2] + noise[..., :2] * spec.shift / 2 * box[..., 2:]
    size = box[..., 2:] * (1 + noise[..., 2:] * spec.scale).clamp(min=0)
    clipped = xyxy_to_cxcywh(cxcywh_to_xyxy(torch.cat([centre, size], dim=-1)).clamp(0, 1))
    return torch.cat([clipped[..., :2], clipped[..., 2:].clamp(min=MIN_SIDE)], dim=-1)


def content_points(truth: Tensor, groups: int) -> Tensor:
    """Return the points that the content comes from, (B, groups, 2, 2) as (x, y) (Fig. 3b).

    A positive takes the box's centre and a negative one of its corners. The groups take the corners in turn from a
    random first one, so that no corner is preferred when the number of groups is not a multiple of four.
    """
    x1, y1, x2, y2 = truth.detach().unbind(-1)
    corners = torch.stack([x1, y1, x2, y1, x2, y2, x1, y2], dim=-1).view(-1, 4, 2)
    first = torch.randint(0, 4, (truth.shape[0], 1), device=truth.device)
    turn = (first + torch.arange(groups, device=truth.device)) % 4
    negative = corners.gather(1, turn[..., None].expand(-1, -1, 2))
    positive = corners.mean(1, keepdim=True).expand_as(negative)
    return torch.stack([positive, negative], dim=2)


def nearest_kept(points: Tensor, tokens: SearchTokens) -> Tensor:
    """Return the index in `tokens` of the token at each point's cell, (B, P) int64. points: (B, P, 2) in [0, 1].

    If candidate elimination removed that token, the kept token with the nearest cell replaces it. The paper does not
    say what should happen.
    """
    cells = (points * tokens.grid).floor().clamp(0, tokens.grid - 1)
    kept = torch.stack([tokens.index % tokens.grid, tokens.index // tokens.grid], dim=-1)
    distance = (cells[:, :, None] - kept[:, None]).square().sum(-1)
    return distance.argmin(dim=-1)


def tokens_at(places: Tensor, tokens: SearchTokens) -> Tensor:
    """Return the features (B, P, C) at `places` (B, P), indices into the kept tokens."""
    return tokens.features.gather(1, places[..., None].expand(-1, -1, tokens.features.shape[-1]))


def random_outside(truth: Tensor, tokens: SearchTokens, groups: int) -> Tensor:
    """Return for each group the place of a random kept token, (B, groups) int64.

    Its cell's centre lies outside the true box, unless all kept tokens are inside.
    """
    outside = ~cells_inside(truth, tokens.grid).gather(1, tokens.index)
    draws = torch.rand(len(truth), groups, tokens.index.shape[1], device=truth.device)
    return (draws + outside[:, None]).argmax(dim=-1)


def attention_mask(queries: int, groups: int, device: torch.device | None = None) -> Tensor:
    """Return self-attention's mask, (T, T) bool with T = queries + 2 * groups, True where attention is forbidden.

    Regular queries see only each other, and so do the two queries of a group: the truth cannot leak (section 3.5).
    """
    part = torch.cat([torch.zeros(queries, device=device), 1 + torch.arange(2 * groups, device=device) // 2])
    return part[:, None] != part[None, :]
