"""Online tracking: together as alone, inside the image, from the template that was asked for; and the two floors."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_spec import SCALE

from datasets.cropping import crop, token_mask, window_around
from datasets.sequence import Image, Sequence
from datasets.synthetic import make_sequence
from trackers.adaptation import merge
from trackers.floors import NormalisedCrossCorrelation, StaticBox
from trackers.inference import NetworkTracker, Template, Trajectory, track_group, track_one_by_one
from trackers.model import OneStreamTracker, build
from trackers.scale import at_scale
from trackers.spec import LoRA, TrackerSpec, replace
from trackers.variants import detrack_ce, ostrack, ostrack_mlp

CPU = torch.device("cpu")
LENGTHS = (6, 1, 9, 3)
VARIANTS = {
    "centre": ostrack,
    "mlp": ostrack_mlp,
    "decoder-ce": detrack_ce,
    "lora": replace(ostrack_mlp, adaptation=LoRA()),
}


def tracker(spec: TrackerSpec, *, merged: bool = False) -> NetworkTracker:
    """A tiny model off the special points where it would answer the same to everything."""
    torch.manual_seed(1)
    model = build(at_scale(spec, SCALE), pretrained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.eval()
    if merged:
        model = merge(model)
        assert isinstance(model, OneStreamTracker)
    return NetworkTracker(model, CPU)


@pytest.fixture(scope="module")
def clips() -> list[Sequence]:
    return [make_sequence("target", i, length=length, split="test") for i, length in enumerate(LENGTHS)]


def own(group: list[Sequence]) -> "dict[int, Template]":
    return {i: (s.frames[0], s.boxes[0]) for i, s in enumerate(group)}


def together(network: NetworkTracker, group: list[Sequence]) -> dict[str, Trajectory]:
    return {t.name: t for t in track_group(network, group, own(group).__getitem__)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_tracking_together_is_tracking_alone(variant: str, clips: list[Sequence]) -> None:
    network = tracker(VARIANTS[variant])
    group = together(network, clips)
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


def test_trajectories_come_as_soon_as_they_are_done(clips: list[Sequence]) -> None:
    names = [t.name for t in track_group(tracker(ostrack_mlp), clips, own(clips).__getitem__)]
    by_length = sorted(range(len(clips)), key=lambda i: LENGTHS[i])
    assert names == [clips[i].name for i in by_length]


def test_tracking_again_gives_the_same_boxes(clips: list[Sequence]) -> None:
    """No state is left over from the sequences before."""
    network = tracker(detrack_ce)
    first, second = together(network, clips), together(network, clips)
    fresh = together(tracker(detrack_ce), clips)
    for name, trajectory in first.items():
        assert (trajectory.boxes == second[name].boxes).all()
        assert (trajectory.boxes == fresh[name].boxes).all()


def test_a_shuffled_template_changes_template_and_mask_but_not_the_start(clips: list[Sequence]) -> None:
    group = [clips[0], clips[2]]
    other = own(group[::-1])
    network, shuffled = tracker(ostrack), tracker(ostrack)
    network.initialise_all(list(own(group).values()), [s.boxes[0] for s in group])
    shuffled.initialise_all(list(other.values()), [s.boxes[0] for s in group])
    assert shuffled._templates.equal(network._templates.flip(0))
    assert shuffled._masks.equal(network._masks.flip(0))
    assert not shuffled._templates.equal(network._templates)
    assert all((a == b).all() for a, b in zip(shuffled._boxes, network._boxes, strict=True))
    plain, controlled = together(network, group), {t.name: t for t in track_group(network, group, other.__getitem__)}
    for name, trajectory in plain.items():
        assert (trajectory.boxes[0] == controlled[name].boxes[0]).all()
        assert np.abs(trajectory.boxes[1:] - controlled[name].boxes[1:]).max() > 0.01


def test_template_and_mask_are_what_training_shows(clips: list[Sequence]) -> None:
    clip, network = clips[0], tracker(ostrack)
    network.initialise(clip.frames[0], clip.boxes[0])
    window = window_around(clip.boxes[0], SCALE.template_factor)
    image = torch.from_numpy(crop(clip.frames[0], window, SCALE.template_size).copy()).permute(2, 0, 1).float()
    assert network._templates[0].equal(image)
    assert network._masks[0].equal(torch.from_numpy(token_mask(window, clip.boxes[0], 4)))


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
    one, other = together(unmerged, clips), together(merged, clips)
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
    (found,) = track_one_by_one(StaticBox(), [sequence])
    assert (found.boxes == sequence.boxes[0]).all()
    assert len(found.boxes) == len(sequence)
