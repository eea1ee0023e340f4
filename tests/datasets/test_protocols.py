"""Protocols and data sets: that all are declared whole, and open from where the user says."""

import subprocess
import sys
from pathlib import Path

import pytest

from followers import recorded
from places import ROOT
from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS
from trackablate.datasets.registry import UnknownName
from trackablate.datasets.roots import open_protocol
from trackablate.datasets.synthetic.videos import SyntheticSequences
from trackablate.harness.scoring.metrics import DIALECTS, METRICS
from video_factory import PNG, write, zipped


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_shows_known_metrics_and_says_what_it_is(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.metrics
    assert {metric for metric, _ in protocol.metrics} <= set(METRICS)
    assert {dialect for _, dialect in protocol.metrics} <= set(DIALECTS)
    assert all((protocol.title, protocol.description, protocol.source))
    assert protocol.data is None or protocol in DATA_SETS[protocol.data].protocols


DEFAULTS = {
    "lasot": ("ostrack", "auc precision norm_precision", 1),
    "lasot_ext": ("ostrack", "auc precision norm_precision", 0),
    "trackingnet": ("trackingnet", "auc precision norm_precision", 0),
    "got10k": ("got10k", "ao sr50 sr75", 0),
    "got10k-val": ("got10k", "ao sr50 sr75", 0),
    "tnl2k": ("ostrack", "auc precision norm_precision", 0),
    "nfs": ("ostrack", "auc precision norm_precision", 0),
    "uav123": ("ostrack", "auc precision norm_precision", 1),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_benchmark_is_scored_as_papers_do(name: str) -> None:
    dialect, metrics, origin = DEFAULTS[name]
    protocol = PROTOCOLS[name]
    assert protocol.metrics == tuple((metric, dialect) for metric in metrics.split())
    assert protocol.origin == origin


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_has_its_protocols_parts_and_opens_none_from_nothing(name: str, tmp_path: Path) -> None:
    data = DATA_SETS[name]
    assert data.name == name
    assert data.title
    assert data.parts
    assert {protocol.name for protocol in data.protocols} <= set(data.parts)
    assert all(protocol.open is data.parts[protocol.name] for protocol in data.protocols)
    for part in data.parts.values():
        with pytest.raises(DataError) as caught:
            part(tmp_path)
        assert str(tmp_path) in str(caught.value)
        with pytest.raises(ValueError, match="needs"):
            part(None)


def test_parts_have_names_of_their_own() -> None:
    names = [name for data in DATA_SETS.values() for name in data.parts]
    assert len(names) == len(set(names))
    assert {"got10k-train", "trackingnet-train", "lasot-train"} <= set(names)


@pytest.mark.parametrize(("name", "count", "length"), [("synthetic", 80, 50), ("synthetic-smoke", 4, 8)])
def test_the_embedded_protocols(name: str, count: int, length: int) -> None:
    sequences = open_protocol(name, {})
    sequences.check(deep=True)
    sequences.check_annotations()
    assert sequences.notes() == []
    assert len({sequences.stamp(i) for i in range(count)}) == count
    assert (len(sequences), len(sequences.names), len(set(sequences.names))) == (count, count, count)
    assert sequences.coverage == f"{count} of {count} sequences"
    first = sequences[0]
    assert first.name == sequences.names[0] == "target-test-0000"
    assert (len(first), first.frames[0].shape) == (length, (120, 160, 3))
    assert first.attributes <= set(PROTOCOLS[name].attributes)


def test_the_embedded_digest_follows_every_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(domain: str = "target", split: str = "test", count: int = 4, length: int = 8, **more: int) -> str:
        size = (more.pop("width", 160), 120)
        return SyntheticSequences(domain, split, count, length=length, size=size, seed=more.pop("seed", 0)).digest()

    made = [digest(), digest(domain="source"), digest(split="val"), digest(count=5), digest(length=9)]
    made += [digest(seed=1), digest(width=200)]
    assert digest() == open_protocol("synthetic-smoke", {}).digest()
    monkeypatch.setattr("trackablate.datasets.synthetic.videos.GENERATOR_VERSION", 999)
    made.append(digest())
    assert len(set(made)) == len(made)
    assert all(len(bytes.fromhex(each)) == 32 for each in made)


def test_a_protocol_is_opened_where_the_user_says_and_its_index_too(tmp_path: Path) -> None:
    write(tmp_path / "data/Mine", {"img/0001.png": PNG, "groundtruth_rect.txt": "1,1,5,5"})
    archive = zipped(tmp_path / "data", tmp_path / "otb.zip")
    for place in (tmp_path / "data", archive):
        with recorded() as done:
            sequences = open_protocol("otb", {"otb": str(place)}, tmp_path / "index")
        sequences.check()
        assert list(sequences.names) == ["Mine"]
        assert {name for name, *_ in done} == {"opening otb"}
        phases = ["listing files", "looking for sequences", "looking for changes", "reading annotation"]
        assert list(dict.fromkeys(phase for _, phase, _, _ in done)) == phases
        assert done[-2:] == [("opening otb", "reading annotation", now, 1) for now in (0, 1)]
        assert ("opening otb", "looking for sequences", 99, 100) in done
    assert len(list((tmp_path / "index").iterdir())) == 2


def test_an_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean synthetic"):
        open_protocol("syntetic", {})


def test_nothing_here_imports_torch() -> None:
    modules = (
        "import sys, trackablate.datasets.roots, trackablate.datasets.reading.frames; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", modules], cwd=ROOT, check=False).returncode == 0
