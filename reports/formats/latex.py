r"""The table as LaTeX: a fragment for \input that needs booktabs and siunitx. Best bold, second underlined, figures aligned
at their decimal points, rows' own notes marked by daggers and all others by numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from trackablate.reports.formats.panels import Panel, groups, panels, used_notes
from trackablate.reports.formats.tex_columns import (
    GAP,
    SIZE,
    WORDS,
    Marks,
    TexSlot,
    boxed,
    marks_width,
    small,
    superscript,
)
from trackablate.reports.formats.tex_text import escape
from trackablate.reports.formats.tex_widths import lines, text_width, widest
from trackablate.reports.table import Column, Table, TableRow

WIDE, NARROW = 480.0, 340.0
"""Points of text width: a two-column article's page, and the narrowest text of a one-column article."""
HEIGHT = 480.0
"""Points of a page for title, rows and notes of a float: an article's 550, less the heads of the columns and the gaps."""
TITLE_SIZE = 10.0
LEGEND = " Best {} bold, second underlined, -- missing."
GROUP = 150.0
"""Points after which a heading above columns is broken into lines."""
NOTE_SIZE, NOTE_LINE = 7.0, 8.2
SYMBOLS = (r"$\dagger$", r"$\ddagger$", r"$\mathsection$", r"$\mathparagraph$", r"$\|$")

PREAMBLE = r"""% \input this file. It needs, in the preamble:
%   \usepackage{booktabs}
%   \usepackage{siunitx}   % version 3, as in TeX Live 2021 and newer
% It is plain ASCII, has its own font sizes, and fits a text width of 4.7 in or more; figures/*.pdf are made to go with it.
% Letters that are neither western nor Greek are printed as their code points, [U+6F22].
\providecommand{\trackablatesmall}{\fontsize{6}{7}\selectfont}
"""
TWO_LAYOUTS = (
    "% The same figures in two layouts: the first for texts narrower than {wide:.0f} pt, a one-column article's;\n"
    "% the second for a two-column article's page.\n"
)
SETUP = (
    "\\begin{table*}[t]\n\\centering\\fontsize{8}{9.5}\\selectfont\\setlength{\\tabcolsep}{3pt}\n"
    "\\sisetup{mode=math, reset-text-series=false, text-series-to-math=true, group-digits=none,\n"
    "  retain-explicit-plus=true, table-align-text-after=false}\n"
)


def latex(*tables: Table) -> str:
    r"""One `table*` per panel with its own notes, cut for a two-column article's page and, where that is too wide for a
    one-column article, once more for such a text; TeX takes the layout that fits. Needs booktabs and siunitx 3.
    """
    narrow, wide = ("\n".join(f for table in tables for f in _floats(table, width)) for width in (NARROW, WIDE))
    if narrow == wide:
        return PREAMBLE + wide
    choice = rf"\ifdim\textwidth<{WIDE:.0f}pt\relax"
    return PREAMBLE + TWO_LAYOUTS.format(wide=WIDE) + f"{choice}\n{narrow}\\else\n{wide}\\fi\n"


def _floats(table: Table, width: float) -> Iterator[str]:
    first = True
    for panel in panels(table, lambda columns: _width(table, columns) <= width):
        for part in _pages(table, panel, width):
            yield _Float(table, part, first, _marks(part)).text
            first = False


def _width(table: Table, columns: tuple[Column, ...]) -> float:
    """The printed width of these columns, in points."""
    slots = _slots(columns, table.rows)
    total = _names_width(table.rows, table.corner)
    for group in groups(columns):
        own = sum(slots[column.key].width + GAP for column in group.columns)
        total += max(own, min(GROUP, text_width(group.title, SIZE)) + GAP)
    return total


def _slots(columns: tuple[Column, ...], rows: tuple[TableRow, ...]) -> dict[str, TexSlot]:
    return {c.key: TexSlot(c, tuple(row.cells.get(c.key) for row in rows)) for c in columns}


def _names_width(rows: tuple[TableRow, ...], corner: str) -> float:
    marks = max((len(row.footnotes) for row in rows), default=0)
    return min(WORDS, max(text_width(corner, SIZE), widest([row.name for row in rows], SIZE))) + marks_width(marks)


def _pages(table: Table, panel: Panel, width: float) -> Iterator[Panel]:
    """The panel in as many parts as fit on a page each."""
    texts = [table.footnotes[index] for index in used_notes(panel)] + list(table.missing)
    left = HEIGHT - sum(lines(text, NOTE_SIZE, width) * NOTE_LINE for text in texts)
    left -= 12 * lines(f"{table.title}, continued. {table.caveat}{LEGEND}", TITLE_SIZE, width)
    slots = _slots(panel.columns, panel.rows).values()
    heights = [
        1 + 9.5 * lines(row.name, SIZE, WORDS) + 8 * (row.baseline or any(slot.lower(at) for slot in slots))
        for at, row in enumerate(panel.rows)
    ]
    start, used = 0, 0.0
    for at, height in enumerate(heights):
        if at > start and used + height > left:
            yield Panel(panel.columns, panel.rows[start:at])
            start, used = at, 0.0
        used += height
    yield Panel(panel.columns, panel.rows[start:])


def _marks(panel: Panel) -> Marks:
    """Daggers for what stands at rows' names, couplings and caveats, then numbers from 1 for the others."""
    used = used_notes(panel)
    at_rows = [index for index in used if any(index in row.footnotes for row in panel.rows)]
    signs = {index: SYMBOLS[at % len(SYMBOLS)] * (at // len(SYMBOLS) + 1) for at, index in enumerate(at_rows)}
    others = [index for index in used if index not in signs]
    return Marks(signs | {index: str(at) for at, index in enumerate(others, 1)})


@dataclass(frozen=True)
class _Float:
    """One panel, or a page of it, as a float with its own notes."""

    table: Table
    panel: Panel
    first: bool
    marks: Marks

    @property
    def text(self) -> str:
        table = self.table
        caveat = rf" \textbf{{{escape(table.caveat)}}}" if table.caveat else ""
        title = escape(table.title) + ("" if self.first else ", continued")
        legend = LEGEND.format(table.subject) if self.first else ""
        caption = f"\\caption{{{title}.{caveat}{legend}}}\\smallskip\n"
        return f"{SETUP}{caption}{self._tabular()}\n\\par\\smallskip\n{self._notes()}\\end{{table*}}\n"

    def _tabular(self) -> str:
        """The row's name, then the panel's columns."""
        slots = list(_slots(self.panel.columns, self.panel.rows).values())
        kinds = "\n  ".join([self._names(), *(slot.alignment(self.marks) for slot in slots)])
        rows = [rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}", r"\toprule", *_group_heads(self.panel.columns)]
        rows += self._heads(slots)
        previous = None
        for at, row in enumerate(self.panel.rows):
            rows.append(r"\midrule" if row.role != previous else r"\addlinespace[1pt]")
            previous = row.role
            name = escape(row.name) + superscript(self.marks.at(row.footnotes))
            upper = [name, *(slot.upper(at, self.marks) for slot in slots)]
            lower = [small("baseline") if row.baseline else "", *(slot.lower(at) for slot in slots)]
            rows += _two_lines(upper, lower)
        return "\n".join([*rows, r"\bottomrule", r"\end{tabular}"])

    def _names(self) -> str:
        """The column type of the rows' names."""
        long = widest([row.name for row in self.panel.rows], SIZE) > WORDS
        width = _names_width(self.panel.rows, self.table.corner)
        return rf">{{\raggedright\arraybackslash}}p{{{width:.0f}pt}}" if long else "l"

    def _heads(self, slots: list[TexSlot]) -> list[str]:
        symbols = [s.head + superscript(self.marks.at(s.column.footnotes)) for s in slots]
        units = [small(escape(f"({s.column.unit})")) if s.column.unit else "" for s in slots]
        braced = [
            [f"{{{t}}}" if t and s.aligned else t for s, t in zip(slots, ts, strict=True)] for ts in (symbols, units)
        ]
        return _two_lines([escape(self.table.corner), *braced[0]], ["", *braced[1]])

    def _notes(self) -> str:
        used = sorted(used_notes(self.panel), key=lambda index: (not self.marks.at((index,)).startswith("$"), index))
        notes = [f"{superscript(self.marks.at((index,)))} {escape(self.table.footnotes[index])}" for index in used]
        notes += [f"Missing: {escape(text)}." for text in self.table.missing] if self.first else []
        joined = "\\par\n".join(notes)
        size = rf"\fontsize{{{NOTE_SIZE:.0f}}}{{{NOTE_LINE}}}\selectfont"
        return f"\\parbox{{\\textwidth}}{{{size}\\raggedright\n{joined}}}\n" if notes else ""


def _group_heads(columns: tuple[Column, ...]) -> list[str]:
    titles, rules, start = [""], [], 2
    for group in groups(columns):
        width = len(group.columns)
        title = boxed(escape(group.title), group.title, GROUP)
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{title}}}")
        rules += [rf"\cmidrule(lr){{{start}-{start + width - 1}}}"] if group.title else []
        start += width
    return [_cells(titles), "".join(rules)] if rules else []


def _two_lines(upper: list[str], lower: list[str]) -> list[str]:
    """A line of figures and, where there is anything to say, a small one close below."""
    return [_cells(upper) + "[-1.5pt]", _cells(lower)] if any(lower) else [_cells(upper)]


def _cells(cells: list[str]) -> str:
    # A cell that opens with a bracket would be taken for the optional argument of the \\ before it.
    return " & ".join(f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in cells) + r" \\"
