"""Runs as tasks of Ray: what is refused, what happens to tasks that Ray loses, and all of it on a real cluster."""

import _thread
import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ray_cluster
from command_line import harness, invoke
from on_clusters import ended, study
from places import SRC
from trackablate.ablations.plan import run_of
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.documents import read_document
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import Spent
from trackablate.harness.running.executors import ray as executor_module
from trackablate.harness.running.executors.cluster import Resources
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.executors.protocol import Executor, WorkerProcess
from trackablate.harness.running.executors.ray import AGAIN, RayExecutor, RayOrder, carry_out, join, resources, sees
from trackablate.harness.running.observer import Observer, Pending
from trackablate.harness.running.queue import Slot, run_all
from trackablate.harness.running.tasks import AS_USUAL, PrepareTask, Reply, RunTask, WorkerSettings
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import Missing, RunFolder, Store
from trackablate.trackers.floors import FLOORS
from trackablate.trackers.spec import FloorSpec
from trackablate.trackers.variants import ostrack_mlp

SMOKE = load_profile("smoke")
PATIENCE = 240.0
STEPS = 60
"""Of a training that is stopped in the middle: some seconds."""
STATIC = RunTask(run=RunSpec(tracker=FloorSpec(kind="static")), evaluations=())
ONE = Resources(0, 1, None, {"address": "auto"})
DONE = Reply(status="done", text=Spent(device_seconds=0.0).model_dump_json())


def test_each_task_asks_for_what_its_run_needs() -> None:
    assert resources("", 1, "auto") == ONE
    assert resources("address=10.0.0.1:6379, gpus=2,jobs=8", 2, "auto") == Resources(
        2, 8, 8, {"address": "10.0.0.1:6379"}
    )
    assert resources("cpus=4", 1, "cuda") == Resources(1, 4, None, {"address": "auto"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partition=gpu", "--ray partition=gpu: write KEY=VALUE,KEY=VALUE with address, gpus, cpus, jobs"),
        ("gpus", "--ray gpus: write KEY=VALUE"),
        ("cpus=0", "--ray cpus=0: write a number from 1"),
        ("gpus=1", "each run has 2 by --gpus-per-run; ask for gpus=2"),
        (
            "address=ray://head:10001",
            "write auto or HOST:PORT of the cluster's head, and start the command on a machine",
        ),
        ("address=local", "write auto or HOST:PORT"),
    ],
)
def test_what_ray_does_not_know_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        resources(text, 2, "auto")


class Lost(Exception):
    """What the imagined Ray raises for a task that it has lost."""


class Cancelled(Lost):
    pass


class Imagined(ModuleType):
    """A Ray whose tasks end as a test says: `ends` has a reply or an error for each task that has ended."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.tasks: list[tuple[Any, tuple[str, ...], dict[str, Any]]] = []
        self.ends: dict[int, str | Exception] = {}
        self.cancelled: list[tuple[int, bool]] = []
        self.alive = [self.node("one"), self.node("gone") | {"Alive": False}, self.node("small", CPU=0.0)]
        self.here: Callable[[Any, tuple[str, ...]], str | Exception | None] = lambda function, words: (
            function(*words) if function is sees else None
        )

    @staticmethod
    def node(name: str, **has: float) -> dict[str, Any]:
        return {"NodeID": name, "Alive": True, "NodeManagerHostname": name, "Resources": {"CPU": 1.0} | has}

    def init(self, **_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray does, with a handler of its own

    def nodes(self) -> list[dict[str, Any]]:
        return self.alive

    def remote(self, function: Any) -> Any:
        def hand_in(options: dict[str, Any], *words: str) -> int:
            self.tasks.append((function, words, options))
            number = len(self.tasks)
            if (end := self.here(function, words)) is not None:
                self.ends[number] = end
            return number

        def with_options(**options: Any) -> Any:
            task = ModuleType("task")
            task.remote = lambda *words: hand_in(options, *words)  # type: ignore[attr-defined]
            return task

        made = ModuleType("function")
        made.options = with_options  # type: ignore[attr-defined]
        return made

    def wait(self, references: list[int], num_returns: int = 1, timeout: float = 0) -> tuple[list[int], list[int]]:
        assert num_returns <= len(references)
        return [one for one in references if one in self.ends], [one for one in references if one not in self.ends]

    def get(self, reference: int, timeout: float | None = None) -> str:
        found = self.ends[reference]
        if isinstance(found, Exception):
            raise found
        return found

    def cancel(self, reference: int, force: bool = False) -> None:
        self.cancelled.append((reference, force))


@pytest.fixture
def imagined(monkeypatch: pytest.MonkeyPatch) -> Imagined:
    found = Imagined()
    modules = {name: ModuleType(name) for name in ("ray.exceptions", "ray.util", "ray.util.scheduling_strategies")}
    modules["ray.exceptions"].__dict__.update(RayError=Lost, TaskCancelledError=Cancelled)
    modules["ray.util.scheduling_strategies"].__dict__["NodeAffinitySchedulingStrategy"] = lambda node, soft: node
    for name, module in {"ray": found, **modules}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(executor_module, "find_spec", lambda name: name)
    monkeypatch.setattr(executor_module, "LOOK_SECONDS", 0.0)
    return found


def test_options_that_cannot_work_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "head", "--profile", "smoke", "--store", tmp_path / "store"]
    assert "--ray says what its jobs ask for: add --executor ray" in invoke(*words, "--ray", "gpus=1").stderr
    other = invoke(*words, "--executor", "ray", "--slurm", "gpus=1")
    assert "--slurm says what its jobs ask for: add --executor slurm" in other.stderr
    assert "--detach is for jobs of SLURM" in invoke(*words, "--executor", "ray", "--detach").stderr
    monkeypatch.setattr(executor_module, "find_spec", lambda name: None)
    absent = invoke(*words, "--executor", "ray")
    assert absent.exit_code == 2
    assert "python -m pip install 'trackablate[ray]'" in absent.stderr
    assert not list(tmp_path.iterdir()), "not even a store"


def test_a_cluster_that_does_not_answer_is_refused_with_the_remedy(
    tmp_path: Path, imagined: Imagined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, also where Ray itself would try for minutes."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        asked = resources(f"address=127.0.0.1:{unheard.getsockname()[1]}", 1, "auto")
        with pytest.raises(
            BadInput, match=r"no cluster can be joined at 127.0.0.1:\d+ .*start one with `ray start --head`"
        ):
            join(tmp_path / "store", asked)

    def absent(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(imagined, "init", absent)
    with pytest.raises(BadInput, match=r"at auto \(Could not find any running Ray instance\.\)"):
        join(tmp_path / "store", ONE)


def test_every_node_that_may_get_tasks_looks_for_a_file_in_the_store(tmp_path: Path, imagined: Imagined) -> None:
    before = signal.getsignal(signal.SIGTERM)
    join(tmp_path / "store", ONE)
    assert signal.getsignal(signal.SIGTERM) == before
    ((_, _, options),) = imagined.tasks
    assert options["scheduling_strategy"] == "one"
    assert (options["num_cpus"], options["max_retries"]) == (0, 0)
    assert str(SRC) in options["runtime_env"]["env_vars"]["PYTHONPATH"]
    assert list(options["runtime_env"]) == ["env_vars"], "nothing is uploaded"
    assert not list(tmp_path.iterdir()), "not even a store"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (sees("/nowhere"), "the node one does not see /.*: name a --store that all nodes see"),
        (
            Lost("Traceback\nNo module named 'trackablate'"),
            r"the node one cannot do .* \(No module named 'trackablate'\): nodes need the Python",
        ),
    ],
)
def test_a_node_that_cannot_work_is_refused(
    tmp_path: Path, imagined: Imagined, answer: str | Exception, said: str
) -> None:
    imagined.here = lambda *_: answer
    with pytest.raises(BadInput, match=said):
        join(tmp_path / "store", ONE)
    assert not list(tmp_path.iterdir()), "not even a store"


def test_resources_that_no_node_has_are_refused(tmp_path: Path, imagined: Imagined) -> None:
    with pytest.raises(BadInput, match="--ray gpus=0,cpus=2: no node of the cluster has so many; ask for fewer"):
        join(tmp_path / "store", Resources(0, 2, None, {"address": "auto"}))


def work_on(executor: RayExecutor, task: RunTask = STATIC) -> WorkerProcess:
    worker = executor.start(executor.worker_settings(1, Store(executor.folder.parents[1]), "cpu", AS_USUAL)[0])
    worker.do(task)
    return worker


def remains(executor: RayExecutor) -> list[Path]:
    """What is in the folder of a command, its lease apart."""
    return list(executor.folder.glob("[!.]*"))


def test_a_task_is_an_order_in_the_store(tmp_path: Path, imagined: Imagined, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins and import path go along. Nothing is left of a task that was done."""
    monkeypatch.setenv("TRACKABLATE_PLUGINS", "/plugins/mine.py")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    executor = RayExecutor(Store(tmp_path), Resources(1, 4))
    worker = work_on(executor)
    ((function, (file,), options),) = imagined.tasks
    order = read_document(Path(file), RayOrder)
    assert order is not None
    assert order.task == STATIC
    assert function is carry_out
    assert (options["num_gpus"], options["num_cpus"], options["max_retries"]) == (1, 4, 0)
    own = options["runtime_env"]["env_vars"]
    assert own["TRACKABLATE_PLUGINS"] == "/plugins/mine.py"
    assert own["OMP_NUM_THREADS"] == "4", "Ray would set another one"
    assert not worker.at_work()
    (Path(file).parent / "worker-7-1.log").touch()
    assert worker.at_work()
    assert worker.poll() is None
    imagined.ends[1] = DONE.model_dump_json()
    assert worker.poll() == DONE.model_copy(update={"last": True})
    assert remains(executor) == []
    worker.stop()
    assert imagined.cancelled == []
    assert executor.farewell() == ""
    assert not executor.folder.exists()


def test_a_task_that_ray_loses_is_handed_in_again(tmp_path: Path, imagined: Imagined) -> None:
    worker = work_on(RayExecutor(Store(tmp_path), ONE))
    for number in range(1, AGAIN + 1):
        imagined.ends[number] = Lost("the node died")
        assert worker.poll() is None
    assert len({words for _, words, _ in imagined.tasks}) == 1
    imagined.ends[AGAIN + 1] = DONE.model_dump_json()
    assert worker.poll() == DONE.model_copy(update={"last": True})


def test_a_task_that_ray_loses_again_and_again_has_died(tmp_path: Path, imagined: Imagined) -> None:
    executor = RayExecutor(Store(tmp_path), ONE)
    worker = work_on(executor)
    imagined.here = lambda *_: Lost("Traceback\nthe node died")
    imagined.ends[1] = Lost("the node died")
    replies = [worker.poll() for _ in range(AGAIN + 1)]
    said = f"Ray lost its task {AGAIN + 1} times, the last time so: the node died"
    assert replies == [None] * AGAIN + [Reply(status="died", text=said, last=True)]
    assert not executor.waiting


def test_the_next_command_clears_what_a_killed_one_left(tmp_path: Path, imagined: Imagined) -> None:
    """What failed tasks printed stays, and everything of a command that is at work."""
    store, failed = Store(tmp_path), Reply(status="failed", text="no")
    other, ended = RayExecutor(store, ONE), RayExecutor(store, ONE)
    for executor, end in ((other, None), (ended, None), (ended, failed)):
        worker = work_on(executor)
        (file,) = imagined.tasks[-1][1]
        (Path(file).parent / "worker-7-1.log").write_text("it was at work")
        if end:
            imagined.ends[len(imagined.tasks)] = end.model_dump_json()
            assert worker.poll() == end.model_copy(update={"last": True})
    (ended.folder / "third").mkdir()
    (ended.folder / "third" / ".order.json.x.tmp").write_text("it was killed while it wrote the order")
    assert len(remains(ended)) == 3
    (number, holder), *_ = ((file, json.loads(file.read_text())) for file in ended.folder.glob(".lease-*"))
    number.write_text(json.dumps(holder | {"started": "a process before"}))  # as if it had been killed
    RayExecutor(store, ONE).farewell()
    (kept,) = remains(ended)
    assert [path.name for path in kept.iterdir()] == ["worker-7-1.log"]
    assert len(remains(other)) == 1
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == sorted([ended.folder.name, other.folder.name])


def test_a_task_that_somebody_cancels_is_not_handed_in_again(tmp_path: Path, imagined: Imagined) -> None:
    worker = work_on(RayExecutor(Store(tmp_path), ONE))
    imagined.ends[1] = Cancelled("cancelled")
    assert worker.poll() == Reply(status="died", text="its task was cancelled on the cluster", last=True)
    assert len(imagined.tasks) == 1


@pytest.mark.parametrize("ends", [True, False])
def test_a_worker_that_is_stopped_cancels_its_task(tmp_path: Path, imagined: Imagined, ends: bool) -> None:
    executor = RayExecutor(Store(tmp_path), ONE)
    worker = work_on(executor)
    if ends:
        imagined.ends[1] = Cancelled("cancelled")
    worker.stop()
    assert imagined.cancelled == [(1, False)] if ends else [(1, False), (1, True)]
    assert not executor.waiting
    assert remains(executor) == []


def test_the_study_is_prepared_here(tmp_path: Path, imagined: Imagined) -> None:
    executor = RayExecutor(Store(tmp_path / "store"), Resources(2, 8))
    slot = Slot(executor, executor.worker_settings(1, Store(tmp_path / "store"), "cuda", AS_USUAL)[0])
    found = slot.ask(PrepareTask(sizes=(), protocols=()))
    assert json.loads(found) == {"name": "a node of Ray", "gpus": ["cuda:0", "cuda:1"]}
    assert imagined.tasks == []
    slot.do(STATIC)
    assert len(imagined.tasks) == 1


def test_an_order_is_carried_out_by_a_process_of_its_own(tmp_path: Path, imagined: Imagined) -> None:
    executor = RayExecutor(Store(tmp_path), ONE)
    imagined.here = lambda function, words: function(*words)
    reply = reply_of(work_on(executor))
    assert reply.status == "done"
    assert Store(tmp_path).run(STATIC.run).path.exists()


def test_an_order_that_a_node_does_not_see_is_refused_there() -> None:
    reply = Reply.model_validate_json(carry_out("/nowhere/order.json"))
    assert reply.status == "bad input"
    assert reply.text.startswith("/nowhere/order.json is not on the node ")


def test_a_cancelled_task_has_the_time_for_its_checkpoint(
    tmp_path: Path, imagined: Imagined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray interrupts it again and again until it has ended."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a caller may ignore it
    stopped: list[int] = []

    class Cancelling(Slot):
        def wait(self, watch: Callable[[], None] = lambda: None) -> Reply:
            raise KeyboardInterrupt

        def stop(self) -> None:
            _thread.interrupt_main()
            super().stop()
            stopped.append(1)

    monkeypatch.setattr(executor_module, "Slot", Cancelling)
    work_on(RayExecutor(Store(tmp_path), ONE))
    ((_, (file,), _),) = imagined.tasks
    with pytest.raises(KeyboardInterrupt):
        carry_out(file)
    assert stopped
    assert signal.signal(signal.SIGINT, before) == signal.default_int_handler


def test_a_task_whose_order_is_withdrawn_ends(
    tmp_path: Path, imagined: Imagined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's message does not always arrive."""
    ended: list[bool] = []

    class Endless(Slot):
        def wait(self, watch: Callable[[], None] = lambda: None) -> Reply:
            watch()
            worker.stop()
            watch()
            raise AssertionError("it goes on")

        def stop(self) -> None:
            super().stop()
            ended.append(True)

    monkeypatch.setattr(executor_module, "Slot", Endless)
    worker = work_on(RayExecutor(Store(tmp_path), ONE))
    ((_, (file,), _),) = imagined.tasks
    imagined.ends[1] = Cancelled("cancelled")
    with pytest.raises(RunFailed, match="was withdrawn"):
        carry_out(file)
    assert ended


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ray_cluster.Cluster]:
    if reason := ray_cluster.lacking():
        pytest.skip(reason)
    monkeypatch.setenv("PYTHONPATH", str(SRC))
    with ray_cluster.cluster(tmp_path / "cluster") as found:
        yield found


@pytest.fixture
def joined(tmp_path: Path, cluster: ray_cluster.Cluster) -> Iterator[RayExecutor]:
    """An executor of a process that has joined the cluster."""
    import ray

    store, asked = Store(tmp_path / "store"), resources(f"address={cluster.address}", 1, "cpu")
    join(store.root, asked)
    executor = RayExecutor(store, asked)
    yield executor
    executor.farewell()
    ray.shutdown()


def wait_until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "nothing happened for too long"
        time.sleep(0.02)


def reply_of(worker: WorkerProcess) -> Reply:
    replies: list[Reply] = []
    wait_until(lambda: (reply := worker.poll()) and (replies.append(reply) or True))
    return replies[0]


def training(seed: int, every: int) -> RunTask:
    update = {"steps": STEPS, "batch_size": 4, "checkpoint_every": every, "validation_pairs": 4}
    profile = SMOKE.model_copy(update={"recipe": SMOKE.recipe and SMOKE.recipe.model_copy(update=update)})
    evaluation = Evaluation(protocol="synthetic-smoke", data=PROTOCOLS["synthetic-smoke"].open(None).digest())
    return RunTask(run=run_of(ostrack_mlp, profile, seed), evaluations=(evaluation,))


def trains(folder: RunFolder, beyond: int) -> bool:
    said = folder.progress()
    return said is not None and said.phase == "train" and said.done > beyond


def work_through(
    executor: Executor, places: list[WorkerSettings], tasks: list[RunTask], watch: Callable[[], None]
) -> None:
    class Told(Observer):
        def watch(self) -> None:
            watch()

    items = [Pending(task, Missing(True, {}, ())) for task in tasks]
    slots = [Slot(executor, place) for place in places]
    assert run_all(items, slots, Told(), lambda item, settings, reason: reason) == []
    for slot in slots:
        slot.stop()


@pytest.mark.slow
def test_trainings_go_on_when_their_node_is_killed_or_their_task_is_stopped(
    tmp_path: Path, cluster: ray_cluster.Cluster, joined: RayExecutor
) -> None:
    """They end with the numbers of unbroken ones."""
    store, tasks = Store(tmp_path / "store"), [training(0, 10), training(1, 10)]
    folders, stopped = [store.run(task.run) for task in tasks], training(2, STEPS)
    worker = work_on(joined, stopped)
    wait_until(lambda: trains(store.run(stopped.run), 3))
    worker.stop()
    assert store.run(stopped.run).checkpoint.exists(), "it makes none by itself before its end"

    killed: list[int] = []

    def kill_one() -> None:
        if not killed and all(trains(folder, 10) for folder in folders):
            killed.append(1)
            cluster.kill_node(1)

    work_through(joined, joined.worker_settings(3, store, "cpu", AS_USUAL), [*tasks, stopped], kill_one)
    assert killed
    assert remains(joined) == []

    settings = WorkerSettings(store=str(tmp_path / "local"), device="cpu", threads=1, workers=2, command="test")
    work_through(LocalExecutor(tmp_path / "logs"), [settings] * 2, [*tasks, stopped], lambda: None)
    resumed = []
    for task in (*tasks, stopped):
        resumed.append(same_numbers(store.run(task.run), Store(tmp_path / "local").run(task.run)))
    assert sorted(resumed[:2]) == [0, 1], "one of the two was on the node"
    assert resumed[2] == 1


def same_numbers(found: RunFolder, expected: RunFolder) -> int:
    """How often the first training went on, which must have ended as the second one did."""
    training, unbroken = found.training(), expected.training()
    assert found.fault_of_weights() == ""
    assert (training and training.weights_digest) == (unbroken and unbroken.weights_digest)
    for evaluation in expected.evaluations():
        boxes = [r.boxes for r in found.results(evaluation)]
        assert boxes == [r.boxes for r in expected.results(evaluation)]
        assert len(boxes) == 4
    if training is None or unbroken is None:
        return 0
    assert [point.losses for point in training.curve] == [point.losses for point in unbroken.curve]
    return training.cost.resumed


@pytest.mark.slow
def test_a_study_is_stopped_and_killed_and_loses_a_node_and_ends_with_the_same_numbers(
    tmp_path: Path, cluster: ray_cluster.Cluster
) -> None:
    """Nothing is left of the commands before it, and what is refused leaves no store behind."""
    refused = ["run", "head", "--profile", "smoke", "--store", tmp_path / "far", "--executor", "ray", "--ray"]
    for text in ("colour=blue", f"address={cluster.address},gpus=1", "address=127.0.0.1:1", "cpus=none"):
        done = harness(*refused, text, cwd=tmp_path)
        assert done.returncode == 2
        assert "error: " in done.stderr
        assert not (tmp_path / "far").exists()
    by_ray = ("far", "--executor", "ray", "--ray", f"address={cluster.address}")
    for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        stopped = study(tmp_path, *by_ray)
        wait_until(lambda stopped=stopped: at_work(tmp_path / "far", stopped.pid))
        stopped.send_signal(number)
        _, said = stopped.communicate()
        assert stopped.returncode == status, said
        assert status < 0 or "what was done is kept; the same command goes on from there" in said
        assert bool(list((tmp_path / "far" / "jobs").iterdir())) == (number == signal.SIGKILL)
    last = study(tmp_path, *by_ray)
    wait_until(lambda: at_work(tmp_path / "far", last.pid))
    cluster.kill_node(0)
    ended(last)
    assert not list((tmp_path / "far" / "jobs").iterdir())
    ended(study(tmp_path, "here"))
    runs = list(Store(tmp_path / "far").runs())
    assert len(runs) == 2 + len(FLOORS)
    for folder in runs:
        same_numbers(folder, Store(tmp_path / "here").run(folder.run))


def at_work(store: Path, command: int) -> bool:
    """Whether a node has begun with a task of a command, by the number of its process."""
    folders = (file.parent for file in store.glob("jobs/ray-*/.lease-*") if f'"pid": {command},' in file.read_text())
    return any(list(folder.glob("*/*.log")) for folder in folders)
