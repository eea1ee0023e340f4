"""Packed training sets: the same pairs but for the pixels' rounding, whole after a kill, and no damage unseen."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from trackablate.datasets.atomic import sealed, unsealed
from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs import packed, packing
from trackablate.datasets.pairs.augmentation import Pair
from trackablate.datasets.pairs.geometries import GEOMETRIES, CropRequest, Jitter
from trackablate.datasets.pairs.packed import PackedFrames, PackedSequences, Packing
from trackablate.datasets.pairs.packing import SPREAD, begin, pack_frame, pack_set
from trackablate.datasets.pairs.sampling import PairGeometry, PairSampler
from trackablate.datasets.pairs.training_sets import TRAINING_SETS, Mixture
from trackablate.datasets.synthetic.writing import videos, write

SET = TRAINING_SETS["got10k-train"]
OSTRACK = PairGeometry(64, 128, 2.0, 4.0, centre_jitter=3.0, scale_jitter=0.25, template_tokens=4)
LORAT = replace(OSTRACK, geometry="lorat", fit_boxes=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthetic videos in GOT-10k's layout, large enough to be reduced."""
    place = tmp_path_factory.mktemp("data") / "got10k"
    write("got10k", videos("got10k", count=3, length=6, size=(480, 360)), place)
    return place


def pack(root: Path, out: Path, geometry: PairGeometry, told: Callable[[int, int], None] = lambda *_: None) -> Path:
    sequences = SET.open(root)
    begin(out, "got10k", Packing.of(geometry), {SET.name: sequences})
    pack_set(sequences, SET.name, Packing.of(geometry), out, told)
    return out


def pair(root: Path, geometry: PairGeometry, number: int) -> Pair:
    return PairSampler(Mixture((SET.found_in(root),), (1.0,)), geometry, seed=3, augment=False)(number)


@pytest.mark.parametrize("geometry", [OSTRACK, LORAT], ids=["ostrack", "lorat"])
def test_the_pairs_are_the_same_but_for_rounding(root: Path, tmp_path: Path, geometry: PairGeometry) -> None:
    """The same videos, frames and jitter: boxes within two pixels of a crop, colours within a few of 255."""
    out = pack(root, tmp_path / "packed", geometry)
    gaps, colours, flips = [], [], []
    for number in range(40):
        ours, theirs = pair(out, geometry, number), pair(root, geometry, number)
        assert ours.search.shape == theirs.search.shape
        gaps.append(np.abs(ours.truth - theirs.truth).max() * geometry.search_size)
        colours += [
            np.abs(a.astype(float) - b.astype(float)).mean()
            for a, b in ((ours.template, theirs.template), (ours.search, theirs.search))
        ]
        flips.append((ours.mask != theirs.mask).mean())
    assert max(gaps) < 2.5
    assert np.mean(flips) < 0.15, "of 4 x 4 tokens, on whose borders the target's edges lie: they are a pixel apart"
    assert np.mean(colours) < 5


@pytest.mark.parametrize("kind", ["ostrack", "lorat"])
def test_the_surroundings_hold_what_a_jittered_view_shows(kind: str) -> None:
    """Views whose size is jittered by no more than SPREAD standard deviations lie inside, wherever they are shifted."""
    rng, box, size = np.random.default_rng(0), np.array([4000.0, 4000.0, 90.0, 50.0]), (8000, 8000)
    for scale in (0.25, 0.5):
        jitter, cutting = Jitter(scale, 4.0), GEOMETRIES[kind]
        reach, centre = cutting.reach(box, 4.0, jitter, SPREAD), box[:2] + box[2:] / 2
        outside = seen = 0
        furthest = np.zeros(2)
        for _ in range(3000):
            view = cutting.jittered(box, CropRequest(4.0, 256, size), jitter, rng)
            if view is not None:
                shown = view.to_image(np.array([0.0, 0.0, 1.0, 1.0]))
                away = np.maximum(centre - shown[:2], shown[:2] + shown[2:] - centre)
                furthest, seen = np.maximum(furthest, away), seen + 1
                outside += bool((away > reach).any())
        assert outside / seen < 0.005
        assert (furthest > 0.5 * reach).all(), "no more is kept than needed"


def test_a_frame_is_reduced_to_what_a_search_crop_resolves() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    image[:] = cv2.GaussianBlur(image, (0, 0), 9)
    found = pack_frame(image, np.array([900.0, 500.0, 200.0, 200.0]), Packing.of(OSTRACK))
    scale = 128 / (4 * 200)
    assert found.size == (round(1920 * scale), round(1080 * scale)), "the surroundings reach the edges"
    np.testing.assert_allclose(found.box, np.array([900, 500, 200, 200]) * scale, rtol=0.01)
    alone = cv2.imdecode(np.frombuffer(found.pictures[1], np.uint8), cv2.IMREAD_COLOR)
    assert 64 <= min(alone.shape[:2]) <= max(alone.shape[:2]) <= 72, "and the template alone is small"
    np.testing.assert_allclose(found.mean, image.mean(axis=(0, 1)), atol=0.1)
    small = pack_frame(image, np.array([900.0, 500.0, 20.0, 20.0]), Packing.of(OSTRACK))
    assert small.box[2] == 20, "it is never enlarged"
    assert max(small.size) < 300


def test_a_box_that_cannot_be_cropped_keeps_its_frame_whole() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    found = pack_frame(image, np.array([500.0, 500.0, 10.0, 10.0]), Packing.of(LORAT))
    assert found.size == (80, 60)


def test_packing_goes_on_after_a_kill_and_ends_with_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (packed, packing):
        monkeypatch.setattr(module, "VIDEOS_PER_FILE", 1)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    whole, broken = pack(root, tmp_path / "whole", OSTRACK), tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        pack(root, broken, OSTRACK, stop)
    with pytest.raises(DataError, match="has 1 of 3 files of got10k-train; the same `data pack` goes on"):
        PackedSequences(broken, SET.name)
    (broken / "got10k-train-0001.zip").write_bytes(b"half")  # killed between an archive and its index
    kept = (broken / "got10k-train-0000.zip").stat().st_mtime_ns
    pack(root, broken, OSTRACK)
    assert (broken / "got10k-train-0000.zip").stat().st_mtime_ns == kept
    assert PackedSequences(broken, SET.name).digest() == PackedSequences(whole, SET.name).digest()
    for file in whole.glob("*.zip"):
        assert file.read_bytes() == (broken / file.name).read_bytes()


def test_damage_is_named(root: Path, tmp_path: Path) -> None:
    out = pack(root, tmp_path / "packed", OSTRACK)
    archive = out / "got10k-train-0000.zip"
    frames = PackedSequences(out, SET.name)[0].frames
    assert isinstance(frames, PackedFrames)
    place = int(frames._file.rows["places"][0, 0])
    content = bytearray(archive.read_bytes())
    content[place + 100] ^= 1
    archive.write_bytes(content)
    with pytest.raises(
        DataError, match=r"got10k-train-0000.zip: a frame of GOT-10k_Train_000001 is damaged; pack it again"
    ):
        PackedSequences(out, SET.name)[0].frames[0]
    archive.write_bytes(content[:-1])
    with pytest.raises(DataError, match="does not belong to the files beside it; pack it again"):
        PackedSequences(out, SET.name)
    archive.write_bytes(content)
    rows = archive.with_suffix(".npy")
    kept = rows.read_bytes()
    rows.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(DataError, match="does not belong to the files beside it; pack it again"):
        PackedSequences(out, SET.name)
    rows.write_bytes(kept)
    about = json.loads(unsealed((out / "packed.json").read_bytes()).content)
    about["packing"]["version"] = 99
    (out / "packed.json").write_text(sealed(json.dumps(about)))
    with pytest.raises(DataError, match=r"packed by another version \(99, not 1\); pack it again"):
        PackedSequences(out, SET.name)
    (out / "packed.json").write_text("{")
    with pytest.raises(DataError, match=r"packed.json: is damaged"):
        PackedSequences(out, SET.name)


def test_another_packing_needs_another_folder(root: Path, tmp_path: Path) -> None:
    out = pack(root, tmp_path / "packed", OSTRACK)
    with pytest.raises(DataError, match="holds another packing, or one of other data; name another --out"):
        pack(root, out, LORAT)
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    with pytest.raises(DataError, match="is not empty; name a new folder as --out"):
        pack(root, other, LORAT)
    with pytest.raises(DataError, match="holds no got10k-val, but got10k-train"):
        PackedSequences(out, "got10k-val")


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({}, []),
        ({"search_size": 100, "centre_jitter": 1.0, "template_factor": 1.5}, []),
        ({"search_size": 160}, ["search_size 160 instead of 128"]),
        ({"search_factor": 3.0}, ["search_factor 3.0 instead of 4.0"]),
        (
            {"scale_jitter": 0.5, "geometry": "lorat"},
            ["geometry lorat instead of ostrack", "scale_jitter 0.5 instead of 0.25"],
        ),
    ],
)
def test_a_packing_serves_recipes_that_ask_for_no_more(change: dict[str, object], lacking: list[str]) -> None:
    assert Packing.of(OSTRACK).lacking(Packing.of(replace(OSTRACK, **change))) == lacking  # type: ignore[arg-type]
