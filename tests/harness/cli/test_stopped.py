"""Commands that are stopped: one line says how to go on, the status names the signal, and no process is left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from command_line import attentive, invoke
from places import MINI

PATIENCE = 60.0
SLOW = """
import time
from trackablate.harness.scoring import raw_reading

raw_reading.WORTH_A_POOL = 1
raw_reading.usable_cores = lambda: 2
raw_reading._Reader.__call__ = lambda self, job: time.sleep(600)
"""


@contextmanager
def started(*words: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "trackablate", *map(str, words)]
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=attentive
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def children(pid: int) -> set[int]:
    """All processes that a process has started, and those that they have."""
    found = set()
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        own = set(map(int, tasks.read_text().split()))
        found |= own.union(*map(children, own))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "nothing happened for too long"
        time.sleep(0.05)


def orphans_of(process: subprocess.Popen[str], workers: set[int]) -> list[int]:
    """The workers that outlive the command."""
    process.wait(PATIENCE)
    end = time.monotonic() + 5
    while time.monotonic() < end and any(map(alive, workers)):
        time.sleep(0.05)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"])
def test_a_stopped_run_says_how_to_go_on_and_leaves_no_worker(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    with started("run", "table3", "--profile", "smoke", "--device", "cpu", cwd=tmp_path) as run:
        wait_until(lambda: (tmp_path / "store" / "logs").exists() and len(children(run.pid)) >= 1)
        time.sleep(1.0)  # so that they have begun to work
        workers = children(run.pid)
        run.send_signal(number)
        assert orphans_of(run, workers) == []
        said = run.communicate()[1].splitlines()
        by = "" if name == "SIGINT" else f" by {name}"
        assert said[-1] == f"stopped{by}; what was done is kept; the same command goes on from there"
        assert not any("Traceback" in line for line in said)
        assert run.returncode == 128 + number


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_while_it_trains_saves_a_checkpoint(tmp_path: Path, name: str) -> None:
    """It would make none by itself before step 2000."""
    steps = [f"--set=recipe.{field}=2000" for field in ("steps", "checkpoint_every")]
    words = ["run", "table3", "--profile", "smoke", "--only", "conv", "--device", "cpu", *steps]
    with started(*words, cwd=tmp_path) as run:
        trains = re.compile(r'"phase":"train","done":[1-9]')
        runs = tmp_path / "store" / "runs"
        wait_until(lambda: any(trains.search(file.read_text()) for file in runs.glob("vit*/progress.json")))
        workers = children(run.pid)
        run.send_signal(getattr(signal, name))
        assert orphans_of(run, workers) == []
        assert run.returncode == 128 + getattr(signal, name)
        said = run.communicate()[1].splitlines()
        assert said[-1].endswith("what was done is kept; the same command goes on from there")
        assert not any("Traceback" in line for line in said)
    (checkpoint,) = runs.glob("*/checkpoint.pt")
    assert 1 <= torch.load(checkpoint, weights_only=True)["step"] < 2000
    assert not list(runs.rglob("*.tmp"))


def test_a_training_is_watched_from_its_begin_until_it_is_killed(tmp_path: Path) -> None:
    def look() -> str:
        store = tmp_path / "store"
        return str(invoke("watch", "--store", store).stdout) if (store / "store.json").exists() else ""

    name = "train ostrack-256 at smoke-recipe.steps-2000"
    with started("train", "ostrack-256", "--profile", "smoke", "--set=recipe.steps=2000", cwd=tmp_path) as train:
        wait_until(lambda: look().startswith(f"{name}: loading torch, preparing"))
        wait_until(lambda: re.fullmatch(rf"{name}: running.*\nostrack-256: training [1-9].*\n", look()) is not None)
        train.kill()
        wait_until(lambda: look().startswith("nothing is at work in "))
    assert re.search(r"the last run, ostrack-256, stopped \((training|validation) \d+/2000\) at 2", look())


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_stopped_score_leaves_no_process(tmp_path: Path, name: str) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    words = ["score", f"static={MINI / 'results' / 'static'}", "--protocol", "lasot", "--plugin", "slow.py"]
    with started(*words, "--annotations", MINI / "annotations", cwd=tmp_path) as score:
        wait_until(lambda: len(children(score.pid)) >= 2)
        time.sleep(2.0)  # so that they have begun to work
        workers = children(score.pid)
        score.send_signal(getattr(signal, name))
        assert orphans_of(score, workers) == []
        said = score.communicate()[1]
        assert "Traceback" not in said
        assert name == "SIGKILL" or "the same command goes on" in said


def test_a_signal_that_the_caller_ignores_is_ignored(tmp_path: Path) -> None:
    """As under nohup: a terminal that closes ends nothing."""
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from trackablate.harness.cli.options import exit_status\n"
        "with exit_status():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print('goes on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "goes on\n")
