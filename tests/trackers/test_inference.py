"""Online tracking: together as alone, inside the image, from the template that was asked for; and the two floors."""

from collections.abc import Iterator
from dataclasses import replace as replace_field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from examples import SCALE
from tiny_models import tiny_model
from trackablate.datasets.pairs.cropping import Crop, token_mask, window_around
from trackablate.datasets.sequence import Image, Sequence
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.trackers.floors import NormalisedCrossCorrelation, StaticBox
from trackablate.trackers.inference import (
    NetworkTracker,
    Target,
    Template,
    TrackingBatch,
    Trajectory,
    schedule,
    track_one_by_one,
    track_together,
)
from trackablate.trackers.spec import CropInput, LoRA, TrackerSpec, replace
from trackablate.trackers.tokens import Prediction
from trackablate.trackers.variants import detrack_ce, ostrack, ostrack_mlp

CPU = torch.device("cpu")
LENGTHS = (6, 1, 9, 3)
VARIANTS = {
    "centre": ostrack,
    "mlp": ostrack_mlp,
    "decoder-ce": detrack_ce,
    "lora": replace(ostrack_mlp, adaptation=LoRA()),
    "lorat": replace(ostrack_mlp, crop=CropInput(geometry="lorat", window="blend")),
}


def tracker(spec: TrackerSpec, *, merged: bool = False) -> NetworkTracker:
    return NetworkTracker(tiny_model(spec, merged=merged), CPU)


@pytest.fixture(scope="module")
def clips() -> list[Sequence]:
    return [make_sequence("target", i, length=length, split="test") for i, length in enumerate(LENGTHS)]


def batch(
    clips: list[Sequence], wanted: set[int] | None = None, slots: int = 2, control: bool = False
) -> TrackingBatch:
    """The clips with their own first frames as templates, or under the control with the next clip's."""

    def template(i: int, sequence: Sequence) -> Template:
        shown = clips[(i + 1) % len(clips)] if control else sequence
        return shown.frames[0], shown.boxes[0]

    chosen = frozenset(range(len(clips)) if wanted is None else wanted)
    return TrackingBatch(clips.__getitem__, template, [len(clip) for clip in clips], chosen, slots)


def together(network: NetworkTracker, given: TrackingBatch) -> dict[str, Trajectory]:
    return {t.name: t for t in track_together(network, given)}


@pytest.mark.parametrize(
    ("lengths", "slots", "steps"),
    [
        ([4, 3], 2, [[(0, 1), (1, 1)], [(0, 2), (1, 2)], [(0, 3)]]),
        ([2, 4, 3, 2], 2, [[(0, 1), (1, 1)], [(2, 1), (1, 2)], [(2, 2), (1, 3)], [(3, 1)]]),
        ([4, 2, 3], 2, [[(0, 1), (1, 1)], [(0, 2), (2, 1)], [(0, 3), (2, 2)]]),
        ([1, 3, 1], 2, [[(1, 1)], [(1, 2)]]),
        ([3, 2], 1, [[(0, 1)], [(0, 2)], [(1, 1)]]),
        ([1, 1], 4, []),
        ([], 4, []),
    ],
)
def test_schedule_by_hand(lengths: list[int], slots: int, steps: list[list[tuple[int, int]]]) -> None:
    """A free slot is taken at the very next step, its row stays where it is, and rows without a successor close."""
    assert list(schedule(lengths, slots)) == steps


@given(st.lists(st.integers(1, 12), max_size=12), st.integers(1, 5))
def test_schedule_shows_every_frame_once_and_in_order_and_leaves_no_slot_idle(lengths: list[int], slots: int) -> None:
    steps = list(schedule(lengths, slots))
    for i, length in enumerate(lengths):
        shown = [step for step, rows in enumerate(steps) for sequence, _ in rows if sequence == i]
        assert [frame for rows in steps for sequence, frame in rows if sequence == i] == list(range(1, length))
        assert shown == list(range(shown[0], shown[0] + length - 1)) if shown else length == 1
    begun = 0
    for rows in steps:
        begun += sum(frame == 1 for _, frame in rows)
        assert len(rows) == slots or begun == sum(length > 1 for length in lengths)


@pytest.mark.parametrize("variant", VARIANTS)
def test_tracking_together_is_tracking_alone(variant: str, clips: list[Sequence]) -> None:
    network = tracker(VARIANTS[variant])
    group = together(network, batch(clips))
    alone = {t.name: t for t in track_one_by_one(network, clips)}
    assert group.keys() == alone.keys() == {clip.name for clip in clips}
    moved = 0.0
    for clip in clips:
        boxes = group[clip.name].boxes
        assert boxes.shape == (len(clip), 4)
        assert boxes.dtype == np.float64
        assert (boxes[0] == clip.boxes[0]).all(), "frame 0 is the given box"
        np.testing.assert_allclose(boxes, alone[clip.name].boxes, atol=1e-3)
        moved += float(np.abs(np.diff(boxes, axis=0)).sum())
    assert moved > 10, "a tracker that stands still would pass every test here"
    assert all(t.seconds >= 0 for t in group.values())


@pytest.mark.parametrize("wanted", [{0}, {2}, {3}, {1, 2}, {0, 3}])
@pytest.mark.parametrize("variant", ["centre", "decoder-ce", "lorat"])
def test_what_is_left_of_a_batch_gets_the_same_boxes(variant: str, wanted: set[int], clips: list[Sequence]) -> None:
    """Bit for bit, wherever an earlier attempt was killed: with the centre head and the decoder, another batch size or
    another row can change the last bit of what the network says."""
    network = tracker(VARIANTS[variant])
    whole, rest = together(network, batch(clips)), together(network, batch(clips, wanted))
    assert rest.keys() == {clips[i].name for i in wanted}
    for name, trajectory in rest.items():
        assert (trajectory.boxes == whole[name].boxes).all()


def test_trajectories_come_as_soon_as_they_are_done(clips: list[Sequence]) -> None:
    """Lengths 6, 1, 9, 3 in two slots: the one of a single frame at once; 0 after 5 steps, then 3 in its place."""
    names = [t.name for t in track_together(tracker(ostrack_mlp), batch(clips))]
    assert names == [clips[i].name for i in (1, 0, 3, 2)]


def test_sequences_are_opened_when_their_turn_comes(clips: list[Sequence]) -> None:
    opened: list[int] = []

    def watched(i: int) -> Sequence:
        opened.append(i)
        return clips[i]

    list(track_together(tracker(ostrack_mlp), replace_field(batch(clips), open=watched)))
    assert opened == [1, 0, 2, 3], "each once, and none before its turn"


def test_tracking_again_gives_the_same_boxes(clips: list[Sequence]) -> None:
    """No state is left over from the sequences before."""
    network = tracker(detrack_ce)
    first, second = together(network, batch(clips)), together(network, batch(clips))
    fresh = together(tracker(detrack_ce), batch(clips))
    for name, trajectory in first.items():
        assert (trajectory.boxes == second[name].boxes).all()
        assert (trajectory.boxes == fresh[name].boxes).all()


def test_a_shuffled_template_changes_template_and_mask_but_not_the_start(clips: list[Sequence]) -> None:
    one, other = clips[0], clips[2]
    network = tracker(ostrack)
    plain = network.target((one.frames[0], one.boxes[0]), one.boxes[0])
    shuffled = network.target((other.frames[0], other.boxes[0]), one.boxes[0])
    shown = network.target((other.frames[0], other.boxes[0]), other.boxes[0])
    assert shuffled.template.equal(shown.template) and not shuffled.template.equal(plain.template)
    assert shuffled.mask.equal(shown.mask)
    assert (shuffled.box == plain.box).all()
    pair = [one, other]
    own, controlled = together(network, batch(pair)), together(network, batch(pair, control=True))
    for name, trajectory in own.items():
        assert (trajectory.boxes[0] == controlled[name].boxes[0]).all()
        assert np.abs(trajectory.boxes[1:] - controlled[name].boxes[1:]).max() > 0.01


def test_template_and_mask_are_what_training_shows(clips: list[Sequence]) -> None:
    clip, network = clips[0], tracker(ostrack)
    target = network.target((clip.frames[0], clip.boxes[0]), clip.boxes[0])
    window = window_around(clip.boxes[0], SCALE.template_factor)
    image = torch.from_numpy(window.cut(clip.frames[0], SCALE.template_size).copy()).permute(2, 0, 1).float()
    assert target.template.equal(image)
    assert target.mask.equal(torch.from_numpy(token_mask(window, clip.boxes[0], 4)))


def test_lorats_padding_is_the_first_frames_mean_ever_after() -> None:
    network = tracker(VARIANTS["lorat"])
    first = np.full((120, 160, 3), (90, 60, 30), dtype=np.uint8)
    seen: list[NDArray[np.float32]] = []
    network._predict = lambda rows, search: (  # type: ignore[method-assign]
        seen.append(search[0].permute(1, 2, 0).numpy()) or np.array([[0.0, 0.0, 0.5, 0.5]])
    )
    network.initialise(first, np.array([0.0, 0.0, 20.0, 20.0]))
    network.update(np.full((120, 160, 3), 200, dtype=np.uint8))
    assert seen[0][0, 0].tolist() == [90, 60, 30]
    assert seen[0][-1, -1].tolist() == [200, 200, 200]


def test_lorat_searches_on_around_the_last_box_that_met_the_image() -> None:
    """A prediction outside the image is reported cut to nothing, and the next crop is that of the frame before."""
    network = tracker(VARIANTS["lorat"])
    image = noise(np.random.default_rng(0))
    seen: list[torch.Tensor] = []
    network._predict = lambda rows, search: (  # type: ignore[method-assign]
        seen.append(search) or np.array([[-3.0, -3.0, -2.5, -2.5]])
    )
    network.initialise(image, np.array([40.0, 30.0, 20.0, 20.0]))
    reported = [network.update(image) for _ in range(2)]
    assert [box[2:].tolist() for box in reported] == [[0, 0], [0, 0]]
    assert seen[0].equal(seen[1])


@pytest.mark.parametrize("variant", ["centre", "lorat"])
def test_the_box_is_the_one_that_the_post_processing_weighs_highest(variant: str, clips: list[Sequence]) -> None:
    """Made to prefer one cell each, a tracker's box is that cell's."""
    network, found = tracker(VARIANTS[variant]), []
    image, box = clips[0].frames[0], clips[0].boxes[0]
    for cell in (0, 20, 63):
        preferred = torch.nn.functional.one_hot(torch.tensor(cell), 64).float()
        network.post = replace_field(network.post, weigh=lambda scores, window, p=preferred: p.expand_as(scores))
        target = network.target((image, box), box)
        found.append(network._predict([(target, image)], network._tensor([target_crop(network, target, image)]))[0])
    with torch.inference_mode():
        maps = network.model(
            target.template[None], network._tensor([target_crop(network, target, image)]), target.mask[None]
        )
    assert isinstance(maps, Prediction)
    np.testing.assert_allclose(np.stack(found), maps.boxes.flatten(1, 2)[0, [0, 20, 63]], atol=1e-6)
    assert network.score == pytest.approx(float(maps.score_map.flatten()[63]), abs=1e-6), "as it is before weighing"


def target_crop(network: NetworkTracker, target: Target, image: Image) -> Crop:
    return network._view(target, image).cut(image, SCALE.search_size, target.outside)


def test_a_small_target_is_searched_around_no_less_than_the_smallest_side(clips: list[Sequence]) -> None:
    """LoRAT: the crop of a box of 1 x 1 px is that of one of min_side; OSTrack cuts around the box as it is."""
    image, small = clips[0].frames[0], np.array([60.0, 50.0, 1.0, 1.0])
    least = SCALE.min_side
    enlarged = np.array([60.5 - least / 2, 50.5 - least / 2, least, least])
    for variant, same in (("lorat", True), ("centre", False)):
        network = tracker(VARIANTS[variant])
        views = [network._view(network.target((image, small), box), image) for box in (small, enlarged)]
        assert (views[0] == views[1]) == same


def test_a_box_that_is_not_finite_is_refused() -> None:
    for variant in ("centre", "lorat"):
        network = tracker(VARIANTS[variant])
        network._predict = lambda rows, search: np.full((1, 4), np.nan)  # type: ignore[method-assign]
        image = noise(np.random.default_rng(0))
        network.initialise(image, np.array([40.0, 30.0, 20.0, 20.0]))
        with pytest.raises(ValueError, match="not finite"):
            network.update(image)


def test_no_update_before_a_target() -> None:
    with pytest.raises(ValueError, match="initialise"):
        tracker(ostrack).update(noise(np.random.default_rng(0)))


@pytest.mark.parametrize("corner", [(0, 0), (154, 0), (0, 114), (154, 114), (70, 50)])
@pytest.mark.parametrize("variant", ["centre", "mlp", "decoder-ce"])
def test_boxes_stay_inside_the_image_and_never_get_small(variant: str, corner: tuple[int, int]) -> None:
    """Noise, at every edge: whatever the network says, the next crop can be cut."""
    rng, network = np.random.default_rng(3), tracker(VARIANTS[variant])
    network.initialise(noise(rng), np.array([*corner, 6.0, 6.0]))
    for _ in range(8):
        x, y, w, h = network.update(noise(rng))
        assert min(x, y) >= 0
        assert x + w <= 160 + 1e-9
        assert y + h <= 120 + 1e-9
        assert min(w, h) >= SCALE.min_side


def noise(rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)


def test_a_merged_lora_model_tracks_as_the_unmerged_one(clips: list[Sequence]) -> None:
    spec = VARIANTS["lora"]
    unmerged, merged = tracker(spec), tracker(spec, merged=True)
    assert any(".lora_" in name for name, _ in unmerged.model.named_parameters())
    assert not any(".lora_" in name for name, _ in merged.model.named_parameters())
    one, other = together(unmerged, batch(clips)), together(merged, batch(clips))
    for name, trajectory in one.items():
        np.testing.assert_allclose(trajectory.boxes, other[name].boxes, atol=1e-2)


class Square:
    """A textured square of 20 x 14 px on a textured ground, moving by whole pixels; frames are drawn when asked for."""

    def __init__(self, steps: list[tuple[int, int]], ground: int = 40) -> None:
        rng = np.random.default_rng(0)
        self.places = np.cumsum([(60, 50), *steps], axis=0)
        self.texture = rng.integers(0, 256, (14, 20, 3), dtype=np.uint8)
        self.ground = rng.integers(0, ground, (120, 160, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int, /) -> Image:
        image = self.ground.copy()
        x, y = self.places[index]
        image[y : y + 14, x : x + 20] = self.texture
        return image

    def __iter__(self) -> Iterator[Image]:
        return (self[i] for i in range(len(self)))

    def sequence(self) -> Sequence:
        boxes: NDArray[np.float64] = np.array([[x, y, 20.0, 14.0] for x, y in self.places])
        return Sequence("square", self, boxes, np.ones(len(boxes), dtype=np.bool_))


STEPS = [(3, 1), (0, 0), (-8, 5), (10, -11), (7, 7), (1, -2)]


def test_correlation_follows_a_translating_square_exactly() -> None:
    sequence = Square(STEPS).sequence()
    (found,) = track_one_by_one(NormalisedCrossCorrelation(), [sequence])
    np.testing.assert_allclose(found.boxes, sequence.boxes, atol=1e-9)


def test_correlation_stands_still_on_an_even_image_and_stays_inside() -> None:
    tracked = NormalisedCrossCorrelation()
    sequence = Square(STEPS).sequence()
    tracked.initialise(sequence.frames[0], sequence.boxes[0])
    for _ in range(5):
        x, y, w, h = tracked.update(np.full((120, 160, 3), 128, dtype=np.uint8))
        assert np.isfinite([x, y, w, h]).all()
        assert min(x, y) >= 0
        assert x + w <= 160
        assert y + h <= 120


def test_correlation_starts_at_the_images_edge_and_with_a_tiny_box() -> None:
    image = noise(np.random.default_rng(1))
    for box in ((-5.0, -5.0, 12.0, 12.0), (150.0, 110.0, 30.0, 30.0), (80.0, 60.0, 0.5, 0.5), (0.0, 0.0, 160.0, 120.0)):
        tracked = NormalisedCrossCorrelation()
        tracked.initialise(image, np.array(box))
        found = tracked.update(image)
        assert np.isfinite(found).all()
        assert (found[2:] >= 3).all()


def test_the_static_box_stays() -> None:
    sequence = Square(STEPS).sequence()
    reported: list[int] = []
    (found,) = track_one_by_one(StaticBox(), [sequence], reported.append)
    assert reported == [1] * (len(sequence) - 1), "frame by frame, as a sign of life"
    assert (found.boxes == sequence.boxes[0]).all()
    assert len(found.boxes) == len(sequence)
