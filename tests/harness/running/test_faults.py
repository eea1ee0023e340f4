"""Faults in the middle of a study, each really done: they are named, and the same study goes on to the same numbers.

Real workers on a small training and a floor, which one worker does one after the other.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trackablate.ablations.plan import run_of
from trackablate.datasets import lease
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.synthetic.writing import videos, write
from trackablate.harness.cli.plan import forecast
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.running import runner
from trackablate.harness.running.executors.local import LocalExecutor, LocalWorker
from trackablate.harness.running.observer import Observer
from trackablate.harness.running.tasks import Execution, RunTask
from trackablate.harness.spec import Evaluation, RunSpec, VideoData
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.spec import FloorSpec
from trackablate.trackers.variants import detrack_ce, ostrack_mlp

pytestmark = pytest.mark.slow
SMOKE = load_profile("smoke")
RECIPE = {"steps": 30, "checkpoint_every": 5, "validation_pairs": 4}
NAME = "synthetic-smoke"
SEQUENCES = PROTOCOLS[NAME].open(None)
EVALUATION = Evaluation(protocol=NAME, data=SEQUENCES.digest())
FLOOR = RunTask(run=RunSpec(tracker=FloorSpec(kind="ncc")), evaluations=(EVALUATION,))
TRAINING = RunTask(
    run=run_of(detrack_ce, SMOKE.model_copy(update={"recipe": SMOKE.recipe.model_copy(update=RECIPE)}), seed=1),
    evaluations=(EVALUATION,),
)


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def job_of(*tasks: RunTask) -> runner.Job:
    return runner.Job(list(tasks), [], {NAME: list(SEQUENCES.names)}, SMOKE)


JOB = job_of(TRAINING, FLOOR)


class Workers(LocalExecutor):
    """Remembers the workers."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.logs)
        self.all: list[LocalWorker] = []

    def start(self, settings: Any) -> LocalWorker:
        self.all.append(super().start(settings))
        return self.all[-1]


class Once(Observer):
    """Does something once, as soon as the training has done some steps."""

    def __init__(self, folder: RunFolder, fault: Callable[[], object], after: int) -> None:
        self.folder, self.fault, self.after, self.done = folder, fault, after, False

    def watch(self) -> None:
        said = None if self.done else self.folder.progress()
        if said is not None and said.phase in ("train", "validate") and said.done >= self.after:
            self.done = True
            self.fault()


def run(store: Store, fault: Callable[[], object] | None = None, job: runner.Job = JOB, after: int = 5) -> None:
    observer = Once(store.run(job.tasks[0].run), fault, after) if fault else None
    try:
        runner.run(job, store, Workers(store), "cpu", observer)
    finally:
        assert observer is None or observer.done, "it ended before the fault"


def numbers(store: Store, *tasks: RunTask) -> dict[str, object]:
    """The digest of the weights, and all boxes."""
    found: dict[str, object] = {}
    for task in tasks or (TRAINING, FLOOR):
        folder = store.run(task.run)
        training = folder.training()
        found[f"{task.run.name} weights"] = training and (training.weights_digest, training.cost.samples)
        for name in SEQUENCES.names:
            result = folder.result(EVALUATION, name)
            found[f"{task.run.name} {name}"] = result and result.boxes
    return found


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    store = Store(tmp_path_factory.mktemp("unbroken") / "store")
    run(store)
    found = numbers(store)
    assert all(found[name] for name in found if not name.startswith(FLOOR.run.name)), found
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 200 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "x", place], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def goes_on(store: Store, unbroken: dict[str, object]) -> None:
    run(store)
    assert numbers(store) == unbroken
    assert all(item.missing.nothing for item in runner.pending(JOB, store))
    assert store.run(TRAINING.run).failure() is None
    assert not list(store.root.rglob("*.tmp"))


def test_a_disk_that_fills_up(small_disk: Path, unbroken: dict[str, object]) -> None:
    store, filler = Store(small_disk / "store"), small_disk / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    with pytest.raises(RunFailed, match=rf"{TRAINING.row}, .*/store/.*: No space left on device; make room there"):
        run(store, fill)
    assert not list(store.root.rglob("*.tmp"))
    filler.unlink()
    goes_on(store, unbroken)


def test_a_store_that_turns_read_only(small_disk: Path, unbroken: dict[str, object]) -> None:
    store, place = Store(small_disk / "store"), str(small_disk / "store")

    def lock() -> None:
        subprocess.run(["mount", "--bind", place, place], check=True)
        for _ in range(3000):
            if subprocess.run(["mount", "-o", "remount,bind,ro", place], check=False).returncode == 0:
                return
            time.sleep(0.01)  # busy, while the worker has a file open in it
        pytest.fail("the store could not be made read-only")

    try:
        with pytest.raises((RunFailed, OSError), match="Read-only file system"):
            run(store, lock)
        with pytest.raises(OSError, match="Read-only file system"):
            run(store)
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    goes_on(store, unbroken)


def test_a_store_that_is_removed_is_not_made_again(tmp_path: Path, unbroken: dict[str, object]) -> None:
    """As when a network's disk goes away: a second store in its place would hide the first."""
    store = Store(tmp_path / "store")
    with pytest.raises(BadInput, match=r"store is gone: bring it back, and the same command goes on from there"):
        run(store, lambda: store.root.rename(tmp_path / "away"))
    assert not store.root.exists()
    (tmp_path / "away").rename(store.root)
    goes_on(store, unbroken)


def test_a_worker_that_is_stopped_for_longer_than_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, object]
) -> None:
    """A second coordinator takes the run over; the first one ends with a message, and disturbs nothing."""
    (tmp_path / "short.py").write_text("from trackablate.datasets import lease\nlease.SECONDS = 1.0\n")
    monkeypatch.setenv("TRACKABLATE_PLUGINS", str(tmp_path / "short.py"))
    monkeypatch.setattr(lease, "SECONDS", 1.0)
    store, stopped, said = Store(tmp_path / "store"), threading.Event(), list[str]()
    first = Workers(store)

    def stop() -> None:
        os.kill(first.all[0].process.pid, signal.SIGSTOP)
        stopped.set()

    def coordinate() -> None:
        try:
            runner.run(JOB, store, first, "cpu", Once(store.run(TRAINING.run), stop, 5))
        except RunFailed as error:
            said.append(str(error))

    other = threading.Thread(target=coordinate)
    other.start()
    assert stopped.wait(120)
    run(store)
    os.kill(first.all[0].process.pid, signal.SIGCONT)
    other.join(120)
    assert "gave no sign of life for 1 s, so that another one has taken over" in said[0]
    goes_on(store, unbroken)


def test_clocks_that_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, object]) -> None:
    """Forward and back by a year, in the coordinator and its worker."""
    jump = "import random, time\nclock = time.time\ntime.time = lambda: clock() + random.choice((-3e7, 0.0, 3e7))\n"
    (tmp_path / "jump.py").write_text(jump)
    monkeypatch.setenv("TRACKABLATE_PLUGINS", str(tmp_path / "jump.py"))
    monkeypatch.setattr(time, "time", time.time)
    exec(jump, {})
    store = Store(tmp_path / "store")
    with forecast(JOB, store, "a study", study=True) as observer:
        runner.run(JOB, store, Workers(store), "cpu", observer)
    assert numbers(store) == unbroken
    training = store.run(TRAINING.run).training()
    assert training is not None
    assert all(0 <= cost.wall_seconds < 600 for cost in training.cost.phases.values())


def test_a_loss_that_is_not_finite_keeps_its_batch_and_the_study_goes_on(tmp_path: Path) -> None:
    wild = SMOKE.recipe.model_copy(update={"lr_new": 1e30, "lr_backbone": 1e30, "warmup_steps": 0})
    task = TRAINING.model_copy(update={"run": TRAINING.run.model_copy(update={"recipe": wild})})
    store = Store(tmp_path / "store")
    with pytest.raises(RunFailed, match=r"FloatingPointError: the loss is not finite at step .*diverged\.pt"):
        run(store, job=job_of(task, FLOOR))
    kept = torch.load(store.run(task.run).path / "diverged.pt", weights_only=True)
    assert len(kept["batch"]["truth"]) == wild.batch_size
    assert store.run(task.run).failure() is not None
    assert store.run(FLOOR.run).speed() is not None, "the study went on"


def test_a_training_image_that_vanishes_is_named_and_the_study_goes_on(tmp_path: Path) -> None:
    write("got10k", videos("got10k", count=3, length=8), tmp_path / "got10k")
    profile = SMOKE.model_copy(
        update={"data": VideoData(sets=("got10k-train",)), "recipe": SMOKE.recipe.model_copy(update=RECIPE)}
    )
    roots = {"got10k": str(tmp_path / "got10k")}
    task = RunTask(run=run_of(ostrack_mlp, profile, seed=0), evaluations=(EVALUATION,), roots=roots)
    job = replace(job_of(task, FLOOR), how=Execution(loader_workers=1))
    store, whole, away = Store(tmp_path / "store"), Store(tmp_path / "whole"), tmp_path / "away"
    run(whole, job=job)
    images = tmp_path / "got10k" / "train"

    with pytest.raises(RunFailed, match=r"pair \d+: .*/got10k/train/.*\.jpg"):
        run(store, lambda: images.rename(away), job, after=1)  # while many images are still to be read
    assert store.run(FLOOR.run).speed() is not None, "the study went on"
    away.rename(images)
    run(store, job=job)
    assert numbers(store, task, FLOOR) == numbers(whole, task, FLOOR)
