"""Names and runs that collide are refused before anything could stand for something else."""

from pathlib import Path
from typing import Any

import pytest

import store_factory
from command_line import report_cited as report
from places import MINI
from trackablate.ablations.catalogue import STUDIES, named_study
from trackablate.ablations.plan import planned_rows
from trackablate.ablations.study import FaultyStudy, Row, Study
from trackablate.ablations.study_file import load_study
from trackablate.harness.profiles import load_profile
from trackablate.harness.store import Store
from trackablate.reports.pages.site import stored_studies
from trackablate.trackers.variants import VARIANTS

FILE = """
name = "mine"
title = "Mine"
question = "What?"
baseline = "detrack-ce"
[factors]
Queries = "head.queries"
[grid]
"head.queries" = [16, 64]
"""


def study(*rows: Row, **more: Any) -> Study:
    return Study(
        "mine", "", "", "", VARIANTS["lorat-b-224"], {"Rank": "adaptation"}, (Row("lora", ("64",)), *rows), **more
    )


@pytest.mark.parametrize("name", ["static", "ncc", "shuffled-template"])
def test_a_row_cannot_have_a_floors_name(name: str) -> None:
    with pytest.raises(FaultyStudy, match="name of a floor or control"):
        study(Row(name, ("other",), {"adaptation": VARIANTS["full-b-224"].adaptation}))


def test_two_rows_cannot_be_the_same_tracker() -> None:
    other = {"adaptation": VARIANTS["full-b-224"].adaptation}
    with pytest.raises(FaultyStudy, match="'a' and 'b' are the same tracker trained alike"):
        study(Row("a", ("a",), other), Row("b", ("b",), other))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(FaultyStudy, match="did you mean auc"):
        study(primary_metric="aucc")


def test_rows_that_a_profile_makes_one_run_are_refused(tmp_path: Path) -> None:
    """Profile mini overwrites the number of queries."""
    (tmp_path / "mine.toml").write_text(FILE)
    mine = load_study(tmp_path / "mine.toml")
    assert len({row.run.fingerprint for row in planned_rows(mine, load_profile("paper")) if row.role == "variant"}) == 2
    with pytest.raises(FaultyStudy, match="are the same run: drop one"):
        planned_rows(mine, load_profile("mini"))


def test_a_study_of_ones_own_cannot_take_the_name_of_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FILE.replace('"mine"', '"table3"'))
    with pytest.raises(FaultyStudy, match="is a built-in study"):
        named_study(str(tmp_path / "mine.toml"))


def test_raw_results_cannot_take_the_name_of_a_row(tmp_path: Path) -> None:
    status, _, err = report(tmp_path, MINI / "annotations", f"detrack={MINI / 'results' / 'lag10'}")
    assert status == 2
    assert "a row of the study has that name" in err


def test_a_site_takes_all_seeds_of_the_store(tmp_path: Path) -> None:
    from dataclasses import replace

    store, smoke = Store(tmp_path / "store"), load_profile("smoke")
    store_factory.fill(store, replace(STUDIES["head"], seeds=2), smoke)
    (found,) = stored_studies(store, [STUDIES["head"]], ["smoke"])
    assert found.record.seeds == 2
    assert found.record.command.endswith("--seeds 2")
    assert [len(row.runs) for row in found.record.rows if row.role == "variant"] == [2, 2, 2]
