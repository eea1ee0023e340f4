"""A report on disk: every format from the same tables, every file written atomically."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from trackablate.datasets.atomic import write_bytes
from trackablate.reports.pages.sections import Section, for_paper, sections
from trackablate.reports.results import Result
from trackablate.reports.table import Table
from trackablate.reports.tables.pivot import pivot
from trackablate.reports.tables.sequences import sequence_file, sequence_table

if TYPE_CHECKING:
    from trackablate.reports.figures.drawing import Picture

FORMATS = ("html", "latex", "markdown", "csv", "json")


def write_report(result: Result, out: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Write the formats asked for and return the files, the page first.

    html leaves index.html and figures/ as SVG, latex table.tex and figures/ as PDF too, markdown table.md, csv table.csv
    and for raw results sequences.csv, json results.json.

    Raises:
        ValueError: A format does not exist.
        BadInput: The result names two trackers that cannot be compared. Either way nothing is written.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ValueError(f"no report format is called {', '.join(unknown)}; there are: {', '.join(FORMATS)}")
    contents = report_files(result, formats)
    for name, content in contents.items():
        write_bytes(out / name, content)
    return [out / name for name in contents]


def report_files(result: Result, formats: Collection[str] = FORMATS) -> dict[str, bytes]:
    """Return every file of the formats by its name, the page first."""
    table, pictures = pivot(result), list["Picture"]()
    shown = {"html", "latex"} & set(formats)
    found = sections(result) if shown or not result.study else []
    if shown:
        from trackablate.reports.figures import pictures as drawn

        pictures = drawn(result, table, "latex" in formats)
    documents = _documents(result, table, found, pictures)
    contents = {name: render().encode() for kind, name, render in documents if kind in formats}
    for each in pictures:
        contents |= each.files()
    return contents


def _documents(
    result: Result, table: Table, found: list[Section], pictures: "list[Picture]"
) -> list[tuple[str, str, Callable[[], str]]]:
    """Return format, file name, and the renderer, which imports what it needs when it is called."""

    def html() -> str:
        from trackablate.reports.pages.html import page

        return page(result, table, pictures, found)

    def tex() -> str:
        from trackablate.reports.formats.latex import latex

        return latex(*printed)

    def json() -> str:
        from trackablate.reports.formats.documents import results_json

        return results_json(result, table)

    from trackablate.reports.formats.export import comma_separated, markdown

    def by_sequence() -> str:
        facts = result.protocols[0]
        return comma_separated(sequence_file(result, facts, sequence_table(result, facts)))

    printed = for_paper(result, table, found)
    return [
        ("html", "index.html", html),
        ("latex", "table.tex", tex),
        ("markdown", "table.md", lambda: "\n".join(markdown(each) for each in printed)),
        ("csv", "table.csv", lambda: comma_separated(table)),
        *(() if result.study else (("csv", "sequences.csv", by_sequence),)),
        ("json", "results.json", json),
    ]
