"""Broken result files: each is reported by file and line, or fine and read; nothing else is ever raised."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fault_kinds import kind_of
from trackablate.datasets.errors import DataError
from trackablate.harness.scoring.result_files import LARGEST, open_results

FRAMES = 3
GOOD = b"1,2,3,4\n5,6,7,8\n9,10,11,12\n"
FINE = {
    "commas": GOOD,
    "tabs": GOOD.replace(b",", b"\t"),
    "spaces": GOOD.replace(b",", b" "),
    "commas and blanks": GOOD.replace(b",", b", "),
    "Windows lines": GOOD.replace(b"\n", b"\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "no last newline": GOOD.rstrip(),
    "blank lines at the end": GOOD + b"\n \n\n",
    "exponents": b"1e0,2E0,3e+00,40e-1\n5,6,7,8\n9,10,11,12\n",
    "signs and bare points": b"+1,2.,3,4\n5,6,.7e1,8\n9,10,11,12\n",
    "blanks around rows": b" 1,2,3,4 \n5,6,7,8\t\n9,10,11,12\n",
    "a side of nothing": b"1,2,0,4\n5,6,7,0\n9,10,11,12\n",
    "off the image": b"-1,-2000,3,4\n5,6,7,8\n9,10,11,12\n",
}
BROKEN: dict[str, tuple[bytes, dict[str, int]]] = {
    "empty": (b"", {"empty": 0}),
    "blank": (b" \n\t\n", {"empty": 0}),
    "only a byte order mark": (b"\xef\xbb\xbf", {"empty": 0}),
    "short": (b"1,2,3,4\n5,6,7,8\n", {"short": 2}),
    "long": (GOOD + b"1,2,3,4\n1,2,3,4\n", {"long": 4}),
    "three numbers": (b"1,2,3,4\n5,6,7\n9,10,11,12\n", {"not numbers": 2}),
    "five numbers": (b"1,2,3,4\n5,6,7,8,9\n9,10,11,12\n", {"not numbers": 2}),
    "a polygon": (b"1,2,3,4,5,6,7,8\n" * 3, {"not numbers": 1}),
    "a line number first": (b"1,1,2,3,4\n2,5,6,7,8\n3,9,10,11,12\n", {"not numbers": 1}),
    "words": (b"1,2,3,4\n5,6,seven,8\n9,10,11,12\n", {"not numbers": 2}),
    "a header": (b"x,y,w,h\n" + GOOD, {"not numbers": 1}),
    "a comment": (b"1,2,3,4\n# lost\n9,10,11,12\n", {"not numbers": 2}),
    "a gap": (b"1,2,3,4\n\n9,10,11,12\n", {"not numbers": 2}),
    "nan": (b"1,2,3,4\nnan,nan,nan,nan\n9,10,11,12\n", {"nan": 2}),
    "NaN twice": (b"NaN,NaN,NaN,NaN\n5,6,7,8\nNaN\tNaN\tNaN\tNaN\n", {"nan": 1, "not numbers": 3}),
    "half a nan": (b"1,2,3,4\n5,6,nan,8\n9,10,11,12\n", {"not numbers": 2}),
    "infinity": (b"1,2,3,4\n5,6,inf,8\n9,10,11,12\n", {"not numbers": 2}),
    "overflow": (b"1,2,3,4\n5,6,1e999,8\n9,10,11,12\n", {"not numbers": 2}),
    "huge": (b"1,2,3,4\n5,6,1e300,8\n9,10,11,12\n", {"huge": 2}),
    "negative width": (b"1,2,3,4\n5,6,7,8\n9,10,-11,12\n", {"negative": 3}),
    "negative height": (b"1,2,3,-4\n5,6,7,8\n9,10,11,-12\n", {"negative": 1}),
    "complex": (b"1,2,3,4\n5,6,7,8+2i\n9,10,11,12\n", {"not numbers": 2}),
    "hexadecimal": (b"1,2,3,4\n5,6,0x7,8\n9,10,11,12\n", {"not numbers": 2}),
    "underscores": (b"1,2,3,4\n5,6,7_0,8\n9,10,11,12\n", {"not numbers": 2}),
    "other digits": ("1,2,3,4\n5,6,٧,8\n9,10,11,12\n".encode(), {"not numbers": 2}),
    "semicolons": (b"1;2;3;4\n5;6;7;8\n9;10;11;12\n", {"not numbers": 1}),
    "decimal commas": (b"1,5 2,5 3,5 4,5\n" * 3, {"not numbers": 1}),
    "separators change": (b"1,2,3,4\n5\t6\t7\t8\n9,10,11,12\n", {"not numbers": 2}),
    "separators mixed in a line": (b"1,2,3,4\n5\t6,7,8\n9,10,11,12\n", {"not numbers": 2}),
    "empty field": (b"1,2,3,4\n5,,7,8\n9,10,11,12\n", {"not numbers": 2}),
    "comma at the end": (b"1,2,3,4,\n5,6,7,8,\n9,10,11,12,\n", {"not numbers": 1}),
    "brackets": (b"[1,2,3,4]\n[5,6,7,8]\n[9,10,11,12]\n", {"not numbers": 1}),
    "Python": (b"tensor([1., 2., 3., 4.])\n" * 3, {"not numbers": 1}),
    "JSON": (b'{"res": [[1,2,3,4]], "type": "rect", "fps": 30}', {"not numbers": 1, "short": 1}),
    "HTML": (b"<!DOCTYPE html>\n<html><body>404</body></html>\n", {"not numbers": 1, "short": 2}),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", {"not numbers": 1}),
    "zeroes": (b"1,2,3,4\n\0\0\0\0\n9,10,11,12\n", {"not numbers": 2}),
    "a zero within": (b"1,2,3,4\n5,6,7,8\0\n9,10,11,12\n", {"not numbers": 2}),
    "Latin-1": (b"1,2,3,4\n5,6,7,8\xb5\n9,10,11,12\n", {"not numbers": 2}),
    "UTF-16": (GOOD.decode().encode("utf-16"), {"not numbers": 1, "long": 4}),
    "escape sequence": (b"1,2,3,4\n\x1b[31mred\x1b[0m\n9,10,11,12\n", {"not numbers": 2}),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", {"not numbers": 1, "short": 1}),
    "cut short in a number": (b"1,2,3,4\n5,6,7,8\n9,10,11", {"not numbers": 3}),
    "several": (b"1,2,x,4\n5,6,-7,8\nnan,nan,nan,nan\n1,2,3,4", {"not numbers": 1, "nan": 3, "negative": 2, "long": 4}),
}


@pytest.mark.parametrize("content", FINE.values(), ids=FINE)
def test_fine_files_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    found = open_results("x", tmp_path, ["a"]).read("a", FRAMES)
    assert found.faults == () and found.boxes.shape == (FRAMES, 4)
    assert found.boxes[2].tolist() == [9, 10, 11, 12]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("content", "kinds"), BROKEN.values(), ids=BROKEN)
def test_broken_files_are_reported_by_file_and_line(
    tmp_path: Path, content: bytes, kinds: dict[str, int], zipped: bool
) -> None:
    root = tmp_path / ("results.zip" if zipped else "results")
    if zipped:
        with zipfile.ZipFile(root, "w") as archive:
            archive.writestr("a.txt", content)
    else:
        root.mkdir()
        (root / "a.txt").write_bytes(content)
    faults = open_results("x", root, ["a"]).read("a", FRAMES).faults
    assert {kind_of(fault) for fault in faults} == set(kinds)
    for fault in faults:
        line = kinds[kind_of(fault)]
        assert fault.startswith(f"{root / 'a.txt'}, line {line}: " if line else f"{root / 'a.txt'}: ")
        assert "; " in fault and fault.isprintable() and len(fault) < 400


ROWS_OF_SEVEN = [f"{n},2,3,4" for n in range(7)]
SPELLED = {
    "a blank line first": (
        ["", *ROWS_OF_SEVEN],
        "line 1: 4 numbers wanted, this line has 0: ''; remove what is no box",
    ),
    "a header": (["x,y,w,h", *ROWS_OF_SEVEN], "line 1: 4 finite numbers wanted: 'x,y,w,h'; remove what is no box"),
    "one number": (["1", *ROWS_OF_SEVEN[1:]], "line 1: 4 numbers wanted, this line has 1: '1'; write \"x,y,w,h\""),
    "trailing commas": (
        [f"{row}," for row in ROWS_OF_SEVEN],
        "line 1: 4 numbers wanted, this line has 5: '0,2,3,4,' (and",
    ),
    "brackets": ([f"[{row}]" for row in ROWS_OF_SEVEN], '(and 6 more such lines); write "x,y,w,h" into each line'),
    "semicolons": ([row.replace(",", ";") for row in ROWS_OF_SEVEN], 'write "x,y,w,h" into each line'),
    "a last line that broke off": (
        [*ROWS_OF_SEVEN[:6], "6,2"],
        "line 7: 4 numbers wanted, this line has 2: '6,2'; track",
    ),
    "infinite": ([*ROWS_OF_SEVEN[:5], "1,2,inf,4", "6,2,3,4"], "line 6: 4 finite numbers wanted: '1,2,inf,4'; track"),
}


@pytest.mark.parametrize(("rows", "said"), SPELLED.values(), ids=SPELLED)
def test_the_remedy_fits_the_fault(tmp_path: Path, rows: list[str], said: str) -> None:
    (tmp_path / "a.txt").write_text("\n".join(rows))
    (fault,) = open_results("x", tmp_path, ["a"]).read("a", 7).faults
    assert said in fault


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_another_encoding_is_called_by_its_name(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "a.txt").write_bytes((mark + GOOD.decode()).encode(encoding))
    first = open_results("x", tmp_path, ["a"]).read("a", FRAMES).faults[0]
    assert "line 1: UTF-16 text, save it as UTF-8; " in first


def test_many_faults_are_counted_and_their_rows_are_nan(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1,2,-3,4\n5,6,7,8\n" * 50)
    found = open_results("x", tmp_path, ["a"]).read("a", 100)
    (fault,) = found.faults
    assert "line 1:" in fault and "(and 49 more such lines)" in fault
    assert np.isnan(found.boxes[::2]).all() and (found.boxes[1::2] == [5, 6, 7, 8]).all()


ROWS = st.lists(st.sampled_from([b"1,2,3,4", b"1 2 3 4", b"nan,nan,nan,nan", b"1,2,3", b"", b"-1,0,-1,5", b"\xff"]))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200) | ROWS.map(b"\n".join))
@example(b"\r")
@example(b"1,2,3,4\x0b5,6,7,8\x0c")
@example(b"1,2,3,4\r5,6,7,8\r9,10,11,12")
def test_no_bytes_raise_and_usable_means_usable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "a_time.txt").write_bytes(content)
    found = open_results("x", tmp_path, ["a"]).read("a", FRAMES)
    if not found.faults:
        assert found.boxes.shape == (FRAMES, 4) and np.isfinite(found.boxes).all()
        assert (found.boxes[:, 2:] >= 0).all() and (np.abs(found.boxes) <= LARGEST).all()
    if found.seconds is not None:
        assert found.seconds.shape == (len(found.boxes),) and not (found.seconds < 0).any()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_its_file_is(tmp_path: Path, data: st.DataObject) -> None:
    archive = tmp_path / "results.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.txt", GOOD * 20)
    content = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
    said = outcome(archive)
    assert said == "read" or "results.zip" in said


def outcome(archive: Path) -> str:
    """What is said of the damaged archive, "read" where its boxes are intact."""
    try:
        found = open_results("x", archive, ["a"]).read("a", 3 * 20)
    except DataError as error:
        return str(error)
    if found.faults:
        return found.faults[0]
    return "read" if (found.boxes[:3] == np.arange(1, 13).reshape(3, 4)).all() else "read wrongly"


@pytest.mark.parametrize("name", ["../a.txt", "/a.txt", "b/../../a.txt"])
def test_an_archive_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "results.zip", "w") as archive:
        archive.writestr(name, GOOD)
    with pytest.raises(DataError, match="leads out"):
        open_results("x", tmp_path / "results.zip", ["a"])


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "results.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"0" * (8 << 20))
    with pytest.raises(DataError, match="unpacks to"):
        open_results("x", tmp_path / "results.zip", ["a"])


def test_links_out_pipes_and_folders_are_faults_of_their_sequence(tmp_path: Path) -> None:
    root = tmp_path / "results"
    root.mkdir()
    (tmp_path / "secret.txt").write_bytes(GOOD)
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder.txt").mkdir()
    (root / "dangling.txt").symlink_to(root / "nothing")
    os.mkfifo(root / "pipe.txt")
    (root / "good.txt").write_bytes(GOOD)
    names = ["link", "folder", "dangling", "pipe", "good"]
    results = open_results("x", root, names)
    kinds = {name: [kind_of(fault) for fault in results.read(name, FRAMES).faults] for name in names}
    assert kinds == {"good": []} | {name: ["unreadable"] for name in names[:4]}
    assert all(str(root / f"{name}.txt") in results.read(name, FRAMES).faults[0] for name in names[:4])


def test_a_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_bytes(GOOD)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out"):
        open_results("x", tmp_path / "results", ["a"])
