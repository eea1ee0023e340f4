"""Published weights become runs: evaluated, tracked with, costed, exported, and compared like trained ones."""

import hashlib
import os
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

import store_factory
from command_line import invoke, said
from examples import SCALE
from stored_files import flip
from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows
from trackablate.datasets.errors import DataError
from trackablate.harness.cli import terminal
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import StudyRecord
from trackablate.harness.running.execute import execute_run
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.tasks import RunTask, WorkerSettings
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store
from trackablate.harness.tracking.evaluation import online_tracker, trained_model
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.checkpoints.lorat import OfficialLoRAT, to_lorat
from trackablate.trackers.checkpoints.ostrack import to_ostrack
from trackablate.trackers.checkpoints.whole_trackers import tracker_from
from trackablate.trackers.inference import NetworkTracker
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import LoRA, TrackerSpec, replace
from trackablate.trackers.variants import VARIANTS

State = dict[str, Tensor]
CPU = torch.device("cpu")


def drawn(name: str, **changes: Any) -> OneStreamTracker:
    torch.manual_seed(0)
    model = build(replace(VARIANTS[name], pretrained="none", **changes), pretrained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


@cache
def lorat() -> State:
    """LoRAT-S in the adapted form, of another rank than the named variant's."""
    return to_lorat(OfficialLoRAT(drawn("lorat-s-224", adaptation=LoRA(rank=4, alpha=8))))


def same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    assert all(found[name].equal(value) for name, value in expected.items())


def boxes(model: OneStreamTracker) -> list[list[float]]:
    tracker = NetworkTracker(model, CPU)
    images = np.random.default_rng(0).integers(0, 255, (4, 120, 160, 3), dtype=np.uint8)
    tracker.initialise(images[0], np.array([50.0, 40, 30, 20]))
    return [tracker.update(image).tolist() for image in images[1:]]


def test_lorats_weights_are_a_run_that_tracks_and_goes_out_again(tmp_path: Path) -> None:
    file, store = tmp_path / "base_224.bin", tmp_path / "store"
    torch.save({"model": lorat() | {"mask_token": torch.zeros(1)}, "epoch": 3}, file)
    words = ("import", "mine", "--weights", file, "--as", "lorat-s-224", "--store", store)
    document = said(*words)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (document["sha256"], document["not used"]) == (digest, ["mask_token"])
    assert document["layout"] == "LoRAT's layout"
    assert said(*words) == document, "again: it is there"
    (folder,) = Store(store).runs()
    assert folder.run.name.startswith("mine-")
    assert folder.run.imported is not None
    assert folder.run.imported.sha256 == digest
    assert folder.run.tracker.adaptation == LoRA(rank=4, alpha=8), "its factors say their rank"  # type: ignore[union-attr]
    record = folder.record()
    assert record.training is not None
    assert (record.training.curve, record.training.cost.phases) == ([], {})
    assert record.training.cost.params == sum(p.numel() for p in trained_model(folder, merged=False).parameters())
    expected = drawn("lorat-s-224", adaptation=LoRA(rank=4, alpha=8))
    merge(expected)
    assert boxes(trained_model(folder)) == boxes(expected)
    assert isinstance(online_tracker(folder, CPU), NetworkTracker)
    out = tmp_path / "out.safetensors"
    assert said("export-weights", "mine", "--out", out, "--store", store)["layout"] == "LoRAT's layout"
    same(load_file(out), lorat())
    assert said("cost", "mine", "--store", store)["params"] == record.training.cost.params


def test_an_imported_run_is_evaluated_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(at_scale(VARIANTS["ostrack-256"], SCALE), name="tiny")
    monkeypatch.setitem(VARIANTS._entries, "tiny", tiny)
    weights = to_ostrack(build(tiny, pretrained=False))
    save_file(weights, tmp_path / "weights.pth")
    words = ("import", "mine", "--weights", tmp_path / "weights.pth", "--as", "tiny", "--store", tmp_path / "store")
    said(*words)
    found = said("evaluate", "mine", "--protocol", "synthetic-smoke", "--device", "cpu", *words[-2:])
    assert found["run"].startswith("mine-")
    assert 0 <= found["metrics"]["ao"] <= 100
    save_file(weights | {"backbone.norm.bias": torch.ones(128)}, tmp_path / "weights.pth")
    refused = invoke(*words)
    assert refused.exit_code == 2
    assert "mine is the import of other weights" in refused.stderr
    assert "choose another name" in refused.stderr


def trained(store: Path, run: RunSpec) -> None:
    """A run with these weights, as a training leaves it."""
    folder, spec = Store(store).run(run), run.tracker
    assert isinstance(spec, TrackerSpec)
    folder.claim()
    content = save(build(spec, pretrained=False).state_dict())
    folder.weights.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    record = store_factory.factory.record(spec, "").training
    assert record is not None
    folder.finish_training(record.model_copy(update={"weights_digest": digest}))


def test_an_exported_file_says_how_it_is_imported(tmp_path: Path) -> None:
    """Elimination leaves no trace in weights: `import` says which other trackers the file fits."""
    out, at = tmp_path / "my out.pth", ("--store", tmp_path / "store")
    mini = load_profile("mini").scale
    assert mini is not None
    trained(tmp_path / "store", RunSpec(tracker=replace(at_scale(VARIANTS["detrack-ce"], mini), name="a row of mine")))
    (run,) = Store(tmp_path / "store").runs()
    exported = said("export-weights", run.run.name, "--out", out, *at)
    command = f"python -m harness import my-out --weights '{out}' --as detrack-ce --profile mini --store {at[1]}"
    assert exported["import again"] == command
    found = said(*shlex.split(command)[3:])
    others = "detrack, detrack-ce-3-layers-test-1, detrack-ce-3-layers-test-2"
    assert found["note"] == f"the file fits {others} too: --as alone says how it tracks"
    assert exported["note"] == found["note"], "both say the same"
    assert found["next"].endswith(f" --protocol PROTOCOL --store {at[1]}")
    assert (
        said("import", "plain", "--weights", out, "--as", "detrack", "--profile", "mini", *at)["tracker"] == "detrack"
    )


def test_the_command_names_the_size_of_the_runs_own_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of smoke and mini are alike. The usual store needs no option, and a terminal does not break the command."""
    monkeypatch.chdir(tmp_path)
    smoke = load_profile("smoke")
    rows = tuple(planned_rows(STUDIES["table3"], smoke))
    study = StudyRecord(study="table3", profile=smoke, digests={}, seeds=1, command="", rows=rows)
    Store(tmp_path / "store").set_study(study)
    (row,) = (row for row in rows if row.name == "ce-decoder")
    trained(tmp_path / "store", row.runs[0].run)
    command = "python -m harness import out --weights out.pth --as detrack-ce --profile smoke"
    assert said("export-weights", "ce-decoder", "--out", "out.pth")["import again"] == command
    monkeypatch.setattr(terminal.shutil, "get_terminal_size", lambda: os.terminal_size((40, 20)))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert f"import again:\n  {command}\n" in invoke("export-weights", "ce-decoder", "--out", "out.pth").stdout


def test_a_tracker_without_a_name_is_said_to_have_none(tmp_path: Path) -> None:
    trained(tmp_path / "store", RunSpec(tracker=at_scale(VARIANTS["ostrack-256"], SCALE)))
    (run,) = Store(tmp_path / "store").runs()
    exported = said("export-weights", run.run.name, "--out", tmp_path / "o.pth", "--store", tmp_path / "store")
    assert "no tracker of `list trackers`" in exported["import again"]


@pytest.mark.parametrize("lost", ["weights gone", "weights damaged", "record gone", "record damaged"])
def test_an_import_whose_weights_are_lost_is_refused_until_it_is_imported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    tiny = replace(at_scale(VARIANTS["ostrack-256"], SCALE), name="tiny")
    monkeypatch.setitem(VARIANTS._entries, "tiny", tiny)
    weights = to_ostrack(build(tiny, pretrained=False))
    save_file(weights, tmp_path / "weights.pth")
    at = ("--store", tmp_path / "store")
    words = ("import", "mine", "--weights", tmp_path / "weights.pth", "--as", "tiny", *at)
    digest = said(*words)["sha256"]
    (folder,) = Store(tmp_path / "store").runs()
    whole = folder.weights.read_bytes()
    file = folder.weights if "weights" in lost else folder.path / "training.json"
    if "gone" in lost:
        file.unlink()
    else:
        flip(file)

    def started(*_: object) -> None:
        raise AssertionError("a worker is started")

    (tmp_path / "video").mkdir()
    cv2.imwrite(str(tmp_path / "video" / "1.png"), np.zeros((120, 160, 3), np.uint8))
    on = ("--device", "cpu", *at)
    with monkeypatch.context() as patched:
        patched.setattr(LocalExecutor, "start", started)
        for command in (
            ("evaluate", "mine", "--protocol", "synthetic-smoke", *on),
            ("track", "mine", tmp_path / "video", "--init", "50,40,30,20", *on),
            ("run", "table3", "--profile", "smoke", "--with", "mine", "--out", tmp_path / "out", *on),
            ("export-weights", "mine", "--out", tmp_path / "out.pth", *at),
        ):
            refused = invoke(*command)
            assert refused.exit_code == 2, refused.output
            assert f"{folder.weights} " in refused.stderr
            assert f"import the file with SHA-256 {digest} again, as mine" in refused.stderr
    if "gone" in lost:
        settings = WorkerSettings(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, command="")
        with pytest.raises(BadInput, match="import the file with SHA-256"):
            execute_run(RunTask(run=folder.run, evaluations=()), settings)
    said(*words)
    assert folder.weights.read_bytes() == whole
    assert isinstance(online_tracker(folder, CPU), NetworkTracker)


def test_ostracks_training_checkpoint_is_a_run_and_goes_out_under_net(tmp_path: Path) -> None:
    weights = to_ostrack(drawn("ostrack-256-ce"))
    torch.save({"net": weights, "optimizer": {}, "epoch": 300}, tmp_path / "OSTrack_ep0300.pth.tar")
    at = ("--store", tmp_path / "store")
    said("import", "ce", "--weights", tmp_path / "OSTrack_ep0300.pth.tar", "--as", "ostrack-256-ce", *at)
    document = said("export-weights", "ce", "--out", tmp_path / "out.pth", *at)
    assert (document["layout"], document["entries"]) == ("OSTrack's layout", 242)
    same(torch.load(tmp_path / "out.pth")["net"], weights)


@pytest.mark.parametrize("name", ["ostrack-256-ce", "lorat-b-224", "full-b-224", "detrack-ce"])
def test_exported_weights_of_a_smaller_size_are_imported_again(name: str, tmp_path: Path) -> None:
    """Under the variant's name and the profile's; at paper size they are refused, with the option to give."""
    scale = load_profile("mini").scale
    assert scale is not None
    torch.manual_seed(0)
    model = merge(build(at_scale(VARIANTS[name], scale), pretrained=False))
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "first.safetensors")
    at = ("--as", name, "--store", tmp_path / "store")
    said("import", "first", "--weights", tmp_path / "first.safetensors", "--profile", "mini", *at)
    said("export-weights", "first", "--out", tmp_path / "out.safetensors", "--store", tmp_path / "store")
    again = said("import", "again", "--weights", tmp_path / "out.safetensors", "--profile", "mini", *at)
    folders = {folder.run.slug: folder for folder in Store(tmp_path / "store").runs()}
    same(trained_model(folders["again"]).state_dict(), trained_model(folders["first"]).state_dict())
    assert again["tracker"] == name
    refused = invoke("import", "other", "--weights", tmp_path / "out.safetensors", *at)
    assert refused.exit_code == 2
    assert "--profile" in refused.stderr


def test_merged_and_trained_entries_of_lorat_and_our_own_names_are_read() -> None:
    adapted, spec = tracker_from(lorat(), VARIANTS["lorat-s-224"]), VARIANTS["lorat-s-224"]
    backbone = {n: v for n, v in lorat().items() if ".lora." not in n and not n.startswith(("head.", "token_type"))}
    backbone = {n: v for n, v in backbone.items() if n not in ("lora_alpha", "use_rslora")}
    trained = {n: v for n, v in lorat().items() if ".lora." in n or n.startswith(("head.", "token_type"))}
    again = tracker_from(trained, spec, alpha=8, backbone=backbone)
    same(again.state_dict(), adapted.state_dict())
    same(tracker_from(adapted.state_dict(), again.spec).state_dict(), adapted.state_dict())
    plain = merge(adapted)
    merged = tracker_from(to_lorat(OfficialLoRAT(adapted)), spec)
    same(merged.state_dict(), plain.state_dict())
    assert merged.spec.adaptation == spec.adaptation
    with pytest.raises(
        DataError, match="of dinov2-s at 224 pixels, and lorat-b-224 has dinov2-b at 224: name the vari"
    ):
        tracker_from(lorat(), VARIANTS["lorat-b-224"])
    with pytest.raises(DataError, match="hold LoRA's factors, and full-s-224 has none"):
        tracker_from(lorat(), VARIANTS["full-s-224"])
    with pytest.raises(DataError, match=r"detrack: entry 'encoder\.blocks\.0.*is missing"):
        tracker_from({"a": torch.zeros(1)}, VARIANTS["detrack"])
    with pytest.raises(DataError, match="belong to LoRAT's weights, and these have this project's own names"):
        tracker_from({"a": torch.zeros(1)}, VARIANTS["detrack"], alpha=8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("import", "x", "--weights", "absent.pth", "--as", "lorat-s-224"), "absent.pth: there is no such file"),
        (("import", "x", "--weights", "absent.pth", "--as", "lorat-s-242"), "did you mean lorat-s-224"),
        (("export-weights", "ncc", "--out", "x.pth"), "holds no run"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = invoke(*words, "--store", tmp_path / "store")
    assert done.exit_code == 2
    assert message in done.stderr
