r"""Tables as LaTeX, fragments for \input that need booktabs and graphicx.

`paper_table` is what a paper prints of a study: one table that fits a page, with the first sentences of its footnotes.
`all_tables` has everything, for a supplement.
The best figure is bold, the second underlined, and a difference that is told from chance has a star. The figures of a column
have the same decimals and are set flush right, so their decimal points stand below each other.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from textwrap import wrap

from trackablate.reports.formats.panels import (
    Panel,
    beginning,
    figure,
    groups,
    interval,
    mark,
    panel_of,
    panels,
    references,
)
from trackablate.reports.formats.tex_text import escape
from trackablate.reports.results import Result, primary_metric
from trackablate.reports.table import Cell, Column, Table
from trackablate.reports.tables.accuracy import PART, metric_key
from trackablate.reports.tables.block import Footnotes

COLUMNS, ROWS = 8, 18
"""Most columns and rows of one table of the full set."""
MOST_BOUNDS = 30
"""Rows up to which the paper's table prints intervals, each in a line of its own."""
LONG = 22
"""Characters beyond which words break into lines, so that one long name does not widen the table."""
COSTS = (("train_device",), ("fps",), ("paper_params", "params"), ("paper_macs", "macs"))
"""Costs that a paper prints: of each, the first that the table has."""
NOTED = ("factor", "train_device", "fps", "published")
"""Columns whose footnotes are kept in a paper. The caption says in short what the others mean."""

PREAMBLE = r"""% \input this file. It needs, in the preamble:
%   \usepackage{booktabs}
%   \usepackage{graphicx}
% It is plain ASCII and has its own font sizes. A table that is too large for the page is scaled down.
% figures/*.pdf are made to go with it. Letters that are neither western nor Greek are printed as code points, [U+6F22].
\providecommand{\trackablatesmall}{\fontsize{6}{7}\selectfont}
\providecommand{\trackablatefit}[3]{% caption, table, notes: the table gets what the words leave of the page
  \sbox2{\parbox[t]{\textwidth}{#1}}\sbox0{#2}\sbox4{\parbox[t]{\textwidth}{#3}}%
  \dimen0=\dimexpr.95\textheight-\ht2-\dp2-\ht4-\dp4\relax
  \ifdim\dimen0<.25\textheight\dimen0=.25\textheight\fi
  \ifdim\wd0>\textwidth\sbox0{\resizebox{\textwidth}{!}{\usebox0}}\fi
  \usebox2\par\smallskip
  \ifdim\dimexpr\ht0+\dp0>\dimen0\resizebox*{!}{\dimen0}{\usebox0}\else\usebox0\fi\par\smallskip\usebox4}
"""
MARKED = {"best": r"\textbf{%s}", "second": r"\underline{%s}", None: "%s"}


def paper_table(result: Result, table: Table) -> str:
    """Return one float with a label and one caption: primary metrics, differences, main costs, published figures.

    Of raw results it has every metric of the main dialect.
    """
    shown = _for_paper(result, table)
    if len(shown.rows) > MOST_BOUNDS:
        without = {row.name: {k: replace(c, low=None) for k, c in row.cells.items()} for row in shown.rows}
        shown = replace(shown, rows=tuple(replace(row, cells=without[row.name]) for row in shown.rows))
    names = [facts.name for facts in result.protocols]
    name = f"{result.study.name}-{result.profile_name}" if result.study else names[0]
    if result.study and result.profile and sorted(names) != sorted(result.profile.protocols or names):
        name = "-".join((name, *names))
    label = rf"\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', name)}}}"
    panel = panel_of(shown, shown.columns)
    partial = [
        PART.format(facts.coverage, facts.title) for facts in result.protocols if result.study and facts.coverage
    ]
    words = escape(" ".join((*partial, *_meanings(shown))))
    return PREAMBLE + _float(shown, panel, f"{_caption(shown)} {words}", label, _notes(shown))


def all_tables(tables: list[Table]) -> str:
    """Return every table whole, cut into floats of a few columns and rows, and after each its footnotes."""
    parts = [PREAMBLE]
    for table in tables:
        for at, panel in enumerate(_pages(table)):
            parts.append(_float(table, panel, f"{escape(table.title)}, continued." if at else _caption(table)))
        notes = _notes(table)
        parts.append(
            f"{{\\raggedright\\noindent Notes to {escape(table.title)}.\\par\\noindent\n{notes}}}\n" if notes else ""
        )
    return "\n".join(parts)


def _caption(table: Table) -> str:
    caveat = rf" \textbf{{{escape(table.caveat)}}}" if table.caveat else ""
    return f"{escape(table.title)}.{caveat}"


def _notes(table: Table) -> str:
    """Return the footnotes and what is missing as one small paragraph, "" for none."""
    texts = [rf"\textsuperscript{{{mark(index)}}}\,{escape(text)}" for index, text in enumerate(table.footnotes)]
    texts += [rf"Missing: {escape('; '.join(table.missing))}."] if table.missing else []
    joined = "\n".join(texts)
    return f"{{\\fontsize{{7}}{{8.2}}\\selectfont\\raggedright\n{joined}\\par}}" if texts else ""


def _pages(table: Table) -> Iterator[Panel]:
    for panel in panels(table, COLUMNS):
        for at in range(0, max(1, len(panel.rows)), ROWS):
            yield Panel(panel.columns, panel.rows[at : at + ROWS])


def _for_paper(result: Result, table: Table) -> Table:
    """Return the columns for a paper, with the footnotes that its readers must know.

    Of an accuracy those of its figures are kept: not of a missing one, since the missing runs are listed, and not of a
    difference, which has its star.
    """
    notes = Footnotes()

    def kept(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(notes.add(table.footnotes[index]) for index in indices)

    columns = [
        replace(column, footnotes=kept(column.footnotes) if column.key.startswith(NOTED) else ())
        for column in _columns(result, table)
    ]
    rows = []
    for row in table.rows:
        at_name, cells = kept(row.footnotes), {}
        for column in (c for c in columns if c.key in row.cells):
            cell = row.cells[column.key]
            said = column.key.startswith(NOTED) or (column.panel == "accuracy" and not column.signed)
            missing = cell.value is None and cell.text is None
            cells[column.key] = replace(cell, footnotes=kept(cell.footnotes) if said and not missing else ())
        rows.append(replace(row, footnotes=at_name, cells=cells))
    return replace(table, columns=tuple(columns), rows=tuple(rows), footnotes=tuple(map(beginning, notes.texts)))


def _columns(result: Result, table: Table) -> list[Column]:
    if not result.study:
        return list(table.columns)
    primary = [metric_key(facts, primary_metric(result, facts)) for facts in result.protocols]
    has = {column.key for column in table.columns}
    wanted = {key for metric in primary for key in (metric, f"{metric}:delta")}
    wanted |= {next((key for key in keys if key in has), "") for keys in COSTS}
    printed = [c for c in table.columns if c.key.startswith("published_") and ":" in c.key]
    wanted |= {column.key for column in {c.group: c for c in reversed(printed)}.values()}
    return [column for column in table.columns if not column.group or column.key in wanted]


def _meanings(table: Table) -> Iterator[str]:
    """Yield in short what the columns and the marks of a paper's table mean."""
    for column in (c for c in table.columns if c.panel == "accuracy" and c.note):
        yield f"{column.symbol}: {column.note}." if column.signed else f"{column.note}."
    cells = [row.cells[c.key] for row in table.rows for c in table.columns if c.key in row.cells and c.key != "fps"]
    if counts := sorted({cell.n for cell in cells if cell.n and cell.low is not None}):
        yield f"Brackets: 95 % interval over {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} sequences."
    if any(column.signed for column in table.columns):
        yield "Star: told from chance among all differences of the study (Holm, p below 0.05)."
    yield f"Best {table.subject} bold, second underlined, – missing."


def _float(table: Table, panel: Panel, caption: str, label: str = "", notes: str = "") -> str:
    return rf"""\begin{{table*}}[tp]
\centering\fontsize{{8}}{{9.5}}\selectfont\setlength{{\tabcolsep}}{{2pt}}
\trackablatefit{{\caption[{{{escape(table.title)}}}]{{{caption}}}{label}}}{{{_tabular(table, panel)}}}{{{notes}}}
\end{{table*}}
"""


def _tabular(table: Table, panel: Panel) -> str:
    columns = panel.columns
    kinds = "l" + "".join("r" if c.group else "l" for c in columns)
    lines = [rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}", r"\toprule", *_group_heads(columns)]
    units = [_small(f"({c.unit})" if c.unit else "") for c in columns]
    lines += _two_lines([escape(table.corner), *(_head(c) for c in columns)], ["", *units])
    widest = [_widest(c, panel) for c in columns]
    previous = None
    for row in panel.rows:
        lines.append(r"\midrule" if row.role != previous else r"\addlinespace[1pt]")
        previous = row.role
        cells = [_cell(row.cells.get(c.key), c, w) for c, w in zip(columns, widest, strict=True)]
        below = [_small(interval(row.cells.get(c.key), c)) for c in columns]
        name = _stacked(row.name) + _marks(row.footnotes)
        lines += _two_lines([name, *cells], [_small("baseline" if row.baseline else ""), *below])
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _group_heads(columns: tuple[Column, ...]) -> list[str]:
    titles, rules, start = [""], "", 2
    for group in groups(columns):
        width = len(group.columns)
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{_stacked(group.title, 9 * width, 'c')}}}")
        rules += rf"\cmidrule(lr){{{start}-{start + width - 1}}}" if group.title else ""
        start += width
    return [_line(titles), rules] if rules else []


def _head(column: Column) -> str:
    """Return the column's symbol with its footnotes, over its figures; P_norm has the norm below the line."""
    tex = _stacked(column.symbol, 10, "r") if column.group else _stacked(column.symbol)
    if column.symbol.count("_") == 1:
        tex = re.sub(r"(?<=\w)\\_(\w+)$", r"\\textsubscript{\1}", tex)
    tex += _marks(column.footnotes)
    return rf"\multicolumn{{1}}{{r}}{{{tex}}}" if column.group else tex


def _cell(cell: Cell | None, column: Column, widest: str) -> str:
    """Return a figure. Its marks hang into the room of the column's widest, which keeps the decimal points in line."""
    text, signs = figure(cell, column), _signs(cell, column)
    tex = MARKED[cell.mark if cell else None] % _stacked(text, align="r" if column.group else "l")
    if signs == widest or not text:
        return tex + signs
    return tex + (rf"\rlap{{{signs}}}" if signs else "") + rf"\hphantom{{{widest}}}"


def _signs(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return ""
    return (r"\textsuperscript{*}" if column.signed and cell.resolved else "") + _marks(cell.footnotes)


def _widest(column: Column, panel: Panel) -> str:
    return max((_signs(row.cells.get(column.key), column) for row in panel.rows), key=len, default="")


def _marks(footnotes: tuple[int, ...]) -> str:
    return rf"\,\textsuperscript{{{references(footnotes)}}}" if footnotes else ""


def _stacked(text: str, most: int = LONG, align: str = "l") -> str:
    """Return text in lines of `most` characters, or of its longest word up to `LONG` characters."""
    longest = max(map(len, text.split()), default=0)
    lines = wrap(text, max(most, min(LONG, longest)))
    if len(lines) < 2:
        return escape(text)
    joined = r" \\ ".join(f"{{}}{escape(line)}" for line in lines)
    return rf"\begin{{tabular}}[t]{{@{{}}{align}@{{}}}}{joined}\end{{tabular}}"


def _small(text: str) -> str:
    return rf"{{\trackablatesmall {escape(text)}}}" if text else ""


def _two_lines(upper: list[str], lower: list[str]) -> list[str]:
    """Return a line of figures and, if there is anything to print in it, a small line close below."""
    return [_line(upper) + "[-1.5pt]", _line(lower)] if any(lower) else [_line(upper)]


def _line(cells: list[str]) -> str:
    # A cell that opens with a bracket would be taken for the optional argument of the \\ before it.
    return " & ".join(f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in cells) + r" \\"
