"""A report on disk: every format from the same tables, every file written atomically."""

from collections.abc import Collection
from pathlib import Path

from trackablate.datasets.atomic import write_bytes
from trackablate.reports.formats.documents import results_json
from trackablate.reports.formats.export import comma_separated, markdown
from trackablate.reports.formats.latex import all_tables, paper_table
from trackablate.reports.pages.sections import sections, unfolded
from trackablate.reports.results import Result
from trackablate.reports.tables.pivot import pivot
from trackablate.reports.tables.sequences import sequence_file, sequence_table

FORMATS = ("html", "latex", "markdown", "csv", "json")


def write_report(result: Result, out: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Write the formats asked for and return the files, the page first.

    html leaves index.html and figures/ as SVG, latex table.tex (one table for a paper), tables.tex (all of them) and
    figures/ as PDF too, markdown table.md, csv table.csv and for raw results sequences.csv, json results.json.

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
    table, files, figures, pictures = pivot(result), dict[str, str](), dict[str, bytes](), []
    shown = bool({"html", "latex"} & set(formats))
    found = sections(result) if shown or not result.study else []
    tables = [table, *unfolded(found)]
    if "latex" in formats:
        files |= {"table.tex": paper_table(result, table), "tables.tex": all_tables(tables)}
    if "markdown" in formats:
        files["table.md"] = "\n".join(map(markdown, tables[:1] if result.study else tables))
    if "csv" in formats:
        files["table.csv"] = comma_separated(table)
        if not result.study:
            facts = result.protocols[0]
            files["sequences.csv"] = comma_separated(sequence_file(result, facts, sequence_table(result, facts)))
    if "json" in formats:
        files["results.json"] = results_json(result, table)
    if shown:
        from trackablate.reports.figures import pictures as drawn

        pictures = drawn(result, table, "latex" in formats)
        figures = {name: content for each in pictures for name, content in each.files().items()}
    if "html" in formats:
        from trackablate.reports.pages.html import page

        files = {"index.html": page(result, table, pictures, found, (*files, *figures)), **files}
    return {name: text.encode() for name, text in files.items()} | figures
