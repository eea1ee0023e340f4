"""Cited trackers: printed beside ours, and recomputed by our scorer where their raw results are at hand."""

import json
from pathlib import Path

import pytest

from command_line import report_cited as report
from places import MINI, SHARED

REAL = SHARED / "real" / "lasot"
PRINTED = {"ATOM": (51.5, 50.5, 57.6), "Ocean": (56.0, 56.6, 65.1), "SiamRPN++": (49.6, 49.1, 56.9)}
"""DETRack, Table 1, LaSOT: AUC, P, P_norm."""


def test_raw_results_of_a_cited_tracker_are_scored_and_held_against_the_printed_figures(tmp_path: Path) -> None:
    status, out, _ = report(tmp_path, MINI / "annotations", f"ATOM={MINI / 'results' / 'lag10'}")
    assert status == 0
    document = json.loads(out)
    rows = {row["name"]: row for row in document["rows"]}
    atom = rows["ATOM"]
    assert atom["role"] == "cited"
    assert 0 < atom["metrics"]["auc"]["mean"] < 100
    assert atom["published"]["lasot:auc" if "lasot:auc" in atom["published"] else "auc"]["trust"] == "paper"
    assert rows["STARK"]["metrics"]["auc"]["mean"] is None
    assert any("Computed from the raw results that --results names" in note for note in document["footnotes"])
    assert any(note.startswith("On 6 of 280 sequences of LaSOT: not comparable") for note in document["footnotes"])
    assert not any("Ours minus printed" in note for note in document["footnotes"]), "these are 6 of 280 sequences"
    assert any("detrack on lasot: not trained to the end" in text for text in document["missing"])


def test_a_tracker_of_ones_own_may_be_added(tmp_path: Path) -> None:
    status, out, _ = report(tmp_path, MINI / "annotations", f"Mine={MINI / 'results' / 'oracle'}")
    assert status == 0
    assert json.loads(out)["rows"][-1]["name"] == "Mine"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("ATOM", "is not NAME=PATH"),
        ("ATOM@otb=x", "no protocol of the study is called 'otb': did you mean lasot?"),
        (f"ATOM={MINI / 'nothing'}", "nothing"),
    ],
)
def test_bad_entries_are_refused(tmp_path: Path, entry: str, words: str) -> None:
    status, _, err = report(tmp_path, MINI / "annotations", entry)
    assert status == 2
    assert words in err


def test_incomplete_results_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    first = sorted((MINI / "results" / "lag10").glob("*.txt"))[0]
    (folder / first.name).write_text(first.read_text())
    status, _, err = report(tmp_path, MINI / "annotations", f"ATOM={folder}")
    assert status == 2
    assert "not every sequence is whole" in err


@pytest.mark.skipif(not REAL.exists(), reason=f"NOT TESTED: the real results ({REAL}) are not beside this checkout")
def test_table_1_recomputes_what_the_paper_prints_on_lasot(tmp_path: Path) -> None:
    files = {"ATOM": "ATOM", "Ocean": "Ocean-online", "SiamRPN++": "SiamRPN++"}
    entries = [f"{name}={REAL / f'results_{file}.zip'}" for name, file in files.items()]
    status, out, err = report(tmp_path, REAL / "annotations_test.zip", *entries)
    assert status == 0, err
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    for name, printed in PRINTED.items():
        metrics = rows[name]["metrics"]
        ours = [metrics[key]["mean"] for key in ("auc", "precision", "norm_precision")]
        assert ours == pytest.approx(printed, abs=0.1), name
