"""What goes from a store goes by name alone, and leaves a whole store with the same numbers."""

import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

import store_factory
from command_line import invoke, said
from stored_files import flip, let_temporary_files_vanish
from trackablate.ablations.catalogue import STUDIES
from trackablate.datasets.lease import Lease
from trackablate.harness.documents import write_document
from trackablate.harness.keeping.clearing import KINDS, clear, clearing
from trackablate.harness.keeping.verification import REMOVED, verify
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.executors.slurm_orders import SlurmOrder, reply_file
from trackablate.harness.running.tasks import Reply, WorkerSettings
from trackablate.harness.store import RunFolder, Store
from trackablate.reports.assemble import assemble
from trackablate.reports.formats.documents import results_json
from trackablate.reports.tables.pivot import pivot

STUDY, SMOKE = STUDIES["table3"], load_profile("smoke")
OLD = time.time() - 7200


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with whole weights, and one run of no study beside the others. SLURM knows no job here."""
    slurm_says(tmp_path, monkeypatch, "exit 0")
    store = Store(tmp_path / "store")
    store_factory.fill(store, STUDY, SMOKE)
    for folder in list(store.runs()):
        if record := folder.training():
            folder.weights.write_bytes(b"weights")
            digest = sha256(b"weights").hexdigest()
            folder.finish_training(record.model_copy(update={"weights_digest": digest}))
            record = folder.training()
            own = store.run(folder.run.model_copy(update={"seed": 9}))
    own.claim()
    own.weights.write_bytes(b"weights")
    assert record
    own.finish_training(record)
    assert not verify(store).damaged
    return store


def slurm_says(folder: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "squeue").write_text(f"#!/bin/sh\n{words}\n")
    (folder / "bin" / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)


def handed_in(store: Store, key: str, index: int | None = None) -> list[Path]:
    """An order of two hours ago, its reply, and what submitit keeps for it."""
    settings = WorkerSettings(store=str(store.root), device="cpu", threads=1, workers=1, command="")
    order, batch = store.root / "jobs" / f"{key}.json", store.root / "jobs" / "batch"
    write_document(order, SlurmOrder(task="{}", settings=settings, batch=batch.name, index=index, asked={}))
    write_document(reply_file(order), Reply(status="failed", text="no"))
    pickle = batch / ("17_submitted.pkl" if index is None else f"17_{index}_submitted.pkl")
    pickle.parent.mkdir(exist_ok=True)
    pickle.write_bytes(b"0123456789")
    for file in (files := [order, reply_file(order), pickle]):
        os.utime(file, (OLD, OLD))
    return files


def lone(store: Store) -> RunFolder:
    (found,) = (folder for folder in store.runs() if folder.run.seed == 9)
    return found


def trained(store: Store) -> RunFolder:
    return next(folder for folder in store.runs() if folder.run.seed == 0 and folder.training())


def litter(store: Store) -> dict[str, Path]:
    """One thing of each kind that can go."""
    one = trained(store)
    evaluation = one.path / "evaluations" / one.evaluations()[0].key
    found = {
        "temporary": evaluation / ".a.json.x.tmp",
        "damaged": evaluation / "a.json.damaged",
        "checkpoints": one.checkpoint,
        "former": evaluation / "former" / "20260101-000000" / "a.json",
        "logs": store.logs / "worker-1-1.log",
        "caches": store.root / "scores" / "a.npz",
    }
    for file in found.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0123456789")
        os.utime(file, (OLD, OLD))
    found["orders"], *_ = handed_in(store, "a")
    strips = next(store.root.glob("protocols/*/strips.npz"))
    return found | {"thumbnails": strips, "weights": lone(store).weights, "runs": lone(store).path}


def everything(store: Store) -> dict[Path, bytes]:
    files = (path for path in store.root.rglob("*") if path.is_file() and not path.name.startswith(".lease-"))
    return {path: path.read_bytes() for path in files}


def reported(store: Store) -> str:
    (record,) = store.studies()
    result = assemble(STUDY, record, store)
    return results_json(result, pivot(result))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_goes_alone_and_leaves_a_whole_store_with_the_same_numbers(store: Store, kind: str) -> None:
    places, numbers = litter(store), reported(store)
    before = everything(store)
    dry = said("store", "gc", store.root, "--drop", kind)
    assert everything(store) == before, "nothing goes without --yes"
    done = said("store", "gc", store.root, "--drop", kind, "--yes")
    assert (dry["removed"], done["removed"]) == (False, True)
    assert {**dry, "removed": True} == done, "what was said is what goes"
    assert done["kinds"][kind]["bytes"] > 0
    assert not places[kind].exists()
    gone = {path for path in before if path not in everything(store)}
    assert gone
    assert all(path == places[kind] or path.is_relative_to(places[kind].parent) for path in gone)
    assert reported(store) == numbers
    if kind not in ("caches", "temporary", "damaged", "former", "checkpoints"):  # the litter itself is no whole archive
        (store.root / "scores" / "a.npz").unlink()
        places["checkpoints"].unlink()
        (places["former"]).unlink()
        assert not verify(store).damaged


def test_a_store_at_work_can_be_looked_at(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (store.root / "counted").mkdir(exist_ok=True)
    for folder in (store.root / "counted", next(store.runs()).path, store.root):
        (folder / ".x.json.tmp").write_bytes(b"{}")
    let_temporary_files_vanish(monkeypatch)
    assert clearing(store).items["temporary"] == []


def test_all_kinds_together(store: Store) -> None:
    litter(store)
    numbers, name = reported(store), lone(store).path.name
    words = [word for kind in KINDS for word in ("--drop", kind)]
    done = said("store", "gc", store.root, *words, "--yes")
    assert not done["stays"]
    assert not done["kinds"]["weights"]["paths"], "they go with their runs"
    assert not (store.root / "runs" / name).exists()
    assert not verify(store).damaged
    assert reported(store) == numbers
    assert all(not found["paths"] for found in said("store", "gc", store.root)["kinds"].values())


def test_orders_of_jobs_that_go_on_and_young_ones_stay(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays, young = (handed_in(store, f"{index}", index) for index in range(3))
    os.utime(young[1])
    slurm_says(tmp_path, monkeypatch, 'echo "17_0|FAILED|trackablate-batch"; echo "17_1|RUNNING|trackablate-batch"')
    (handed_in(store, "b")[0]).write_text("edited by hand")
    words = ("store", "gc", store.root, "--drop", "orders", "--drop", "logs", "--yes")
    assert len(said(*words)["kinds"]["orders"]["paths"]) == 3
    assert [file.exists() for file in (*gone, *stays, *young)] == [False] * 3 + [True] * 6
    slurm_says(tmp_path, monkeypatch, "exit 1")
    assert "orders stay, since squeue does not answer here" in str(said(*words)["stays"])
    assert all(file.exists() for file in stays)


def test_without_names_all_is_told_and_nothing_goes(store: Store) -> None:
    litter(store)
    before = everything(store)
    done = invoke("store", "gc", store.root)
    assert "nothing is removed: name what shall go with --drop KIND" in done.stdout
    assert all(kind in done.stdout for kind in KINDS)
    refused = invoke("store", "gc", store.root, "--yes")
    assert refused.exit_code == 2
    assert "--yes removes only what --drop names" in refused.stderr
    assert "there are temporary, damaged" in invoke("store", "gc", store.root, "--drop", "everything").stderr
    assert everything(store) == before


def test_removed_weights_are_no_damage_and_are_trained_again_if_they_are_asked_for(store: Store) -> None:
    folder = lone(store)
    clear(store, clearing(store, ["weights"]))
    assert not folder.weights.exists()
    assert (folder.path / REMOVED).exists()
    assert not verify(store).damaged
    assert folder.missing({}).training
    flip(folder.path / REMOVED)
    assert set(verify(store).damaged) == {str(folder.path / REMOVED), str(folder.weights)}


def test_a_run_at_work_stays_with_all_that_is_its(store: Store) -> None:
    litter(store)
    for folder in (lone(store), trained(store)):
        with folder.lock():
            before = everything(store)
            found = clearing(store)
            assert f"{folder.path.name} is at work" in found.stays
            assert not [one for items in found.items.values() for one in items if one.path.is_relative_to(folder.path)]
            assert not found.items["logs"], "a worker may write into them"
            assert everything(store) == before


def test_a_run_that_begins_meanwhile_stays(store: Store) -> None:
    found = clearing(store, ["runs", "weights"])
    with lone(store).lock():
        clear(store, found)
        assert lone(store).weights.exists()
    assert any("is at work" in reason for reason in found.stays)


@pytest.mark.parametrize("name", ["notes.txt", "server"])
def test_a_run_with_what_is_not_understood_stays(store: Store, name: str) -> None:
    (lone(store).path / name).mkdir()
    found = clearing(store, ["runs"])
    assert not found.items["runs"]
    assert found.stays == [f"{lone(store).path.name} stays, since it has {name}"]


def test_no_run_goes_if_a_study_cannot_be_read(store: Store) -> None:
    flip(next(store.root.glob("studies/*/*.json")))
    found = clearing(store, ["runs", "weights"])
    assert not found.items["runs"]
    assert not found.items["weights"]
    assert "not every study in the store can be read" in found.stays[0]


def test_what_is_not_finished_stays(store: Store) -> None:
    places = litter(store)
    one = trained(store)
    (places["former"].parents[1] / "unfinished").touch()
    (one.path / "training.json").unlink()
    fresh = store.logs / ".new.tmp"
    fresh.write_text("")
    found = clearing(store)
    assert not found.items["former"]
    assert not found.items["checkpoints"]
    assert fresh not in [item.path for item in found.items["temporary"]]


def test_what_ended_jobs_printed_can_go_but_not_that_of_a_job_whose_reply_is_not_read(store: Store) -> None:
    """Nor that of tasks whose command is at work."""
    for name in ("ended", "waits", "ray-at-work"):
        folder = store.root / "jobs" / name
        folder.mkdir(parents=True)
        (folder / "1_0_log.out").write_text("printed")
    (store.root / "jobs" / "waits" / "1_submitted.pkl").touch()
    with Lease(store.root / "jobs" / "ray-at-work"):
        clear(store, clearing(store, ["logs"]))
    assert [path.name for path in sorted((store.root / "jobs").iterdir())] == ["ray-at-work", "waits"]
