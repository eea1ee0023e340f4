"""Leases: the right to write to a folder, for one process at a time, on any file system that machines share.

A lease is a file `.lease-N` in the folder; the highest N counts. A process takes the folder by making the next number, which
only one of several takers can. The holder touches its file from time to time. Ages are differences between times of files,
which the file system gives: no machine's clock is asked. File locks are not used, since some network file systems lack them.
"""

import errno
import json
import os
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from stat import S_ISREG
from threading import Event, Thread
from types import TracebackType
from typing import NamedTuple

from trackablate.datasets.atomic import GUARDS, file_clock

SECONDS = 60.0
"""How long a lease lasts after it was last renewed, unless its process is known to have ended."""
RENEWALS = 4
"""How often a lease is renewed in that time."""
POLL_SECONDS = 0.2
RUNS = "runs"
_GONE = (errno.ENOENT, errno.ESTALE)
_NAME = re.compile(r"\.lease-(0|[1-9][0-9]{0,17})")
_MOST_BYTES = 10_000
_LONGEST = 86_400.0
"""Bounds of what is believed of a lease: the bytes of its file, and the seconds that it may last."""


class Held(Exception):
    """Another process holds the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is being worked on")
        self.folder = folder


class LeaseLost(Exception):
    """This process has lost a folder to another one, and may write to it no more."""


class Holder(NamedTuple):
    """The content of a lease.

    Attributes:
        owner: Token of the lease; "" after it was given back.
        host: Name of the machine.
        place: What process numbers belong to: machine, its start, and namespace of processes.
        started: When the process was started, as its machine counts it.
        seconds: How long the lease lasts without being renewed.
    """

    owner: str = "unknown"
    host: str = ""
    place: str = ""
    pid: int = 0
    started: str = ""
    seconds: float = SECONDS

    @property
    def ended(self) -> bool:
        """Whether the lease was given back, or the process is one of this machine and has ended."""
        return not self.owner or (self.place == this_place() and started(self.pid) not in (self.started, RUNS))


class Lease:
    """The right to write to a folder. As a context it is taken, and given back at the end.

    While it is held, no file is written into the folder without a check that it still is (`atomic.GUARDS`).
    """

    def __init__(self, folder: Path, seconds: float | None = None) -> None:
        self.folder = folder
        about = socket.gethostname(), this_place(), os.getpid(), started(os.getpid())
        self._holder = Holder(secrets.token_hex(8), *about, seconds or SECONDS)
        self._file: Path | None = None
        self._given_back = Event()

    def acquire(self, timeout: float | None = None, meanwhile: Callable[[], None] = lambda: None) -> "Lease":
        """Take the folder. If another process holds it, wait and call `meanwhile`. Raises Held after `timeout` seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + timeout if timeout is not None else None
        while not self._take():
            if end is not None and time.monotonic() >= end:
                raise Held(self.folder)
            meanwhile()
            time.sleep(POLL_SECONDS)
        GUARDS[self.folder] = self.check
        self._given_back.clear()
        Thread(target=self._renew, args=(self._file,), daemon=True).start()
        return self

    def check(self) -> None:
        """Raise LeaseLost unless this process still holds the folder."""
        found = _read(self._file) if self._file else None
        if found is None or found[0].owner != self._holder.owner:
            raise _lost(self.folder, self._holder.seconds)

    def release(self) -> None:
        """Give the folder back, unless it is lost."""
        self._given_back.set()
        GUARDS.pop(self.folder, None)
        file, self._file = self._file, None
        if file and (found := _read(file)) and found[0].owner == self._holder.owner:
            # The file stays: a slow taker, which looked long ago, must not find its number free. On a full
            # disk it ends by age.
            with suppress(OSError):
                _write(file, Holder(owner=""), new=False)

    def __enter__(self) -> "Lease":
        return self if self._file else self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self) -> bool:
        number, found = _newest(self.folder)
        if found and at_work(self.folder, *found):
            return False
        file = self.folder / f".lease-{number + 1}"
        if not _write(file, self._holder, new=True):
            return False
        if max(numbers := _numbers(self.folder)) > number + 1:  # others have come and gone since this one looked
            file.unlink(missing_ok=True)
            return False
        for older in numbers - {number + 1}:  # what a holder before looks for
            (self.folder / f".lease-{older}").unlink(missing_ok=True)
        self._file = file
        return True

    def _renew(self, file: Path) -> None:
        while not self._given_back.wait(self._holder.seconds / RENEWALS):
            with suppress(OSError):  # `check` looks whether it is lost
                os.utime(file)


def held(folder: Path) -> bool:
    """Return whether a process holds a folder now."""
    found = _newest(folder)[1]
    return found is not None and at_work(folder, *found)


@contextmanager
def following(folder: Path) -> Iterator[None]:
    """Let this process write to a folder for as long as the one that holds it now does."""
    found = _newest(folder)[1]
    owner, seconds = (found[0].owner, found[0].seconds) if found else ("", SECONDS)

    def check() -> None:
        now = _newest(folder)[1]
        if not owner or now is None or now[0].owner != owner:
            raise _lost(folder, seconds)

    GUARDS[folder] = check
    try:
        yield
    finally:
        GUARDS.pop(folder, None)


def at_work(folder: Path, holder: Holder, renewed: float) -> bool:
    """Return whether a lease that was last renewed at a time of the file system holds; True where nobody can tell."""
    if holder.ended:
        return False
    try:
        return file_clock(folder) - renewed <= holder.seconds
    except OSError:  # a read-only store, or the holder has just removed the file
        return True


@cache
def this_place() -> str:
    """Return what the numbers of this machine's processes belong to. A container's are its own."""
    kernel = Path("/proc/sys/kernel/random/boot_id")
    boot = kernel.read_text(encoding="ascii").strip() if kernel.exists() else ""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot} {namespace.readlink() if namespace.exists() else ''}".strip()


def started(pid: int) -> str:
    """Return when a process of this machine was started, in its own unit; "" if it has ended, RUNS if nobody can tell."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:  # there is no /proc, or it hides the processes of other users
        return _runs(pid)
    return "" if state in "ZX" else fields[18]


def _runs(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return ""
    except PermissionError:
        return RUNS
    return RUNS


def _lost(folder: Path, seconds: float) -> LeaseLost:
    if not _numbers(folder):
        return LeaseLost(f"{folder} was removed, or its disk is away; this process has stopped")
    return LeaseLost(
        f"this process gave no sign of life for {seconds:.0f} s, so that another one has taken over {folder}; it has"
        " stopped, and the other one goes on"
    )


def _numbers(folder: Path) -> set[int]:
    return {int(path.name.removeprefix(".lease-")) for path in folder.glob(".lease-*") if _NAME.fullmatch(path.name)}


def _newest(folder: Path) -> tuple[int, tuple[Holder, float] | None]:
    """Return the highest number of a lease, 0 for none, and its content with the time when it was last renewed."""
    while number := max(_numbers(folder), default=0):
        if found := _read(folder / f".lease-{number}"):  # else it has just been replaced
            return number, found
    return 0, None


def _read(file: Path) -> tuple[Holder, float] | None:
    # Opened first: a network file system then asks the server for its time instead of remembering one. A pipe is not
    # waited for.
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            about = os.fstat(handle)
            content = os.read(handle, _MOST_BYTES) if S_ISREG(about.st_mode) else b""
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    return _holder(content), about.st_mtime


def _holder(content: bytes) -> Holder:
    """Return the content of a lease; what is being written, or damaged, is that of an unknown holder."""
    try:
        found = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return Holder()
    texts, (pid, seconds) = (found.owner, found.host, found.place, found.started), (found.pid, found.seconds)
    right = all(isinstance(text, str) for text in texts) and type(pid) is int and type(seconds) in (int, float)
    return found if right and 0 <= pid < 2**31 and 0 <= seconds <= _LONGEST else Holder()


def _write(file: Path, holder: Holder, *, new: bool) -> bool:
    """Write a lease in one step. Return whether this process made it; a new one must not be there yet."""
    content = json.dumps(holder._asdict()).encode()
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".lease.", suffix=".tmp")
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
            os.fchmod(handle, 0o644)  # as all files of a store: other users of it see who works
        if new:
            return _linked(draft, file, content)
        draft.replace(file)
    except OSError as error:
        if error.errno not in _GONE:  # the holder sweeps its folder
            raise
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _linked(draft: Path, file: Path, content: bytes) -> bool:
    try:
        file.hardlink_to(draft)
    except OSError as error:
        if error.errno in (errno.EEXIST, *_GONE):
            return draft.exists() and draft.stat().st_nlink == 2  # a server may answer twice: the second time it exists
        try:  # a file system without links
            with file.open("xb") as opened:
                opened.write(content)
        except FileExistsError:
            return False
    return True
