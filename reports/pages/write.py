"""One study's report on disk: every format from the same table, every file written atomically."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from trackablate.datasets.atomic import write_bytes
from trackablate.reports.results import StudyResult
from trackablate.reports.table import Table
from trackablate.reports.tables.pivot import pivot

if TYPE_CHECKING:
    from trackablate.reports.figures.drawing import Picture

FORMATS = ("html", "latex", "markdown", "csv", "json")


def write_report(result: StudyResult, out: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Write the formats asked for and return the files, the page first.

    html leaves index.html and figures/ as SVG, latex table.tex and figures/ as PDF too, markdown table.md, csv table.csv,
    json results.json. Raises ValueError for a format that does not exist, before anything is written.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ValueError(f"no report format is called {', '.join(unknown)}; there are: {', '.join(FORMATS)}")
    table = pivot(result)
    pictures = _pictures(result, table, "latex" in formats) if {"html", "latex"} & set(formats) else []
    files = {name: render() for kind, name, render in _documents(result, table, pictures) if kind in formats}
    contents = {name: text.encode() for name, text in files.items()}
    for each in pictures:
        contents |= each.files()
    for name, content in contents.items():
        write_bytes(out / name, content)
    return [out / name for name in contents]


def _pictures(result: StudyResult, table: Table, pdf: bool) -> "list[Picture]":
    from trackablate.reports.figures import pictures

    return pictures(result, table, pdf)


def _documents(
    result: StudyResult, table: Table, pictures: "list[Picture]"
) -> tuple[tuple[str, str, Callable[[], str]], ...]:
    """Format, file name, and the renderer, each importing what it needs when it is called."""

    def html() -> str:
        from trackablate.reports.pages.html import page

        return page(result, table, pictures)

    def tex() -> str:
        from trackablate.reports.formats.latex import latex

        return latex(table)

    from trackablate.reports.formats.export import comma_separated, markdown, results_json

    return (
        ("html", "index.html", html),
        ("latex", "table.tex", tex),
        ("markdown", "table.md", lambda: markdown(table)),
        ("csv", "table.csv", lambda: comma_separated(table)),
        ("json", "results.json", lambda: results_json(result, table)),
    )
