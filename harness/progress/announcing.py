"""What each command that works in a store says of itself there, for those who look from elsewhere. Imports no torch."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from trackablate.datasets.lease import Holder, started, this_place
from trackablate.harness.documents import read_document, readable, write_document
from trackablate.harness.progress.forecaster import PHASES, RUNNING, Show
from trackablate.harness.progress.pace import Line
from trackablate.harness.store import Store

EVERY = 2.0
"""Seconds between two reports of a command that does the same thing."""
GONE = 600.0
"""Seconds without a sign of life after which a process counts as gone, if nobody can tell."""

Say = Callable[[str, float | None], None]
"""Takes what a command does now, and the seconds until it has finished, None if they are not known."""


class CommandProgress(BaseModel):
    """What a command says of itself.

    Attributes:
        name: The study with its profile, or the command with its subject.
        left: Seconds until the command has finished, None if they are not known.
        holder: The command's process.
    """

    name: str
    phase: str
    left: float | None = None
    holder: Holder


@contextmanager
def announced(store: Store, name: str) -> Iterator[Say]:
    """Keep a file in the store that says what this process's command does. Remove those of processes that have ended."""
    with suppress(OSError):
        for old in _files(store):
            if _at_work(old) is None:
                old.unlink(missing_ok=True)
    file = store.commands / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.json"
    holder = Holder("command", socket.gethostname(), this_place(), os.getpid(), started(os.getpid()))
    last, due = "", 0.0

    def say(phase: str, left: float | None) -> None:
        nonlocal last, due
        if (phase != last or time.monotonic() >= due) and store.exists:  # a store that was removed is not made again
            last, due = phase, time.monotonic() + EVERY
            with suppress(OSError):  # the runs say themselves that the disk is full
                write_document(file, CommandProgress(name=name, phase=phase, left=left, holder=holder))

    try:
        yield say
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def also_said(show: Show, say: Say) -> Show:
    """Return what shows lines, and says what the first one says."""

    def both(lines: Sequence[Line]) -> None:
        show(lines)
        if lines:
            say(lines[0].phase if lines[0].phase in PHASES else RUNNING, lines[0].left)

    return both


def commands_at_work(store: Store) -> list[CommandProgress]:
    """Return what each command says that works in a store now, the oldest first."""
    return list(filter(None, map(_at_work, _files(store))))


def _files(store: Store) -> list[Path]:
    return sorted(store.commands.glob("[!.]*.json"))


def _at_work(file: Path) -> CommandProgress | None:
    """Return what a command says, with the time that is left by now; None if its process has ended."""
    said = readable(read_document, file, CommandProgress)
    try:
        age = max(0.0, time.time() - file.stat().st_mtime)
    except FileNotFoundError:  # it has just ended
        return None
    if said is None or said.holder.ended or (age > GONE and said.holder.place != this_place()):
        return None
    return said.model_copy(update={"left": None if said.left is None else max(0.0, said.left - age)})
