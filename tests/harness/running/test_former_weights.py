"""A run that is trained again to other weights, as a GPU's bits are, keeps no results of the former ones among its own."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import invoke
from trackablate.ablations.plan import run_of
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.profiles import load_profile
from trackablate.harness.protocol_store import keep_protocol
from trackablate.harness.run_folder import MADE_WITH, RunFolder
from trackablate.harness.running import execute
from trackablate.harness.running.tasks import RunTask, WorkerSettings
from trackablate.harness.scoring.stored_scores import stored_scores
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import Store
from trackablate.trackers.variants import VARIANTS

NAME = "synthetic-smoke"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def evaluation(control: Any = "none") -> Evaluation:
    return Evaluation(protocol=NAME, data=PROTOCOLS[NAME].open(None).digest(), control=control)


def done(store: Store, *controls: str) -> RunFolder:
    """The run with evaluations under these controls, as a worker makes it."""
    run = run_of(VARIANTS["ostrack-256"], load_profile("smoke"), seed=0)
    settings = WorkerSettings(store=str(store.root), device="cpu", threads=1, workers=1, command="")
    execute.execute_run(RunTask(run=run, evaluations=tuple(map(evaluation, controls))), settings)
    return store.run(run)


def boxes(folder: RunFolder) -> dict[str, object]:
    return {result.name: result.boxes for result in folder.results(evaluation())}


def other_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = execute.trained_state

    def changed(model: Any) -> dict[str, torch.Tensor]:
        return {name: value * 1.5 if value.is_floating_point() else value for name, value in whole(model).items()}

    monkeypatch.setattr(execute, "trained_state", changed)


@pytest.mark.parametrize("kind", ["pipe", "zeros", "text"])
def test_a_damaged_digest_of_the_weights_is_no_proof(store: Store, kind: str) -> None:
    """The results are made anew rather than taken for those of the present weights; and a pipe is not waited for."""
    folder = done(store, "none")
    before, file = boxes(folder), folder.evaluation_folder(evaluation()) / MADE_WITH
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes(bytes(2**20) if kind == "zeros" else b"edited by hand")
    assert folder.of_former_weights(evaluation())
    done(store, "none")
    assert boxes(folder) == before
    assert not folder.of_former_weights(evaluation())
    assert list(folder.path.glob("evaluations/*/former/*/evaluation.json"))


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_results_of_former_weights_are_set_aside_and_made_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = done(store, "none")
    before, names = boxes(folder), PROTOCOLS[NAME].open(None).names
    folder.weights.unlink()
    other_bits(monkeypatch)
    done(store, "shuffled-template")
    assert folder.untracked(evaluation(), names) == list(names), "not taken as done, though nobody asked for it"
    (aside,) = folder.path.glob("evaluations/*/former/*")
    assert {file.stem for file in aside.glob("*.json")} == {*names, "evaluation"}
    done(store, "none", "shuffled-template")
    assert boxes(folder).keys() == before.keys()
    assert boxes(folder) != before
    assert folder.untracked(evaluation(), names) == []


@pytest.mark.parametrize("moment", ["replace_weights", "finish_training"])
def test_a_kill_between_new_weights_and_their_record_is_made_good(
    store: Store, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder = done(store, "none")
    former = folder.past_training()
    folder.weights.unlink()
    other_bits(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            done(store, "none")
    assert folder.checkpoint.exists()
    assert folder.fault_of_weights() in ("", "is gone")
    done(store, "none")
    assert folder.fault_of_weights() == ""
    record = folder.training()
    assert record
    assert former
    assert record.cost.resumed == 1, "nothing was trained again"
    assert record.weights_digest != former.weights_digest
    assert folder.untracked(evaluation(), PROTOCOLS[NAME].open(None).names) == []


def test_the_same_weights_keep_their_results(store: Store) -> None:
    folder = done(store, "none")
    before = {file: file.stat().st_mtime_ns for file in folder.path.glob("evaluations/*/*.json")}
    folder.weights.unlink()
    done(store, "none", "shuffled-template")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert not list(folder.path.glob("evaluations/*/former"))


def test_weights_that_somebody_put_there_are_noticed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their record: the results are no figures of them, and `run` says so."""
    folder = done(store, "none")
    other_bits(monkeypatch)
    other = done(Store(store.root.parent / "other"))
    for name in ("weights.safetensors", "training.json"):
        (other.path / name).replace(folder.path / name)
    (store.root / "protocols").mkdir(exist_ok=True)
    keep_protocol(store.protocol(evaluation()), PROTOCOLS[NAME], PROTOCOLS[NAME].open(None))
    (record,) = store.protocols(NAME)
    assert stored_scores(folder, evaluation(), record) == {}
    evaluated = invoke("evaluate", folder.run.name, "--protocol", NAME, "--device", "cpu", "--store", store.root)
    assert evaluated.exit_code == 0, evaluated.output
    assert len(stored_scores(folder, evaluation(), record)) == len(record.sequences)
    assert list(folder.path.glob("evaluations/*/former/*/evaluation.json"))


def test_results_that_do_not_say_whose_they_are_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = done(store, "none")
    (folder.evaluation_folder(evaluation()) / MADE_WITH).unlink()
    before = boxes(folder)
    folder.weights.unlink()
    other_bits(monkeypatch)
    done(store, "none", "shuffled-template")
    assert boxes(folder) == before
