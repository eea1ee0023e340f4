"""Crops, placements, masks and jitter against the official code's outputs: the vectors in shared/golden where they are,
a few of their numbers copied here for where they are not."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from golden_vectors import HEIGHT, WIDTH, counted_image, golden
from trackablate.datasets.pairs.aligned_cropping import AlignedView, view_around
from trackablate.datasets.pairs.cropping import token_mask, window_around
from trackablate.datasets.pairs.geometries import GEOMETRIES, CropRequest, Jitter, jittered_placement, mean_colour

EXTENT = (WIDTH, HEIGHT)
SIZES = {"z": (2.0, 112), "x": (4.0, 224)}

COPIED = [
    {
        "box": [10, 20, 60, 220],
        "kind": "z",
        "adjusted": [[0.47096773982048035, 0.46666666865348816], [39.0, 0.0]],
        "crop_sum": 4705330.233307838,
        "mean": [124.99301147460938, 124.99862670898438, 125.00426483154297],
        "box_in_crop": [43.7096773982048, 9.333333373069763, 67.25806438922882, 102.6666671037674],
        "fg": [3, 0, 5, 8],
    },
    {
        "box": [1200, 650, 1279, 719],
        "kind": "x",
        "adjusted": [[0.7566137313842773, 0.7554348111152649], [-825.465576171875, -404.9130554199219]],
        "crop_sum": 18813553.742468357,
        "mean": [124.99301147460938, 124.99862670898438, 125.00426483154297],
        "box_in_crop": [82.47090148925781, 86.1195718050003, 142.24338626861572, 138.24457377195358],
    },
]


def xywh(corners: list[float]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = corners
    return np.array([x1, y1, x2 - x1, y2 - y1], dtype=np.float64)


def check_lorat(case: dict[str, Any]) -> None:
    """Scale and offset to the official code's float32; the sum of all pixels to a ten-millionth."""
    factor, size = SIZES[case["kind"]]
    image, box = counted_image(channels_first=True), xywh(case["box"])
    view = view_around(box, factor, size, EXTENT)
    scale, offset = case["adjusted"]
    np.testing.assert_allclose([view.x.scale, view.y.scale], scale, rtol=1e-6)
    np.testing.assert_allclose([view.x.offset, view.y.offset], offset, rtol=1e-6, atol=1e-6)
    outside = GEOMETRIES["lorat"].outside(image)
    np.testing.assert_allclose(outside, case["mean"], atol=1e-5)
    crop = view.cut(image, size, outside)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.float32
    assert crop.astype(np.float64).sum() == pytest.approx(case["crop_sum"], rel=1e-7)
    np.testing.assert_allclose(view.to_crop(box) * size, case["box_in_crop"], atol=5e-5)
    np.testing.assert_allclose(view.to_image(view.to_crop(box)), box, atol=1e-9)
    if "fg" in case:
        x1, y1, x2, y2 = case["fg"]
        expected = np.zeros((8, 8), dtype=bool)
        expected[y1:y2, x1:x2] = True
        np.testing.assert_array_equal(token_mask(view, box, 8).reshape(8, 8), expected)


@pytest.mark.parametrize("case", COPIED, ids=["over the edge", "in the corner"])
def test_lorats_crops_by_copied_numbers(case: dict[str, Any]) -> None:
    check_lorat(case)


def test_lorats_crops_are_the_official_codes() -> None:
    cases = golden("lorat_crop")
    assert len(cases) == 10
    assert {case["kind"] for case in cases} == {"z", "x"}
    for case in cases:
        check_lorat(case)


def test_lorat_asks_for_the_official_placement() -> None:
    """Before it is aligned; the jitter-free placement of the same function."""
    still = Jitter(0.0, 0.0)
    for case in golden("lorat_crop"):
        factor, size = SIZES[case["kind"]]
        found = jittered_placement(
            xywh(case["box"]), CropRequest(factor, size, EXTENT), still, np.random.default_rng(0)
        )
        np.testing.assert_allclose([found.scale, found.offset], case["params"], rtol=1e-12)


JITTERED = [[0.5335096952013427, 0.4952676865767285], [-150.3019251581033, -148.39093787250675]]


def test_lorats_jitter_draws_the_official_numbers() -> None:
    box, request, rng = np.array([600.0, 300, 120, 90]), CropRequest(4.0, 224, EXTENT), np.random.default_rng(7)
    found = jittered_placement(box, request, Jitter(scale=0.25, centre=3.0), rng)
    np.testing.assert_allclose([found.scale, found.offset], JITTERED, rtol=1e-12)
    view = GEOMETRIES["lorat"].jittered(box, request, Jitter(0.25, 3.0), np.random.default_rng(7))
    assert isinstance(view, AlignedView), "the official code takes this draw"
    assert golden("lorat_jitter_seed7") == {"params": JITTERED, "ok": True}


OSTRACK = [
    {"box": [600, 300, 120, 90], "resize_factor": 0.6153846153846154, "sum": 24550915},
    {"box": [1200, 650, 79, 69], "resize_factor": 0.8648648648648649, "sum": 9587279},
]


@pytest.mark.parametrize("case", OSTRACK, ids=["inside", "in the corner"])
def test_ostracks_crops_by_copied_numbers(case: dict[str, Any]) -> None:
    check_ostrack(case)


def test_ostracks_crops_are_the_official_codes() -> None:
    cases = golden("ostrack_crop")
    assert len(cases) == 3
    for case in cases:
        check_ostrack(case)


def check_ostrack(case: dict[str, Any]) -> None:
    """Every pixel, as a sum of integers. The published code pads one row and column too many where the square leaves the
    image on the right or below, as if the image were one pixel smaller there; ours shows that last row and column."""
    image = counted_image(channels_first=False)
    window = window_around(np.array(case["box"], dtype=np.float64), 4)
    assert 256 / window.side == pytest.approx(case["resize_factor"], rel=1e-12)
    published = window.cut(image[: HEIGHT - 1, : WIDTH - 1], 256)
    assert int(published.sum()) == case["sum"]
    ours = window.cut(image, 256)
    leaves = window.left + window.side > WIDTH - 1 or window.top + window.side > HEIGHT - 1
    assert (int(ours.sum()) > case["sum"]) == leaves


def test_the_colour_outside_is_the_whole_images_mean() -> None:
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    image[:5] = (200, 100, 40)
    assert mean_colour(image) == (100, 50, 20)
    assert GEOMETRIES["ostrack"].outside(image) == (0, 0, 0)


def test_an_aligned_crop_shows_the_mean_only_outside() -> None:
    image = np.full((60, 80, 3), 10, dtype=np.uint8)
    view = view_around(np.array([0.0, 0, 8, 8]), 4, 64, (80, 60))
    crop = view.cut(image, 64, (200.0, 150.0, 100.0))
    assert (view.x.source, view.x.target) == ((0, 20), (24, 64))
    np.testing.assert_array_equal(crop[24:, 24:], 10)
    assert (crop[:24] == (200, 150, 100)).all()
    assert (crop[:, :24] == (200, 150, 100)).all()


def test_an_aligned_view_shows_the_box_where_to_crop_says() -> None:
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    image[90:120, 130:190] = 200
    box = np.array([130.0, 90, 60, 30])
    view = view_around(box, 4, 224, (320, 240))
    rows, columns = np.nonzero(view.cut(image, 224, (0.0, 0.0, 0.0))[..., 0] > 100)
    extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(extent, view.to_crop(box) * 224, atol=1.01)


def test_the_area_of_an_aligned_view_follows_the_box() -> None:
    """Area (w + (f - 1) m)(h + (f - 1) m): a long box is shown with more around it than sqrt(w h) would give."""
    view = view_around(np.array([400.0, 300, 100, 20]), 4, 224, (2000, 2000))
    side = np.sqrt((100 + 3 * 60) * (20 + 3 * 60))
    assert 224 / view.x.scale == pytest.approx(side, abs=2)
    assert view.x.source[1] - view.x.source[0] >= side


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (0, 0, 5, -1), (np.nan, 0, 5, 5)])
def test_no_aligned_view_around_a_box_without_area(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        view_around(np.array(box), 2, 112, EXTENT)


def test_no_aligned_view_of_nothing() -> None:
    with pytest.raises(ValueError, match="shows nothing of the image"):
        view_around(np.array([2000.0, 100, 20, 20]), 2, 112, EXTENT)
    with pytest.raises(ValueError, match="aligned to crops of 112 px"):
        view_around(np.array([200.0, 100, 20, 20]), 2, 112, EXTENT).cut(
            counted_image(channels_first=True), 128, (0, 0, 0)
        )


def test_jittered_views_show_ten_pixels_of_the_target() -> None:
    """And those that do not are refused: with LoRAT's jitter both happen often."""
    box, rng = np.array([600.0, 300, 120, 90]), np.random.default_rng(0)
    views = [GEOMETRIES["lorat"].jittered(box, CropRequest(4, 224, EXTENT), Jitter(0.25, 3.0), rng) for _ in range(200)]
    kept = [view for view in views if view is not None]
    assert 40 <= len(kept) <= 160
    shown = np.array([np.diff(view.to_crop(box).clip(0, 1).reshape(2, 2), axis=0)[0] * 224 for view in kept])
    assert shown.min() >= 10 - 1.5, "asked for 10, aligned to whole pixels"
    assert shown.min() < 20, "no view shows little of it: the test looks at nothing"
    ratios = np.array([view.x.scale / view.y.scale for view in kept])
    assert ratios.min() < 0.8 and ratios.max() > 1.25, "the axes are scaled each by its own draw"


def test_the_smallest_part_shown_shrinks_with_small_crops() -> None:
    """A target of 64 x 4 px is never shown 10 px high in a crop of 64 px; at that size 10 / 224 of the crop is asked."""
    box, request = np.array([600.0, 300, 64, 16]), CropRequest(4, 64, EXTENT)
    still = Jitter(0.0, 0.0)
    assert GEOMETRIES["lorat"].jittered(box, request, still, np.random.default_rng(0)) is not None
    wide = np.array([300.0, 300, 600, 10])
    assert GEOMETRIES["lorat"].jittered(wide, request, still, np.random.default_rng(0)) is None
