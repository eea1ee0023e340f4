"""GOT-10k: test, validation and training parts, labels, sizes, the order of list.txt, and bad files named."""

from pathlib import Path

import numpy as np
import pytest

from trackablate.datasets.benchmarks.got10k import TEST, TRAIN, VAL, resolution
from trackablate.datasets.errors import DataError
from video_factory import HEIGHT, WIDTH, boxes, images, write, zipped

COUNT = 5
META = "[METAINFO]\nurl: https://example.org/?a=b:c\nobject_class: dog\nanno_fps: 10Hz\nresolution: (%d, %d)\n"


def _clip(
    split: str, number: int, *, rows: int = COUNT, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> dict[str, str | bytes]:
    """One sequence: absent in frame 2, covered in frame 3 (from 1)."""
    folder = f"{split}/GOT-10k_{split.title()}_{number:06d}"
    labels = {
        f"{folder}/absence.label": "0\n1\n0\n0\n0\n",
        f"{folder}/cover.label": "8\n8\n0\n1\n8\n",
        f"{folder}/cut_by_image.label": "0\n0\n0\n1\n1\n",
    }
    return {
        f"{folder}/groundtruth.txt": boxes(rows, "%d.0000,3.2500,10.0000,12.0000\n"),
        f"{folder}/meta_info.ini": META % size,
        **({} if split == "test" else labels),
        **images(folder, range(1, COUNT + 1)),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = _clip("val", 2) | _clip("val", 1) | _clip("test", 3, rows=1) | _clip("train", 7)
    return write(tmp_path / "root", files | {"val/list.txt": "GOT-10k_Val_000002\nGOT-10k_Val_000001\n"})


@pytest.mark.parametrize("packed", [False, True])
def test_validation_in_the_order_of_its_list(root: Path, tmp_path: Path, packed: bool) -> None:
    sequences = VAL(zipped(root, tmp_path / "got.zip") if packed else root)
    sequences.check(deep=True)
    assert sequences.names == ("GOT-10k_Val_000002", "GOT-10k_Val_000001")
    assert sequences.coverage == "2 of 180 sequences"
    first = sequences[0]
    assert first.boxes[1].tolist() == [3, 3.25, 10, 12]
    assert first.visible.tolist() == [True, False, False, True, True]
    assert [len(first), first.size] == [COUNT, (WIDTH, HEIGHT)]
    assert sequences.digest() == VAL(root).digest()


def test_a_test_video_has_one_box_and_all_its_frames(root: Path) -> None:
    (sequence,) = sequences = TEST(root)
    sequences.check()
    assert sequences.coverage == "1 of 180 sequences"
    assert [len(sequence), sequence.boxes.shape, sequence.visible.shape] == [COUNT, (1, 4), (1,)]
    write(root, {"test/GOT-10k_Test_000003/groundtruth.txt": boxes(COUNT)})
    assert TEST(root)[0].boxes.shape == (COUNT, 4)
    write(root, {"test/GOT-10k_Test_000003/groundtruth.txt": boxes(2)})
    with pytest.raises(DataError, match="2 boxes for 5 frames"):
        TEST(root)[0]


def test_the_official_lists() -> None:
    assert [len(part.clips()) for part in (TEST, VAL, TRAIN)] == [180, 180, 9335]
    assert [part.clips()[-1].name for part in (TEST, VAL, TRAIN)] == [
        *("GOT-10k_Test_000180", "GOT-10k_Val_000180", "GOT-10k_Train_009335")
    ]


def test_training_leaves_out_what_is_known_to_be_wrong(root: Path) -> None:
    write(root, _clip("train", 1636) | _clip("train", 1638) | _clip("train", 7947))
    sequences = TRAIN(root)
    sequences.check()
    assert sequences.names == ("GOT-10k_Train_000007", "GOT-10k_Train_007947")
    assert sequences.coverage == "2 of 9335 sequences, 2 left out as unfit for training"
    assert "left out as unfit for training: GOT-10k_Train_001636, GOT-10k_Train_001638" in sequences.notes()
    assert [sequence.size for sequence in sequences] == [(WIDTH, HEIGHT), None]


def test_a_name_twice_in_the_list_is_refused(root: Path) -> None:
    write(root, {"val/list.txt": "GOT-10k_Val_000002\nGOT-10k_Val_000001\nGOT-10k_Val_000002\n"})
    with pytest.raises(DataError) as caught:
        VAL(root)
    assert str(caught.value).startswith(f"{root / 'val/list.txt'}, line 3: names 'GOT-10k_Val_000002' twice; ")


def test_what_the_list_does_not_name_comes_last(root: Path) -> None:
    write(root, {"val/list.txt": "GOT-10k_Val_000002\n"} | _clip("val", 3))
    assert VAL(root).names == ("GOT-10k_Val_000002", "GOT-10k_Val_000001", "GOT-10k_Val_000003")
    (root / "val/list.txt").unlink()
    assert VAL(root).names == ("GOT-10k_Val_000001", "GOT-10k_Val_000002", "GOT-10k_Val_000003")


def test_ones_own_videos_are_folders_in_the_lists_order(tmp_path: Path) -> None:
    clips = {k.replace("GOT-10k_Val_", "mine"): v for n in (1, 2) for k, v in _clip("val", n).items()}
    root = write(tmp_path / "own", clips | {"val/list.txt": "mine000002\nmine000001\n", "val/notes.txt": "x"})
    sequences = VAL(root)
    sequences.check()
    assert sequences.names == ("mine000002", "mine000001")
    assert sequences.coverage == "0 of 180 sequences and 2 of your own"


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (META % (1920, 1080), (1920, 1080)),
        ("resolution: (1280,720)\r\n", (1280, 720)),
        ("x: 1\rResolution = 640 x 480\r", (640, 480)),
        ("resolution: (0, 480)", None),
        ("resolution: ('a', 480)", None),
        ("resolution: (1920, 1080, 3)", None),
        ("my_resolution: (1920, 1080)", None),
        ("", None),
        ("\x00\xff", None),
    ],
)
def test_the_resolution_is_read_or_not_known(content: str, size: tuple[int, int] | None) -> None:
    assert resolution(content.encode("latin-1")) == size


def test_frames_of_another_size_than_said_are_found(root: Path) -> None:
    write(root, _clip("val", 1, size=(80, 60)))
    with pytest.raises(DataError) as caught:
        VAL(root).check()
    said = f"00000001.jpg has {WIDTH} x {HEIGHT} pixels, the data set says 80 x 60; restore the images"
    assert said in str(caught.value)


def test_annotation_alone_knows_its_size(root: Path) -> None:
    for image in root.rglob("*.jpg"):
        image.unlink()
    (root / "test/GOT-10k_Test_000003/meta_info.ini").unlink()
    (val, _), (test,) = VAL(root), TEST(root)
    assert [val.size, len(val), test.size, len(test)] == [(WIDTH, HEIGHT), COUNT, (1920, 1080), 1]
    VAL(root).check_annotations()
    with pytest.raises(DataError, match="annotations only"):
        VAL(root).check()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("cover.label", "8\n8\n9\n8\n8\n", ", line 3: flag 3 is not a whole number from 0 to 8"),
        ("absence.label", "0\n8\n0\n0\n0\n", ", line 2: flag 2 is not a whole number from 0 to 1"),
        ("cut_by_image.label", "0\n0\n", ": 2 flags for 5 boxes"),
        ("cover.label", None, ": is missing"),
        ("groundtruth.txt", boxes(4), ": 4 boxes for 5 frames"),
        ("groundtruth.txt", boxes(1), ": 1 boxes for 5 frames"),
    ],
)
def test_bad_labels_are_named(root: Path, file: str, content: str | None, said: str) -> None:
    place = root / "val/GOT-10k_Val_000001" / file
    place.unlink() if content is None else place.write_text(content)
    with pytest.raises(DataError) as caught:
        VAL(root).check()
    assert f"{place}{said}" in str(caught.value)
    assert len(caught.value.problems) == 1


def test_the_label_of_what_the_image_cuts_off_may_be_missing(root: Path) -> None:
    (root / "val/GOT-10k_Val_000001/cut_by_image.label").unlink()
    VAL(root).check()
    np.testing.assert_array_equal(VAL(root)[1].visible, VAL(root)[0].visible)
