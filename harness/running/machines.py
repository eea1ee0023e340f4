"""Several machines share each run: the same command is started on each, and number 0 leads.

They meet at a store of torch that number 0 opens, or that a launcher like torchrun has. Before any work they compare what
each is asked, and whether all see the same store of runs. Then number 0 does the command's work. For each run it calls the
others (`harness.running.ranks`), and each of them starts processes that follow. Imports no torch until they meet.
"""

import math
import os
import secrets
import signal
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from trackablate.harness.errors import BadInput
from trackablate.harness.provenance import provenance
from trackablate.harness.running.executors.local import STOP_SECONDS, LocalExecutor
from trackablate.harness.running.executors.protocol import WorkerProcess
from trackablate.harness.running.link import FAREWELL, FOREIGN, ROUND_SECONDS, Link, last_words, parsed
from trackablate.harness.running.queue import Slot
from trackablate.harness.running.runner import Job, worker_settings
from trackablate.harness.running.tasks import (
    Call,
    Device,
    Joining,
    Machines,
    PrepareTask,
    RankTask,
    Reply,
    WorkerSettings,
)
from trackablate.harness.store import Store
from trackablate.harness.training.meeting import HERE, Meeting, open_meeting
from trackablate.trackers.spec import leaves

WAIT_SECONDS = 600.0
"""How long a machine waits for the others to come."""
SIGHT_SECONDS = 30.0
"""How long a file that one machine writes may take until another one sees it."""
LISTED = 3
"""Differences that a message names."""
LONGEST = 200
"""Characters of a value in it."""

_HostName = Annotated[str, Field(pattern=r"^[\w.:-]+$", max_length=255)]


class _Hello(BaseModel):
    """What each machine says first.

    Attributes:
        name: Its host name.
        sees: Address by which it reaches the meeting point.
        sign: Name of a file in the store that machine 0 has written.
        asked: What it is asked, by field.
    """

    name: _HostName
    sees: _HostName
    sign: str = ""
    asked: dict[str, str]


@contextmanager
def leading(job: Job, store: Store) -> Iterator[Job]:
    """Meet the other machines, and yield the job as all of them will do it; the job itself if this machine works alone.

    Raises:
        BadInput: The machines cannot meet, or are asked for different things. Nothing was done.
    """
    if (asked := job.how.joining) is None:
        yield job
        return
    with _opened(asked) as meeting, Link(meeting, 0, asked.nodes) as link:
        said = Reply(status="done", text="")
        try:
            machines = _agreed(link, asked, job, store)
            threading.Thread(target=_stop_with_others, args=(link, machines), daemon=True).start()
            yield replace(job, how=job.how.model_copy(update={"machines": machines}))
        except BaseException as error:
            said = last_words(error)
            raise
        finally:
            link.say(FAREWELL, said.model_dump_json())
            _let_leave(link, asked.nodes)


def help_out(job: Job, store: Store, device: str) -> None:
    """Do this machine's share of each run, until machine 0 is done.

    Raises:
        BadInput: As `leading`, or machine 0 met something that the user can mend.
        RunFailed: A run failed, or a machine has gone.
    """
    asked = job.how.joining
    assert asked is not None
    with Link(_reached(asked), asked.node, asked.nodes) as link:
        try:
            settings = _own_settings(job, store, device)
            _Helper(link, job, store, settings, _agreed(link, asked, job, store)).serve()
        except BaseException as error:
            link.say(f"lost {asked.node}", last_words(error).model_dump_json())
            raise
        finally:
            link.say(f"left {asked.node}")
            link.flush()


def _agreed(link: Link, asked: Joining, job: Job, store: Store) -> Machines:
    """Return the machines, once all are here, are asked the same, and see the same store."""
    own = _Hello(name=socket.gethostname(), sees=_address(link.meeting.host), asked=_fields(job, asked))
    sign = store.root / f".machines-{secrets.token_hex(8)}"
    if asked.node == 0:
        own.sign = sign.name
        sign.touch()
    try:
        link.say(f"hello {asked.node}", own.model_dump_json())
        hellos = [_hello(link, asked, node) for node in range(asked.nodes)]
        for node, hello in enumerate(hellos):
            link.names[node] = f"node {node} ({hello.name})"
            _refuse_differences(link.names, node, hello.asked, hellos[0].asked)
        _refuse_unseen(store.root / hellos[0].sign)
        link.say(f"agreed {asked.node}")
        for node in range(asked.nodes):
            link.wait(f"agreed {node}", 2 * SIGHT_SECONDS, lambda: f"{link.names[node]} does not answer")  # noqa: B023
    finally:
        if asked.node == 0:
            sign.unlink(missing_ok=True)
    # Many systems resolve their own name to an address that no other machine reaches.
    reached = [hello.sees for hello in hellos if not hello.sees.startswith("127.")]
    host = reached[0] if own.sees.startswith("127.") and reached else link.meeting.host
    meeting = link.meeting.model_copy(update={"host": host})
    return Machines(meeting=meeting, names=tuple(hello.name for hello in hellos))


def _hello(link: Link, asked: Joining, node: int) -> _Hello:
    absent = (
        f"node {node} of {asked.nodes} has not come to {asked.place} for {WAIT_SECONDS:.0f} s: start the same command there,"
        f" with --node-rank {node}"
    )
    text = link.wait(f"hello {node}", WAIT_SECONDS, lambda: absent)
    try:
        return parsed(_Hello, text)
    except BadInput as error:
        raise BadInput(f"{link.names[node]} {error}") from error


def _fields(job: Job, asked: Joining) -> dict[str, str]:
    """Return all that the machines have to be asked alike."""
    here = provenance(device="", driver=None, threads=0, workers=0, command="")
    found = {"--nodes": str(asked.nodes), "--gpus-per-run": str(job.how.gpus_per_run)}
    found |= {"--profile": job.profile.name, "--fit-memory": str(job.how.fit_memory), "--log": job.how.log}
    found |= {"--fsdp": str(job.how.fsdp)}
    for task in job.tasks:
        of = f" of {task.row}" if task.rows else ""
        found |= {f"{name}{of}": str(value) for name, value in leaves(task.run).items()}
        found |= {f"data of {each.protocol}{of}": each.data for each in task.evaluations}
    found |= {"commit": str(here.commit)} | {f"package {name}": version for name, version in here.packages.items()}
    return found | {"names of runs": ", ".join(task.run.name for task in job.tasks)}


def _refuse_differences(names: list[str], node: int, theirs: dict[str, str], leaders: dict[str, str]) -> None:
    wrong = [field for field in leaders | theirs if theirs.get(field) != leaders.get(field)]
    if wrong:
        said = [
            f"{field} = {_brief(theirs.get(field))} on {names[node]}, {_brief(leaders.get(field))} on {names[0]}"
            for field in wrong
        ]
        more = [f"and {len(wrong) - LISTED} more"] if len(wrong) > LISTED else []
        raise BadInput(
            f"the machines are asked for different things: {'; '.join(said[:LISTED] + more)}. Start the same command of the"
            " same version on all of them"
        )


def _brief(value: str | None) -> str:
    return textwrap.shorten(str(value), LONGEST)


def _refuse_unseen(sign: Path) -> None:
    end = time.monotonic() + SIGHT_SECONDS
    while not sign.exists():
        if time.monotonic() > end:
            raise BadInput(
                f"{sign.parent} is another folder here than on node 0: name a --store that all machines share"
            )
        time.sleep(ROUND_SECONDS)


def _stop_with_others(link: Link, machines: Machines) -> None:
    """Stop this command as soon as a machine is being stopped. One that is lost ends the run (`harness.running.ranks`)."""
    nodes = range(1, len(machines.names))
    while link.heard(FAREWELL) is None:
        stopped = [machines.named(node) for node in nodes if link.heard(f"stopped {node}") is not None]
        cut = link.cut
        if stopped or cut:
            sys.stderr.write(f"{cut.text}\n" if cut else f"{stopped[0]} is being stopped, and so are all\n")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(ROUND_SECONDS)


def _let_leave(link: Link, nodes: int) -> None:
    """Keep the store open until the others have heard that the work is over, or are gone."""
    end = time.monotonic() + STOP_SECONDS
    for node in filter(link.came, range(1, nodes)):
        while link.heard(f"left {node}") is None and link.lost() is None and time.monotonic() < end:
            time.sleep(ROUND_SECONDS / 4)
    link.flush()


class _Helper:
    """Answers the calls of machine 0: for each run it starts processes that follow, and says how they end."""

    def __init__(self, link: Link, job: Job, store: Store, settings: list[WorkerSettings], machines: Machines) -> None:
        self._link, self._settings, self._machines = link, settings, machines
        self._tasks = {task.run.name: task for task in job.tasks}
        self._executor = _executor(store)
        self._call, self._begun, self._workers = 1, False, dict[int, WorkerProcess]()

    def serve(self) -> None:
        """Answer until machine 0 is done. Raises as `help_out`, and KeyboardInterrupt once this machine can be stopped."""
        interrupted, end = None, math.inf
        try:
            while self._link.heard(FAREWELL) is None and time.monotonic() < end:
                try:
                    self._turn()
                except KeyboardInterrupt as error:  # machine 0 saves a checkpoint, for which it needs this one
                    interrupted, end = error, time.monotonic() + 2 * STOP_SECONDS
                    self._link.say(f"stopped {self._link.node}")
        finally:
            self._stop()
        if interrupted:
            raise interrupted
        self._link.refuse_lost()

    def _turn(self) -> None:
        self._link.refuse_lost()
        # A worker of machine 0 that was killed says no end; the next one calls again.
        ended = [self._link.heard(entry) for entry in (f"ended {self._call}", f"call {self._call + 1}")]
        if ended != [None, None]:
            self._stop()
            self._call, self._begun = self._call + 1, False
        elif not self._begun and (text := self._link.heard(f"call {self._call}")) is not None:
            self._begun = True
            if (call := parsed(Call, text)).run not in self._tasks:
                raise BadInput(FOREIGN)
            self._begin(call)
        for rank, worker in list(self._workers.items()):
            if reply := worker.poll():
                self._answer(rank, reply)
        time.sleep(ROUND_SECONDS)

    def _begin(self, call: Call) -> None:
        room, first = self._machines.meeting.inside(f"run {self._call}"), self._link.node * len(self._settings)
        on_gpu = self._settings[0].device.startswith("cuda")
        for rank, settings in enumerate(self._settings, start=first):
            if on_gpu != call.on_gpu:
                text = f"it has {'a' if on_gpu else 'no'} GPU, unlike node 0: name another --device"
                self._answer(rank, Reply(status="bad input", text=text))
                continue
            worker = self._workers[rank] = self._executor.start(settings)
            worker.do(RankTask(run=self._tasks[call.run], rank=rank, size=call.size, meeting=room))

    def _answer(self, rank: int, reply: Reply) -> None:
        self._link.say(f"answer {self._call} {rank}", reply.model_dump_json())
        if worker := self._workers.pop(rank, None):
            worker.stop()

    def _stop(self) -> None:
        for worker in self._workers.values():
            worker.stop()
        self._workers = {}


def _executor(store: Store) -> LocalExecutor:
    return LocalExecutor(store.logs, f"{socket.gethostname()}-")


def _own_settings(job: Job, store: Store, device: str) -> list[WorkerSettings]:
    """Return the settings of each process of this machine for a run. Raises BadInput if it has too few devices."""
    plain = job.how.model_copy(update={"gpus_per_run": 1})
    slot = Slot(_executor(store), worker_settings((), device, job.profile, 1, store, plain)[0])
    try:
        found = Device.model_validate_json(slot.ask(PrepareTask(sizes=(), protocols=())))
    finally:
        slot.stop()
    one = worker_settings(found.gpus, device, job.profile, 1, store, job.how)[0]
    return [one.model_copy(update={"device": each, "others": ()}) for each in (one.device, *one.others)]


@contextmanager
def _opened(asked: Joining) -> Iterator[Meeting]:
    """Open the store where the machines meet, unless a launcher has one."""
    if not asked.opens:
        yield _reached(asked)
        return
    try:
        store, _ = open_meeting(HERE if asked.host in (HERE, "localhost") else "", asked.port)
    except OSError as error:
        raise BadInput(f"--rendezvous {asked.place} cannot be used ({error.strerror}): choose another port") from error
    try:
        yield _reached(asked)
    finally:
        del store  # the last reference


def _reached(asked: Joining) -> Meeting:
    """Return the place where the machines meet, once something answers there. Raises BadInput if nothing does."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            socket.create_connection((asked.host, asked.port), timeout=5.0).close()
            return Meeting(host=asked.host, port=asked.port, room=asked.room)
        except OSError as error:
            if time.monotonic() > end:
                raise BadInput(
                    f"nothing answers at --rendezvous {asked.place} for {WAIT_SECONDS:.0f} s ({error}): start the same"
                    " command there, with --node-rank 0, and see whether the port can be reached"
                ) from error
        time.sleep(ROUND_SECONDS)


def _address(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise BadInput(f"--rendezvous {host}: no machine of that name is known here ({error.strerror})") from error
