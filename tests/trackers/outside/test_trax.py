"""Any program that speaks TraX is a tracker, here with the protocol's own Python server."""

import sys
from pathlib import Path

import numpy as np
import pytest

from trackablate.trackers.outside.named import outside_tracker
from trackablate.trackers.outside.processes import OutsideTracker, TrackerFailed, TrackerUnusable

pytest.importorskip("trax")
SERVER = """
import sys, time
import numpy as np
import cv2
import trax

image_format, region_format, how = sys.argv[1:]
with trax.Server([region_format], [image_format], tracker_name="reference") as server:
    while True:
        request = server.wait()
        if request.type in ("quit", "error"):
            break
        image = request.image["color"]
        if image_format == "memory":
            pixels = image.array()
        elif image_format == "buffer":
            pixels = cv2.imdecode(np.frombuffer(image.buffer(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        else:
            pixels = cv2.imread(image.path())[..., ::-1]
        if request.type == "initialize":
            region = request.objects[0][0]
            corners = list(region) if region.type == "polygon" else None
            x, y, w, h = (*corners[0], *np.subtract(corners[2], corners[0])) if corners else region.bounds()
        elif how == "hangs":
            time.sleep(60)
        elif how == "ends":
            sys.exit(3)
        x += int(pixels[0, 0, 0]) if request.type == "frame" else 0  # the red of the first pixel
        box = trax.Rectangle.create(x, y, w, h)
        if region_format == "polygon":
            box = trax.Polygon.create([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        server.status([(box, {})])
"""


def program(tmp_path: Path, *words: str, timeout: float = 30.0) -> OutsideTracker:
    (tmp_path / "server.py").write_text(SERVER)
    found = outside_tracker(f"trax: {sys.executable} {tmp_path / 'server.py'} {' '.join(words)}")
    assert found is not None
    return OutsideTracker(found.model_copy(update={"timeout": timeout}))


def images() -> list[np.ndarray]:
    return [np.full((40, 60, 3), (value, 0, 99), dtype=np.uint8) for value in (1, 2, 3)]


@pytest.mark.parametrize("image_format", ["memory", "buffer", "path"])
@pytest.mark.parametrize("region_format", ["rectangle", "polygon"])
def test_a_program_tracks(tmp_path: Path, image_format: str, region_format: str) -> None:
    tracker = program(tmp_path, image_format, region_format, "well")
    for _ in range(2):
        tracker.initialise(images()[0], np.array([10.0, 5, 8, 6]))
        assert [tracker.update(image).tolist() for image in images()[1:]] == [[12, 5, 8, 6], [15, 5, 8, 6]]
    tracker.close()


def test_a_program_that_hangs_ends_or_is_not_there_is_reported(tmp_path: Path) -> None:
    box = np.array([10.0, 5, 8, 6])
    hangs = program(tmp_path, "memory", "rectangle", "hangs", timeout=2.0)
    hangs.initialise(images()[0], box)
    with pytest.raises(TrackerFailed, match="gave no answer within 2 s"):
        hangs.update(images()[1])
    ends = program(tmp_path, "memory", "rectangle", "ends")
    ends.initialise(images()[0], box)
    with pytest.raises(TrackerFailed, match="TraxException"):
        ends.update(images()[1])
    absent = outside_tracker("trax: /absent/program")
    assert absent is not None
    with pytest.raises(TrackerUnusable, match="No such file"):
        OutsideTracker(absent).initialise(images()[0], box)
