"""TNL2K: its odd frame names, its absent targets, its layouts with and without images, its lists."""

import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from places import SHARED
from trackablate.datasets.benchmarks import tnl2k
from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.reading.tables import names, rows
from video_factory import zipped

REAL = SHARED / "real/tnl2k/annotations_test.zip"
JPEG = bytes(cv2.imencode(".jpg", np.full((30, 40, 3), 90, np.uint8))[1])
PNG = bytes(cv2.imencode(".png", np.full((30, 40, 3), 90, np.uint8))[1])
FIRST, SECOND = (clip.name for clip in tnl2k.TEST.clips()[:2])
BOXES = "2,3,10,12\n0,0,0,0\n-4,3,10,12\n"


def _make(
    root: Path, name: str = FIRST, frames: tuple[str, ...] = ("1.jpg", "2.jpg", "3.jpg"), boxes: str = BOXES
) -> Path:
    folder = root / name
    (folder / "imgs").mkdir(parents=True)
    for frame in frames:
        (folder / "imgs" / frame).write_bytes(PNG if frame.endswith("png") else JPEG)
    (folder / "groundtruth.txt").write_text(boxes)
    (folder / "language.txt").write_text("the grey one")
    return folder


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        tnl2k.TEST(root).check()
    return str(caught.value)


def test_frames_with_several_beginnings_count_by_name(tmp_path: Path) -> None:
    _make(tmp_path, frames=("b_02.jpg", "00003.png", "b_10.jpg"))
    (tmp_path / FIRST / "imgs/Thumbs.db").touch()
    frames = tnl2k.TEST(tmp_path)[0].frames
    assert isinstance(frames, ImageFiles)
    assert list(frames.names) == ["00003.png", "b_02.jpg", "b_10.jpg"]
    assert [frame.shape for frame in (frames[0], frames[2])] == [(30, 40, 3)] * 2


def test_frames_without_padding_count_by_number_and_the_check_says_so(tmp_path: Path) -> None:
    written = [f"{number}.jpg" for number in range(1, 13)]
    _make(tmp_path / "folder", "my_clip", frames=(*written,), boxes="2,3,10,12\n" * 12)
    zipped(tmp_path / "folder", tmp_path / "packed.zip")
    for root in (tmp_path / "folder", tmp_path / "packed.zip"):
        sequences = tnl2k.TEST(root, tmp_path / "index")
        frames = sequences[0].frames
        assert isinstance(frames, ImageFiles)
        assert list(frames.names) == written
        assert "frames in the order of their numbers, which is not that of their names: my_clip" in sequences.notes()


def test_videos_of_ones_own_with_two_possible_orders_are_refused(tmp_path: Path) -> None:
    folder = _make(tmp_path, "my_clip", frames=("cam_1.jpg", "cam_3.jpg", "img_2.jpg"))
    message = "two orders are possible: after 'cam_1.jpg' comes 'cam_3.jpg' by name, 'img_2.jpg' by number"
    assert _message(tmp_path).startswith(f"{folder / 'imgs'}: {message}")


def test_zeros_are_absent_and_boxes_count_from_0(tmp_path: Path) -> None:
    _make(tmp_path)
    sequence = tnl2k.TEST(tmp_path)[0]
    assert sequence.visible.tolist() == [True, False, True]
    assert sequence.boxes[[0, 2]].tolist() == [[2, 3, 10, 12], [-4, 3, 10, 12]]
    assert sequence.attributes == {"ROT", "VC", "SV", "BC"}


def test_flags_beside_the_boxes_count_too(tmp_path: Path) -> None:
    folder = _make(tmp_path)
    (folder / "absent.txt").write_text("0 \n1 \n1 \n")
    assert tnl2k.TEST(tmp_path)[0].visible.tolist() == [True, False, False]
    (folder / "absent.txt").write_text("0\n1\n")
    assert "2 flags for 3 boxes" in _message(tmp_path)


def test_the_known_surplus_flag_is_cut_and_no_other(tmp_path: Path) -> None:
    """929 boxes and 930 flags, as the toolkit has them."""
    name = "advSamp_monitor_bikeyellow"
    for folder in ("gt_rect", "absent"):
        (tmp_path / folder).mkdir()
    (tmp_path / f"gt_rect/{name}.txt").write_text("2,3,10,12\n" * 929)
    (tmp_path / f"absent/{name}.txt").write_text("0\n" * 929 + "1\n")
    sequence = tnl2k.TEST(tmp_path)[0]
    assert (sequence.name, len(sequence), sequence.visible.all()) == (name, 929, True)
    (tmp_path / f"gt_rect/{FIRST}.txt").write_text("2,3,10,12\n" * 2)
    (tmp_path / f"absent/{FIRST}.txt").write_text("0\n" * 3)
    with pytest.raises(DataError, match="3 flags for 2 boxes"):
        tnl2k.TEST(tmp_path).check_annotations()


def test_the_toolkits_annotation_is_enough_for_scoring(tmp_path: Path) -> None:
    for folder in ("gt_rect", "absent", "att"):
        (tmp_path / folder).mkdir()
    (tmp_path / f"gt_rect/{FIRST}.txt").write_text(BOXES)
    (tmp_path / f"absent/{FIRST}.txt").write_text("0\n1\n0\n")
    sequences = tnl2k.TEST(tmp_path)
    sequences.check_annotations()
    assert (sequences[0].name, len(sequences[0]), sequences.coverage) == (FIRST, 3, "1 of 700 sequences")
    with pytest.raises(DataError, match="annotations only"):
        sequences[0].frames[0]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("tar", "inner"), [("annos/annos.tar.gz", ""), ("annos.tar.gz", "./annos/"), ("kit/annos/annos.tar.gz", "")]
)
def test_the_toolkits_annotation_is_read_as_it_is_packed(tmp_path: Path, tar: str, inner: str, packed: bool) -> None:
    (tmp_path / "boxes.txt").write_text(BOXES)
    (tmp_path / "flags.txt").write_text("0\n1\n0\n")
    (tmp_path / "root" / tar).parent.mkdir(parents=True)
    with tarfile.open(tmp_path / "root" / tar, "w:gz") as opened:
        opened.add(tmp_path / "boxes.txt", f"{inner}gt_rect/{FIRST}.txt")
        opened.add(tmp_path / "flags.txt", f"{inner}absent/{FIRST}.txt")
    root = zipped(tmp_path / "root", tmp_path / "kit.zip") if packed else tmp_path / "root"
    for _ in range(2):
        sequences = tnl2k.TEST(root, tmp_path / "index")
        sequences.check_annotations()
        assert (sequences.names, sequences[0].visible.tolist()) == ((FIRST,), [True, False, True])


def test_annotation_that_was_revised_is_told_where_that_is(tmp_path: Path) -> None:
    _make(tmp_path, "maliao_4-Done", boxes="2,3,10,12\n" * 4)
    with pytest.raises(
        DataError, match=r"4 boxes for 3 frames; it was revised: take annos/revised_annotations.zip of "
    ):
        tnl2k.TRAIN(tmp_path).check_annotations()
    revised = [row["sequence"] for row in rows("quirks.csv") if row["rule"] == "revised"]
    assert len(revised) == 12
    assert set(revised) <= set(names("tnl2k_train.txt"))


def test_a_damaged_inner_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "annos").mkdir()
    (tmp_path / "annos/annos.tar.gz").write_bytes(b"\x1f\x8b and no more")
    assert f"{tmp_path / 'annos/annos.tar.gz'}: cannot be unpacked" in _message(tmp_path)


@pytest.mark.parametrize("within", ["", "TNL2K_test_subset"])
def test_the_root_may_be_the_subset_or_lie_around_it(tmp_path: Path, within: str) -> None:
    _make(tmp_path / within)
    _make(tmp_path / "TNL2K_train_subset", names("tnl2k_train.txt")[0])
    sequences = tnl2k.TEST(tmp_path)
    sequences.check()
    assert sequences.names == (FIRST,)
    assert len(tnl2k.TRAIN(tmp_path)) == 1


def test_other_folders_are_named_and_not_read(tmp_path: Path) -> None:
    _make(tmp_path, SECOND)
    _make(tmp_path, FIRST)
    _make(tmp_path, "my_video")
    _make(tmp_path, names("tnl2k_train.txt")[0])
    sequences = tnl2k.TEST(tmp_path)
    assert sequences.names == (FIRST, SECOND)
    notes = [note for note in sequences.notes() if "not read" in note]
    assert len(notes) == 1
    assert "my_video" in notes[0]
    assert names("tnl2k_train.txt")[0] not in notes[0]


def test_images_and_boxes_are_as_many(tmp_path: Path) -> None:
    _make(tmp_path, boxes="2,3,10,12\n" * 2)
    assert "2 boxes for 3 frames" in _message(tmp_path)


def test_the_damaged_frame_is_known() -> None:
    found = [row for row in rows("quirks.csv") if row["data"] == "tnl2k" and row["rule"] == "damaged-frame"]
    assert [(row["sequence"], row["value"]) for row in found] == [("test_015_Sord_video_Q01_done", "00000492.png")]


def test_the_lists() -> None:
    facts = rows("tnl2k_test.csv")
    assert len(tnl2k.TEST.clips()) == 700
    assert sum(int(row["frames"]) for row in facts) == 516_038
    assert sum(int(row["absent"]) for row in facts) == 65_253
    assert len(names("tnl2k_train.txt")) == 1300
    train, test = ({clip.name for clip in clips} for clips in (tnl2k.TRAIN.clips(), tnl2k.TEST.clips()))
    assert len(train) == 1299
    assert not train & test
    assert set(names("tnl2k_train.txt")) & test == {"monitor_manypeople"}
    assert sum(" " in name for name in train) == 18
    assert set().union(*(clip.attributes for clip in tnl2k.TEST.clips())) == set(tnl2k.ATTRIBUTES)


def test_it_is_registered() -> None:
    assert PROTOCOLS["tnl2k"].metrics[0] == ("auc", "ostrack")
    assert PROTOCOLS["tnl2k"].origin == 0
    assert {"tnl2k", "tnl2k-train"} <= set(DATA_SETS)


def test_real_annotation() -> None:
    if not REAL.is_file():
        pytest.skip("needs TNL2K's real annotation, shared/real/tnl2k/annotations_test.zip, beside the checkout")
    sequences = tnl2k.TEST(REAL)
    sequences.check_annotations()
    assert sequences.coverage == "700 of 700 sequences"
    facts = {row["name"]: row for row in rows("tnl2k_test.csv")}
    for sequence in sequences:
        assert len(sequence) == int(facts[sequence.name]["frames"])
        assert (~sequence.visible).sum() == int(facts[sequence.name]["absent"])
    assert sum(len(s) for s in sequences) == 516_038
    assert sum(int((~s.visible).sum()) for s in sequences) == 65_253
    not_positive = [int(((s.boxes <= 0).any(axis=1) & s.visible).sum()) for s in sequences]
    assert (sum(not_positive), sum(n > 0 for n in not_positive)) == (14_567, 251)
    assert sum(int(((s.boxes[:, 2:] <= 0).any(axis=1) & s.visible).sum()) for s in sequences) == 12
    assert min(s.boxes[:, :2].min() for s in sequences) == -455
