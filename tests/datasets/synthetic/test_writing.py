"""Synthetic videos as files: which videos a layout takes, what its files look like, and that nothing half-written stays."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trackablate.datasets.benchmarks import got10k, lasot, nfs, tnl2k, trackingnet, uav123
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.layouts import Clip, FileLayout
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.registry import UnknownName
from trackablate.datasets.synthetic import layout_files
from trackablate.datasets.synthetic.layout_files import PlacedVideo, Split, otb_attributes, plan_of
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.datasets.synthetic.writing import DEFAULT_LENGTH, LAYOUTS, videos, write

SIZE = (80, 64)
FROM_1 = np.array([1, 1, 0, 0])
"""What boxes of files that count from 1 have more."""
FIXED = ("nfs", "uav123", "otb", "coco")


def _text(entries: dict[str, bytes], name: str) -> str:
    return entries[name].decode()


def _rows(text: str, separator: str = ",") -> np.ndarray:
    return np.array([[float(v) for v in line.split(separator)] for line in text.splitlines()])


Slot = tuple[Clip, FileLayout, Split]


def _slot(name: str, part: Part, layout: int = 0, split: Split = "test", **fields: str) -> Slot:
    return Clip(name, fields), part.layouts[layout], split


BEE = _slot("bee", nfs.PART)


def _entries(
    files: Callable[[PlacedVideo], object], slot: Slot, index: int, length: int = 40, **more: bool
) -> dict[str, bytes]:
    return dict(files(PlacedVideo(*slot, index, length, SIZE, 0, **more)))  # type: ignore[call-overload]


def _video_with(split: str, wanted: Callable[[object], bool]) -> int:
    """The first synthetic video of 40 frames in which something happens."""
    return next(n for n in range(200) if wanted(plan_of(make_sequence("target", n, length=40, size=SIZE, split=split))))


OUT_OF_VIEW = _video_with("test", lambda plan: bool((plan.inside < 0.05).any()))
COVERED = _video_with("test", lambda plan: bool((~plan.visible & (plan.inside >= 0.05)).any()))


def _original(index: int, split: str = "test") -> layout_files.Sequence:
    return make_sequence("target", index, length=40, size=SIZE, split=split)


def test_videos_get_the_first_official_names_and_count_in_their_split() -> None:
    chosen = videos("lasot", count=2, length=7, size=SIZE, seed=3)
    assert [(v.name, v.split, v.index) for v in chosen] == [
        ("airplane-1", "test", 0),
        ("airplane-9", "test", 1),
        ("airplane-10", "train", 0),
        ("airplane-11", "train", 1),
    ]
    assert {(v.length, v.size, v.seed) for v in chosen} == {(7, SIZE, 3)}
    assert videos("lasot", count=1)[0].length == DEFAULT_LENGTH


def test_trackingnets_videos_go_to_several_chunks() -> None:
    chosen = videos("trackingnet", count=14)
    assert [v.clip.fields["chunk"] for v in chosen if v.split == "train"] == [f"TRAIN_{n % 12}" for n in range(14)]
    assert len({v.name for v in chosen}) == 28


@pytest.mark.parametrize("layout", FIXED)
def test_where_the_benchmark_fixes_the_frames_its_shortest_are_taken(layout: str) -> None:
    with pytest.raises(DataError, match=f"{layout} fixes the number of frames"):
        videos(layout, count=1, length=10)
    lengths = [v.length for v in videos(layout, count=5) if v.split in ("test", "train")]
    assert lengths == sorted(lengths)
    assert (
        lengths
        == {
            "nfs": [22, 32, 36, 39, 41],
            "uav123": [109, 133, 139, 157, 199],
            "otb": [71, 74, 81, 84, 99],
            "coco": [1] * 5,
        }[layout]
    )


@pytest.mark.parametrize(("layout", "places"), [("uav123", 91), ("otb", 98)])
def test_one_sequence_of_each_folder(layout: str, places: int) -> None:
    chosen = videos(layout, count=places)
    assert len({v.clip.fields["folder"] for v in chosen}) == places
    with pytest.raises(DataError, match=f"{layout} has {places} places for test videos, not {places + 1}"):
        videos(layout, count=places + 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": 0}, "make at least 1"),
        ({"count": 1, "length": 0}, "need length >= 1"),
        ({"count": 1, "size": (10, 64)}, "sides of 64"),
    ],
)
def test_what_cannot_be_made_is_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        videos("got10k", **options)  # type: ignore[arg-type]


def test_an_unknown_layout_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="got10k"):
        videos("got10", count=1)


def test_lasot_is_whole_numbers_from_1_and_zeros_out_of_view() -> None:
    files = _entries(layout_files.lasot, _slot("toy-car-3", lasot.TEST, group="toy-car"), OUT_OF_VIEW)
    sequence = _original(OUT_OF_VIEW)
    boxes = _rows(_text(files, "toy-car/toy-car-3/groundtruth.txt"))
    out = np.array(_text(files, "toy-car/toy-car-3/out_of_view.txt").split(","), int).astype(bool)
    covered = np.array(_text(files, "toy-car/toy-car-3/full_occlusion.txt").split(","), int).astype(bool)
    assert out.any() and not (out & covered).any()
    np.testing.assert_array_equal(out | covered, ~sequence.visible)
    assert (boxes[out] == 0).all()
    np.testing.assert_array_equal(boxes[~out], np.rint(sequence.boxes[~out]) + FROM_1)
    assert "." not in _text(files, "toy-car/toy-car-3/groundtruth.txt")
    assert [n for n in files if n.endswith(".jpg")] == [f"toy-car/toy-car-3/img/{n:08d}.jpg" for n in range(1, 41)]
    assert _text(files, "toy-car/toy-car-3/nlp.txt").count("\n") == 1


def test_lasot_keeps_the_box_of_a_covered_target() -> None:
    files = _entries(layout_files.lasot, _slot("cat-1", lasot.TEST, group="cat"), COVERED)
    covered = np.array(_text(files, "cat/cat-1/full_occlusion.txt").split(","), int).astype(bool)
    assert covered.any()
    assert (_rows(_text(files, "cat/cat-1/groundtruth.txt"))[covered, 2:] > 0).all()


def test_lasot_ext_counts_from_0_and_has_no_sentence() -> None:
    files = _entries(layout_files.lasot_ext, _slot("atv-1", lasot.EXTENSION, group="atv"), COVERED)
    boxes = _rows(_text(files, "atv/atv-1/groundtruth.txt"))
    np.testing.assert_array_equal(boxes[0], np.rint(_original(COVERED).boxes[0]))
    assert not [n for n in files if "nlp" in n]


@pytest.mark.parametrize(
    ("files", "part", "decimals"),
    [(layout_files.trackingnet, trackingnet.TEST, 2), (layout_files.got10k, got10k.TEST, 4)],
)
def test_a_secret_annotation_is_one_line(files: Callable[[PlacedVideo], object], part: Part, decimals: int) -> None:
    slot = _slot("x", part)
    secret, whole = _entries(files, slot, COVERED, secret=True), _entries(files, slot, COVERED)
    name = next(n for n in whole if n.endswith(("x.txt", "groundtruth.txt")))
    assert len(_text(secret, name).splitlines()) == 1
    assert len(_text(whole, name).splitlines()) == 40
    assert _text(whole, name).startswith(_text(secret, name))
    assert {len(number.split(".")[1]) for number in _text(whole, name).replace("\n", ",").split(",")[:-1]} == {decimals}


@pytest.mark.parametrize("test_boxes", [False, True])
def test_test_boxes_are_written_where_they_are_asked_for(test_boxes: bool) -> None:
    for layout in ("trackingnet", "got10k"):
        secret = {v.split: v.secret for v in videos(layout, count=1, test_boxes=test_boxes)}
        assert secret.pop("test") is not test_boxes
        assert not any(secret.values())


def test_trackingnet_counts_frames_from_0_and_has_zeros_for_flags() -> None:
    files = _entries(
        layout_files.trackingnet, _slot("-a_1", trackingnet.TRAIN, split="train", chunk="TRAIN_3"), COVERED
    )
    boxes, sequence = _rows(_text(files, "TRAIN_3/anno/-a_1.txt")), _original(COVERED, "train")
    np.testing.assert_array_equal((boxes == 0).all(axis=1), ~sequence.visible)
    assert [n for n in files if n.endswith(".jpg")] == [f"TRAIN_3/frames/-a_1/{n}.jpg" for n in range(40)]


def test_got10k_says_what_share_is_visible() -> None:
    files = _entries(layout_files.got10k, _slot("GOT-10k_Val_000001", got10k.VAL), COVERED)
    plan = plan_of(_original(COVERED))
    cover = np.array(_text(files, "val/GOT-10k_Val_000001/cover.label").split(), int)
    np.testing.assert_array_equal(cover == 0, ~plan.visible)
    assert (np.abs(cover[plan.visible] / 8 - plan.seen[plan.visible]) <= 1 / 8).all() and cover.max() == 8
    for label, wanted in (("absence", plan.inside < 0.05), ("cut_by_image", plan.inside < 1)):
        found = np.array(_text(files, f"val/GOT-10k_Val_000001/{label}.label").split(), int)
        np.testing.assert_array_equal(found, wanted)
    about = _text(files, "val/GOT-10k_Val_000001/meta_info.ini").splitlines()
    assert about[0] == "[METAINFO]"
    assert [line.split(":")[0] for line in about[5:10]] == [
        "object_class",
        "motion_class",
        "major_class",
        "root_class",
        "motion_adverb",
    ]
    assert about[10] == "resolution: (80, 64)"
    assert "val/GOT-10k_Val_000001/00000001.jpg" in files


def test_got10ks_test_videos_have_no_labels() -> None:
    files = _entries(layout_files.got10k, _slot("GOT-10k_Test_000001", got10k.TEST), 0, length=3, secret=True)
    assert not [n for n in files if n.endswith(".label")]


def test_tnl2ks_frames_have_no_uniform_names() -> None:
    slot = _slot("a b", tnl2k.TEST)
    even, odd = (_entries(layout_files.tnl2k, slot, index, length=3) for index in (0, 1))
    assert [n for n in even if ".jpg" in n] == [f"TNL2K_test_subset/a b/imgs/{n:05d}.jpg" for n in (1, 2, 3)]
    assert [n for n in odd if ".jpg" in n] == [f"TNL2K_test_subset/a b/imgs/img_{n:06d}.jpg" for n in (137, 138, 139)]
    files = _entries(layout_files.tnl2k, slot, COVERED)
    boxes, sequence = _rows(_text(files, "TNL2K_test_subset/a b/groundtruth.txt")), _original(COVERED)
    np.testing.assert_array_equal((boxes == 0).all(axis=1), ~sequence.visible)
    np.testing.assert_array_equal(boxes[sequence.visible], np.rint(sequence.boxes[sequence.visible]))


def test_nfs_is_tab_separated() -> None:
    files = _entries(layout_files.nfs, BEE, 0, length=3)
    boxes = _rows(_text(files, "anno/nfs_bee.txt"), "\t")
    np.testing.assert_array_equal(boxes, np.rint(make_sequence("target", 0, length=3, size=SIZE, split="test").boxes))
    assert [n for n in files if ".jpg" in n] == [f"sequences/bee/{n:05d}.jpg" for n in (1, 2, 3)]


def test_the_original_nfs_has_corners_for_240_frames_per_second_in_both_files() -> None:
    files = _entries(layout_files.nfs_original, _slot("bee", nfs.PART, layout=1), COVERED)
    sequence = _original(COVERED)
    assert files["bee/30/bee.txt"] == files["bee/240/bee.txt"]
    fields = [line.split() for line in _text(files, "bee/30/bee.txt").splitlines()]
    assert len(fields) == 39 * 8 + 1
    assert [int(f[5]) for f in fields] == list(range(1, 314))
    slow = np.array([f[1:9] for f in fields[::8]], int)
    boxes = np.rint(sequence.boxes)
    np.testing.assert_array_equal(slow[:, :2], boxes[:, :2])
    np.testing.assert_array_equal(slow[:, 2:4] - slow[:, :2], boxes[:, 2:])
    np.testing.assert_array_equal(slow[:, 5:7].any(axis=1), ~sequence.visible)
    assert [f[8] for f in fields[:9]] == ["0", *"1111111", "0"]
    assert len([n for n in files if n.startswith("bee/30/bee/")]) == 40
    assert files["bee/240/bee/00008.jpg"] == files["bee/30/bee/00001.jpg"] != files["bee/240/bee/00009.jpg"]


def test_uav123_has_nan_while_hidden_and_the_folders_numbers() -> None:
    clip = next(clip for clip in uav123.PART.clips() if clip.name == "car1_2")
    assert clip.first == 751
    slot = clip, uav123.PART.layouts[0], "test"
    files, sequence = _entries(layout_files.uav, slot, COVERED), _original(COVERED)
    text = _text(files, "anno/UAV123/car1_2.txt")
    boxes = _rows(text)
    np.testing.assert_array_equal(np.isnan(boxes).all(axis=1), ~sequence.visible)
    np.testing.assert_array_equal(boxes[0], np.rint(sequence.boxes[0]) + FROM_1)
    assert "NaN,NaN,NaN,NaN\n" in text and "." not in text
    assert [n for n in files if ".jpg" in n] == [f"data_seq/UAV123/car1/{n:06d}.jpg" for n in range(751, 791)]
    flags = _text(files, "anno/UAV123/att/car1_2.txt").split(",")
    order = ["IV", "SV", "POC", "FOC", "OV", "FM", "CM", "BC", "SOB", "ARC", "VC", "LR"]
    assert {name for name, flag in zip(order, flags, strict=True) if flag == "1"} == sequence.attributes & set(order)


def test_otb_follows_its_rules_and_words() -> None:
    kite = next(v for v in videos("otb", count=5) if v.name == "KiteSurf")
    names = [name for name, _ in layout_files.otb100(kite)]
    assert "KiteSurf/img/0084.jpg" in names
    sequence = make_sequence("target", COVERED, length=40, size=SIZE, split="test")
    assert "OCC" in otb_attributes(sequence)
    assert not {"POC", "FOC", "ROT", "VC", "CM", "ARC"} & set(otb_attributes(sequence))
    assert ("IPR" in otb_attributes(sequence)) == ("ROT" in sequence.attributes)


def test_coco_has_an_object_for_each_image_and_a_crowd(tmp_path: Path) -> None:
    chosen = videos("coco", count=3, size=SIZE)
    write("coco", chosen, tmp_path / "out")
    found = json.loads((tmp_path / "out/annotations/instances_train2017.json").read_text())
    assert [i["file_name"] for i in found["images"]] == [f"{n:012d}.jpg" for n in (9, 25, 41)]
    assert [(a["image_id"], a["iscrowd"]) for a in found["annotations"]] == [(9, 0), (25, 0), (41, 0), (9, 1)]
    boxes = [v.sequence().boxes[0] for v in chosen if v.split == "train"]
    np.testing.assert_allclose([a["bbox"] for a in found["annotations"][:3]], boxes, atol=0.005)
    assert (tmp_path / "out/images/train2017/000000000041.jpg").is_file()


def test_list_files_name_what_was_written(tmp_path: Path) -> None:
    write("lasot", videos("lasot", count=2, length=1, size=SIZE), tmp_path / "lasot")
    assert (tmp_path / "lasot/testing_set.txt").read_bytes() == b"airplane-1\nairplane-9"
    assert (tmp_path / "lasot/training_set.txt").read_bytes() == b"airplane-10\nairplane-11"
    write("got10k", videos("got10k", count=1, length=1, size=SIZE), tmp_path / "got10k")
    for split in ("train", "val", "test"):
        assert (tmp_path / f"got10k/{split}/list.txt").read_text() == f"GOT-10k_{split.title()}_000001\n"


def _decoded(files: dict[str, bytes]) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(files["sequences/bee/00002.jpg"], np.uint8), cv2.IMREAD_COLOR)
    return image[..., ::-1].astype(int)


def test_frames_are_the_synthetic_ones() -> None:
    image = _decoded(_entries(layout_files.nfs, BEE, 0, length=2))
    drawn = make_sequence("target", 0, length=2, size=SIZE, split="test").frames[1]
    assert image.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(image - drawn).mean() < 3


def test_colours_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The synthetic target domain itself is nearly grey."""
    red = np.full((64, 80, 3), (200, 40, 10), np.uint8)
    monkeypatch.setattr(layout_files, "_drawn", lambda sequence, index: red)
    assert np.abs(_decoded(_entries(layout_files.nfs, BEE, 0, length=2)) - red).max() < 8


@pytest.mark.parametrize("out", ["data", "data.zip"])
def test_equal_arguments_give_equal_files(tmp_path: Path, out: str) -> None:
    digests = set()
    for run in ("one", "two"):
        write("nfs-original", videos("nfs-original", count=1, length=2, size=SIZE), tmp_path / run / out)
        content = sorted((tmp_path / run).rglob("*"))
        digests.add(hashlib.sha256(b"".join(p.read_bytes() for p in content if p.is_file())).hexdigest())
    assert len(digests) == 1


def test_an_archive_holds_what_a_folder_holds(tmp_path: Path) -> None:
    chosen = videos("trackingnet", count=1, length=2, size=SIZE)
    write("trackingnet", chosen, tmp_path / "data")
    write("trackingnet", chosen, tmp_path / "data.zip")
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    there = {p.relative_to(tmp_path / "data").as_posix(): p.read_bytes() for p in (tmp_path / "data").rglob("*.*")}
    assert held == there


def test_progress_counts_videos(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    chosen = videos("nfs-original", count=3, length=1, size=SIZE)
    write("nfs-original", chosen, tmp_path / "out", lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_nothing_is_written_over(tmp_path: Path, name: str) -> None:
    chosen = videos("nfs-original", count=1, length=1, size=SIZE)
    if name == "out":
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").touch()
    else:
        (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match="exists already; name another place"):
        write("nfs-original", chosen, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    (tmp_path / "empty").mkdir()
    write("nfs-original", chosen, tmp_path / "empty")
    assert (tmp_path / "empty/Gymnastics/30/Gymnastics/00001.jpg").is_file()


@pytest.mark.parametrize("name", ["deep/out", "deep/out.zip"])
def test_an_error_on_the_way_leaves_nothing(tmp_path: Path, name: str) -> None:
    def fail(done: int, total: int) -> None:
        raise RuntimeError("the disk is full")

    chosen = videos("nfs-original", count=1, length=1, size=SIZE)
    with pytest.raises(RuntimeError):
        write("nfs-original", chosen, tmp_path / name, fail)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        write("nfs-original", videos("nfs-original", count=1, length=1, size=SIZE), tmp_path / "file/out")


def test_every_layout_says_what_it_looks_like() -> None:
    assert set(LAYOUTS) == {
        *("lasot", "lasot_ext", "trackingnet", "got10k", "tnl2k", "nfs", "nfs-original", "uav123", "otb", "coco")
    }
    assert all(".jpg" in layout.description for layout in LAYOUTS.values())
