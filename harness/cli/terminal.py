"""What commands print: tables and documents on standard output; progress and everything else on standard error."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from threading import Event, Thread, Timer
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid

from trackablate.datasets.errors import counted, shown
from trackablate.harness.checkout import COMMAND, as_called
from trackablate.harness.errors import BadInput
from trackablate.harness.progress.pace import Line

if TYPE_CHECKING:
    from trackablate.harness.cli.doctor import Check
    from trackablate.harness.cli.listing import Listing
    from trackablate.harness.keeping.copying import Copied
    from trackablate.harness.keeping.inventory import ListedRun
    from trackablate.reports.results import Result
    from trackablate.reports.table import Table

LONG = 40
"""Characters from which the items of a list get a line each."""
UNBROKEN = "\N{NO-BREAK SPACE}"
"""Where a line is not broken; it is written as a space."""
DOCUMENTS = {"latex": "table.tex", "markdown": "table.md", "csv": "table.csv", "json": "results.json"}
"""The file of a report that holds a format's main document."""
NAME = 28
"""Characters of a name that fit on one line beside a bar."""
WIDE = 100
"""Columns of a terminal from which bars show loss and rate too."""
LOOK = 1.0
"""Seconds between two looks at a store."""
FIRST, EVERY = 2.0, 30.0
"""Seconds until the first line of what is done, and between two later ones, where bars cannot be drawn."""


def say_json(document: Any) -> None:
    """Write one JSON document."""
    sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")


def say(found: "Listing") -> None:
    """Write names with one line each, by kind."""
    for kind, entries in found.items():
        sys.stdout.write(f"{kind}\n")
        width = max(map(len, entries))
        say_lines((f"  {name:<{width}}  {line}" for name, line in entries.items()), width + 4)


def say_to(stream: TextIO, lines: Iterable[str], indent: int = 0) -> None:
    """Write lines. On a terminal they are broken at its width, between words, and go on after so many spaces."""
    for line in map(as_called, lines):
        parts = [line]
        if stream.isatty():
            width, rest = shutil.get_terminal_size().columns, " " * indent
            parts = wrap(line, width, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
        stream.writelines(f"{part.replace(UNBROKEN, ' ')}\n" for part in parts or [""])


def say_lines(lines: Iterable[str], indent: int) -> None:
    """Write lines on standard output; those that are too long for a terminal go on after so many spaces."""
    say_to(sys.stdout, lines, indent)


def say_wrapped(lines: Iterable[str]) -> None:
    """Write lines of names on standard output, broken at the terminal's width, or at 80 columns in a file."""
    width = shutil.get_terminal_size().columns
    for line in lines:
        parts = wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        sys.stdout.writelines(f"{part}\n" for part in parts)


def say_doing(text: str) -> None:
    """Write on standard error what is being done."""
    say_to(sys.stderr, [text])


def say_document(document: dict[str, Any], indent: int = 0) -> None:
    """Write a nested document, a line per entry. Commands are not broken."""
    for key, value in document.items():
        if isinstance(value, dict) and value:
            sys.stdout.write(f"{'  ' * indent}{key}:\n")
            say_document(value, indent + 1)
        elif isinstance(value, list) and any(len(str(item)) > LONG for item in value):
            sys.stdout.write(f"{'  ' * indent}{key}:\n")
            say_lines((f"{'  ' * (indent + 1)}- {_plain(item)}" for item in value), 2 * indent + 4)
        elif isinstance(value, str) and value.startswith((COMMAND, as_called(COMMAND))):  # whole, to be copied
            sys.stdout.write(f"{'  ' * indent}{key}:\n{'  ' * (indent + 1)}{value}\n")
        else:
            say_lines([f"{'  ' * indent}{key}: {_plain(value)}"], 2 * indent + 2)


def say_checks(checks: "Iterable[Check]", stream: TextIO) -> "list[Check]":
    """Write findings as they come, one line each, with the remedy of what is wrong. Return them."""
    found = []
    for check in checks:
        remedy = f" -> {check.remedy}" if check.remedy else ""
        say_to(stream, [f"{'ok  ' if check.ok else 'LACK'}  {check.name}: {check.found}{remedy}"], 6)
        stream.flush()
        found.append(check)
    return found


def say_runs(runs: "list[ListedRun]") -> None:
    """Write the runs of a store, a line each, and how many there are."""
    cells = []
    for run in runs:
        more = f" and {counted(len(run.rows) - 1, 'other row')}" if len(run.rows) > 1 else ""
        tracked = ", ".join(
            f"{shown(t.evaluation)}{UNBROKEN}{t.sequences}/{'?' if t.of is None else t.of}" for t in run.evaluated
        )
        row = f"{run.rows[0]}{more}" if run.rows else "no study"
        cells.append(
            (
                *map(shown, (run.run, row, f"seed {run.seed}", run.state)),
                tracked,
                *map(shown, (size_of(run.bytes), run.date[:10], run.problem)),
            )
        )
    widths = [max((len(line[at]) for line in cells), default=0) for at in range(7)]
    lines = ("  ".join((*map(str.ljust, line[:7], widths), line[7])).rstrip() for line in cells)
    say_lines(lines, 4)
    states = ", ".join(f"{count} {state}" for state, count in Counter(run.state for run in runs).items())
    sys.stdout.write(
        f"{counted(len(runs), 'run')}, {size_of(sum(run.bytes for run in runs))}"
        + (f": {states}\n" if states else "\n")
    )


def say_clearing(document: dict[str, Any], *, named: bool) -> None:
    """Write what goes from a store by kind, each path too if the user has named the kinds, and what stays."""
    for kind, found in document["kinds"].items():
        count = f"{len(found['paths'])}, {size_of(found['bytes'])}" if found["paths"] else "nothing"
        say_lines([f"{kind:<12} {count:<18} {found['what']}"], 32)
        say_lines((f"  {shown(path)}" for path in found["paths"] if named), 4)
    say_lines((f"stays: {shown(reason)}" for reason in document["stays"]), 7)
    freed = size_of(sum(found["bytes"] for found in document["kinds"].values()))
    if document["removed"]:
        sys.stdout.write(f"{freed} are removed\n")
    elif named:
        sys.stdout.write(f"nothing is removed yet: add --yes, and {freed} are\n")
    else:
        sys.stdout.write("nothing is removed: name what shall go with --drop KIND\n")


def say_copied(copied: "Copied") -> None:
    """Write what a copy has done, what it has left, and what stands in its way."""
    sys.stdout.write(f"{counted(copied.files, 'file')} of {size_of(copied.bytes)} copied, {copied.same} were there\n")
    say_lines((f"not copied: {reason}" for reason in copied.left), 12)
    say_lines((f"conflict: {name} differs, and is left as it is" for name in copied.conflicts), 10)
    say_lines((f"refused: {reason}" for reason in copied.refused), 9)


def size_of(count: float) -> str:
    """Return a number of bytes as people say it."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count / factor:.0f} {unit}"
    return f"{count:.0f} bytes"


def say_boxes(boxes: list[list[float]]) -> None:
    """Write one box x,y,w,h per line, in pixels, to a hundredth."""
    for box in boxes:
        sys.stdout.write(",".join(f"{value:.2f}" for value in box) + "\n")


def say_result(result: "Result", written: list[Path], *, full: bool, as_json: bool, format: str = "") -> None:
    """Write what a study says, or its whole table, or its document; and say where the report lies.

    If the user asks for one format of text, its document alone goes to standard output, and what the study says beside it.
    """
    from trackablate.reports.formats.documents import results_json
    from trackablate.reports.tables.pivot import pivot

    table, document = pivot(result), DOCUMENTS.get(format.strip())
    if as_json:
        sys.stdout.write(results_json(result, table))
    elif document:
        sys.stdout.writelines(path.read_text(encoding="utf-8") for path in written if path.name == document)
        say_short(result, table, full=full, aside=True)
    else:
        say_short(result, table, full=full)
    names = ", ".join(sorted({path.name for path in written[1:] if path.parent.name != "figures"}))
    sys.stderr.write(f"report: {written[0]}{f' ({names})' * bool(names)}\n" if written else "")


def say_short(result: "Result", table: "Table", *, full: bool, aside: bool = False) -> None:
    """Write a result's sentences with a short table, or its whole main table; `aside`: on standard error."""
    from trackablate.reports.formats.summary import summary
    from trackablate.reports.formats.text import TerminalSummary, TerminalTable

    Console(stderr=aside).print(TerminalTable(table) if full else TerminalSummary(summary(result, table)))


def say_tables(tables: "list[Table]") -> None:
    """Write tables, one under the other."""
    from trackablate.reports.formats.text import TerminalTable

    for table in tables:
        Console().print(TerminalTable(table))


def _plain(value: Any) -> str:
    if isinstance(value, dict) and value:
        return ", ".join(
            f"{key} ({_plain(v)})" if isinstance(v, dict) else f"{key} {_plain(v)}" for key, v in value.items()
        )
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value in (None, {}) else str(value)


class Bars:
    """Shows lines with bars on a terminal, and moves them on between two looks."""

    def __init__(self, console: Console) -> None:
        self._console, self._began, self._at, self._lines = console, monotonic(), monotonic(), list[Line]()
        self._live = Live(get_renderable=self._grid, console=console)

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines from now on."""
        self._lines, self._at = list(lines), monotonic()
        self._live.start()

    def close(self) -> None:
        """Leave the lines where they are, and draw no more."""
        self._live.transient = not self._lines
        self._live.stop()

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
            grid.add_row(name, line.phase, bar, *([line.numbers] if wide else []), _count(line), _left(line))
        return grid


class PlainLines:
    """Writes lines to standard error: soon, at regular times, and the first one alone when its phase changes."""

    def __init__(self, every: float = EVERY) -> None:
        self._began, self._at, self._lines, self._every, self._ended = monotonic(), 0.0, list[Line](), every, Event()
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
        wait = min(FIRST, self._every)
        while not self._ended.wait(wait):
            self._write(self._lines)
            wait = self._every

    def _write(self, lines: Sequence[Line]) -> None:
        for line in [line.later(monotonic() - self._at) for line in lines]:
            sys.stderr.write(f"{clock(monotonic() - self._began)} {_said(line)}\n")


def display() -> Bars | PlainLines:
    """Return bars on standard error if that is a terminal, else lines of text."""
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else PlainLines()


def say_watch(place: Path, *, once: bool, as_json: bool) -> None:
    """Show what is at work in a store until the user stops it; once if it is asked so, or where there is no terminal."""
    from trackablate.harness.progress.watching import Watch
    from trackablate.harness.store import Store

    store = Store(place, make=False)
    if not store.exists:
        raise BadInput(f"there is no store at {store.root}: name it with --store")
    watch, bars = Watch(store), Bars(Console())
    if as_json:
        say_json([asdict(line) for line in watch.look()])
    elif once or not sys.stdout.isatty():
        sys.stdout.writelines(f"{_said(line)}\n" for line in watch.look())
    else:
        try:
            while True:
                bars.show(watch.look())
                sleep(LOOK)
        except KeyboardInterrupt:
            bars.close()


def _said(line: Line) -> str:
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

    try:
        done(0)
        yield done
    finally:
        shown.close()
