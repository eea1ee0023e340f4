"""Numbers from text: what is written is read, bad lines are named, and nothing on earth makes the parser raise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackablate.datasets.reading import numbers
from trackablate.datasets.reading.numbers import Rows, parse_row, parse_rows

FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)
TABLES = st.lists(st.tuples(*[FINITE] * 4), max_size=8)
SEPARATORS = [",", "\t", " ", ", ", " , ", ",\t", "   "]


def _problems(rows: Rows) -> list[tuple[int, str]]:
    return [(bad.line, bad.problem) for bad in rows.bad]


@given(TABLES, st.sampled_from(SEPARATORS), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\n", " \n\n"]))
def test_what_is_written_is_read_in_each_separator(
    table: list[tuple[float, ...]], separator: str, newline: str, end: str
) -> None:
    text = newline.join(separator.join(repr(v) for v in row) for row in table) + end
    rows = parse_rows(text.encode(), 4)
    assert rows.bad == ()
    assert rows.values.shape == (len(table), 4)
    assert rows.values.tolist() == [[float(v) for v in row] for row in table]


SPELLINGS = st.sampled_from(
    [
        "1",
        "-0",
        "+2",
        "007",
        "1.",
        ".5",
        "1e3",
        "1E+3",
        "-1.5e-2",
        "1e999",
        "nan",
        "inf",
        "x",
        "",
        "1_0",
        "0x1",
        "--1",
        "1 2",
    ]
)


@given(st.lists(st.lists(SPELLINGS, min_size=1, max_size=3), min_size=1, max_size=5))
def test_it_agrees_with_float_line_by_line(table: list[list[str]]) -> None:
    rows = parse_rows("\n".join(",".join(row) for row in [["1", "1"], *table, ["1", "1"]]).encode(), 2)
    assert len(rows.values) == len(table) + 2
    bad = {each.line for each in rows.bad}
    for line, row in enumerate(table, start=2):
        plain = len(row) == 2 and all(v.strip() and not set(v) & set("_x ") for v in row)
        values = [float(v) if v not in ("--1",) else math.nan for v in row] if plain else []
        wholly_nan = plain and row == ["nan", "nan"]
        good = wholly_nan or (plain and all(math.isfinite(v) for v in values))
        assert (line not in bad) == good
        if good:
            np.testing.assert_array_equal(rows.values[line - 1], values)
        else:
            assert np.isnan(rows.values[line - 1]).all()


@given(st.binary(max_size=200), st.integers(1, 5))
def test_no_bytes_make_it_raise(content: bytes, columns: int) -> None:
    rows = parse_rows(content, columns)
    assert rows.values.shape[1] == columns
    bad = {each.line - 1 for each in rows.bad}
    assert bad <= set(range(len(rows.values)))
    for index, row in enumerate(rows.values):
        assert np.isfinite(row).all() or np.isnan(row).all()
        assert index not in bad or np.isnan(row).all()
    assert all(each.text.isprintable() and len(each.text) <= 60 for each in rows.bad)


@given(st.text("0123456789.-+eE,\t \n\r", max_size=60), st.integers(1, 4))
def test_the_fast_way_and_the_exact_way_say_the_same(text: str, columns: int) -> None:
    content = text.encode().rstrip()
    fast = numbers._fast(content, columns) if content else None
    if fast is not None:
        exact = numbers._line_by_line(content, columns)
        assert exact.bad == ()
        assert exact.values.tolist() == fast.tolist()


def test_the_fast_way_is_taken_for_usual_files() -> None:
    for row in (b"1,2,3,4", b"1\t2\t3\t4", b"1 2 3 4", b"1, 2, 3, 4", b"-1.5,2e3,3.25,4"):
        for newline in (b"\n", b"\r\n"):
            assert numbers._fast(newline.join([row, row]), 4) is not None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3", "4 numbers wanted, this line has 3"),
        ("1,2,3,4,5", "4 numbers wanted, this line has 5"),
        ("1,2,3,4,", "4 numbers wanted, this line has 5"),
        ("", "4 numbers wanted, this line has 0"),
        ("1,,3,4", "4 finite numbers wanted"),
        ("1,2,x,4", "4 finite numbers wanted"),
        ("1,2,nan,4", "4 finite numbers wanted"),
        ("1,2,inf,4", "4 finite numbers wanted"),
        ("1,2,1e999,4", "4 finite numbers wanted"),
        ("1_0,2,3,4", "4 finite numbers wanted"),
        ("0x1,2,3,4", "4 finite numbers wanted"),
        ("\u0661,2,3,4", "4 finite numbers wanted"),
        ("1;2;3;4", "this line has 1"),
    ],
)
def test_a_line_that_is_no_row_is_named_and_nan(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_row(line, 4)
    rows = parse_rows(f"1,2,3,4\n{line}\n5,6,7,8\n".encode(), 4)
    assert [bad.line for bad in rows.bad] == [2]
    assert said in rows.bad[0].problem
    assert np.isnan(rows.values[1]).all()
    assert rows.values[[0, 2]].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_row_wholly_of_nan_is_one() -> None:
    rows = parse_rows(b"1,2,3,4\nNaN,nan,NAN,-nan\n", 4)
    assert rows.bad == ()
    assert np.isnan(rows.values[1]).all()


def test_no_lines_and_blank_ends() -> None:
    assert parse_rows(b"", 4).values.shape == (0, 4)
    assert parse_rows(b" \r\n\n", 4).values.shape == (0, 4)
    assert parse_rows(b"\xef\xbb\xbf1,2\r\n3,4\r\n\r\n\n", 2).values.tolist() == [[1, 2], [3, 4]]
    assert _problems(parse_rows(b"1,2\n\n3,4", 2)) == [(2, "2 numbers wanted, this line has 0")]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("1,2,3\n1\t2\t3\n", 2, "separated by tabs, those of the first line by commas"),
        ("1 2 3\n1,2,3\n", 2, "separated by commas, those of the first line by spaces"),
        ("1\t2\t3\n1 2 3\n", 2, "separated by spaces, those of the first line by tabs"),
        ("1,2 3\n", 1, "separated by more than one thing"),
        ("1\t2 3\n", 1, "separated by more than one thing"),
        ("1,2 3\n1,2,3\n4,5,6\n", 1, "separated by more than one thing"),
    ],
)
def test_a_file_keeps_to_one_separator(text: str, line: int, said: str) -> None:
    rows = parse_rows(text.encode(), 3)
    assert [bad.line for bad in rows.bad] == [line]
    assert said in rows.bad[0].problem
    assert np.isnan(rows.values[line - 1]).all()


@pytest.mark.parametrize("first", ["", "1", "x y w h", "[1,2,3]", "1 2,3", "frame"])
def test_a_bad_first_line_condemns_no_other(first: str) -> None:
    rows = parse_rows(f"{first}\n1,2,3\n4,5,6\n7 8 9".encode(), 3)
    assert [bad.line for bad in rows.bad] == [1, 4]
    assert "separated by spaces, those of line 2 by commas" in rows.bad[1].problem
    assert rows.values[1:3].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_wide_encodings_are_bad_lines(encoding: str) -> None:
    rows = parse_rows("1,2\n3,4\n".encode(encoding), 2)
    assert rows.bad
    assert rows.bad[0].line == 1


def test_one_column() -> None:
    assert parse_rows(b"0\n1\n0\n", 1).values.tolist() == [[0], [1], [0]]


@pytest.mark.parametrize("text", [b"0\n1\n0\n", b"8\n0", b"7"])
def test_a_column_of_digits(text: bytes) -> None:
    found = parse_rows(text, 1)
    assert found.values[:, 0].tolist() == [float(line) for line in text.split()]
    assert not found.bad


@pytest.mark.parametrize(("text", "line"), [(b"0\n/\n1", 2), (b"0\n:\n1", 2), (b"0,1,0", 1), (b"0\n1 1", 2)])
def test_what_is_no_column_of_digits(text: bytes, line: int) -> None:
    assert [bad.line for bad in parse_rows(text, 1).bad] == [line]
