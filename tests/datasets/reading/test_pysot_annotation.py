"""pysot's JSON files as annotation: the boxes and flags of the data set's own files."""

import json
from pathlib import Path
from typing import Any

import pytest

from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import PROTOCOLS
from video_factory import boxes, write

BOX = [[2.0, 3.0, 10.0, 12.5], [3.0, 3.0, 10.0, 12.0], [4.0, 3.0, 10.0, 12.0]]


def _json(tmp_path: Path, **videos: Any) -> Path:
    about = {"video_dir": "x", "init_rect": BOX[0], "img_names": ["x/img/0001.jpg"], "attr": []}
    (tmp_path / "pysot.json").write_text(json.dumps({name: {**about, **video} for name, video in videos.items()}))
    return tmp_path / "pysot.json"


def test_boxes_and_flags_are_those_of_the_data_set(tmp_path: Path) -> None:
    """Its `absent` is 1 where the target is there."""
    rows = "".join(f"{x},{y},{w},{h}\n" for x, y, w, h in BOX)
    flags = {"annos/absent/airplane-1.txt": "0\n1\n0\n"}
    own = PROTOCOLS["lasot"].open(write(tmp_path / "own", {"annos/airplane-1.txt": rows, **flags}))
    found = PROTOCOLS["lasot"].open(
        _json(tmp_path, **{"airplane-1": {"gt_rect": BOX, "absent": [1, 0, 1]}}), tmp_path / "i"
    )
    assert (found.names, found.coverage, found.digest()) == (own.names, own.coverage, own.digest())
    assert found[0].boxes.tolist() == own[0].boxes.tolist()
    assert found[0].visible.tolist() == [True, False, True]


def test_otbs_targets_have_our_names_and_tiger1_begins_at_frame_6(tmp_path: Path) -> None:
    tiger = [[n, 3, 10, 12] for n in range(6, 355)]
    jogging = [[n, 3, 10, 12] for n in range(1, 308)]
    file = _json(tmp_path, **{"Tiger1": {"gt_rect": tiger}, "Jogging-2": {"gt_rect": jogging}})
    found = {one.name: one.boxes for one in PROTOCOLS["otb"].open(file)}
    assert {name: (len(each), each[0].tolist()) for name, each in found.items()} == {
        "Jogging_2": (307, [0, 2, 10, 12]),
        "Tiger1": (349, [5, 2, 10, 12]),
    }
    write(tmp_path / "own", {"Tiger1/groundtruth_rect.txt": boxes(354, "%d,3,10,12\n", 1)})
    assert PROTOCOLS["otb"].open(tmp_path / "own")[0].boxes.tolist() == found["Tiger1"].tolist()


def test_frames_without_a_box_are_nan(tmp_path: Path) -> None:
    file = _json(tmp_path, bike2={"gt_rect": [*[[1, 1, 5, 5]] * 552, [float("nan")] * 4]})
    sequence = PROTOCOLS["uav123"].open(file)[0]
    assert (len(sequence.boxes), sequence.visible[-2:].tolist()) == (553, [True, False])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"airplane-1": {}}', '{"airplane-1": {"gt_rect": [["a"]]}}'])
def test_another_json_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"x\.json: (is no annotation of pysot|holds no sequence of LaSOT's test set)"):
        PROTOCOLS["lasot"].open(tmp_path / "x.json")


def test_the_number_of_boxes_is_checked(tmp_path: Path) -> None:
    file = _json(tmp_path, Tiger1={"gt_rect": [[1, 1, 5, 5]] * 346})
    with pytest.raises(DataError, match="346 boxes for 354 frames"):
        PROTOCOLS["otb"].open(file).check_annotations()
