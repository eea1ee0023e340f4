"""Bars on a terminal, lines of text elsewhere: how far a command is. On standard error, since results go elsewhere."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock, Thread, Timer
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from trackablate.datasets.progress import FOLLOW, Told, unseen
from trackablate.harness.progress.pace import Line

NAME = 28
"""Characters of a name that fit on one line beside a bar."""
WIDE = 100
"""Columns of a terminal from which bars show loss and rate too."""
OPENING = 3.0
"""Seconds that opening a data set takes before it is shown."""
FIRST, EVERY = 2.0, 30.0
"""Seconds until the first line of what is done, and between two later ones, where bars cannot be drawn."""


class Bars:
    """Shows lines with bars on a terminal, and moves them on between two looks."""

    def __init__(self, console: Console) -> None:
        self._console, self._began, self._at, self._lines = console, monotonic(), monotonic(), list[Line]()
        self._below = ""
        self._live = Live(get_renderable=self._drawn, console=console)

    def show(self, lines: Sequence[Line], below: str = "") -> None:
        """Show these lines from now on, and a sentence below them."""
        self._lines, self._at, self._below = list(lines), monotonic(), below
        self._live.start()

    def close(self) -> None:
        """Leave the lines where they are, and draw no more."""
        self._live.transient = not (self._lines or self._below)
        self._live.stop()

    def _drawn(self) -> Group:
        return Group(self._grid(), *([Text(self._below)] if self._below else []))

    def _grid(self) -> Grid:
        wide, gone = self._console.width >= WIDE, clock(monotonic() - self._began)
        names = [f"{line.name} after {gone}" if line.share else line.name for line in self._lines]
        grid = Grid.grid(padding=(0, 1, 0, 0), expand=True)
        grid.add_column(overflow="fold", max_width=NAME)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        for _ in range(3 if wide else 2):
            grid.add_column(no_wrap=True, justify="right")
        for name, line in zip(names, [line.later(monotonic() - self._at) for line in self._lines], strict=True):
            bar = ProgressBar(total=line.total or 1, completed=line.done if line.total else 0)
            words = map(Text, [*([line.numbers] if wide else []), _count(line), _left(line)])
            grid.add_row(Text(name), Text(line.phase), bar, *words)  # as text: brackets in a video's name are no markup
        return grid


class PlainLines:
    """Writes lines to standard error: soon, at regular times, and the first one alone when its phase changes."""

    def __init__(self, every: float = EVERY, first: float | None = None) -> None:
        self._began, self._at, self._lines, self._ended = monotonic(), 0.0, list[Line](), Event()
        self._every, self._first = every, min(FIRST, every) if first is None else first
        self._thread = Thread(target=self._repeat, daemon=True)

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines from now on."""
        before, self._lines, self._at = self._lines, list(lines), monotonic()
        if not self._thread.ident:
            self._thread.start()
        elif before and lines and before[0].phase != lines[0].phase:
            self._write(lines[:1])

    def close(self) -> None:
        """Write no more."""
        self._ended.set()
        if self._thread.ident:
            self._thread.join()

    def _repeat(self) -> None:
        wait = self._first
        while not self._ended.wait(wait):
            self._write(self._lines)
            wait = self._every

    def _write(self, lines: Sequence[Line]) -> None:
        for line in [line.later(monotonic() - self._at) for line in lines]:
            sys.stderr.write(f"{clock(monotonic() - self._began)} {said(line)}\n")


def display(first: float | None = None) -> Bars | PlainLines:
    """Return bars on standard error if that is a terminal, else lines of text, after `first` seconds for the first time."""
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else PlainLines(first=first)


def said(line: Line) -> str:
    """Return a line as text."""
    left = "" if line.left is None else _left(line)
    said = ", ".join(filter(None, [f"{line.phase} {_count(line)}".strip(), line.numbers, left]))
    return f"{line.name}: {said}"


def _count(line: Line) -> str:
    if not line.total:
        return ""
    if line.share:
        return f"{int(100 * line.done / line.total)} %"
    return "/".join(f"{n / 1000:.0f}k" if line.total >= 100_000 else f"{n:.0f}" for n in (line.done, line.total))


def _left(line: Line) -> str:
    return "-:-- left" if line.left is None else f"{clock(line.left)} left"


def clock(seconds: float) -> str:
    """Return a time as m:ss, or h:mm:ss from an hour on."""
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextmanager
def doing(name: str, what: str, after: float = 1.0) -> Iterator[None]:
    """Show what is being done, if it takes longer than a moment and says nothing of itself."""
    shown = display()
    timer = Timer(after, shown.show, [[Line(name, what)]])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        shown.close()


@contextmanager
def step_bar(description: str, total: int, *, after: float = 0.0) -> Iterator[Callable[[int], None]]:
    """Show one bar; the yielded function takes the number of steps done.

    Args:
        description: Words before the bar.
        total: Number of steps, 0 if it is not known.
        after: Seconds that the work must take before the bar is shown.
    """
    shown, began = display(), monotonic()

    def done(steps: int) -> None:
        gone = monotonic() - began
        if gone >= after:
            left = gone / steps * (total - steps) if steps and total else None
            shown.show([Line(description, "", steps, total, left)])

    unfollowed = FOLLOW.set(unseen)  # one bar at a time
    try:
        done(0)
        yield done
    finally:
        FOLLOW.reset(unfollowed)
        shown.close()


@contextmanager
def phase_bar(name: str) -> Iterator[Told]:
    """Show one bar for work in phases once it has taken OPENING seconds, also while the work tells nothing."""
    shown, began, turn = display(first=0.0), monotonic(), Lock()
    line, since = Line(name, ""), began

    def show() -> None:
        with turn:
            shown.show([line])

    def told(phase: str, done: int, total: int) -> None:
        nonlocal line, since
        now = monotonic()
        since = since if phase == line.phase and done >= line.done else now
        left = (now - since) / done * (total - done) if done and total else None
        line = Line(name, phase, done, total, left)
        if now - began >= OPENING:
            show()

    timer = Timer(OPENING, show)
    timer.daemon = True
    timer.start()
    try:
        yield told
    finally:
        timer.cancel()
        timer.join()
        shown.close()
