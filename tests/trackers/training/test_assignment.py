"""Labels: which cells, tokens and queries are positive and towards what, against slow references, the official vectors and
scipy's Hungarian algorithm."""

from math import exp, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from golden_vectors import golden
from trackablate.trackers.plugins import HEADS
from trackablate.trackers.training.assignment import (
    ASSIGN,
    Queries,
    cells_inside,
    gaussian_heatmap,
    matching_cost,
    top_positives,
    touched_cells,
)
from trackablate.trackers.training.losses import box_iou, cxcywh_to_xyxy, giou_loss

GRID = 6
TRUTH = torch.tensor([[0.2, 0.3, 0.7, 0.8], [0.1, 0.1, 0.41, 0.92], [0.5, 0.4, 0.9, 0.7]])


def queries(layers: int = 4, count: int = 20) -> Queries:
    """A stack of guesses around the truth, (layers, 3, count), from random cells of the map."""
    generator = torch.Generator().manual_seed(3)
    cells = torch.stack([torch.randperm(GRID * GRID, generator=generator)[:count] for _ in TRUTH])
    noise = torch.randn(layers, len(TRUTH), count, 4, generator=generator) * 0.15
    logits = torch.randn(layers, len(TRUTH), count, generator=generator) * 2
    return Queries(logits, cxcywh_to_xyxy((noise + 0.5).clamp(0.05, 0.95)), cells, GRID)


def centres(of: Queries, example: int) -> list[tuple[float, float]]:
    return [((c % GRID + 0.5) / GRID, (c // GRID + 0.5) / GRID) for c in of.cells[example].tolist()]


def inside(of: Queries, example: int) -> list[int]:
    """Queries whose cell's centre lies in the true box."""
    x1, y1, x2, y2 = TRUTH[example].tolist()
    return [q for q, (x, y) in enumerate(centres(of, example)) if x1 <= x <= x2 and y1 <= y <= y2]


def places(mask: Tensor) -> list[int]:
    found: list[int] = mask.nonzero().flatten().tolist()
    return found


def test_every_label_of_the_decoder_has_its_assignment() -> None:
    assert set(ASSIGN) == set(HEADS["deformable"].labels)


@pytest.mark.parametrize("labels", ["localisation-quality", "one-to-many"])
def test_all_tokens_in_the_box_are_positive(labels: Any) -> None:
    """DETRack, section 3.4; Table 6, rows 3 and 4: the same positives, the target 1 or their box's IoU."""
    of = queries()
    positive, target = ASSIGN[labels](of, TRUTH)
    for example in range(3):
        expected = inside(of, example)
        assert len(expected) >= 2
        for layer in range(4):
            assert places(positive[layer, example]) == expected
            assert not target[layer, example][~positive[layer, example]].any()
            overlap = box_iou(of.boxes[layer, example, expected], TRUTH[example].expand(len(expected), 4))
            wanted = overlap if labels == "localisation-quality" else torch.ones(len(expected))
            torch.testing.assert_close(target[layer, example, expected], wanted)


def test_the_centre_has_one_query_the_nearest() -> None:
    """Table 6, row 1."""
    of = queries()
    positive, target = ASSIGN["centre"](of, TRUTH)
    assert target.equal(positive.float())
    for example, (x1, y1, x2, y2) in enumerate(TRUTH.tolist()):
        distance = [(x - (x1 + x2) / 2) ** 2 + (y - (y1 + y2) / 2) ** 2 for x, y in centres(of, example)]
        for layer in range(4):
            assert places(positive[layer, example]) == [int(np.argmin(distance))]


def test_the_centre_is_its_own_cell_where_that_has_a_query() -> None:
    of = queries(count=GRID * GRID)
    positive, _ = ASSIGN["centre"](of, TRUTH)
    cells = [of.cells[b][positive[0, b]].tolist() for b in range(3)]
    assert cells == [[3 * GRID + 2], [3 * GRID + 1], [3 * GRID + 4]], "of (0.45, 0.55), (0.255, 0.51) and (0.7, 0.55)"


def test_hungarian_is_scipys() -> None:
    """Table 6, row 2: with one true box, linear_sum_assignment of the one-column cost matrix, layer by layer."""
    of = queries()
    positive, target = ASSIGN["hungarian"](of, TRUTH)
    assert target.equal(positive.float())
    cost = matching_cost(of, TRUTH)
    chosen = set()
    for layer in range(4):
        for example in range(3):
            rows, _ = linear_sum_assignment(cost[layer, example, :, None].numpy())
            assert places(positive[layer, example]) == rows.tolist()
            chosen.add((example, int(rows[0])))
    assert len(chosen) > 3, "layers match for themselves"


def test_matching_cost_by_hand() -> None:
    """DETR's: minus the probability, 5 x L1 of cxcywh, 2 x (1 - GIoU)."""
    box, truth = torch.tensor([0.2, 0.2, 0.6, 0.6]), torch.tensor([[0.2, 0.2, 0.6, 1.0]])
    of = Queries(torch.tensor([[0.0, 3.0]]), torch.stack([box, truth[0]])[None], torch.tensor([[0, 1]]), GRID)
    cost = matching_cost(of, truth)[0].tolist()
    assert cost[0] == pytest.approx(-0.5 + 5 * (0 + 0.2 + 0 + 0.4) + 2 * giou_loss(box, truth[0]).item())
    assert cost[1] == pytest.approx(-1 / (1 + exp(-3)), abs=1e-5)


@pytest.mark.parametrize("labels", ASSIGN)
def test_labels_are_constants_for_the_gradient_and_need_no_data(labels: Any) -> None:
    of = queries()
    boxes, logits = of.boxes.requires_grad_(), of.logits.requires_grad_()
    assigned = ASSIGN[labels](Queries(logits, boxes, of.cells, GRID), TRUTH)
    assert not assigned.target.requires_grad
    on_meta = Queries(of.logits.to("meta"), of.boxes.to("meta"), of.cells.to("meta"), GRID)
    assert ASSIGN[labels](on_meta, TRUTH.to("meta")).positive.shape == of.logits.shape


def test_cells_inside_and_its_fallback() -> None:
    truth = torch.tensor([[0.2, 0.2, 0.8, 0.6], [0.51, 0.26, 0.54, 0.29], [0.9, -0.3, 1.4, 0.1]])
    cells = [inside.nonzero().flatten().tolist() for inside in cells_inside(truth, 4)]
    assert cells == [[5, 6], [6], [3]]


def test_touched_cells_match_the_published_rule() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5], [0.9, 0.4, 1.7, 0.6], [1.2, 0.1, 1.4, 0.2]])
    cells = [touched.nonzero().flatten().tolist() for touched in touched_cells(boxes, 4)]
    assert cells == [[0], [10], [7, 11], [3]]


def test_touched_cells_match_the_reference_vectors() -> None:
    for case in golden("lorat_label_assign"):
        touched = touched_cells(torch.tensor([case["box"]]) / 224, 16)[0]
        assert touched.nonzero().flatten().tolist() == case["idx"]


def slow_heatmap(box: list[float], grid: int) -> Tensor:
    w, h = (box[2] - box[0]) * grid, (box[3] - box[1]) * grid
    r1 = ((h + w) + sqrt((h + w) ** 2 - 4 * w * h * 0.3 / 1.7)) / 2
    r2 = (2 * (h + w) + sqrt(4 * (h + w) ** 2 - 16 * 0.3 * w * h)) / 2
    r3 = (-1.4 * (h + w) + sqrt((1.4 * (h + w)) ** 2 + 4 * 2.8 * 0.3 * w * h)) / 2
    radius = max(0, int(min(r1, r2, r3)))
    column, row = (min(max(round((box[i] + box[i + 2]) / 2 * grid), 0), grid - 1) for i in range(2))
    heat, sigma = torch.zeros(grid, grid), (2 * radius + 1) / 6
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if 0 <= row + dy < grid and 0 <= column + dx < grid:
                heat[row + dy, column + dx] = exp(-(dx**2 + dy**2) / (2 * sigma**2))
    return heat


def test_heatmap_is_the_slow_one_with_one_exact_peak() -> None:
    torch.manual_seed(3)
    corner = torch.rand(40, 2) * 0.9
    truth = torch.cat([corner, corner + 0.01 + torch.rand(40, 2) * 0.8], dim=-1)
    heat = gaussian_heatmap(truth, 16)
    torch.testing.assert_close(heat, torch.stack([slow_heatmap(box, 16) for box in truth.tolist()]))
    assert ((heat == 1).sum((1, 2)) == 1).all()
    assert len({int((h > 0).sum()) for h in heat}) >= 4, "the boxes should span several radii"


def test_heatmap_matches_the_reference_vectors() -> None:
    """Sizes of 8 and 4 of 16 cells give the two radii of the file, whose boxes are not stored."""
    reference = golden("ostrack_heatmap")
    heat = gaussian_heatmap(torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.125, 0.25, 0.375, 0.5]]), 16)
    assert heat.sum((1, 2)).tolist() == pytest.approx(reference["sum"], rel=1e-6)
    assert (heat > 0).sum((1, 2)).tolist() == reference["nonzero"]
    assert heat.flatten(1).argmax(1).tolist() == reference["argmax"]


def test_top_positives_never_include_a_negative() -> None:
    logits = torch.tensor([[5.0, 1.0, 3.0, 2.0], [5.0, 1.0, 3.0, 2.0]])
    positive = torch.tensor([[False, True, True, True], [False, True, False, False]])
    assert top_positives(logits, positive, 2).tolist() == [[False, False, True, True], [False, True, False, False]]
    assert top_positives(logits, positive, 9).equal(positive)
