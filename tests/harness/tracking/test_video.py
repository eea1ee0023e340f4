"""Drawn videos: what they show, that they are whole however tracking ends, cameras and windows, and what is refused."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from command_line import attentive, invoke, said
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.sequence import Image
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store
from trackablate.harness.tracking import video
from trackablate.harness.tracking.overlay import LEAST_WIDTH, PALETTE, WHITE, Mark, colour_of, drawn
from trackablate.harness.tracking.video import frame_rate, frames_of, window, writing

WIDTH, HEIGHT, LENGTH = 640, 360, 12
BOX = "100,200,80,60"


def picture(number: int = 0) -> Image:
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    cv2.circle(image, (140 + 4 * number, 230), 25, (250, 250, 250), -1)
    return image


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store of the two floors and a video."""
    monkeypatch.chdir(tmp_path)
    for kind in ("static", "ncc"):
        Store(tmp_path / "store").run(RunSpec.model_validate({"tracker": {"kind": kind}})).claim()
    made("clip.mp4", LENGTH)
    return tmp_path


def made(name: str, length: int) -> None:
    writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), 25, (WIDTH, HEIGHT))
    for number in range(length):
        writer.write(picture(number))
    writer.release()


def near(image: Image, x: int, y: int, colour: tuple[int, int, int]) -> bool:
    """Whether a pixel next to (x, y) has a colour, as far as a codec keeps it."""
    around = image[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).astype(int)
    return bool((np.abs(around - colour).max(axis=1) < 60).any())


def test_boxes_are_drawn_where_they_are_and_told_apart() -> None:
    marks = [
        Mark("a", np.array([100.0, 200, 80, 60]), colour_of(0), "0.91"),
        Mark("truth", np.array([300.0, 100, 80, 60]), WHITE, dashed=True),
        Mark("lost", np.full(4, np.nan), colour_of(1)),
        Mark("far", np.array([1e9, 0, 5, 5]), colour_of(2)),
    ]
    plain = picture()
    shown = drawn(plain, 7, marks)
    assert np.array_equal(plain, picture()), "the frame itself stays as it is"
    assert shown.shape == plain.shape
    for x, y in ((100, 230), (180, 230), (140, 200), (140, 260)):
        assert tuple(shown[y, x]) == colour_of(0)
    top = (shown[100, 300:381] == WHITE).all(axis=1)
    assert 0.3 < top.mean() < 0.8, "the true box is dashed"
    assert not np.array_equal(shown, drawn(plain, 8, marks)), "the number of the frame is there"
    assert not np.array_equal(shown, drawn(plain, 7, [Mark("a", marks[0].box, colour_of(0), "0.92"), *marks[1:]]))
    assert len({colour_of(i) for i in range(len(PALETTE))}) == len(PALETTE)


def test_small_frames_are_enlarged_so_that_text_can_be_read() -> None:
    shown = drawn(np.zeros((90, 160, 3), np.uint8), 0, [Mark("a", np.array([40.0, 40, 20, 20]), colour_of(3))])
    assert shown.shape == (270, LEAST_WIDTH, 3)
    assert tuple(shown[150, 120]) == colour_of(3)


def test_a_tracked_video_with_several_runs(place: Path) -> None:
    plain = invoke("track", "ncc", "clip.mp4", "--init", BOX).stdout
    done = invoke("track", "ncc", "clip.mp4", "--init", BOX, "--with", "still=static", "--out", "new/out.mp4")
    assert (done.exit_code, done.stdout) == (0, ""), "the boxes are in the video"
    assert f"video: new/out.mp4 ({LENGTH} frames)" in done.stderr
    names = {folder.run.slug: folder.run.name for folder in Store(place / "store").runs()}
    assert f"tracking with ncc: a run of no stored study, seed 0: {names['ncc']}\n" in done.stderr
    assert f"tracking with still: a run of no stored study, seed 0: {names['static']}\n" in done.stderr
    frames = list(frames_of(Path("new/out.mp4")))
    assert (len(frames), frame_rate(Path("new/out.mp4"))) == (LENGTH, 25)
    boxes = [[float(v) for v in line.split(",")] for line in plain.splitlines()]
    x, y, _, h = boxes[-1]
    assert x > 130, "the target has moved"
    assert near(frames[-1], round(x), round(y + h / 2), colour_of(0))
    assert near(frames[-1], 100, 230, colour_of(1))
    assert [path.name for path in Path("new").iterdir()] == ["out.mp4"]
    both = said("track", "ncc", "clip.mp4", "--init", BOX, "--with", "still=static")
    assert both["with"] == {"still": [[100, 200, 80, 60]] * LENGTH}
    assert np.allclose(both["boxes"], boxes, atol=0.005)


@pytest.mark.parametrize(
    ("init", "inside"), [("600,200,80,60", "600,200,40,60"), ("-10,340.5,30,60", "0,340.5,20,19.5")]
)
def test_a_box_that_reaches_beyond_the_frame_is_told(place: Path, init: str, inside: str) -> None:
    done = invoke("track", "static", "clip.mp4", "--init", init)
    assert (
        f"--init {init} reaches beyond the first frame of 640 x 360 pixels; the part inside is {inside}" in done.stderr
    )
    assert [float(v) for v in done.stdout.splitlines()[0].split(",")] == [float(v) for v in init.split(",")]
    assert "beyond" not in invoke("track", "static", "clip.mp4", "--init", BOX).stderr


def test_the_score_is_drawn_where_the_tracker_has_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = []
    monkeypatch.setattr(
        "trackablate.harness.cli.pieces.drawn",
        lambda image, _, marks: notes.append([mark.note for mark in marks]) or image,
    )
    invoke("track", "ncc", "clip.mp4", "--init", BOX, "--with", "static", "--out", "out.avi")
    assert notes[0] == ["", ""]
    assert all(0.5 < float(ncc) <= 1 and static == "" for ncc, static in notes[1:])


def test_a_folder_of_images(place: Path) -> None:
    assert invoke("track", "static", "clip.mp4", "--init", BOX, "--out", "pictures").exit_code == 0
    assert sorted(path.name for path in Path("pictures").iterdir()) == [f"{i:08}.jpg" for i in range(LENGTH)]
    assert near(next(frames_of(Path("pictures"))), 100, 230, colour_of(0))


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("./clip.mp4", "--out clip.mp4 is the input: name another file"),
        ("out.gif", "write .mp4, .mov, .mkv, .avi, or a folder's name without an ending"),
        ("store", "--out store is a folder that is not empty: name a new one"),
        ("clip.mp4/out.mp4", "that can be written: name another"),
    ],
)
def test_outputs_that_are_refused_before_tracking(place: Path, out: str, told: str) -> None:
    before = (place / "clip.mp4").read_bytes()
    done = invoke("track", "static", "clip.mp4", "--init", BOX, "--out", out)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr
    assert (place / "clip.mp4").read_bytes() == before


def test_a_run_that_is_named_twice_is_refused(place: Path) -> None:
    done = invoke("track", "static", "clip.mp4", "--init", BOX, "--with", "static")
    assert done.exit_code == 2
    assert "--with 'static' is there twice: name it otherwise with --with NAME=RUN" in done.stderr


def test_frames_of_other_sizes_are_all_there(tmp_path: Path) -> None:
    """OpenCV drops them without a word."""
    with writing(tmp_path / "out.mp4", 30) as write:
        for width in (64, 96, 64):
            write(np.zeros((64, width, 3), np.uint8))
    assert len(list(frames_of(tmp_path / "out.mp4"))) == 3


def test_a_frame_that_was_written_but_not_counted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signal may come between the two."""
    monkeypatch.setattr(video, "frame_count", lambda _: 4)
    with video.writing(tmp_path / "out.mp4", 10.0) as write:
        for _ in range(3):
            write(np.zeros((32, 48, 3), np.uint8))
    assert capsys.readouterr().err.endswith("out.mp4 (4 frames)\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_file_is_whole_after_a_signal(place: Path, name: str) -> None:
    Path("slow.py").write_text(
        "import pathlib, time\n"
        "from trackablate.trackers.floors import StaticBox\n"
        "calls = []\n"
        "def update(self, image):\n"
        "    calls.append(time.sleep(0.05))\n"
        "    if len(calls) == 10: pathlib.Path('at-work').touch()\n"
        "    return self.box\n"
        "StaticBox.update = update\n"
    )
    made("long.mp4", 300)
    words = ["track", "static", "long.mp4", "--init", BOX, "--out", "out.mp4", "--plugin", "slow.py"]
    tracking = subprocess.Popen(
        [sys.executable, "-m", "trackablate", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=attentive,
    )
    try:
        end = time.monotonic() + 60
        while not Path("at-work").exists():
            assert time.monotonic() < end, "nothing is tracked"
            time.sleep(0.05)
        assert not Path("out.mp4").exists(), "it has its name when it is whole"
        tracking.send_signal(getattr(signal, name))
        stderr = tracking.communicate(timeout=60)[1]
    finally:
        tracking.kill()
    assert tracking.returncode == 128 + getattr(signal, name), stderr
    frames = len(list(frames_of(Path("out.mp4"))))
    assert 10 <= frames < 300
    assert f"video: out.mp4 ({frames} frames)" in stderr
    assert not list(place.glob(".out-*"))


def test_an_error_leaves_the_frames_before_it(tmp_path: Path) -> None:
    def interrupted() -> None:
        with writing(tmp_path / "out.mp4", 30) as write:
            write(picture())
            raise ValueError

    with pytest.raises(ValueError):
        interrupted()
    assert len(list(frames_of(tmp_path / "out.mp4"))) == 1


def test_a_video_that_lacks_frames_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV itself is silent on a full disk."""
    (tmp_path / "out.mp4").write_text("of before")

    def full() -> None:
        with writing(tmp_path / "out.mp4", 30) as write:
            for _ in range(3):
                write(picture())
            monkeypatch.setattr("trackablate.harness.tracking.video.frame_count", lambda _: 1)

    with pytest.raises(OSError, match="holds 1 of 3 frames") as caught:
        full()
    assert caught.value.filename == str(tmp_path / "out.mp4")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of before"]


def test_a_camera_ends_with_ctrl_c(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Camera:
        def __init__(self, number: object) -> None:
            asked.append(number)
            self.seen = 0

        def read(self) -> tuple[bool, Image]:
            self.seen += 1
            if self.seen > 4:
                raise KeyboardInterrupt
            return True, picture(self.seen)

        def release(self) -> None: ...

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    done = invoke("track", "static", "1", "--init", BOX, "--json", "--out", "pictures")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["boxes"] == [[100, 200, 80, 60]] * 4
    assert asked == [1]
    assert len(list(Path("pictures").iterdir())) == 4


def test_a_camera_that_is_not_there(place: Path) -> None:
    done = invoke("track", "static", "97", "--init", BOX)
    assert done.exit_code == 2
    assert "camera 97 gives no image: is it connected" in done.stderr


def test_a_folder_with_a_number_for_a_name_is_no_camera(place: Path) -> None:
    Path("0").mkdir()
    cv2.imwrite("0/1.png", picture())
    assert len(list(frames_of(Path("0")))) == 1


def test_a_window_where_there_is_no_display(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    done = invoke("track", "static", "clip.mp4", "--init", BOX, "--show")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--show: there is no display here" in done.stderr
    assert "write a file with --out clip.mp4" in done.stderr


@pytest.fixture
def toolkit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """tkinter without a display, which keeps what it shows."""
    kept: Any = ModuleType("tkinter")
    kept.shown, kept.close, kept.destroyed = [], None, False

    class Root:
        def protocol(self, _: str, close: object) -> None:
            kept.close = close

        def title(self, _: str) -> None: ...
        def update(self) -> None: ...
        def destroy(self) -> None:
            kept.destroyed = True

    class Label:
        def __init__(self, _: object) -> None: ...
        def pack(self) -> None: ...
        def configure(self, image: object) -> None:
            kept.shown.append(image)

    kept.Tk, kept.Label, kept.TclError = Root, Label, RuntimeError
    kept.PhotoImage = lambda data, **_: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    monkeypatch.setitem(sys.modules, "tkinter", kept)
    return kept


def test_a_window_shows_every_frame_until_it_is_closed(toolkit: Any) -> None:
    def closed() -> None:
        with window() as write:
            write(picture(0))
            toolkit.close()
            write(picture(1))

    with pytest.raises(KeyboardInterrupt):
        closed()
    assert [np.array_equal(image, picture(i)) for i, image in enumerate(toolkit.shown)] == [True, True]
    assert toolkit.destroyed


def test_the_video_of_an_evaluated_sequence_has_its_boxes_and_the_true_ones(place: Path) -> None:
    words = ("evaluate", "static", "--protocol", "synthetic-smoke", "--device", "cpu")
    (file,) = said(*words, "--save-video", "target-test-0002")["videos"]
    assert file.startswith("video/synthetic-smoke-static-")
    frames = list(frames_of(Path(file)))
    sequence = PROTOCOLS["synthetic-smoke"].open(None)[2]
    assert len(frames) == len(sequence) == 8
    (x, y, w, _), (true_x, true_y, true_w, _) = 3 * sequence.boxes[0], 3 * sequence.boxes[-1]
    assert near(frames[-1], round(x + w / 2), round(y), colour_of(0)), "3 times as large as 160 px"
    top = [near(frames[-1], round(at), round(true_y), WHITE) for at in np.linspace(true_x, true_x + true_w, 20)]
    assert sum(top) > 5


def test_a_video_of_a_sequence_that_is_none_is_refused_before_tracking(place: Path) -> None:
    done = invoke("evaluate", "static", "--protocol", "synthetic-smoke", "--save-video", "target-test-2")
    assert done.exit_code == 2
    assert "--save-video: no sequence of synthetic-smoke is called 'target-test-2': did you mean target-test-000" in (
        done.stderr
    )
    assert not list(place.glob("store/runs/*/evaluations"))
