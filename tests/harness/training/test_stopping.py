"""A worker that is asked to stop saves a checkpoint and goes; one that was silent for too long has lost its run."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trackablate.ablations.plan import run_of
from trackablate.datasets.lease import Lease
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.executors.local import LocalExecutor, LocalWorker
from trackablate.harness.running.tasks import Reply, RunTask, WorkerSettings
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.variants import detrack_ce

SMOKE = load_profile("smoke")
STEPS = 60
PATIENCE = 120.0


def run_spec() -> RunSpec:
    """It makes no checkpoint by itself before its end."""
    update = {"steps": STEPS, "batch_size": 4, "checkpoint_every": STEPS, "validation_pairs": 4}
    return run_of(detrack_ce, SMOKE.model_copy(update={"recipe": SMOKE.recipe.model_copy(update=update)}), seed=5)


def started(store: Store) -> LocalWorker:
    settings = WorkerSettings(
        store=str(store.root), device="cpu", threads=1, workers=1, command="test", loader_workers=1
    )
    worker = LocalExecutor(store.logs).start(settings)
    evaluation = Evaluation(protocol="synthetic-smoke", data=PROTOCOLS["synthetic-smoke"].open(None).digest())
    worker.do(RunTask(run=run_spec(), evaluations=(evaluation,)))
    return worker


def wait_until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "nothing happened for too long"
        time.sleep(0.005)


def reply_of(worker: LocalWorker, *, stays: bool = False) -> Reply:
    replies: list[Reply] = []
    wait_until(lambda: (reply := worker.poll()) and (replies.append(reply) or True))
    if not stays:
        worker.stop()
    return replies[0]


def trains(folder: RunFolder, beyond: int) -> bool:
    said = folder.progress()
    return said is not None and said.phase == "train" and said.done > beyond


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    store = Store(tmp_path_factory.mktemp("unbroken") / "store")
    assert reply_of(started(store)).status == "done"
    return store.run(run_spec())


def test_a_training_that_is_asked_to_stop_goes_on_from_that_step(tmp_path: Path, unbroken: RunFolder) -> None:
    """Its loader's processes hear the signal too, as when a machine shuts down."""
    store = Store(tmp_path / "store")
    folder, before = store.run(run_spec()), 0
    for number in (signal.SIGTERM, signal.SIGUSR2):
        worker = started(store)
        wait_until(lambda beyond=before: trains(folder, beyond))
        os.killpg(worker.process.pid, number)
        reply = reply_of(worker)
        step = torch.load(folder.checkpoint)["step"]
        assert reply.status == "failed"
        assert reply.text == (
            f"stopped by {number.name} with its checkpoint at step {step} of {STEPS}; the same command goes on from there"
        )
        assert before < step < STEPS
        assert folder.failure() is None, "to be stopped is no failure"
        assert not folder.held()
        before = step
    worker = started(store)
    assert (reply := reply_of(worker, stays=True)).status == "done"
    worker.process.terminate()
    assert reply.last or worker.process.wait(5) == 128 + signal.SIGTERM, "without work it ends at once"
    worker.stop()
    found, expected = folder.training(), unbroken.training()
    assert found is not None
    assert expected is not None
    assert found.cost.resumed == 2
    assert found.weights_digest == expected.weights_digest
    assert found.cost.samples == expected.cost.samples
    assert [(p.step, p.losses, p.validation_iou) for p in found.curve] == [
        (p.step, p.losses, p.validation_iou) for p in expected.curve
    ]


@pytest.mark.slow
def test_a_worker_that_was_silent_for_too_long_has_lost_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: RunFolder
) -> None:
    """It was stopped in the middle of training, for longer than a lease lasts; somebody else has taken the run."""
    (tmp_path / "short.py").write_text("from trackablate.datasets import lease\nlease.SECONDS = 1.0\n")
    monkeypatch.setenv("TRACKABLATE_PLUGINS", str(tmp_path / "short.py"))
    store = Store(tmp_path / "store")
    worker, folder = started(store), store.run(run_spec())
    wait_until(lambda: trains(folder, 0))
    os.kill(worker.process.pid, signal.SIGSTOP)
    with Lease(folder.path).acquire(timeout=5):
        folder.clean()
        before = {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()}
        os.kill(worker.process.pid, signal.SIGCONT)
        reply = reply_of(worker)
        assert reply.status == "failed"
        assert "gave no sign of life for 1 s, so that another one has taken over" in reply.text
        assert {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()} == before
    (folder.path / "progress.json").unlink()
    worker = started(store)
    wait_until(lambda: trains(folder, 0))
    worker.stop()
    assert torch.load(folder.checkpoint)["step"] < STEPS, "a study that ends lets its workers save"
    assert reply_of(started(store)).status == "done"
    assert folder.weights.read_bytes() == unbroken.weights.read_bytes()
