"""STARK's corner head: the expected corners by hand, its losses, and the single box on a map that knows only cells."""

import math

import pytest
import torch
from torch import Tensor

from trackablate.harness.costing.macs import cost_document
from trackablate.trackers.decoding import best_boxes, hanning_window
from trackablate.trackers.heads.corner import CornerExpectationHead, CornerOutput
from trackablate.trackers.plugins import HEADS
from trackablate.trackers.spec import CandidateElimination, CornerHead, Denoising, replace
from trackablate.trackers.tokens import SearchTokens
from trackablate.trackers.variants import VARIANTS

GRID, DIM = 4, 8
TRUTH = torch.tensor([[0.25, 0.25, 0.75, 0.5], [0.1, 0.2, 0.4, 0.9]])


def head() -> CornerExpectationHead:
    torch.manual_seed(0)
    return CornerExpectationHead(CornerHead(channels=8), DIM, GRID)


def tokens(index: list[int] | None = None) -> SearchTokens:
    places = torch.tensor([index or list(range(GRID * GRID))] * 2)
    features = torch.randn(2, places.shape[1], DIM, generator=torch.Generator().manual_seed(2))
    return SearchTokens(features, places, GRID)


class Fixed(torch.nn.Module):
    """Stands in for a tower: the same heat map whatever comes."""

    def __init__(self, heat: Tensor) -> None:
        super().__init__()
        self.heat = heat

    def forward(self, dense: Tensor) -> Tensor:
        """(B, 1, G, G)."""
        return self.heat.expand(len(dense), 1, GRID, GRID)


def with_heat(first: dict[tuple[int, int], float], second: dict[tuple[int, int], float]) -> CornerExpectationHead:
    """A head whose heat maps have probability `p` at (row, column) and none elsewhere."""
    made = head()
    for name, heat in (("top_left", first), ("bottom_right", second)):
        logits = torch.full((GRID, GRID), -200.0)
        for (row, column), p in heat.items():
            logits[row, column] = math.log(p)
        setattr(made, name, Fixed(logits))
    return made


def test_corners_are_expectations_over_the_cells_indices() -> None:
    """A quarter of the way from column 0 to column 3, all in row 1; the other corner at (row 3, column 2)."""
    output = with_heat({(1, 0): 0.75, (1, 3): 0.25}, {(3, 2): 1.0})(tokens())
    assert output.boxes[0].tolist() == pytest.approx([0.25 * 3 / GRID, 1 / GRID, 2 / GRID, 3 / GRID])
    assert output.peaks[0].tolist() == pytest.approx([0.75, 1.0])


def test_losses_by_hand() -> None:
    """5 x L1 over all eight numbers and 2 x GIoU: half the first box is missing, the second is exact."""
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.1, 0.2, 0.4, 0.9]])
    losses = head().losses(CornerOutput(boxes, torch.ones(2, 2)), TRUTH)
    assert losses.keys() == {"l1", "giou"}, "no score is learned"
    assert losses["l1"].item() == pytest.approx(5 * 0.25 / 8)
    assert losses["giou"].item() == pytest.approx(2 * 0.5 / 2, abs=1e-6)


def test_the_one_box_is_found_under_any_window() -> None:
    made = with_heat({(1, 0): 0.75, (1, 3): 0.25}, {(3, 2): 0.64, (3, 3): 0.36})
    prediction = made.predict(made(tokens()))
    assert prediction.boxes.shape == (2, GRID, GRID, 4)
    confidence = math.sqrt(0.75 * 0.64)
    for window in (None, hanning_window(GRID), torch.eye(GRID)):
        boxes, scores = best_boxes(prediction, window)
        assert boxes[0].tolist() == pytest.approx([0.75 / GRID, 1 / GRID, 2.36 / GRID, 3 / GRID])
        assert scores.tolist() == pytest.approx([confidence] * 2)


def test_swapped_corners_make_a_valid_box() -> None:
    made = with_heat({(0, 3): 1.0}, {(2, 1): 1.0})
    assert made(tokens()).boxes[0].tolist() == pytest.approx([3 / GRID, 0, 1 / GRID, 2 / GRID])
    box = made.predict(made(tokens())).boxes[1, 2, 2].tolist()
    assert box == pytest.approx([1 / GRID, 0, 3 / GRID, 2 / GRID])


def test_eliminated_tokens_are_zeros_on_the_map() -> None:
    made = head().eval()
    some = tokens([0, 3, 5, 6, 9, 12])
    filled = SearchTokens(some.dense().flatten(2).transpose(1, 2), tokens().index, GRID)
    assert made(some).boxes.equal(made(filled).boxes)


def test_every_parameter_learns_but_biases_before_normalisation() -> None:
    made = head()
    losses = made.losses(made(tokens()), TRUTH)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    still = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-7]
    before_norm = {f"{tower}.{i}.bias" for tower in ("top_left", "bottom_right") for i in (0, 3, 6, 9)}
    # a softmax does not see a constant: the last bias moves nothing either
    assert set(still) <= before_norm | {"top_left.12.bias", "bottom_right.12.bias"}


def test_cost_on_ostracks_encoder() -> None:
    """Two of the centre head's three towers: 2 x (2,157,984 + 33) parameters; the encoder's cost is unchanged."""
    corner, centre = (cost_document(VARIANTS[f"ostrack-256{suffix}"]) for suffix in ("-corner", ""))
    assert corner["head_params"] == 2 * (2_157_984 + 33) == 4_316_034
    assert corner["params"] - corner["head_params"] == centre["params"] - centre["head_params"] == 86_044_416
    cells, tower = 256, 256 * 9 * (768 * 256 + 256 * 128 + 128 * 64 + 64 * 32)
    of_centre = 3 * tower + cells * 32 * 5
    of_corner = 2 * (tower + cells * 32) + 2 * 2 * cells  # the last: the expectations of x and y
    assert of_corner == 1_104_167_936
    linear_conv = [cost["macs"]["thop_linear_conv_only"] for cost in (centre, corner)]
    assert linear_conv[0] - linear_conv[1] == of_centre - of_corner


def test_legal_combinations() -> None:
    corner = VARIANTS["ostrack-256-corner"]
    assert HEADS["corner"].labels == ("corner",)
    assert replace(corner, sparsity=CandidateElimination()).sparsity is not None, "the map is dense again"
    with pytest.raises(ValueError, match="label assignments belong to heads"):
        replace(corner, labels="gaussian")
    with pytest.raises(ValueError, match="label assignments belong to heads"):
        replace(VARIANTS["ostrack-256"], labels="corner")
    with pytest.raises(ValueError, match="denoising adds queries to a decoder"):
        replace(corner, denoising=Denoising())
