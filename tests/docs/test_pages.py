"""Every line of README and pages that a user may copy: commands are parsed, TOML and Python are fed to the real code."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
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
from trackablate.datasets.toml_files import configured, configured_store, read_toml
from trackablate.harness.cli import app, plugins_first
from trackablate.harness.profiles import load_profile
from trackablate.harness.scoring import metrics
from trackablate.harness.scoring.metrics import DIALECTS, METRICS, tally
from trackablate.harness.spec import RunSpec, VideoData
from trackablate.harness.store import Store
from trackablate.trackers.adaptation.adapt import METHODS, adapt
from trackablate.trackers.model import build
from trackablate.trackers.spec import FloorSpec, replace
from trackablate.trackers.variants import VARIANTS
from video_factory import boxes, images, write

PAGES = {name: ROOT / name for name in ("README.md", "CONTRIBUTING.md")} | {
    file.relative_to(ROOT).as_posix(): file for file in sorted((ROOT / "docs").rglob("*.md"))
}
BLOCKS = [
    block
    for file in PAGES.values()
    for block in re.findall(r"^```(\w*)\n(.*?)^```$", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
]
TOML = [text for language, text in BLOCKS if language == "toml"]
PYTHON = [text for language, text in BLOCKS if language == "python"]
LINES = "\n".join(text for language, text in BLOCKS if not language).replace("\\\n", " ").splitlines()
COMMANDS = [line.partition("python -m harness ")[2] for line in LINES if "python -m harness " in line]
PROFILE = next(text for text in TOML if 'kind = "videos"' in text)


def the(blocks: list[str], word: str) -> str:
    (found,) = (block for block in blocks if word in block)
    return found


def test_the_pages_are_read() -> None:
    assert len(COMMANDS) > 50
    assert (len(TOML), len(PYTHON)) == (9, 8), "a new example needs a test here"


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
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
    (line,) = {line for line in COMMANDS if "--profile mine.toml" in line}
    assert {word.partition("=")[0] for word in line.split() if "=/" in word} == used, "the command names all data"


def test_the_settings_name_a_store_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = the(TOML, "store = ").replace('"/data', f'"{tmp_path}')
    (tmp_path / "trackablate.toml").write_text(text)
    (tmp_path / "LaSOT").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRACKABLATE_DATA_LASOT", raising=False)
    assert configured_store() == tmp_path / "runs"
    assert data_root("lasot", {}) == tmp_path / "LaSOT"


def test_the_settings_name_caes_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trackablate.toml").write_text(the(TOML, "[weights]"))
    monkeypatch.chdir(tmp_path)
    assert configured("weights", STUDIES["table3"].starts_from)[0] == Path("/data/weights/cae_base.pth")


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


@pytest.mark.parametrize(("word", "rows"), [("seeds = 3", 4), ("Rank = ", 2)])
def test_the_study_in_toml_is_planned(word: str, rows: int, tmp_path: Path) -> None:
    text = next(block for block in TOML if word in block and ("seeds" in block) == ("seeds" in word))
    (tmp_path / "ranks.toml").write_text(text)
    study = load_study(tmp_path / "ranks.toml")
    assert len(planned_rows(study, load_profile("mini"))) == rows + 3, "every combination, two floors and a control"


def test_the_shortest_declaration_reads_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "drones.toml").write_text(next(block for block in TOML if 'frames = "videos/{name}/img"' in block))
    write(tmp_path / "data", images("videos/boat/img", range(1, 4)) | {"anno/boat.txt": boxes(3)})
    checked = said("data", "check", tmp_path / "drones.toml", "--data", f"drones={tmp_path / 'data'}")
    assert checked["protocols"] == {"drones": "1 sequence, of no list"}


def test_the_entry_point_is_the_one_that_is_looked_for(tmp_path: Path) -> None:
    from trackablate.trackers.plugins import GROUP

    (tmp_path / "pyproject.toml").write_text(the(TOML, "entry-points"))
    _, found = read_toml(tmp_path / "pyproject.toml")
    assert found["project"]["entry-points"] == {GROUP: {"two-linear": "two_linear"}}


def test_the_study_in_python_is_planned() -> None:
    names: dict[str, Any] = {}
    exec(compile(the(PYTHON, "points = Study("), "study.md", "exec"), names)
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
    exec(compile(the(PYTHON, "trackablate.results"), "paper.md", "exec"), names)
    assert set(names["ao"]["protocol"]) == {"synthetic"}
    assert set(names["ao"]["role"]) == {"variant"}
    assert names["ao"]["head"].notna().all()
    assert names["ao"]["value"].notna().all()
    assert {"variant", "floor", "control"} == set(names["everything"]["role"])
    printed = capsys.readouterr().out
    assert "evaluation server" in printed
    assert "centre" in printed


def test_the_class_of_ones_own_tracks_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "last_box.py").write_text(the(PYTHON, "class LastBox"))
    write(tmp_path, images("clip", range(1, 4)))
    monkeypatch.chdir(tmp_path)
    found = said("track", "last_box:LastBox", "clip", "--init", "5,6,7,8", "--store", tmp_path / "store")
    assert found["boxes"] == [[5, 6, 7, 8]] * 3


def test_the_adaptation_method_trains_the_norms_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    method, spec = (executed(word) for word in ("NORMS = Method", "class Norms"))
    asked = replace(VARIANTS["ostrack-256"], name="norms", backbone="vit-mini", pretrained="none")
    model = build(asked)
    before = {name for name, p in model.named_parameters() if name.startswith("encoder.blocks.") and p.requires_grad}
    monkeypatch.setitem(METHODS, "norms", method["NORMS"])
    norms = spec["Norms"]()
    adapt(model, asked.model_copy(update={"adaptation": norms}))
    assert norms.at_scale(load_profile("mini").scale) == norms
    trained = {name for name, p in model.named_parameters() if name.startswith("encoder.blocks.") and p.requires_grad}
    assert trained == {name for name in before if ".norm1." in name or ".norm2." in name}
    assert len(trained) == 4 * 2 * 2, "weight and bias of two norms in each of four blocks"


def test_the_benchmark_is_read(tmp_path: Path) -> None:
    data = executed("TWIGS = DataSet")["TWIGS"]
    write(tmp_path, images("elm/img", range(1, 5)) | {"elm/groundtruth.txt": boxes(4)})
    (protocol,) = data.protocols
    found = protocol.open(tmp_path)
    found.check()
    assert (found.names, found.coverage) == (("elm",), "1 of 3 sequences")


def test_the_metric_is_read_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS))
    monkeypatch.setattr(DIALECTS, "_entries", dict(DIALECTS.built_in))
    executed("def early")
    whole, away = [10.0, 10, 20, 20], [90.0, 90, 5, 5]
    tallied = tally(
        np.array([whole, whole, whole, away, away]), np.array([whole] * 5), np.ones(5, bool), size=(200, 200)
    )
    numerators, weights = metrics.values([tallied], "early", DIALECTS["early"])
    assert numerators / weights == 1.0, "2 of the 4 frames after the first are the first half"


def executed(word: str) -> dict[str, Any]:
    """The names that the example with this word defines."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(the(PYTHON, word), word, "exec"), names)
    return names


def test_every_link_between_pages_leads_to_a_heading_or_a_file() -> None:
    """On GitHub too, where the README links into docs/; the made pages exist on the site alone."""
    wrong = []
    for name, file in PAGES.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            target = file if not path else (file.parent / path).resolve()
            made = path.startswith(("commands/", "benchmarks/", "modules/", "studies.md")) and name != "README.md"
            if not made and not (target.is_file() and (not anchor or anchor in anchors(target))):
                wrong.append(f"{name}: {link}")
    assert wrong == []


def test_the_map_names_what_exists() -> None:
    """Each file, and each constant to which an entry is added, that CONTRIBUTING sends a reader to."""
    text = PAGES["CONTRIBUTING.md"].read_text(encoding="utf-8")
    rooms = ("datasets", "trackers", "harness", "ablations", "reports", "tests", "docs")
    files = {f"/{file.relative_to(ROOT).as_posix()}": file for room in rooms for file in (ROOT / room).rglob("*.*")}
    named = set(re.findall(r"`([\w/]+\.(?:py|toml|csv))\b", text))
    assert len(named) > 50
    assert [name for name in sorted(named) if not any(path.endswith(f"/{name}") for path in files)] == []
    code = "\n".join(file.read_text(encoding="utf-8") for path, file in files.items() if path.endswith(".py"))
    entries = set(re.findall(r"`_?([A-Z][A-Z_]{3,})`", text))
    assert [name for name in sorted(entries) if not re.search(rf"^_?{name}\b.*=", code, re.MULTILINE)] == []
    folders = re.findall(r"^ {0,2}(\w+)/ ", text.partition("```")[2].partition("```")[0], re.MULTILINE)
    assert [name for name in folders if not any(f"/{name}/" in path for path in files)] == []


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
