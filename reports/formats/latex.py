r"""The table as LaTeX: a fragment for \input that needs booktabs, graphicx and siunitx.

The best figure is bold and the second underlined. Figures are aligned at their decimal points. Footnotes of rows are
marked by daggers, all others by numbers.
"""

from collections.abc import Iterator

from trackablate.reports.formats.panels import Panel, groups, panels, used_notes
from trackablate.reports.formats.tex_columns import LONG, Marks, TexColumn, boxed, small, superscript, words_kind
from trackablate.reports.formats.tex_text import escape, printed_length
from trackablate.reports.table import Column, Table

CHARACTERS = 96
"""Characters of 8 pt that fit a line of a one-column article. A wider panel is cut; TeX scales it if this is too much."""
HEIGHT = 466
"""Points of a page for a float's caption, rows and notes: an article's 550, less the heads of columns and the gaps."""
SYMBOLS = (r"$\dagger$", r"$\ddagger$", r"$\mathsection$", r"$\mathparagraph$", r"$\|$")

PREAMBLE = r"""% \input this file. It needs, in the preamble:
%   \usepackage{booktabs}
%   \usepackage{graphicx}
%   \usepackage{siunitx}   % version 3, as in TeX Live 2021 and newer
% It is plain ASCII and has its own font sizes. A table that is wider than the text is scaled down to the text's width.
% figures/*.pdf are made to go with it. Letters that are neither western nor Greek are printed as code points, [U+6F22].
\providecommand{\trackablatesmall}{\fontsize{6}{7}\selectfont}
\providecommand{\trackablatefit}[1]{\sbox0{#1}%
  \ifdim\wd0>\textwidth\resizebox{\textwidth}{!}{\usebox0}\else\usebox0\fi}
"""
SETUP = r"""\begin{table*}[t]
\centering\fontsize{8}{9.5}\selectfont\setlength{\tabcolsep}{3pt}
\sisetup{mode=math, reset-text-series=false, text-series-to-math=true, group-digits=none,
  retain-explicit-plus=true, table-align-text-after=false}
"""


def latex(*tables: Table) -> str:
    """Return the tables as plain ASCII, one `table*` per panel with its own notes."""
    return PREAMBLE + "\n".join(text for table in tables for text in _floats(table))


def _floats(table: Table) -> Iterator[str]:
    first = True
    for panel in panels(table, lambda columns: _length(table, columns) <= CHARACTERS):
        for part in _pages(table, panel):
            yield _float(table, part, first)
            first = False


def _length(table: Table, columns: tuple[Column, ...]) -> float:
    names = max((printed_length(escape(row.name)) + 0.6 * len(row.footnotes) for row in table.rows), default=0)
    return min(LONG, names) + sum(slot.length for slot in _slots(Panel(columns, table.rows), {}))


def _pages(table: Table, panel: Panel) -> list[Panel]:
    """Cut the panel into parts that fit on a page with the caption and all of the panel's notes."""
    notes = [table.footnotes[index] for index in used_notes(panel)] + list(table.missing)
    taken = sum(8.2 * (1 + len(note) // 100) for note in notes) + len(table.title + table.caveat) / 5 + 12
    two_lines = any(slot.lower(at) for slot in _slots(panel, {}) for at in range(len(panel.rows)))
    rows = max(4, int((HEIGHT - taken) / (19 if two_lines else 10.5)))
    return [Panel(panel.columns, panel.rows[at : at + rows]) for at in range(0, max(1, len(panel.rows)), rows)]


def _slots(panel: Panel, marks: Marks) -> list[TexColumn]:
    return [TexColumn(c, tuple(row.cells.get(c.key) for row in panel.rows), marks) for c in panel.columns]


def _marks(panel: Panel) -> Marks:
    """Choose daggers for the footnotes at rows' names, then numbers from 1 for the others."""
    used = used_notes(panel)
    at_rows = [index for index in used if any(index in row.footnotes for row in panel.rows)]
    signs = {index: SYMBOLS[at % len(SYMBOLS)] * (at // len(SYMBOLS) + 1) for at, index in enumerate(at_rows)}
    others = [index for index in used if index not in signs]
    return signs | {index: str(at) for at, index in enumerate(others, 1)}


def _float(table: Table, panel: Panel, first: bool) -> str:
    """Print one panel, or a page of it. The first of a table also has the legend and the list of missing runs."""
    marks = _marks(panel)
    caption = escape(table.title) + ("." if first else ", continued.")
    caption += rf" \textbf{{{escape(table.caveat)}}}" if table.caveat else ""
    caption += f" Best {table.subject} bold, second underlined, -- missing." if first else ""
    notes = [f"{superscript((index,), marks)} {escape(table.footnotes[index])}" for index in marks]
    notes += [f"Missing: {escape(text)}." for text in table.missing] if first else []
    size, joined = r"\fontsize{7}{8.2}\selectfont", "\\par\n".join(notes)
    block = f"\\parbox{{\\textwidth}}{{{size}\\raggedright\n{joined}}}\n" if notes else ""
    body = f"\\caption{{{caption}}}\\smallskip\n\\trackablatefit{{{_tabular(table, panel, marks)}}}"
    return f"{SETUP}{body}\n\\par\\smallskip\n{block}\\end{{table*}}\n"


def _tabular(table: Table, panel: Panel, marks: Marks) -> str:
    slots = _slots(panel, marks)
    kinds = "\n  ".join([words_kind(row.name for row in panel.rows), *(slot.kind for slot in slots)])
    lines = [rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}", r"\toprule", *_group_heads(panel.columns)]
    lines += _two_lines([escape(table.corner), *(slot.head for slot in slots)], ["", *(slot.unit for slot in slots)])
    previous = None
    for at, row in enumerate(panel.rows):
        lines.append(r"\midrule" if row.role != previous else r"\addlinespace[1pt]")
        previous = row.role
        name, below = escape(row.name) + superscript(row.footnotes, marks), small("baseline") if row.baseline else ""
        lines += _two_lines([name, *(slot.upper(at) for slot in slots)], [below, *(slot.lower(at) for slot in slots)])
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _group_heads(columns: tuple[Column, ...]) -> list[str]:
    titles, rules, start = [""], "", 2
    for group in groups(columns):
        width = len(group.columns)
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{boxed(escape(group.title), 150, 34)}}}")
        rules += rf"\cmidrule(lr){{{start}-{start + width - 1}}}" if group.title else ""
        start += width
    return [_cells(titles), rules] if rules else []


def _two_lines(upper: list[str], lower: list[str]) -> list[str]:
    """Return a line of figures and, if there is anything to print in it, a small line close below."""
    return [_cells(upper) + "[-1.5pt]", _cells(lower)] if any(lower) else [_cells(upper)]


def _cells(cells: list[str]) -> str:
    # A cell that opens with a bracket would be taken for the optional argument of the \\ before it.
    return " & ".join(f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in cells) + r" \\"
