"""Several processes share one run: one process's weights within rounding, its boxes bit for bit, and nothing hangs."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from command_line import invoke
from trackablate.ablations.plan import run_of
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.synthetic.writing import videos, write
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.running import execute, ranks
from trackablate.harness.running.executors.local import LocalExecutor, LocalWorker
from trackablate.harness.running.image_files import find_replaced
from trackablate.harness.running.tasks import RunTask, WorkerSettings
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.harness.training import loop
from trackablate.harness.training.loading import Batch
from trackablate.harness.training.step import TrainingInProgress, take_step
from trackablate.trackers.model import OneStreamTracker
from trackablate.trackers.spec import FloorSpec, TrackerSpec, replace
from trackablate.trackers.variants import VARIANTS, detrack_ce, ostrack
from video_factory import encoded

SMOKE = load_profile("smoke")
LORAT, FULL = VARIANTS["lorat-b-224"], VARIANTS["full-b-224"]
RECIPE = {"steps": 6, "batch_size": 6, "micro_batch": 3, "checkpoint_every": 2, "validation_pairs": 5}
ROUNDING = 1e-5
"""Weights move by 1e-3 and more in these trainings."""


def task_of(tracker: TrackerSpec, **changed: int) -> RunTask:
    recipe = SMOKE.recipe.model_copy(update=RECIPE | changed)
    return RunTask(run=run_of(tracker, SMOKE.model_copy(update={"recipe": recipe}), seed=1), evaluations=())


def settings_of(store: Path, size: int, patience: float = 120.0, *, fsdp: bool = False) -> WorkerSettings:
    settings = WorkerSettings(store=str(store), device="cpu", threads=1, workers=1, command="test", fsdp=fsdp)
    return settings.model_copy(update={"others": ("cpu",) * (size - 1), "patience": patience})


def done(task: RunTask, store: Path, size: int, *, fsdp: bool = False) -> RunFolder:
    """Do a run with so many processes, this one among them."""
    execute.execute_run(task, settings_of(store, size, fsdp=fsdp))
    return Store(store).run(task.run)


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest difference of the weights; running statistics are means over the processes."""
    assert a.keys() == b.keys()
    trained = [name for name in a if "running_" not in name and "num_batches" not in name]
    return max(float((a[name] - b[name]).abs().max()) for name in trained)


@pytest.mark.parametrize(
    ("tracker", "size", "part", "fsdp"),
    [
        (LORAT, 3, 3, False),
        (replace(ostrack, drop_path=0.0), 2, 3, False),
        pytest.param(detrack_ce, 2, 3, False, marks=pytest.mark.slow),
        (replace(FULL, checkpointing=True), 3, 1, True),
    ],
    ids=["lorat", "conv", "decoder", "full-fsdp"],
)
def test_the_weights_are_those_of_one_process(
    tracker: TrackerSpec, size: int, part: int, fsdp: bool, tmp_path: Path
) -> None:
    task = task_of(tracker, micro_batch=part)
    assert task.run.recipe is not None
    alone, shared = (done(task, tmp_path / str(count), count, fsdp=fsdp) for count in (1, size))
    a, b = load_file(alone.weights), load_file(shared.weights)
    moved = furthest(a, {name: torch.zeros_like(value) for name, value in a.items()})
    assert moved > 0.01
    if tracker is not detrack_ce:  # its denoising queries are drawn by each process for its own pairs
        assert furthest(a, b) < ROUNDING
    one, many = alone.training(), shared.training()
    assert one is not None
    assert many is not None
    assert (one.cost.samples, many.cost.samples) == (36, 36)
    assert (one.cost.fsdp, many.cost.fsdp) == (False, fsdp)
    assert many.where.device == f"{size} x {one.where.device}"
    assert many.cost.phases["train"].device_seconds > 0
    assert many.cost.flops_per_pair == one.cost.flops_per_pair
    assert 4 * (one.cost.macs or 0) < (one.cost.flops_per_pair or 0) <= 6 * (one.cost.macs or 0)
    assert (one.cost.peak_tflops, one.cost.mfu()) == (None, None), "no peak of a CPU is published"
    for ours, theirs in zip(many.curve, one.curve, strict=True):
        assert ours.losses.keys() == theirs.losses.keys()
        if tracker.loss_adds_up:
            assert ours.losses == pytest.approx(theirs.losses, rel=1e-4)
            assert ours.validation_iou == pytest.approx(theirs.validation_iou, abs=1e-4)


def test_an_evaluation_is_shared_and_its_boxes_are_the_same_bits(tmp_path: Path) -> None:
    sequences = PROTOCOLS["synthetic-smoke"].open(None)
    evaluation = Evaluation(protocol="synthetic-smoke", data=sequences.digest())
    task = task_of(LORAT).model_copy(update={"evaluations": (evaluation,)})
    folder = done(task, tmp_path, 1)
    boxes = {result.name: result.boxes for result in folder.results(evaluation)}
    assert boxes.keys() == set(sequences.names)
    for file in (folder.path / "evaluations").rglob("*.json"):
        file.unlink()
    assert {result.name: result.boxes for result in done(task, tmp_path, 3).results(evaluation)} == boxes


def test_the_image_files_of_every_process_s_share_are_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of results that another process has before the worker itself tracks anything."""
    write("lasot", videos("lasot", count=4, length=4, size=(64, 64), seed=0, test_boxes=True), tmp_path / "data")
    sequences = PROTOCOLS["lasot"].open(tmp_path / "data")
    evaluation = Evaluation(protocol="lasot", data=sequences.digest())
    run, roots = RunSpec(tracker=FloorSpec(kind="static")), {"lasot": str(tmp_path / "data")}
    task, folder = RunTask(run=run, evaluations=(evaluation,), roots=roots), Store(tmp_path / "store").run(run)
    track, limit = execute._track, time.monotonic() + 60

    def late(*asked: Any) -> None:
        while len(folder.untracked(evaluation, sequences.names)) == len(sequences) and time.monotonic() < limit:
            time.sleep(0.1)
        track(*asked)

    monkeypatch.setattr(execute, "_track", late)
    execute.execute_run(task, settings_of(tmp_path / "store", 2))
    assert folder.untracked(evaluation, sequences.names) == []
    for image in (tmp_path / "data").rglob("*.jpg"):
        image.write_bytes(encoded(".jpg", (52, 30)))
    said = "".join(find_replaced([task], Store(tmp_path / "store"), {"lasot": sequences})[1])
    assert len(sequences) == 4
    assert all(f"{name} (00000001.jpg and" in said for name in sequences.names)


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int, what: Callable[[LocalWorker], None]) -> None:
    """Do something to the second process when the first one has done some steps."""
    started: list[LocalWorker] = []
    start = LocalExecutor.start

    def starting(self: LocalExecutor, settings: WorkerSettings) -> LocalWorker:
        started.append(start(self, settings))
        return started[-1]

    class Reporter(execute._Reporter):
        def __call__(self, phase: str, done: int, total: int, loss: Tensor | None = None) -> None:
            if loss is not None and done == at:
                what(started[0])

    monkeypatch.setattr(LocalExecutor, "start", starting)
    monkeypatch.setattr(execute, "_Reporter", Reporter)


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_a_killed_process_ends_the_attempt_and_any_number_goes_on(
    fsdp: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the processes divided the network (--fsdp) before, and do not any more: checkpoints are the same files."""
    task = task_of(FULL if fsdp else LORAT)
    whole = load_file(done(task, tmp_path / "whole", 1).weights)
    with monkeypatch.context() as patch:
        interrupted(patch, 3, lambda worker: worker.process.kill())
        with pytest.raises(RunFailed, match="process 1 of 2 on cpu: a worker stopped with status -9"):
            done(task, tmp_path / "killed", 2, fsdp=fsdp)
    folder = Store(tmp_path / "killed").run(task.run)
    failure = folder.failure()
    assert failure is not None
    assert failure.summary.startswith("process 1 of 2 on cpu")
    assert folder.checkpoint.exists()
    resumed = done(task, tmp_path / "killed", 3)
    training = resumed.training()
    assert training is not None
    assert (training.cost.resumed, training.cost.fsdp) == (1, fsdp)
    assert resumed.failure() is None
    assert furthest(whole, load_file(resumed.weights)) < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_a_shared_training_that_is_stopped_saves_a_checkpoint_and_goes_on_to_the_same_weights(
    fsdp: bool, tmp_path: Path
) -> None:
    task = task_of(FULL if fsdp else LORAT, steps=30, checkpoint_every=30)
    folder, limit = Store(tmp_path / "stopped").run(task.run), time.monotonic() + 120
    worker = LocalExecutor(Store(tmp_path / "stopped").logs).start(settings_of(tmp_path / "stopped", 2, fsdp=fsdp))
    worker.do(task)
    while (said := folder.progress()) is None or said.done < 3:
        assert time.monotonic() < limit
        time.sleep(0.05)
    worker.process.terminate()
    while (reply := worker.poll()) is None:
        assert time.monotonic() < limit
        time.sleep(0.05)
    worker.stop()
    step = torch.load(folder.checkpoint)["step"]
    assert 3 <= step < 30
    assert reply.text.startswith(f"stopped by SIGTERM with its checkpoint at step {step} of 30")
    assert folder.failure() is None
    whole = done(task, tmp_path / "whole", 2, fsdp=fsdp).training()
    resumed = done(task, tmp_path / "stopped", 2, fsdp=fsdp).training()
    assert whole is not None
    assert resumed is not None
    assert (resumed.cost.resumed, resumed.cost.samples) == (1, whole.cost.samples)
    assert resumed.weights_digest == whole.weights_digest


def test_a_process_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 3, lambda worker: os.kill(worker.process.pid, signal.SIGSTOP))
    monkeypatch.setattr(ranks, "GRACE", 60.0)
    with pytest.raises(RunFailed, match="process 1 of 2 on cpu: nothing happened for 20 s"):
        execute.execute_run(task_of(LORAT), settings_of(tmp_path, 2, patience=20.0))


@pytest.mark.slow
def test_a_process_that_hangs_while_it_tracks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other processes have tracked stays, and the next start tracks the rest."""
    hangs = (
        "import time\nfrom trackablate.trackers import floors\nfloors.StaticBox.update = lambda *_: time.sleep(600)\n"
    )
    (tmp_path / "hangs.py").write_text(hangs)
    sequences = PROTOCOLS["synthetic-smoke"].open(None)
    evaluation = Evaluation(protocol="synthetic-smoke", data=sequences.digest())
    task = RunTask(run=RunSpec(tracker=FloorSpec(kind="static")), evaluations=(evaluation,))
    monkeypatch.setattr(ranks, "GRACE", 60.0)
    with monkeypatch.context() as patch:
        patch.setenv("TRACKABLATE_PLUGINS", str(tmp_path / "hangs.py"))  # this process has its plugins already
        with pytest.raises(RunFailed, match="process 1 of 2 on cpu: nothing happened for 20 s"):
            execute.execute_run(task, settings_of(tmp_path / "store", 2, patience=20.0))
    folder = Store(tmp_path / "store").run(task.run)
    assert 0 < len(folder.untracked(evaluation, sequences.names)) < len(sequences)
    assert done(task, tmp_path / "store", 2).untracked(evaluation, sequences.names) == []


def test_a_process_that_waits_in_vain_ends_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU it would wait for ever for one that has died."""
    ended: list[int] = []
    monkeypatch.setattr(ranks, "GRACE", 0.1)
    monkeypatch.setattr(ranks.os, "_exit", ended.append)
    with ranks.Ranks(task_of(LORAT), settings_of(tmp_path, 2)) as others:
        others._workers[0].process.kill()
        with pytest.raises(RunFailed, match="process 1 of 2"):
            others.results()
        limit = time.monotonic() + 10
        while not ended and time.monotonic() < limit:  # leaving the block would call it off
            time.sleep(0.02)
    assert ended == [ranks.LOST]


def held(training: TrainingInProgress) -> int:
    """Return the bytes of this process's parameters, gradients and optimizer states."""
    states = (value for state in training.optimizer.state.values() for value in state.values())
    parameters = list(training.setup.model.parameters())
    tensors = [*parameters, *(p.grad for p in parameters if p.grad is not None), *states]
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    return sum(tensor.numel() * tensor.element_size() for tensor in local)


def test_each_process_holds_its_share_of_parameters_gradients_and_optimizer_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []

    def step(training: TrainingInProgress, batch: Batch) -> dict[str, Tensor]:
        losses = take_step(training, batch)
        found.append(held(training))
        return losses

    monkeypatch.setattr(loop, "take_step", step)
    task = task_of(FULL, steps=1, checkpoint_every=1)
    done(task, tmp_path / "shared", 2)
    done(task, tmp_path / "divided", 2, fsdp=True)
    whole, divided = found
    assert 0.49 < divided / whole < 0.52


@pytest.mark.slow
def test_a_process_with_fewer_parts_computes_as_many_as_the_others_and_counts_its_own(tmp_path: Path) -> None:
    """Of three parts one process has one and the other two; batch normalisation must not see a part twice."""
    task = task_of(
        replace(ostrack, drop_path=0.0), micro_batch=2, weight_decay=100
    )  # so that what no process uses is seen
    a, b = (load_file(done(task, tmp_path / str(fsdp), 2, fsdp=fsdp).weights) for fsdp in (False, True))
    assert {int(b[name]) for name in b if name.endswith("num_batches_tracked")} == {6}
    following = [re.match(r"(.*\.)(\d+)\.bias$", name) for name in a]
    unmoved = {f[0] for f in following if f and f"{f[1]}{int(f[2]) + 1}.running_mean" in b}
    assert len(unmoved) == 12
    for name in a.keys() - unmoved:
        # Biases of keys, and those before a normalisation, have no gradient: rounding alone moves them, and these means.
        if not name.endswith(("qkv.bias", "running_mean")):
            # Of the others, AdamW may turn a few gradients that are nearly 0 into whole steps.
            other = int(((a[name] - b[name]).abs() >= ROUNDING).sum())
            assert other <= max(2, a[name].numel() // 1000), name


@pytest.mark.slow
def test_a_divided_step_that_memory_does_not_hold_fails_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(OneStreamTracker, "forward", forward)
    with pytest.raises(
        RunFailed, match=r"step 0: .* with 3 pairs at a time on 2 GPUs .*Add --set recipe.micro_batch=1 or"
    ):
        done(task_of(FULL), tmp_path, 2, fsdp=True)


def test_fsdp_is_refused_where_nothing_can_be_divided(tmp_path: Path) -> None:
    for words, said in (
        (["full-b-224"], "add --gpus-per-run 2"),
        (["full-b-224", "--gpus-per-run", 2, "--fit-memory"], "leave out one of them"),
        (["lorat-b-224", "--gpus-per-run", 2], "--fsdp is for full fine-tuning, and "),
    ):
        refused = invoke("train", *words, "--fsdp", "--profile", "smoke", "--store", tmp_path / "store")
        assert refused.exit_code == 2
        assert said in refused.stderr
    assert not (tmp_path / "store").exists()


def test_more_processes_than_parts_are_refused(tmp_path: Path) -> None:
    """Batch normalisation sees a part of a batch: the parts are what the recipe says, and cannot be divided."""
    with pytest.raises(BadInput, match="3 GPUs cannot share a batch of 6 pairs, which is not divided into more than 2"):
        done(task_of(ostrack), tmp_path, 3)


def test_more_devices_than_there_are_are_refused_before_any_work(tmp_path: Path) -> None:
    count = (os.cpu_count() or 1) + 1
    refused = invoke("run", "head", "--profile", "smoke", "--store", tmp_path / "store", "--gpus-per-run", count)
    assert refused.exit_code == 2
    assert f"--gpus-per-run {count}: " in refused.stderr
