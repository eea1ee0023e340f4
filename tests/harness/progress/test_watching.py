"""What is at work in a store, told from the store alone."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import store_factory
from command_line import invoke, said
from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import run_of
from trackablate.datasets.lease import Holder
from trackablate.harness.documents import write_document
from trackablate.harness.profiles import load_profile
from trackablate.harness.progress.announcing import GONE, CommandProgress, also_said, announced
from trackablate.harness.progress.forecaster import DRAWING, PREPARING, SPEED
from trackablate.harness.progress.pace import Line
from trackablate.harness.progress.watching import Watch
from trackablate.harness.record import PhaseProgress
from trackablate.harness.run_folder import RunFolder
from trackablate.harness.store import Store
from trackablate.trackers.variants import VARIANTS

SMOKE = load_profile("smoke")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store where table3 has a row that failed and one that is not done."""
    made = Store(tmp_path / "store")
    store_factory.fill(made, STUDIES["table3"], SMOKE, unfinished=("ce-conv",), failed="decoder")
    return made


def unfinished(store: Store) -> RunFolder:
    record = store.study("table3", "smoke")
    assert record is not None
    folder = store.run(next(row.run for row in record.rows if row.name == "ce-conv"))
    folder.claim()
    return folder


def test_a_run_at_work_has_a_line_with_its_rate(store: Store) -> None:
    folder, watch = unfinished(store), Watch(store)
    folder.set_progress(PhaseProgress(phase="train", done=10, total=100, row="ce-conv", loss=1.25))
    (line,) = watch.look()
    assert line.phase == "not running", "what it says of itself is from a process that has gone"
    with folder.lock():
        look_twice(folder, watch)


def look_twice(folder: RunFolder, watch: Watch) -> None:
    study, row = watch.look()
    assert (study.name, study.phase, study.done, study.total, study.numbers) == (
        *("table3 at smoke", "running", 4, 6),
        "1 failed",
    )
    assert (row.name, row.phase, row.done, row.total, row.left) == ("ce-conv", "training", 10, 100, None)
    assert row.numbers == "loss 1.25"
    time.sleep(0.2)
    folder.set_progress(PhaseProgress(phase="train", done=20, total=100, row="ce-conv", loss=1.0))
    _, row = watch.look()
    assert row.left is not None
    assert 1.0 < row.left < 8.0, "eight times what ten steps took"
    assert row.numbers.endswith("steps/s")


def test_a_run_that_is_silent_says_so_and_is_not_at_work_for_ever(store: Store) -> None:
    folder = unfinished(store)
    folder.set_progress(PhaseProgress(phase="track synthetic-smoke", done=3, total=28, row="ce-conv"))
    for seconds, lines in ((60.0, 2), (GONE + 60, 1)):
        at = time.time() - seconds
        os.utime(folder.path / "progress.json", (at, at))
        with folder.lock():
            found = Watch(store).look()
        assert len(found) == lines
        if lines == 2:
            assert found[1].phase == "tracking synthetic-smoke"
            assert found[1].numbers == "silent for 60 s"
    assert found[0].phase == "not running"


def test_a_finished_study_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store_factory.fill(store, STUDIES["head"], SMOKE)
    (line,) = Watch(store).look()
    assert (line.phase, line.done, line.total) == ("done", 5, 5)


def test_a_run_of_no_study_is_shown_too(store: Store) -> None:
    folder = store.run(run_of(VARIANTS["ostrack-256"], SMOKE, seed=0))
    folder.claim()
    folder.set_progress(PhaseProgress(phase="train", done=10, total=100, row="ostrack-256"))
    with folder.lock():
        study, row = Watch(store).look()
    assert (study.phase, row.name, row.phase, row.done) == ("not running", "ostrack-256", "training", 10)


def test_a_run_that_failed_before_is_at_work_again(store: Store) -> None:
    record = store.study("table3", "smoke")
    assert record is not None
    folder = store.run(next(row.run for row in record.rows if row.name == "decoder"))
    folder.set_progress(PhaseProgress(phase="train", done=10, total=100, row="decoder"))
    with folder.lock():
        study, row = Watch(store).look()
    assert (study.phase, study.numbers, row.name) == ("running", "", "decoder")


def test_commands_say_in_which_phase_they_are(store: Store) -> None:
    shown: list[Sequence[Line]] = []
    with announced(store, "table3 at smoke") as say, announced(store, "train lorat-b-224 at mini") as other:
        show = also_said(shown.append, say)
        for phase, words in ((PREPARING, PREPARING), ("3 done", "running"), (SPEED, SPEED), (DRAWING, DRAWING)):
            show([Line("all 6 runs", phase, 1.0, 2.0, 60.0, share=True)])
            other("running", None)
            study, single = Watch(store).look()
            assert (study.name, study.phase, study.done, study.total) == ("table3 at smoke", words, 4, 6)
            assert study.left == pytest.approx(60.0, abs=1.0)
            assert (single.name, single.phase) == ("train lorat-b-224 at mini", "running")
        assert len(shown) == 4
    watch = Watch(store)
    assert [line.phase for line in watch.look()] == ["not running"]
    assert not list(store.commands.iterdir())


def test_several_commands_of_a_study_are_counted(store: Store) -> None:
    with announced(store, "table3 at smoke") as one, announced(store, "table3 at smoke") as two:
        one(SPEED, 60.0)
        two("running", 90.0)
        (line,) = Watch(store).look()
    assert line.phase == "measuring FPS and running"
    assert line.numbers.startswith("1 failed, 2 commands on ")
    assert line.left == pytest.approx(60.0, abs=1.0)


KILLED = """
import os, signal, sys
from pathlib import Path
from trackablate.harness.progress.announcing import announced
from trackablate.harness.store import Store
from trackablate.trackers.variants import VARIANTS

with announced(Store(Path(sys.argv[1])), "table3 at smoke") as say:
    say("drawing the page", None)
    print("drawing", flush=True)
    sys.stdin.read()
"""


def test_a_command_that_is_killed_is_not_at_work(store: Store) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, store.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        at_work = Watch(store).look()[0].phase
        process.kill()
    assert (at_work, Watch(store).look()[0].phase) == ("drawing the page", "not running")
    assert list(store.commands.iterdir()), "it could not remove its file"
    with announced(store, "table3 at smoke"):
        assert not list(store.commands.iterdir()), "the next command does"


def test_a_command_of_another_machine_is_not_at_work_for_ever(store: Store) -> None:
    with announced(store, "table3 at smoke") as say:
        say(SPEED, None)
        (file,) = store.commands.iterdir()
        there = CommandProgress(name="table3 at smoke", phase=SPEED, holder=Holder("x", "node7", "node7 boot", 1, "1"))
        write_document(file, there)
        for seconds, phase in ((GONE / 2, SPEED), (GONE + 60, "not running")):
            at = time.time() - seconds
            os.utime(file, (at, at))
            assert Watch(store).look()[0].phase == phase
        file.write_bytes(b"{")
        assert Watch(store).look()[0].phase == "not running", "a damaged file is no command"


def test_a_store_that_is_removed_is_not_made_again_by_what_is_said(store: Store) -> None:
    with announced(store, "table3 at smoke") as say:
        say(SPEED, None)
        store.root.rename(store.root.with_name("away"))
        say(DRAWING, None)
        assert not store.root.exists()


def test_nothing_at_work_is_said_and_what_was_last(store: Store, tmp_path: Path) -> None:
    def idle() -> str:
        shown = invoke("watch", "--store", store.root)
        assert shown.exit_code == 0
        return str(shown.stdout.splitlines()[-1])

    assert idle() == f"nothing is at work in {store.root}, and no run of it has begun"
    folder = unfinished(store)
    folder.set_progress(PhaseProgress(phase="train", done=10, total=100, row="ce-conv"))
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime((folder.path / "progress.json").stat().st_mtime))
    last = f"nothing is at work in {store.root}; the last run, ce-conv,"
    assert idle() == f"{last} stopped (training 10/100) at {at}"
    folder.set_failure(store_factory.failure("no"))
    assert idle() == f"{last} failed at {at}"
    done = next(f for f in store.runs() if f.trained and not f.failure())
    done.set_progress(PhaseProgress(phase="track synthetic-smoke", done=4, total=4, row="plain"))
    assert idle().startswith(f"nothing is at work in {store.root}; the last run, plain, finished at ")
    done.set_progress(PhaseProgress(phase="speed", done=9, total=11))
    assert ", finished at " in idle(), "the last round of a measurement is not said"
    with announced(store, "table3 at smoke") as say:
        say(SPEED, None)
        assert idle() == "table3 at smoke: measuring FPS 4/6, 2 failed"
    Store(tmp_path / "empty")
    assert "nothing is at work" in invoke("watch", "--store", tmp_path / "empty").stdout


def test_the_command_says_it_once_where_there_is_no_terminal(store: Store, tmp_path: Path) -> None:
    unfinished(store).set_progress(PhaseProgress(phase="train", done=10, total=100, row="ce-conv"))
    with unfinished(store).lock():
        shown = invoke("watch", "--store", store.root)
        named = [line["name"] for line in said("watch", "--store", store.root)]
    assert shown.stdout.splitlines() == ["table3 at smoke: running 4/6, 1 failed", "ce-conv: training 10/100"]
    assert named == ["table3 at smoke", "ce-conv"]
    assert invoke("watch", "--store", tmp_path / "none").exit_code == 2


def test_jobs_that_are_handed_in_are_told_from_nothing_at_work(store: Store) -> None:
    watch = Watch(store)
    assert all("SLURM" not in line.name for line in watch.look())
    (store.root / "jobs").mkdir()
    for name in ("a.json", "b.json", "b.reply.json"):
        (store.root / "jobs" / name).touch()
    *_, line = watch.look()
    assert (line.name, line.phase, line.done, line.total) == ("jobs handed in to SLURM", "ended", 1, 2)
