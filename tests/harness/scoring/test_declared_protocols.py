"""Protocols that a user declares: scored by their present rules, from the store alone, and on annotated frames only."""

from pathlib import Path

import pytest

from command_line import invoke, said
from trackablate.datasets import protocols
from trackablate.datasets.errors import DataError
from trackablate.harness.scoring.dialects import known_protocol
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store
from trackablate.trackers.spec import FloorSpec
from video_factory import images, write

DECLARATION = """name = "mine"
first_pixel = 0
boxes = "{name}.txt"
frames = "{name}"
annotated = 3
absent = "zero"
dialect = "strict"
metrics = ["auc"]
"""
ROW, AWAY, ABSENT = "2,3,10,12\n", "22,3,10,12\n", "0,0,0,0\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(DECLARATION)
    return tmp_path / "mine.toml"


def options(file: Path) -> list[object]:
    """Of a video of 11 frames, of which 0, 3, 6, 9 are annotated: there, there, elsewhere, absent."""
    data = write(file.parent / "data", images("a", range(1, 12)) | {"a.txt": ROW + ROW + AWAY + ABSENT})
    Store(file.parent / "store").run(RunSpec(tracker=FloorSpec(kind="static"))).claim()
    return ["--protocol", file, "--data", f"mine={data}", "--store", file.parent / "store"]


def test_annotated_frames_alone_are_scored(file: Path) -> None:
    """IoU is 1, 1, 0 and a miss: 20 of 21 thresholds are below 1, and half of the annotated frames pass them."""
    where = options(file)
    assert said("evaluate", "static", *where)["metrics"] == {"auc": pytest.approx(100 * 20 / 21 / 2)}
    results = write(file.parent / "results", {"a.txt": ROW * 3 + AWAY * 3 + ROW * 5})
    scored = said("score", f"Mine={results}", *where, "--dialect", "strict", "--dialect", "lorat_plain")
    assert scored["frames"] == 4
    assert scored["dialects"]["strict"]["Mine"]["auc"] == pytest.approx(100 * 20 / 21 / 4)
    assert scored["dialects"]["lorat_plain"]["Mine"]["ao"] == pytest.approx(100 / 3), "without the absent frame"
    short = write(file.parent / "short", {"a.txt": ROW * 4})
    refused = invoke("score", f"Mine={short}", *where)
    assert refused.exit_code == 2, "a row for each frame, not for each annotated one"


def test_overlaps_in_time_are_columns_beside_the_others(file: Path) -> None:
    """The static box is right in one annotated frame after the first, and wrong in the next."""
    file.write_text(DECLARATION.replace('"auc"', '"auc", "unbroken@in_time", "survived@in_time"'))
    where = options(file)
    found = said("evaluate", "static", *where)["metrics"]
    assert found == {"auc": pytest.approx(100 * 20 / 21 / 2), "unbroken": 50, "survived": 100}


def test_score_shows_the_declared_metrics(file: Path) -> None:
    """In their order, then what else the first one's dialect defines; a dialect that is named shows its own alone."""
    file.write_text(DECLARATION.replace('"auc"', '"op50", "unbroken@in_time", "auc@lorat_plain"'))
    where = options(file)
    evaluated = said("evaluate", "static", *where)["metrics"]
    results = write(file.parent / "results", {"a.txt": ROW * 11})
    found = said("score", f"Mine={results}", *where, "--attributes")
    (row,) = found["trackers"]
    shown = {metric: one["mean"] for metric, one in row["metrics"].items()}
    assert list(shown) == ["op50", "unbroken", "auc", "precision", "norm_precision", "op75", "norm_precision_mean"]
    assert {metric: shown[metric] for metric in evaluated} == pytest.approx(evaluated)
    assert found["dialects"]["in_time"] == {"Mine": {"unbroken": pytest.approx(50)}}
    assert found["dialects"]["strict"]["Mine"]["auc"] != found["dialects"]["lorat_plain"]["Mine"]["auc"]
    table = " ".join(invoke("score", f"Mine={results}", *where).output.split())
    assert "dialects strict, in_time, lorat_plain" in table
    assert "Unbroken" in table
    named = said("score", f"Mine={results}", *where, "--dialect", "strict")
    assert list(named["dialects"]) == ["strict"]


def test_a_declared_metric_that_needs_the_image_sizes_is_left_out_without_them(file: Path) -> None:
    file.write_text(DECLARATION.replace('"auc"', '"auc", "ao@got10k"'))
    options(file)
    annotation = write(file.parent / "annotation", {"a.txt": (file.parent / "data" / "a.txt").read_text()})
    results = write(file.parent / "results", {"a.txt": ROW * 10})
    found = said("score", f"Mine={results}", "--protocol", file, "--annotations", annotation)
    assert list(found["dialects"]) == ["strict"]
    assert any("dialect got10k: left out" in problem for problem in found["problems"])


@pytest.mark.slow
def test_other_rules_need_no_tracking_and_other_boxes_do(file: Path) -> None:
    where = options(file)
    said("evaluate", "static", *where)
    (protocol,) = Store(file.parent / "store").protocols("mine")
    (result,) = (file.parent / "store" / "runs").rglob("a.json")
    before = result.stat().st_mtime_ns
    for change in (("auc", "op50"), ("absent =", "scored_as = 'uav123'\nabsent =")):
        protocols.DECLARED.clear()
        file.write_text(file.read_text().replace(*change))
        assert said("evaluate", "static", *where)["metrics"] == {"op50": pytest.approx(50)}
    assert result.stat().st_mtime_ns == before
    protocols.DECLARED.clear()
    file.write_text(DECLARATION.replace("first_pixel = 0", "first_pixel = 1"))
    said("evaluate", "static", *where)
    assert len({record.digest for record in Store(file.parent / "store").protocols("mine")} - {protocol.digest}) == 1


def test_the_store_has_all_that_scoring_needs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of rules the record is written anew, so that a page made without the file shows them."""
    where = options(file)
    said("evaluate", "static", *where)
    protocols.DECLARED.clear()
    file.write_text(DECLARATION.replace('"auc"', '"op50"'))
    said("evaluate", "static", *where)
    protocols.DECLARED.clear()
    monkeypatch.setenv(protocols.VARIABLE, "")
    file.unlink()
    (record,) = Store(file.parent / "store").protocols("mine")
    assert (record.metrics, record.sparse) == ((("op50", "strict"),), True)
    refused = invoke("report", "head", "--profile", "smoke", "--protocol", "mine", "--store", file.parent / "store")
    assert refused.exit_code == 2
    assert "named by the TOML file that declares it" in refused.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"strict"', '"ostrak"'), "mine.toml, line 7: no dialect is called 'ostrak': did you mean ostrack"),
        (('"auc"', '"auc", "eao"'), "mine.toml, line 8: the dialect strict does not define eao"),
        (
            ('"auc"', '"auc", "unbroken@intime"'),
            "mine.toml, line 8: no dialect is called 'intime': did you mean in_time",
        ),
        (("absent", 'scored_as = "lsot"\nabsent'), "mine.toml, line 6: no built-in protocol is called 'lsot'"),
    ],
)
def test_rules_that_do_not_exist_are_refused(file: Path, change: tuple[str, str], message: str) -> None:
    file.write_text(DECLARATION.replace(*change))
    with pytest.raises(DataError) as caught:
        known_protocol(str(file))
    assert message in str(caught.value)


def test_data_that_are_not_here_are_asked_for(file: Path) -> None:
    for command in ("plan", "run"):
        refused = invoke(command, "head", "--profile", "smoke", "--protocol", file, "--store", file.parent / "store")
        assert refused.exit_code == 2
        assert "give --data mine=PATH" in refused.output
