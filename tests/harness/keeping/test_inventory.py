"""The list of a store's runs, from its documents alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import store_factory
from command_line import invoke, said
from stored_files import flip, let_temporary_files_vanish, without_digest
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.keeping.inventory import inventory
from trackablate.harness.profiles import load_profile
from trackablate.harness.spec import Imported, RunSpec
from trackablate.harness.store import Store

STUDY, SMOKE = STUDIES["table3"], load_profile("smoke")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store_factory.fill(store, STUDY, SMOKE, failed="ce-conv")
    return store


def test_every_run_has_a_line_with_what_is_there(store: Store) -> None:
    found = {run["rows"][0].rpartition(": ")[2]: run for run in said("store", "list", store.root)}
    assert found.keys() == {"conv", "decoder", "ce-conv", "ce-decoder", "static", "ncc"}
    decoder, ncc = found["decoder"], found["ncc"]
    folder = store.root / "runs" / decoder["run"]
    assert decoder["rows"] == ["table3 at smoke: decoder"]
    assert (decoder["state"], decoder["seed"]) == ("trained", 0)
    assert decoder["bytes"] == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert decoder["evaluated"] == [{"evaluation": SMOKE.protocols[0], "sequences": 4, "of": 4}]
    assert decoder["date"][:4].isdigit()
    assert (found["ce-conv"]["state"], found["ce-conv"]["problem"]) == ("failed", "<b>out of memory</b>")
    assert (ncc["state"], ncc["tracker"]) == ("no training", "ncc")


def test_a_run_at_work_is_listed_while_it_replaces_its_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(inventory(store))
    for folder in store.runs():
        for place in (folder.path, folder.path / "evaluations", *folder.path.glob("evaluations/*")):
            (place / ".x.json.tmp").write_bytes(b"{}") if place.is_dir() else None
    let_temporary_files_vanish(monkeypatch)
    assert list(inventory(store)) == before
    assert not list(store.root.rglob("*.tmp"))


def test_links_in_circles_hide_no_run(store: Store) -> None:
    before = list(inventory(store))
    runs = store.root / "runs"
    (runs / "loop").symlink_to("loop")
    (runs / before[0].run / "evaluations" / "again").symlink_to(".")
    assert [run.run for run in inventory(store)] == [run.run for run in before]
    assert (
        invoke("report", "table3", "--profile", "smoke", "--store", store.root, "--out", runs.parent / "r").exit_code
        == 0
    )


def test_a_run_that_nobody_may_read_hides_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names, scan = [run.run for run in inventory(store)], os.scandir

    def forbidden(place: str) -> object:
        if str(place).endswith(names[0]):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert [run.run for run in inventory(store)] == names


def test_a_run_that_serves_several_rows_names_all(store: Store) -> None:
    (conv,) = (run for run in inventory(store) if "table3 at smoke: conv" in run.rows)
    assert conv.rows == ["table3 at smoke: conv", "table3 at smoke: shuffled-template"]


def test_imported_unfinished_and_unreadable_runs(store: Store) -> None:
    one = next(run for run in store.runs() if run.run.data)
    store.run(one.run.model_copy(update={"seed": 7})).claim()
    imported = one.run.model_copy(update={"imported": Imported(name="mine", sha256="a" * 64), "recipe": None})
    store.run(imported).claim()
    floor = next(run for run in store.runs() if run.run.slug == "ncc")
    flip(floor.path / "spec.json")
    states = {run.run: run for run in inventory(store)}
    assert states[store.run(one.run.model_copy(update={"seed": 7})).path.name].state == "unfinished"
    mine = states[store.run(imported).path.name]
    assert (mine.state, mine.rows, mine.problem) == ("imported", [], "its weights are gone")
    assert states[floor.path.name].state == "unreadable"
    assert str(floor.path / "spec.json") in states[floor.path.name].problem


def test_rows_are_found_though_the_text_of_the_specification_is_older(store: Store) -> None:
    """A field with a default that is newer than the run is not in its document."""
    one = next(run for run in store.runs() if run.run.data)
    file, whole = one.path / "spec.json", one.path.joinpath("spec.json").read_text()
    without_digest(file)
    file.write_text(file.read_text().replace(',"imported":null', ""))
    assert file.read_text() != whole
    assert next(run for run in inventory(store) if run.run == one.path.name).rows


def test_the_text_has_a_line_for_each_run_and_nothing_raw(store: Store) -> None:
    done = invoke("store", "list", store.root)
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert "table3 at smoke: decoder" in done.stdout
    assert f"{SMOKE.protocols[0]} 4/4" in done.stdout
    assert lines[-1].startswith("6 runs, ")
    assert invoke("store", "list", store.root / "nowhere").exit_code == 2


def test_an_empty_store_lists_nothing(tmp_path: Path) -> None:
    assert said("store", "list", Store(tmp_path / "empty").root) == []
    assert invoke("store", "list", tmp_path / "empty").stdout == "0 runs, 0 bytes\n"


def test_a_list_and_a_plan_of_what_goes_import_no_torch(store: Store) -> None:
    for words in (["list"], ["gc"]):
        script = (
            "import sys; from trackablate.harness.cli import app\n"
            "try: app(sys.argv[1:])\n"
            "finally: assert 'torch' not in sys.modules"
        )
        command = [sys.executable, "-c", script, "store", *words, str(store.root)]
        subprocess.run(command, check=True, capture_output=True)


def test_a_name_of_a_run_is_the_same_as_ever() -> None:
    """Defaults are looked up once for each class: the names of stored runs must not depend on that."""
    from trackablate.trackers.spec import FloorSpec

    run = RunSpec(tracker=FloorSpec(kind="ncc"))
    assert run.name == RunSpec.model_validate_json(run.model_dump_json()).name == "ncc-dcc026a1"
