"""How wide a text is in print, before TeX sees it: what a table is cut by. The widths are those of Computer Modern, rounded
up; the other fonts that papers are set in are narrower.
"""

import unicodedata
from collections.abc import Sequence

EMS = {
    "ijl.,:;'!|[]": 0.278,
    "frst-()/` ": 0.394,
    "aceogz0123456789_–$?*IJ": 0.505,
    "bdhknpquvxyS": 0.556,
    "EFLPw": 0.7,
    "ABCGHKNORTUVXYZDQ&#+−=<>~": 0.778,
    "mM%@Δ": 0.92,
    "W": 1.03,
}
WIDTHS = {character: width for characters, width in EMS.items() for character in characters}
OPTICAL = ((6.5, 1.222), (7.5, 1.139), (8.5, 1.063))
"""Small sizes of the font are drawn wider: up to that size in points, by that factor."""

BOLD = 1.16
CODE_POINT = 4.5
"""Ems of a character that is printed as its code point."""


def text_width(text: str, size: float) -> float:
    """The width in points of a text set in one line at a font size in points."""
    optical = next((factor for up_to, factor in OPTICAL if size <= up_to), 1.0)
    return size * optical * sum(_ems(character) for character in text)


def widest(texts: Sequence[str], size: float) -> float:
    """The width in points of the widest of the texts, 0 where there is none."""
    return max((text_width(text, size) for text in texts), default=0.0)


def lines(text: str, size: float, width: float) -> int:
    """How many lines a text takes in a box of that width in points."""
    return max(1, -int(-text_width(text, size) * 1.05 // width))


def _ems(character: str) -> float:
    base = unicodedata.normalize("NFD", character)[0]
    return WIDTHS.get(base, 0.8 if base.isascii() or base in "αβγδελμσ±×→≤≥" else CODE_POINT)
