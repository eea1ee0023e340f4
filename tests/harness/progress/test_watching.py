"""What is at work in a store, told from the store alone."""

import os
import time
from pathlib import Path

import pytest

import store_factory
from command_line import invoke, said
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.profiles import load_profile
from trackablate.harness.progress.watching import GONE, Watch
from trackablate.harness.record import PhaseProgress
from trackablate.harness.run_folder import RunFolder
from trackablate.harness.store import Store

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
    return store.run(next(row.run for row in record.rows if row.name == "ce-conv"))


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
