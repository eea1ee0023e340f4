"""The output of commands: tables and documents on standard output, everything else on standard error."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from trackablate.harness.cli.doctor import Check
    from trackablate.harness.cli.listing import Listing
    from trackablate.reports.results import Result
    from trackablate.reports.table import Table

LONG = 40
"""Characters from which the items of a list get a line each."""


def say_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")


def say(found: "Listing") -> None:
    """Print names with one line each, by kind."""
    for kind, entries in found.items():
        sys.stdout.write(f"{kind}\n")
        width = max(map(len, entries))
        for name, line in entries.items():
            sys.stdout.write(f"  {name:<{width}}  {line}\n")


def say_document(document: dict[str, Any], indent: int = 0) -> None:
    """Print a nested document, a line per entry."""
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
    """Print findings, one line each, with the remedy for what is wrong."""
    for check in checks:
        remedy = f" -> {check.remedy}" if check.remedy else ""
        sys.stdout.write(f"{'ok  ' if check.ok else 'LACK'}  {check.name}: {check.found}{remedy}\n")


def say_boxes(boxes: list[list[float]]) -> None:
    """Print one box x,y,w,h per line, in pixels, to a hundredth."""
    for box in boxes:
        sys.stdout.write(",".join(f"{value:.2f}" for value in box) + "\n")


def say_table(result: "Result", written: list[Path], *, as_json: bool) -> None:
    """Print a result's main table, and the place of its report."""
    from trackablate.reports.formats.documents import results_json
    from trackablate.reports.formats.text import TerminalTable
    from trackablate.reports.tables.pivot import pivot

    table = pivot(result)
    if as_json:
        sys.stdout.write(results_json(result, table))
    else:
        Console().print(TerminalTable(table))
    names = ", ".join(sorted({path.name for path in written if path.parent.name != "figures"}))
    sys.stderr.write(f"report: {written[0].parent} ({names})\n" if written else "")


def say_tables(tables: "list[Table]") -> None:
    """Print tables, one under the other."""
    from trackablate.reports.formats.text import TerminalTable

    for table in tables:
        Console().print(TerminalTable(table))


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, {}) else str(value)
