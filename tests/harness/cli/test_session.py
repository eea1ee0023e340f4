"""What a study's commands share: rows, data, and the version of the data that a report is made of."""

import re
import shutil
from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
from typer.testing import CliRunner

import store_factory
from command_line import harness, invoke, said
from trackablate.ablations.catalogue import STUDIES
from trackablate.datasets.errors import DataError
from trackablate.harness.checkout import WITHOUT_STORE
from trackablate.harness.cli import _COMMANDS, app
from trackablate.harness.cli.doctor import fonts
from trackablate.harness.cli.launching import StudyRequest
from trackablate.harness.cli.options import writable
from trackablate.harness.cli.session import open_session
from trackablate.harness.cli.study_data import find_run, reported_data
from trackablate.harness.documents import write_document
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile, with_changes
from trackablate.harness.record import SequenceResult
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import Store, read_protocol
from trackablate.trackers.spec import TrackerSpec
from video_factory import images, write

SMOKE = load_profile("smoke")
ROWS = ["conv", "decoder", "ce-conv", "ce-decoder", "static", "ncc", "shuffled-template"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRACKABLATE_STORE", raising=False)
    return tmp_path


def request(place: Path, **fields: object) -> StudyRequest:
    return replace(StudyRequest("table3", "smoke", [], [], [], place / "store"), **fields)  # type: ignore[arg-type]


def test_a_run_of_some_rows_is_reported_with_all(place: Path) -> None:
    """The page of the whole study is not written over by a part of it."""
    session = open_session(request(place, only=["decoder"]))
    assert {row.name for row in session.rows} == set(ROWS)
    assert len(session.job.tasks) == 4, "decoder, its baseline and two floors"
    assert "--only" not in session.request.command
    assert session.folder == Path("report", "table3-smoke")
    part = open_session(request(place, only=["decoder"], purpose="report"))
    assert {row.name for row in part.rows} == {"conv", "decoder", "static", "ncc", "shuffled-template"}
    assert part.folder == Path("report", "table3-smoke-only-decoder"), "a report of a part has a folder of its own"


def test_fields_of_every_run_can_be_set(place: Path) -> None:
    """The runs are others, the profile says it in its name and caveat, and so does the command."""
    changes = ("recipe.steps=7", "tracker.head.layers=1", "tracker.adaptation.kind=bitfit")
    plain, changed = open_session(request(place)), open_session(request(place, changes=changes))
    runs = {row.name: row.run for row in changed.rows if row.role == "variant"}
    for row in plain.rows:
        if row.role == "variant":
            run = runs[row.name]
            assert run.fingerprint != row.run.fingerprint
            assert isinstance(run.tracker, TrackerSpec)
            assert run.recipe == row.run.recipe.model_copy(update={"steps": 7})  # type: ignore[union-attr]
            assert run.tracker.adaptation.kind == "bitfit"
            assert run.data == row.run.data
    assert {name: getattr(run.tracker.head, "layers", None) for name, run in runs.items()} == {  # type: ignore[union-attr]
        **{"conv": None, "ce-conv": None, "decoder": 1, "ce-decoder": 1}
    }
    assert changed.profile.name == "smoke-recipe.steps-7-tracker.head.layers-1-tracker.adaptation.kind-bitfit"
    assert "recipe.steps = 7, tracker.head.layers = 1" in changed.profile.caveat
    assert "--set recipe.steps=7" in changed.request.command
    assert changed.folder != plain.folder


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("steps=7", "write recipe.FIELD=VALUE or tracker.FIELD=VALUE"),
        ("recipe.steps", "write recipe.FIELD=VALUE or tracker.FIELD=VALUE"),
        ("recipe.stps=7", "did you mean recipe.steps"),
        ("tracker.head.layrs=2", "did you mean tracker.head.layers"),
        ("recipe.steps=-3", "--set recipe.steps: is too small, got -3; write more than 0"),
        ("recipe.steps=lots", "--set recipe.steps: is no whole number, got 'lots'; write one"),
        ("recipe.precision=fp99", "--set recipe.precision: is no known value, got 'fp99'; write 'fp32', 'tf32', "),
        ("tracker.labels=hard", "--set tracker: tracker 'decoder': label assignments belong to heads: the labels of"),
        ("tracker.head.kind=foo", "--set tracker.head: no head is called 'foo': there are: centre, conv, "),
        ("tracker.adaptation.kind=x", "--set tracker.adaptation: is of no known kind; write one of 'full', "),
        ("tracker.sparsity.keep_ratio=2.0", "keep_ratio: is too large, got 2.0; write 1.0 or less"),
    ],
)
def test_what_cannot_be_set_is_refused(place: Path, change: str, told: str) -> None:
    refused = invoke("plan", "table3", "--profile", "smoke", "--store", place / "store", "--set", change)
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert refused.stderr.count("\n") <= 2


def test_what_a_study_varies_cannot_be_set(place: Path) -> None:
    words = ["plan", "table4", "--profile", "smoke", "--store", place / "store"]
    refused = invoke(*words, "--set", "tracker.head.layers=2")
    assert (refused.exit_code, "varies it from row to row" in refused.stderr) == (2, True)


def test_a_changed_length_takes_the_warm_up_along(place: Path) -> None:
    for changes, warmup in (
        (("recipe.steps=2000",), round(2048 * 2000 / (170 * 1024))),
        (("recipe.steps=2000", "recipe.warmup_steps=100"), 100),
    ):
        asked = request(place, study="lorat-rank", profile="paper", purpose="plan", changes=changes)
        recipe = open_session(asked).rows[0].run.recipe
        assert recipe is not None
        assert (recipe.steps, recipe.warmup_steps) == (2000, warmup)


def test_sizes_at_paper_scale_are_those_of_the_changed_tracker(place: Path) -> None:
    changes = ("tracker.head.layers=2",)
    paper = open_session(request(place, profile="paper", purpose="plan", changes=changes))
    small = open_session(request(place, changes=changes))
    for session, layers in ((paper, 2), (small, 3)):
        (row,) = (row for row in session.rows if row.name == "decoder")
        assert row.tracker_at_paper_scale is not None
        assert row.tracker_at_paper_scale.head.layers == layers  # type: ignore[union-attr]


def test_train_refuses_what_it_cannot_set(place: Path) -> None:
    refused = invoke(
        "train", "ostrack-256", "--profile", "smoke", "--store", place / "store", "--set", "recipe.stepz=3"
    )
    assert refused.exit_code == 2
    assert "did you mean recipe.steps" in refused.stderr


def test_a_profile_with_many_changes_has_a_name_that_a_folder_can_have() -> None:
    many = with_changes(SMOKE, [f"tracker.field{i}={'x' * 20}" for i in range(10)])
    other = with_changes(SMOKE, [f"tracker.field{i}={'y' * 20}" for i in range(10)])
    assert len(many.name) < 40
    assert many.name != other.name
    signs = {with_changes(SMOKE, [f"recipe.decayed={value}"]).name for value in ("-a", "a", "[a]", "/a")}
    assert len(signs) == 4
    assert not any("/" in name for name in signs)


def test_a_report_of_nothing_names_the_profile_that_is_stored(place: Path) -> None:
    store_factory.fill(Store(place / "store"), STUDIES["table3"], SMOKE)
    found = invoke("report", "table3", "--profile", "mini", "--store", place / "store", "--format", "json")
    assert "the store has table3 at --profile smoke" in found.stderr
    assert "--profile" not in invoke("report", "table3", "--profile", "smoke", "--format", "json").stderr


def test_a_report_of_less_leaves_the_page_of_more(place: Path) -> None:
    """More seeds than are stored, or another store: the page that stands stays, and the message says how to replace it."""
    otb = SMOKE.model_copy(update={"protocols": ("otb",)})
    store_factory.fill(Store(place / "store"), STUDIES["table3"], otb)
    store_factory.fill(Store(place / "half"), STUDIES["table3"], otb, unfinished=["decoder"])
    words = ("report", "table3", "--profile", "smoke", "--protocol", "otb", "--format", "html,csv")
    page = Path("report/table3-smoke-otb/index.html")
    assert "has" not in invoke(*words).stderr.split("report: ")[0]
    before = page.read_bytes()
    for more in (["--seeds", "2"], ["--store", "half"]):
        less = invoke(*words, *more)
        assert less.exit_code == 0, less.stderr
        told = r"the report in (\S+) has 28 results, and this one has \d+, which goes to report/table3-smoke-otb-part"
        assert re.search(told, less.stderr)
        assert page.read_bytes() == before
        assert Path("report/table3-smoke-otb-part/index.html").is_file()
    assert "has 28 results, and this one has 24: it is replaced" in invoke(*words, *more, "--out", page.parent).stderr
    assert page.read_bytes() != before
    assert "the report in" not in invoke(*words).stderr, "more replaces less"


def test_a_report_of_more_seeds_than_are_stored_says_so(place: Path) -> None:
    store_factory.fill(Store(place / "store"), STUDIES["table3"], SMOKE)
    words = ("report", "table3", "--profile", "smoke", "--format", "csv")
    told = "the store has table3 with 1 seed: report it with --seeds 1, or train the others by `python -m harness run table3"
    assert told in invoke(*words, "--seeds", "2").stderr
    assert told not in invoke(*words, "--seeds", "1").stderr


@pytest.mark.parametrize(
    ("format", "file"),
    [("latex", "table.tex"), ("markdown", "table.md"), ("csv", "table.csv"), ("json", "results.json")],
)
def test_one_format_of_text_is_all_that_standard_output_holds(place: Path, format: str, file: str) -> None:
    store_factory.fill(Store(place / "store"), STUDIES["table3"], SMOKE)
    words = ("report", "table3", "--profile", "smoke", "--out", "out", "--format", format)
    for _ in ("drawn", "unchanged"):
        done = invoke(*words)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == Path("out", file).read_text()
        assert "Sparsity and head" in done.stderr, "the answer is beside it"
    assert "Sparsity and head" in invoke(*words[:-1], "html,latex").stdout


def test_data_that_nothing_reads_are_refused(place: Path) -> None:
    told = r"--data lasot is not used: add --protocol lasot, or leave it out"
    with pytest.raises(BadInput, match=told):
        open_session(request(place, data=["lasot=x"]))
    with pytest.raises(BadInput, match="--data coco is not used: train on it, or leave it out"):
        open_session(request(place, data=["coco=x"], purpose="plan"))
    for words in (["train", "ostrack-256"], ["evaluate", "ncc", "--protocol", "synthetic"]):
        store_factory.fill(Store(place / "store"), STUDIES["table3"], SMOKE)
        assert told.replace("\\", "") in invoke(*words, "--data", "lasot=x", "--store", place / "store").stderr
    words = ["score", "A=x", "--protocol", "otb", "--data", "lasot=x"]
    assert "--data lasot is not used" in invoke(*words).stderr


def test_what_lacks_of_every_protocol_and_training_set_is_said_at_once(place: Path) -> None:
    Path("mine.toml").write_text('[data]\nkind = "videos"\nsets = ["trackingnet-train", "got10k-train"]\n')
    with pytest.raises(DataError) as refusal:
        open_session(request(place, profile="mine.toml", protocols=["otb", "lasot"]))
    for told in ("--data otb=PATH", "--data lasot=PATH", "to train on trackingnet-train: the folder of"):
        assert told in str(refusal.value)
    told = "to train on got10k-train, to validate during training on got10k-val: the folder of the data set 'got10k'"
    assert told in str(refusal.value)
    assert not (place / "store").exists()


def test_a_report_takes_the_whole_version_of_the_data_of_its_own_runs(place: Path) -> None:
    store = Store(place / "store")
    otb = SMOKE.model_copy(update={"protocols": ("otb",)})
    store_factory.fill(store, STUDIES["table3"], otb)
    runs = [folder.run for folder in store.runs()]
    whole = read_protocol(store.protocol(Evaluation(protocol="otb", data=store_factory.DIGEST)))
    assert whole is not None
    part = whole.model_copy(update={"digest": "a" * 64, "sequences": whole.sequences[:1]})
    foreign = whole.model_copy(update={"digest": "f" * 64, "sequences": whole.sequences * 2})
    for record in (part, foreign):
        evaluation = Evaluation(protocol="otb", data=record.digest)
        write_document(store.protocol(evaluation) / "protocol.json", record)
    boxes = SequenceResult(name=part.names[0], boxes=[(0.0, 0.0, 1.0, 1.0)], seconds=1.0)
    store.run(runs[0]).add_result(Evaluation(protocol="otb", data=part.digest), boxes)
    found = reported_data("otb", {}, store, runs)
    assert (found.digest, len(found.sequences)) == (store_factory.DIGEST, 4)
    twin = whole.model_copy(update={"digest": "b" * 64})
    evaluation = Evaluation(protocol="otb", data=twin.digest)
    write_document(store.protocol(evaluation) / "protocol.json", twin)
    store.run(runs[0]).add_result(evaluation, boxes)
    with pytest.raises(
        BadInput, match="2 versions of the data of otb, each of 4 sequences: choose one with --data otb="
    ):
        reported_data("otb", {}, store, runs)
    assert reported_data("otb", {}, store, runs, asked=twin.digest).digest == twin.digest


def test_a_study_stays_recorded_with_the_whole_of_its_data(place: Path) -> None:
    """A later start on a part does not make the site forget the whole."""
    session = open_session(request(place))
    session.store.set_study(session.study_record())
    (name, digest) = next(iter(session.digests.items()))
    store_factory.keep_protocol(session.store, name, on_server=False)
    known = session.study_record().model_copy(update={"digests": {name: store_factory.DIGEST}})
    session.store.set_study(known)
    assert session.study_record().digests == {name: digest}, "as large, and newer"
    job = replace(session.job, sequences={name: session.job.sequences[name][:1]})
    assert replace(session, job=job).study_record().digests == {name: store_factory.DIGEST}


def test_a_row_names_its_run(place: Path) -> None:
    store = Store(place / "store")
    store_factory.fill(store, STUDIES["table3"], SMOKE)
    record = store.study("table3", "smoke")
    assert record is not None
    for row in record.rows:
        if row.control == "none":
            assert find_run(store, row.name).run == row.run
    assert find_run(store, "decoder", "got10k").run == find_run(store, "decoder").run, "whether it is evaluated or not"
    shutil.rmtree(find_run(store, "ce-conv").path)
    with pytest.raises(BadInput, match="the row ce-conv of table3 at smoke has no run yet: run the study first"):
        find_run(store, "ce-conv")
    mini = load_profile("mini").model_copy(update={"protocols": ("synthetic-smoke",)})
    store_factory.fill(store, STUDIES["table3"], mini)
    with pytest.raises(
        BadInput, match=r"decoder is a row of several studies or sizes.*table3 at mini.*table3 at smoke"
    ):
        find_run(store, "decoder")
    with pytest.raises(KeyError, match="did you mean decoder"):
        find_run(store, "Decodr")


def test_a_floor_is_a_run_without_any_store(place: Path) -> None:
    """As an outside tracker is: neither is trained."""
    write(place, images("clip", range(1, 4)))
    assert said("track", "static", "clip", "--init", "5,6,7,8")["boxes"] == [[5, 6, 7, 8]] * 3
    assert not (place / "store").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "table3", "--profile", "smoke"],
        ["report", "table3", "--profile", "smoke"],
        ["site"],
        ["score", "A=x", "--protocol", "otb"],
        ["submit", "ncc", "--protocol", "got10k"],
        ["export", "ncc", "--protocol", "otb", "--layout", "otb"],
        ["pretrain"],
        ["data", "make", "synthetic", "--layout", "lasot"],
    ],
    ids=lambda words: words[0],
)
def test_outputs_that_cannot_be_written_are_refused_before_any_work(place: Path, words: list[str]) -> None:
    (place / "file").write_text("")
    Store(place / "store")
    store = [] if words[0] == "data" else ["--store", place / "store"]
    done = invoke(*words, "--out", place / "file" / "out", *store)
    assert done.exit_code == 2
    assert f"error: --out '{place / 'file' / 'out'}' is no f" in done.stderr
    assert "that can be written: name another" in done.stderr
    assert {path.name for path in place.iterdir()} == {"file", "store"}
    assert [path.name for path in (place / "store").iterdir()] == ["store.json"]


def test_a_full_disk_is_said_before_any_work(place: Path) -> None:
    with pytest.raises(BadInput, match="MB are free there, and about 1000000000000 MB are needed: make room"):
        writable(place / "out", needed=1e18)
    writable(place / "new" / "out.zip", file=True)
    assert list(place.iterdir()) == []


def test_a_font_that_is_not_there_is_said_before_any_work(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fonts.__globals__, "FONTS", ("DejaVuSans", "NoSuchFont"))
    done = invoke("run", "table3", "--profile", "smoke", "--store", "S")
    assert done.exit_code == 2
    assert "figures cannot be drawn, NoSuchFont missing: python -m pip install" in done.stderr
    assert not (place / "S").exists()


def test_a_command_that_the_user_is_told_keeps_store_data_and_plugin(place: Path) -> None:
    Path("mine.py").write_text("")
    otb = SMOKE.model_copy(update={"protocols": ("otb",)})
    store_factory.fill(Store(place / "my runs"), STUDIES["table3"], otb)
    name, kept = next(iter(Store(place / "my runs").runs())).run.name, " --store 'my runs' --plugin mine.py`"
    asked = ["report", "table3", "--profile", "smoke", "--protocol", "otb", "--format", "csv", "--seeds", "2"]
    told = "`python -m harness run table3 --profile smoke --protocol otb --seeds 2"
    assert f"{told}{kept}" in invoke("--plugin", "mine.py", *asked, "--store", "my runs").stderr
    chosen = CliRunner().invoke(app, asked, env={"TRACKABLATE_STORE": "my runs"})
    assert f"{told} --store 'my runs'`" in chosen.stderr
    Path("my runs").rename("store")
    assert f"{told}`" in invoke(*asked).stderr, "the usual store"
    refused = invoke("--plugin", "mine.py", "submit", name, "--protocol", "got10k", "--store", "store").stderr
    assert f"`python -m harness evaluate {name} --protocol got10k --store store --plugin mine.py`" in refused
    request = StudyRequest("my/own.toml", "my/p.toml", ["otb"], ["otb=/my data"], [], place, results=("A=/a.zip",))
    assert request.typed == (
        "python -m harness run my/own.toml --profile my/p.toml --protocol otb --data 'otb=/my data' --results A=/a.zip"
    )
    assert request.command == (
        "python -m harness run own.toml --profile p.toml --protocol otb --data otb=PATH --results A=PATH"
    )


@pytest.mark.parametrize("name", [*_COMMANDS, "data", "store"])
def test_messages_know_which_commands_take_a_store(name: str) -> None:
    takes = name in _COMMANDS and "store" in signature(_COMMANDS[name]).parameters
    assert takes == (name not in WITHOUT_STORE)


def test_a_store_is_named_by_the_settings_and_said(place: Path) -> None:
    Path("trackablate.toml").write_text('store = "big/runs"\n')
    done = CliRunner().invoke(app, ["plan", "table3", "--profile", "smoke"])
    assert f"store: {place / 'big' / 'runs'} (not there yet)" in done.stderr
    assert f"no store at {place / 'big' / 'runs'}" in invoke("report", "table3", "--profile", "smoke").stderr
    assert f"no store at {place / 'typed'}" in invoke("site", "--store", place / "typed").stderr
    done = CliRunner().invoke(app, ["plan", "table3", "--profile", "smoke"], env={"TRACKABLATE_STORE": "other"})
    assert f"store: {place / 'other'} (not there yet)" in done.stderr, "the environment wins over the file"
    Path("trackablate.toml").write_text("store = 3\n")
    refused = invoke("list")
    assert refused.exit_code == 2
    assert "trackablate.toml: `store` is 3" in refused.stderr
    helped = harness("run", "--help", cwd=place)
    assert helped.returncode == 0, helped.stderr
    assert "Train and evaluate what is missing of a study" in helped.stdout


def test_a_box_outside_the_frame_is_refused_without_torch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import cv2
    import numpy as np

    store_factory.fill(Store(place / "store"), STUDIES["table3"], SMOKE)
    for number in (1, 2):
        cv2.imwrite(str(place / f"{number}.png"), np.zeros((48, 64, 3), dtype=np.uint8))
    monkeypatch.setitem(sys.modules, "trackablate.harness.tracking.evaluation", None)
    done = invoke("track", "conv", place, "--init", "100,5,20,20", "--store", place / "store")
    assert done.exit_code == 2
    assert "--init 100,5,20,20 lies outside the first frame of 64 x 48 pixels" in done.stderr
    done = invoke("track", "conv", place, "--init", "50,5,20,20", "--store", place / "store")
    assert "reaches beyond the first frame of 64 x 48 pixels; the part inside is 50,5,14,20" in done.stderr
    assert re.search(r"tracking with conv of table3 at profile smoke, seed 0: \S+-[0-9a-f]{8,}", done.stderr)


def test_data_are_checked_where_they_are_configured(place: Path) -> None:
    made = ["data", "make", "synthetic", "--layout", "lasot", "--out", place / "LaSOT", "--count", "1", "--length", "3"]
    assert invoke(*made).exit_code == 0
    Path("trackablate.toml").write_text('[data]\nlasot = "LaSOT"\n')
    assert said("data", "check", "lasot")["place"] == "LaSOT"
    assert "did you mean lasot" in invoke("data", "check", "LaSOT").stderr
    assert "the folder of the data set 'nfs' is not known; give" in invoke("data", "check", "nfs").stderr


def test_doctor_imports_what_runs_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that are there may not fit together, torch and torchvision for one."""
    doctor = import_module("trackablate.harness.cli.doctor")  # the package has the command under this name
    monkeypatch.setattr(doctor, "PROBE", "import json\nraise RuntimeError('operator torchvision::nms does not exist')")
    check = doctor._device()
    assert not check.ok
    assert check.found == "RuntimeError: operator torchvision::nms does not exist"
    assert "torch and torchvision of one release" in check.remedy


def test_packages_that_do_not_fit_are_refused_before_a_store_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise BadInput("torchvision 1 does not fit torch 2")

    monkeypatch.setattr("trackablate.harness.running.runner.refuse_mixed_torch", refuse)
    refused = invoke("run", "table3", "--profile", "smoke", "--store", tmp_path / "store")
    assert (refused.exit_code, "does not fit torch" in refused.stderr) == (2, True)
    assert not (tmp_path / "store").exists()
