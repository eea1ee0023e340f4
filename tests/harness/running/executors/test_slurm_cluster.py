"""Runs as jobs of a real SLURM of one node: cancelled, queued again, left, killed, taken up, and changed."""

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
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.executors import slurm, slurm_jobs
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.executors.protocol import WorkerProcess
from trackablate.harness.running.executors.slurm import SlurmExecutor
from trackablate.harness.running.executors.slurm_options import resources
from trackablate.harness.running.tasks import AS_USUAL, Reply, RunTask, WorkerSettings
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.floors import FLOORS
from trackablate.trackers.spec import FloorSpec
from trackablate.trackers.variants import ostrack_mlp

SMOKE = load_profile("smoke")
PATIENCE = 240.0
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]


PLUGIN = """
import os, time
from trackablate.harness.running.executors import slurm, slurm_jobs
slurm_jobs.LOOK_SECONDS, slurm.GRACE_SECONDS = 1.0, 5.0
while "SLURM_JOB_ID" in os.environ and os.path.exists({hold!r}):
    time.sleep(0.2)
"""
"""What the commands and their jobs load: they look often, and jobs wait as long as a file is there."""


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file as long as which jobs wait."""
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, hold: Path) -> Iterator[None]:
    if reason := slurm_cluster.lacking():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "often.py").write_text(PLUGIN.format(hold=str(hold)))
    with slurm_cluster.cluster(folder / "cluster") as environment, pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, environment[name])
        patch.setenv("TRACKABLATE_PLUGINS", str(folder / "often.py"))
        patch.setenv("PYTHONPATH", str(SRC))
        patch.setattr(slurm_jobs, "LOOK_SECONDS", 1.0)
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


def work_on(executor: SlurmExecutor, *tasks: RunTask) -> list[WorkerProcess]:
    """Have the tasks handed in, and return a worker for each."""
    (place,) = executor.worker_settings(1, Store(executor.folder.parent), "cpu", AS_USUAL)
    workers = [executor.start(place) for _ in tasks]
    for worker, task in zip(workers, tasks, strict=True):
        worker.do(task)
    assert [worker.poll() for worker in workers] == [None] * len(tasks)
    return list(workers)


def test_a_job_of_an_array_is_cancelled_and_others_are_queued_again_alone(tmp_path: Path) -> None:
    """All end with the numbers of unbroken runs; another command finds those that go on by their numbers in the array."""
    store, tasks = Store(tmp_path / "store"), [long_training(0), long_training(1)]
    asked, folders = resources("time=10", SMOKE, 1, "cpu"), [store.run(task.run) for task in tasks]
    executor = SlurmExecutor(store, asked)
    cancelled, _ = work_on(executor, *tasks)
    wait_until(lambda: all(trains(folder, 3) for folder in folders))
    first, second = executor.left.values()
    array = first.partition("_")[0]
    assert (first, second) == (f"{array}_0", f"{array}_1")
    stopped(folders[1], "scancel", "--signal=USR2", second)  # as SLURM sends it before the time is over
    assert jobs()[first] == "RUNNING", "it is not queued again with the other one of its array"
    stopped(folders[0], "scancel", first)
    reply = reply_of(cancelled)
    assert reply.status == "died"
    assert f"job {first} of SLURM ended as CANCELLED: " in reply.text
    assert "stopped by SIGTERM with its checkpoint at step " in reply.text
    assert "1 job of this store goes on" in executor.farewell()

    executor = SlurmExecutor(store, asked)
    workers = work_on(executor, *tasks)
    found, again = executor.left.values()
    assert found == second
    assert not again.startswith(array)
    (folders[0].path / "progress.json").unlink()
    wait_until(lambda: trains(folders[0], 0))
    stopped(folders[0], "scontrol", "requeue", again)
    assert [reply_of(worker).status for worker in workers] == ["done", "done"]
    assert executor.farewell() == ""
    assert jobs()[first] == "CANCELLED"

    settings = WorkerSettings(store=str(tmp_path / "local"), device="cpu", threads=1, workers=1, command="test")
    local = LocalExecutor(tmp_path / "logs").start(settings)
    for task, folder, resumed in zip(tasks, folders, (2, 1), strict=True):
        local.do(task)
        assert reply_of(local).status == "done"
        same_numbers(folder, Store(tmp_path / "local").run(task.run), resumed)
    local.stop()


def stopped(folder: RunFolder, *words: str) -> None:
    """Have a command of SLURM stop a training, which saves a checkpoint and makes none by itself."""
    before = folder.checkpoint.stat().st_ino if folder.checkpoint.exists() else 0
    subprocess.run(words, check=True)
    wait_until(lambda: folder.checkpoint.exists() and folder.checkpoint.stat().st_ino != before)


def same_numbers(folder: RunFolder, unbroken: RunFolder, resumed: int) -> None:
    found, expected = folder.training(), unbroken.training()
    assert found is not None
    assert expected is not None
    assert found.cost.resumed == resumed
    assert found.weights_digest == expected.weights_digest
    assert [point.losses for point in found.curve] == [point.losses for point in expected.curve]
    for evaluation in folder.evaluations():
        assert [r.boxes for r in folder.results(evaluation)] == [r.boxes for r in unbroken.results(evaluation)]


def test_a_study_is_handed_in_left_killed_and_taken_up(tmp_path: Path, hold: Path) -> None:
    """Its numbers are those of this machine's own workers, and no run was handed in twice, though two commands tried."""
    before = jobs()
    hold.touch()
    by_jobs = ("--executor", "slurm", "--slurm", "cpus=1,time=20")
    both = [study(tmp_path, "jobs", *by_jobs, "--detach") for _ in range(2)]
    for said in map(ended, both):
        assert "jobs of this store go on: `python -m harness watch --store" in said
    assert not (tmp_path / "report-jobs").exists()
    handed_in = jobs().keys() - before.keys()
    assert len({number.partition("_")[0] for number in handed_in}) == 1, "they are one array"
    for number, status in ((signal.SIGKILL, -9), (signal.SIGHUP, 129), (signal.SIGTERM, 143)):
        stopped = study(tmp_path, "jobs", *by_jobs)
        wait_until(lambda: "RUNNING" in jobs().values())
        wait_until(lambda stopped=stopped, number=number: number == signal.SIGKILL or hears(stopped.pid, number))
        time.sleep(8.0)  # so that it has found them
        stopped.send_signal(number)
        _, said = stopped.communicate()
        assert stopped.returncode == status
        assert number == signal.SIGKILL or f"stopped by {number.name}; what was done is kept; the same command" in said
    hold.unlink()
    ended(study(tmp_path, "jobs", *by_jobs))
    runs = list(Store(tmp_path / "jobs").runs())
    assert len(runs) == 2 + len(FLOORS)
    assert len(handed_in) == len(runs)
    assert len(jobs().keys() - before.keys()) == len(runs) + 1, "one each, and one for the speed"
    assert not list((tmp_path / "jobs" / "jobs").glob("[!.]*"))
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


def hears(process: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    said = Path(f"/proc/{process}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(said, 16) >> (number - 1) & 1)


def test_jobs_that_wait_are_handed_in_again_with_other_resources(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """This SLURM takes arrays of four: the fifth job comes in another one."""
    store, count = Store(tmp_path / "store"), slurm_cluster.MOST_TASKS + 1
    tasks = [RunTask(run=RunSpec(tracker=FloorSpec(kind="static"), seed=seed), evaluations=()) for seed in range(count)]
    wait = ["sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap=sleep 600"]
    busy = subprocess.run(wait, capture_output=True, text=True, check=True).stdout.strip()
    wait_until(lambda: jobs()[busy] == "RUNNING")
    before = SlurmExecutor(store, resources("time=20", SMOKE, 1, "cpu"))
    work_on(before, *tasks)
    executor = SlurmExecutor(store, resources("time=30", SMOKE, 1, "cpu"))
    workers = work_on(executor, *tasks)
    assert "--slurm time 20 -> 30: jobs that waited, handed in again with it: 5;" in caplog.text
    assert not {state for number, state in jobs().items() if number in before.left.values()} - {"CANCELLED"}
    assert {jobs()[number] for number in executor.left.values()} == {"PENDING"}
    assert len({number.partition("_")[0] for number in executor.left.values()}) == 2
    asked = ["squeue", "--noheader", "--array", "--states=PENDING", "--format=%l"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split() == ["30:00"] * count
    subprocess.run(["scancel", busy], check=True)
    assert [reply_of(worker).status for worker in workers] == ["done"] * count
    assert executor.farewell() == ""


@pytest.mark.parametrize("text", ["partition=nowhere", "gpus=1", "memory=900000G", "nodelist=nowhere", "cpus=9999"])
def test_what_this_slurm_does_not_have_leaves_no_store_behind(tmp_path: Path, text: str) -> None:
    words = ["run", "head", "--profile", "smoke", "--store", tmp_path / "store"]
    done = invoke(*words, "--executor", "slurm", "--slurm", text)
    assert done.exit_code == 2
    assert "--slurm: SLURM would not take such a job: " in done.stderr
    assert not list(tmp_path.iterdir())


def jobs() -> dict[str, str]:
    asked = ["squeue", "--array", "--states=all", "--noheader", "--format=%i|%T"]
    done = subprocess.run(asked, env=os.environ, capture_output=True, text=True, check=True)
    return dict(line.split("|") for line in done.stdout.splitlines())  # type: ignore[misc]
