"""Labels, losses, windows and post-processing against the official code's outputs, and by hand where they are not there."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from golden_vectors import GRID, LORAT_TRUTH, golden, lorat_boxes, lorat_logits
from trackablate.trackers.decoding import POST_PROCESSING, best_boxes, hanning_window, zero_edged_window
from trackablate.trackers.encoder.sparsity import template_centre
from trackablate.trackers.heads.mlp import TokenMLPHead
from trackablate.trackers.spec import MLPHead
from trackablate.trackers.tokens import Prediction, SearchTokens
from trackablate.trackers.training.assignment import touched_cells

OSTRACK, LORAT = POST_PROCESSING["multiply"], POST_PROCESSING["blend"]
LORAT_POST = {
    "box": [
        [105.96930694580078, 78.26022338867188, 159.73440551757812, 132.0144805908203],
        [77.63389587402344, 66.68125915527344, 154.66131591796875, 138.3827362060547],
    ],
    "conf": [0.6701214909553528, 0.6850375533103943],
}
LORAT_LOSS = {"npos": 56, "bce": 6.9849700927734375, "giou": 0.8373058438301086}
LABELS = {(60.0, 70.0, 61.0, 71.0): [84], (0, 0, 13.9, 28.1): [0, 16, 32]}


def box(*numbers: float) -> NDArray[np.float64]:
    return np.array(numbers, dtype=np.float64)


def prediction() -> Prediction:
    return Prediction(lorat_logits().sigmoid().view(2, GRID, GRID), lorat_boxes().view(2, GRID, GRID, 4))


def test_lorat_picks_the_official_boxes() -> None:
    boxes, confidence = best_boxes(prediction(), LORAT.window(GRID), LORAT.weigh)
    np.testing.assert_allclose(boxes * 224, LORAT_POST["box"], atol=1e-4)
    np.testing.assert_allclose(confidence, LORAT_POST["conf"], atol=1e-6)
    assert golden("lorat_post") == LORAT_POST


def test_the_two_ways_to_weigh_pick_differently() -> None:
    """Blended, a cell at the window's zero edge still counts by its score; multiplied, it is nothing."""
    score = torch.full((1, 5, 5), 0.3)
    score[0, 0, 0] = 1.0
    picked = Prediction(score, torch.arange(25.0).view(1, 5, 5, 1).expand(1, 5, 5, 4))
    blended, confidence = best_boxes(picked, LORAT.window(5), LORAT.weigh)
    assert blended[0, 0] == 12, "0.55 * 0.3 + 0.45 in the middle beats 0.55 * 1 at the edge"
    assert confidence == pytest.approx(0.3)
    score[0, 2, 2] = 0.05
    score[0, 1, 2] = score[0, 2, 1] = score[0, 2, 3] = score[0, 3, 2] = score[0, 1, 1] = 0.0
    blended, _ = best_boxes(picked, LORAT.window(5), LORAT.weigh)
    assert blended[0, 0] == 0, "0.55 at the edge beats 0.55 * 0.05 + 0.45"
    multiplied, _ = best_boxes(picked, LORAT.window(5), OSTRACK.weigh)
    assert multiplied[0, 0] == 8, "with zero edges the corner is worth nothing"


def test_windows_are_the_official_ones() -> None:
    lorat, ostrack = torch.tensor(golden("lorat_window_1d")), torch.tensor(golden("ostrack_hann1d_16"))
    torch.testing.assert_close(zero_edged_window(16), torch.outer(lorat, lorat), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(hanning_window(16), torch.outer(ostrack, ostrack), atol=1e-6, rtol=1e-5)


def test_windows_by_hand() -> None:
    torch.testing.assert_close(zero_edged_window(5)[2], torch.tensor([0, 0.5, 1, 0.5, 0]))
    torch.testing.assert_close(hanning_window(3)[1], torch.tensor([0.5, 1, 0.5]))


@pytest.mark.parametrize("corners", LABELS)
def test_lorats_positives_by_copied_numbers(corners: tuple[float, ...]) -> None:
    assert touched_cells(torch.tensor([corners]) / 224, GRID)[0].nonzero().flatten().tolist() == LABELS[corners]


def test_lorats_positives_are_the_official_ones() -> None:
    for case in golden("lorat_label_assign"):
        touched = touched_cells(torch.tensor([case["box"]], dtype=torch.float32) / 224, GRID)
        assert touched[0].nonzero().flatten().tolist() == case["idx"]


def test_lorats_loss_is_the_official_one() -> None:
    head = TokenMLPHead(MLPHead(), 8, GRID)
    index = torch.arange(GRID**2).expand(2, -1)
    output = head(SearchTokens(torch.zeros(2, GRID**2, 8), index, GRID))
    losses = head.losses(output._replace(logits=lorat_logits(), boxes=lorat_boxes()), LORAT_TRUTH)
    assert int(touched_cells(LORAT_TRUTH, GRID).sum()) == LORAT_LOSS["npos"]
    assert losses["score"].item() == pytest.approx(LORAT_LOSS["bce"], rel=1e-6)
    assert losses["giou"].item() == pytest.approx(LORAT_LOSS["giou"], rel=1e-6)
    stored = golden("lorat_loss")
    assert stored["npos"] == LORAT_LOSS["npos"]
    assert stored["metrics"] == {"Loss/bce": LORAT_LOSS["bce"], "Loss/iou": LORAT_LOSS["giou"]}
    assert sum(loss.item() for loss in losses.values()) == pytest.approx(stored["total"], rel=1e-6)


@pytest.mark.parametrize(
    ("found", "placed", "followed"),
    [
        ((20, 30, 40, 20), (20, 30, 40, 20), (20, 30, 40, 20)),
        ((-30, -10, 60, 40), (0, 0, 30, 30), (0, 0, 30, 30)),
        ((50, 50, 2, 3), (50, 50, 2, 3), (50, 50, 2, 3)),
        ((300, 300, 5, 5), (160, 120, 0, 0), (70, 60, 20, 10)),
        ((150, -40, 20, 30), (150, 0, 10, 0), (70, 60, 20, 10)),
    ],
)
def test_lorat_follows_only_boxes_that_meet_the_image(
    found: tuple[float, ...], placed: tuple[float, ...], followed: tuple[float, ...]
) -> None:
    """In an image of 160 x 120: what is reported is cut to it, what is followed is that, or the last box."""
    reported = LORAT.placed(box(*found), 160, 120, 10)
    assert reported.tolist() == list(placed)
    assert LORAT.followed(reported, box(70, 60, 20, 10)).tolist() == list(followed)


def test_ostrack_follows_every_box() -> None:
    reported = OSTRACK.placed(box(300, 300, 5, 5), 160, 120, 10)
    assert reported.tolist() == [150, 110, 10, 10]
    assert OSTRACK.followed(reported, box(70, 60, 20, 10)) is reported


def test_lorat_searches_around_no_less_than_the_smallest_side() -> None:
    assert LORAT.searched(box(50, 60, 2, 30), 10).tolist() == [46, 60, 10, 30]
    assert LORAT.searched(box(50, 60, 20, 4), 10).tolist() == [50, 57, 20, 10]
    small = box(50, 60, 2, 3)
    assert OSTRACK.searched(small, 10) is small


def test_the_templates_centre_token_is_the_official_one() -> None:
    assert template_centre(8) == 27, "row 3, column 3"
    assert golden("ostrack_ctr_point") == [27]
