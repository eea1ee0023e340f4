"""COCO 2017 as videos of one frame: objects and crowds, both layouts, the index, and bad annotation."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trackablate.datasets.benchmarks import coco
from trackablate.datasets.benchmarks.coco import CocoObjects, read_objects
from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS

IMAGES = [{"id": 25, "file_name": "000000000025.jpg"}, {"id": 9, "file_name": "000000000009.jpg"}]


def _object(number: int, image: int, box: list[Any], iscrowd: int = 0) -> dict[str, Any]:
    return {"id": number, "image_id": image, "bbox": box, "iscrowd": iscrowd, "segmentation": [[1, 2, 3, 4]]}


OBJECTS = [
    _object(701, 9, [1.5, 2, 10, 12]),
    _object(702, 9, [0, 0, 30, 20], iscrowd=1),
    _object(44, 25, [3, 4, 0, 7.25]),
    _object(703, 25, [5, 6, 8, 9]),
]


def _make(root: Path, folder: str = "images/train2017", objects: list[dict[str, Any]] = OBJECTS) -> Path:
    (root / folder).mkdir(parents=True)
    for number in (9, 25):
        picture = np.full((20, 30, 3), number, np.uint8)
        (root / folder / f"{number:012d}.jpg").write_bytes(bytes(cv2.imencode(".jpg", picture)[1]))
    (root / "annotations").mkdir()
    file = root / "annotations/instances_train2017.json"
    content = json.dumps({"info": {}, "images": IMAGES, "annotations": objects, "categories": []})
    file.write_text(content, encoding="utf-8-sig")  # a mark of byte order is no part of it
    return file


@pytest.mark.parametrize("folder", ["images/train2017", "train2017"])
def test_an_object_is_a_video_of_one_frame(tmp_path: Path, folder: str) -> None:
    _make(tmp_path, folder)
    objects = coco.TRAIN(tmp_path)
    objects.check(deep=True)
    assert objects.names == ("train2017-701", "train2017-44", "train2017-703")
    assert objects.coverage == "3 objects in 2 images"
    assert [len(s) for s in objects] == [1, 1, 1]
    assert [s.boxes.tolist() for s in objects] == [[[1.5, 2, 10, 12]], [[3, 4, 0, 7.25]], [[5, 6, 8, 9]]]
    assert [int(s.frames[0].mean()) for s in objects] == [9, 25, 25]
    assert objects[-1].name == "train2017-703"


def test_an_object_without_an_area_is_not_visible(tmp_path: Path) -> None:
    _make(tmp_path)
    assert [s.visible.tolist() for s in coco.TRAIN(tmp_path)] == [[True], [False], [True]]


def test_it_is_read_from_an_archive(tmp_path: Path) -> None:
    _make(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "coco.zip", "w") as archive:
        for file in (tmp_path / "data").rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path / "data"))
    objects = coco.TRAIN(tmp_path / "coco.zip")
    objects.check(deep=True)
    assert objects.digest() == coco.TRAIN(tmp_path / "data").digest()


def test_the_index_spares_parsing_until_the_annotation_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    monkeypatch.setattr(coco, "read_objects", lambda *a: parsed.append(1) or read_objects(*a))
    file = _make(tmp_path / "data")
    first = coco.TRAIN(tmp_path / "data", tmp_path / "index")
    second = coco.TRAIN(tmp_path / "data", tmp_path / "index")
    assert len(parsed) == 1
    assert first.digest() == second.digest()
    assert [s.boxes.tolist() for s in first] == [s.boxes.tolist() for s in second]
    file.write_text(file.read_text().replace("1.5", "1.25"))
    assert coco.TRAIN(tmp_path / "data", tmp_path / "index")[0].boxes[0, 0] == 1.25
    assert len(parsed) == 2
    for kept in (tmp_path / "index").iterdir():
        kept.write_bytes(kept.read_bytes()[:200])
    assert len(coco.TRAIN(tmp_path / "data", tmp_path / "index")) == 3
    assert len(parsed) == 3
    assert [p.name for p in (tmp_path / "index").iterdir()] == ["coco-train2017.npz"]


def test_an_index_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    _make(tmp_path / "data")
    (tmp_path / "index").touch()
    with pytest.raises(DataError, match="the index cannot be written"):
        coco.TRAIN(tmp_path / "data", tmp_path / "index")


def test_digest_and_stamp_follow_the_annotation(tmp_path: Path) -> None:
    _make(tmp_path / "a")
    _make(tmp_path / "b", objects=[*OBJECTS[:3], _object(703, 25, [5, 6, 8, 10])])
    _make(tmp_path / "c", objects=[*OBJECTS[:3], _object(703, 9, [5, 6, 8, 9])])
    _make(tmp_path / "d", objects=[*OBJECTS[:3], _object(704, 25, [5, 6, 8, 9])])
    found = [coco.TRAIN(tmp_path / name) for name in "abcd"]
    assert len({objects.digest() for objects in found}) == 4
    assert found[0].stamp(0) != found[0].stamp(1)
    assert found[0].stamp(0) != found[1].stamp(0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "the file: Invalid JSON"),
        ("[]", "the file: "),
        ('{"images": []}', "annotations: Field required"),
        (json.dumps({"images": IMAGES, "annotations": []}), "has no object"),
        (
            json.dumps({"images": IMAGES, "annotations": [_object(1, 77, [1, 2, 3, 4])]}),
            "id.1: its image is not listed",
        ),
        (json.dumps({"images": IMAGES, "annotations": [_object(1, 9, [1, 2, 3])]}), "annotations.0.bbox"),
        (json.dumps({"images": IMAGES, "annotations": [_object(1, 9, [1, 2, 3, "x"])]}), "annotations.0.bbox.3"),
        (json.dumps({"images": IMAGES, "annotations": [_object(1, 9, [1, 2, 3, float("nan")])]}), "bbox.3"),
        (json.dumps({"images": IMAGES, "annotations": [_object(1, 9, [1, 2, 3, 4], iscrowd=2)]}), "0.iscrowd"),
        (json.dumps({"images": IMAGES * 2, "annotations": OBJECTS}), "two images or two objects with the same id"),
        (
            json.dumps({"images": IMAGES, "annotations": OBJECTS + OBJECTS[:1]}),
            "two images or two objects with the same id",
        ),
        (json.dumps({"images": [{"id": 9, "file_name": "../9.jpg"}], "annotations": OBJECTS}), "images.0.file_name"),
    ],
)
def test_bad_annotation_is_refused(content: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_objects(content.encode(), Path("instances.json"))
    assert f"instances.json: {said}" in str(caught.value) or said in str(caught.value)
    assert str(caught.value).rstrip().endswith("restore it from COCO 2017")


def test_every_fault_is_listed() -> None:
    faulty = json.dumps({"images": IMAGES, "annotations": [_object(n, 9, [1, 2]) for n in range(12)]})
    with pytest.raises(DataError) as caught:
        read_objects(faulty.encode(), Path("instances.json"))
    assert len(caught.value.problems) >= 12


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    file = _make(tmp_path)
    (tmp_path / "images/train2017/000000000025.jpg").unlink()
    objects = coco.TRAIN(tmp_path)
    objects.check_annotations()
    with pytest.raises(DataError, match=r"000000000025\.jpg: is missing"):
        objects.check(deep=True)
    file.unlink()
    with pytest.raises(DataError, match=r"instances_train2017\.json: is missing"):
        coco.TRAIN(tmp_path)


def test_some_images_are_looked_at_and_all_when_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(tmp_path)
    (tmp_path / "images/train2017/000000000025.jpg").unlink()
    monkeypatch.setattr(coco, "SAMPLED", 1)
    told: list[tuple[int, int]] = []
    objects = coco.TRAIN(tmp_path)
    assert isinstance(objects, CocoObjects)
    objects.check(progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]
    with pytest.raises(DataError):
        objects.check(deep=True)


def test_it_is_for_training_only() -> None:
    assert set(DATA_SETS["coco"].parts) == {"train2017", "val2017"}
    assert not DATA_SETS["coco"].protocols
    assert not [name for name, protocol in PROTOCOLS.items() if protocol.data == "coco"]
