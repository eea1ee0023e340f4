"""Every layout there is: synthetic videos written in it and read back are what they were, from a folder and an archive."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from trackablate.datasets.protocols import DATA_SETS
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.layout_files import PlacedVideo, otb_attributes
from trackablate.datasets.synthetic.writing import LAYOUTS, videos, write

SIZE = (80, 64)


@dataclass(frozen=True)
class Kept:
    """What of a synthetic video survives a layout. data: the data set that reads it. parts: of the data set, by the split
    of the videos. rounding: by how many pixels boxes may be off. hidden: the splits for which the layout says where the
    target is not visible. attributes: as the layout has them, None where it has none. name: a sequence's, of the n-th
    video of a split."""

    data: str
    parts: dict[str, str]
    rounding: float
    hidden: tuple[str, ...] = ("train", "val", "test")
    attributes: Callable[[Sequence], object] | None = None
    name: Callable[[PlacedVideo, int], str] = lambda video, number: video.name


def _uav(sequence: Sequence) -> object:
    return sequence.attributes - {"DEF", "MB", "ROT"}


WHOLE = 0.5
KEPT = {
    "lasot": Kept("lasot", {"test": "lasot", "train": "lasot-train"}, WHOLE),
    "lasot_ext": Kept("lasot_ext", {"test": "lasot_ext"}, WHOLE),
    "trackingnet": Kept("trackingnet", {"test": "trackingnet", "train": "trackingnet-train"}, 0.005),
    "got10k": Kept(
        "got10k", {"test": "got10k", "val": "got10k-val", "train": "got10k-train"}, 0.00005, ("train", "val")
    ),
    "tnl2k": Kept("tnl2k", {"test": "tnl2k"}, WHOLE),
    "nfs": Kept("nfs", {"test": "nfs"}, WHOLE, hidden=()),
    "nfs-original": Kept("nfs", {"test": "nfs"}, WHOLE),
    "uav123": Kept("uav123", {"test": "uav123"}, WHOLE, attributes=_uav),
    "otb": Kept("otb", {"test": "otb"}, WHOLE, hidden=(), attributes=lambda s: frozenset(otb_attributes(s))),
    "coco": Kept(
        "coco", {"train": "train2017", "val": "val2017"}, 0.005, name=lambda v, n: f"{v.clip.fields['part']}-{n}"
    ),
}
COUNT = 3


def test_every_layout_is_tested() -> None:
    assert set(KEPT) == set(LAYOUTS)


@pytest.fixture(scope="module", params=[(layout, suffix) for layout in KEPT for suffix in ("", ".zip")], ids="".join)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, list[PlacedVideo]]:
    """A layout, where it was written, and the videos in it; test boxes and all."""
    layout, suffix = request.param
    root = tmp_path_factory.mktemp(layout) / f"data{suffix}"
    fixed = LAYOUTS[layout].frames is not None
    chosen = videos(layout, count=COUNT, length=None if fixed else 40, size=SIZE, seed=5, test_boxes=True)
    write(layout, chosen, root)
    return layout, root, chosen


def test_what_is_written_is_read(made: tuple[str, Path, list[PlacedVideo]]) -> None:
    layout, root, chosen = made
    kept = KEPT[layout]
    for split, part in kept.parts.items():
        sequences = DATA_SETS[kept.data].parts[part](root)
        sequences.check(deep=True)
        assert len(sequences) == COUNT
        found = {sequence.name: sequence for sequence in sequences}
        wanted = {kept.name(v, number): v for number, v in enumerate((v for v in chosen if v.split == split), 1)}
        assert found.keys() == wanted.keys()
        for name, video in wanted.items():
            _compare(found[name], video, kept, hidden=split in kept.hidden)


def _compare(sequence: Sequence, video: PlacedVideo, kept: Kept, *, hidden: bool) -> None:
    original = video.sequence()
    assert len(sequence) == len(original) == len(sequence.boxes)
    visible = original.visible if hidden else np.ones(len(original), dtype=bool)
    np.testing.assert_array_equal(sequence.visible, visible)
    np.testing.assert_allclose(
        sequence.boxes[original.visible], original.boxes[original.visible], rtol=0, atol=kept.rounding + 1e-9
    )
    if kept.attributes is not None:
        assert sequence.attributes == kept.attributes(original)
    assert sequence.size in (None, SIZE)
    for frame in (0, len(original) - 1):
        assert np.abs(sequence.frames[frame].astype(int) - original.frames[frame]).mean() < 6
        assert sequence.frames[frame].shape == (SIZE[1], SIZE[0], 3)


def test_targets_are_hidden_somewhere() -> None:
    """Otherwise the flags of no layout would have been tested."""
    hidden = [(~v.sequence().visible).any() for v in videos("lasot", count=COUNT, length=40, size=SIZE, seed=5)]
    assert any(hidden[:COUNT]) and any(hidden[COUNT:])


def test_a_server_keeps_its_boxes(tmp_path: Path) -> None:
    for layout in ("trackingnet", "got10k"):
        write(layout, videos(layout, count=1, length=3, size=SIZE), tmp_path / layout)
        sequences = DATA_SETS[layout].parts[layout](tmp_path / layout)
        sequences.check()
        assert (len(sequences[0]), sequences[0].boxes.shape) == (3, (1, 4))


def test_tnl2ks_training_videos_are_a_data_set_of_their_own(tmp_path: Path) -> None:
    chosen = videos("tnl2k", count=2, length=3, size=SIZE)
    write("tnl2k", chosen, tmp_path / "data")
    sequences = DATA_SETS["tnl2k-train"].parts["tnl2k-train"](tmp_path / "data")
    assert sequences.names == tuple(v.name for v in chosen if v.split == "train")
    for part in ("tnl2k", "tnl2k-train"):
        (
            inner := DATA_SETS[part].parts[part](
                tmp_path / "data" / f"TNL2K_{'train' if 'train' in part else 'test'}_subset"
            )
        )
        assert len(inner) == 2
        assert not [note for note in inner.notes() if "not read" in note]
