"""The index: opening again reads nothing, and whatever changes below the root is read again."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from followers import recorded
from trackablate.datasets.benchmarks.trackingnet import TRAIN
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading import index as index_module
from trackablate.datasets.reading.annotation import Annotation, SequenceFiles
from trackablate.datasets.reading.reader import StoredSequences
from video_factory import JPEG, boxes, images, write, zipped

PART = replace(TRAIN, clips=lambda: TRAIN.clips()[:8])
NAMES = [clip.name for clip in TRAIN.clips()[:4]]
Open = Callable[[], tuple[StoredSequences, list[str]]]
"""Opens the root and says which sequences were read from their files meanwhile."""


def _clip(name: str, count: int = 6) -> dict[str, str | bytes]:
    return {f"TRAIN_0/anno/{name}.txt": boxes(count), **images(f"TRAIN_0/frames/{name}", range(count), "%d.jpg")}


def _settle() -> None:
    """Wait until what was written is older than what an index distrusts: the time of a change cannot be set back."""
    time.sleep(index_module.SETTLED / 1e9 + 0.02)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(index_module, "SETTLED", 0)
    made = write(tmp_path / "root", {k: v for name in NAMES for k, v in _clip(name).items()})
    _settle()
    return made


@pytest.fixture
def reopen(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    read: list[str] = []
    original = SequenceFiles.read

    def noted(self: SequenceFiles) -> Annotation:
        read.append(self.clip.name)
        return original(self)

    monkeypatch.setattr(SequenceFiles, "read", noted)

    def opened() -> tuple[StoredSequences, list[str]]:
        read.clear()
        sequences = PART(root, tmp_path / "index")
        sequences.digest()
        return sequences, sorted(read)

    return opened


def _equal(one: StoredSequences, two: StoredSequences) -> None:
    assert one.names == two.names
    assert one.digest() == two.digest()
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.visible, b.visible)
        assert (a.attributes, a.size, len(a)) == (b.attributes, b.size, len(b))
        assert (a.frames[len(a) - 1] == b.frames[len(b) - 1]).all()


def test_the_second_time_nothing_is_read(root: Path, reopen: Open) -> None:
    first, read = reopen()
    assert read == sorted(NAMES)
    again, read = reopen()
    assert read == []
    again.check(deep=True)
    for sequences in (first, again):
        _equal(sequences, PART(root))


def test_boxes_of_the_index_can_be_changed_without_changing_it(reopen: Open) -> None:
    reopen()[0][0].boxes[:] = 0
    assert reopen()[0][0].boxes[0].tolist() == [2, 3, 10, 12]


CHANGES: dict[str, Callable[[Path], object]] = {
    "annotation of another length": lambda root: write(root, _clip(NAMES[1], 7)),
    "annotation touched": lambda root: (root / f"TRAIN_0/anno/{NAMES[1]}.txt").touch(),
    "equal length, other boxes": lambda root: write(root, {f"TRAIN_0/anno/{NAMES[1]}.txt": boxes(6, first=3)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_read_again_and_nothing_else(root: Path, reopen: Open, change: str) -> None:
    reopen()
    CHANGES[change](root)
    sequences, read = reopen()
    assert read == [NAMES[1]]
    _equal(sequences, PART(root))


def test_a_frame_that_comes_later_is_seen(root: Path, reopen: Open) -> None:
    reopen()
    write(root, {f"TRAIN_0/frames/{NAMES[1]}/6.jpg": JPEG})
    with pytest.raises(DataError, match="6 boxes for 7 frames"):
        reopen()


def test_sequences_that_come_and_go(root: Path, reopen: Open) -> None:
    reopen()
    new = TRAIN.clips()[5].name
    write(root, _clip(new))
    sequences, read = reopen()
    assert read == [new]
    assert sequences.names == (*NAMES, new)
    (root / f"TRAIN_0/anno/{NAMES[0]}.txt").unlink()
    for file in (root / f"TRAIN_0/frames/{NAMES[0]}").iterdir():
        file.unlink()
    (root / f"TRAIN_0/frames/{NAMES[0]}").rmdir()
    _settle()
    reopen()
    (root / f"TRAIN_0/anno/{NAMES[-1]}.txt").unlink()
    (root / f"TRAIN_0/frames/{NAMES[-1]}").rename(root / "elsewhere")
    sequences, read = reopen()
    assert [sequences.names, read] == [(*NAMES[1:-1], new), []]
    _equal(sequences, PART(root))
    assert len(list((root.parent / "index").iterdir())) == 1


def test_a_clip_that_is_declared_otherwise_is_read_again(root: Path, reopen: Open, tmp_path: Path) -> None:
    reopen()
    first, *others = PART.clips()
    told = replace(PART, clips=lambda: (replace(first, attributes=frozenset({"FM"})), *others))
    assert [s.attributes for s in told(root, tmp_path / "index")][:2] == [{"FM"}, set()]


def test_what_changed_just_now_is_not_believed(root: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "SETTLED", 300_000_000)
    _settle()
    (root / f"TRAIN_0/anno/{NAMES[2]}.txt").touch()
    reopen()
    assert reopen()[1] == [NAMES[2]]
    _settle()
    reopen()
    assert reopen()[1] == []


def test_a_sequence_that_cannot_be_read_says_so_each_time(root: Path, reopen: Open) -> None:
    file = root / f"TRAIN_0/anno/{NAMES[1]}.txt"
    good = file.read_text()
    file.write_text("x\n" + good[good.index("\n") + 1 :])
    _settle()
    for _ in range(2):
        sequences = PART(root, root.parent / "index")
        assert len(sequences[0]) == 6
        for use in (sequences.digest, sequences.check, sequences.check_annotations):
            with pytest.raises(DataError, match="line 1: 4 numbers wanted"):
                use()
        with pytest.raises(DataError, match="line 1: 4 numbers wanted"):
            sequences[1]
    file.write_text(good)
    sequences, read = reopen()
    assert NAMES[1] in read
    sequences.check()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda folder: (folder / "index.json").write_text("{"),
    "other JSON": lambda folder: (folder / "index.json").write_text("[]"),
    "not UTF-8": lambda folder: (folder / "index.json").write_bytes(b"\xff\xfe\x00"),
    "boxes gone": lambda folder: next(folder.glob("boxes-*")).unlink(),
    "boxes cut": lambda folder: os.truncate(next(folder.glob("boxes-*")), 200),
    "boxes empty": lambda folder: os.truncate(next(folder.glob("boxes-*")), 0),
    "other boxes": lambda folder: np.save(next(folder.glob("boxes-*")), np.zeros((3, 4))),
    "stamps of another shape": lambda folder: np.save(next(folder.glob("stamps-*")), np.zeros((4, 9, 2), dtype=int)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_made_anew(root: Path, reopen: Open, damage: str) -> None:
    reopen()
    (folder,) = (root.parent / "index").iterdir()
    DAMAGE[damage](folder)
    sequences, read = reopen()
    assert read == sorted(NAMES)
    _equal(sequences, PART(root))
    assert reopen()[1] == []


def test_an_index_of_another_revision_is_made_anew(reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    reopen()
    monkeypatch.setattr(index_module, "REVISION", 999)
    assert reopen()[1] == sorted(NAMES)


def test_a_replaced_index_leaves_nothing_behind(root: Path, reopen: Open) -> None:
    reopen()
    (folder,) = (root.parent / "index").iterdir()
    (folder / "boxes-new.npy").touch()
    (folder / ".boxes-old.npy.1.tmp").touch()
    os.utime(folder / ".boxes-old.npy.1.tmp", (0, 0))
    write(root, _clip(NAMES[1], 7))
    reopen()
    assert sorted(f.name.partition("-")[0] for f in folder.iterdir()) == [
        "boxes",
        "boxes",
        "index.json",
        "stamps",
        "visible",
    ]


def test_many_may_make_it_at_once(root: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda _: PART(root, tmp_path / "index").digest(), range(16)))
    assert set(digests) == {PART(root).digest()}


def read(place: Path, index: Path) -> list[tuple[int, int]]:
    """How many sequences are read when the data set is opened, as it is told."""
    with recorded() as said:
        PART(place, index)
    return [(done, total) for _, phase, done, total in said if phase == "reading annotation"]


def test_progress_is_told(root: Path, tmp_path: Path) -> None:
    assert read(root, tmp_path / "index") == [(0, 4), (4, 4)]
    assert read(root, tmp_path / "index") == []


def test_an_archive_is_read_again_when_it_was_replaced(root: Path, tmp_path: Path) -> None:
    archive = zipped(root, tmp_path / "t.zip")
    one = PART(archive, tmp_path / "index")
    assert read(archive, tmp_path / "index") == []
    assert PART(archive, tmp_path / "index").digest() == one.digest()
    write(root, _clip(NAMES[1], 7))
    archive.unlink()
    two = PART(zipped(root, archive), tmp_path / "index")
    assert two.digest() == PART(root).digest() != one.digest()


def test_roots_and_ways_of_reading_have_an_index_each(root: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", _clip(NAMES[0]))
    PART(root, tmp_path / "index")
    PART(other, tmp_path / "index")
    shifted = replace(PART, origin=1)
    assert shifted(other, tmp_path / "index")[0].boxes[0].tolist() == [1, 2, 10, 12]
    assert PART(other, tmp_path / "index")[0].boxes[0].tolist() == [2, 3, 10, 12]
    assert len(list((tmp_path / "index").iterdir())) == 3


def test_a_folder_that_cannot_be_written_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="the index cannot be written"):
        PART(root, tmp_path / "file")


def test_the_stamp_follows_the_annotation(root: Path) -> None:
    before = [PART(root).stamp(i) for i in range(4)]
    write(root, _clip(NAMES[1], 7))
    after = [PART(root).stamp(i) for i in range(4)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]
