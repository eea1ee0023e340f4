"""Training pairs: numbered, reproducible in any order, and truthful about where the target is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from trackablate.datasets.pairs.augmentation import Pair, augmented
from trackablate.datasets.pairs.cropping import window_around
from trackablate.datasets.pairs.sampling import FRAME_PAIRS, FramePairs, PairGeometry, PairSampler
from trackablate.datasets.sequence import Image, Sequence

GEOMETRY = PairGeometry(
    template_size=64,
    search_size=128,
    template_factor=2.0,
    search_factor=4.0,
    centre_jitter=3.0,
    scale_jitter=0.25,
    template_tokens=8,
)
STILL = PairGeometry(64, 128, 2.0, 4.0, centre_jitter=0.0, scale_jitter=0.0, template_tokens=8)
WIDTH, HEIGHT, LENGTH = 320, 240, 12
COLOUR, GROUND = (210, 180, 120), (30, 90, 60)


class SquareFrames:
    """A flat square on a flat ground: where it is can be read off the pixels."""

    def __init__(self, boxes: NDArray[np.float64]) -> None:
        self.boxes = boxes.astype(int)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int, /) -> Image:
        image = np.full((HEIGHT, WIDTH, 3), GROUND, dtype=np.uint8)
        x, y, w, h = self.boxes[index]
        image[y : y + h, x : x + w] = COLOUR
        return image


def square_sequence(number: int = 0, visible: NDArray[np.bool_] | None = None) -> Sequence:
    """A square that moves right and grows, not the same in any two frames or sequences."""
    frame = np.arange(LENGTH)
    boxes = np.stack([60 + 8 * frame + number, 80 + 5 * frame, 30 + frame, 24 + 2 * frame], axis=1).astype(np.float64)
    shown = np.ones(LENGTH, dtype=bool) if visible is None else visible
    return Sequence(f"square-{number}", SquareFrames(boxes), boxes, shown)


Source = Callable[[int, Generator], tuple[Sequence, NDArray[np.int64]]]


def any_square(number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
    return square_sequence(int(rng.integers(20))), np.arange(LENGTH)


def only(visible: NDArray[np.bool_]) -> Source:
    return lambda number, rng: (square_sequence(0, visible), np.arange(LENGTH))


def sampler(source: Source = any_square, **changes: object) -> PairSampler:
    return PairSampler(source, **({"geometry": GEOMETRY, "seed": 5} | changes))  # type: ignore[arg-type]


def same(a: Pair, b: Pair) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("template", "search", "truth", "mask"))


def extent(image: Image) -> NDArray[np.float64]:
    """Corners x1, y1, x2, y2 of the square in a crop, in units of the crop's side: what is nearer to the square's red
    than to the ground's, which holds for bright, dark and grey crops and for the black outside the image."""
    red = image[:, :, 0].astype(float)
    rows, columns = np.nonzero(red > (np.median(red) + red.max()) / 2)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / len(image)


def test_a_pair_is_a_function_of_seed_and_number() -> None:
    numbers = [7, 0, 3, 7, 12_345_678, 1]
    forward = {n: sampler()(n) for n in sorted(numbers)}
    one = sampler()
    for number in numbers:
        assert same(one(number), forward[number])
    assert not any(same(forward[0], forward[n]) for n in forward if n != 0)


def test_other_seeds_give_other_pairs() -> None:
    truths = {tuple(sampler(seed=seed)(number).truth) for seed in range(6) for number in range(4)}
    assert len(truths) == 24


def test_crops_have_the_asked_sizes_and_types() -> None:
    pair = sampler()(0)
    assert pair.template.shape == (64, 64, 3)
    assert pair.search.shape == (128, 128, 3)
    assert pair.template.dtype == pair.search.dtype == np.uint8
    assert pair.truth.shape == (4,)
    assert pair.truth.dtype == np.float32
    assert pair.mask.shape == (64,)
    assert pair.mask.dtype == np.bool_


@pytest.mark.parametrize("augment", [False, True])
def test_truth_is_where_the_square_is(augment: bool) -> None:
    draw = sampler(augment=augment)
    pairs = [draw(number) for number in range(60)]
    for pair in pairs:
        np.testing.assert_allclose(extent(pair.search), pair.truth, atol=1.6 / 128)
        assert (pair.truth >= 0).all()
        assert (pair.truth <= 1).all()
        assert (pair.truth[2:] > pair.truth[:2]).all()
    middles = np.array([(p.truth[:2] + p.truth[2:]) / 2 for p in pairs])
    assert (middles.std(axis=0) > 0.05).all(), "the target must not always be in the middle of the search crop"


def test_mirrored_pairs_are_mirrored_in_all_four_parts() -> None:
    plain = sampler(augment=False)(2)
    mirrored = 0
    for seed in range(20):
        pair = augmented(plain, "ostrack", np.random.default_rng(seed))
        np.testing.assert_allclose(extent(pair.search), pair.truth, atol=1.6 / 128)
        if not np.array_equal(pair.truth, plain.truth):
            mirrored += 1
            np.testing.assert_allclose(pair.truth, plain.truth[[2, 1, 0, 3]] * [-1, 1, -1, 1] + [1, 0, 1, 0], atol=1e-6)
            np.testing.assert_array_equal(pair.mask.reshape(8, 8), plain.mask.reshape(8, 8)[:, ::-1])
            np.testing.assert_allclose(extent(pair.template), extent(plain.template[:, ::-1]))
        else:
            np.testing.assert_array_equal(pair.mask, plain.mask)
    assert 4 <= mirrored <= 16


def test_mirroring_moves_an_asymmetric_mask() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[1, 0] = True
    blank = np.zeros((8, 8, 3), dtype=np.uint8)
    pair = Pair(blank, blank, np.array([0.1, 0.2, 0.4, 0.6], dtype=np.float32), mask.ravel())
    masks = [
        np.flatnonzero(augmented(pair, "ostrack", np.random.default_rng(seed)).mask).tolist() for seed in range(20)
    ]
    assert [4] in masks
    assert [7] in masks
    assert all(mask in ([4], [7]) for mask in masks)


def test_augmentation_is_grey_sometimes_and_brighter_or_darker() -> None:
    plain = sampler(augment=False)(2)
    pairs = [augmented(plain, "ostrack", np.random.default_rng(seed)) for seed in range(300)]
    grey = [np.ptp(p.search.astype(int), axis=-1).max() == 0 for p in pairs]
    assert 3 <= sum(grey) <= 40
    assert grey == [np.ptp(p.template.astype(int), axis=-1).max() == 0 for p in pairs], "both or neither"
    green = np.array([p.search[..., 1].mean() for p, is_grey in zip(pairs, grey, strict=True) if not is_grey])
    gains = green / plain.search[..., 1].mean()
    assert 0.78 < gains.min() < 0.85
    assert 1.15 < gains.max() < 1.22


def test_template_shows_the_target_in_its_middle_and_the_mask_says_where() -> None:
    draw = sampler(lambda number, rng: (square_sequence(), np.arange(LENGTH)), augment=False, geometry=STILL)
    for number in range(20):
        pair = draw(number)
        np.testing.assert_allclose(extent(pair.template)[[0, 1]], 1 - extent(pair.template)[[2, 3]], atol=0.06)
        rows, columns = np.nonzero(pair.mask.reshape(8, 8))
        touched = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 8
        assert (np.abs(touched - extent(pair.template)) < 1 / 8 + 0.03).all()


def test_template_is_never_later_than_search() -> None:
    seen = []

    class Recording(SquareFrames):
        def __getitem__(self, index: int, /) -> Image:
            seen.append(index)
            return super().__getitem__(index)

    plain = square_sequence()
    watched = Sequence(plain.name, Recording(plain.boxes), plain.boxes, plain.visible)
    draw = sampler(lambda number, rng: (watched, np.array([1, 4, 6, 9])), augment=False)
    for number in range(30):
        draw(number)
    templates, searches = seen[::2], seen[1::2]
    assert all(t < s for t, s in zip(templates, searches, strict=True))
    assert (set(templates), set(searches)) == ({1, 4, 6}, {4, 6, 9}), "only the frames that may be used, and all"


def test_hidden_frames_are_never_used() -> None:
    visible = np.zeros(LENGTH, dtype=bool)
    visible[[2, 7]] = True
    draw = sampler(only(visible), augment=False, geometry=STILL)
    for number in range(5):
        np.testing.assert_array_equal(draw(number).search, draw(0).search)
    window = window_around(square_sequence().boxes[7], 4.0)
    np.testing.assert_allclose(draw(0).truth, window.to_crop(square_sequence().boxes[7]), atol=1e-6)


def test_a_single_visible_frame_serves_twice() -> None:
    visible = np.zeros(LENGTH, dtype=bool)
    visible[3] = True
    pair = sampler(only(visible), augment=False, geometry=STILL)(0)
    box = square_sequence().boxes[3]
    np.testing.assert_allclose(pair.truth, window_around(box, 4.0).to_crop(box), atol=1e-6)


def test_no_pair_without_a_visible_target() -> None:
    with pytest.raises(ValueError, match="visible target"):
        sampler(only(np.zeros(LENGTH, dtype=bool)))(0)


def test_the_search_crop_shows_at_least_half_of_the_target() -> None:
    """Even where the jitter would throw it out of the crop: such draws are made anew."""
    wild = PairGeometry(64, 128, 2.0, 4.0, centre_jitter=8.0, scale_jitter=0.0, template_tokens=8)
    sequence = square_sequence()
    cut = 0
    for number in range(60):
        pair = sampler(lambda n, rng: (sequence, np.array([4])), geometry=wild, augment=False)(number)
        box, side = sequence.boxes[4], window_around(sequence.boxes[4], 4.0).side
        share = float(np.prod((pair.truth[2:] - pair.truth[:2]) * side) / np.prod(box[2:]))
        assert share >= 0.5 - 1e-3
        cut += share < 0.99
    assert cut > 0, "no target was cut by the crop's edge: the test looks at nothing"


def test_strong_augmentation_greys_solarises_or_blurs_and_leaves_the_truth_alone() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    pair = Pair(image, image, np.array([0.5, 0.2, 0.5, 0.8], dtype=np.float32), np.ones(16, dtype=np.bool_))
    results = [augmented(pair, "strong", np.random.default_rng(seed)) for seed in range(60)]
    grey = [bool((r.search == r.search[..., :1]).all()) for r in results]
    solarised = [not g and int(r.search.max()) < 128 for g, r in zip(grey, results, strict=True)]
    smooth = [float(np.abs(np.diff(r.search.astype(float), axis=1)).mean()) for r in results]
    assert 10 <= sum(grey) <= 32
    assert 8 <= sum(solarised) <= 30
    assert min(smooth) < 0.8 * float(np.median(smooth))
    assert all(r.truth.tolist() == pair.truth.tolist() and r.mask.all() for r in results)
    assert all(r.search.shape == (32, 32, 3) and r.search.dtype == np.uint8 for r in results)


LONG = np.arange(0, 1000, 7)
"""Frame numbers of a long sequence of which every seventh frame may be used."""


def drawn(rule: FramePairs, frames: NDArray[np.int64], count: int = 600) -> NDArray[np.int64]:
    """Frame pairs (template, search), (count, 2)."""
    rng = np.random.default_rng(4)
    return np.array([FRAME_PAIRS[rule](frames, rng) for _ in range(count)])


def test_ostracks_search_frame_follows_within_two_hundred() -> None:
    pairs = drawn("causal", LONG)
    gaps = pairs[:, 1] - pairs[:, 0]
    assert (gaps >= 7).all() and (gaps <= 200).all()
    assert gaps.max() == 196 and gaps.min() == 7, "both ends are drawn"
    assert np.isin(pairs, LONG).all()


def test_ostracks_gap_grows_until_a_frame_is_found() -> None:
    """Frames 0, 500 and 730: no two within 200; the gap grows by 5 to 230, so 0 is never paired with 500."""
    assert {tuple(pair) for pair in drawn("causal", np.array([0, 500, 730]))} == {(500, 730)}


def test_lorats_search_frame_lies_within_a_hundred_either_way() -> None:
    pairs = drawn("interval", LONG)
    gaps = pairs[:, 1] - pairs[:, 0]
    assert gaps.min() == -98 and gaps.max() == 98
    assert (gaps != 0).all(), "never the same frame where there is another"
    assert 0.4 < (gaps < 0).mean() < 0.6


def test_lorat_takes_a_frame_twice_where_none_is_near() -> None:
    assert {tuple(pair) for pair in drawn("interval", np.array([0, 101, 201]))} == {(0, 0), (101, 201), (201, 101)}


@pytest.mark.parametrize("rule", FRAME_PAIRS)
def test_a_single_frame_is_its_own_pair(rule: FramePairs) -> None:
    assert drawn(rule, np.array([5]), 3).tolist() == [[5, 5]] * 3


LORAT = replace(GEOMETRY, geometry="lorat", search_size=224, template_size=112, frame_pairs="interval")


def test_lorats_truth_is_where_the_square_is() -> None:
    draw = sampler(augment=False, geometry=LORAT)
    pairs = [draw(number) for number in range(40)]
    for pair in pairs:
        assert pair.search.shape == (224, 224, 3)
        assert pair.search.dtype == np.float32, "not rounded, as published"
        assert ((pair.truth[2:] - pair.truth[:2]) * 224 >= 10 - 1.5).all()
        x1, y1, x2, y2 = (int(v) for v in np.round(pair.truth * 224))
        red, blur = pair.search[..., 0], 4
        assert np.abs(red[y1 + blur : y2 - blur, x1 + blur : x2 - blur] - COLOUR[0]).max(initial=0) < 1e-3, "all square"
        beside = [red[y1:y2, : max(0, x1 - blur)], red[y1:y2, x2 + blur :], red[: max(0, y1 - blur)], red[y2 + blur :]]
        assert max(part.max(initial=0) for part in beside) < COLOUR[0] - 20, "no square"
    assert np.mean([p.truth.min() == 0 or p.truth.max() == 1 for p in pairs]) > 0.2, "LoRAT's jitter cuts many targets"


def test_lorats_template_mask_is_that_of_the_aligned_crop() -> None:
    pair = sampler(augment=False, geometry=LORAT)(3)
    rows, columns = np.nonzero(pair.mask.reshape(8, 8))
    middle = pair.template[rows.min() * 14 + 14 : rows.max() * 14, columns.min() * 14 + 14 : columns.max() * 14]
    assert middle.size > 0
    np.testing.assert_allclose(middle, np.broadcast_to(COLOUR, middle.shape), atol=1e-3)


def test_ostrack_takes_videos_of_twenty_frames_with_five_that_show_the_target() -> None:
    geometry = replace(STILL, least_frames=LENGTH, least_visible=5)
    few = np.arange(LENGTH) < 4
    for refused in (replace(geometry, least_frames=LENGTH + 1), geometry):
        with pytest.raises(ValueError, match=f"of {refused.least_frames} frames or more"):
            sampler(only(few if refused is geometry else np.ones(LENGTH, dtype=bool)), geometry=refused)(0)
    assert sampler(only(np.arange(LENGTH) < 5), geometry=geometry)(0)
    frames = square_sequence()
    image = Sequence("image", SquareFrames(frames.boxes[:1]), frames.boxes[:1], np.ones(1, dtype=bool))
    assert sampler(lambda number, rng: (image, np.arange(1)), geometry=geometry)(0), "an image is no short video"


def test_the_true_box_may_leave_the_crop() -> None:
    cut, whole = (sampler(geometry=replace(GEOMETRY, clip_truth=clip)) for clip in (True, False))
    pairs = [(cut(number).truth, whole(number).truth) for number in range(200)]
    assert any((truth < 0).any() or (truth > 1).any() for _, truth in pairs)
    for one, other in pairs:
        assert np.array_equal(one, other.clip(0, 1))


def test_boxes_are_fitted_into_the_image_before_cropping() -> None:
    boxes = np.array([[-40.0, 60, 80, 40], [-40.0, 60, 80, 40]])
    sequence = Sequence("edge", SquareFrames(np.array([[0, 60, 40, 40]] * 2)), boxes, np.ones(2, dtype=bool))
    fitted = sampler(
        lambda number, rng: (sequence, np.arange(2)), geometry=replace(STILL, fit_boxes=True), augment=False
    )
    np.testing.assert_allclose(fitted(0).truth, [0.375, 0.375, 0.625, 0.625], atol=1e-6)
    away = Sequence("away", sequence.frames, boxes - [200, 0, 0, 0], sequence.visible)
    with pytest.raises(ValueError, match="no pair"):
        sampler(lambda number, rng: (away, np.arange(2)), geometry=replace(STILL, fit_boxes=True))(0)
