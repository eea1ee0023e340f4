"""One process at a time writes to a folder: whatever their machines and clocks say, and however they end."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trackablate.datasets import lease
from trackablate.datasets.atomic import file_clock, write_text, write_with
from trackablate.datasets.lease import Held, Holder, Lease, LeaseLost, following, held, this_place

FIGHTER = """
import os, random, sys, time
from pathlib import Path

from trackablate.datasets import lease
from trackablate.datasets.atomic import file_clock, write_text

folder, host, skew, rounds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
lease.this_place = lambda: host
clock = time.time
time.time = lambda: clock() + skew
for _ in range(rounds):
    with lease.Lease(folder, seconds=0.5):
        write_text(folder / "inside", str(os.getpid()))
        for _ in range(5):
            time.sleep(random.random() * 0.01)
            assert (folder / "inside").read_text() == str(os.getpid()), "two are inside"
        write_text(folder / f"done-{os.getpid()}", "x")
"""


def fighter(folder: Path, host: str, skew: float, rounds: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", FIGHTER, str(folder), host, str(skew), str(rounds)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def leases(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".lease"))


def left_by(folder: Path, number: int = 1, **about: object) -> Path:
    """The lease of somebody who has gone."""
    file = folder / f".lease-{number}"
    file.write_text(json.dumps(Holder()._replace(**about)._asdict()))
    return file


def test_a_lease_says_who_has_it(tmp_path: Path) -> None:
    with Lease(tmp_path / "run"):
        (name,) = leases(tmp_path / "run")
        found = Holder(**json.loads((tmp_path / "run" / name).read_text()))
        assert (found.pid, found.seconds) == (os.getpid(), lease.SECONDS)
        assert len(found.owner) == 16
        assert found.started.isdecimal()
        assert found.host in found.place
        assert (tmp_path / "run" / name).stat().st_mode & 0o777 == 0o644, "another user's `watch` reads it"
        assert held(tmp_path / "run")
    assert not held(tmp_path / "run")
    assert not held(tmp_path / "nowhere")


def here(**about: object) -> str:
    own = {"owner": "x", "host": "h", "place": this_place(), "pid": 1, "started": "", "seconds": 60}
    return json.dumps(own | about)


@pytest.mark.parametrize(
    "content",
    [
        *(here(pid="../.."), here(pid=10**30), here(pid=-1), here(pid=True), here(seconds="a"), here(seconds=1e300)),
        *(here(owner=["x"]), here(place={}), here(more=1), "[" * 100_000, "null", "[]", "{", "9" * 5000),
    ],
    ids=lambda content: str(content)[-40:],
)
def test_a_damaged_lease_is_that_of_an_unknown_holder_until_it_is_old(tmp_path: Path, content: str) -> None:
    file = tmp_path / ".lease-9"
    file.write_text(content)
    assert held(tmp_path)
    os.utime(file, (time.time() - 120,) * 2)
    assert not held(tmp_path)
    with Lease(tmp_path):
        assert leases(tmp_path) == [".lease-10"]


def test_a_pipe_in_place_of_a_lease_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lease-1")
    assert held(tmp_path)
    os.utime(tmp_path / ".lease-1", (time.time() - 120,) * 2)
    with Lease(tmp_path):
        assert leases(tmp_path) == [".lease-2"]


@pytest.mark.parametrize("name", ["٣", "²", "007", "9" * 200, "1 (copy)", "-1", "1.bak"])
def test_a_file_that_is_only_called_like_a_lease_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / f".lease-{name}").touch()
    assert not held(tmp_path)
    with Lease(tmp_path):
        assert (tmp_path / ".lease-1").exists()


def test_of_many_takers_one_wins(tmp_path: Path) -> None:
    for former in ({}, {"owner": ""}, {"place": lease.this_place(), "pid": 1 << 30, "started": "5"}):
        folder = tmp_path / str(len(former)) / former.get("owner", "x")
        folder.mkdir(parents=True)
        if former:
            left_by(folder, 7, **former)
        takers, wins = [Lease(folder) for _ in range(16)], []
        start = threading.Barrier(len(takers))

        def take(taker: Lease, start: threading.Barrier = start, wins: list[Lease] = wins) -> None:
            start.wait()
            if taker._take():
                wins.append(taker)

        threads = [threading.Thread(target=take, args=(taker,)) for taker in takers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wins) == 1
        wins[0].check()
        assert leases(folder) == [".lease-8" if former else ".lease-1"]


@pytest.mark.parametrize(
    "former",
    [{"pid": 1 << 30, "started": "5"}, {"pid": os.getpid(), "started": "5"}],
    ids=["ended", "its number is another process's"],
)
def test_an_ended_process_of_this_machine_holds_nothing(tmp_path: Path, former: dict[str, object]) -> None:
    left_by(tmp_path, place=lease.this_place(), **former)
    assert not held(tmp_path)
    with Lease(tmp_path).acquire(timeout=0):
        assert leases(tmp_path) == [".lease-2"]


def test_a_process_that_proc_hides_has_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On machines that many share, /proc often shows nobody the processes of others (its option hidepid)."""
    plain, hidden = Path.read_text, Path(f"/proc/{os.getppid()}/stat")

    def read_text(self: Path, *args: object, **named: object) -> str:
        if self == hidden:
            raise FileNotFoundError(self)
        return plain(self, *args, **named)  # type: ignore[arg-type]

    file = left_by(
        tmp_path,
        place=lease.this_place(),
        pid=os.getppid(),
        started=lease.started(os.getppid()),
        owner="other",
        seconds=1.0,
    )
    monkeypatch.setattr(Path, "read_text", read_text)
    assert held(tmp_path)
    os.utime(file, (1.0, 1.0))
    assert not held(tmp_path), "it has not renewed its lease"


def test_another_machine_holds_until_it_was_silent_for_the_lease_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's clock is wrong, which does not matter."""
    monkeypatch.setattr(time, "time", lambda: 4e9)
    file = left_by(tmp_path, owner="other", place="elsewhere", seconds=1.0)
    assert held(tmp_path)
    with pytest.raises(Held, match=r"is being worked on"):
        Lease(tmp_path).acquire(timeout=0)
    for _ in range(4):
        time.sleep(0.5)
        os.utime(file)
        assert held(tmp_path), "it is renewed"
    start = time.monotonic()
    with Lease(tmp_path).acquire(timeout=5):
        assert 0.9 < time.monotonic() - start < 2


def test_a_lease_is_renewed_while_it_is_held(tmp_path: Path) -> None:
    with Lease(tmp_path, seconds=0.4):
        time.sleep(1.0)
        found = lease._newest(tmp_path)[1]
        assert found is not None
        assert file_clock(tmp_path) - found[1] < 0.3


def test_who_has_lost_a_folder_writes_nothing_into_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    left_by(tmp_path / "run", owner="", number=3)
    with Lease(tmp_path / "run", seconds=0.4) as old:
        write_text(tmp_path / "run" / "deep" / "file", "old")
        old._given_back.set()  # as if it were stopped
        time.sleep(0.5)
        with Lease(tmp_path / "run").acquire(timeout=1):
            lease.GUARDS[tmp_path / "run"] = old.check  # the new one is another process
            with pytest.raises(LeaseLost, match=r"no sign of life for 0 s, so that another one has taken over .*run"):
                write_text(tmp_path / "run" / "deep" / "file", "late")
            assert (tmp_path / "run" / "deep" / "file").read_text() == "old"
            write_text(tmp_path / "other", "may be written")
    assert leases(tmp_path / "run") == [".lease-5"], "the loser gives nothing back"


def test_a_folder_that_is_removed_is_not_made_again(tmp_path: Path) -> None:
    with Lease(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "away")
        with pytest.raises(LeaseLost, match="run was removed, or its disk is away; this process has stopped"):
            write_text(tmp_path / "run" / "deep" / "file", "late")
        assert not (tmp_path / "run").exists()


def test_who_is_stopped_between_the_check_and_the_last_step_of_writing_writes_nothing(tmp_path: Path) -> None:
    """Who takes a run over removes temporary files first."""

    def swept(check: Callable[[], None]) -> Callable[[], None]:
        def checked() -> None:
            check()
            for draft in tmp_path.glob(".*.tmp"):
                draft.unlink()

        return checked

    with Lease(tmp_path) as own:
        lease.GUARDS[tmp_path] = swept(own.check)
        with pytest.raises(FileNotFoundError):
            write_with(tmp_path / "file", lambda file: file.write(b"late"))
    assert not (tmp_path / "file").exists()


def test_a_taker_that_looked_long_ago_disturbs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by(tmp_path, owner="")
    write, others = lease._write, list[Lease]()

    def late(file: Path, holder: Holder, *, new: bool) -> bool:
        if not others:  # between its look and its try two others come, and one of them goes
            others.extend((Lease(tmp_path), Lease(tmp_path)))
            assert others[0]._take()
            others[0].release()
            assert others[1]._take()
        return write(file, holder, new=new)

    monkeypatch.setattr(lease, "_write", late)
    with pytest.raises(Held):
        Lease(tmp_path).acquire(timeout=0)
    others[1].check()
    assert leases(tmp_path) == [".lease-3"]


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with Lease(tmp_path), pytest.raises(Held):
        Lease(tmp_path).acquire(timeout=0)
    (tmp_path / ".lease-2").write_text("")
    assert held(tmp_path), "it is being written"


def test_a_server_that_answers_twice_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS repeats a question whose answer got lost: the link is made, and the answer is that it exists."""
    link = Path.hardlink_to

    def twice(self: Path, target: Path) -> None:
        link(self, target)
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", twice)
    with Lease(tmp_path).acquire(timeout=0) as own:
        own.check()


def test_who_helps_the_holder_loses_the_folder_with_it(tmp_path: Path) -> None:
    with Lease(tmp_path) as own:
        with following(tmp_path):
            write_text(tmp_path / "file", "shared")
            left_by(tmp_path, 2, owner="another")
            with pytest.raises(LeaseLost):
                write_text(tmp_path / "file", "late")
        lease.GUARDS[tmp_path] = own.check
    with following(tmp_path / "nobody"), pytest.raises(LeaseLost):
        write_text(tmp_path / "nobody" / "file", "x")


@pytest.fixture
def two_machines(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes on two machines whose clocks are an hour off, to and fro."""
    found = [fighter(tmp_path / "run", f"host-{n % 2}", (n % 2 * 2 - 1) * 3600, 12) for n in range(6)]
    yield found
    for process in found:
        process.kill()
        process.communicate()


def test_two_machines_never_hold_one_folder(tmp_path: Path, two_machines: list[subprocess.Popen[str]]) -> None:
    """One on each machine is killed in the middle; the others get through."""
    rng = random.Random(0)
    for victim in two_machines[:2]:
        time.sleep(1.0 + rng.random())
        victim.send_signal(signal.SIGKILL)
    for process in two_machines[2:]:
        assert process.wait(120) == 0, process.communicate()[1]
        assert (tmp_path / "run" / f"done-{process.pid}").exists()
    assert len(leases(tmp_path / "run")) - len(list((tmp_path / "run").glob(".lease.*.tmp"))) == 1


def test_a_full_disk_does_not_keep_a_process_from_giving_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(tmp_path / "run").acquire()

    def full(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("trackablate.datasets.lease._write", full)
        lease.release()
    assert held(tmp_path / "run"), "until it has not been renewed for long enough"
