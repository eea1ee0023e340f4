"""Protocols, and where their data are looked for."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets import protocols, roots
from datasets.errors import DataError
from datasets.protocols import PROTOCOLS, GeneratedSequences
from datasets.registry import UnknownName
from datasets.roots import data_root, open_protocol, parse_data_options
from harness.metrics import METRICS


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


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_shows_known_metrics_and_says_what_it_is(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.metrics
    assert set(protocol.metrics) <= set(METRICS)
    assert all((protocol.title, protocol.description, protocol.source, protocol.attributes))


@pytest.mark.parametrize(("name", "count", "length"), [("synthetic", 80, 50), ("synthetic-smoke", 4, 8)])
def test_the_embedded_protocols(name: str, count: int, length: int) -> None:
    sequences = open_protocol(name, {})
    sequences.check()
    assert (len(sequences), len(sequences.names), len(set(sequences.names))) == (count, count, count)
    assert sequences.coverage == f"{count} of {count} sequences"
    first = sequences[0]
    assert first.name == sequences.names[0] == "target-test-0000"
    assert (len(first), first.frames[0].shape) == (length, (120, 160, 3))
    assert first.attributes <= set(PROTOCOLS[name].attributes)


def test_the_embedded_digest_follows_every_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(domain: str = "target", split: str = "test", count: int = 4, length: int = 8, **more: int) -> str:
        size = (more.pop("width", 160), 120)
        return GeneratedSequences(domain, split, count, length=length, size=size, seed=more.pop("seed", 0)).digest()

    made = [digest(), digest(domain="source"), digest(split="val"), digest(count=5), digest(length=9)]
    made += [digest(seed=1), digest(width=200)]
    assert digest() == open_protocol("synthetic-smoke", {}).digest()
    monkeypatch.setattr(protocols, "GENERATOR_VERSION", 999)
    made.append(digest())
    assert len(set(made)) == len(made)
    assert all(len(bytes.fromhex(each)) == 32 for each in made)


def test_otb_is_opened_where_the_user_says(tmp_path: Path) -> None:
    folder = tmp_path / "data/Mine"
    (folder / "img").mkdir(parents=True)
    cv2.imwrite(str(folder / "img/0001.png"), np.zeros((20, 20, 3), dtype=np.uint8))
    (folder / "groundtruth_rect.txt").write_text("1,1,5,5")
    sequences = open_protocol("otb", {"otb": str(tmp_path / "data")})
    sequences.check()
    assert list(sequences.names) == ["Mine"]
    with pytest.raises(ValueError, match="needs the folder"):
        PROTOCOLS["otb"].open(None)


def test_an_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean synthetic"):
        open_protocol("syntetic", {})


def test_nothing_here_imports_torch() -> None:
    modules = "import sys, datasets.protocols, datasets.roots, datasets.frames; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", modules], cwd=Path(__file__).parents[1], check=False).returncode == 0


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
    assert said.startswith(f"{tmp_path / 'typo'} is no folder, but --data names it")
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
    assert roots.data_names() == ["otb"]


def test_the_error_survives_a_process_boundary() -> None:
    error = DataError("a", "b")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
