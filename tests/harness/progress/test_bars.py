"""How far a command is: bars on a terminal of 80 columns, plain lines everywhere else."""

import multiprocessing
import re
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
from rich.console import Console

from command_line import invoke
from trackablate.datasets.progress import FOLLOW, followed, unseen
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading import reader
from trackablate.datasets.reading.files import Folder
from trackablate.harness.cli.options import follow_opening
from trackablate.harness.cli.pieces import frame_count
from trackablate.harness.progress import bars
from trackablate.harness.progress.bars import Bars, PlainLines, clock, display, doing, step_bar
from trackablate.harness.progress.pace import Line
from video_factory import PNG, write

WHOLE = Line("all 12 runs", "3 done, 1 failed", 4000, 10_000, 6000, share=True)
LONG = Line("shuffled-template seed 2", "tracking synthetic-smoke", 12_345, 685_360, 7000, "loss 1.234, 12.2 steps/s")
NAMED = Line("a-row-with-a-name-that-a-user-gave-it", "validation", 12, 500, None)


def drawn(*lines: Line, width: int = 80, passed: float = 0.0, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What stands on a terminal some seconds after lines were shown."""
    text, now = StringIO(), [1000.0]
    monkeypatch.setattr(bars, "monotonic", lambda: now[0])
    shown = Bars(Console(file=text, width=width, force_terminal=True, color_system=None))
    shown.show(lines)
    text.truncate(text.seek(0))
    now[0] += passed
    shown.close()
    last = re.split(r"\x1b\[2K", text.getvalue())[-1]
    return [line.rstrip() for line in last.splitlines() if line.strip("\x1b[?25h ")]


def test_nothing_is_cut_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    found = drawn(WHOLE, LONG, NAMED, monkeypatch=monkeypatch)
    assert max(map(len, found)) <= 80
    assert re.fullmatch(r"all 12 runs after 0:00 +3 done, 1 failed +[━╸╺]* +40 % +1:40:00 left", found[0])
    assert re.fullmatch(r"shuffled-template seed 2 +tracking synthetic-smoke [━╸╺ ]+ 12k/685k +1:56:40 left", found[1])
    assert re.fullmatch(r"a-row-with-a-name-that-a-use +validation +[━╸╺ ]+ 12/500 +-:-- left", found[2])
    assert found[3] == "r-gave-it"
    assert "…" not in "".join(found)


def test_a_wide_terminal_shows_loss_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = drawn(LONG, width=120, monkeypatch=monkeypatch)
    assert "loss 1.234, 12.2 steps/s" in found


def test_brackets_in_a_name_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = drawn(Line("clip[/1].mp4 :cat:", "tracking [bold]x", 1, 10, 3), monkeypatch=monkeypatch)
    assert "clip[/1].mp4 :cat:" in found
    assert "tracking [bold]x" in found


def test_bars_count_down_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks while the page is drawn."""
    whole, row = drawn(WHOLE, LONG, passed=1000, monkeypatch=monkeypatch)
    assert "after 16:40" in whole
    assert "50 %" in whole
    assert "1:23:20 left" in whole
    assert "1:40:00 left" in row
    late = drawn(WHOLE, passed=9000, monkeypatch=monkeypatch)[0]
    assert "90 %" in late, "what takes longer than predicted is not at its end"
    assert "30:00 left" in late


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (-3, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90_000, "25:00:00")],
)
def test_a_time_in_words(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.fixture
def plain() -> Iterator[PlainLines]:
    """Lines every 50 ms."""
    lines = PlainLines(0.05)
    yield lines
    lines.close()


def test_a_file_gets_every_line_at_regular_times(plain: PlainLines, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(100):
        plain.show([WHOLE, Line("conv", "training", 231, 500, 90, "loss 1.234, 8.1 steps/s")])
    assert capsys.readouterr().err == "", "looking is no event"
    time.sleep(0.3)
    found = capsys.readouterr().err.splitlines()
    assert 4 <= len(found) <= 12
    assert re.fullmatch(r"0:0\d all 12 runs: 3 done, 1 failed 40 %, 1:40:00 left", found[0])
    assert re.fullmatch(r"0:0\d conv: training 231/500, loss 1.234, 8.1 steps/s, 1:30 left", found[1])


def test_a_file_soon_says_what_is_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Importing torch takes many seconds, in which nothing changes."""
    assert bars.FIRST <= 3
    monkeypatch.setattr(bars, "FIRST", 0.05)
    lines = PlainLines()
    lines.show([Line("all 2 runs", "loading torch, preparing", share=True)])
    time.sleep(0.3)
    lines.close()
    assert capsys.readouterr().err == "0:00 all 2 runs: loading torch, preparing\n"


def test_a_file_gets_one_line_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines()
    for phase in ("loading torch, preparing", "0 done", "1 done", "1 done", "measuring FPS"):
        lines.show([Line("all 2 runs", phase, 1, 2, 1, share=True), NAMED])
    lines.show([])
    lines.close()
    said = [re.sub(r"^0:0\d ", "", line) for line in capsys.readouterr().err.splitlines()]
    assert said == [f"all 2 runs: {phase} 50 %, 0:01 left" for phase in ("0 done", "1 done", "measuring FPS")]


@pytest.mark.parametrize(("told", "frames", "end"), [(-1.0, 0, "video"), (0.0, 0, "video"), (8.0, 8, "5/8, 0:03 left")])
def test_a_video_that_does_not_tell_its_length(
    tmp_path: Path,
    told: float,
    frames: int,
    end: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: SimpleNamespace(get=lambda _: told))
    clip = tmp_path / "clip.mp4"
    clip.touch()
    total = frame_count(clip)
    assert total == frames
    now = [1000.0]
    monkeypatch.setattr(bars, "monotonic", lambda: now[0])
    monkeypatch.setattr(bars, "display", lambda: PlainLines(0.05))
    with step_bar("video", total) as done:
        now[0] += 5
        done(5)
        time.sleep(0.15)
    assert capsys.readouterr().err.splitlines()[-1].rstrip(": ").endswith(end)


def test_what_says_nothing_of_itself_has_a_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "FIRST", 0.05)
    with doing("table3", "measuring", after=0.05):
        time.sleep(0.4)
    assert capsys.readouterr().err == "0:00 table3: measuring\n"
    with doing("table3", "measuring"):
        pass
    assert capsys.readouterr().err == ""


def test_no_terminal_no_bars(capsys: pytest.CaptureFixture[str]) -> None:
    shown = display()
    assert isinstance(shown, PlainLines)
    with step_bar("scoring lasot", 10) as done:
        done(5)
    assert capsys.readouterr().err == "", "it was over before there was anything to say"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """OTB with one sequence on a disk where a look at a file takes 2 ms, for a user whose patience ends after 50 ms."""
    write(tmp_path / "otb/Basketball", {"img/0001.png": PNG, "groundtruth_rect.txt": "1,1,5,5"})
    look = Folder.is_file

    def slowly(files: Folder, name: str) -> bool:
        time.sleep(0.002)
        return look(files, name)

    monkeypatch.setattr(Folder, "is_file", slowly)
    monkeypatch.setattr(bars, "OPENING", 0.05)
    before = FOLLOW.set(unseen)
    follow_opening()
    yield tmp_path / "otb"
    FOLLOW.reset(before)


def test_a_data_set_that_opens_slowly_says_so(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PROTOCOLS["otb"].open(slow)
    found = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"0:0\d opening otb: looking for sequences \d+/100, 0:0\d left", found[0])
    assert len(found) == 1, "the next line comes after half a minute"


def test_it_says_so_on_a_terminal(slow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = StringIO()
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(bars, "display", lambda first: Bars(console))
    PROTOCOLS["otb"].open(slow)
    assert re.search(r"opening otb +looking for sequences [━╸╺ ]+ \d+/\d+ +(0:0\d|-:--) left", text.getvalue())


def test_what_tells_nothing_is_shown_too(
    slow: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = reader.open_files
    monkeypatch.setattr(reader, "open_files", lambda root: time.sleep(0.3) or listed(root))
    PROTOCOLS["otb"].open(slow)
    assert re.match(r"0:00 opening otb: listing files\n", capsys.readouterr().err)


def test_fast_and_forked_and_inner_work_is_not_shown(slow: Path, capfd: pytest.CaptureFixture[str]) -> None:
    child = multiprocessing.get_context("fork").Process(target=PROTOCOLS["otb"].open, args=(slow,))
    child.start()
    child.join()
    with step_bar("scoring", 10):
        PROTOCOLS["otb"].open(slow)
    with followed("quick"):
        pass
    assert child.exitcode == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("command", ["data check", "score", "run", "train"])
def test_every_command_that_opens_data_shows_it(
    slow: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {
        "data check": ["data", "check", f"otb={slow}"],
        "score": ["score", f"A={slow}", "--protocol", "otb", "--annotations", slow, "--store", tmp_path / "store"],
        "run": [
            "run",
            "table3",
            "--profile",
            "smoke",
            "--protocol",
            "otb",
            "--data",
            f"otb={slow}",
            "--device",
            "none",
        ],
        "train": ["train", "ostrack-256", "--data", f"lasot={slow}", "--profile", "paper", "--device", "none"],
    }[command]
    monkeypatch.chdir(tmp_path)
    assert re.search(r"0:0\d opening \w+", invoke(*words).stderr)
