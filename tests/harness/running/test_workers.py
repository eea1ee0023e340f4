"""Workers that stay: one process for many tasks, replaced when it dies, and as good as new for each of them."""

import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from command_line import invoke
from examples import WHERE
from places import ROOT
from stored_files import flip
from trackablate.ablations.plan import run_of
from trackablate.datasets.atomic import whole_archive
from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.costing.clock import peak_rss_bytes, reset_peak_rss
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import Failure, PhaseProgress, Spent
from trackablate.harness.running import execute, runner
from trackablate.harness.running.executors import local
from trackablate.harness.running.executors.local import LocalExecutor, LocalWorker
from trackablate.harness.running.executors.protocol import WorkerProcess
from trackablate.harness.running.fresh import start_afresh
from trackablate.harness.running.observer import Observer, Pending
from trackablate.harness.running.queue import Slot, result_of
from trackablate.harness.running.tasks import Device, PrepareTask, Reply, RunTask, SpeedTask, Task, WorkerSettings
from trackablate.harness.running.threads import drop_launchers
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import Missing, RunFolder, Store
from trackablate.harness.training import loop
from trackablate.trackers.floors import StaticBox
from trackablate.trackers.spec import FloorSpec
from trackablate.trackers.variants import ostrack_mlp

PATIENCE = 120.0
STATIC, NCC = (RunSpec(tracker=FloorSpec(kind="static")), RunSpec(tracker=FloorSpec(kind="ncc")))
LOUD = "import os, sys\nprint('LOUD' * 50_000)\nsys.stdout.flush()\nos.write(1, b'LOUDER\\n' * 30_000)\n"


def settings(store: Path) -> WorkerSettings:
    return WorkerSettings(store=str(store), device="cpu", threads=1, workers=1, command="test")


def reply_of(worker: WorkerProcess) -> Reply:
    end = time.monotonic() + PATIENCE
    while (reply := worker.poll()) is None:
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    return reply


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorker]:
    """A worker with a plugin that writes to standard output in every way, more than a pipe holds."""
    folder = tmp_path_factory.mktemp("worker")
    (folder / "loud.py").write_text(LOUD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKABLATE_PLUGINS", str(folder / "loud.py"))
        started = LocalExecutor(folder / "logs").start(settings(folder / "store"))
    yield started
    started.stop()


def test_one_process_takes_task_after_task_whatever_plugins_print(worker: LocalWorker, tmp_path: Path) -> None:
    for run in (STATIC, NCC):
        worker.do(RunTask(run=run, evaluations=()))
        reply = reply_of(worker)
        assert reply.status == "done", reply
        assert Spent.model_validate_json(reply.text).device_seconds > 0
        assert worker.process.poll() is None, "it stays"


def test_a_store_keeps_its_name_whatever_encoding_the_output_has(tmp_path: Path) -> None:
    """The worker would else make a second store beside it, under a garbled name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONIOENCODING", "latin-1")
        worker = LocalExecutor(tmp_path / "logs").start(settings(tmp_path / "stör€"))
    worker.do(RunTask(run=STATIC, evaluations=()))
    assert reply_of(worker).status == "done"
    worker.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "stör€"]


def test_a_precision_that_the_device_lacks_is_refused_before_any_run(tmp_path: Path) -> None:
    profile = load_profile("smoke")
    assert profile.recipe is not None
    run = run_of(ostrack_mlp, profile, 0)
    half = run.model_copy(update={"recipe": profile.recipe.model_copy(update={"precision": "fp16"})})
    work = [Pending(RunTask(run=half, evaluations=()), Missing(True, {}, ()))]
    with pytest.raises(BadInput, match=r"precision fp16 needs a GPU, and CPU \(x\) is none"):
        runner._refuse_precision(work, Device(name="CPU (x)", gpus=()))
    runner._refuse_precision(work, Device(name="NVIDIA X", gpus=("cuda:0",)))


def test_settings_of_launchers_reach_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A left-over WORLD_SIZE would let a training wait for ever, and accumulation would change its weights."""
    left = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2", "WORLD_SIZE": "2", "RANK": "0", "TRACKABLATE_PLUGINS": ""}
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    started: list[dict[str, str]] = []
    monkeypatch.setattr(local.subprocess, "Popen", lambda *_, env, **__: started.append(env) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LocalExecutor(tmp_path).start(settings(tmp_path))
    assert {name for name in left if name in started[0]} == {"TRACKABLATE_PLUGINS"}
    assert list(drop_launchers(left)) == ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "RANK", "WORLD_SIZE"]
    assert left == {"TRACKABLATE_PLUGINS": ""}


def test_a_worker_runs_functions_of_ours_only(worker: LocalWorker, tmp_path: Path) -> None:
    """After that it ends: a task that was refused may have left anything."""
    worker.do(Task(function="os:system"))
    reply = reply_of(worker)
    assert (reply.status, reply.last) == ("bad input", True)
    assert "functions of trackablate only" in reply.text
    assert worker.process.wait(PATIENCE) == 0


def test_a_killed_worker_is_reported_and_its_slot_gets_another(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path / "logs")
    slot = Slot(executor, settings(tmp_path / "store"))
    first = slot.start()
    assert isinstance(first, LocalWorker)
    slot.do(RunTask(run=STATIC, evaluations=()))
    os.kill(first.process.pid, signal.SIGKILL)
    with pytest.raises(RunFailed, match="a worker stopped with status -9: it said nothing"):
        result_of(slot.wait())
    try:
        slot.ask(RunTask(run=STATIC, evaluations=()))
        assert len(list((tmp_path / "logs").iterdir())) == 2
    finally:
        slot.stop()


def test_a_new_start_leaves_no_memory_and_no_random_numbers_behind() -> None:
    assert start_afresh(1) == reset_peak_rss()
    initial = torch.rand(3)
    torch.manual_seed(7)
    large = bytearray(300_000_000)
    assert peak_rss_bytes() > 300_000_000
    before = peak_rss_bytes()
    del large
    assert start_afresh(1)
    assert peak_rss_bytes() < before - 250_000_000
    assert torch.equal(torch.rand(3), initial)


class InProcess:
    """A worker in this process.

    Of the tasks with numbers in `deadly` it dies: half way, when all is done, or then with an old failure left.
    """

    def __init__(self, settings: WorkerSettings, deadly: dict[int, str], tasks: list[Task]) -> None:
        self.settings, self.deadly, self.tasks = settings, deadly, tasks
        self.reply: Reply | None = None

    def do(self, task: Task) -> None:
        number = len(self.tasks)
        self.tasks.append(task)
        fate = self.deadly.get(number, "lives")
        text = ""
        if fate != "half way":
            try:
                text = self._work(task)
            except (BadInput, DataError) as error:
                self.reply = Reply(status="bad input", text=str(error), last=True)
                return
            except RunFailed as error:
                self.reply = Reply(status="failed", text=str(error), last=True)
                return
        if fate == "with an old failure left":
            assert isinstance(task, RunTask)
            left = Failure(summary="an earlier attempt", traceback="", where=WHERE)
            Store(Path(self.settings.store)).run(task.run).set_failure(left)
        if fate == "lives":
            self.reply = Reply(status="done", text=text)
        else:
            self.reply = Reply(status="died", text="a worker stopped with status -9: it said nothing", last=True)

    def _work(self, task: Task) -> str:
        if isinstance(task, RunTask):
            return execute.execute_run(task, self.settings).model_dump_json()
        if isinstance(task, PrepareTask):
            return execute.prepare(task, self.settings).model_dump_json()
        assert isinstance(task, SpeedTask)
        execute.measure(task, self.settings)
        return ""

    def poll(self) -> Reply | None:
        reply, self.reply = self.reply, None
        return reply

    def at_work(self) -> bool:
        return True

    def stop(self) -> None:
        self.reply = None


class InProcessExecutor:
    """Starts workers in this process. started: how many."""

    def __init__(self, deadly: dict[int, str] | None = None) -> None:
        self.deadly, self.tasks, self.started = deadly or {}, list[Task](), 0
        self.detached = False

    def worker_settings(self, *_: object) -> None:
        """This machine's devices."""

    def farewell(self) -> str:
        return ""

    def start(self, settings: WorkerSettings) -> InProcess:
        self.started += 1
        return InProcess(settings, self.deadly, self.tasks)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> runner.Job:
    """Both floors on four short videos, on a machine with one core."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    name = "synthetic-smoke"
    sequences = PROTOCOLS[name].open(None)
    evaluation = Evaluation(protocol=name, data=sequences.digest())
    tasks = [RunTask(run=run, evaluations=(evaluation,)) for run in (NCC, STATIC)]
    return runner.Job(tasks, [], {name: list(sequences.names)}, load_profile("smoke"))


class Told(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def preparing(self, device: str, workers: int, pending: Sequence[Pending]) -> None:
        self.events.append("preparing")

    def measuring(self, run: RunSpec) -> None:
        self.events.append(f"measuring {run.slug}")

    def prepared(self, device: str, workers: int, pending: Sequence[Pending]) -> Sequence[Pending]:
        self.events.append(f"prepared {workers} {len(pending)}")
        return list(reversed(pending))

    def started(self, item: Pending) -> None:
        self.events.append(f"started {item.task.run.slug}")

    def finished(self, item: Pending, spent: Spent | None) -> None:
        self.events.append(f"{'finished' if spent else 'failed'} {item.task.run.slug}")

    def ended(self) -> None:
        self.events.append("ended")


def test_one_worker_prepares_runs_and_measures_in_the_observers_order(job: runner.Job, tmp_path: Path) -> None:
    store, executor, told = Store(tmp_path / "store"), InProcessExecutor(), Told()
    runner.run(job, store, executor, "cpu", told)
    assert executor.started == 1
    assert [type(task) for task in executor.tasks] == [PrepareTask, RunTask, RunTask, SpeedTask]
    ran = [f"{event} {name}" for name in ("static", "ncc") for event in ("started", "finished")]
    assert told.events == ["preparing", "prepared 1 2", *ran, "measuring ncc", "ended"]
    said = store.run(NCC).progress()
    assert said is not None
    assert (said.phase, said.total) == ("speed", 11)
    runner.run(job, store, executor, "cpu", told)
    assert executor.started == 1, "nothing is left to do"


def test_each_gpu_that_the_first_worker_finds_gets_a_worker(
    job: runner.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPUs here are CPUs by other names."""
    monkeypatch.setattr(execute, "usable_gpus", lambda device: ("cpu:0", "cpu:1"))
    store, told, started = Store(tmp_path / "store"), Told(), list[WorkerSettings]()

    class Executor(InProcessExecutor):
        def start(self, settings: WorkerSettings) -> InProcess:
            started.append(settings)
            return super().start(settings)

    runner.run(job, store, Executor(), "auto", told)
    assert [(s.device, s.workers) for s in started] == [("auto", 1), ("cpu:0", 2), ("cpu:1", 2)]
    assert told.events[1] == "prepared 2 2"
    assert all(item.missing.nothing for item in runner.pending(job, store))


def test_a_run_whose_worker_died_is_marked_and_the_others_go_on(job: runner.Job, tmp_path: Path) -> None:
    store, told = Store(tmp_path / "store"), Told()
    with pytest.raises(RunFailed, match=r"static-\w+: a worker stopped with status -9"):
        runner.run(job, store, InProcessExecutor({1: "half way"}), "cpu", told)
    failure = store.run(STATIC).failure()
    assert failure is not None
    assert "status -9" in failure.summary
    assert store.run(NCC).failure() is None
    assert "failed static" in told.events
    assert "finished ncc" in told.events
    assert "ended" not in told.events
    runner.run(job, store, InProcessExecutor(), "cpu")
    assert store.run(STATIC).failure() is None
    assert all(item.missing.nothing for item in runner.pending(job, store))


def test_a_run_whose_data_changed_fails_alone_and_says_why(job: runner.Job, tmp_path: Path) -> None:
    """What is wrong from the start is refused by the preparation, before any run, and the study with it."""
    store, told, (good, other) = Store(tmp_path / "store"), Told(), job.tasks
    (evaluation,) = other.evaluations
    changed = evaluation.model_copy(update={"data": "of yesterday"})
    job.tasks[:] = [other.model_copy(update={"evaluations": (changed,), "rows": ("standing",)}), good]
    with pytest.raises(RunFailed) as failed:
        runner.run(job, store, InProcessExecutor(), "cpu", told)
    reason = "the data of protocol 'synthetic-smoke' changed while the study ran: start it again"
    assert str(failed.value) == f"standing, run {STATIC.name}: {reason}"
    failure = store.run(STATIC).failure()
    assert failure is not None
    assert failure.summary == reason
    assert {"failed static", "finished ncc"} <= set(told.events)
    assert store.run(NCC).speed() is not None, "the others are measured too"
    job.tasks[:] = [good, other.model_copy(update={"evaluations": (changed,)})]
    with pytest.raises(BadInput, match="start it again"):
        runner.run(job, Store(tmp_path / "another"), InProcessExecutor(), "cpu")


def test_a_run_that_is_whole_when_its_worker_dies_has_not_failed(job: runner.Job, tmp_path: Path) -> None:
    store, executor = Store(tmp_path / "store"), InProcessExecutor({1: "when all is done"})
    runner.run(job, store, executor, "cpu")
    assert executor.started == 2, "the dead one is replaced"
    assert store.run(STATIC).failure() is None


def test_a_worker_that_died_between_tasks_is_replaced_before_the_next(tmp_path: Path) -> None:
    started: list[InProcess] = []

    class Executor(InProcessExecutor):
        def start(self, settings: WorkerSettings) -> InProcess:
            started.append(super().start(settings))
            return started[-1]

    slot = Slot(Executor(), WorkerSettings(store=str(tmp_path), device="cpu", threads=1, workers=1, command=""))
    slot.start()
    started[0].reply = Reply(status="died", text="a worker stopped with status -9: it said nothing", last=True)
    slot.ask(PrepareTask(sizes=(), protocols=()))
    assert len(started) == 2


def test_a_whole_run_has_no_failure_left_when_its_worker_dies(job: runner.Job, tmp_path: Path) -> None:
    """A worker that is killed between the last result and its end has not cleared what an earlier attempt left."""
    store = Store(tmp_path / "store")
    runner.run(job, store, InProcessExecutor({1: "with an old failure left"}), "cpu", Told())
    assert store.run(STATIC).failure() is None


def test_a_worker_that_dies_while_it_prepares_is_replaced_once(job: runner.Job, tmp_path: Path) -> None:
    for deadly in ({0: "half way"}, {0: "when all is done"}):
        store, executor = Store(tmp_path / deadly[0]), InProcessExecutor(deadly)
        runner.run(job, store, executor, "cpu")
        assert [type(task) for task in executor.tasks][:3] == [PrepareTask, PrepareTask, RunTask]
        assert all(item.missing.nothing for item in runner.pending(job, store))
    with pytest.raises(RunFailed, match="a worker stopped with status -9"):
        runner.run(job, Store(tmp_path / "store"), InProcessExecutor({0: "half way", 1: "half way"}), "cpu")


def test_damaged_files_are_made_again(job: runner.Job, tmp_path: Path) -> None:
    """Results, the speed, thumbnails and the protocol's record; the evaluation's own document and an old failure."""
    store = Store(tmp_path / "store")
    runner.run(job, store, InProcessExecutor(), "cpu")
    (evaluation,) = job.tasks[0].evaluations
    folder, protocol = store.run(NCC), store.protocol(evaluation)
    results = sorted(folder.path.glob("evaluations/*/[!e]*.json"))
    boxes = [folder.result(evaluation, file.stem) for file in results]
    record = (protocol / "protocol.json").read_bytes()
    for file in (results[0], folder.path / "speed.json", *protocol.iterdir(), results[0].with_name("evaluation.json")):
        flip(file, 0.4)
    (results[1].parent / results[1].name).write_bytes(results[2].read_bytes())
    executor = InProcessExecutor()
    runner.run(job, store, executor, "cpu")
    assert [type(task) for task in executor.tasks] == [PrepareTask, RunTask, SpeedTask]
    again = [folder.result(evaluation, file.stem) for file in results]
    assert [one and one.boxes for one in again] == [one and one.boxes for one in boxes]
    assert (protocol / "protocol.json").read_bytes() == record
    assert whole_archive(protocol / "strips.npz")
    assert folder.evaluations() == [evaluation]
    assert all(item.missing.nothing for item in runner.pending(job, store))


def test_a_training_record_that_is_damaged_fails_its_run_alone(job: runner.Job, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    run = run_of(ostrack_mlp, load_profile("smoke"), 0)
    folder = store.run(run)
    folder.claim()
    folder.weights.write_bytes(b"weights")
    (folder.path / "training.json").write_text("{")
    job.tasks.append(RunTask(run=run, evaluations=job.tasks[0].evaluations))
    with pytest.raises(RunFailed, match=r"training\.json is damaged .*restore it from a copy"):
        runner.run(job, store, InProcessExecutor(), "cpu")
    assert folder.weights.read_bytes() == b"weights", "what is whole stays"
    assert store.run(NCC).speed() is not None
    assert not [item for item in runner.pending(job, store)[:2] if not item.missing.nothing]


def test_a_run_whose_boxes_are_not_finite_takes_no_other_run_along(
    job: runner.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(self: StaticBox, frame: object) -> None:
        raise ValueError("the predicted box [nan, nan, nan, nan] is not finite")

    store = Store(tmp_path / "store")
    monkeypatch.setattr(StaticBox, "update", diverged)
    for again in (False, True):
        executor = InProcessExecutor()
        with pytest.raises(RunFailed, match="is not finite"):
            runner.run(job, store, executor, "cpu")
        assert store.run(NCC).speed() is not None
        assert SpeedTask not in map(type, executor.tasks) if again else True, "the others are not measured again"


def test_a_run_that_cannot_track_any_more_is_left_out_of_the_measurement(
    job: runner.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    runner.run(job, store, InProcessExecutor(), "cpu")
    store.run(NCC).path.joinpath("speed.json").unlink()

    def damaged(*_: object) -> None:
        raise ValueError("weights.safetensors is damaged")

    monkeypatch.setattr(StaticBox, "update", damaged)
    with pytest.raises(RunFailed, match=f"measuring speed: {STATIC.name}: weights.safetensors is damaged"):
        runner.run(job, store, InProcessExecutor(), "cpu")
    speed = store.run(NCC).speed()
    assert speed is not None
    assert speed.measured_with == [NCC.name]


def test_runs_that_were_never_measured_together_are(job: runner.Job, tmp_path: Path) -> None:
    """Two studies have measured one each. A third one has both. Then each of the three keeps its own."""
    store, tasks = Store(tmp_path / "store"), job.tasks
    apart = [replace(job, tasks=[task]) for task in tasks]
    for one in apart:
        runner.run(one, store, InProcessExecutor(), "cpu")
    assert [item.missing.speed for item in runner.pending(job, store)] == [(None,), (None,)]
    executor = InProcessExecutor()
    runner.run(job, store, executor, "cpu")
    assert [type(task) for task in executor.tasks] == [PrepareTask, SpeedTask]
    sessions = [[speed.measured_with for speed in store.run(run).speeds()] for run in (NCC, STATIC)]
    assert sessions == [[[NCC.name, STATIC.name], [NCC.name]], [[NCC.name, STATIC.name], [STATIC.name]]]
    for one in (job, *apart):
        assert all(item.missing.nothing for item in runner.pending(one, store))


def test_a_run_whose_weights_are_gone_is_not_measured_again(
    job: runner.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lacks nothing. Only the others' speed is to be measured."""
    store = Store(tmp_path / "store")
    runner.run(job, store, InProcessExecutor(), "cpu")
    store.run(NCC).path.joinpath("speed.json").unlink()
    before = store.run(STATIC).speed()
    monkeypatch.setattr(RunFolder, "trained", property(lambda self: self.run != STATIC))
    executor = InProcessExecutor()
    runner.run(job, store, executor, "cpu")
    assert store.run(NCC).speed() is not None
    assert store.run(STATIC).speed() == before


def test_a_device_that_is_not_here_is_refused_by_the_worker(job: runner.Job, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--device gpuuu is not usable here"):
        runner.run(job, Store(tmp_path / "store"), InProcessExecutor(), "gpuuu")


@pytest.mark.parametrize("phase", ["train", "validate"])
def test_the_steps_of_a_checkpoint_count_wherever_the_run_was_killed(phase: str, tmp_path: Path) -> None:
    store, profile = Store(tmp_path / "store"), load_profile("smoke")
    run = run_of(ostrack_mlp, profile, 0)
    folder = store.run(run)
    folder.path.mkdir(parents=True)
    folder.checkpoint.touch()
    folder.set_progress(PhaseProgress(phase=phase, done=5, total=6))
    (item,) = runner.pending(runner.Job([RunTask(run=run, evaluations=())], [], {}, profile), store)
    assert run.recipe is not None
    assert item.steps_done == 5 // run.recipe.checkpoint_every * run.recipe.checkpoint_every > 0


def test_eight_calls_lead_from_the_command_to_the_training_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[traceback.FrameSummary] = []

    def step(*_: object) -> None:
        seen.extend(traceback.extract_stack())
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "take_step", step)
    monkeypatch.setattr("trackablate.harness.running.executors.local.LocalExecutor", lambda logs: InProcessExecutor())
    done = invoke("run", "table3", "--profile", "smoke", "--store", tmp_path / "store")
    assert done.exit_code == 130, done.output
    ours = [frame.name for frame in seen if Path(frame.filename).resolve().is_relative_to(ROOT / "harness")]
    assert ours.pop(0) == "invoke", "which tells of options that are refused"
    assert [*ours, "take_step"] == ["run", "run", "run_all", "do", "execute_run", "_train", "fit", "take_step"]
