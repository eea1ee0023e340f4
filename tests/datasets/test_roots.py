"""Where data sets are looked for: the command line, the environment, the files."""

import json
import os
import pickle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import DATA_SETS
from trackablate.datasets.roots import data_root, parse_data_options
from trackablate.datasets.toml_files import LINKS
from trackablate.harness.cli import app, plugins_first
from video_factory import boxes, images, write


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data set is named by this machine's environment, home or current folder."""
    for name in [n for n in os.environ if n.startswith("TRACKABLATE_DATA_")]:
        monkeypatch.delenv(name)
    for name in ("home", "cwd", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "cwd")


def _message(name: str, **given: str) -> str:
    with pytest.raises(DataError) as caught:
        data_root(name, given)
    return str(caught.value)


def test_no_root_named_says_all_three_ways() -> None:
    said = _message("otb")
    ways = (
        "--data otb=PATH",
        "TRACKABLATE_DATA_OTB=PATH",
        "under [data] in trackablate.toml",
        "~/.config/trackablate/data.toml",
    )
    assert all(way in said for way in ways)


def test_the_command_line_wins_then_the_environment_then_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {name: tmp_path / "data" / name for name in ("home", "here", "environment", "command")}
    for place in places.values():
        place.mkdir()
    (tmp_path / "home/.config/trackablate").mkdir(parents=True)
    (tmp_path / "home/.config/trackablate/data.toml").write_text(f'[data]\notb = "{places["home"]}"')
    assert data_root("otb", {}) == places["home"]
    Path("trackablate.toml").write_text('[data]\nlasot = "elsewhere"')
    assert data_root("otb", {}) == places["home"]
    Path("trackablate.toml").write_text('[data]\notb = "../data/here"')
    assert data_root("otb", {}).resolve() == places["here"]
    monkeypatch.setenv("TRACKABLATE_DATA_OTB", str(places["environment"]))
    assert data_root("otb", {}) == places["environment"]
    assert data_root("otb", {"otb": str(places["command"])}) == places["command"]


def test_a_root_that_is_not_there_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKABLATE_DATA_OTB", str(tmp_path / "data"))
    said = _message("otb", otb=str(tmp_path / "typo"))
    assert said.startswith(f"{tmp_path / 'typo'} is neither a folder nor an archive, but --data names it")
    assert "TRACKABLATE_DATA_OTB=PATH" in said
    monkeypatch.setenv("TRACKABLATE_DATA_OTB", str(tmp_path / "gone"))
    assert "but TRACKABLATE_DATA_OTB names it" in _message("otb")


@pytest.mark.parametrize("content", ["[data", "[data]\notb = 3", 'data = "x"', "[data]\notb = '\udcff'"])
def test_a_bad_file_is_named(content: str) -> None:
    Path("trackablate.toml").write_bytes(content.encode(errors="surrogateescape"))
    assert _message("otb").startswith("trackablate.toml: ")


def test_a_relative_path_in_a_file_starts_at_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "home/.config/trackablate"
    (folder / "otb").mkdir(parents=True)
    (folder / "data.toml").write_text('[data]\notb = "otb"')
    assert data_root("otb", {}) == folder / "otb"


def test_home_is_understood(tmp_path: Path) -> None:
    (tmp_path / "home/otb").mkdir()
    assert data_root("otb", {"otb": "~/otb"}) == tmp_path / "home/otb"


def test_data_options_are_read() -> None:
    assert parse_data_options([]) == {}
    assert parse_data_options(["otb=/a=b"]) == {"otb": "/a=b"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["otb"], "'otb' is not NAME=PATH; write for example --data otb="),
        (["otb="], "is not NAME=PATH"),
        (["=/x"], "is not NAME=PATH"),
        (["obt=/x"], "no data set is called 'obt': did you mean otb"),
        (["otb=/x", "otb=/y"], "'otb' twice, /x and /y; keep one"),
    ],
)
def test_bad_data_options_are_refused(options: list[str], said: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_data_options(options)
    assert said in str(caught.value)


def test_every_data_set_can_be_named() -> None:
    named = {"lasot", "lasot_ext", "trackingnet", "got10k", "tnl2k", "nfs", "uav123", "otb", "coco"}
    assert named <= set(DATA_SETS)
    assert parse_data_options([f"{name}=/x" for name in named]) == dict.fromkeys(named, "/x")


def test_an_archive_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "otb.zip").touch()
    assert data_root("otb", {"otb": str(tmp_path / "otb.zip")}) == tmp_path / "otb.zip"


def test_the_error_survives_a_process_boundary() -> None:
    error = DataError("a", "b")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.fixture
def spread(tmp_path: Path) -> Path:
    """A data set whose second sequence lies on another disk."""
    for root, name in (("data/one", "a"), ("data/two", "b")):
        folder = tmp_path / root / name
        write(folder, {"groundtruth.txt": boxes(2), **images("imgs", range(1, 3))})
    (tmp_path / "data/one/b").symlink_to(tmp_path / "data/two/b")
    return tmp_path / "data/one"


def _opened(root: Path) -> tuple[str, ...]:
    sequences = DATA_SETS["tnl2k"].parts["tnl2k"](root)
    sequences.check(deep=True)
    return tuple(sequences.names)


def test_links_to_another_disk_are_allowed_by_name_only(spread: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"leads out of .*, or allow its folder with --allow-links PATH"):
        _opened(spread)
    monkeypatch.setenv(LINKS, os.pathsep.join(["/elsewhere", str(spread.parent / "two")]))
    assert _opened(spread) == ("a", "b")
    monkeypatch.setenv(LINKS, str(spread.parent / "tw"))
    with pytest.raises(DataError, match="leads out of"):
        _opened(spread)


def test_a_settings_file_allows_links_relative_to_itself(spread: Path) -> None:
    Path("trackablate.toml").write_text('allow_links = ["../data/two"]\n[data]\n')
    assert _opened(spread) == ("a", "b")
    Path("trackablate.toml").write_text('allow_links = "../data/two"')
    with pytest.raises(
        DataError, match=r'`allow_links` is no list of folders; write allow_links = \["PATH"\] above \[data\]'
    ):
        _opened(spread)


def test_the_command_line_allows_links_anywhere(spread: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LINKS, "")
    words = ["data", "check", f"tnl2k={spread}", "--json", "--allow-links", str(spread.parent / "two")]
    assert CliRunner().invoke(app, plugins_first(words[:-2])).exit_code == 2
    done = CliRunner().invoke(app, plugins_first(words))
    assert (done.exit_code, json.loads(done.stdout)["protocols"]) == (
        0,
        {"tnl2k": "0 of 700 sequences and 2 of your own"},
    )
