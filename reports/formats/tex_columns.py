"""The columns of a LaTeX table: words, and figures that siunitx aligns at their decimal points.

siunitx cannot underline a figure. An underlined figure is therefore set between phantoms of the digits, the sign, and the
footnote marks that its column reserves, which puts it in its place.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from trackablate.reports.formats.panels import figure, interval
from trackablate.reports.formats.tex_text import escape, printed_length
from trackablate.reports.table import Cell, Column

LONG = 22
"""Characters from which words break into lines of 96 pt, so that one long name does not widen the table."""
FIGURE = re.compile(r"([+−]?)(\d+)(?:\.(\d+))?")
MARKED = {"best": r"\textbf{%s}", "second": r"\underline{%s}", None: "%s"}
Marks = dict[int, str]
"""The printed mark of each footnote, by its index in the table, in the order of printing."""


def small(text: str) -> str:
    """Return the text in the small size, or "" for no text."""
    return rf"{{\trackablatesmall {text}}}" if text else ""


def superscript(footnotes: tuple[int, ...], marks: Marks) -> str:
    """Return the marks of these footnotes as a superscript, or "" for none."""
    found = ",".join(mark for index, mark in marks.items() if index in footnotes)
    return rf"\textsuperscript{{{found}}}" if found else ""


def boxed(tex: str, points: int = 96, longest: int = LONG) -> str:
    """Return TeX in centred lines of `points` if it prints more than `longest` characters."""
    return rf"\parbox[t]{{{points}pt}}{{\centering {tex}}}" if printed_length(tex) > longest else tex


def words_kind(texts: Iterable[str]) -> str:
    """Return the column type of words: lines of 96 pt if one of the texts is long."""
    return r">{\raggedright\arraybackslash}p{96pt}" if any(printed_length(escape(t)) > LONG for t in texts) else "l"


@dataclass(frozen=True)
class TexColumn:
    """One column of a panel as TeX. `cells` are in the order of the rows; None is printed as a dash."""

    column: Column
    cells: tuple[Cell | None, ...]
    marks: Marks

    @property
    def length(self) -> float:
        """Estimate the printed width with the gap beside it, in characters of 8 pt."""
        lengths = [printed_length(escape(text)) for text in [self.column.symbol, *self._texts]]
        intervals = [0.85 * len(interval(cell, self.column)) for cell in self.cells]
        marks = max(len(carrier.footnotes) for carrier in (self.column, *self.cells) if carrier)
        return 1.5 + max([min(LONG, max(lengths)) + 0.6 * marks, *intervals])

    @property
    def kind(self) -> str:
        """Return the column type for the tabular's preamble."""
        if not self.column.group:
            return words_kind([self.column.symbol, *self._texts])
        if not self._aligned:
            return "c"
        sign, digits, decimals = (max(len(number[at] or "") for number in self._numbers) for at in (1, 2, 3))
        reserved = f"{{{self._widest_marks}}}" if self._widest_marks else ""
        return f"S[table-format={'+' * sign}{digits}.{decimals}{reserved}]"

    @property
    def head(self) -> str:
        """Return the column's symbol with its footnotes; P_norm has the norm below the line."""
        tex = escape(self.column.symbol)
        if self.column.symbol.count("_") == 1:
            tex = re.sub(r"(?<=\w)\\_(\w+)$", r"\\textsubscript{\1}", tex)
        return self._guarded(
            (boxed(tex) if self.column.group else tex) + superscript(self.column.footnotes, self.marks)
        )

    @property
    def unit(self) -> str:
        """Return the unit in brackets, or "" for none."""
        return self._guarded(small(escape(f"({self.column.unit})") if self.column.unit else ""))

    def upper(self, at: int) -> str:
        """Return the figure or the words in row `at`, with its footnotes."""
        cell, text = self.cells[at] or Cell(), self._texts[at]
        notes = superscript(cell.footnotes, self.marks)
        number = FIGURE.fullmatch(text) if self._aligned else None
        if number is None:
            words = MARKED[cell.mark] % escape(text)
            return self._guarded((boxed(words) if self.column.group else words) + notes)
        if cell.mark == "second":
            return self._guarded(self._underlined(number, notes))
        bold = r"\bfseries " if cell.mark == "best" else ""
        return f"{bold}{text.replace('−', '-')}" + (f"{{{notes}}}" if notes else "")

    def lower(self, at: int) -> str:
        """Return the interval to print below row `at`, or "" for none."""
        return self._guarded(small(escape(interval(self.cells[at], self.column))))

    @property
    def _texts(self) -> list[str]:
        return [figure(cell, self.column) for cell in self.cells]

    @property
    def _numbers(self) -> list[re.Match[str]]:
        return [number for text in self._texts if (number := FIGURE.fullmatch(text))]

    @property
    def _aligned(self) -> bool:
        return bool(self.column.group and self._numbers)

    @property
    def _widest_marks(self) -> str:
        return max((superscript(cell.footnotes, self.marks) for cell in self.cells if cell), key=len, default="")

    def _guarded(self, tex: str) -> str:
        """Braces keep siunitx from reading words as a figure."""
        return f"{{{tex}}}" if tex and self._aligned else tex

    def _underlined(self, number: re.Match[str], notes: str) -> str:
        signed, digits = (max(len(other[at]) for other in self._numbers) for at in (1, 2))
        left = ("$-$" if signed and not number[1] else "") + "0" * (digits - len(number[2]))
        right = (rf"\rlap{{{notes}}}" if notes else "") + _phantom(self._widest_marks)
        return _phantom(left) + MARKED["second"] % escape(number[0]) + right


def _phantom(tex: str) -> str:
    return rf"\hphantom{{{tex}}}" if tex else ""
