"""Outside trackers run in a process of their own, and nothing that they do hangs or ends ours."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trackablate.trackers.outside.processes import OutsideTracker, TrackerFailed, TrackerUnusable
from trackablate.trackers.spec import OutsideSpec

CODE = '''
import os, random, subprocess, sys, time
import numpy as np

try:
    import got10k.trackers
except ImportError:  # in an isolated Python
    from types import SimpleNamespace

    got10k = SimpleNamespace(trackers=SimpleNamespace(Tracker=object))

count = 0


class Mover:
    """Moves the box by a step, and says what it sees."""

    def __init__(self, step=1.0):
        self.step = step

    def init(self, image, box):
        assert image.dtype == np.uint8 and image.flags.writeable
        print("a line on standard output")
        self.box, self.first = np.array(box), image[0, 0].tolist()

    def update(self, image):
        image[:] = 0
        self.box[0] += self.step
        return self.box


class Heavy:
    def __init__(self, megabytes):
        code = "held = b'x' * %d; print(flush=True); input()" % (megabytes * 2**20)
        self.child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.child.stdout.readline()

    def initialise(self, image, box):
        pass

    def update(self, image):
        return [1, 1, 1, 1]


class Random:
    def initialise(self, image, box):
        pass

    def update(self, image):
        return [random.random(), np.random.rand(), 1, 1]


class Bad:
    def __init__(self, how):
        self.how = how

    def initialise(self, image, box):
        pass

    def update(self, image):
        if self.how == "raises":
            raise ValueError("no such thing")
        if self.how == "hangs":
            time.sleep(60)
        if self.how == "hangs with a child":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            time.sleep(60)
        if self.how == "ends":
            sys.stderr.write("my last words\\n")
            os._exit(3)
        if self.how == "crashes":
            os.kill(os.getpid(), 11)
        return {"nan": [1, 2, float("nan"), 4], "short": [1, 2], "negative": [1, 2, -3, 4], "text": "none"}[self.how]


class OfToolkit(got10k.trackers.Tracker):
    def __init__(self):
        super().__init__("mine", is_deterministic=True)

    def init(self, image, box):
        self.box = box

    def update(self, image):
        return [*image.size, *image.getpixel((0, 0))[:2]]


class NoMethods:
    pass
'''
BOX = np.array([10.0, 20, 30, 40])


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.full((120, 160, 3), 7, dtype=np.uint8)


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outsiders.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)


def tracker(name: str, timeout: float = 30.0, python: str = "", **arguments: Any) -> OutsideTracker:
    return OutsideTracker(OutsideSpec(target=f"outsiders:{name}", arguments=arguments, timeout=timeout, python=python))


@pytest.mark.parametrize("python", ["", sys.executable])
def test_a_class_of_the_got10k_toolkits_form_tracks(image: NDArray[np.uint8], python: str) -> None:
    mover = tracker("Mover", python=python, step=2.5)
    mover.initialise(image, BOX)
    assert mover.update(image).tolist() == [12.5, 20, 30, 40]
    assert mover.update(image).tolist() == [15, 20, 30, 40]
    assert (image == 7).all()
    mover.initialise(image, BOX)
    assert mover.update(image).tolist() == [12.5, 20, 30, 40], "a new instance for each sequence"
    about = mover.about()
    assert about["params"] is None
    assert 1e6 < about["memory_bytes"] < 1e10
    mover.close()
    mover.close()


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: the peaks of several processes are Linux's")
def test_memory_is_that_of_the_tracker_and_of_what_it_has_started_not_ours(image: NDArray[np.uint8]) -> None:
    held = np.ones(50_000_000)  # 400 MB of ours
    peaks = []
    for megabytes in (0, 300):
        heavy = tracker("Heavy", megabytes=megabytes)
        heavy.initialise(image, BOX)
        peaks.append(heavy.about()["memory_bytes"])
        heavy.close()
    assert peaks[0] < 3e8 < held.nbytes
    assert 3e8 < peaks[1] < 7e8


def test_a_tracker_of_got10ks_toolkit_gets_its_kind_of_image(image: NDArray[np.uint8]) -> None:
    one = tracker("OfToolkit")
    one.initialise(image, BOX)
    assert one.update(image).tolist() == [160, 120, 7, 7]


def test_the_worker_needs_nothing_of_the_project(tmp_path: Path) -> None:
    """It runs where neither the project nor its dependencies are: an isolated Python that knows NumPy alone."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "numpy").symlink_to(Path(np.__file__).parent)
    libraries = Path(np.__file__).parents[1] / "numpy.libs"
    if libraries.is_dir():
        (tmp_path / "site" / "numpy.libs").symlink_to(libraries)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/site exec {os.path.realpath(sys.executable)} -S "$@"\n')
    python.chmod(0o755)
    absent = subprocess.run([python, "-c", "import trackablate"], capture_output=True, check=False)
    assert absent.returncode != 0
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    mover = tracker("Mover", python=str(python))
    mover.initialise(image, BOX)
    assert mover.update(image).tolist() == [11, 20, 30, 40]
    mover.close()


def test_what_a_tracker_draws_does_not_depend_on_the_sequences_before(image: NDArray[np.uint8]) -> None:
    draws = tracker("Random")
    found = []
    for frames in (3, 1):
        draws.initialise(image, BOX)
        found.append([draws.update(image).tolist() for _ in range(frames)])
    assert found[0][0] == found[1][0]
    assert found[0][0] != found[0][1]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", r"ValueError: no such thing \(outsiders\.py, line \d+\)"),
        ("ends", "its process ended with exit status 3: my last words"),
        ("crashes", "its process ended by SIGSEGV"),
        ("nan", r"gave \[1\.0, 2\.0, nan, 4\.0\], which is no box x, y, w, h"),
        ("short", r"gave \[1\.0, 2\.0\], which is no box"),
        ("negative", r"gave \[1\.0, 2\.0, -3\.0, 4\.0\], which is no box"),
        ("text", "gave 'none', which is no box"),
    ],
)
def test_a_failure_says_what_happened_and_the_next_sequence_goes_on(
    image: NDArray[np.uint8], how: str, message: str
) -> None:
    bad = tracker("Bad", how=how)
    for _ in range(2):
        bad.initialise(image, BOX)
        with pytest.raises(TrackerFailed, match=message):
            bad.update(image)
    with pytest.raises(TrackerFailed, match="it has ended on this sequence before"):
        bad.update(image)


@pytest.mark.parametrize("how", ["hangs", "hangs with a child"])
def test_a_tracker_that_hangs_is_ended(image: NDArray[np.uint8], how: str) -> None:
    slow = tracker("Bad", timeout=1.0, how=how)
    slow.initialise(image, BOX)
    started = time.monotonic()
    with pytest.raises(TrackerFailed, match="gave no answer within 1 s"):
        slow.update(image)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("name", "python", "message"),
    [
        ("Absent", "", r"outsiders:Absent cannot be started: AttributeError: .*no attribute 'Absent'"),
        ("NoMethods", "", r"NoMethods has no methods initialise\(image, box\) and update\(image\)"),
        ("Mover", "/absent/python", "/absent/python does not start"),
        ("Bad", "", r"Bad\(\) cannot be started|missing 1 required positional argument: 'how'"),
    ],
)
def test_what_cannot_be_started_is_said(image: NDArray[np.uint8], name: str, python: str, message: str) -> None:
    with pytest.raises(TrackerUnusable, match=message):
        tracker(name, python=python).initialise(image, BOX)


def test_the_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Also if that was killed while the tracker hangs."""
    script = (
        "import numpy as np, os\n"
        "from trackablate.trackers.outside.processes import OutsideTracker\n"
        "from trackablate.trackers.spec import OutsideSpec\n"
        "t = OutsideTracker(OutsideSpec(target='outsiders:Bad', arguments={'how': 'hangs'}))\n"
        "image = np.zeros((4, 4, 3), np.uint8)\n"
        "t.initialise(image, np.array([0, 0, 1, 1.0]))\n"
        "print(t._process.pid, flush=True)\n"
        "t.update(image)\n"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and alive(worker):
        time.sleep(0.1)
    assert not alive(worker)


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
