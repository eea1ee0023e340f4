"""One bit of any file of a store: what is damaged is named, what can be made again is, and no number is silently wrong."""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import store_factory
from command_line import invoke
from stored_files import flip, rewrite, without_digest
from trackablate.ablations.catalogue import STUDIES
from trackablate.datasets.atomic import read_arrays, sweep, write_arrays
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness import documents
from trackablate.harness.profiles import load_profile
from trackablate.harness.spec import Imported, RunSpec
from trackablate.harness.store import Store
from trackablate.reports.assemble import assemble
from trackablate.reports.formats.documents import results_json
from trackablate.reports.pages.site import write_site
from trackablate.reports.tables.pivot import pivot

STUDY, SMOKE = STUDIES["table3"], load_profile("smoke")
KINDS = (
    "runs/*-full-*/spec.json",
    "runs/*-full-*/training.json",
    "runs/*-full-*/speed.json",
    "runs/*-full-*/evaluations/*/evaluation.json",
    "runs/*-full-*/evaluations/*/[!e]*.json",
    "protocols/*/protocol.json",
    "protocols/*/strips.npz",
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("filled") / "store"
    store_factory.fill(Store(root), STUDY, SMOKE)
    return root


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Store:
    documents.left_out.cache_clear()
    shutil.copytree(filled, tmp_path / "store")
    return Store(tmp_path / "store")


def reported(store: Store) -> str:
    """All numbers of the study's report."""
    record = next(iter(Store(store.root).studies()))
    result = assemble(STUDY, record, store)
    return results_json(result, pivot(result))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0.0, 0.31, 0.5, 0.87, 1.0])
def test_a_flipped_bit_is_named_or_changes_no_number(
    store: Store, kind: str, at: float, caplog: pytest.LogCaptureFixture
) -> None:
    before = reported(store)
    file = sorted(store.root.glob(kind))[0]
    flip(file, at)
    with caplog.at_level(logging.WARNING):
        after = reported(store)
    assert str(file) in caplog.text or after == before
    assert kind.endswith(".npz") or str(file) in caplog.text or file.name == "evaluation.json"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("runs/*/evaluations/*/[!e]*.json", lambda d: d["boxes"].pop()),
        ("runs/*/evaluations/*/[!e]*.json", lambda d: d["boxes"].append(d["boxes"][0])),
        ("runs/*/evaluations/*/[!e]*.json", lambda d: d.update(name="another")),
    ],
    ids=["short", "long", "of another sequence"],
)
def test_a_result_that_does_not_fit_its_sequence_is_left_out(
    store: Store, kind: str, change: Callable[[dict[str, object]], object], caplog: pytest.LogCaptureFixture
) -> None:
    file = sorted(store.root.glob(kind))[0]
    rewrite(file, change)
    reported(store)
    assert f"{file} is damaged" in caplog.text


def test_files_of_an_older_store_are_read_without_digests(
    store: Store, filled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [file for kind in KINDS[:-1] for file in store.root.glob(kind)]
    for file in files:
        without_digest(file)
    (store.root / "store.json").write_text('{"format": 3}')
    documents._needs_digests.cache_clear()
    assert reported(store) == reported(Store(filled))
    assert not caplog.text
    (store.root / "store.json").write_text('{"format": 3, "digests": true}')
    documents._needs_digests.cache_clear()
    reported(store)
    assert f"{files[0]} has no digest: restore it from a copy; if it comes from an older store" in caplog.text


def test_one_damaged_record_stops_neither_the_site_nor_another_plan(store: Store, tmp_path: Path) -> None:
    for kind in KINDS[:3]:
        flip(sorted(store.root.glob(kind))[0])
    flip(sorted(store.root.glob(KINDS[3]))[1])
    pages = write_site(store, tmp_path / "site", [STUDY])
    assert [page.parent.name for page in pages] == ["site", "table3-smoke"]
    done = invoke("plan", "head", "--profile", "smoke", "--store", store.root)
    assert done.exit_code == 0, done.output


def test_the_plan_of_a_damaged_training_goes_on_and_names_it(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    file = sorted(store.root.glob(KINDS[1]))[0]
    flip(file)
    done = invoke("plan", "table3", "--profile", "smoke", "--store", store.root)
    assert done.exit_code == 0, done.output
    assert str(file) in caplog.text


def test_a_damaged_study_record_is_written_again(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    (file,) = store.root.glob("studies/*/*.json")
    (record,) = store.studies()
    before = file.read_bytes()
    flip(file)
    assert store.study(STUDY.name, SMOKE.name) is None
    assert str(file) in caplog.text
    store.set_study(record)
    assert file.read_bytes() == before


def test_damaged_files_are_moved_aside_and_whole_ones_stay(store: Store) -> None:
    (folder,) = [one for one in store.runs() if one.run.slug == "ncc"]
    (evaluation,) = folder.evaluations()
    results = sorted(folder.path.glob("evaluations/*/[!e]*.json"))
    whole = {file: file.read_bytes() for file in folder.path.rglob("*.json")}
    flip(results[0])
    shutil.copy(results[2], results[1])
    flip(results[0].with_name("evaluation.json"))
    assert sorted(folder.mend([evaluation])) == results[:2]
    assert folder.untracked(evaluation, [file.stem for file in results]) == [file.stem for file in results[:2]]
    assert folder.evaluations() == [evaluation], "written again"
    assert {file: file.read_bytes() for file in folder.path.rglob("*.json")} == {
        file: content for file, content in whole.items() if file not in results[:2]
    }
    assert results[0].with_name(f"{results[0].name}.damaged").exists()
    assert folder.mend([evaluation]) == []


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"format": "3"}', "", '{"format": '], ids=["deep", "text", "", "cut"]
)
def test_a_damaged_marker_is_named_and_its_remedy_works(store: Store, content: str) -> None:
    marker = store.root / "store.json"
    marker.write_text(content)
    done = invoke("plan", "table3", "--profile", "smoke", "--store", store.root)
    assert done.exit_code == 2
    assert f"{marker} is damaged" in done.stderr
    assert 'write {"format": 3} into it' in done.stderr
    marker.write_text(json.dumps({"format": 3}))
    assert len(list(Store(store.root).runs())) == 6


def test_runs_without_a_marker_are_no_reason_to_name_another_store(store: Store) -> None:
    (store.root / "store.json").unlink()
    done = invoke("run", "table3", "--profile", "smoke", "--store", store.root)
    assert done.exit_code == 2
    assert 'has runs, but no store.json: write {"format": 3} into' in done.stderr


def test_every_bit_of_an_archive_counts(tmp_path: Path) -> None:
    arrays = {"a": np.arange(40.0), "b": np.arange(3)}
    for at in np.linspace(0, 1, 60):
        write_arrays(tmp_path / "kept.npz", arrays)
        flip(tmp_path / "kept.npz", float(at))
        found = read_arrays(tmp_path / "kept.npz")
        assert all(np.array_equal(found[name], arrays[name]) for name in found.keys() & arrays.keys())
        assert found.keys() <= arrays.keys() or not found


@pytest.mark.parametrize("kind", ["boxes", "visible", "stamps", "index"])
def test_a_damaged_index_gives_the_annotation_of_the_files(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "otb" / "Clip"
    (folder / "img").mkdir(parents=True)
    (folder / "groundtruth_rect.txt").write_text("5,6,20,16\n7,8,20,16\n9,9,20,16\n")
    for number in (1, 2, 3):
        (folder / "img" / f"{number:04d}.jpg").write_bytes(b"")
    monkeypatch.setattr("trackablate.datasets.reading.index.SETTLED", 0)
    time.sleep(0.05)  # so that the index trusts its times
    whole = PROTOCOLS["otb"].open(tmp_path / "otb", tmp_path / "index")
    boxes, visible, digest = whole.annotation(0).boxes, whole.annotation(0).visible, whole.digest()
    (file,) = (tmp_path / "index").rglob(f"{kind}*.np*" if kind != "index" else "index.json")
    flip(file, 1.0 if kind != "index" else 0.5, bit=0)
    again = PROTOCOLS["otb"].open(tmp_path / "otb", tmp_path / "index")
    assert np.array_equal(again.annotation(0).boxes, boxes)
    assert np.array_equal(again.annotation(0).visible, visible)
    assert again.digest() == digest


def test_temporary_files_of_killed_processes_are_removed_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, age in ((".old.x.tmp", 7200), (".new.x.tmp", 10)):
        file = tmp_path / "deep" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
        now = file.stat().st_mtime
        os.utime(file, (now - age, now - age))
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine's clock is wrong, which does not matter
    sweep(tmp_path)
    assert [file.name for file in tmp_path.rglob("*.tmp")] == [".new.x.tmp"]


def test_verify_names_every_damaged_file_with_its_remedy_and_changes_nothing(store: Store) -> None:
    for folder in store.runs():
        if (record := folder.training()) is not None:
            folder.weights.write_bytes(b"weights")
            digest = sha256(b"weights").hexdigest()
            folder.finish_training(record.model_copy(update={"weights_digest": digest}))
    (store.root / "calibration" / "CPU").mkdir(parents=True)
    shutil.copyfile(store.root / "store.json", store.root / "calibration" / "CPU" / "store.json")
    said_whole = invoke("store", "verify", store.root, "--json")
    assert said_whole.exit_code == 0, said_whole.output
    assert json.loads(said_whole.stdout)["damaged"] == {}
    chosen = [sorted(store.root.glob(kind))[0] for kind in KINDS]
    chosen.append(sorted(store.root.glob("runs/*-full-*/weights.safetensors"))[1])
    for file in chosen:
        flip(file)
    before = {file: file.read_bytes() for file in store.root.rglob("*") if file.is_file()}
    done = invoke("store", "verify", store.root, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["files"] == json.loads(said_whole.stdout)["files"] - 1, "weights without a record are not checked"
    assert sorted(found["damaged"]) == sorted(map(str, chosen))
    assert "train the run again" in found["damaged"][str(chosen[-1])]
    assert found["damaged"][str(chosen[4])] == "`run` makes it again"
    assert {file: file.read_bytes() for file in store.root.rglob("*") if file.is_file()} == before
    assert str(chosen[0]) in invoke("store", "verify", store.root).stdout
    assert invoke("store", "verify", store.root / "nowhere").exit_code == 2


def test_verify_names_the_weights_that_are_gone(store: Store) -> None:
    """Those of an import too, whose record may be gone with them. A training that has not ended lacks nothing."""
    trained = [folder for folder in store.runs() if folder.training() is not None]
    for folder in trained:
        folder.weights.unlink()
    spec = trained[0].run.tracker
    imported = store.run(RunSpec(tracker=spec, imported=Imported(name="mine", sha256="ab12")))
    imported.claim()
    store.run(trained[0].run.model_copy(update={"seed": 9})).claim()
    done = invoke("store", "verify", store.root, "--json")
    assert done.exit_code == 1
    damaged = json.loads(done.stdout)["damaged"]
    again = "is gone: restore it from a copy, or let `run` train the run again"
    assert damaged.pop(str(imported.weights)) == "is gone: import the file with SHA-256 ab12 again, as mine"
    assert damaged == {str(folder.weights): again for folder in trained}
