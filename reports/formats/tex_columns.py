r"""The columns of a LaTeX table: words, and figures that siunitx aligns at their decimal points.

What siunitx cannot do itself, underline a figure, is done with the paddings that it would use: a column's figures all have
the same number of digits reserved, so a phantom of what one lacks puts it in its place.
"""

import re
from dataclasses import dataclass

from trackablate.reports.formats.panels import figure, interval
from trackablate.reports.formats.tex_text import escape
from trackablate.reports.formats.tex_widths import BOLD, text_width, widest
from trackablate.reports.table import Cell, Column

SIZE, SMALL = 8.0, 6.0
"""Font sizes in points, fixed so that a table is as wide in every document: figures, and intervals below them."""
GAP = 6.0
"""Points between two columns."""
WORDS = 96.0
"""Points after which words are broken into lines."""
HEAD = 72.0
"""Points after which a column's symbol is."""
FIGURE = re.compile(r"([+−]?)(\d+)(?:\.(\d+))?")
BOUNDS = re.compile(r"\[(.*), (.*)\]")


def small(text: str) -> str:
    """Text in the small size, "" for none."""
    return rf"{{\trackablatesmall {text}}}" if text else ""


def superscript(marks: str) -> str:
    """Marks of footnotes, already TeX."""
    return rf"\textsuperscript{{{marks}}}" if marks else ""


def boxed(tex: str, text: str, limit: float) -> str:
    """TeX of a text, in lines of `limit` points where one line is longer than that."""
    if text_width(text, SIZE) <= limit:
        return tex
    return rf"\parbox[t]{{{limit:.0f}pt}}{{\centering {tex}}}"


def marks_width(number: int) -> float:
    """The width in points of so many marks of footnotes."""
    return text_width(",".join("1" * number), SMALL)


class Marks:
    """What stands for a footnote in one printed table."""

    def __init__(self, signs: dict[int, str]) -> None:
        self._signs = signs

    def at(self, footnotes: tuple[int, ...]) -> str:
        """The marks of several footnotes, as printed."""
        return ",".join(self._signs[index] for index in sorted(footnotes, key=list(self._signs).index))


@dataclass(frozen=True)
class TexSlot:
    """One column of a panel with its cells in the rows' order; a cell None is a dash."""

    column: Column
    cells: tuple[Cell | None, ...]

    @property
    def head(self) -> str:
        """Its symbol as TeX: P_norm with the norm below the line. Words break in their column, a figure's head in a box."""
        symbol = self.column.symbol
        tex = escape(symbol)
        if symbol.count("_") == 1:
            tex = re.sub(r"(?<=\w)\\_(\w+)$", r"\\textsubscript{\1}", tex)
        return boxed(tex, symbol, HEAD) if self.column.group else tex

    @property
    def _texts(self) -> list[str]:
        return [figure(cell, self.column) for cell in self.cells]

    @property
    def _figures(self) -> list[tuple[str, str, str]]:
        found = [FIGURE.fullmatch(text) for text in self._texts]
        return [(m[1], m[2], m[3] or "") for m in found if m]

    @property
    def aligned(self) -> bool:
        """Whether it has figures to align."""
        return bool(self._figures)

    @property
    def width(self) -> float:
        """Its width in print, in points, before any gap."""
        if not self.column.group:
            return min(WORDS, widest([self.column.symbol, *self._texts], SIZE)) + marks_width(
                len(self.column.footnotes)
            )
        refs = max((len(cell.footnotes) for cell in self.cells if cell), default=0)
        marks = marks_width(refs)
        figures = min(WORDS, widest(self._texts, SIZE) * BOLD) + marks
        head = min(HEAD, text_width(self.column.symbol, SIZE)) + marks_width(len(self.column.footnotes))
        below = widest([f"({self.column.unit})", *(interval(cell, self.column) for cell in self.cells)], SMALL)
        return max(figures, head, below)

    def alignment(self, marks: Marks) -> str:
        """Its column type in the tabular's preamble."""
        if not self.column.group:
            wide = widest([self.column.symbol, *self._texts], SIZE) > WORDS
            return rf">{{\raggedright\arraybackslash}}p{{{WORDS:.0f}pt}}" if wide else "l"
        if not self.aligned:
            return "c"
        sign, notes = "+" if self._signed else "", superscript(self._widest_marks(marks))
        return f"S[table-format={sign}{self._digits}.{self._decimals}{f'{{{notes}}}' if notes else ''}]"

    def upper(self, at: int, marks: Marks) -> str:
        """What stands in row `at`: figure or words with the marks of its footnotes."""
        cell, text = self.cells[at], self._texts[at]
        notes = marks.at(cell.footnotes) if cell else ""
        mark = cell.mark if cell else None
        match = FIGURE.fullmatch(text)
        if match is None or not self.aligned:
            words = boxed(_marked(escape(text), mark), text, WORDS) if self.column.group else escape(text)
            words += superscript(notes)
            return f"{{{words}}}" if self.aligned else words
        if mark == "second":
            return f"{{{self._padded(match, notes, marks)}}}"
        bold = r"\bfseries " if mark == "best" else ""
        return f"{bold}{text.replace('−', '-')}" + (f"{{{superscript(notes)}}}" if notes else "")

    def lower(self, at: int) -> str:
        """The interval below, its comma in line with those of the other rows."""
        bounds = [BOUNDS.fullmatch(interval(cell, self.column)) for cell in self.cells]
        own = bounds[at]
        if own is None:
            return ""
        lows, highs = ([len(match[side]) for match in bounds if match] for side in (1, 2))
        left, right = max(lows) - len(own[1]), max(highs) - len(own[2])
        printed = _phantom("0" * left) + escape(own[0]) + _phantom("0" * right)
        return f"{{{small(printed)}}}" if self.aligned else small(printed)

    @property
    def _signed(self) -> bool:
        return any(sign for sign, _, _ in self._figures)

    @property
    def _digits(self) -> int:
        return max(len(whole) for _, whole, _ in self._figures)

    @property
    def _decimals(self) -> int:
        return max(len(decimals) for _, _, decimals in self._figures)

    def _widest_marks(self, marks: Marks) -> str:
        return max((marks.at(cell.footnotes) for cell in self.cells if cell), key=len, default="")

    def _padded(self, match: re.Match[str], notes: str, marks: Marks) -> str:
        """An underlined figure between phantoms of what its column reserves."""
        sign = "$-$" if self._signed and not match[1] else ""
        left = _phantom(sign + "0" * (self._digits - len(match[2])))
        own, reserved = superscript(notes), superscript(self._widest_marks(marks))
        right = rf"\rlap{{{own}}}" if own and reserved else ""
        return left + _marked(escape(match[0]), "second") + right + _phantom(reserved)


def _marked(text: str, mark: str | None) -> str:
    return {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(mark or "", text)


def _phantom(text: str) -> str:
    return rf"\hphantom{{{text}}}" if text else ""
