"""The synthetic videos: reproducible everywhere, boxes exact, attributes true, domains apart."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from places import TESTS
from trackablate.datasets.boxes import xywh_to_xyxy
from trackablate.datasets.sequence import Frames, Sequence
from trackablate.datasets.synthetic.domains import DOMAINS, StreamKey
from trackablate.datasets.synthetic.plan import MIN_SIDE, MIN_VISIBLE, Plan, make_plan
from trackablate.datasets.synthetic.render import coverage, paint_scene, render_frame
from trackablate.datasets.synthetic.textures import texture_pool
from trackablate.datasets.synthetic.videos import (
    SyntheticFrames,
    SyntheticSequences,
    attributes_of,
    make_sequence,
)
from video_factory import digest

EVERY_DOMAIN = pytest.mark.parametrize("domain", sorted(DOMAINS))


def plan_of(sequence: Sequence) -> Plan:
    assert isinstance(sequence.frames, SyntheticFrames)
    return sequence.frames.plan


@EVERY_DOMAIN
def test_same_arguments_same_video_in_any_order(domain: str) -> None:
    forward, backward = (make_sequence(domain, 3, length=6) for _ in range(2))
    last_first = [backward.frames[i] for i in reversed(range(6))][::-1]
    np.testing.assert_array_equal(forward.boxes, backward.boxes)
    assert all(np.array_equal(a, b) for a, b in zip(forward, last_first, strict=True))


def test_same_video_in_a_fresh_process() -> None:
    script = (
        "from trackablate.datasets.synthetic.videos import make_sequence\nfrom video_factory import digest\n"
        "make_sequence('target', 1, length=3).frames[0]\n"
        "import sys; sys.stdout.write(digest(make_sequence('target', 5, length=3)))"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", script], cwd=TESTS / "support", capture_output=True, text=True, check=True
    )
    assert fresh.stdout == digest(make_sequence("target", 5, length=3))


GOLDEN_BOXES: dict[tuple[str, str, int], list[list[float]]] = {
    # (domain, split, index): boxes of frames 0 and 7 of eight
    ("source", "train", 0): [[79.40625, 70.703125, 27.25, 23.796875], [101.296875, 88.84375, 31.125, 23.15625]],
    ("source", "test", 7): [[22.125, 2.953125, 16.671875, 24.234375], [4.265625, 0.203125, 16.109375, 23.1875]],
    ("target", "val", 4): [[20.796875, 24.984375, 32.921875, 19.75], [27.484375, 24.921875, 30.671875, 21.203125]],
}
GOLDEN_PIXELS: dict[tuple[str, str, int], tuple[list[float], list[int]]] = {
    # (domain, split, index): mean RGB of frame 0, and its RGB at (x, y) = (80, 60)
    ("source", "train", 0): ([121.45, 139.64, 139.65], [137, 152, 142]),
    ("source", "test", 7): ([112.92, 122.36, 140.23], [120, 128, 137]),
    ("target", "val", 4): ([88.39, 88.32, 88.8], [65, 65, 65]),
}


@pytest.mark.parametrize("which", sorted(GOLDEN_BOXES))
def test_generator_has_not_changed(which: tuple[str, str, int]) -> None:
    """A failure here on purpose means: raise GENERATOR_VERSION and renew the numbers."""
    domain, split, index = which
    sequence = make_sequence(domain, index, length=8, split=split)
    assert sequence.boxes[[0, 7]].tolist() == GOLDEN_BOXES[which]
    mean, pixel = GOLDEN_PIXELS[which]
    np.testing.assert_allclose(sequence.frames[0].mean((0, 1)), mean, atol=1)
    np.testing.assert_allclose(sequence.frames[0][60, 80].astype(float), pixel, atol=1)


def test_splits_and_seeds_share_nothing() -> None:
    videos = [make_sequence("source", 0, length=2, split=split) for split in ("train", "val", "test")]
    videos += [make_sequence("source", 0, length=2, seed=1), make_sequence("source", 1, length=2)]
    assert len({digest(video) for video in videos}) == len({tuple(v.boxes[0]) for v in videos}) == len(videos)
    train, test = (texture_pool(StreamKey("source", split, 0)) for split in ("train", "test"))
    assert not any(np.array_equal(a, b) for a in train.tiles for b in test.tiles)


@EVERY_DOMAIN
def test_boxes_lie_in_the_frame_and_start_visible(domain: str) -> None:
    for sequence in SyntheticSequences(domain, "val", 40, length=40):
        plan, (low, high) = plan_of(sequence), (sequence.boxes[:, :2], sequence.boxes[:, :2] + sequence.boxes[:, 2:])
        assert (low >= 0).all() and (high <= (160, 120)).all()
        assert (sequence.boxes * 64 == np.rint(sequence.boxes * 64)).all()
        assert (sequence.boxes[sequence.visible, 2:] >= MIN_SIDE).all()
        assert sequence.visible[0] and plan.seen[0] == pytest.approx(1) and plan.occluded[0] == 0
        assert (low[0] > 0).all() and (high[0] < (160, 120)).all()


@EVERY_DOMAIN
def test_visibility_follows_the_share_seen(domain: str) -> None:
    plans = [plan_of(s) for s in SyntheticSequences(domain, "val", 40, length=40)]
    hidden = np.concatenate([~p.visible for p in plans])
    sides = np.concatenate([p.boxes[:, 2:].min(1) for p in plans])
    seen = np.concatenate([p.seen for p in plans])
    assert 0 < hidden.mean() < 0.3
    np.testing.assert_array_equal(hidden, (seen < MIN_VISIBLE) | (sides < MIN_SIDE))


@EVERY_DOMAIN
def test_box_is_tight_around_the_drawn_target(domain: str) -> None:
    for index in range(8):
        plan = plan_of(make_sequence(domain, index, length=30))
        for frame in range(0, 30, 7):
            y, x = np.nonzero(coverage(plan.target.outline[frame], (0, 0, *plan.video.size)) > 0.02)
            if plan.inside[frame] == 0:
                continue
            drawn = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
            box = xywh_to_xyxy(plan.boxes[frame])
            if plan.inside[frame] > 0.999:
                np.testing.assert_allclose(drawn, box, atol=1.0)
            else:  # the clipped extent may reach farther than the part inside the frame, which it must still hold
                assert (drawn[:2] > box[:2] - 1).all() and (drawn[2:] < box[2:] + 1).all()


def test_target_is_drawn_where_the_box_says() -> None:
    """Pixels differ from the same video without its target only around the box."""
    scene = paint_scene(plan_of(make_sequence("source", 2, length=4)))
    away = replace(scene, plan=replace(scene.plan, target=scene.plan.target.moved(np.array([1000.0, 0]))))
    changed = np.abs(render_frame(scene, 0).astype(int) - render_frame(away, 0)).max(-1) > 12
    x, y, w, h = scene.plan.boxes[0]
    rows, columns = np.nonzero(changed)
    assert len(rows) > 0.2 * w * h
    assert columns.min() > x - 5 and columns.max() < x + w + 5 and rows.min() > y - 5 and rows.max() < y + h + 5


def test_attributes_follow_the_facts() -> None:
    plan = make_plan(plan_of(make_sequence("source", 0, length=10)).video)
    still = replace(
        plan, boxes=np.tile([60.0, 40, 30, 30], (10, 1)), inside=np.ones(10), occluded=np.zeros(10), seen=np.ones(10)
    )
    box_facts = {"SV", "ARC", "FM", "LR", "POC", "FOC", "OV"}
    assert not attributes_of(still) & box_facts

    def with_last_box(*box: float) -> frozenset[str]:
        return frozenset(attributes_of(replace(still, boxes=np.vstack([still.boxes[:-1], box]))) & box_facts)

    def with_last(**shares: float) -> frozenset[str]:
        changed = {k: np.append(np.full(9, getattr(still, k)[0]), v) for k, v in shares.items()}
        return frozenset(attributes_of(replace(still, **changed)) & box_facts)  # type: ignore[arg-type]

    assert with_last_box(60, 40, 45, 45) == {"SV"}
    assert with_last_box(60, 40, 45, 21) == {"ARC"}
    assert with_last_box(100, 40, 30, 30) == {"FM"}
    assert with_last_box(60, 40, 13, 13) == {"SV", "LR"}
    assert with_last(occluded=0.3, seen=0.7) == {"POC"}
    assert with_last(occluded=1.0, seen=0.0) == {"POC", "FOC"}
    assert with_last(inside=0.0, seen=0.0) == {"OV"}
    spin = np.linspace(0, 1, 10)
    turn = np.stack([np.stack([np.cos(spin), -np.sin(spin)], -1), np.stack([np.sin(spin), np.cos(spin)], -1)], -2)
    assert "ROT" in attributes_of(replace(still, target=replace(still.target, matrix=turn)))
    assert "ROT" not in attributes_of(replace(still, target=replace(still.target, matrix=turn[[0] * 10])))
    assert "CM" not in attributes_of(replace(still, camera=np.zeros((10, 2))))
    assert "CM" in attributes_of(replace(still, camera=np.linspace([0, 0], [30, 0], 10)))


def test_every_attribute_occurs_and_none_always() -> None:
    found = [s.attributes for domain in DOMAINS for s in SyntheticSequences(domain, "val", 60, length=40)]
    for name in ("SV", "ARC", "ROT", "DEF", "VC", "POC", "FOC", "OV", "IV", "MB", "CM", "BC", "FM", "LR"):
        assert 0 < sum(name in attributes for attributes in found) < len(found), name


def test_domains_differ_in_colour_noise_and_rotation() -> None:
    def measure(domain: str) -> tuple[float, float, float]:
        sequences = [make_sequence(domain, i, length=8) for i in range(16)]
        images = [s.frames[0].astype(float) for s in sequences]
        colour = float(np.mean([np.ptp(image, axis=-1).mean() for image in images]))
        grain = float(np.median([np.abs(np.diff(image[..., 1], 2, axis=1)).mean() for image in images]))
        rotation = float(np.mean(["ROT" in s.attributes for s in SyntheticSequences(domain, "train", 30, length=40)]))
        return colour, grain, rotation

    source, target = measure("source"), measure("target")
    assert source[0] > 3 * target[0]
    assert target[1] > 1.15 * source[1]
    assert target[2] > source[2]


def test_sequences_and_dataset_behave_like_lists() -> None:
    dataset = SyntheticSequences("target", "test", 3, length=4, size=(96, 64), seed=2)
    assert len(dataset) == len(list(dataset)) == 3
    assert dataset.names == ("target-test-0000", "target-test-0001", "target-test-0002")
    assert [s.name for s in dataset] == list(dataset.names)
    sequence = dataset[-1]
    assert isinstance(sequence.frames, Frames) and len(sequence) == 4
    assert sequence.frames[-1].shape == (64, 96, 3) and sequence.frames[-1].dtype == np.uint8
    with pytest.raises(IndexError):
        dataset[3]
    with pytest.raises(IndexError):
        sequence.frames[4]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"domain": "mars"}, "mars"), ({"split": "dev"}, "dev"), ({"length": 0}, "length"), ({"size": (40, 40)}, "sides")],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"domain": "source", "index": 0, "length": 2, **change}
    with pytest.raises(ValueError, match=message):
        make_sequence(**arguments)  # type: ignore[arg-type]
