"""The MLP and the centre head, their losses, and the way from a score map to a box: numbers worked out by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from golden_vectors import golden
from trackablate.trackers.decoding import best_boxes, hanning_window
from trackablate.trackers.heads.convolutional import PROBABILITY, CentreOutput, ConvBoxHead, ConvCentreHead
from trackablate.trackers.heads.mlp import DistanceOutput, TokenMLPHead
from trackablate.trackers.spec import CentreHead, ConvHead, MLPHead
from trackablate.trackers.tokens import Prediction, SearchTokens, cell_centres
from trackablate.trackers.training.assignment import gaussian_heatmap
from trackablate.trackers.training.losses import box_iou, centre_focal_loss, cxcywh_to_xyxy, giou_loss, xyxy_to_cxcywh

GRID, DIM = 4, 8


def tokens(index: list[int] | None = None) -> SearchTokens:
    places = torch.tensor([index or list(range(GRID * GRID))] * 2)
    features = torch.randn(2, places.shape[1], DIM, generator=torch.Generator().manual_seed(2))
    return SearchTokens(features, places, GRID)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    assert parameters(ConvCentreHead(CentreHead(channels=256), 768, 16)) == 6_474_117
    assert parameters(ConvCentreHead(CentreHead(offset_from="centre"), 768, 16, labels="hard")) == 6_474_117
    assert parameters(ConvBoxHead(ConvHead(channels=256), 768, 16)) == 4_316_133
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
    unread = torch.zeros(2, 2, GRID, GRID)
    return CentreOutput(score.logit(), score, unread, unread, boxes)


def test_centre_losses_by_hand() -> None:
    """Truth of 0.5 x 0.5: its L1 and GIoU are those of the box at the predicted peak, not at the true centre."""
    truth = torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.25, 0.5, 0.75, 1.0]])
    losses = ConvCentreHead(CentreHead(channels=8), DIM, GRID).losses(centre_output(), truth)
    assert losses["l1"].item() == pytest.approx(5 * (0 + 0.25 * 2) / 8)
    assert losses["giou"].item() == pytest.approx(2 * (0 + (1 - 0.125 / 0.375)) / 2)
    heat = torch.zeros(2, GRID, GRID)  # a box of 2 x 2 cells has radius 0: the bell is its peak
    heat[0, 2, 2] = heat[1, 3, 2] = 1
    assert losses["focal"].item() == pytest.approx(slow_focal(centre_output().score, heat), rel=1e-5)


def with_biases(head: ConvCentreHead, biases: dict[str, list[float]]) -> ConvCentreHead:
    """The head in evaluation with its towers' outputs fixed to what the biases say."""
    for name, bias in biases.items():
        last = head.get_submodule(name)[-1]  # type: ignore[index]
        assert isinstance(last, torch.nn.Conv2d)
        assert last.bias is not None
        torch.nn.init.zeros_(last.weight)
        last.bias.data = torch.tensor(bias)
    return head.eval()


BIASES = {"offset": [0.25, -0.5], "size": [0.0, math.log(3)], "score": [-30.0]}


def test_centre_head_places_boxes_by_the_cells_index() -> None:
    output = with_biases(ConvCentreHead(CentreHead(channels=8), DIM, GRID), BIASES)(tokens())
    centre = xyxy_to_cxcywh(output.boxes)[1, 3, 2].tolist()
    assert centre == pytest.approx([(2 + 0.25) / GRID, (3 - 0.5) / GRID, 0.5, 0.75])
    assert output.score.flatten().tolist() == pytest.approx([1e-4] * 32), "clamped: its logarithm is taken"
    assert output.offset[1, :, 3, 2].tolist() == [0.25, -0.5], "in cells"
    assert output.size[1, :, 3, 2].tolist() == pytest.approx([0.5, 0.75])


def test_centre_head_may_count_from_the_cells_centres() -> None:
    """LoRAT's ablation: the offset in units of the crop, from the middle of the cell; nothing is clamped."""
    head = ConvCentreHead(CentreHead(channels=8, offset_from="centre"), DIM, GRID, labels="hard")
    output = with_biases(head, BIASES | {"size": [-30.0, math.log(3)]})(tokens())
    centre = xyxy_to_cxcywh(output.boxes)[1, 3, 2].tolist()
    assert centre == pytest.approx([2.5 / GRID + 0.25, 3.5 / GRID - 0.5, 0.0, 0.75], abs=1e-6)
    assert (output.score < PROBABILITY[0]).all()
    assert (output.size[:, 0] < PROBABILITY[0]).all()
    clamped = with_biases(ConvCentreHead(CentreHead(channels=8), DIM, GRID), BIASES | {"size": [-30.0, 30.0]})(tokens())
    assert clamped.size[0, :, 0, 0].tolist() == pytest.approx(list(PROBABILITY))


@pytest.mark.parametrize("grid", [12, 16, 24, 27])
def test_cell_indices_are_whole_numbers(grid: int) -> None:
    """The grids of 192, 256 and 384 pixels, and LoRAT's at 378."""
    cells = ConvCentreHead(CentreHead(channels=8), DIM, grid).cells
    assert cells[0].equal(torch.arange(grid).float().expand(grid, grid))
    assert cells[1].equal(cells[0].T)


@pytest.mark.parametrize("labels", ["hard", "iou-aware"])
def test_touched_cell_labels_of_the_centre_head_by_hand(labels: Any) -> None:
    """Truth covers cells 5 and 6: they are taught a score of 1, or the IoU of their own box, all others 0, and only their
    boxes learn."""
    torch.manual_seed(0)
    truth = torch.tensor([[0.25, 0.25, 0.75, 0.5]] * 2)
    head = ConvCentreHead(CentreHead(channels=8, offset_from="centre"), DIM, GRID, labels=labels)
    last = head.offset[-1]
    assert isinstance(last, torch.nn.Conv2d)
    torch.nn.init.zeros_(last.weight)  # boxes around their cells' centres: they overlap with the truth
    torch.nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    output = head(tokens())
    losses = head.losses(output, truth)
    assert losses.keys() == {"score", "giou"}
    boxes = output.boxes.flatten(1, 2)
    quality = torch.ones(2, GRID**2) if labels == "hard" else box_iou(boxes, truth[:, None].expand_as(boxes))
    assert (quality[:, 5:7] > 0).all()
    taught = sum(
        cross_entropy(logit, quality[b, cell].item() * (cell in (5, 6)))
        for b, example in enumerate(output.logits.flatten(1).tolist())
        for cell, logit in enumerate(example)
    )
    assert losses["score"].item() == pytest.approx(taught / 4, rel=1e-5)
    giou = [giou_loss(boxes[b, cell], truth[b]).item() for b in range(2) for cell in (5, 6)]
    assert losses["giou"].item() == pytest.approx(sum(giou) / 4, rel=1e-5)
    (moved,) = torch.autograd.grad(losses["giou"], [output.boxes])
    assert moved.flatten(1, 2)[0].abs().sum(-1).nonzero().flatten().tolist() == [5, 6]


def test_gaussian_labels_survive_scores_that_are_not_clamped() -> None:
    """Any labels may be tried with either offset: the focal loss clamps what it takes the logarithm of."""
    head = ConvCentreHead(CentreHead(channels=8, offset_from="centre"), DIM, GRID, labels="gaussian")
    biases = BIASES | {"score": [-200.0]}
    losses = head.losses(with_biases(head, biases)(tokens()), torch.tensor([[0.25, 0.25, 0.75, 0.5]] * 2))
    assert all(term.isfinite() for term in losses.values())


def test_ostrack_cuts_the_true_box_for_l1_and_giou_but_not_for_the_heat_map() -> None:
    head = ConvCentreHead(CentreHead(channels=8), DIM, GRID)
    leaving = torch.tensor([[0.25, -0.25, 0.75, 0.75], [0.25, 0.5, 0.75, 1.25]])
    whole, cut = (head.losses(centre_output(), truth) for truth in (leaving, leaving.clamp(0, 1)))
    assert whole["l1"] == cut["l1"] and whole["giou"] == cut["giou"]
    assert whole["focal"] == centre_focal_loss(centre_output().score, gaussian_heatmap(leaving, GRID))
    assert whole["focal"] != cut["focal"], "the peak is at the centre of the whole box"


def test_conv_box_head_predicts_what_the_mlp_head_does() -> None:
    """Distances from the cell's centre, row by row; a removed token's cell has a box and a score too."""
    head = ConvBoxHead(ConvHead(channels=8), DIM, GRID).eval()
    last = head.box[-1]
    assert isinstance(last, torch.nn.Conv2d)
    torch.nn.init.zeros_(last.weight)
    last.bias = torch.nn.Parameter(torch.logit(torch.tensor([0.1, 0.2, 0.3, 0.4])))
    output = head(tokens([6, 0]))
    score_map, boxes = head.predict(output)
    assert boxes[0, 1, 2].tolist() == pytest.approx([0.625 - 0.1, 0.375 - 0.2, 0.625 + 0.3, 0.375 + 0.4])
    assert boxes[1, 3, 0].tolist() == pytest.approx([0.125 - 0.1, 0.875 - 0.2, 0.125 + 0.3, 0.875 + 0.4])
    assert score_map[1, 3, 0] == output.logits[1, 12].sigmoid()
    assert (score_map > 0).all()


@pytest.mark.parametrize(("labels", "target"), [("iou-aware", 0.5), ("hard", 1.0)])
def test_labels_of_the_anchor_free_heads(labels: Any, target: float) -> None:
    """The positive cell 6 has half the IoU; the target of cell 5, whose box is exact, is 1 under both."""
    truth = torch.tensor([[0.25, 0.25, 0.75, 0.5]])
    exact, half, none = [0.25, 0.25, 0.75, 0.5], [0.25, 0.25, 0.5, 0.5], [0.8, 0.8, 0.9, 0.9]
    mlp = TokenMLPHead(MLPHead(layers=1), DIM, GRID, labels=labels)
    losses = mlp.losses(output_at([5, 6, 15], [exact, half, none], [1.0, -2.0, -1.0]), truth)
    score = (cross_entropy(1, 1) + cross_entropy(-2, target) + cross_entropy(-1, 0)) / 2
    assert losses["score"].item() == pytest.approx(score, rel=1e-5)
    conv = ConvBoxHead(ConvHead(channels=8), DIM, GRID, labels=labels)
    boxes, logits = [none] * 16, [-100.0] * 16
    boxes[5:7], logits[5:7] = [exact, half], [1.0, -2.0]
    losses = conv.losses(output_at(list(range(16)), boxes, logits), truth)
    assert losses["score"].item() == pytest.approx((cross_entropy(1, 1) + cross_entropy(-2, target)) / 2, rel=1e-5)
    assert losses["giou"].item() == pytest.approx((0 + 0.5) / 2, rel=1e-5)


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


def output_at(index: list[int], boxes: list[list[float]], logits: list[float]) -> DistanceOutput:
    places = SearchTokens(torch.zeros(1, len(index), DIM), torch.tensor([index]), GRID)
    return DistanceOutput(torch.tensor([logits]), torch.tensor([boxes]), places)


def cross_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def test_mlp_losses_by_hand() -> None:
    """Truth covers cells 5 and 6; their targets are their boxes' IoUs; that of cell 0 is 0, though its box fits."""
    head, truth = TokenMLPHead(MLPHead(layers=1), DIM, GRID), torch.tensor([[0.25, 0.25, 0.75, 0.5]])
    exact, half, none = [0.25, 0.25, 0.75, 0.5], [0.25, 0.25, 0.5, 0.5], [0.8, 0.8, 0.9, 0.9]
    losses = head.losses(output_at([0, 5, 6, 15], [exact, exact, half, none], [0.5, 1.0, -2.0, -1.0]), truth)
    score = cross_entropy(0.5, 0) + cross_entropy(1, 1) + cross_entropy(-2, 0.5) + cross_entropy(-1, 0)
    assert losses["score"].item() == pytest.approx(score / 2, rel=1e-5)
    assert losses["giou"].item() == pytest.approx((0 + 0.5) / 2, rel=1e-5)


def test_mlp_losses_where_every_positive_was_eliminated() -> None:
    head, truth = TokenMLPHead(MLPHead(layers=1), DIM, GRID), torch.tensor([[0.25, 0.25, 0.75, 0.5]])
    losses = head.losses(output_at([0, 15], [[0.1, 0.1, 0.2, 0.2]] * 2, [0.5, -1.0]), truth)
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
