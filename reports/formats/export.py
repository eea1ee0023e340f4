"""The table as Markdown, CSV and JSON."""

import csv
import io
import json
import re
from dataclasses import asdict
from typing import Any

from trackablate.reports.formats.panels import figure, heading, interval, references
from trackablate.reports.results import RowResult, StudyResult
from trackablate.reports.table import Cell, Column, Table, TableRow
from trackablate.reports.tables.accuracy import metric_key
from trackablate.reports.tables.cost_report import phases_json
from trackablate.reports.tables.costs import Cost, cost_of
from trackablate.reports.tables.discrepancies import printed
from trackablate.reports.tables.effects import primary_metric
from trackablate.reports.tables.ranks import ranks_json

SPECIAL = re.compile(r"([\\`*_{}\[\]()#|~!$])")


def markdown(table: Table) -> str:
    """A GitHub table with a caveat above and footnotes below; best bold, second in italics."""
    head = [_md(table.corner), *(_markdown_heading(column) for column in table.columns)]
    lines = [f"# {_md(table.title)}", "", _md(table.question), ""]
    if table.caveat:
        lines = [f"> **{_md(table.caveat)}**", "", *lines]
    lines += [_line(head), _line(["---", *(":---" if _words(c, table) else "---:" for c in table.columns)])]
    lines += [_line([_markdown_name(row), *(_markdown_cell(row, c) for c in table.columns)]) for row in table.rows]
    lines += ["", f"**Bold**: best {table.subject}. *Italics*: second. –: missing.", ""]
    lines += [f"{number}. {_md(text)}" for number, text in enumerate(table.footnotes, 1)]
    if table.missing:
        lines += ["", "Missing:", "", *(f"- {_md(text)}" for text in table.missing)]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _md(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no line break."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", flat)


def _words(column: Column, table: Table) -> bool:
    return all((cell := row.cells.get(column.key)) is None or cell.text is not None for row in table.rows)


def _markdown_heading(column: Column) -> str:
    group = f"{_md(column.group)}: " if column.group else ""
    return f"{group}{_md(heading(column))}{_sup(column.footnotes)}"


def _markdown_name(row: TableRow) -> str:
    return f"{_md(row.name)}{' (baseline)' if row.baseline else ''}{_sup(row.footnotes)}"


def _markdown_cell(row: TableRow, column: Column) -> str:
    cell = row.cells.get(column.key)
    text = _md(figure(cell, column))
    if cell is None:
        return text
    text = {"best": f"**{text}**", "second": f"*{text}*"}.get(cell.mark or "", text)
    bounds = interval(cell, column)
    return f"{text}{f' {_md(bounds)}' if bounds else ''}{_sup(cell.footnotes)}"


def _sup(footnotes: tuple[int, ...]) -> str:
    return f"<sup>{references(footnotes)}</sup>" if footnotes else ""


def comma_separated(table: Table) -> str:
    """One line per row, full precision: value, low, high and n per figure. Missing is empty, as is not applicable. A
    study's rows say their role too, and whether their figures compare with the paper's: each row, since a line above the
    heads is one that readers of CSV trip over.
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
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def results_json(result: StudyResult, table: Table) -> str:
    """The contract of cli.md: metrics in percent, sizes in bytes, times in seconds, null where unknown."""
    rows = {row.name: row for row in result.rows}
    document = {
        "study": result.study.name,
        "title": table.title,
        "question": table.question,
        "profile": result.profile.name,
        "comparable_with_paper": result.profile.comparable_with_paper,
        "caveat": table.caveat,
        "command": result.command,
        "primary_metric": result.study.primary_metric,
        "rows": [_json_row(result, row, rows.get(row.name)) for row in table.rows],
        "phases": phases_json(result),
        "ranking": ranks_json(result),
        "footnotes": list(table.footnotes),
        "missing": list(table.missing),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _json_row(result: StudyResult, row: TableRow, found: RowResult | None) -> dict[str, Any]:
    protocols = {f.name: {m: _estimate(row, f.name, m) for m in f.metrics} for f in result.every_protocol}
    scale = found.paper_scale if found else None
    return {
        "name": row.name,
        "role": row.role,
        "baseline": row.baseline,
        "factors": {name: row.cells[f"factor:{name}"].text for name in result.study.factors},
        "verdict": found.verdict if found else None,
        "run": found.record.asked.name if found else None,
        "runs": [record.asked.name for record in found.records] if found else [],
        "metrics": next(iter(protocols.values()), {}),
        "protocols": protocols,
        "deltas": {f.name: _delta(row, f.name, primary_metric(result, f)) for f in result.every_protocol},
        "cost": _cost(found),
        "paper_scale": {key: getattr(scale, key) if scale else None for key in ("params", "macs", "macs_linear_conv")},
        "published": _published(result, row.name) if row.role in ("variant", "cited") else {},
    }


def _estimate(row: TableRow, protocol: str, metric: str) -> dict[str, Any]:
    cell = row.cells.get(metric_key(protocol, metric), Cell())
    return {"mean": cell.value, "ci95": None if cell.low is None else [cell.low, cell.high], "n": cell.n}


def _delta(row: TableRow, protocol: str, metric: str) -> dict[str, Any]:
    cell = row.cells.get(metric_key(protocol, metric), Cell())
    bounds = None if cell.delta_low is None else [cell.delta_low, cell.delta_high]
    mean = row.cells.get(f"{metric_key(protocol, metric)}:delta", Cell()).value if cell.delta is None else cell.delta
    return {"metric": metric, "mean": mean, "ci95": bounds, "p_holm": cell.p, "resolved": cell.resolved}


def _cost(found: RowResult | None) -> dict[str, Any]:
    return asdict(cost_of(found) if found else Cost())


def _published(result: StudyResult, name: str) -> dict[str, Any]:
    """By "PROTOCOL:METRIC" and by name; those of the protocol whose metrics the document's rows have, or where it is none
    of the study's, of the study's first, by metric alone too.
    """
    found = printed(result.study.name, name)
    scored = result.every_protocol[0].name if result.every_protocol else ""
    plain = scored if scored in result.study.protocols else result.study.protocols[0]
    document: dict[str, Any] = {}
    for key, one in found.items():
        value = {"value": one.value, "source": one.source.title, "trust": one.source.trust}
        document[key] = value | ({"note": one.entry.note} if one.entry.note else {})
        if key.startswith(f"{plain}:"):
            document[key.removeprefix(f"{plain}:")] = document[key]
    return document
