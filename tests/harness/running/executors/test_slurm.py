"""Runs as jobs, as far as an imagined SLURM can show it: what is handed in, found again, cancelled, and left behind."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from command_line import invoke
from places import SRC
from trackablate.datasets.atomic import sealed
from trackablate.datasets.lease import LeaseLost
from trackablate.harness.cli.options import Stopped
from trackablate.harness.documents import read_document, write_document
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.record import Spent
from trackablate.harness.running import runner
from trackablate.harness.running.executors import slurm, slurm_jobs, slurm_options
from trackablate.harness.running.executors.cluster import Resources
from trackablate.harness.running.executors.protocol import WorkerProcess
from trackablate.harness.running.executors.slurm import SlurmExecutor
from trackablate.harness.running.executors.slurm_jobs import MOST_TASKS, Jobs, SlurmJob, brief
from trackablate.harness.running.executors.slurm_orders import REPLIED, SlurmOrder, carry_out, reply_file
from trackablate.harness.running.observer import Observer, Pending
from trackablate.harness.running.queue import Slot, run_all
from trackablate.harness.running.tasks import AS_USUAL, Execution, Reply, RunTask, SpeedTask, Task
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Missing, Store
from trackablate.trackers.spec import FloorSpec

STATIC, NCC, SECOND = (
    RunTask(run=RunSpec(tracker=FloorSpec(kind=kind), seed=seed), evaluations=())
    for kind, seed in (("static", 0), ("ncc", 0), ("static", 1))
)
DONE = Reply(status="done", text=Spent(device_seconds=0.0).model_dump_json())
ONE = Resources(0, 1, None, {"time": 60})


def test_each_task_has_a_place_with_the_devices_of_its_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plain = SlurmExecutor(store, Resources(0, 6)).worker_settings(3, store, "auto", AS_USUAL)
    assert [(s.device, s.threads, s.others, s.loader_workers) for s in plain] == [("cpu", 1, (), 0)] * 3
    how = Execution(gpus_per_run=2, fit_memory=True, log="csv")
    (shared,) = SlurmExecutor(store, Resources(2, 8, 1)).worker_settings(3, store, "auto", how)
    assert (shared.device, shared.threads, shared.others, shared.loader_workers) == ("cuda:0", 4, ("cuda:1",), 3)
    assert (shared.fit_memory, shared.log) == (True, "csv")
    left = SlurmExecutor(store, Resources(2, 8, 1), detached=True).worker_settings(3, store, "auto", how)
    assert left == [shared] * 3, "SLURM itself holds the others back"


class Imagined(Jobs):
    """Its jobs are what `states` says of them. `arrays`: what was asked for with each hand-in, and how many jobs it had."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = {}
        self.arrays: list[tuple[Resources, int]] = []
        self.places: dict[str, tuple[str, int | None]] = {}
        self.most_tasks = 1000

    def submit(self, folder: Path, asked: Resources, count: int, threads: int) -> list[str]:
        self.arrays.append((asked, count))
        array = len(self.arrays)
        numbers = [f"{array}"] if count == 1 else [f"{array}_{index}" for index in range(count)]
        assert folder.stat().st_mode & 0o777 == 0o700
        for index, number in enumerate(numbers) if len(numbers) > 1 else [(None, numbers[0])]:
            (folder / f"{number}_submitted.pkl").touch()
            self.states[number], self.places[number] = "PENDING", (folder.name, index)
        return numbers

    def look(self) -> bool:
        self._found = {self.places[number]: SlurmJob(number, state) for number, state in self.states.items()}
        self.looked = time.monotonic()
        return True

    def cancel(self, numbers: Sequence[str]) -> None:
        self.states |= dict.fromkeys(numbers, "CANCELLED")
        self.look()


@pytest.fixture
def imagined(monkeypatch: pytest.MonkeyPatch) -> Imagined:
    monkeypatch.setattr(slurm_jobs, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "REPLY_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "GRACE_SECONDS", 0.0)
    slurm._say.cache_clear()
    return Imagined()


class Command:
    """A command that hands in jobs for one store: `begin` is its start."""

    def __init__(self, root: Path, jobs: Jobs) -> None:
        self.root, self.jobs = root, jobs

    def begin(self, asked: Resources = ONE, **named: bool) -> SlurmExecutor:
        executor = SlurmExecutor(Store(self.root), asked, **named)
        executor.jobs = self.jobs
        return executor

    def work_on(self, *tasks: Task, executor: SlurmExecutor | None = None) -> list[WorkerProcess]:
        executor = executor or self.begin()
        (place,) = executor.worker_settings(1, Store(self.root), "cpu", AS_USUAL)
        workers = [executor.start(place) for _ in tasks]
        for worker, task in zip(workers, tasks, strict=True):
            worker.do(task)
        executor.hand_in()
        return list(workers)

    def orders(self) -> dict[str, Path]:
        """The file of each order, by its job's number in the array, "" for a single job."""
        files = [file for file in (self.root / "jobs").glob("*.json") if not file.name.endswith(REPLIED)]
        found = {file: read_document(file, SlurmOrder) for file in files}
        return {"" if order.index is None else str(order.index): file for file, order in found.items() if order}

    def reply(self, order: Path, reply: Reply = DONE) -> None:
        write_document(reply_file(order), reply)

    def remains(self) -> list[str]:
        """What is in the folder of jobs, the lease apart."""
        return sorted(path.name for path in (self.root / "jobs").glob("[!.]*"))


@pytest.fixture
def command(tmp_path: Path, imagined: Imagined) -> Command:
    return Command(tmp_path / "store", imagined)


def test_tasks_that_are_ready_together_are_one_array(command: Command, imagined: Imagined) -> None:
    """A task alone is a job of its own."""
    executor = command.begin()
    workers = command.work_on(STATIC, NCC, executor=executor)
    assert imagined.arrays == [(ONE, 2)]
    assert list(imagined.states) == ["1_0", "1_1"]
    assert "2 jobs of this store go on" in executor.farewell()
    assert "`scancel '1_[0-1]'` ends them" in executor.farewell()
    later = command.work_on(SECOND, executor=executor)
    assert list(imagined.states) == ["1_0", "1_1", "2"]
    assert [worker.poll() for worker in (*workers, *later)] == [None] * 3
    orders = command.orders()
    command.reply(orders["1"], Reply(status="failed", text="no"))
    assert [worker.poll() for worker in workers] == [None, Reply(status="failed", text="no", last=True)]


def test_an_array_has_as_many_jobs_as_slurm_takes(command: Command, imagined: Imagined) -> None:
    """So many as the user wants at once are divided among several arrays."""
    imagined.most_tasks = 2
    asked = Resources(0, 1, 4, {})
    executor = command.begin(asked, detached=True)
    command.work_on(STATIC, NCC, SECOND, executor=executor)
    assert imagined.arrays == [(Resources(0, 1, 2, {}), 2), (Resources(0, 1, 2, {}), 1)]


@pytest.mark.parametrize(
    ("said", "most"),
    [
        ("Configuration data\nMaxArraySize            = 300\nMaxJobCount = 10000\n", 300),
        ("MaxArraySize            = 4000001\n", 1000),
        ("MaxArraySize = 0\n", 1),
        ("slurm_load_ctl_conf error: Unable to contact slurm controller\n", 1000),
    ],
)
def test_slurm_says_how_many_jobs_an_array_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, most: int
) -> None:
    program(tmp_path / "scontrol", f"cat <<END\n{said}END\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Jobs().most_tasks == most


def test_without_scontrol_an_array_has_the_usual_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Jobs().most_tasks == MOST_TASKS


def test_a_job_that_an_earlier_version_handed_in_is_done(command: Command) -> None:
    """It was queued when the program was updated: its pickle calls the same function with the order's file."""
    command.work_on(STATIC)
    ((_, order),) = command.orders().items()
    code = f"from {carry_out.__module__} import carry_out; carry_out({str(order)!r})"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    own = {"PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment | own, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    reply = read_document(reply_file(order), Reply)
    assert reply is not None
    assert reply.status == "done"


def program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}")
    file.chmod(0o755)


@pytest.mark.parametrize("count", [1, 2])
def test_a_job_reads_its_order_and_unpickles_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Who may write to the store could else have the job's owner run anything."""
    place = command.root.parent / "bin"
    place.mkdir()
    program(place / "sbatch", f'cat "$1" > {place}/script; echo "Submitted batch job 7"\n')
    for name in ("srun", "squeue", "scontrol"):
        program(place / name, "")
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    command.jobs = Jobs()
    command.work_on(*(STATIC, NCC)[:count])
    called = (place / "script").read_text().splitlines()[-1]
    assert "submitit" not in called
    words = shlex.split(called)
    assert words[-3:-1] == ["-m", "trackablate.harness.running.executors.slurm_orders"]
    for index, order in sorted(command.orders().items()):
        own = {"SLURM_ARRAY_TASK_ID": index, "PYTHONPATH": str(SRC)} if index else {"PYTHONPATH": str(SRC)}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        done = subprocess.run(words[-6:], env=environment | own, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        reply = read_document(reply_file(order), Reply)
        assert reply is not None
        assert reply.status == "done"


def test_jobs_are_not_handed_in_from_a_folder_that_others_may_write_to(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0)
    try:
        command.begin()
    finally:
        os.umask(before)
    folder = command.root / "jobs"
    assert folder.stat().st_mode & 0o777 == 0o755
    folder.chmod(0o775)
    with pytest.raises(BadInput, match=rf"others may write to {folder}, .* chmod go-w {folder}"):
        command.begin()
    folder.chmod(0o755)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(BadInput, match=rf"{folder} belongs to another user, .* use a store of your own"):
        command.begin()


def test_a_job_of_an_array_is_found_again(command: Command, imagined: Imagined) -> None:
    """By a command that knows nothing but the store: also what is not handed in again goes on under its old number."""
    command.work_on(STATIC, NCC)
    imagined.states["1_1"] = "RUNNING"
    executor = command.begin()
    workers = command.work_on(STATIC, NCC, SECOND, executor=executor)
    assert imagined.arrays == [(ONE, 2), (ONE, 1)]
    assert [worker.at_work() for worker in workers] == [False, True, False]
    for order in command.orders().values():
        command.reply(order)
    assert [worker.poll() for worker in workers] == [DONE.model_copy(update={"last": True})] * 3
    assert executor.farewell() == ""
    assert command.remains() == []


def test_a_command_that_ends_names_jobs_that_it_had_no_place_for_yet(command: Command, imagined: Imagined) -> None:
    command.work_on(STATIC, NCC, SECOND)
    imagined.states["1_0"] = "COMPLETED"
    executor = command.begin(Resources(0, 1, 1, {"time": 60}))
    command.work_on(NCC, executor=executor)
    assert "2 jobs of this store go on" in executor.farewell()
    assert "`scancel '1_[1-2]'`" in executor.farewell()


def test_a_job_that_another_command_hands_in_at_the_same_time_is_handed_in_once(
    command: Command, imagined: Imagined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has asked SLURM before the first one hands in; a minute goes by until it would ask again."""
    first, second = command.begin(), command.begin()
    second.jobs = late = Imagined()
    late.states, late.places = imagined.states, imagined.places
    late.look()
    monkeypatch.setattr(slurm_jobs, "LOOK_SECONDS", 60.0)
    (worker,) = command.work_on(STATIC, executor=first)
    (other,) = command.work_on(STATIC, executor=second)
    assert (len(imagined.arrays), len(late.arrays)) == (1, 0)
    (order,) = command.orders().values()
    command.reply(order)
    assert [worker.poll() for worker in (worker, other)] == [DONE.model_copy(update={"last": True})] * 2
    assert (first.farewell(), command.remains()) == ("", [])
    assert (second.farewell(), command.remains()) == ("", [])


def test_a_reply_that_another_command_has_read_is_not_waited_for(
    command: Command, imagined: Imagined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the run is whole is for the runner to see, as for any job that died; speed is measured anyway."""
    monkeypatch.setattr(slurm, "GRACE_SECONDS", 60.0)
    workers = command.work_on(STATIC, SpeedTask(timed=()))
    imagined.states = dict.fromkeys(imagined.states, "COMPLETED")
    assert [worker.poll() for worker in workers] == [None, None]
    for order in command.orders().values():
        order.unlink()
    died = "job 1_0 of SLURM ended as COMPLETED: it said nothing"
    assert [worker.poll() for worker in workers] == [
        Reply(status="died", text=died, last=True),
        Reply(status="done", text="", last=True),
    ]


def test_nothing_is_handed_in_while_slurm_does_not_say_which_jobs_there_are(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command before may have handed in the same."""
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho Socket timed out >&2; exit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(Imagined, "look", Jobs.look)
    with pytest.raises(RunFailed, match=r"squeue does not answer \(Socket timed out\)"):
        command.work_on(STATIC)
    squeue.write_text("#!/bin/sh\n")
    executor = command.begin()
    command.work_on(STATIC, executor=executor)
    assert isinstance(executor.jobs, Imagined)
    assert len(executor.jobs.arrays) == 1
    squeue.write_text("#!/bin/sh\nexit 1\n")
    (worker,) = command.work_on(NCC, executor=executor)
    assert worker.poll() is None, "afterwards the last answer counts"
    assert len(executor.jobs.arrays) == 1, "but nothing new is handed in"
    squeue.write_text("#!/bin/sh\n")
    worker.poll()
    assert len(executor.jobs.arrays) == 2


def test_a_job_that_ends_while_the_study_is_planned_is_not_handed_in_again(
    command: Command, imagined: Imagined
) -> None:
    """A reply from before that says nothing: its run lacks something now."""
    command.work_on(STATIC)
    executor = command.begin()
    (order,) = command.orders().values()
    imagined.states["1"] = "COMPLETED"
    command.reply(order)
    (worker,) = command.work_on(STATIC, executor=executor)
    assert worker.poll() == DONE.model_copy(update={"last": True})
    (worker,) = command.work_on(STATIC)
    assert worker.poll() is None
    assert imagined.states == {"1": "COMPLETED", "2": "PENDING"}


def test_the_next_command_clears_what_is_finished(command: Command, imagined: Imagined) -> None:
    """What a failed job printed stays, and so does everything of a job that waits."""
    command.work_on(STATIC, NCC, SECOND)
    orders = command.orders()
    (batch,) = (path for path in (command.root / "jobs").iterdir() if path.is_dir() and not path.name.startswith("."))
    for index in "01":
        (batch / f"1_{index}_0_log.out").write_text("it works\n")
    command.reply(orders["0"])
    command.reply(orders["1"], Reply(status="failed", text="no"))
    command.begin()
    assert command.orders() == {"2": orders["2"]}
    assert sorted(path.name for path in batch.iterdir()) == ["1_1_0_log.out", "1_2_submitted.pkl", "orders.json"]
    command.reply(orders["2"])
    command.begin()
    assert command.remains() == [batch.name]
    assert [path.name for path in batch.iterdir()] == ["1_1_0_log.out"]


OTHER = Resources(0, 1, None, {"time": 120, "partition": "big"})


def test_jobs_that_wait_get_the_resources_that_are_asked_for_now(
    command: Command, imagined: Imagined, caplog: pytest.LogCaptureFixture
) -> None:
    """A job at work keeps what it has."""
    command.work_on(STATIC, NCC, SECOND)
    imagined.states["1_2"] = "RUNNING"
    workers = command.work_on(STATIC, NCC, SECOND, executor=command.begin(OTHER))
    assert imagined.arrays[1:] == [(OTHER, 2)]
    assert imagined.states == {
        **{"1_0": "CANCELLED", "1_1": "CANCELLED", "1_2": "RUNNING"},
        **{"2_0": "PENDING", "2_1": "PENDING"},
    }
    assert [record.message for record in caplog.records] == [
        "--slurm partition unset -> big, time 60 -> 120: jobs that waited, handed in again with it: 2; others, which keep"
        " what they have: 1"
    ]
    assert [worker.poll() for worker in workers] == [None] * 3
    caplog.clear()
    command.work_on(STATIC, NCC, executor=command.begin(OTHER))
    assert len(imagined.arrays) == 2
    assert not caplog.records


def test_a_command_without_resources_of_its_own_leaves_those_of_jobs_that_wait(
    command: Command, imagined: Imagined, caplog: pytest.LogCaptureFixture
) -> None:
    command.work_on(STATIC, executor=command.begin(OTHER))
    command.work_on(STATIC, executor=command.begin(ONE, renews=False))
    assert imagined.states == {"1": "PENDING"}
    assert [record.message for record in caplog.records] == [
        "--slurm partition big -> unset, time 120 -> 60: name --slurm to change that of jobs that wait; jobs that keep"
        " what they have: 1"
    ]


def test_a_command_follows_jobs_that_another_one_hands_in_again(command: Command, imagined: Imagined) -> None:
    (worker,) = command.work_on(STATIC)
    command.work_on(STATIC, executor=command.begin(OTHER))
    assert imagined.states == {"1": "CANCELLED", "2": "PENDING"}
    assert [worker.poll() for _ in range(4)] == [None] * 4
    (order,) = command.orders().values()
    command.reply(order)
    assert worker.poll() == DONE.model_copy(update={"last": True})


def test_jobs_that_slurm_does_not_take_leave_no_orders(
    command: Command, imagined: Imagined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else takes them for jobs that wait."""

    def refused(*_: object) -> list[str]:
        raise RunFailed("SLURM did not take the jobs")

    monkeypatch.setattr(imagined, "submit", refused)
    with pytest.raises(RunFailed, match="SLURM did not take the jobs"):
        command.work_on(STATIC, NCC)
    assert command.remains() == []


def test_a_command_that_was_silent_while_it_handed_in_tries_again(
    command: Command, imagined: Imagined, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, lost = command.begin(), [True]

    def write(path: Path, order: SlurmOrder) -> None:
        if lost:
            lost.pop()
            raise LeaseLost("another one has taken over")
        write_document(path, order)

    monkeypatch.setattr(slurm, "write_document", write)
    (worker,) = command.work_on(STATIC, executor=executor)
    assert imagined.arrays == []
    assert worker.poll() is None
    assert imagined.arrays == [(ONE, 1)]


def test_a_job_whose_command_was_killed_while_it_handed_it_in_is_replaced(command: Command, imagined: Imagined) -> None:
    """Submitit had not yet written what the job waits for."""
    command.work_on(STATIC)
    (pickled,) = (command.root / "jobs").glob("*/1_submitted.pkl")
    pickled.unlink()
    command.work_on(STATIC)
    assert imagined.states == {"1": "CANCELLED", "2": "PENDING"}


@pytest.mark.parametrize("place", ["../../mine", "/tmp/../mine", "..", ".", ""])
def test_an_order_that_leads_out_of_the_store_removes_nothing(command: Command, place: str) -> None:
    """Whole by its digest, as another user of the store could write it."""
    command.work_on(STATIC)
    (file,) = command.orders().values()
    mine = command.root.parent / "mine" / "thesis.tex"
    mine.parent.mkdir()
    mine.touch()
    text = file.read_text().rpartition(',\n"sha256"')[0]
    named = json.loads(text + "}")["batch"]
    file.write_text(sealed(text.replace(named, place.replace("/tmp/..", str(command.root.parent))) + "}"))
    command.reply(file)
    command.begin()
    assert mine.exists()
    assert command.root.exists()
    assert (command.root / "jobs" / named).exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped(1), Stopped(3), Stopped(15), None], ids=str)
def test_a_command_that_ends_says_what_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    """Nothing is drawn, since nothing is known yet."""

    def left(job: object, store: Store, executor: SlurmExecutor, *_: object) -> None:
        executor.left.update({"a": "17", "b": "9"})
        if error:
            raise error

    monkeypatch.setattr(slurm_options, "refuse_absent", lambda: None)
    monkeypatch.setattr(slurm_options, "refuse_unknown", lambda _: None)
    monkeypatch.setattr(runner, "run", left)
    words = ["run", "head", "--profile", "smoke", "--store", tmp_path / "store", "--out", tmp_path / "report"]
    done = invoke(*words, "--executor", "slurm", *([] if error else ["--detach"]))
    number = error.number if isinstance(error, Stopped) else 2
    assert done.exit_code == (128 + number if error else 0)
    assert (
        f"2 jobs of this store go on: `python -m harness watch --store {tmp_path / 'store'}` shows them, the same command"
        " takes up their results, and `scancel 9 17` ends them"
    ) in done.stderr
    assert not (tmp_path / "report").exists()


def test_squeue_says_one_line_for_the_rest_of_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for one that was cancelled before any of its jobs began."""
    lines = ["7_3|RUNNING|trackablate-a", "7_[4-9%8]|PENDING|trackablate-a", "8|CANCELLED|trackablate-b", "9|RUNNING|x"]
    (tmp_path / "squeue").write_text("#!/bin/sh\ncat <<END\n" + "\n".join(lines) + "\nEND\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = Jobs()
    assert found.job("a", 3) == SlurmJob("7_3", "RUNNING")
    assert found.job("a", 5) == SlurmJob("7_5", "PENDING")
    assert found.job("b", None) == SlurmJob("8", "CANCELLED")
    assert found.job("b", 1) == SlurmJob("8_1", "CANCELLED")
    assert found.job("x", None) == SlurmJob()


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (["17", "9"], "9 17"),
        (["12_3"], "12_3"),
        (["12_10", "12_0", "7", "12_2", "12_1"], "7 '12_[0-2,10]'"),
        (["3_0", "4_1", "3_2"], "'3_[0,2]' 4_1"),
    ],
)
def test_numbers_of_jobs_are_told_as_scancel_takes_them(numbers: list[str], told: str) -> None:
    assert brief(numbers) == told


def test_tasks_count_as_started_when_their_jobs_leave_the_queue(command: Command, imagined: Imagined) -> None:
    events: list[str] = []

    class Told(Observer):
        def started(self, item: Pending) -> None:
            events.append("started")

        def watch(self) -> None:
            events.append(f"{len(imagined.states)} queued")
            for file in command.orders().values():
                if imagined.states["1"] == "RUNNING":
                    command.reply(file)
                imagined.states["1"] = "RUNNING"

        def finished(self, item: Pending, spent: Spent | None) -> None:
            events.append("finished" if spent else "failed")

    executor = command.begin()
    places = executor.worker_settings(1, Store(command.root), "cpu", AS_USUAL)
    item = Pending(STATIC, Missing(False, {}, ()))
    assert run_all([item], [Slot(executor, place) for place in places], Told(), lambda *_: "died") == []
    assert [event for event in events if event != "0 queued"] == ["1 queued", "started", "1 queued", "finished"]


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", None])
def test_a_job_that_ended_without_a_reply_has_died(command: Command, imagined: Imagined, state: str | None) -> None:
    executor = command.begin()
    (worker,) = command.work_on(STATIC, executor=executor)
    assert "1 job of this store goes on" in executor.farewell()
    (pickled,) = (command.root / "jobs").glob("*/1_submitted.pkl")
    log = pickled.with_name("1_0_log.out")
    log.write_text("what went before\nslurmstepd: error\n")
    imagined.states = {"1": state} if state else {}
    reply = worker.poll()
    assert reply is not None
    assert reply.status == "died"
    how = f"ended as {state}" if state else "is not known to SLURM any more, as if it was cancelled while it waited"
    assert reply.text == f"job 1 of SLURM {how}: what went before\nslurmstepd: error"
    assert executor.farewell() == ""
    assert command.remains() == [log.parent.name]
    assert [path.name for path in log.parent.iterdir()] == [log.name]
    command.work_on(STATIC)
    assert imagined.states["2"] == "PENDING", "it is handed in again"
