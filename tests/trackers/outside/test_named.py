"""Outside trackers by name and by the text that a user writes; OpenCV's as the example."""

import sys
from typing import Any

import cv2
import numpy as np
import pytest

from trackablate.datasets.errors import DataError
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.spec import RunSpec
from trackablate.trackers.outside import named
from trackablate.trackers.outside.named import OUTSIDE, TRAX, fault_of, outside_tracker
from trackablate.trackers.outside.opencv import OpenCV, kinds
from trackablate.trackers.outside.processes import OutsideTracker, TrackerUnusable
from trackablate.trackers.spec import OutsideSpec


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("my.trackers:Siam", {"target": "my.trackers:Siam"}),
        (
            'my.trackers:Siam(weights="a (1).pth", size=255, on=True, grid=(1, 2))',
            {
                "arguments": {"weights": "a (1).pth", "size": 255, "on": True, "grid": [1, 2]},
                "target": "my.trackers:Siam",
            },
        ),
        ("/envs/x/bin/python siam:Siam()", {"target": "siam:Siam", "python": "/envs/x/bin/python"}),
        ("trax: matlab -r run", {"target": TRAX, "arguments": {"command": "matlab -r run"}}),
    ],
)
def test_a_text_names_a_tracker(text: str, fields: dict[str, Any]) -> None:
    assert outside_tracker(text) == OutsideSpec(**fields)


@pytest.mark.parametrize("text", ["ostrack-256", "a run", "C:\\x y", "my-run-1a2b"])
def test_other_names_are_not_taken_for_one(text: str) -> None:
    assert outside_tracker(text) is None


@pytest.mark.parametrize("call", ["(3)", "(a=b)", "(**{})", "(a=1", "(a={1})"])
def test_arguments_that_are_no_values_are_refused(call: str) -> None:
    text = f"m:C{call}"
    if not call.endswith(")"):
        assert outside_tracker(text) is None
        return
    with pytest.raises(DataError, match=r"cannot be read .*write module:Class\(key=1"):
        outside_tracker(text)


def test_no_program_is_refused() -> None:
    with pytest.raises(DataError, match="names no program: write 'trax: COMMAND'"):
        outside_tracker("trax: ")


def test_arguments_are_part_of_what_a_run_is() -> None:
    runs = [RunSpec(tracker=OutsideSpec(target="m:C", arguments=dict(a))) for a in ({"x": 1}, {"x": 2}, {"x": 1})]
    assert runs[0].name == runs[2].name != runs[1].name
    assert runs[0].name.startswith("c-1-")
    assert RunSpec.model_validate_json(runs[0].model_dump_json()) == runs[0]
    assert not runs[0].one_shot, "nobody here knows what it was trained on"


def test_opencvs_tracker_follows_a_target() -> None:
    assert "MIL" in kinds()
    video = make_sequence("source", 0, length=6, split="val")
    tracker = OutsideTracker(OUTSIDE["opencv-mil"])
    direct = OpenCV("MIL")
    cv2.setRNGSeed(0)
    for one in (tracker, direct):
        one.initialise(video.frames[0], video.boxes[0])
    boxes = [tracker.update(video.frames[i]) for i in range(1, 6)]
    assert np.array_equal(boxes, [direct.update(video.frames[i]) for i in range(1, 6)]), "in its process as in this one"
    assert all(box[2] > 0 for box in boxes)


def test_a_kind_that_this_opencv_lacks_is_named_with_the_remedy() -> None:
    with pytest.raises(ImportError, match=r"has no tracker Nothing, only .*MIL.*opencv-contrib-python"):
        OpenCV("Nothing")
    with pytest.raises(TypeError, match="TrackerMIL has no parameter colour"):
        OpenCV("MIL", colour=1)
    absent = next((kind for kind in ("CSRT", "KCF") if kind not in kinds()), None)
    if absent:
        video = make_sequence("source", 0, length=2, split="val")
        with pytest.raises(TrackerUnusable, match="opencv-contrib-python"):
            OutsideTracker(OUTSIDE[f"opencv-{absent.lower()}"]).initialise(video.frames[0], video.boxes[0])


def test_what_cannot_be_used_here_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name: fault_of(spec) == "" for name, spec in OUTSIDE.items()} == {
        name: spec.arguments["kind"] in kinds() for name, spec in OUTSIDE.items()
    }
    assert fault_of(OutsideSpec(target="json:Siam")) == ""
    assert fault_of(OutsideSpec(target="no_such_module.siam:Siam")) == "there is no module no_such_module here"
    assert fault_of(OutsideSpec(target="siam:Siam", python="/no/python")) == "there is no /no/python"
    assert fault_of(OutsideSpec(target="siam:Siam", python=sys.executable)) == "", "what that one has is its own affair"
    monkeypatch.setattr(named, "find_spec", lambda _name: None)
    assert fault_of(OutsideSpec(target=TRAX)) == "pip install vot-trax"
