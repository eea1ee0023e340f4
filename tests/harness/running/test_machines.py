"""Two machines, as two commands of this one, share a run: the bits of one machine's processes, and no end without a name."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from command_line import invoke
from trackablate.ablations.plan import run_of
from trackablate.harness.cli.launching import in_slurm, joining, launched
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.running import execute, link, machines
from trackablate.harness.running.executors.local import LocalExecutor, LocalWorker
from trackablate.harness.running.link import Link
from trackablate.harness.running.machines import help_out, leading
from trackablate.harness.running.runner import Job
from trackablate.harness.running.tasks import Call, Execution, Joining, Machines, Reply, RunTask, WorkerSettings
from trackablate.harness.store import RunFolder, Store
from trackablate.harness.training.meeting import Meeting, open_meeting
from trackablate.trackers.variants import VARIANTS

SMOKE = load_profile("smoke")
RECIPE = {"steps": 6, "batch_size": 6, "micro_batch": 3, "checkpoint_every": 2, "validation_pairs": 5}
LAUNCHED = {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "4", "LOCAL_RANK": "0"}
LAUNCHED |= {"MASTER_ADDR": "head", "MASTER_PORT": "29500", "TORCHELASTIC_RESTART_COUNT": "1"}


def task_of(**recipe: Any) -> RunTask:
    changed = SMOKE.model_copy(update={"recipe": SMOKE.recipe.model_copy(update=RECIPE | recipe)})
    return RunTask(run=run_of(VARIANTS["lorat-b-224"], changed, seed=1), evaluations=())


def job_of(node: int, port: int, **recipe: Any) -> Job:
    how = Execution(joining=Joining(nodes=2, node=node, host="localhost", port=port))
    return Job([task_of(**recipe)], [], {}, SMOKE, how=how)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def trained(job: Job, store: Path, shared: Machines | None, others: tuple[str, ...] = ()) -> RunFolder:
    settings = WorkerSettings(store=str(store), device="cpu", threads=1, workers=1, command="test", others=others)
    execute.execute_run(job.tasks[0], settings.model_copy(update={"machines": shared}))
    return Store(store).run(job.tasks[0].run)


def together(store: Path) -> tuple[Callable[[], RunFolder], "Future[None]"]:
    """Start the second machine; return what the first one does, and how the second one ends."""
    port, pool = free_port(), ThreadPoolExecutor(1)
    helper = pool.submit(help_out, job_of(1, port), Store(store), "cpu")

    def lead() -> RunFolder:
        with leading(job_of(0, port), Store(store)) as job:
            return trained(job, store, job.how.machines)

    return lead, helper


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the weights that two processes of one machine train."""
    record = trained(job_of(0, 1), tmp_path_factory.mktemp("one"), None, others=("cpu",)).training()
    assert record is not None
    return record.weights_digest


def test_two_machines_train_the_weights_of_two_processes_of_one(one_machine: str, tmp_path: Path) -> None:
    lead, helper = together(tmp_path)
    record = lead().training()
    helper.result(60)
    assert record is not None
    assert record.weights_digest == one_machine
    assert record.where.device.startswith("2 x ")
    assert record.cost.samples == 36
    assert list(tmp_path.glob(".machines-*")) == []


@pytest.mark.slow
def test_a_killed_process_of_a_machine_is_named_on_both_and_the_same_commands_go_on(
    one_machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[LocalWorker] = []
    start = LocalExecutor.start

    def starting(self: LocalExecutor, settings: WorkerSettings) -> LocalWorker:
        started.append(start(self, settings))
        return started[-1]

    class Reporter(execute._Reporter):
        def __call__(self, phase: str, done: int, total: int, loss: Tensor | None = None) -> None:
            if loss is not None and done == 3:
                started[-1].process.kill()

    named = r"process 1 of 2 on node 1 \(.+\): a worker stopped with status -9"
    lead, helper = together(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "start", starting)
        patch.setattr(execute, "_Reporter", Reporter)
        with pytest.raises(RunFailed, match=named):
            lead()
        with pytest.raises(RunFailed, match=rf"node 0 \(.+\) says: .*{named}"):
            helper.result(60)
    lead, helper = together(tmp_path)
    record = lead().training()
    helper.result(60)
    assert record is not None
    assert record.cost.resumed == 1
    assert record.weights_digest == one_machine


@pytest.fixture
def no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "_own_settings", lambda *_: [])


def both_refused(first: tuple[Job, Path], second: tuple[Job, Path], match: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        helper = pool.submit(help_out, second[0], Store(second[1]), "cpu")
        with pytest.raises(BadInput, match=match), leading(first[0], Store(first[1])):
            pytest.fail("they have agreed")
        with pytest.raises(BadInput, match=match):
            helper.result(60)


@pytest.mark.usefixtures("no_devices")
def test_machines_that_are_asked_for_different_things_say_which(tmp_path: Path) -> None:
    port = free_port()
    wrong = r"recipe\.steps = 8 on node 1 \(.+\), 6 on node 0 \(.+\); names of runs = "
    both_refused((job_of(0, port), tmp_path), (job_of(1, port, steps=8), tmp_path), wrong)


@pytest.mark.usefixtures("no_devices")
def test_a_machine_that_does_not_see_the_store_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "SIGHT_SECONDS", 0.5)
    port = free_port()
    unseen = "there is another folder here than on node 0: name a --store that all machines share"
    both_refused((job_of(0, port), tmp_path / "here"), (job_of(1, port), tmp_path / "there"), unseen)


@pytest.mark.usefixtures("no_devices")
def test_what_one_machine_lacks_is_told_on_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise BadInput("--gpus-per-run 8: 4 GPUs are here; ask for fewer")

    monkeypatch.setattr(machines, "_own_settings", lacking)
    port = free_port()
    both_refused((job_of(0, port), tmp_path), (job_of(1, port), tmp_path), "--gpus-per-run 8: 4 GPUs are here")


def test_machines_that_do_not_come_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "WAIT_SECONDS", 0.5)
    port = free_port()
    with (
        pytest.raises(BadInput, match=f"node 1 of 2 has not come to localhost:{port} for 0 s: start the same command"),
        leading(job_of(0, port), Store(tmp_path)),
    ):
        pytest.fail("it has gone on alone")
    with pytest.raises(BadInput, match=f"nothing answers at --rendezvous localhost:{port}"):
        help_out(job_of(1, port), Store(tmp_path), "cpu")
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(BadInput, match=f"--rendezvous localhost:{port} cannot be used"),
        leading(job_of(0, port), Store(tmp_path)),
    ):
        pytest.fail("somebody else's port")


@pytest.fixture
def links() -> Iterator[tuple[Link, Link]]:
    store, meeting = open_meeting()
    with Link(meeting, 0, 2) as first, Link(meeting, 1, 2) as second:
        yield first, second
    del store


def until(wanted: Callable[[], Any]) -> Any:
    limit = time.monotonic() + 30
    while not (found := wanted()) and time.monotonic() < limit:
        time.sleep(0.05)
    return found


def test_a_silent_machine_is_lost(links: tuple[Link, Link], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = links
    assert until(lambda: first.came(1))
    assert first.lost() is None
    monkeypatch.setattr(link, "SILENT_SECONDS", 1.0)
    second._ended.set()
    reply = until(first.lost)
    assert reply.text == "node 1 gave no sign of life for 1 s"


def test_what_is_longer_than_an_entry_may_be_arrives_whole(links: tuple[Link, Link]) -> None:
    """As the runs of a study of thousands, which the machines compare before they begin."""
    first, second = links
    said = "é" * 10_000_000
    first.say("hello 0", said)
    first.say("agreed 0")
    assert until(lambda: second.heard("agreed 0") is not None)
    assert until(lambda: second.heard("hello 0")) == said


def test_two_machines_of_one_number_are_refused(links: tuple[Link, Link]) -> None:
    with pytest.raises(BadInput, match="two machines say --node-rank 1: give each its own, from 0 to 1"):
        Link(links[0].meeting, 1, 2)


FOREIGN = [
    b"42",
    b"in 1 parts",
    b"in 999999999 parts",
    b"\xff\xfe",
    b'{"asked":' + b"[" * 1_000_000,
    b'{"name": 1}',
    b"",
]
FOREIGN += [b'{"name": "a\\n\\u001b[31mb", "sees": "a", "asked": {}}']


@pytest.mark.parametrize("said", FOREIGN, ids=lambda said: str(said[:12]))
@pytest.mark.parametrize("entry", ["hello 1", "lost 1"])
def test_what_a_stranger_says_ends_the_command_with_a_message(entry: str, said: bytes, tmp_path: Path) -> None:
    asked, pool = job_of(0, free_port()), ThreadPoolExecutor(1)
    assert asked.how.joining

    def lead() -> None:
        with leading(asked, Store(tmp_path)):
            pytest.fail("they have agreed")

    leader = pool.submit(lead)
    meeting = machines._reached(asked.how.joining)
    meeting.connect().set(entry, said)  # type: ignore[call-overload]
    with pytest.raises(BadInput, match="node 1 says what this program never says: choose another port"):
        leader.result(60)


@pytest.mark.parametrize("said", ["42", '{"run": "../../elsewhere", "size": 2, "on_gpu": false}'])
def test_a_stranger_s_call_ends_the_help(links: tuple[Link, Link], tmp_path: Path, said: str) -> None:
    first, second = links
    shared = Machines(meeting=Meeting(port=1), names=("a", "b"))
    helper = machines._Helper(second, job_of(1, 1), Store(tmp_path), [], shared)
    first.say("call 1", said)
    with pytest.raises(BadInput, match="says what this program never says"):
        helper.serve()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_another_program_at_the_port_is_named(answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing, and one that says something else."""
    monkeypatch.setattr(link, "CONNECT_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=lambda: [other.accept()[0].sendall(answer) for _ in range(2)], daemon=True).start()
        with pytest.raises(BadInput, match=r"localhost:\d+ does not answer as this program does: choose another port"):
            help_out(job_of(1, other.getsockname()[1]), Store(tmp_path), "cpu")


def test_where_the_meeting_point_was_all_is_over() -> None:
    store, meeting = open_meeting()
    with Link(meeting, 1, 2) as alone:
        assert alone.lost() is None
        del store
        assert "node 0 has gone, or 127.0.0.1:" in until(alone.lost).text


def test_a_machine_that_is_stopped_stops_all_and_helps_until_the_checkpoint_is_saved(
    links: tuple[Link, Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = links
    shared, sent = Machines(meeting=Meeting(port=1), names=("a", "b")), []
    monkeypatch.setattr(machines.os, "kill", lambda *what: sent.append(what[1]))
    turns: list[int] = []

    def turn(_: object) -> None:
        turns.append(len(sent))
        time.sleep(0.05)
        if len(turns) == 1:
            raise KeyboardInterrupt
        if sent:
            first.say("farewell", Reply(status="failed", text="ended").model_dump_json())

    monkeypatch.setattr(machines._Helper, "_turn", turn)
    watch = threading.Thread(target=machines._stop_with_others, args=(first, shared))
    watch.start()
    with pytest.raises(KeyboardInterrupt):
        machines._Helper(second, job_of(1, 1), Store(tmp_path), [], shared).serve()
    watch.join(30)
    assert sent == [signal.SIGTERM]
    assert turns[-1] == 1, "it has gone on until node 0 said farewell"


def test_the_next_call_ends_one_whose_worker_was_killed(links: tuple[Link, Link], tmp_path: Path) -> None:
    first, second = links
    shared, job = Machines(meeting=Meeting(port=1), names=("a", "b")), job_of(1, 1)
    own = WorkerSettings(store=str(tmp_path), device="cpu", threads=1, workers=1, command="test")
    helper = machines._Helper(second, job, Store(tmp_path), [own], shared)
    call = Call(run=job.tasks[0].run.name, size=2, on_gpu=True).model_dump_json()
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(helper.serve)
        first.say("call 1", call)
        assert "it has no GPU, unlike node 0: name another --device" in until(lambda: first.heard("answer 1 1"))
        first.say("call 2", call)
        assert until(lambda: helper._call == 2 and helper._begun)
        first.say("ended 2")
        assert until(lambda: helper._call == 3)
        first.say("farewell", Reply(status="done", text="").model_dump_json())
        serving.result(30)


def test_a_launcher_s_variables_say_the_place() -> None:
    place, local, each = launched(LAUNCHED)
    assert (local, each) == (0, 4)
    assert place == Joining(nodes=2, node=1, host="head", port=29500, room="trackablate  1")
    assert launched(LAUNCHED | {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3"}) == (None, 3, 4)
    place, _, _ = launched(LAUNCHED | {"TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert place is not None
    assert not place.opens
    with pytest.raises(BadInput, match="8 processes on machines of 3: start as many on each"):
        launched(LAUNCHED | {"LOCAL_WORLD_SIZE": "3"})
    with pytest.raises(BadInput, match="start the command by torchrun"):
        launched({"WORLD_SIZE": "2"})


def test_a_step_of_slurm_says_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"STEP_NUM_NODES": "2", "STEP_NUM_TASKS": "2", "NODEID": "1", "JOB_ID": "31234567", "STEP_ID": "0"}
    step = {f"SLURM_{name}": value for name, value in said.items()} | {"SLURM_STEP_NODELIST": "gpu[07-08]"}
    with pytest.raises(BadInput, match="this is no step of SLURM; start the command by srun"):
        in_slurm({})
    (tmp_path / "scontrol").write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames gpu[07-08]" ] && printf "gpu07\\ngpu08\\n"\n'
    )
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert in_slurm(step) == Joining(nodes=2, node=1, host="gpu07", port=24567)
    assert in_slurm(step | {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "1"}) is None
    with pytest.raises(BadInput, match="8 tasks on 2 nodes; use srun --ntasks-per-node=1"):
        in_slurm(step | {"SLURM_STEP_NUM_TASKS": "8"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nodes", 2), r"--rendezvous \(none\): write HOST:PORT"),
        (("--nodes", 2, "--rendezvous", "head"), "--rendezvous head: write HOST:PORT"),
        (("--nodes", 2, "--rendezvous", "head:99999"), "--rendezvous head:99999: write HOST:PORT"),
        (
            ("--nodes", 2, "--node-rank", 2, "--rendezvous", "head:1"),
            "--node-rank 2: with --nodes 2 it is a number from 0",
        ),
        (("--rendezvous", "env"), "--rendezvous env: WORLD_SIZE, RANK"),
    ],
)
def test_places_that_are_none_are_refused_before_any_work(
    words: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    refused = invoke("train", "lorat-b-224", "--profile", "smoke", "--store", tmp_path / "store", *words)
    assert refused.exit_code == 2
    assert re.search(message, refused.stderr.replace("\n", " "))
    assert not (tmp_path / "store").exists()


def test_of_a_launcher_s_processes_the_first_one_alone_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("trackablate.harness.cli.launching.LAUNCHED", LAUNCHED | {"RANK": "5", "LOCAL_RANK": "1"})
    words = ("train", "lorat-b-224", "--profile", "smoke", "--store", tmp_path / "store", "--rendezvous", "env")
    done = invoke(*words)
    assert (done.exit_code, done.output) == (0, "")
    more = invoke(*words, "--nodes", 2)
    assert more.exit_code == 2
    assert "leave out --nodes and --node-rank" in more.stderr
    more = invoke(*words, "--gpus-per-run", 2)
    assert more.exit_code == 2
    assert "--gpus-per-run 2: the launcher says 4" in more.stderr


def test_one_machine_needs_no_place() -> None:
    assert joining(1, 0, "") is None
    assert joining(1, 0, "head:1") is None
