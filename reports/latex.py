r"""The table as LaTeX: a fragment for \input that needs the booktabs package and nothing else."""

import re

from reports.layout import DASH, MINUS, Panel, figure, groups, interval, panels, references, used_notes
from reports.table import Cell, Column, Table, TableRow

PREAMBLE = r"""% \input this file. It needs, in the preamble:
%   \usepackage{booktabs}
"""
COLUMN_LIMIT = 8
"""Columns of a panel that fit on the width of an A4 page."""

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    DASH: "--",
    MINUS: "$-$",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
} | {character: f"\\{character}" for character in "&%$#_{}"}


def latex(*tables: Table) -> str:
    r"""One `table*` per panel with its own notes. Needs \usepackage{booktabs}; best bold, second underlined."""
    floats = (_float(t, panel, at) for t in tables for at, panel in enumerate(panels(t, COLUMN_LIMIT)))
    return PREAMBLE + "\n".join(floats)


def _float(table: Table, panel: Panel, at: int) -> str:
    caveat = rf" \textbf{{{escape(table.caveat)}}}" if table.caveat else ""
    title = escape(table.title) + (", continued" if at else "")
    legend = f"Best {table.subject} bold, second underlined, -- missing." if at == 0 else ""
    return (
        "\\begin{table*}[t]\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
        f"\\caption{{{title}.{caveat} {legend}}}\\smallskip\n"
        f"{_tabular(panel, table.corner)}\n\\par\\smallskip\n{_notes(table, panel, at)}\\end{{table*}}\n"
    )


def escape(text: str) -> str:
    """Text that TeX prints as it is: every special character escaped, characters without a glyph shown as a question
    mark, no line break that could end a paragraph or a comment."""
    return "".join(ESCAPES.get(c, c if _printable(c) else "?") for c in " ".join(text.split()))


def _printable(character: str) -> bool:
    """Whether the default fonts have the character: ASCII, and the western letters that TeX composes."""
    return bool(
        re.match(
            r"[\x20-\x7e\u00c0-\u00cf\u00d1-\u00d6\u00d8-\u00dd\u00df-\u00ef\u00f1-\u00f6\u00f8-\u00fd]", character
        )
    )


def _tabular(panel: Panel, corner: str) -> str:
    """The row's name, then the panel's columns."""
    alignment = "l" + "".join("l" if not column.group else "c" for column in panel.columns)
    lines = [rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"\toprule"]
    lines += [*_group_heads(panel.columns), *_heads(panel.columns, corner)]
    previous = None
    for row in panel.rows:
        lines.append(r"\midrule" if row.role != previous else r"\addlinespace[1pt]")
        previous = row.role
        lines += _two_lines(*zip(_name(row), *(_cell(row.cells.get(c.key), c) for c in panel.columns), strict=True))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _group_heads(columns: tuple[Column, ...]) -> list[str]:
    titles, rules, start = [""], [], 2
    for group in groups(columns):
        width = len(group.columns)
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group.title)}}}")
        rules += [rf"\cmidrule(lr){{{start}-{start + width - 1}}}"] if group.title else []
        start += width
    return [_cells(titles), "".join(rules)] if rules else []


def _heads(columns: tuple[Column, ...], corner: str) -> list[str]:
    heads = [(escape(c.symbol) + _sup(c.footnotes), escape(f"({c.unit})") if c.unit else "") for c in columns]
    return _two_lines(*zip((escape(corner), ""), *heads, strict=True))


def _name(row: TableRow) -> tuple[str, str]:
    return escape(row.name) + _sup(row.footnotes), "baseline" if row.baseline else ""


def _cell(cell: Cell | None, column: Column) -> tuple[str, str]:
    """The figure, and its interval for the line below."""
    text = escape(figure(cell, column))
    if cell is None:
        return text, ""
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(cell.mark or "", text)
    return text + _sup(cell.footnotes), escape(interval(cell, column))


def _two_lines(upper: tuple[str, ...], lower: tuple[str, ...]) -> list[str]:
    """A line of figures and, where there is anything to say, a small one close below."""
    if not any(lower):
        return [_cells(list(upper))]
    small = [rf"{{\tiny {text}}}" if text else "" for text in lower]
    return [_cells(list(upper)) + "[-1.5pt]", _cells(small)]


def _sup(footnotes: tuple[int, ...]) -> str:
    return rf"\textsuperscript{{{references(footnotes)}}}" if footnotes else ""


def _cells(cells: list[str]) -> str:
    # A cell that opens with a bracket would be taken for the optional argument of the \\ before it.
    return " & ".join(f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in cells) + r" \\"


def _notes(table: Table, panel: Panel, at: int) -> str:
    numbered = [(index + 1, table.footnotes[index]) for index in used_notes(panel)]
    lines = [rf"\textsuperscript{{{number}}} {escape(text)}" for number, text in numbered]
    lines += [rf"Missing: {escape(text)}." for text in table.missing] if at == 0 else []
    joined = "\\par\n".join(lines)
    return f"\\parbox{{\\textwidth}}{{\\scriptsize\\raggedright\n{joined}}}\n" if lines else ""
