"""Which cells, tokens and queries count as positive in a training step. Pure functions of tensors, without parameters.

Truth is (B, 4) xyxy in [0, 1] of the search crop, and maps are in raster order (row * grid + column). No tensor's value
is read from Python, so everything runs on any device, the meta device included.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trackablate.trackers.spec import Labels
from trackablate.trackers.tokens import cell_centres
from trackablate.trackers.training.losses import box_iou, giou_loss, xyxy_to_cxcywh

MIN_OVERLAP = 0.7
"""IoU that a corner moved by CornerNet's radius should keep (OSTrack and CenterNet use 0.7)."""


def cells_inside(truth: Tensor, grid: int) -> Tensor:
    """Return the cells whose centre lies inside the true box, (B, grid * grid) bool (DETRack, section 3.4).

    A box too small to contain any cell's centre gets the cell whose centre is nearest to its own, so that every example
    has a positive.
    """
    centres = cell_centres(grid, truth.device)
    inside = ((centres >= truth[:, None, :2]) & (centres <= truth[:, None, 2:])).all(-1)
    middle = (truth[:, None, :2] + truth[:, None, 2:]) / 2
    nearest = (centres - middle).square().sum(-1).argmin(dim=1, keepdim=True)
    fallback = torch.zeros_like(inside).scatter(1, nearest, True)
    return inside | (fallback & ~inside.any(dim=1, keepdim=True))


def touched_cells(truth: Tensor, grid: int) -> Tensor:
    """Return the cells that the true box touches, (B, grid * grid) bool, clipped to the map and at least one (LoRAT).

    On each axis they run from floor(x1 * grid) up to, but without, floor(x2 * grid + 1 - 1e-4).
    """
    cells = truth * grid
    start = cells[:, :2].floor().clamp(0, grid - 1)
    stop = torch.maximum((cells[:, 2:] + 1 - 1e-4).floor().clamp(max=grid), start + 1)
    axis = torch.arange(grid, device=truth.device)
    touched = (axis >= start[..., None]) & (axis < stop[..., None])
    columns, rows = touched.unbind(1)
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


def cornernet_radius(size: Tensor) -> Tensor:
    """Return the radius in cells of the Gaussian around a box of `size` (..., 2) in cells: whole numbers >= 0, (...,).

    CornerNet's three cases in the form that every centre tracker inherited: the roots are halved instead of divided by
    2a. That is wrong for the last two cases, and kept because the published trackers were trained with it.
    """
    total, area = size.sum(-1), size.prod(-1)
    cases = (
        (1.0, total, area * (1 - MIN_OVERLAP) / (1 + MIN_OVERLAP)),
        (4.0, 2 * total, area * (1 - MIN_OVERLAP)),
        (4 * MIN_OVERLAP, -2 * MIN_OVERLAP * total, area * (MIN_OVERLAP - 1)),
    )
    roots = [(b + (b.square() - 4 * a * c).clamp(min=0).sqrt()) / 2 for a, b, c in cases]
    return torch.stack(roots).amin(0).clamp(min=0).floor()


def gaussian_heatmap(truth: Tensor, grid: int) -> Tensor:
    """Return OSTrack's centre heat map, (B, grid, grid) in [0, 1], exactly 1 at one cell of each example.

    The peak is at round(box centre * grid), clipped to the map. sigma is (2r + 1) / 6, and beyond r cells on either
    axis the map is zero.
    """
    cells = truth.float() * grid
    centre = ((cells[:, :2] + cells[:, 2:]) / 2).round().clamp(0, grid - 1)
    radius = cornernet_radius((cells[:, 2:] - cells[:, :2]).clamp(min=0))[:, None, None]
    sigma = (2 * radius + 1) / 6
    distance = torch.arange(grid, device=truth.device) - centre[..., None]
    bell = torch.exp(-distance.square() / (2 * sigma.square())) * (distance.abs() <= radius)
    columns, rows = bell.unbind(1)
    return rows[:, :, None] * columns[:, None, :]


def top_positives(logits: Tensor, positive: Tensor, k: int) -> Tensor:
    """Return the `k` positives of the highest score in each example, bool of the shape of `logits` (..., N).

    Only they get a box loss, so that tokens at the edge of the true box get none (DETRack, section 3.4).
    """
    positive = positive.expand_as(logits)
    ranked = logits.detach().masked_fill(~positive, float("-inf"))
    best = ranked.topk(min(k, logits.shape[-1]), dim=-1).indices
    return torch.zeros_like(positive).scatter(-1, best, True) & positive


class Queries(NamedTuple):
    """The guesses of one stage of a decoder, or of a stack of stages.

    Attributes:
        logits: (..., B, Q).
        boxes: (..., B, Q, 4) xyxy.
        cells: (B, Q) int64, the cells on the grid x grid map that the queries come from.
        grid: Side of the map.
    """

    logits: Tensor
    boxes: Tensor
    cells: Tensor
    grid: int


class Assigned(NamedTuple):
    """Labels without gradient: positive (..., B, Q) bool; target of the score (..., B, Q), 0 for negatives."""

    positive: Tensor
    target: Tensor


def by_quality(queries: Queries, truth: Tensor) -> Assigned:
    """Label every query whose cell lies inside the true box with its own box's IoU (DETRack, section 3.4)."""
    positive = _inside(queries, truth)
    return Assigned(positive, box_iou(queries.boxes.detach(), truth[:, None].float()) * positive)


def one_to_many(queries: Queries, truth: Tensor) -> Assigned:
    """Label the same queries with 1 (Table 6, hard label)."""
    return _hard(_inside(queries, truth))


def at_centre(queries: Queries, truth: Tensor) -> Assigned:
    """Label the one query whose cell is nearest to the true centre with 1 (Table 6, center).

    The paper only says that this is one-to-one and like a convolutional head's. Its target here is 1 without a Gaussian
    around it, so that the four assignments differ only in which queries are positive. If no query comes from the
    centre's own cell, the nearest one is taken.
    """
    middle = (truth[:, None, :2] + truth[:, None, 2:]) / 2
    distance = (cell_centres(queries.grid, truth.device)[queries.cells] - middle).square().sum(-1)
    return _hard(_least(distance.expand_as(queries.logits)))


def hungarian(queries: Queries, truth: Tensor) -> Assigned:
    """Label the query of least cost with 1, stage by stage: DETR's one-to-one matching (Table 6, Hungarian).

    With one true box that is the Hungarian algorithm's answer. A test compares it with scipy's linear_sum_assignment.
    """
    return _hard(_least(matching_cost(queries, truth)))


def matching_cost(queries: Queries, truth: Tensor) -> Tensor:
    """Return DETR's matching cost of every query, (..., B, Q): -score + 5 x L1 of cxcywh + 2 x (1 - GIoU)."""
    boxes, target = queries.boxes.detach(), truth[:, None].float().expand_as(queries.boxes)
    l1 = (xyxy_to_cxcywh(boxes) - xyxy_to_cxcywh(target)).abs().sum(-1)
    return -queries.logits.detach().sigmoid() + 5 * l1 + 2 * giou_loss(boxes, target)


ASSIGN: dict[Labels, Callable[[Queries, Tensor], Assigned]] = {
    "localisation-quality": by_quality,
    "one-to-many": one_to_many,
    "centre": at_centre,
    "hungarian": hungarian,
}
"""A decoder's label assignments, the rows of DETRack's Table 6. Each takes queries and truth (B, 4)."""


def _inside(queries: Queries, truth: Tensor) -> Tensor:
    return cells_inside(truth, queries.grid).gather(1, queries.cells).expand_as(queries.logits)


def _hard(positive: Tensor) -> Assigned:
    return Assigned(positive, positive.float())


def _least(cost: Tensor) -> Tensor:
    return torch.zeros_like(cost, dtype=torch.bool).scatter(-1, cost.argmin(dim=-1, keepdim=True), True)
