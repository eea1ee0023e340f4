"""A study from a TOML file: everything the built-in ones have, and clear words where it is wrong."""

from pathlib import Path

import pytest

from trackablate.ablations.catalogue import named_study
from trackablate.ablations.plan import planned_rows
from trackablate.ablations.study import ConfoundedStudy, FaultyStudy
from trackablate.ablations.study_file import load_study
from trackablate.harness.profiles import load_profile
from trackablate.trackers.spec import LoRA

RANKS = """
name = "my-ranks"
title = "Ranks"
question = "How much rank?"
baseline = "lorat-b-224"
protocols = ["lasot"]
seeds = 2
[factors]
Rank = "adaptation.rank"
Start = "adaptation.init"
[grid]
"adaptation.rank" = [16, 64]
"adaptation.init" = ["lorat", "lora"]
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return file


def test_a_grid_is_every_combination_and_finds_its_baseline(tmp_path: Path) -> None:
    study = named_study(str(written(tmp_path, RANKS)))
    assert [row.name for row in study.rows] == [
        *("rank-16-init-lorat", "rank-16-init-lora", "rank-64-init-lorat", "rank-64-init-lora")
    ]
    assert study.baseline_row.name == "rank-64-init-lorat"
    assert study.rows[1].cells == ("16", "lora")
    adaptation = study.spec(study.rows[1]).adaptation
    assert isinstance(adaptation, LoRA)
    assert (adaptation.rank, adaptation.alpha, adaptation.init) == (16, 64, "lora")
    rows = planned_rows(study, load_profile("mini"))
    assert [run.run.seed for run in rows[0].runs] == [0, 1]


def test_rows_by_hand_may_change_the_recipe(tmp_path: Path) -> None:
    text = RANKS[: RANKS.index("[factors]")] + (
        '[factors]\nDecay = "recipe.layer_decay"\n[[rows]]\nname = "decayed"\nset = { "recipe.layer_decay" = 0.7 }\n'
    )
    study = load_study(written(tmp_path, text))
    assert [(row.name, row.cells) for row in study.rows] == [("lorat-b-224", ("1.0",)), ("decayed", ("0.7",))]
    planned = planned_rows(study, load_profile("mini"))[1].run.recipe
    assert planned is not None
    assert planned.layer_decay == 0.7


def test_a_whole_axis_may_be_replaced(tmp_path: Path) -> None:
    rows = '[factors]\nHead = "head"\n[coupled]\nlabels = "other labels"\n[[rows]]\nname = "centre"\n'
    rows += 'set = { head = { kind = "centre", offset_from = "centre" }, labels = "hard" }\n'
    study = load_study(written(tmp_path, RANKS[: RANKS.index("[factors]")] + rows))
    assert study.rows[1].cells == ("centre",)
    assert study.spec(study.rows[1]).head.kind == "centre"


def test_the_confound_guard_holds_for_files_too(tmp_path: Path) -> None:
    text = RANKS.replace('Start = "adaptation.init"\n', "")
    with pytest.raises(ConfoundedStudy, match=r"adaptation\.init"):
        load_study(written(tmp_path, text))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("baseline =", "base =", (", line 5: ", "base: is no field of this file; did you mean baseline")),
        ('"lorat-b-224"', '"lorat-b-242"', (", line 5: ", "did you mean lorat-b-224")),
        ('"lasot"', '"lassot"', (", line 6: ", "did you mean lasot")),
        ("seeds = 2", "seeds = 0", (", line 7: ", "seeds")),
        (
            '[grid]\n"adaptation.rank"',
            '[grid]\n"adaptation.ranks"',
            (", line 12: ", "adaptation.lora.ranks: is no field of this file; did you mean rank"),
        ),
        (
            '[grid]\n"adaptation.rank"',
            '[grid]\n"head.layer"',
            ("head.layer: is no field of this file; did you mean layers",),
        ),
        ("[16, 64]", '[16, "many"]', ("adaptation.lora.rank",)),
        ("[grid]", "[grid", ("line 11",)),
        ('name = "my-ranks"', 'name = "../ranks"', (", line 2: ", "name")),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    file = written(tmp_path, RANKS.replace(old, new, 1))
    with pytest.raises(FaultyStudy) as refusal:
        load_study(file)
    for word in (str(file), *words):
        assert word in str(refusal.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FaultyStudy, match="is not there"):
        load_study(Path("nothing.toml"))


def test_a_grid_of_a_thousand_thousands_is_refused(tmp_path: Path) -> None:
    ranks = ", ".join(map(str, range(1, 1002)))
    text = RANKS.replace("[16, 64]", f"[{ranks}]").replace('["lorat", "lora"]', f"[{ranks}]")
    with pytest.raises(FaultyStudy, match=r"mine\.toml: \[grid\] has 1002001 combinations, more than 1000"):
        load_study(written(tmp_path, text))


def test_the_file_of_a_data_set_is_told_apart(tmp_path: Path) -> None:
    file = written(tmp_path, 'name = "drones"\nfirst_pixel = 1\nboxes = "{name}.txt"\nframes = "{name}/img"\n')
    with pytest.raises(FaultyStudy, match=r"mine.toml declares a data set, and no study: .* --protocol .*mine.toml$"):
        load_study(file)
