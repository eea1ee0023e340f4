"""Metrics against numbers worked out by hand, and against reference scores where the real data lies beside."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from harness.metrics import DIALECT_OF, DIALECTS, METRICS, OVERLAP_THRESHOLDS, Counts, count, values

LASOT = Path(__file__).parents[1].parent / "shared" / "real" / "lasot" / "annotations_test.zip"
IMAGE = (200, 100)
WHOLE = [0.0, 0, 40, 20]


def scored(prediction: ArrayLike, truth: ArrayLike, visible: ArrayLike | None = None) -> Counts:
    boxes, target = np.array(prediction, dtype=np.float64), np.array(truth, dtype=np.float64)
    shown = np.ones(len(target), bool) if visible is None else np.array(visible, dtype=bool)
    return count(boxes, target, shown, IMAGE)


def value(counts: list[Counts], metric: str) -> float:
    numerators, weights = values(counts, metric)
    return float(numerators.sum() / weights.sum())


def covering(share: float) -> list[float]:
    """A part of WHOLE: its IoU with it is `share`; its centre is 20 * (1 - share) to the left."""
    return [0.0, 0, 40 * share, 20]


TRUTH = [WHOLE] * 5
BOXES = [[150.0, 50, 9, 9], WHOLE, covering(0.8), covering(0.6), covering(0.25)]
"""Frame 0 is wrong on purpose: no metric may look at it. Then IoU 1, 0.8, 0.6, 0.25; centre errors 0, 4, 8, 15 px;
normalised 0, 0.1, 0.2, 0.375."""


def test_got10k_by_hand() -> None:
    counts = scored(BOXES, TRUTH)
    assert counts.frames["got10k"] == 4
    assert value([counts], "ao") == pytest.approx((1 + 0.8 + 0.6 + 0.25) / 4)
    assert value([counts], "sr50") == 3 / 4
    assert value([counts], "sr75") == 2 / 4


def test_ope_by_hand() -> None:
    counts = scored(BOXES, TRUTH)
    assert counts.frames["ostrack"] == 5
    # thresholds 0, 0.05, ..., 1 that lie below the IoU: 20 for 1 (twice: frame 0 is a hit), 16, 12, 5
    assert value([counts], "auc") == pytest.approx((20 + 20 + 16 + 12 + 5) / 21 / 5)
    assert value([counts], "precision") == 5 / 5
    assert value([counts], "norm_precision") == 4 / 5


def test_success_curve_by_hand() -> None:
    success = scored(BOXES, TRUTH).success
    assert success.tolist() == [5] * 5 + [4] * 7 + [3] * 4 + [2] * 4 + [0]
    assert success.shape == OVERLAP_THRESHOLDS.shape == (21,)
    assert success.mean() / 5 == pytest.approx(value([scored(BOXES, TRUTH)], "auc"))


def test_success_asks_for_more_than_the_threshold_and_precision_for_no_more_than_its_own() -> None:
    half = scored([WHOLE, covering(0.5)], [WHOLE] * 2)
    assert value([half], "sr50") == 0, "an IoU of exactly 0.5 is no success"
    assert half.success[10] == 1, "frame 0 only, at the threshold 0.5"
    assert half.success[9] == 2
    at_20 = scored([WHOLE, [12.0, 16, 40, 20]], [WHOLE] * 2)
    assert value([at_20], "precision") == 1, "20 px exactly is precise"
    assert value([scored([WHOLE, [12.0, 16.1, 40, 20]], [WHOLE] * 2)], "precision") == 1 / 2
    assert value([scored([WHOLE, [8.0, 0, 40, 20]], [WHOLE] * 2)], "norm_precision") == 1, "0.2 exactly is precise"
    assert value([scored([WHOLE, [0.0, 4.1, 40, 20]], [WHOLE] * 2)], "norm_precision") == 1 / 2


def test_a_perfect_tracker_scores_20_of_21_auc() -> None:
    counts = scored(TRUTH, TRUTH)
    assert value([counts], "auc") == pytest.approx(20 / 21)
    for metric in METRICS.keys() - {"auc"}:
        assert value([counts], metric) == 1


def test_a_lost_tracker_keeps_only_the_first_frame() -> None:
    counts = scored([[150.0, 50, 9, 9]] * 5, TRUTH)
    assert value([counts], "ao") == value([counts], "sr50") == 0
    assert value([counts], "auc") == pytest.approx(20 / 21 / 5)
    assert value([counts], "precision") == value([counts], "norm_precision") == 1 / 5


def test_hidden_frames() -> None:
    """got10k drops them; ostrack keeps them in the denominator: misses of success and precision, hits of normalised."""
    visible = [True, True, False, True, False]
    counts = scored(BOXES, TRUTH, visible)
    assert counts.frames == {"got10k": 2, "ostrack": 5}
    assert value([counts], "ao") == pytest.approx((1 + 0.6) / 2)
    assert value([counts], "auc") == pytest.approx((20 + 20 + 12) / 21 / 5)
    assert value([counts], "precision") == 3 / 5
    assert value([counts], "norm_precision") == 5 / 5


@pytest.mark.parametrize("invalid", [[0.0, 0, 0, 0], [10.0, 10, 0, 5], [np.nan] * 4])
def test_frames_with_an_invalid_truth_count_as_hidden_in_ope(invalid: list[float]) -> None:
    counts = scored([WHOLE, WHOLE, [10.0, 10, 8, 5]], [WHOLE, WHOLE, invalid])
    assert value([counts], "auc") == pytest.approx(2 * 20 / 21 / 3)
    assert value([counts], "precision") == 2 / 3
    assert value([counts], "norm_precision") == 3 / 3


def test_a_hidden_first_frame_is_no_hit() -> None:
    counts = scored([WHOLE] * 2, [WHOLE] * 2, [False, True])
    assert value([counts], "auc") == pytest.approx(20 / 21 / 2)
    assert value([counts], "precision") == 1 / 2


def test_got10k_cuts_boxes_to_the_image_as_its_toolkit_does() -> None:
    """Widths are cut at the right edge; at the left edge the corner moves to 0 and the width stays (its rect_iou)."""
    right = scored([WHOLE, [180.0, 0, 90, 20]], [WHOLE, [180.0, 0, 20, 20]])
    assert value([right], "ao") == 1
    left = scored([WHOLE, [-20.0, 0, 40, 20]], [WHOLE] * 2)
    assert value([left], "ao") == 1
    assert left.success[10] == 1, "OPE cuts nothing: IoU 1/3"


def test_lengths_must_agree_and_numbers_be_finite() -> None:
    with pytest.raises(ValueError, match="3 predicted boxes for 5 true ones"):
        scored(BOXES[:3], TRUTH)
    with pytest.raises(ValueError, match="6 predicted boxes for 5 true ones"):
        scored([*BOXES, WHOLE], TRUTH)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="box 2 is not finite"):
            scored([*BOXES[:2], [bad, 0, 1, 1], *BOXES[3:]], TRUTH)


def test_counting_leaves_the_boxes_alone() -> None:
    boxes, truth = np.array(BOXES), np.array(TRUTH)
    count(boxes, truth, np.ones(5, bool), (20, 10))
    assert boxes.tolist() == BOXES
    assert truth.tolist() == TRUTH


def test_pooling_frames_and_averaging_sequences() -> None:
    """A long perfect sequence and a short lost one."""
    long, short = scored([WHOLE] * 9, [WHOLE] * 9), scored([[150.0, 50, 9, 9]] * 3, [WHOLE] * 3)
    assert value([long, short], "ao") == pytest.approx(8 / 10), "every frame after the first weighs the same"
    assert value([long, short], "precision") == pytest.approx((1 + 1 / 3) / 2), "every sequence weighs the same"
    numerators, weights = values([long, short], "ao")
    assert numerators.tolist() == [8, 0]
    assert weights.tolist() == [8, 2]
    numerators, weights = values([long, short], "auc")
    assert numerators.tolist() == pytest.approx([20 / 21, 20 / 21 / 3])
    assert weights.tolist() == [1, 1]


def test_a_sequence_without_counted_frames_weighs_nothing_where_frames_are_pooled() -> None:
    hidden = scored(BOXES, TRUTH, [True] + [False] * 4)
    assert value([hidden, scored(TRUTH, TRUTH)], "ao") == 1


def test_every_metric_belongs_to_one_dialect() -> None:
    assert sorted(m for d in DIALECTS.values() for m in d.metrics) == sorted(METRICS)
    assert set(DIALECT_OF) == set(METRICS)
    assert set(scored(BOXES, TRUTH).sums) == set(METRICS)


def lasot_sequences() -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    with zipfile.ZipFile(LASOT) as archive:
        names = archive.read("testing_set.txt").decode().split()
        return {name: (numbers(archive, name, "groundtruth"), ~lasot_absent(archive, name)) for name in names}


def numbers(archive: zipfile.ZipFile, name: str, kind: str) -> NDArray[np.float64]:
    lines = archive.read(f"{name}/{kind}.txt").decode().split()
    return np.array([line.split(",") for line in lines], dtype=np.float64)


def lasot_absent(archive: zipfile.ZipFile, name: str) -> NDArray[np.bool_]:
    return np.asarray(numbers(archive, name, "absent").ravel() == 1)


def test_lasot_perfect_tracker_scores_its_reference() -> None:
    """The truth as prediction, the last box held while the target is absent: AUC 92.741, P 97.38 (design/protocols.md,
    section 7.7). Normalised precision is 100 because this dialect counts hidden frames as hits."""
    if not LASOT.exists():
        pytest.skip(f"real LaSOT annotations ({LASOT.name}) are not beside this checkout")
    counts = []
    for truth, visible in lasot_sequences().values():
        held = np.maximum.accumulate(np.where(visible, np.arange(len(truth)), 0))
        counts.append(count(truth[held], truth, visible, (10_000, 10_000)))
    assert len(counts) == 280
    assert 100 * value(counts, "auc") == pytest.approx(92.741, abs=5e-4)
    assert 100 * value(counts, "precision") == pytest.approx(97.38, abs=5e-3)
    assert value(counts, "norm_precision") == 1
