"""Runs as jobs: what is asked of SLURM, what is made of its answers, and all of it on a real SLURM of one node."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import slurm_cluster
from command_line import invoke
from on_clusters import ended, study
from places import SRC
from trackablate.ablations.plan import run_of
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.documents import write_document
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import Spent
from trackablate.harness.running import runner
from trackablate.harness.running.executors import slurm
from trackablate.harness.running.executors.elsewhere import Resources
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.executors.protocol import WorkerProcess
from trackablate.harness.running.executors.slurm import SlurmExecutor, minutes, reply_file, resources
from trackablate.harness.running.observer import Missing, Observer
from trackablate.harness.running.queue import Slot, run_all
from trackablate.harness.running.tasks import AS_USUAL, Execution, Reply, RunTask, WorkerSettings
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.floors import FLOORS
from trackablate.trackers.spec import FloorSpec
from trackablate.trackers.variants import ostrack_mlp

SMOKE = load_profile("smoke")
PATIENCE = 240.0
STATIC = RunTask(run=RunSpec(tracker=FloorSpec(kind="static")), evaluations=())


def test_resources_come_from_the_profile_unless_they_are_named() -> None:
    assert resources("", SMOKE, 1, "auto").parameters == {"cpus_per_task": 1, "mem": "3G", "time": slurm.MINUTES}
    found = resources("partition=gpu, gpus=2,time=1-12:00,memory=64G,jobs=8", SMOKE, 2, "auto")
    assert (found.gpus, found.cpus, found.jobs) == (2, 8, 8)
    assert found.parameters == {
        **{"partition": "gpu", "gpus_per_node": 2, "cpus_per_task": 8, "mem": "64G"},
        "time": 36 * 60,
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [("90", 90), ("90:30", 91), ("4:00:00", 240), ("2-0", 2880), ("1-01:30", 1530), ("0-0:0:1", 1)],
)
def test_times_are_written_as_for_slurm(text: str, found: int) -> None:
    assert minutes(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour=blue", "write KEY=VALUE,KEY=VALUE with partition, account, .*time, jobs"),
        ("partition", "--slurm partition: write KEY=VALUE"),
        ("gpus=none", "--slurm gpus=none: write a number from 0"),
        ("cpus=0", "write a number from 1"),
        ("gpus=1", "each run has 2 by --gpus-per-run; ask for gpus=2"),
        ("time=soon", "write minutes, hours:minutes:seconds or days-hours"),
        ("time=0:00:00", "write minutes"),
        ("memory=much", "write a size, as memory=16G"),
    ],
)
def test_what_slurm_does_not_know_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        resources(text, SMOKE, 2, "auto")


def test_options_that_cannot_work_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "head", "--profile", "smoke", "--store", tmp_path / "store"]
    assert "--slurm says what its jobs ask for: add --executor slurm" in invoke(*words, "--slurm", "gpus=1").stderr
    assert "--detach is for jobs of SLURM: add --executor slurm" in invoke(*words, "--detach").stderr
    both = invoke(*words, "--executor", "slurm", "--detach", "--slurm", "jobs=2")
    assert "leave out jobs= of --slurm" in both.stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    absent = invoke(*words, "--executor", "slurm")
    assert absent.exit_code == 2
    assert "sbatch is not on the PATH; start the command where jobs are handed in" in absent.stderr
    monkeypatch.setattr(slurm, "find_spec", lambda name: None)
    assert "python -m pip install 'trackablate[slurm]'" in invoke(*words, "--executor", "slurm").stderr


def test_each_task_has_a_place_with_the_devices_of_its_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plain = SlurmExecutor(store, Resources(0, 6, None, {})).places(3, store, "auto", AS_USUAL)
    assert [(s.device, s.threads, s.others, s.loader_workers) for s in plain] == [("cpu", 1, (), 0)] * 3
    how = Execution(gpus_per_run=2, fit_memory=True, log="csv")
    (shared,) = SlurmExecutor(store, Resources(2, 8, 1, {})).places(3, store, "auto", how)
    assert (shared.device, shared.threads, shared.others, shared.loader_workers) == ("cuda:0", 4, ("cuda:1",), 3)
    assert (shared.fit_memory, shared.log) == (True, "csv")


class Imagined(SlurmExecutor):
    """Its jobs are what `states` says of them."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Resources(0, 1, None, {}))
        self.states: dict[str, str] = {}
        self.looks = 0

    def submit(self, name: str, order: Path, threads: int) -> str:
        self.states[name] = "PENDING"
        return str(len(self.states))

    def _look(self) -> None:
        self.looks += 1
        self._states = {name: (str(n), state) for n, (name, state) in enumerate(self.states.items(), start=1)}
        self.looked = time.monotonic()


@pytest.fixture
def imagined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Imagined:
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "REPLY_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "GRACE_SECONDS", 0.0)
    return Imagined(Store(tmp_path / "store"))


def work_on(executor: SlurmExecutor, task: RunTask = STATIC) -> WorkerProcess:
    worker = executor.start(executor.places(1, Store(executor.folder.parent), "cpu", AS_USUAL)[0])
    worker.do(task)
    return worker


def test_a_job_that_is_there_is_not_handed_in_again(imagined: Imagined) -> None:
    first = work_on(imagined)
    (name,) = imagined.states
    imagined.states[name] = "RUNNING"
    second = work_on(imagined)
    assert len(imagined.states) == 1
    assert first.poll() is None
    (order,) = imagined.folder.glob("*.json")
    write_document(reply_file(order), Reply(status="done", text="{}"))
    assert second.poll() == Reply(status="done", text="{}", last=True)
    assert not list(imagined.folder.iterdir())
    assert imagined.farewell() == ""


def test_nothing_is_handed_in_while_slurm_does_not_say_which_jobs_there_are(
    imagined: Imagined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command before may have handed in the same."""
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho Socket timed out >&2; exit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(Imagined, "_look", SlurmExecutor._look)
    with pytest.raises(RunFailed, match=r"squeue does not answer \(Socket timed out\)"):
        work_on(imagined)
    assert not imagined.states
    squeue.write_text("#!/bin/sh\n")
    work_on(imagined)
    squeue.write_text("#!/bin/sh\nexit 1\n")
    assert imagined.job("any") == ("", ""), "afterwards the last answer counts"
    assert len(imagined.states) == 1


def test_a_job_that_ends_while_the_study_is_planned_is_not_handed_in_again(imagined: Imagined) -> None:
    """A reply from before that says nothing: its run lacks something now."""
    work_on(imagined)
    (order,) = imagined.folder.glob("*.json")
    imagined.states[f"trackablate-{order.stem}"] = "COMPLETED"
    write_document(reply_file(order), Reply(status="done", text="{}"))
    assert work_on(imagined).poll() == Reply(status="done", text="{}", last=True)
    write_document(reply_file(order), Reply(status="done", text="{}"))
    later = Imagined(Store(imagined.folder.parent))
    later.states = imagined.states
    assert work_on(later).poll() is None
    assert later.states == {f"trackablate-{order.stem}": "PENDING"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, None], ids=["Ctrl-C", "detached"])
def test_a_command_that_ends_says_what_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None
) -> None:
    """Nothing is drawn, since nothing is known yet."""

    def left(job: object, store: Store, executor: SlurmExecutor, *_: object) -> None:
        executor.left.update({"a": "17", "b": "9"})
        if error:
            raise error

    monkeypatch.setattr(slurm, "refuse_absent", lambda: None)
    monkeypatch.setattr(runner, "run", left)
    words = ["run", "head", "--profile", "smoke", "--store", tmp_path / "store", "--out", tmp_path / "report"]
    done = invoke(*words, "--executor", "slurm", *([] if error else ["--detach"]))
    assert done.exit_code == (130 if error else 0)
    assert (
        f"2 jobs go on: `python -m harness watch --store {tmp_path / 'store'}` shows them, the same command takes up their"
        " results, and `scancel 9 17` ends them"
    ) in done.stderr
    assert not (tmp_path / "report").exists()


def test_tasks_count_as_started_when_their_jobs_leave_the_queue(imagined: Imagined) -> None:
    events: list[str] = []

    class Told(Observer):
        def started(self, item: Missing) -> None:
            events.append("started")

        def watch(self) -> None:
            events.append(f"{len(imagined.states)} queued")
            for file in imagined.folder.glob("*[0-9a-f].json"):
                name = f"trackablate-{file.stem}"
                if imagined.states[name] == "RUNNING":
                    reply = Reply(status="done", text=Spent(device_seconds=0.0).model_dump_json())
                    write_document(reply_file(file), reply)
                imagined.states[name] = "RUNNING"

        def finished(self, item: Missing, spent: Spent | None) -> None:
            events.append("finished" if spent else "failed")

    places = imagined.places(1, Store(imagined.folder.parent), "cpu", AS_USUAL)
    item = Missing(task=STATIC, training=False, sequences=1, speed=False)
    assert run_all([item], [Slot(imagined, place) for place in places], Told(), lambda *_: "died") == []
    assert events == ["1 queued", "started", "1 queued", "finished"]


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", None])
def test_a_job_that_ended_without_a_reply_has_died(imagined: Imagined, state: str | None) -> None:
    worker = work_on(imagined)
    assert worker.poll() is None
    (name,) = imagined.states
    assert "scancel 1` ends them" in imagined.farewell()
    log = imagined.folder / name.removeprefix("trackablate-") / "1_0_log.out"
    log.parent.mkdir()
    log.write_text("what went before\nslurmstepd: error\n")
    imagined.states.pop(name)
    imagined.states |= {name: state} if state else {}
    assert worker.poll() is None, "its reply may come later"
    reply = worker.poll()
    assert reply is not None
    assert reply.status == "died"
    how = f"ended as {state}" if state else "is not known to SLURM any more"
    assert reply.text == f"job 1 of SLURM {how}: what went before\nslurmstepd: error"
    assert log.exists()
    work_on(imagined)
    assert imagined.states[name] == "PENDING", "it is handed in again"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if reason := slurm_cluster.lacking():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "often.py").write_text(
        "from trackablate.harness.running.executors import slurm\nslurm.LOOK_SECONDS, slurm.GRACE_SECONDS = 1.0, 5.0\n"
    )
    with slurm_cluster.cluster(folder / "cluster") as environment, pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, environment[name])
        patch.setenv("TRACKABLATE_PLUGINS", str(folder / "often.py"))
        patch.setenv("PYTHONPATH", str(SRC))
        patch.setattr(slurm, "LOOK_SECONDS", 1.0)
        patch.setattr(slurm, "GRACE_SECONDS", 5.0)
        yield


def wait_until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "nothing happened for too long"
        time.sleep(0.02)


def reply_of(worker: WorkerProcess) -> Reply:
    replies: list[Reply] = []
    wait_until(lambda: (reply := worker.poll()) and (replies.append(reply) or True))
    return replies[0]


def long_training(seed: int) -> RunTask:
    """It makes no checkpoint by itself before its end."""
    update = {"steps": 200, "batch_size": 4, "checkpoint_every": 200, "validation_pairs": 4}
    profile = SMOKE.model_copy(update={"recipe": SMOKE.recipe and SMOKE.recipe.model_copy(update=update)})
    evaluation = Evaluation(protocol="synthetic-smoke", data=PROTOCOLS["synthetic-smoke"].open(None).digest())
    return RunTask(run=run_of(ostrack_mlp, profile, seed), evaluations=(evaluation,))


def trains(folder: RunFolder, beyond: int) -> bool:
    said = folder.progress()
    return said is not None and said.phase == "train" and said.done > beyond


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cancelled_job_is_reported_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """After that it is queued again twice, once by itself as at the end of its time, and ends with the same numbers."""
    store, task = Store(tmp_path / "store"), long_training(0)
    executor, folder = SlurmExecutor(store, resources("time=10", SMOKE, 1, "cpu")), store.run(task.run)
    worker = work_on(executor, task)
    wait_until(lambda: trains(folder, 3))
    (job,) = executor.left.values()
    subprocess.run(["scancel", job], check=True)
    reply = reply_of(worker)
    assert reply.status == "died"
    assert f"job {job} of SLURM ended as CANCELLED: " in reply.text
    assert "stopped by SIGTERM with its checkpoint at step " in reply.text
    assert folder.checkpoint.exists()

    worker, ways = work_on(executor, task), (["scancel", "--signal=USR2"], ["scontrol", "requeue"])
    (job,) = executor.left.values()
    for way in ways:
        (folder.path / "progress.json").unlink()
        wait_until(lambda: trains(folder, 0))
        checkpoint = folder.checkpoint.stat().st_ino
        subprocess.run([*way, job], check=True)
        wait_until(lambda before=checkpoint: folder.checkpoint.stat().st_ino != before)
    assert reply_of(worker).status == "done"
    assert list(executor.left) == []

    settings = WorkerSettings(store=str(tmp_path / "local"), device="cpu", threads=1, workers=1, command="test")
    local, (evaluation,) = LocalExecutor(tmp_path / "logs").start(settings), task.evaluations
    local.do(task)
    assert reply_of(local).status == "done"
    local.stop()
    unbroken = Store(tmp_path / "local").run(task.run)
    found, expected = folder.training(), unbroken.training()
    assert found is not None
    assert expected is not None
    assert found.cost.resumed == 3
    assert found.weights_digest == expected.weights_digest
    assert [point.losses for point in found.curve] == [point.losses for point in expected.curve]
    assert [r.boxes for r in folder.results(evaluation)] == [r.boxes for r in unbroken.results(evaluation)]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_study_is_handed_in_left_killed_and_taken_up(tmp_path: Path) -> None:
    """Its numbers are those of this machine's own workers, and no run was handed in twice."""
    before = jobs()
    by_jobs = ("--executor", "slurm", "--slurm", "cpus=1,time=20")
    said = ended(study(tmp_path, "jobs", *by_jobs, "--detach"))
    assert "jobs go on: `python -m harness watch --store" in said
    assert not (tmp_path / "report-jobs").exists()
    killed = study(tmp_path, "jobs", *by_jobs)
    wait_until(lambda: "RUNNING" in jobs().values())
    time.sleep(5.0)  # so that it has found them
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    ended(study(tmp_path, "jobs", *by_jobs))
    runs = list(Store(tmp_path / "jobs").runs())
    assert len(jobs().keys() - before.keys()) == len(runs) + 1, "one each, and one for the speed"
    assert len(runs) == 2 + len(FLOORS)
    assert not list((tmp_path / "jobs" / "jobs").iterdir())
    ended(study(tmp_path, "here"))
    for folder in runs:
        here = Store(tmp_path / "here").run(folder.run)
        assert folder.fault_of_weights() == ""
        for evaluation in folder.evaluations():
            found, expected = ([r.boxes for r in one.results(evaluation)] for one in (folder, here))
            assert found == expected
            assert len(found) == 4
        trained, locally = folder.training(), here.training()
        assert (trained and trained.weights_digest) == (locally and locally.weights_digest)


def jobs() -> dict[str, str]:
    asked = ["squeue", "--states=all", "--noheader", "--format=%i|%T"]
    done = subprocess.run(asked, env=os.environ, capture_output=True, text=True, check=True)
    return dict(line.split("|") for line in done.stdout.splitlines())  # type: ignore[misc]
