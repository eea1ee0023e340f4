"""The table as Markdown and CSV."""

import csv
import io
import re

from trackablate.reports.formats.panels import figure, heading, interval, mark, references
from trackablate.reports.table import Cell, Column, Table, TableRow

SPECIAL = re.compile(r"([\\`*_{}\[\]()#|~!$])")


def markdown(table: Table) -> str:
    """Return a GitHub table with a caveat above and footnotes below; best bold, second in italics."""
    head = [_md(table.corner), *(_markdown_heading(column) for column in table.columns)]
    lines = [f"# {_md(table.title)}", "", _md(table.question), ""]
    if table.caveat:
        lines = [f"> **{_md(table.caveat)}**", "", *lines]
    lines += [_line(head), _line(["---", *(":---" if _words(c, table) else "---:" for c in table.columns)])]
    lines += [_line([_markdown_name(row), *(_markdown_cell(row, c) for c in table.columns)]) for row in table.rows]
    lines += ["", f"**Bold**: best {table.subject}. *Italics*: second. –: missing.", ""]
    lines += [f"- ({mark(index)}) {_md(text)}" for index, text in enumerate(table.footnotes)]
    if table.missing:
        lines += ["", "Missing:", "", *(f"- {_md(text)}" for text in table.missing)]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _md(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, no line break."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", flat)


def _words(column: Column, table: Table) -> bool:
    return all((cell := row.cells.get(column.key)) is None or cell.text is not None for row in table.rows)


def _markdown_heading(column: Column) -> str:
    group = f"{_md(column.group)}: " if column.group else ""
    return f"{group}{_md(heading(column))}{_refs(column.footnotes)}"


def _markdown_name(row: TableRow) -> str:
    return f"{_md(row.name)}{' (baseline)' if row.baseline else ''}{_refs(row.footnotes)}"


def _markdown_cell(row: TableRow, column: Column) -> str:
    cell = row.cells.get(column.key)
    text = _md(figure(cell, column))
    if cell is None:
        return text
    text = {"best": f"**{text}**", "second": f"*{text}*"}.get(cell.mark or "", text)
    bounds = interval(cell, column)
    return f"{text}{f' {_md(bounds)}' if bounds else ''}{_refs(cell.footnotes)}"


def _refs(footnotes: tuple[int, ...]) -> str:
    return f" ({references(footnotes)})" if footnotes else ""


def comma_separated(table: Table) -> str:
    """Return one line per row in full precision: value, low, high and n per figure.

    What is missing or not applicable is empty. Each row of a study says its role too, and whether its figures compare
    with the paper's, since readers of CSV stumble over a line above the heads.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    study = table.subject == "variant"
    names = ["row", "role", "baseline", "comparable_with_paper"] if study else [table.corner.lower()]
    writer.writerow([*names, *(head for c in table.columns for head in _csv_heads(c, table))])
    for row in table.rows:
        fields = [field for c in table.columns for field in _csv_fields(row.cells.get(c.key), c, table)]
        about = [row.role, int(row.baseline), "no" if table.caveat else "yes"] if study else []
        writer.writerow([_plain(row.name), *about, *fields])
    return text.getvalue()


def _csv_heads(column: Column, table: Table) -> list[str]:
    key = column.key.removeprefix(":")
    name = key if _words(column, table) or not column.unit else f"{key} [{column.unit}]"
    return [_plain(name), *(_plain(f"{key} {part}") for part in _parts(column, table))]


def _parts(column: Column, table: Table) -> list[str]:
    cells = [cell for row in table.rows if (cell := row.cells.get(column.key)) is not None]
    bounds = ["low", "high"] if any(cell.low is not None for cell in cells) else []
    return bounds + (["n"] if any(cell.n is not None for cell in cells) else [])


def _csv_fields(cell: Cell | None, column: Column, table: Table) -> list[str]:
    parts = _parts(column, table)
    if cell is None:
        return [""] * (1 + len(parts))
    first = _plain(cell.text) if cell.text is not None else _number(cell.value)
    return [first, *(_number(getattr(cell, part)) for part in parts)]


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _plain(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
