"""The MLP and the centre head, their losses, and the way from a score map to a box: numbers worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trackers.conv_head import CentreOutput, ConvCentreHead
from trackers.decoding import best_boxes, hanning_window
from trackers.losses import box_iou, centre_focal_loss, cxcywh_to_xyxy, giou_loss, xyxy_to_cxcywh
from trackers.mlp_head import MLPOutput, TokenMLPHead
from trackers.spec import CentreHead, MLPHead
from trackers.tokens import Prediction, SearchTokens, cell_centres

GOLDEN = Path(__file__).parents[1].parent / "shared" / "golden" / "models.json"
GRID, DIM = 4, 8


def golden(name: str) -> Any:
    if not GOLDEN.exists():
        pytest.skip(f"reference vectors {GOLDEN.name} are not beside this checkout")
    return json.loads(GOLDEN.read_text())[name]


def tokens(index: list[int] | None = None) -> SearchTokens:
    places = torch.tensor([index or list(range(GRID * GRID))] * 2)
    features = torch.randn(2, places.shape[1], DIM, generator=torch.Generator().manual_seed(2))
    return SearchTokens(features, places, GRID)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    assert parameters(ConvCentreHead(CentreHead(channels=256), 768, 16)) == 6_474_117
    assert parameters(TokenMLPHead(MLPHead(), 768, 16)) == 2_366_213
    assert parameters(TokenMLPHead(MLPHead(), 384, 16)) == 593_285
    assert parameters(TokenMLPHead(MLPHead(layers=1), DIM, GRID)) == 5 * (DIM + 1)


@pytest.mark.parametrize(
    ("a", "b", "iou", "giou"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1, 1),
        ((0, 0, 2, 2), (1, 0, 3, 2), 2 / 6, 2 / 6),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9),
        ((0, 0, 1, 1), (2, 0, 3, 1), 0, -1 / 3),
        ((0, 0, 1, 1), (3, 3, 4, 4), 0, -14 / 16),
        ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, 1 / 16),
        ((0, 0, 2, 2), (1, 1, 1, 1), 0, 0),
    ],
)
def test_overlaps_by_hand(a: tuple[float, ...], b: tuple[float, ...], iou: float, giou: float) -> None:
    first, second = torch.tensor(a).float(), torch.tensor(b).float()
    for x, y in ((first, second), (second, first)):
        assert box_iou(x, y).item() == pytest.approx(iou, abs=1e-6)
        assert giou_loss(x, y).item() == pytest.approx(1 - giou, abs=1e-6)


def test_giou_pulls_boxes_together_that_do_not_touch() -> None:
    box = torch.tensor([0.0, 0, 1, 1], requires_grad=True)
    (slope,) = torch.autograd.grad(giou_loss(box, torch.tensor([3.0, 0, 4, 1])), [box])
    assert slope[2] < 0, "its right side should move right"


def test_box_forms_are_each_others_inverse() -> None:
    boxes = torch.tensor([[0.5, 0.25, 0.5, 0.25], [1.0, 1.0, 0.0, 2.0]])
    assert cxcywh_to_xyxy(boxes).tolist() == [[0.25, 0.125, 0.75, 0.375], [1, 0, 1, 2]]
    assert xyxy_to_cxcywh(cxcywh_to_xyxy(boxes)).equal(boxes)


def slow_focal(score: Tensor, heat: Tensor) -> float:
    total, peaks = 0.0, 0
    for p, y in zip(score.flatten().tolist(), heat.flatten().tolist(), strict=True):
        if y == 1:
            total -= (1 - p) ** 2 * math.log(p)
            peaks += 1
        else:
            total -= (1 - y) ** 4 * p**2 * math.log(1 - p)
    return total / max(peaks, 1)


def test_focal_loss_is_the_slow_one() -> None:
    torch.manual_seed(0)
    score, heat = torch.rand(3, 5, 5) * 0.98 + 0.01, torch.rand(3, 5, 5) * 0.9
    for example, (row, column) in enumerate([(0, 0), (2, 3), (4, 4)]):
        heat[example, row, column] = 1
    assert centre_focal_loss(score, heat).item() == pytest.approx(slow_focal(score, heat), rel=1e-5)
    heat[0, 1, 1] = 1
    assert centre_focal_loss(score, heat).item() == pytest.approx(slow_focal(score, heat), rel=1e-5)
    assert centre_focal_loss(score, heat.clamp(max=0.9)).item() == pytest.approx(slow_focal(score, heat.clamp(max=0.9)))


def centre_output() -> CentreOutput:
    """Peaks at cell (row 1, column 2) and (3, 0), where the boxes are set; wrong boxes everywhere else."""
    score = torch.full((2, GRID, GRID), 0.1)
    score[0, 1, 2], score[1, 3, 0] = 0.9, 0.6
    boxes = torch.full((2, GRID, GRID, 4), 0.9)
    boxes[0, 1, 2] = torch.tensor([0.25, 0.25, 0.75, 0.75])
    boxes[1, 3, 0] = torch.tensor([0.0, 0.5, 0.5, 1.0])
    return CentreOutput(score, boxes)


def test_centre_losses_by_hand() -> None:
    """Truth of 0.5 x 0.5: its L1 and GIoU are those of the box at the predicted peak, not at the true centre."""
    truth = torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.25, 0.5, 0.75, 1.0]])
    losses = ConvCentreHead(CentreHead(channels=8), DIM, GRID).losses(centre_output(), truth)
    assert losses["l1"].item() == pytest.approx(5 * (0 + 0.25 * 2) / 8)
    assert losses["giou"].item() == pytest.approx(2 * (0 + (1 - 0.125 / 0.375)) / 2)
    heat = torch.zeros(2, GRID, GRID)  # a box of 2 x 2 cells has radius 0: the bell is its peak
    heat[0, 2, 2] = heat[1, 3, 2] = 1
    assert losses["focal"].item() == pytest.approx(slow_focal(centre_output().score, heat), rel=1e-5)


def test_centre_head_places_boxes_by_the_cells_index() -> None:
    head = ConvCentreHead(CentreHead(channels=8), DIM, GRID).eval()
    for tower, bias in ((head.offset, [0.25, -0.5]), (head.size, [0.0, math.log(3)]), (head.score, [-30.0])):
        last = tower[-1]
        assert isinstance(last, torch.nn.Conv2d)
        assert last.bias is not None
        torch.nn.init.zeros_(last.weight)
        last.bias.data = torch.tensor(bias)
    output = head(tokens())
    centre = xyxy_to_cxcywh(output.boxes)[1, 3, 2].tolist()
    assert centre == pytest.approx([(2 + 0.25) / GRID, (3 - 0.5) / GRID, 0.5, 0.75])
    assert output.score.flatten().tolist() == pytest.approx([1e-4] * 32), "clamped: its logarithm is taken"


def test_centre_head_sees_zeros_where_tokens_were_removed() -> None:
    head = ConvCentreHead(CentreHead(channels=8), DIM, GRID).eval()
    some = tokens([0, 3, 5, 6, 9, 12])
    filled = SearchTokens(some.dense().flatten(2).transpose(1, 2), tokens().index, GRID)
    assert head(some).score.equal(head(filled).score)


def test_mlp_head_measures_from_the_cells_centre() -> None:
    head = TokenMLPHead(MLPHead(layers=1), DIM, GRID)
    box = head.box[-1]
    assert isinstance(box, torch.nn.Linear)
    torch.nn.init.zeros_(box.weight)
    box.bias.data = torch.logit(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    output = head(tokens([6, 0]))
    assert output.boxes[0, 0].tolist() == pytest.approx([0.625 - 0.1, 0.375 - 0.2, 0.625 + 0.3, 0.375 + 0.4])
    assert output.boxes[1, 1].tolist() == pytest.approx([0.125 - 0.1, 0.125 - 0.2, 0.125 + 0.3, 0.125 + 0.4])
    score_map, boxes = head.predict(output)
    assert score_map[0, 1, 2] == output.logits[0, 0].sigmoid()
    assert boxes[0, 1, 2].equal(output.boxes[0, 0])
    assert int((score_map > 0).sum()) == 4
    assert not boxes[0, 1, 1].any()


def mlp_output(index: list[int], boxes: list[list[float]], logits: list[float]) -> MLPOutput:
    places = SearchTokens(torch.zeros(1, len(index), DIM), torch.tensor([index]), GRID)
    return MLPOutput(torch.tensor([logits]), torch.tensor([boxes]), places)


def cross_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def test_mlp_losses_by_hand() -> None:
    """Truth covers cells 5 and 6; their targets are their boxes' IoUs; that of cell 0 is 0, though its box fits."""
    head, truth = TokenMLPHead(MLPHead(layers=1), DIM, GRID), torch.tensor([[0.25, 0.25, 0.75, 0.5]])
    exact, half, none = [0.25, 0.25, 0.75, 0.5], [0.25, 0.25, 0.5, 0.5], [0.8, 0.8, 0.9, 0.9]
    losses = head.losses(mlp_output([0, 5, 6, 15], [exact, exact, half, none], [0.5, 1.0, -2.0, -1.0]), truth)
    score = cross_entropy(0.5, 0) + cross_entropy(1, 1) + cross_entropy(-2, 0.5) + cross_entropy(-1, 0)
    assert losses["score"].item() == pytest.approx(score / 2, rel=1e-5)
    assert losses["giou"].item() == pytest.approx((0 + 0.5) / 2, rel=1e-5)


def test_mlp_losses_where_every_positive_was_eliminated() -> None:
    head, truth = TokenMLPHead(MLPHead(layers=1), DIM, GRID), torch.tensor([[0.25, 0.25, 0.75, 0.5]])
    losses = head.losses(mlp_output([0, 15], [[0.1, 0.1, 0.2, 0.2]] * 2, [0.5, -1.0]), truth)
    assert losses["score"].item() == pytest.approx(cross_entropy(0.5, 0) + cross_entropy(-1, 0), rel=1e-5)
    assert losses["giou"].item() == 0


def test_the_quality_label_does_not_move_boxes() -> None:
    head, truth = TokenMLPHead(MLPHead(layers=2), DIM, GRID), torch.tensor([[0.25, 0.25, 0.75, 0.5]] * 2)
    output = head(tokens())
    losses = head.losses(output, truth)
    of_score = torch.autograd.grad(losses["score"], [output.boxes], allow_unused=True, retain_graph=True)
    assert [gradient is None for gradient in of_score] == [True]
    (moved,) = torch.autograd.grad(losses["giou"], [output.boxes])
    assert moved[0].abs().sum(-1).nonzero().flatten().tolist() == [5, 6], "only the touched cells' boxes learn"


def test_window_is_ostracks() -> None:
    window = hanning_window(16)
    assert window.shape == (16, 16)
    edge = 0.5 * (1 - math.cos(2 * math.pi / 17))
    assert window[0, 0].item() == pytest.approx(edge**2, rel=1e-6)
    assert window[0, 7].item() == pytest.approx(edge * 0.5 * (1 - math.cos(2 * math.pi * 8 / 17)), rel=1e-6)
    assert (window > 0).all()
    for flipped in (window.flip(0), window.flip(1), window.T):
        torch.testing.assert_close(flipped, window)
    assert window.argmax().item() in {7 * 16 + 7, 7 * 16 + 8, 8 * 16 + 7, 8 * 16 + 8}
    assert hanning_window(3)[1, 1].item() == pytest.approx(1)


def test_window_matches_the_reference_vector() -> None:
    hann = torch.tensor(golden("ostrack_hann1d_16"))
    torch.testing.assert_close(hanning_window(16), torch.outer(hann, hann), atol=1e-6, rtol=1e-5)


def test_best_box_is_that_of_the_highest_windowed_score() -> None:
    score = torch.full((2, GRID, GRID), 0.2)
    score[0, 0, 0], score[0, 1, 2] = 0.9, 0.8  # the corner scores higher, but lies at the window's edge
    score[1, 3, 0] = 0.99
    boxes = torch.arange(2 * GRID * GRID * 4).reshape(2, GRID, GRID, 4).float()
    prediction = Prediction(score, boxes)
    best, confidence = best_boxes(prediction)
    assert best.equal(torch.stack([boxes[0, 0, 0], boxes[1, 3, 0]]))
    assert confidence.tolist() == pytest.approx([0.9, 0.99])
    best, confidence = best_boxes(prediction, hanning_window(GRID))
    assert best[0].equal(boxes[0, 1, 2])
    assert confidence.tolist() == pytest.approx([0.8, 0.2]), "the score itself, without the window"


def test_cell_centres_run_row_by_row() -> None:
    assert cell_centres(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
