"""Numbers from text: annotation and result files, one row per frame.

Correct files are parsed fast; incorrect ones are parsed line by line, to say exactly what is wrong. Values are the doubles
nearest to the text. A file separates its numbers by commas, tabs or spaces (spaces beside a comma do not matter), and by
only one of them: a change of separator means that two files were joined.
"""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from trackablate.datasets.errors import shown

_SEPARATOR = re.compile(r"[ \t]*,[ \t]*|[ \t]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NAN = re.compile(r"[+-]?nan", re.ASCII | re.IGNORECASE)
_PLAIN = b"0123456789.-,\t\n\r eE+"
_LONGEST_SHOWN = 60
_LONGEST_NUMBER = 500
"""Characters of a number. The time to parse one grows with their square."""
_MIXED = "more than one thing"


class BadLine(NamedTuple):
    """A line that is not a row: its number from 1, what is wrong, and its text, shortened and safe for a terminal."""

    line: int
    problem: str
    text: str


class Rows(NamedTuple):
    """The rows of a text file.

    Attributes:
        values: (N, columns) float64, a row for each line up to the last that is not blank. Bad rows are NaN. So are rows
            that consist of NaN only, which are not bad.
    """

    values: NDArray[np.float64]
    bad: tuple[BadLine, ...] = ()


def parse_rows(content: bytes, columns: int) -> Rows:
    """Parse the rows of a text file; an empty file has none."""
    text = content.removeprefix(BOM_UTF8).rstrip()
    if not text:
        return Rows(np.empty((0, columns)))
    fast = _fast(text, columns)
    return Rows(fast) if fast is not None else _line_by_line(text, columns)


def _fast(text: bytes, columns: int) -> NDArray[np.float64] | None:
    """All rows at once, parsed as one JSON array; None for a file that needs `_line_by_line`."""
    if columns == 1 and (flags := _digits(text)) is not None:
        return flags
    if text.translate(None, _PLAIN) or (b"\t" in text and (b"," in text or b" " in text)):
        return None
    plain = text.replace(b"\r\n", b"\n").replace(b"\t", b",")
    if b"\r" in plain:  # a line end in Python, white space in JSON
        return None
    if b" " in plain:
        plain = plain.replace(b", ", b",") if b"," in plain else plain.replace(b" ", b",")
    codes = np.frombuffer(plain, np.uint8)
    separators = np.flatnonzero((codes == ord(",")) | (codes == ord("\n")))
    ends = np.flatnonzero(codes[separators] == ord("\n"))
    lines = len(ends) + 1
    if np.diff(separators, prepend=-1, append=len(codes)).max() > _LONGEST_NUMBER:
        return None
    if len(separators) + 1 != lines * columns or (ends != np.arange(1, lines) * columns - 1).any():
        return None
    try:
        numbers = from_json(b"[" + plain.replace(b"\n", b",") + b"]", allow_inf_nan=False)
        values = np.fromiter(numbers, np.float64, len(numbers))
    except (ValueError, OverflowError):
        return None
    return values.reshape(-1, columns) if np.isfinite(values.sum()) else None


def _digits(text: bytes) -> NDArray[np.float64] | None:
    """One digit in each line, as flags are written; None for anything else."""
    codes = np.frombuffer(text, np.uint8)
    digits = codes[::2] - np.uint8(ord("0"))  # codes below "0" wrap round to values above 9
    if len(codes) % 2 == 0 or (codes[1::2] != ord("\n")).any() or (digits > 9).any():
        return None
    return digits.astype(np.float64)[:, None]


def _line_by_line(text: bytes, columns: int) -> Rows:
    # Other characters than ASCII become a mark that is not a number.
    lines = text.decode("ascii", errors="replace").splitlines()
    values = np.full((len(lines), columns), np.nan)
    bad, usual, its_line = [], "", ""  # the separator of the first line that is a row
    wide = "UTF-16 text, save it as UTF-8; " if text.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else ""
    for index, line in enumerate(lines):
        try:
            row = parse_row(line, columns)
            separator = _separator(line)
            if columns > 1 and separator == _MIXED:
                raise ValueError(f"numbers separated by {separator}")
            if not usual:
                usual, its_line = separator, f"line {index + 1}" if index else "the first line"
            if columns > 1 and separator != usual:
                raise ValueError(f"numbers separated by {separator}, those of {its_line} by {usual}")
            values[index] = row
        except ValueError as error:
            bad.append(BadLine(index + 1, f"{wide}{error}", shown(line.strip())[:_LONGEST_SHOWN]))
    return Rows(values, tuple(bad))


def _separator(line: str) -> str:
    """Return the name of what separates the numbers of a line."""
    found = _SEPARATOR.findall(line.strip())
    kinds = {"commas" if "," in s else "tabs" if "\t" in s else "spaces" for s in found}
    return kinds.pop() if len(kinds) == 1 else _MIXED


def parse_row(line: str, columns: int) -> list[float]:
    """Return the numbers of one line, which may all be NaN.

    Raises ValueError for another count of fields, a field that is not a number, infinity, or NaN in some fields only.
    """
    fields = _SEPARATOR.split(line.strip())
    if len(fields) != columns:
        raise ValueError(f"{columns} numbers wanted, this line has {len(fields) if line.strip() else 0}")
    if all(_NAN.fullmatch(field) for field in fields):
        return [np.nan] * columns
    short = [field if len(field) <= _LONGEST_NUMBER else "" for field in fields]
    values = [float(field) if _NUMBER.fullmatch(field) else np.nan for field in short]
    if not np.isfinite(values).all():
        raise ValueError(f"{columns} finite numbers wanted")
    return values
