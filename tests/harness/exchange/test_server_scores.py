"""What an evaluation server returned: entered for the boxes that were submitted, and shown as what it is."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import report_factory as factory
import store_factory
import trackablate
from stored_files import rewrite
from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows
from trackablate.ablations.recipes import FOUR_SETS, ONE_SHOT
from trackablate.harness.cli import app
from trackablate.harness.exchange.server_scores import note_submission
from trackablate.harness.record import StudyRecord
from trackablate.harness.run_folder import EVALUATION
from trackablate.harness.scoring.scored import Returned, TrackerScores
from trackablate.harness.store import Store
from trackablate.reports.assemble import assemble
from trackablate.reports.formats.panels import DASH, figure
from trackablate.reports.pages.write import write_report
from trackablate.reports.results import Result
from trackablate.reports.table import Cell, Table
from trackablate.reports.tables.pivot import pivot

PROFILE = factory.PROFILE.model_copy(update={"protocols": ("got10k",)})
STUDY = STUDIES["table3"]
STUDY_ROWS = [row.name for row in STUDY.rows]
RETURNED = {"conv": (71.5, 80.1), "decoder": (72.9, 82.1), "ce-conv": (71.7, 80.0)}


def run_name(row: str) -> str:
    return next(planned.run.name for planned in planned_rows(STUDY, PROFILE) if planned.name == row)


def submitted(store: Path, *rows: str) -> None:
    """As `submit` notes it; the archive itself takes all 180 sequences."""
    opened = Store(store)
    for planned in planned_rows(STUDY, PROFILE):
        if planned.name in rows:
            folder, evaluation = opened.run(planned.run), planned.evaluation("got10k", store_factory.DIGEST)
            results = [folder.result(evaluation, name) for name in factory.names(store_factory.SEQUENCES)]
            note_submission(folder, evaluation, [result for result in results if result])


def say(store: Path, *words: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["returned", *words, "--protocol", "got10k", "--store", str(store)])
    return found.exit_code, found.stdout + found.stderr


def assembled(store: Path, comparable: bool = False) -> Result:
    profile = PROFILE.model_copy(update={"comparable_with_paper": comparable, "caveat": ""})
    digests, rows = {"got10k": store_factory.DIGEST}, tuple(planned_rows(STUDY, PROFILE))
    asked = StudyRecord(study=STUDY.name, profile=profile, digests=digests, seeds=1, command="again", rows=rows)
    return assemble(STUDY, asked, Store(store))


def cell(table: Table, row: str, key: str) -> Cell:
    return next(one for one in table.rows if one.name == row).cells.get(key, Cell())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Every run tracked, and the server's word on three of four."""
    place = tmp_path / "store"
    store_factory.fill(Store(place), STUDY, PROFILE, on_server=True)
    submitted(place, *STUDY_ROWS)
    for row, (ao, sr50) in RETURNED.items():
        assert say(place, run_name(row), f"ao={ao}", f"sr50={sr50}")[0] == 0
    return place


def test_the_table_shows_them_without_an_interval_and_names_what_is_missing(store: Path) -> None:
    table = pivot(assembled(store))
    for row, (ao, sr50) in RETURNED.items():
        assert cell(table, row, "got10k:ao").value == pytest.approx(ao)
        assert cell(table, row, "got10k:sr50").value == pytest.approx(sr50)
        assert cell(table, row, "got10k:ao").low is None
    assert [cell(table, row, "got10k:ao").rank for row in STUDY_ROWS] == [3, 1, 2, 4]
    column = next(c for c in table.columns if c.key == "got10k:ao")
    assert figure(cell(table, "ce-decoder", "got10k:ao"), column) == DASH
    assert cell(table, "decoder", "got10k:ao:delta").value == pytest.approx(1.4)
    assert cell(table, "decoder", "got10k:ao:delta").resolved is None
    assert cell(table, "conv", "got10k:ao:delta").text == "baseline"
    assert not any("own training videos alone" in note for note in table.footnotes)
    assert any(
        re.match(r"By the evaluation server, as entered by hand .* Entered: got10k on 20", n) for n in table.footnotes
    )
    assert table.missing == ("ce-decoder on got10k: no scores of its evaluation server yet",)


def test_nothing_returned_says_how_to_get_it(tmp_path: Path) -> None:
    store_factory.fill(Store(tmp_path / "store"), STUDY, PROFILE, on_server=True)
    table = pivot(assembled(tmp_path / "store"))
    assert not any(c.key.startswith("got10k:") for c in table.columns)
    assert len(table.missing) == 1
    assert "submit RUN --protocol got10k" in table.missing[0] and "returned RUN METRIC=PERCENT" in table.missing[0]


def test_boxes_that_changed_since_have_no_score(store: Path) -> None:
    (folder,) = (store / "runs" / run_name("decoder") / "evaluations").iterdir()
    file = sorted(folder.glob("*.json"))[-1]
    rewrite(file, lambda document: document["boxes"][3].__setitem__(0, document["boxes"][3][0] + 1))
    table = pivot(assembled(store))
    assert cell(table, "decoder", "got10k:ao").value is None
    assert any("decoder on got10k: its boxes changed after" in text for text in table.missing)
    assert say(store, run_name("decoder"), "ao=72.9")[0] == 2
    frame = trackablate.results(store)
    assert any("changed after" in reason for reason in frame[frame["run"] == run_name("decoder")]["reason"])


def test_boxes_that_took_another_time_are_the_same_boxes(store: Path) -> None:
    (folder,) = (store / "runs" / run_name("decoder") / "evaluations").iterdir()
    for file in folder.glob("*.json"):
        if file.name != EVALUATION:
            rewrite(file, lambda document: document.update(seconds=99.0))
    assert cell(pivot(assembled(store)), "decoder", "got10k:ao").value == pytest.approx(72.9)


def test_what_was_not_submitted_cannot_have_been_scored(tmp_path: Path) -> None:
    store_factory.fill(Store(tmp_path / "store"), STUDY, PROFILE, on_server=True)
    status, text = say(tmp_path / "store", run_name("conv"), "ao=70")
    assert status == 2
    assert "not submitted" in text


def test_rows_that_failed_or_have_nothing_are_named_with_the_reason(tmp_path: Path) -> None:
    place = tmp_path / "store"
    store_factory.fill(Store(place), STUDY, PROFILE, ["ce-conv"], "ce-decoder", on_server=True)
    (folder,) = (place / "runs" / run_name("decoder") / "evaluations").iterdir()
    sorted(folder.glob("*.json"))[-1].unlink()
    for entered in (False, True):
        missing = [text for text in pivot(assembled(place)).missing if " on got10k: " in text]
        assert any(text.startswith("ce-conv on got10k: not trained") for text in missing)
        assert any(text.startswith("ce-decoder on got10k: failed: <b>out of memory") for text in missing)
        assert "decoder on got10k: 3 of 4 sequences" in missing
        assert len(missing) == 3, entered
        submitted(place, "conv")
        assert say(place, run_name("conv"), "ao=71.5", "sr50=80.1")[0] == 0


def test_a_figure_that_was_not_entered_is_named(store: Path) -> None:
    assert say(store, run_name("conv"), "ao=71.5")[0] == 0
    assert "conv on got10k: SR50 not entered" in pivot(assembled(store)).missing


def test_the_rule_of_one_shot_is_asked_of_the_runs_that_were_submitted(store: Path) -> None:
    """A row of two trainings: the costs shown are those of one, the server's figures those of the other."""
    result = assembled(store)
    (facts,) = result.protocols
    one, other = (factory.record_of(next(r for r in result.rows if r.name == n)) for n in ("conv", "decoder"))
    elsewhere = one.asked.model_copy(update={"data": FOUR_SETS})
    ours = one.asked.model_copy(update={"data": ONE_SHOT})
    for shown, served, footnotes in ((elsewhere, ours, 0), (ours, elsewhere, 1)):
        record = one.model_copy(update={"asked": shown})
        found = replace(result.rows[0].protocols["got10k"], records=(other.model_copy(update={"asked": served}),))
        rows = (replace(result.rows[0], records=(record,), protocols={"got10k": found}), *result.rows[1:])
        table = pivot(replace(result, rows=rows, protocols=(replace(facts, one_shot=True),)))
        notes = [table.footnotes[index] for index in cell(table, "conv", "got10k:ao").footnotes]
        assert len([note for note in notes if "own training videos alone" in note]) == footnotes


def test_pages_tables_and_the_frame_have_them(store: Path, tmp_path: Path) -> None:
    write_report(assembled(store), tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "72.9" in page and f"4 sequences, {4 * factory.FRAMES} frames" in page
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["decoder"]["protocols"]["got10k"]["ao"] == {"mean": pytest.approx(72.9), "ci95": None, "n": None}
    assert rows["decoder"]["metrics"]["sr50"]["mean"] == pytest.approx(82.1)
    assert rows["decoder"]["deltas"]["got10k"]["mean"] == pytest.approx(1.4)
    assert rows["decoder"]["deltas"]["got10k"]["resolved"] is None
    assert "with its 95 % interval" not in page
    assert "72.9" in (tmp_path / "out" / "table.tex").read_text()
    frame = trackablate.results(store)
    decoder = frame[(frame["run"] == run_name("decoder")) & (frame["metric"] == "ao")]
    assert decoder["value"].tolist() == pytest.approx([72.9])
    assert decoder["dialect"].tolist() == ["evaluation server"]


def test_on_the_whole_benchmark_at_the_papers_size_the_gap_is_shown(store: Path) -> None:
    result = assembled(store, comparable=True)
    (facts,) = result.protocols
    assert "gap_got10k:ao" not in {c.key for c in pivot(result).columns}, "4 of 180 sequences"
    table = pivot(replace(result, protocols=(replace(facts, sequences=facts.sequences * 45),)))
    assert cell(table, "decoder", "gap_got10k:ao").value == pytest.approx(72.9 - 72.9)
    assert cell(table, "ce-decoder", "gap_got10k:ao").value is None


def test_seeds_are_averaged_where_the_server_has_scored_them_all(tmp_path: Path) -> None:
    store_factory.fill(Store(tmp_path / "store"), STUDY, PROFILE, on_server=True)
    result = assembled(tmp_path / "store")
    scores = [seed_of(ao) for ao in (0.70, 0.72)]
    for seeds, expected in ((scores, 71.0), ([scores[0], seed_of(None)], None)):
        served = TrackerScores((), records=result.rows[0].records * 2, returned=tuple(seeds))
        rows = tuple(replace(r, protocols={"got10k": served}) if r.baseline else r for r in result.rows)
        found = cell(pivot(replace(result, rows=rows)), "conv", "got10k:ao").value
        assert found == (pytest.approx(expected) if expected else None)


def seed_of(ao: float | None) -> Returned:
    return Returned({"ao": ao}, "2026-01-01") if ao else Returned(reason="lost")


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (["ao=0.729", "sr50=0.8"], "shares of 1"),
        (["ao=172"], "in percent"),
        (["ao=nan"], "in percent"),
        (["ao"], "write ao=72.9"),
        (["auc=70"], "metric of got10k"),
        (["ao=70", "ao=71"], "twice"),
    ],
)
def test_bad_scores_are_refused_and_nothing_is_kept(store: Path, scores: list[str], words: str) -> None:
    status, text = say(store, run_name("ce-decoder"), *scores)
    assert status == 2
    assert words in text
    assert cell(pivot(assembled(store)), "ce-decoder", "got10k:ao").value is None


def test_less_than_one_percent_is_a_legal_score(store: Path) -> None:
    assert say(store, run_name("ce-decoder"), "ao=24.1", "sr50=0.9")[0] == 0
    assert cell(pivot(assembled(store)), "ce-decoder", "got10k:sr50").value == pytest.approx(0.9)


def test_entering_again_replaces_and_says_so(store: Path) -> None:
    status, text = say(store, run_name("conv"), "ao=71.9")
    assert status == 0
    assert "instead of" in text and "80.1" in text
    assert cell(pivot(assembled(store)), "conv", "got10k:sr50").value is None


def test_a_run_that_is_not_tracked_whole_cannot_have_been_scored(store: Path) -> None:
    (folder,) = (store / "runs" / run_name("ce-decoder") / "evaluations").iterdir()
    sorted(folder.glob("*.json"))[-1].unlink()
    status, text = say(store, run_name("ce-decoder"), "ao=70")
    assert status == 2
    assert "only partly evaluated" in text


def test_a_decoder_with_fewer_layers_is_an_evaluation_of_its_own(store: Path) -> None:
    status, text = say(store, run_name("decoder"), "ao=70", "--test-layers", "2")
    assert status == 2
    assert "with 2 of its decoder's layers" in text
