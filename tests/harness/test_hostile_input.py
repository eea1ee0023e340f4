"""Input that is made to hurt: it is refused by name, quickly; nothing of it reaches the terminal or leaves its folder."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from command_line import invoke
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.numbers import parse_rows
from trackablate.harness.profiles import FOLDER
from trackablate.harness.scoring.layouts import lines_of_json

STUDY = """name = "mine"
title = "t"
question = "q"
baseline = "ostrack-256"
{more}
[factors]
Labels = "labels"
[[rows]]
name = "{row}"
set = {{ labels = "gaussian" }}
"""
ESCAPE = "\\u001b[31mred"


def refused(*words: object) -> str:
    """What is said of a refused command; it is quick, and raw control characters are none of it."""
    began = time.monotonic()
    done = invoke(*words)
    assert done.exit_code == 2, (done.output, done.exception)
    assert time.monotonic() - began < 10
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.output
    return str(done.stderr)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = " + "9" * 5000, "has a number or a nesting that is too long; correct it"),
        ("a = " + "[" * 3000 + "]" * 3000, "has a number or a nesting that is too long; correct it"),
        (STUDY.format(more="seeds = 1000000000", row="g"), "seeds: is too large, got 1000000000; write 1000 or less"),
        (STUDY.format(more="", row=ESCAPE), r"'\x1b[31mred' has characters that are not printed"),
        (STUDY.format(more="", row="g").replace('"t"', f'"{ESCAPE}"'), "has characters that are not printed"),
        (STUDY.format(more="", row="g").replace('"mine"', '"../../evil"'), "name: "),
    ],
    ids=["digits", "nested", "seeds", "escape in a row", "escape in the title", "path"],
)
def test_a_study_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    assert said in refused("plan", tmp_path / "mine.toml", "--store", tmp_path / "store")


@pytest.mark.parametrize("field", ["disk_gigabytes", "worker_gigabytes", "lr_new", "weight_decay"])
@pytest.mark.parametrize("value", ["inf", "nan", "9" * 5000])
def test_numbers_of_a_profile(tmp_path: Path, field: str, value: str) -> None:
    lines = (FOLDER / "smoke.toml").read_text().splitlines()
    (tmp_path / "p.toml").write_text(
        "\n".join(f"{field} = {value}" if line.startswith(f"{field} ") else line for line in lines)
    )
    said = refused("plan", "table3", "--profile", tmp_path / "p.toml", "--store", tmp_path / "store")
    assert str(tmp_path / "p.toml") in said


@pytest.mark.parametrize("name", ["../../../evil", "/tmp/evil", "..", ".hidden", "", " ", ESCAPE, "a\\nb", "a\\\\b"])
def test_the_name_of_a_profile_is_no_path(tmp_path: Path, name: str) -> None:
    text = (FOLDER / "smoke.toml").read_text()
    assert 'name = "smoke"' in text
    (tmp_path / "p.toml").write_text(text.replace('name = "smoke"', f'name = "{name}"'))
    said = refused("plan", "table3", "--profile", tmp_path / "p.toml", "--store", tmp_path / "store")
    assert "cannot be the name of a folder" in said


@pytest.mark.parametrize("what", ["study", "profile", "plugin"])
def test_a_pipe_in_place_of_a_file_stops_nothing(tmp_path: Path, what: str) -> None:
    pipe = tmp_path / ("pipe.py" if what == "plugin" else "pipe.toml")
    os.mkfifo(pipe)
    words = {
        "study": ["plan", pipe],
        "profile": ["plan", "table3", "--profile", pipe],
        "plugin": ["--plugin", pipe, "list"],
    }
    refused(*words[what])


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "raise SystemExit", "exit(3)"])
def test_a_plugin_that_exits_fails(tmp_path: Path, code: str) -> None:
    (tmp_path / "leaves.py").write_text(code)
    said = refused("--plugin", tmp_path / "leaves.py", "list", "studies")
    assert "leaves.py, line 1: the plugin fails with SystemExit" in said


@pytest.mark.parametrize(
    "words",
    [
        ["watch", "--store", "~nobody-here/store"],
        ["data", "check", "otb=~nobody-here/otb"],
        ["report", "table3", "--out", "~nobody-here/out"],
    ],
)
def test_the_home_of_nobody(words: list[str]) -> None:
    assert "no user of this machine is called so" in refused(*words)


def test_a_user_without_a_home_has_no_settings_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert invoke("list", "studies").exit_code == 0


def test_a_folder_that_is_gone_under_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "the current folder was removed: change to another one" in refused("plan", "table3")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_has_closed(tmp_path: Path, closed: str) -> None:
    """Else the next file that is opened gets the stream's number, and with it what is printed there."""
    command = f"{sys.executable} -m trackablate plan table3 --profile smoke --store {tmp_path / 'store'} {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_names_on_the_command_line_are_shown_escaped(tmp_path: Path) -> None:
    store = ("--store", tmp_path / "store")
    assert r"\x1b[31mred" in refused("plan", "\x1b[31mred", *store)
    assert r"\x1b[31mred" in refused("plan", "table3", "--profile", "smoke", "--only", "\x1b[31mred", *store)
    assert r"a\udcff.toml is not there" in refused("plan", "a\udcff.toml", *store)
    assert r"--store" in refused("plan", "table3", "--profile", "smoke", "--store", f"{tmp_path}/\udcff")


@pytest.mark.parametrize("line", ["9" * 200_000, "9" * 200_000 + "x", "1." + "0" * 100_000, " " * 100_000 + "x"])
def test_a_long_line_takes_no_time(line: str) -> None:
    began = time.monotonic()
    rows = parse_rows(f"5,6,20,16\n5,6,20,{line}\n".encode(), 4)
    assert time.monotonic() - began < 1
    assert len(rows.bad) == 1
    assert rows.bad[0].line == 2
    assert len(rows.bad[0].text) <= 60


def test_a_long_number_is_still_one() -> None:
    digits = "1" + "0" * 300
    assert parse_rows(f"1,2,3,{digits}\n".encode(), 4).values[0, 3] == 1e300
    assert np.array_equal(parse_rows(b"1 2 3 4\n", 4).values, [[1, 2, 3, 4]])


@pytest.mark.parametrize("fps", ["9" * 400, "1e400", "-1", "NaN", '"x"'])
def test_an_impossible_speed_in_a_file_of_otb_is_none(tmp_path: Path, fps: str) -> None:
    assert lines_of_json(f'{{"res": [[1, 2, 3, 4]], "fps": {fps}}}'.encode(), tmp_path) == (b"1,2,3,4", None)


def test_a_number_of_thousands_of_digits_in_a_file_of_otb(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="number out of range at line 1"):
        lines_of_json(f'[{{"res": [[1, 2, 3, {"9" * 5000}], [1, 2, 3, 4]]}}]'.encode(), tmp_path)
