"""Every line of the README that a user may copy: commands are parsed, TOML and Python are fed to the real code."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import store_factory
from command_line import said
from places import ROOT
from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows
from trackablate.ablations.study import Study
from trackablate.ablations.study_file import load_study
from trackablate.datasets.roots import data_root
from trackablate.datasets.toml_files import configured_store, read_toml
from trackablate.harness.cli import app, plugins_first
from trackablate.harness.profiles import load_profile
from trackablate.harness.spec import RunSpec, VideoData
from trackablate.harness.store import Store
from trackablate.trackers.spec import FloorSpec
from video_factory import boxes, images, write

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
TOML = [text for language, text in BLOCKS if language == "toml"]
PYTHON = [text for language, text in BLOCKS if language == "python"]
LINES = "\n".join(text for language, text in BLOCKS if not language).replace("\\\n", " ").splitlines()
COMMANDS = [line.partition("python -m harness ")[2] for line in LINES if "python -m harness " in line]
PROFILE = next(text for text in TOML if 'kind = "videos"' in text)


def the(blocks: list[str], word: str) -> str:
    (found,) = (block for block in blocks if word in block)
    return found


def test_the_readme_is_read() -> None:
    assert len(COMMANDS) > 20
    assert (len(TOML), len(PYTHON)) == (5, 3), "a new example needs a test here"


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_one(line: str) -> None:
    """Its options exist and its values have the right form; what it does is tested elsewhere."""
    command: Any = typer.main.get_command(app)
    words = plugins_first(shlex.split(line, comments=True))
    while words[:1] == ["--plugin"]:
        words = words[2:]
    assert isinstance(command, TyperGroup)
    while isinstance(command, TyperGroup):
        name, *words = words
        command = command.commands[name]
    command.make_context(name, list(words))


def test_a_profile_of_ones_own_trains_every_study_on_real_videos(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(PROFILE)
    profile = load_profile(str(tmp_path / "mine.toml"))
    assert profile.name == "mine"
    assert isinstance(profile.data, VideoData)
    assert (profile.disk_gigabytes, profile.scale, profile.recipe) == (6.0, None, None)
    row = planned_rows(STUDIES["table3"], profile)[0]
    assert row.run.data == profile.data
    used = {name.split("-")[0].removesuffix("2017") for name in profile.data.all_sets}
    (line,) = (line for line in COMMANDS if "--profile mine.toml" in line)
    assert {word.partition("=")[0] for word in line.split() if "=/" in word} == used, "the command names all data"


def test_the_settings_name_a_store_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = the(TOML, "store = ").replace('"/data', f'"{tmp_path}')
    (tmp_path / "trackablate.toml").write_text(text)
    (tmp_path / "LaSOT").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRACKABLATE_DATA_LASOT", raising=False)
    assert configured_store() == tmp_path / "runs"
    assert data_root("lasot", {}) == tmp_path / "LaSOT"


def test_the_declared_data_set_is_checked_tracked_scored_and_trained_on(tmp_path: Path) -> None:
    """All of the example is used: shared folders, ranges of frames, flags, attributes, NaN, two splits."""
    (tmp_path / "drones.toml").write_text(the(TOML, "[splits.test]"))
    (tmp_path / "drones_train.csv").write_text("name,folder,first,last,attributes\nbuoy,sea,,,FM SV\n")
    data, store = tmp_path / "data", tmp_path / "store"
    rows, nothing = boxes(8), "0\n" * 8
    hidden = rows.replace("5,3,10,12", "nan,nan,nan,nan")
    write(data, images("videos/harbour/img", range(1, 9)) | images("videos/sea/img", range(1, 9)))
    write(data, {"anno/boat.txt": hidden, "anno/crane.txt": boxes(6, first=4), "anno/buoy.txt": rows})
    write(data, {"flags/boat_occlusion.txt": "0,0,0,1,0,0,0,0", "flags/boat_cover.txt": "8\n" * 8})
    write(data, {"flags/crane_occlusion.txt": "0\n" * 6, "flags/buoy_occlusion.txt": nothing})
    where = ["--protocol", tmp_path / "drones.toml", "--data", f"drones={data}", "--store", store]
    checked = said("data", "check", tmp_path / "drones.toml", "--data", f"drones={data}")
    assert checked["protocols"] == {"drones": "2 of 2 sequences", "drones-train": "1 of 1 sequences"}
    Store(store).run(RunSpec(tracker=FloorSpec(kind="static"))).claim()
    evaluated = said("evaluate", "static", *where)
    assert set(evaluated["metrics"]) == {"auc", "precision", "unbroken"}
    out = tmp_path / "results"
    exported = said("export", "static", *where, "--layout", "pytracking", "--out", out)
    scored = said("score", f"Static={out / exported['run']}", *where)
    assert scored["dialects"]["ostrack"]["Static"]["auc"] == pytest.approx(evaluated["metrics"]["auc"])
    (tmp_path / "profile.toml").write_text(PROFILE.split("sets =")[0] + f'sets = ["{tmp_path / "drones.toml"}"]\n')
    profile = load_profile(str(tmp_path / "profile.toml"))
    assert isinstance(profile.data, VideoData)
    assert profile.data.sets[0].startswith("drones-train@")


def test_the_study_in_toml_is_planned(tmp_path: Path) -> None:
    (tmp_path / "ranks.toml").write_text(the(TOML, "[grid]"))
    study = load_study(tmp_path / "ranks.toml")
    assert len(planned_rows(study, load_profile("mini"))) == 4 + 3, "every combination, two floors and a control"


def test_the_entry_point_is_the_one_that_is_looked_for(tmp_path: Path) -> None:
    from trackablate.trackers.plugins import GROUP

    (tmp_path / "pyproject.toml").write_text(the(TOML, "entry-points"))
    _, found = read_toml(tmp_path / "pyproject.toml")
    assert found["project"]["entry-points"] == {GROUP: {"two-linear": "two_linear"}}


def test_the_study_in_python_is_planned() -> None:
    names: dict[str, Any] = {}
    exec(compile(the(PYTHON, "points = Study("), "README.md", "exec"), names)
    assert isinstance(names["points"], Study)
    assert [row.name for row in planned_rows(names["points"], load_profile("paper"))][:2] == ["4", "8"]


def test_the_notebook_averages_one_protocol_over_trackers_that_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A score of an evaluation server and the floors lie in the store too: neither enters a mean, nor makes a row of NaN."""
    monkeypatch.chdir(tmp_path)
    store, profile = Store(tmp_path / "store"), load_profile("smoke").model_copy(update={"protocols": ("synthetic",)})
    store_factory.fill(store, STUDIES["head"], profile, unfinished=("mlp",))
    got10k = profile.model_copy(update={"protocols": ("got10k",)})
    store_factory.fill(store, STUDIES["head"], got10k, unfinished=("mlp",), on_server=True)
    names: dict[str, Any] = {}
    exec(compile(the(PYTHON, "trackablate.results"), "README.md", "exec"), names)
    assert set(names["ao"]["protocol"]) == {"synthetic"}
    assert set(names["ao"]["role"]) == {"variant"}
    assert names["ao"]["head"].notna().all()
    assert names["ao"]["value"].notna().all()
    assert {"variant", "floor", "control"} == set(names["everything"]["role"])
    printed = capsys.readouterr().out
    assert "evaluation server" in printed
    assert "centre" in printed
