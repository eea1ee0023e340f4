"""Which cells, tokens and queries a training step counts as positive: pure functions of tensors, no parameters.

Truth is (B, 4) xyxy in [0, 1] of the search crop; maps are in raster order (row * grid + column). Nothing here looks at
a value from Python, so everything runs on any device, the meta device included.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trackablate.trackers.spec import Labels
from trackablate.trackers.tokens import cell_centres
from trackablate.trackers.training.losses import box_iou, giou_loss, xyxy_to_cxcywh

MIN_OVERLAP = 0.7
"""IoU that a corner moved by CornerNet's radius is meant to keep (OSTrack and CenterNet use 0.7)."""


def cells_inside(truth: Tensor, grid: int) -> Tensor:
    """Cells whose centre lies inside the true box, (B, grid * grid) bool (DETRack, section 3.4).

    A box too small to hold any cell's centre gets the cell whose centre is nearest to its own, so that no example is
    without a positive.
    """
    centres = cell_centres(grid, truth.device)
    inside = ((centres >= truth[:, None, :2]) & (centres <= truth[:, None, 2:])).all(-1)
    middle = (truth[:, None, :2] + truth[:, None, 2:]) / 2
    nearest = (centres - middle).square().sum(-1).argmin(dim=1, keepdim=True)
    fallback = torch.zeros_like(inside).scatter(1, nearest, True)
    return inside | (fallback & ~inside.any(dim=1, keepdim=True))


def touched_cells(truth: Tensor, grid: int) -> Tensor:
    """Cells that the true box touches, (B, grid * grid) bool; clipped to the map, never none (LoRAT's rule).

    Per axis, from floor(x1 * grid) up to but without floor(x2 * grid + 1 - 1e-4).
    """
    cells = truth * grid
    start = cells[:, :2].floor().clamp(0, grid - 1)
    stop = torch.maximum((cells[:, 2:] + 1 - 1e-4).floor().clamp(max=grid), start + 1)
    axis = torch.arange(grid, device=truth.device)
    touched = (axis >= start[..., None]) & (axis < stop[..., None])
    columns, rows = touched.unbind(1)
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


def cornernet_radius(size: Tensor, min_overlap: float = MIN_OVERLAP) -> Tensor:
    """Radius in cells of the Gaussian around a box of `size` (..., 2) in cells: whole numbers >= 0, (...,).

    CornerNet's three cases in the form every centre tracker inherited: the roots are halved instead of divided by 2a,
    which is wrong for the last two, and kept because the published trackers were trained with it.
    """
    total, area = size.sum(-1), size.prod(-1)
    cases = (
        (1.0, total, area * (1 - min_overlap) / (1 + min_overlap)),
        (4.0, 2 * total, area * (1 - min_overlap)),
        (4 * min_overlap, -2 * min_overlap * total, area * (min_overlap - 1)),
    )
    roots = [(b + (b.square() - 4 * a * c).clamp(min=0).sqrt()) / 2 for a, b, c in cases]
    return torch.stack(roots).amin(0).clamp(min=0).floor()


def gaussian_heatmap(truth: Tensor, grid: int) -> Tensor:
    """OSTrack's centre heat map, (B, grid, grid) in [0, 1], exactly 1 at one cell per example.

    The peak is at round(box centre * grid), clipped to the map; sigma = (2r + 1) / 6, and zero beyond r cells per axis.
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
    """The `k` positives of the highest score per example, bool of the shape of `logits` (..., N); all, where fewer.

    DETRack, section 3.4: only they get a box loss, so that tokens at the edge of the true box do not.
    """
    positive = positive.expand_as(logits)
    ranked = logits.detach().masked_fill(~positive, float("-inf"))
    best = ranked.topk(min(k, logits.shape[-1]), dim=-1).indices
    return torch.zeros_like(positive).scatter(-1, best, True) & positive


class Queries(NamedTuple):
    """The guesses of one stage of a decoder, or of a stack of stages. logits: (..., B, Q); boxes: (..., B, Q, 4) xyxy;
    cells: (B, Q) int64, the places on the grid x grid map that the queries come from.
    """

    logits: Tensor
    boxes: Tensor
    cells: Tensor
    grid: int


class Assigned(NamedTuple):
    """positive: (..., B, Q) bool; target: (..., B, Q) in [0, 1], what the score should be, 0 for negatives. Constants for
    the gradient.
    """

    positive: Tensor
    target: Tensor


def by_quality(queries: Queries, truth: Tensor) -> Assigned:
    """DETRack's labels (section 3.4): every query whose cell lies inside the true box, towards its own box's IoU."""
    positive = _inside(queries, truth)
    return Assigned(positive, box_iou(queries.boxes.detach(), truth[:, None].float()) * positive)


def one_to_many(queries: Queries, truth: Tensor) -> Assigned:
    """The same positives towards 1 (Table 6, hard label)."""
    return _hard(_inside(queries, truth))


def at_centre(queries: Queries, truth: Tensor) -> Assigned:
    """The one query whose cell is nearest to the true centre (Table 6, center).

    The paper only says that it is one-to-one and like a convolutional head's. Its target here is 1 without a Gaussian
    around it, so that the four assignments differ in what is positive and in nothing else; where the centre's own cell
    has no query, the nearest that has one stands in.
    """
    middle = (truth[:, None, :2] + truth[:, None, 2:]) / 2
    distance = (cell_centres(queries.grid, truth.device)[queries.cells] - middle).square().sum(-1)
    return _hard(_least(distance.expand_as(queries.logits)))


def hungarian(queries: Queries, truth: Tensor) -> Assigned:
    """DETR's one-to-one matching (Table 6, Hungarian): with one true box, the Hungarian algorithm's answer is the query of
    least cost, stage by stage. The test holds it to scipy's linear_sum_assignment.
    """
    return _hard(_least(matching_cost(queries, truth)))


def matching_cost(queries: Queries, truth: Tensor) -> Tensor:
    """DETR's cost of matching a query with the true box, (..., B, Q): minus the score, 5 x L1 of cxcywh, 2 x (1 - GIoU)."""
    boxes, target = queries.boxes.detach(), truth[:, None].float().expand_as(queries.boxes)
    l1 = (xyxy_to_cxcywh(boxes) - xyxy_to_cxcywh(target)).abs().sum(-1)
    return -queries.logits.detach().sigmoid() + 5 * l1 + 2 * giou_loss(boxes, target)


ASSIGN: dict[Labels, Callable[[Queries, Tensor], Assigned]] = {
    "localisation-quality": by_quality,
    "one-to-many": one_to_many,
    "centre": at_centre,
    "hungarian": hungarian,
}
"""A decoder's label assignments, the rows of DETRack's Table 6: queries and truth (B, 4) to who is positive."""


def _inside(queries: Queries, truth: Tensor) -> Tensor:
    return cells_inside(truth, queries.grid).gather(1, queries.cells).expand_as(queries.logits)


def _hard(positive: Tensor) -> Assigned:
    return Assigned(positive, positive.float())


def _least(cost: Tensor) -> Tensor:
    return torch.zeros_like(cost, dtype=torch.bool).scatter(-1, cost.argmin(dim=-1, keepdim=True), True)
