"""Rows beside a study's own: published weights and outside trackers, in the same table as the trained rows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import store_factory
from command_line import invoke, said
from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import run_of
from trackablate.ablations.study import FaultyStudy, Other
from trackablate.ablations.study_file import load_study
from trackablate.datasets.registry import UnknownName
from trackablate.harness.cli.launching import StudyRequest
from trackablate.harness.cli.session import open_session
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import TrainingCost, TrainingRecord
from trackablate.harness.spec import Imported, RunSpec
from trackablate.harness.store import Store
from trackablate.reports.assemble import assemble
from trackablate.reports.pages.write import write_report
from trackablate.trackers.spec import OutsideSpec, TrackerSpec
from trackablate.trackers.spec import replace as with_changes
from trackablate.trackers.variants import VARIANTS

SMOKE = load_profile("smoke")
CSRT = OutsideSpec(target="my.trackers:Siam", arguments={"size": 255})
IMPORTED = RunSpec(
    tracker=with_changes(VARIANTS["ostrack-256-ce"], pretrained="none"),
    imported=Imported(name="mine", sha256="ab" * 32),
)


def imported(store: Store) -> None:
    folder = store.run(IMPORTED)
    folder.claim()
    folder.weights.write_bytes(b"")
    record = store_factory.factory.record(IMPORTED.tracker, "mine").training
    assert record is not None
    cost = TrainingCost(params=92_000_000, macs=21_000_000_000)
    folder.finish_training(record.model_copy(update={"curve": [], "cost": cost}))


def request(place: Path, *beside: str, purpose: str = "run") -> StudyRequest:
    asked = StudyRequest("table3", "smoke", [], [], [], place / "store", beside=beside)
    return replace(asked, purpose=purpose)  # type: ignore[arg-type]


@pytest.fixture
def everything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers of other environments count as usable."""
    monkeypatch.setattr("trackablate.harness.running.runner.fault_of", lambda _: "")


@pytest.mark.usefixtures("everything_starts")
def test_named_runs_stand_beside_the_rows(tmp_path: Path) -> None:
    imported(Store(tmp_path / "store"))
    session = open_session(request(tmp_path, "mine", "csrt=opencv-csrt", 'my.trackers:Siam(size=255, f="a=b")'))
    rows = {row.name: row for row in session.rows}
    assert [*rows][4:7] == ["mine", "csrt", 'my.trackers:Siam(size=255, f="a=b")']
    assert rows["mine"].run.name == IMPORTED.name
    assert rows["mine"].role == "variant"
    assert rows["mine"].tracker_at_paper_scale == rows["mine"].run.tracker
    assert rows["csrt"].run.tracker == OutsideSpec(
        target="trackablate.trackers.outside.opencv:OpenCV", arguments={"kind": "CSRT"}
    )
    assert {task.run.slug for task in session.job.tasks} >= {"mine", "opencv-csrt", "siam-255-a-b"}
    assert session.request.command.endswith(
        """--with mine --with csrt=opencv-csrt --with 'my.trackers:Siam(size=255, f="a=b")'"""
    )
    asked = session.study_record()
    assert [row.name for row in asked.rows][4:6] == ["mine", "csrt"]


def test_a_small_checkpoint_has_no_size_at_paper_scale(tmp_path: Path) -> None:
    store, run = Store(tmp_path / "store"), run_of(VARIANTS["detrack"], SMOKE, 0)
    small = RunSpec(tracker=run.tracker, imported=Imported(name="small", sha256="cd" * 32))
    store.run(small).claim()
    rows = {row.name: row for row in open_session(request(tmp_path, "small", purpose="plan")).rows}
    assert rows["small"].run.name == small.name
    assert rows["small"].tracker_at_paper_scale is None


def test_what_names_no_run_is_refused(tmp_path: Path) -> None:
    imported(Store(tmp_path / "store"))
    with pytest.raises(UnknownName, match="did you mean mine"):
        open_session(request(tmp_path, "mien"))
    with pytest.raises(FaultyStudy, match="two rows share a name"):
        open_session(request(tmp_path, "conv=opencv-mil"))
    with pytest.raises(FaultyStudy, match="static is the name of a floor"):
        open_session(request(tmp_path, "static=opencv-mil"))
    with pytest.raises(BadInput, match="holds no run"):
        open_session(request(tmp_path / "empty", "mine"))


@pytest.mark.usefixtures("everything_starts")
def test_a_studys_file_names_them_too(tmp_path: Path) -> None:
    imported(Store(tmp_path / "store"))
    text = """
name = "ranks"
title = "t"
question = "q"
baseline = "lorat-b-224"
beside = ["mine", "mil=opencv-mil"]
[factors]
Rank = "adaptation.rank"
[grid]
"adaptation.rank" = [16]
[outside.siam]
target = "my.trackers:Siam"
python = "/envs/siamese/bin/python"
timeout = 5.0
arguments = { size = 255 }
"""
    (tmp_path / "ranks.toml").write_text(text)
    session = open_session(replace(request(tmp_path), study=str(tmp_path / "ranks.toml")))
    rows = {row.name: row for row in session.rows}
    assert [*rows][2:5] == ["siam", "mine", "mil"]
    siam = rows["siam"].run.tracker
    assert isinstance(siam, OutsideSpec)
    assert (siam.python, siam.timeout, siam.arguments) == ("/envs/siamese/bin/python", 5.0, {"size": 255})
    (tmp_path / "ranks.toml").write_text(text.replace("timeout = 5.0", "timeout = -1"))
    with pytest.raises(FaultyStudy, match=r"ranks\.toml, line 14: outside\.siam\.timeout"):
        load_study(tmp_path / "ranks.toml")


def test_the_report_says_what_they_are_and_has_dashes_for_their_training(tmp_path: Path) -> None:
    others = (Other("mine", IMPORTED), Other("siam", RunSpec(tracker=CSRT)))
    study, store = replace(STUDIES["table3"], others=others), Store(tmp_path / "store")
    imported(store)
    record = store.run(IMPORTED).training()
    store_factory.fill(store, study, SMOKE)
    assert isinstance(record, TrainingRecord)
    store.run(IMPORTED).finish_training(record)
    asked = store.study("table3", "smoke")
    assert asked is not None
    result = assemble(study, asked, store)
    assert [row.name for row in result.variants][4:] == ["mine", "siam"]
    paths = write_report(result, tmp_path / "out", ["markdown", "json", "html", "latex", "csv"])
    assert paths
    text = (tmp_path / "out" / "table.md").read_text()
    assert f"Imported, not trained here: the weights of the file with SHA-256 {'ab' * 32}." in text
    assert r"Outside tracker, not trained here: my.trackers:Siam\(size=255\); its FPS includes the way of the" in text
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["rows"]}
    assert rows["mine"]["cost"]["train_seconds"] is None
    assert rows["mine"]["cost"]["params"] == 92_000_000
    assert rows["siam"]["cost"]["params"] is None
    assert rows["siam"]["metrics"]["ao"]["mean"] is not None
    assert rows["siam"]["factors"] == {"Sparsity": "", "Head": ""}


CODE = """
import time


class Mover:
    def init(self, image, box):
        self.box = [*map(float, box)]

    def update(self, image):
        self.box[0] += 1
        return self.box


class Failing(Mover):
    def update(self, image):
        if self.box[2] > 30:
            raise ValueError("too wide")
        return self.box
"""


def test_an_outside_tracker_is_evaluated_tracked_with_and_costed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outsiders.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    store = ("--store", tmp_path / "store")
    found = said("evaluate", "outsiders:Mover", "--protocol", "synthetic-smoke", "--device", "cpu", *store)
    assert found["run"].startswith("mover-")
    assert 0 <= found["metrics"]["ao"] <= 100
    exported = said(
        "export", "mover", "--protocol", "synthetic-smoke", "--layout", "pytracking", "--out", "out", *store
    )
    assert exported["sequences"] == 4
    cost = said("cost", "outsiders:Mover", "--device", "cpu")
    assert cost["params"] is None
    assert cost["fps"] > 1
    refused = invoke("cost", "outsiders:Mover")
    assert (refused.exit_code, "give --device" in refused.stderr) == (2, True)


def test_floors_and_stored_rows_cost_something_too(tmp_path: Path) -> None:
    store = ("--store", tmp_path / "store")
    refused = invoke("cost", "ncc", *store)
    assert (refused.exit_code, "its speed has to be measured: give --device cpu" in refused.stderr) == (2, True)
    found = said("cost", "ncc", "--device", "cpu", *store)
    assert (found["params"], found["fps"] > 1, found["memory_bytes"] > 1) == (0, True, True)
    store_factory.fill(Store(tmp_path / "store"), STUDIES["table3"], SMOKE)
    row = said("cost", "conv", *store)
    assert (row["variant"], row["params"] < 2e6) == ("conv", True), "at the run's own size"
    for name, near in (("ncs", "ncc"), ("ce-conf", "ce-conv"), ("opencv-cstr", "opencv-csrt")):
        unknown = invoke("cost", name, *store)
        assert unknown.exit_code == 2
        assert f"no tracker, run or row is called '{name}': did you mean {near}" in unknown.stderr
    assert "`list trackers`, `list outside` and `store list` name all" in unknown.stderr


def test_sequences_on_which_it_fails_are_named_and_the_others_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outsiders.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    words = ("evaluate", "outsiders:Failing", "--protocol", "synthetic-smoke", "--device", "cpu")
    done = invoke(*words, "--store", tmp_path / "store")
    assert done.exit_code == 1
    assert "TrackerFailed: it failed on " in done.stderr
    assert "ValueError: too wide (outsiders.py, line " in done.stderr
    (folder,) = Store(tmp_path / "store").runs()
    failure = folder.failure()
    assert failure is not None
    tracked = len(list(folder.results(folder.evaluations()[0]))) if folder.evaluations() else 0
    assert tracked + failure.summary.count("too wide") == 4
    assert 0 < tracked < 4


def test_imported_specs_are_costed_at_their_own_size() -> None:
    assert isinstance(IMPORTED.tracker, TrackerSpec)
    assert not IMPORTED.trained_here
    assert not IMPORTED.one_shot
    assert "abababababab" in IMPORTED.trained_on
