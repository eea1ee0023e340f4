"""The crop: which square, what is in it, and boxes there and back. OSTrack's published code is the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from golden_vectors import golden
from trackablate.datasets.boxes import xywh_to_xyxy
from trackablate.datasets.pairs.cropping import Window, inside_image, token_mask, window_around

Box = NDArray[np.float64]
boxes = st.tuples(*[st.floats(-200, 200)] * 2, *[st.floats(1, 200)] * 2).map(np.array)


@pytest.mark.parametrize(
    ("box", "factor", "window"),
    [
        ((40, 50, 30, 30), 2, (25, 35, 60)),
        ((40, 50, 10, 40), 4, (5, 30, 80)),
        ((600, 300, 120, 90), 4, (452, 137, 416)),  # sqrt(10800) * 4 = 415.69
        ((0, 0, 7, 5), 2, (-2, -4, 12)),  # 11.83, corners at -2.5 and -3.5
        ((100.3, 100.3, 3, 3), 2, (99, 99, 6)),
    ],
)
def test_window_by_hand(box: tuple[float, ...], factor: float, window: tuple[int, int, int]) -> None:
    assert window_around(np.array(box), factor) == Window(*window)


@given(boxes, st.sampled_from([1.5, 2.0, 4.0]))
def test_window_is_the_smallest_whole_square_centred_on_the_box(box: Box, factor: float) -> None:
    window = window_around(box, factor)
    wanted = np.sqrt(box[2] * box[3]) * factor
    assert window.side - 1 < wanted + 1e-9
    assert window.side > wanted - 1e-9
    centre = np.array([window.left, window.top]) + window.side / 2
    assert (np.abs(centre - (box[:2] + box[2:] / 2)) <= 0.5 + 1e-9).all()


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (0, 0, 5, -1), (np.nan, 0, 5, 5), (0, 0, np.inf, 5)])
def test_no_window_around_a_box_without_area(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        window_around(np.array(box), 2)


@given(boxes, st.integers(-50, 50), st.integers(-50, 50), st.sampled_from([1, 8, 64, 256]))
def test_boxes_go_to_the_crop_and_back(box: Box, left: int, top: int, side: int) -> None:
    """Exact for boxes on a grid of 1/8 px in a window whose side is a power of two; close for any other."""
    window = Window(left, top, side)
    on_grid = np.round(box * 8) / 8
    np.testing.assert_array_equal(window.to_image(window.to_crop(on_grid)), on_grid)
    other = Window(left, top, 3 * side)
    np.testing.assert_allclose(other.to_image(other.to_crop(box)), box, atol=1e-9)


def test_crop_coordinates_by_hand() -> None:
    window = Window(10, -20, 40)
    to_crop = window.to_crop(np.array([[20.0, 0, 10, 5], [10, -20, 40, 40]]))
    assert to_crop.tolist() == [[0.25, 0.5, 0.5, 0.625], [0, 0, 1, 1]]


def numbered(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose every pixel tells its place: (row, column, 7)."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)


def test_crop_without_resizing_is_the_pixels_themselves() -> None:
    cut = Window(30, 20, 16).cut(numbered(60, 80), 16)
    np.testing.assert_array_equal(cut, numbered(60, 80)[20:36, 30:46])


@pytest.mark.parametrize(
    ("window", "rows", "columns"),
    [
        (Window(-6, -4, 16), (4, 16), (6, 16)),
        (Window(72, 52, 16), (0, 8), (0, 8)),
        (Window(-6, 52, 16), (0, 8), (6, 16)),
        (Window(-10, -10, 100), (10, 70), (10, 90)),
    ],
)
def test_crop_over_the_edge_is_black_outside(window: Window, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    cut = window.cut(numbered(60, 80), window.side)
    inside = np.zeros((window.side, window.side), dtype=bool)
    inside[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(cut[..., 2] == 7, inside)
    assert not cut[~inside].any()
    y, x = rows[0], columns[0]
    assert cut[y, x].tolist() == [y + window.top, x + window.left, 7]


def test_crop_wholly_outside_is_black() -> None:
    for window in (Window(80, 0, 10), Window(-10, 0, 10), Window(0, 60, 10), Window(0, -500, 10)):
        assert not window.cut(numbered(60, 80), 8).any()


def test_crop_shows_the_box_where_to_crop_says() -> None:
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[40:60, 70:100] = 200
    box = np.array([70.0, 40, 30, 20])
    window = window_around(box, 4)
    cut = window.cut(image, 256)
    rows, columns = np.nonzero(cut[..., 0] > 100)
    extent = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    np.testing.assert_allclose(extent, window.to_crop(box) * 256, atol=1.01)


def test_crop_matches_the_published_code() -> None:
    """Size and blackness of OSTrack's crops. The published code counts one pixel too much as outside at the right and
    lower edge (it pads by x2 - W + 1 and so drops the image's last column and row); the reference is met exactly by
    taking the image for one pixel smaller there, and ours keeps that column."""
    for case in golden("ostrack_crop"):
        window = window_around(np.array(case["box"], dtype=np.float64), 4)
        assert 256 / window.side == pytest.approx(case["resize_factor"], rel=1e-12)
        assert outside(window, 1279, 719) == case["masked"]
        assert outside(window, 1280, 720) <= case["masked"]


def outside(window: Window, width: int, height: int) -> int:
    """Pixels of the resized crop that at least one pixel outside the image had a part in."""
    cut = window.cut(np.full((height, width, 3), 255, dtype=np.uint8), 256)
    return int((cut[..., 0] < 255).sum())


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((20, 30, 40, 20), (20, 30, 40, 20)),
        ((-30, -10, 60, 40), (0, 0, 30, 30)),
        ((150, 110, 50, 50), (150, 110, 10, 10)),
        ((155, 60, 50, 20), (150, 60, 10, 20)),
        ((300, 300, 5, 5), (150, 110, 10, 10)),
        ((-300, -300, 5, 5), (0, 0, 10, 10)),
        ((50, 50, 2, 3), (50, 50, 10, 10)),
        ((-500, -500, 2000, 2000), (0, 0, 160, 120)),
    ],
)
def test_inside_image_by_hand(box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert inside_image(np.array(box, dtype=np.float64), 160, 120, 10).tolist() == list(expected)


@given(st.tuples(*[st.floats(-1000, 1000)] * 4).map(np.array))
def test_inside_image_is_always_inside_and_never_small(box: Box) -> None:
    placed = inside_image(box, 160, 120, 10)
    assert (placed[2:] >= 10).all()
    corners = xywh_to_xyxy(placed)
    assert (corners >= 0).all()
    assert (corners <= np.array([160, 120, 160, 120]) + 1e-9).all()


def test_foreground_of_a_tight_square_is_the_centre() -> None:
    box = np.array([40.0, 50, 30, 30])
    mask = token_mask(window_around(box, 2), box, 8).reshape(8, 8)
    expected = np.zeros((8, 8), dtype=bool)
    expected[2:6, 2:6] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((8.1, 16, 8, 15.9), (2, 4), (1, 3)),  # touched a little is touched
        ((8, 16, 8, 8), (2, 3), (1, 2)),  # up to the edge is not
        ((3, 3, 1, 1), (0, 1), (0, 1)),
        ((-20, -20, 22, 22), (0, 1), (0, 1)),
        ((60, 60, 90, 90), (7, 8), (7, 8)),
        ((-9, -9, 100, 100), (0, 8), (0, 8)),
    ],
)
def test_foreground_by_hand(box: tuple[float, ...], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """In a window of 64 px with tokens of 8 px."""
    expected = np.zeros((8, 8), dtype=bool)
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(token_mask(Window(0, 0, 64), np.array(box), 8), expected.ravel())


def test_foreground_matches_the_published_rule() -> None:
    """LoRAT's rasterised box of the golden crops, from its box in the crop: the rule, apart from LoRAT's other crop."""
    cases = [case for case in golden("lorat_crop") if "fg" in case]
    assert len(cases) == 5
    for case in cases:
        x1, y1, x2, y2 = case["box_in_crop"]
        mask = token_mask(Window(0, 0, 112), np.array([x1, y1, x2 - x1, y2 - y1]), 8).reshape(8, 8)
        rows, columns = np.nonzero(mask)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == case["fg"]
        assert mask.sum() == (case["fg"][2] - case["fg"][0]) * (case["fg"][3] - case["fg"][1])
