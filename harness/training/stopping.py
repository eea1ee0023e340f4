"""Signals that ask a process to stop: its work goes to the next point from which it can go on, and ends there."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trackablate.harness.errors import RunFailed

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""SIGUSR2 is what a cluster's queue sends before a job's time is over."""
_heard: list[int] = []
_working: list[str] = []


class Interrupted(RunFailed):
    """The signal `number` has asked the process to stop. This is no failure of the run."""

    def __init__(self, number: int, reached: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {reached}; the same command goes on from there")
        self.number = number


def listen() -> None:
    """Let the process finish a step when it is asked to stop; at once, where it has no work."""
    for number in SIGNALS:
        signal.signal(number, _hear)


@contextmanager
def working(task: str) -> Iterator[None]:
    """Say that the process has work, which will look whether it is asked to stop."""
    _working.append(task)
    try:
        yield
    finally:
        _working.pop()


def asked() -> int | None:
    """Return the signal that has asked this process to stop, None if there was none."""
    return _heard[0] if _heard else None


def stop_if_asked(reached: str) -> None:
    """Raise Interrupted if the process is asked to stop; `reached` says where the work is, as "after step 3"."""
    if number := asked():
        raise Interrupted(number, reached)


def _hear(number: int, _: FrameType | None) -> None:
    if not _working:
        os._exit(128 + number)
    _heard.append(number)
