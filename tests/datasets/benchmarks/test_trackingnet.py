"""TrackingNet: the test set with one row or all, the training chunks, unpadded frame numbers from 0."""

from pathlib import Path

import pytest

from trackablate.datasets.benchmarks.trackingnet import TEST, TRAIN
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.reader import Part
from video_factory import boxes, images, write, zipped

COUNT = 11
NAMES = ("-Dz7OIf54b0_0", "-FCJqWfi9Wo_0")


def _clip(chunk: str, name: str, rows: int = COUNT) -> dict[str, str | bytes]:
    return {
        f"{chunk}/anno/{name}.txt": boxes(rows, " %d.00,3.50,10.00,12.25\n"),
        **images(f"{chunk}/frames/{name}", range(COUNT), "%d.jpg"),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    train = TRAIN.clips()
    return write(
        tmp_path / "root",
        _clip("TEST", NAMES[1], 1)
        | _clip("TEST", NAMES[0], 1)
        | _clip("TRAIN_0", train[0].name)
        | _clip("TRAIN_11", train[-1].name),
    )


def _message(part: Part, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        part(root).check()
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_test_videos_have_one_box_and_frames_in_numeric_order(root: Path, tmp_path: Path, packed: bool) -> None:
    sequences = TEST(zipped(root, tmp_path / "t.zip") if packed else root)
    sequences.check(deep=True)
    assert sequences.names == NAMES
    assert sequences.coverage == "2 of 511 sequences"
    record = sequences.annotation(0)
    assert record.frames is not None
    assert list(record.frames) == [f"{number}.jpg" for number in range(COUNT)]
    assert [len(sequences[0]), sequences[0].boxes.tolist()] == [COUNT, [[2, 3.5, 10, 12.25]]]


def test_a_full_annotation_of_the_test_is_read_too(root: Path) -> None:
    write(root, _clip("TEST", NAMES[0]))
    sequences = TEST(root)
    sequences.check()
    assert [sequence.boxes.shape for sequence in sequences] == [(COUNT, 4), (1, 4)]
    (root / "TEST/frames").rename(root / "gone")
    assert [len(sequence) for sequence in TEST(root)] == [COUNT, 1]
    TEST(root).check_annotations()


def test_training_is_all_chunks(root: Path) -> None:
    sequences = TRAIN(root)
    sequences.check()
    assert sequences.names == (TRAIN.clips()[0].name, TRAIN.clips()[-1].name)
    assert sequences.coverage == "2 of 30132 sequences"
    write(root, _clip("TRAIN_0", TRAIN.clips()[0].name, 1))
    assert "1 boxes for 11 frames" in _message(TRAIN, root)


def test_a_box_without_area_is_not_visible(root: Path) -> None:
    name = TRAIN.clips()[0].name
    write(root, {f"TRAIN_0/anno/{name}.txt": boxes(COUNT - 1) + "0,0,0,0\n"})
    assert TRAIN(root)[0].visible.tolist() == [True] * (COUNT - 1) + [False]


def test_the_official_lists() -> None:
    assert len(TEST.clips()) == 511
    assert len({clip.name for clip in TEST.clips()} | {clip.name for clip in TRAIN.clips()}) == 511 + 30_132
    assert {clip.fields["chunk"] for clip in TRAIN.clips()} == {f"TRAIN_{number}" for number in range(12)}


def test_ones_own_training_videos_are_not_those_of_the_test(tmp_path: Path) -> None:
    root = write(tmp_path, _clip("TEST", "mine") | _clip("TRAIN_3", "yours"))
    assert TRAIN(root).names == ("yours",)
    assert TEST(root).names == ("mine",)


def test_half_a_sequence_is_not_left_out(root: Path) -> None:
    (root / f"TEST/anno/{NAMES[0]}.txt").unlink()
    assert f"{root}/TEST/anno/{NAMES[0]}.txt: is missing" in _message(TEST, root)


def test_frames_that_do_not_start_at_0_are_refused(root: Path) -> None:
    (root / f"TEST/frames/{NAMES[0]}/0.jpg").unlink()
    assert "frame number 0 is missing" in _message(TEST, root)
