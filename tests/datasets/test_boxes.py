"""Box arithmetic against numbers worked out by hand, and its laws for any boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trackablate.datasets.boxes import (
    centres,
    clip,
    iou,
    valid,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

Box = NDArray[np.float64]
places = st.integers(-400, 400).map(lambda v: v / 4)
sides = st.integers(1, 400).map(lambda v: v / 4)
"""Quarters of pixels: sums and differences are exact, so laws hold to the last bit."""
boxes = st.tuples(places, places, sides, sides).map(lambda b: np.array(b, dtype=np.float64))
shifts = st.tuples(places, places).map(lambda s: np.array([*s, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 10, 10), (5, 0, 10, 10), 50 / 150),
        ((0, 0, 10, 10), (5, 5, 10, 10), 25 / 175),
        ((0, 0, 10, 10), (2, 3, 4, 5), 20 / 100),
        ((0, 0, 10, 10), (10, 0, 10, 10), 0),
        ((0, 0, 10, 10), (20, 20, 1, 1), 0),
        ((0, 0, 10, 10), (2, 2, 0, 5), 0),
        ((3, 3, 0, 0), (3, 3, 0, 0), 0),
        ((0, 0, 10, 10), (8, 8, -4, -4), 0),
        ((-5, -5, 10, 20), (0, 0, 10, 10), 50 / 250),
    ],
)
def test_iou_by_hand(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert iou(a, b) == pytest.approx(expected, abs=1e-15)


def test_iou_broadcasts_one_box_against_many() -> None:
    many = np.array([[[0, 0, 10, 10], [5, 0, 10, 10]], [[50, 0, 10, 10], [0, 0, 5, 10]]])
    np.testing.assert_allclose(iou([0, 0, 10, 10], many), [[1, 1 / 3], [0, 0.5]])


@given(boxes, boxes)
def test_iou_is_symmetric_and_within_0_and_1(a: Box, b: Box) -> None:
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= 1


@given(boxes, boxes)
def test_iou_is_1_for_equal_boxes_only(a: Box, b: Box) -> None:
    assert iou(a, a) == 1
    assert (iou(a, b) == 1) == bool((a == b).all())


@given(boxes, boxes, shifts)
def test_moving_both_boxes_keeps_their_iou(a: Box, b: Box, shift: Box) -> None:
    assert iou(a + shift, b + shift) == iou(a, b)


@given(boxes, boxes, st.sampled_from([0.25, 2.0, 8.0]))
def test_scaling_both_boxes_keeps_their_iou(a: Box, b: Box, factor: float) -> None:
    assert iou(a * factor, b * factor) == iou(a, b)


@given(boxes, boxes)
def test_iou_counts_the_unit_cells_of_integer_boxes(a: Box, b: Box) -> None:
    a, b = np.ceil(a), np.ceil(b)
    overlap = [len(set(range(int(p), int(p + s))) & set(range(int(q), int(q + t)))) for p, q, s, t in per_axis(a, b)]
    shared = overlap[0] * overlap[1]
    assert iou(a, b) == pytest.approx(shared / (a[2] * a[3] + b[2] * b[3] - shared))


def per_axis(a: Box, b: Box) -> list[tuple[float, float, float, float]]:
    return [(a[i], b[i], a[i + 2], b[i + 2]) for i in range(2)]


def test_clip_by_hand() -> None:
    cases = [[2, 3, 4, 5], [90, 40, 20, 20], [-4, -6, 10, 10], [200, -50, 10, 10]]
    inside, over, negative, outside = clip(cases, 100, 50)
    assert inside.tolist() == [2, 3, 4, 5]
    assert over.tolist() == [90, 40, 10, 10]
    assert negative.tolist() == [0, 0, 6, 4]
    assert outside[2:].tolist() == [0, 0]


@given(boxes)
def test_clip_stays_in_the_image_and_clips_once(box: Box) -> None:
    cut = clip(box, 60, 40)
    corners = xywh_to_xyxy(cut)
    assert (corners >= 0).all()
    assert (corners <= (60, 40, 60, 40)).all()
    assert (cut[2:] >= 0).all()
    assert (clip(cut, 60, 40) == cut).all()
    assert (cut[2:] <= box[2:]).all()


def test_functions_leave_their_arguments_alone() -> None:
    box = np.array([[-5.0, 1, 30, 4]])
    before = box.copy()
    for result in (clip(box, 10, 10), xywh_to_xyxy(box), xyxy_to_xywh(box), iou(box, box), centres(box)):
        assert not np.shares_memory(result, box)
    np.testing.assert_array_equal(box, before)


def test_centres_by_hand() -> None:
    assert centres([1, 2, 4, 6]).tolist() == [3, 5]


def test_valid_asks_for_finite_numbers_and_positive_sides() -> None:
    finite = [[0.0, 0, 1, 1], [-5.0, -5, 1, 1], [0.0, 0, 0, 1], [0.0, 0, 1, -1]]
    assert valid([*finite, [np.nan, 0, 1, 1], [0, 0, np.inf, 1]]).tolist() == [True, True, False, False, False, False]


@given(boxes)
def test_corners_and_back(box: Box) -> None:
    corners = xywh_to_xyxy(box)
    assert corners.tolist() == [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    assert (xyxy_to_xywh(corners) == box).all()
