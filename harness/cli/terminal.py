"""What commands print: tables and documents on standard output; progress and everything else on standard error."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from trackablate.harness.cli.doctor import Check
    from trackablate.harness.cli.listing import Listing
    from trackablate.reports.results import Result
    from trackablate.reports.table import Table

LONG = 40
"""Characters from which the items of a list get a line each."""


def say_json(document: Any) -> None:
    """Write one JSON document."""
    sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")


def say(found: "Listing") -> None:
    """Write names with one line each, by kind."""
    for kind, entries in found.items():
        sys.stdout.write(f"{kind}\n")
        width = max(map(len, entries))
        for name, line in entries.items():
            sys.stdout.write(f"  {name:<{width}}  {line}\n")


def say_document(document: dict[str, Any], indent: int = 0) -> None:
    """Write a nested document, a line per entry."""
    for key, value in document.items():
        if isinstance(value, dict) and value:
            sys.stdout.write(f"{'  ' * indent}{key}:\n")
            say_document(value, indent + 1)
        elif isinstance(value, list) and any(len(str(item)) > LONG for item in value):
            sys.stdout.write(f"{'  ' * indent}{key}:\n")
            sys.stdout.writelines(f"{'  ' * (indent + 1)}- {item}\n" for item in value)
        else:
            sys.stdout.write(f"{'  ' * indent}{key}: {_plain(value)}\n")


def say_checks(checks: "list[Check]") -> None:
    """Write findings, one line each, with the remedy of what is wrong."""
    for check in checks:
        remedy = f" -> {check.remedy}" if check.remedy else ""
        sys.stdout.write(f"{'ok  ' if check.ok else 'LACK'}  {check.name}: {check.found}{remedy}\n")


def say_boxes(boxes: list[list[float]]) -> None:
    """Write one box x,y,w,h per line, in pixels, to a hundredth."""
    for box in boxes:
        sys.stdout.write(",".join(f"{value:.2f}" for value in box) + "\n")


def say_result(result: "Result", written: list[Path], *, full: bool, as_json: bool) -> None:
    """Write what a study says, or its whole table, or its document; and say where the report lies."""
    from trackablate.reports.formats.documents import results_json
    from trackablate.reports.tables.pivot import pivot

    table = pivot(result)
    if as_json:
        sys.stdout.write(results_json(result, table))
    else:
        say_short(result, table, full=full)
    names = ", ".join(sorted({path.name for path in written[1:] if path.parent.name != "figures"}))
    sys.stderr.write(f"report: {written[0]} ({names})\n" if written else "")


def say_short(result: "Result", table: "Table", *, full: bool) -> None:
    """Write a result's sentences with a short table, or its whole main table."""
    from trackablate.reports.formats.summary import summary
    from trackablate.reports.formats.text import TerminalSummary, TerminalTable

    Console().print(TerminalTable(table) if full else TerminalSummary(summary(result, table)))


def say_tables(tables: "list[Table]") -> None:
    """Write tables, one under the other."""
    from trackablate.reports.formats.text import TerminalTable

    for table in tables:
        Console().print(TerminalTable(table))


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, {}) else str(value)


class _Left(TimeRemainingColumn):
    # The task's field `left`, which are seconds from its field `at` on (None: not known yet). Without it, what the rate seen
    # so far says.

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if "left" not in task.fields:
            return super().render(task)
        left: float | None = task.fields["left"]
        if left is None:
            return Text("-:--:--", style="progress.remaining")
        minutes, seconds = divmod(round(max(0.0, left - (monotonic() - task.fields["at"]))), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f"{hours:d}:{minutes:02d}:{seconds:02d}", style="progress.remaining")


class _Done(MofNCompleteColumn):
    # Done of total, or a percentage if the task's field `share` is set.

    def render(self, task: Task) -> Text:
        if task.fields.get("share"):
            return Text(f"{task.percentage:.0f} %", style="progress.download")
        return super().render(task)


def progress_bars() -> Progress:
    """Return bars on standard error: description, done of total, time gone and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Done(),
        TimeElapsedColumn(),
        TextColumn("left"),
        _Left(),
        console=Console(stderr=True),
    )


@contextmanager
def step_bar(description: str, total: int, *, after: float = 0.0) -> Iterator[Callable[[int], None]]:
    """Show one bar; the yielded function takes the number of steps done.

    Args:
        description: Words before the bar.
        total: Number of steps.
        after: Seconds that the work must take before the bar is shown.
    """
    bars, begun = progress_bars(), monotonic()
    task = bars.add_task(description, total=total)

    def done(steps: int) -> None:
        bars.update(task, completed=steps)
        if not bars.live.is_started and monotonic() - begun >= after:
            bars.start()

    try:
        if not after:
            bars.start()
        yield done
    finally:
        if bars.live.is_started:
            bars.stop()
