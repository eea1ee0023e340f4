"""The published augmentations: what is drawn together, what apart, and that boxes and masks go along."""

from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trackablate.datasets.pairs.augmentation import AUGMENTATIONS, Augmentation, Pair, _jittered_colours, augmented

SIDE = 32


def pair(dtype: type = np.uint8) -> Pair:
    """Noise with a dark left and a bright right half, not too near to black and white; a mask in one corner."""
    rng = np.random.default_rng(0)
    image = rng.integers(90, 110, (SIDE, SIDE, 3))
    image[:, SIDE // 2 :] += 40
    mask = np.zeros(16, dtype=np.bool_)
    mask[4] = True
    return Pair(image.astype(dtype), image.astype(dtype), np.array([0.1, 0.2, 0.4, 0.6], dtype=np.float32), mask)


def results(kind: Augmentation, dtype: type = np.uint8, count: int = 200) -> list[Pair]:
    return [augmented(pair(dtype), kind, np.random.default_rng(seed)) for seed in range(count)]


def mirrored(image: NDArray[np.uint8] | NDArray[np.float32]) -> bool | None:
    """Whether the bright half is on the left; None where solarising has changed which is brighter."""
    left, right = float(image[:, : SIDE // 2 - 2].mean()), float(image[:, SIDE // 2 + 2 :].mean())
    return None if abs(left - right) < 8 or float(image.max()) < 128 else left > right


def test_every_augmentation_has_a_name_and_every_name_one() -> None:
    assert set(AUGMENTATIONS) == set(get_args(Augmentation))


@pytest.mark.parametrize("kind", get_args(Augmentation))
def test_an_augmentation_is_a_function_of_its_generator(kind: Augmentation) -> None:
    one, again = (augmented(pair(), kind, np.random.default_rng(3)) for _ in range(2))
    for field in ("template", "search", "truth", "mask"):
        np.testing.assert_array_equal(getattr(one, field), getattr(again, field))


@pytest.mark.parametrize("kind", get_args(Augmentation))
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crops_keep_their_shape_and_range_and_the_original_is_left_alone(kind: Augmentation, dtype: type) -> None:
    for seed in range(30):
        plain, untouched = pair(dtype), pair(dtype)
        found = augmented(plain, kind, np.random.default_rng(seed))
        assert found.template.shape == found.search.shape == (SIDE, SIDE, 3)
        assert found.search.min() >= 0 and found.search.max() <= 255
        assert found.search.dtype in (np.uint8, np.float32)
        np.testing.assert_array_equal(plain.search, untouched.search)


@pytest.mark.parametrize("kind", ["ostrack-published", "lorat"])
def test_crops_are_mirrored_each_by_itself_and_boxes_and_masks_with_them(kind: Augmentation) -> None:
    combinations = set()
    for found in results(kind):
        search, template = mirrored(found.search), mirrored(found.template)
        flipped = bool(found.truth[0] > 0.5)
        np.testing.assert_allclose(found.truth, [0.6, 0.2, 0.9, 0.6] if flipped else pair().truth, atol=1e-6)
        assert search in (flipped, None)
        moved = np.flatnonzero(found.mask).tolist()
        assert moved in ([4], [7])
        assert template in (moved == [7], None)
        combinations.add((flipped, moved == [7]))
    assert len(combinations) == 4


def test_todays_ostrack_mirrors_both_or_none() -> None:
    for found in results("ostrack"):
        assert (found.truth.tolist() != pair().truth.tolist()) == (np.flatnonzero(found.mask).tolist() == [7])


def test_lorat_greys_solarises_or_blurs_both_alike() -> None:
    found = results("lorat", count=300)
    grey = [bool((p.search == p.search[..., :1]).all()) for p in found]
    assert grey == [bool((p.template == p.template[..., :1]).all()) for p in found]
    solarised = [not g and int(p.search.max()) < 128 for g, p in zip(grey, found, strict=True)]
    assert 70 <= sum(grey) <= 130
    assert 60 <= sum(solarised) <= 140
    rough = np.array([np.abs(np.diff(p.search.astype(float), axis=0)).mean() for p in found])
    blurred = [r for r, g, s in zip(rough, grey, solarised, strict=True) if not g and not s]
    assert min(blurred) < 0.4 * float(np.median(rough))


def test_lorats_colours_are_jittered_by_up_to_two_fifths() -> None:
    """On even colours, where contrast and saturation of grey change nothing, brightness alone is left."""
    even = np.full((8, 8, 3), 100, dtype=np.uint8)
    means = [float(_jittered_colours(even, np.random.default_rng(seed)).mean()) for seed in range(300)]
    assert 59.9 <= min(means) < 63
    assert 137 < max(means) <= 140.1


def test_lorats_colours_come_in_any_order_each_about_its_own_middle() -> None:
    """Saturation keeps every pixel's grey, contrast the mean grey: so brightness alone moves the mean grey."""
    rng = np.random.default_rng(0)
    image = rng.integers(100, 140, (16, 16, 3)).astype(np.uint8)
    grey = float(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY).mean())
    ratios, spreads, colours = [], [], []
    for seed in range(200):
        found = _jittered_colours(image, np.random.default_rng(seed))
        own = cv2.cvtColor(found, cv2.COLOR_RGB2GRAY)
        ratios.append(float(own.mean()) / grey)
        spreads.append(float(own.std() / own.mean()))
        colours.append(float((found - own[..., None]).std() / own.mean()))
    assert min(ratios) < 0.64 and max(ratios) > 1.36
    assert max(spreads) / min(spreads) > 1.8, "contrast"
    assert np.std(np.array(colours) / np.array(spreads)) > 0.1, "saturation, apart from contrast"


class Drawn:
    """A generator that draws what it is told to."""

    def __init__(self, order: list[int]) -> None:
        self.order = order

    def uniform(self, low: float, high: float, size: int) -> NDArray[np.float64]:
        assert (low, high, size) == (0.6, 1.4, 3)
        return np.array([1.4, 0.6, 1.0])

    def permutation(self, count: int) -> list[int]:
        assert count == 3
        return self.order


@pytest.mark.parametrize(
    ("order", "expected"), [([0, 1, 2], [206.8, 62.2]), ([1, 2, 0], [255.0, 81.2]), ([2, 0, 1], [206.8, 62.2])]
)
def test_lorats_colours_change_in_the_order_that_is_drawn(order: list[int], expected: list[float]) -> None:
    """Pixels 250 and 10, brightness x 1.4 and contrast x 0.6. Brightness first: 255 (cut) and 14, mean 134.5, then 206.8 and
    62.2. Contrast first: mean 130, 202 and 58, then 255 (cut) and 81.2."""
    image = np.array([[[250] * 3, [10] * 3]], dtype=np.uint8)
    found = _jittered_colours(image, Drawn(order))  # type: ignore[arg-type]
    np.testing.assert_allclose(found[0, :, 0], expected, atol=1e-3)
