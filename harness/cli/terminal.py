"""What commands print: tables and documents on standard output; progress and everything else on standard error."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from time import sleep
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from trackablate.datasets.errors import counted, shown
from trackablate.harness.checkout import COMMAND, as_called
from trackablate.harness.errors import BadInput
from trackablate.harness.progress.bars import Bars, said

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
LOOK = 1.0
"""Seconds between two looks at a store."""


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
        say_lines([*map(said, watch.look()), *filter(None, [watch.idle])], 4)
    else:
        try:
            while True:
                bars.show(watch.look(), watch.idle)
                sleep(LOOK)
        except KeyboardInterrupt:
            bars.close()
