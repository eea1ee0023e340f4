"""Training on videos that lie on disk: named, found, kept apart from the tests, and really trained on."""

import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from trackablate.ablations.plan import run_of
from trackablate.datasets import changes
from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs.training_sets import TRAINING_SETS
from trackablate.datasets.synthetic.writing import videos, write
from trackablate.harness.cli import app
from trackablate.harness.documents import read_document
from trackablate.harness.profiles import FOLDER, load_profile
from trackablate.harness.running.execute import execute_run
from trackablate.harness.running.tasks import RunTask, WorkerSettings
from trackablate.harness.spec import RunSpec, VideoData
from trackablate.harness.store import Store
from trackablate.harness.training import loop
from trackablate.harness.training.loading import pair_geometry, training_pairs, validation_pairs
from trackablate.trackers.spec import CropInput
from trackablate.trackers.variants import VARIANTS
from video_factory import zipped

DATA = """[data]
kind = "videos"
sets = ["got10k-train"]
"""


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Synthetic videos in the layouts of GOT-10k and LaSOT."""
    root = tmp_path_factory.mktemp("data")
    for layout in ("got10k", "lasot"):
        write(layout, videos(layout, count=3, length=8), root / layout)
    return {layout: root / layout for layout in ("got10k", "lasot")}


def profile_file(folder: Path, data: str = DATA) -> Path:
    """The smoke profile, trained on videos; its file."""
    text = (FOLDER / "smoke.toml").read_text()
    start = text.index("[data]")
    after = text.find("\n[", start + 1)
    file = folder / "videos.toml"
    file.write_text(text[:start] + data + (text[after:] if after > 0 else ""))
    return file


def test_a_run_on_got10k_alone_is_one_shot() -> None:
    run = RunSpec(tracker=load_tracker(), data=VideoData(sets=("got10k-train",)))
    assert run.one_shot
    assert run.trained_on == "got10k-train"
    assert not RunSpec(tracker=load_tracker(), data=VideoData(sets=("got10k-train", "lasot-train"))).one_shot
    assert not RunSpec(tracker=load_tracker(), data=load_profile("smoke").data).one_shot


def load_tracker() -> object:
    from trackablate.trackers.variants import ostrack

    return ostrack


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sets": ["lasot-trian"]}, "did you mean lasot-train"),
        ({"sets": []}, "at least 1"),
        ({"sets": ["lasot-train"], "weights": [1.0, 2.0]}, "2 weights for 1 training sets"),
        ({"sets": ["got10k-val"]}, "trained on and validated on"),
    ],
)
def test_what_cannot_be_trained_on(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VideoData.model_validate(fields)


def test_pairs_come_from_the_sets_and_validation_from_its_own(roots: dict[str, Path]) -> None:
    data = VideoData(sets=("got10k-train", "lasot-train"))
    sets = {name: TRAINING_SETS[name].open(roots[TRAINING_SETS[name].data]) for name in data.all_sets}
    geometry = pair_geometry(CropInput(template_size=32, search_size=64), load_profile("smoke").recipe, 4)
    training, validation = training_pairs(data, geometry, 0, sets), validation_pairs(data, geometry, sets)
    rng = np.random.default_rng(0)
    drawn = {training.sequence(n, rng)[0].name for n in range(60)}
    assert drawn == {*sets["got10k-train"].names, *sets["lasot-train"].names}
    assert {validation.sequence(n, rng)[0].name for n in range(30)} == set(sets["got10k-val"].names)
    assert training(3).search.shape == (64, 64, 3)


def test_the_data_say_how_sets_are_drawn(roots: dict[str, Path]) -> None:
    data = VideoData(sets=("got10k-train", "lasot-train"), pairs_per_epoch=10)
    sets = {name: TRAINING_SETS[name].open(roots[TRAINING_SETS[name].data]) for name in data.all_sets}
    geometry = pair_geometry(CropInput(template_size=32, search_size=64), load_profile("smoke").recipe, 4)
    training, other = training_pairs(data, geometry, 0, sets), training_pairs(data, geometry, 1, sets)
    rng = np.random.default_rng(0)
    drawn = [training.sequence(n, rng)[0].name for n in range(10)]
    assert sum(name in sets["got10k-train"].names for name in drawn) == 5
    assert drawn != [other.sequence(n, rng)[0].name for n in range(10)]
    assert training.again is not None and training.again(3, rng)
    assert training(3).search.shape == (64, 64, 3)


def test_a_profile_of_ones_own_trains_on_them(tmp_path: Path, roots: dict[str, Path]) -> None:
    profile, store = profile_file(tmp_path), tmp_path / "store"
    words = ["train", "ostrack-256-mlp", "--profile", str(profile), "--store", str(store), "--json"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "--data got10k=PATH" in refused.stderr
    found = CliRunner().invoke(app, [*words, "--data", f"got10k={roots['got10k']}"])
    assert found.exit_code == 0, found.stderr
    run = Store(store).root / "runs" / json.loads(found.stdout)["run"]
    asked = read_document(run / "spec.json", RunSpec)
    assert asked is not None
    assert asked.data.sets == ("got10k-train",)


def test_what_a_protocol_tests_on_is_not_trained_on(tmp_path: Path, roots: dict[str, Path]) -> None:
    profile = profile_file(tmp_path, DATA.replace("got10k-train", "lasot-train"))
    words = [
        "plan",
        "table3",
        "--profile",
        str(profile),
        "--protocol",
        "got10k-val",
        "--store",
        str(tmp_path / "store"),
    ]
    found = CliRunner().invoke(app, [*words, *(f"--data={name}={path}" for name, path in roots.items())])
    assert found.exit_code == 2
    assert "got10k-val shares 180 sequences with the test of got10k-val" in found.stderr
    assert not (tmp_path / "store").exists()


def test_a_profile_that_is_not_there_is_refused(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["plan", "table3", "--profile", str(tmp_path / "none.toml")])
    assert found.exit_code == 2
    assert "TOML file of your own" in found.stderr


def test_a_packed_set_is_trained_from_and_belongs_to_the_run(
    tmp_path: Path, roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packing is in the fingerprint, and other recipes are refused; the data set itself stands beside it."""
    profile, store, packed = profile_file(tmp_path), tmp_path / "store", tmp_path / "packed"
    words = [
        "data",
        "pack",
        f"got10k={roots['got10k']}",
        "--profile",
        str(profile),
        "--for",
        "ostrack-256-mlp",
        "--json",
    ]
    found = CliRunner().invoke(app, [*words, "--out", str(packed)])
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["packed"] == {
        "got10k-train": "3 packed sequences",
        "got10k-val": "3 packed sequences",
    }
    words = ["--profile", str(profile), "--store", str(store), "--json"]
    train = ["train", "ostrack-256-mlp", *words]
    plain = CliRunner().invoke(app, [*train, "--data", f"got10k={roots['got10k']}"])
    found = CliRunner().invoke(app, [*train, "--data", f"got10k={packed}"])
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["run"] != json.loads(plain.stdout)["run"]
    asked = read_document(store / "runs" / json.loads(found.stdout)["run"] / "spec.json", RunSpec)
    assert asked is not None
    assert isinstance(asked.data, VideoData)
    assert [text.partition(":")[0] for text in asked.data.packed] == ["got10k-train", "got10k-val"]
    with monkeypatch.context() as named:
        named.setenv("TRACKABLATE_DATA_GOT10K", str(packed))
        again = CliRunner().invoke(app, train)
        assert json.loads(again.stdout)["run"] == json.loads(found.stdout)["run"], "whoever names the folder"
        assert "was packed for another recipe" in CliRunner().invoke(app, ["train", "lorat-b-224", *words]).stderr
    refused = CliRunner().invoke(app, ["train", "lorat-b-224", *words, "--data", f"got10k={packed}"])
    assert refused.exit_code == 2
    assert "was packed for another recipe" in refused.stderr
    assert "geometry lorat instead of ostrack" in refused.stderr
    study = ["plan", "table3", *words, "--protocol", "got10k-val", "--data", f"got10k={packed}"]
    refused = CliRunner().invoke(app, study)
    assert "got10k-val shares" in refused.stderr or "the folder of the data set 'got10k' is not known" in refused.stderr
    unused = CliRunner().invoke(app, ["plan", "table3", "--profile", "smoke", "--data", f"got10k={packed}"])
    assert unused.exit_code == 2
    assert "holds packed training sets, which are not trained on here" in unused.stderr
    checked = CliRunner().invoke(app, ["data", "check", f"got10k={packed}", "--deep", "--json"])
    assert checked.exit_code == 0, checked.stderr


def trained(store: Path, roots: dict[str, Path], profile: Path) -> None:
    run = run_of(VARIANTS["ostrack-256"], load_profile(str(profile)), seed=0)
    settings = WorkerSettings(store=str(store), device="cpu", threads=1, workers=1, command="")
    task = RunTask(run=run, evaluations=(), roots={name: str(root) for name, root in roots.items()})
    execute_run(task, settings)


def test_an_image_that_is_replaced_in_the_middle_of_a_training_ends_it(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another valid image of the same size. Dates that are old or lie ahead, and changed rights, are no reason."""
    data = shutil.copytree(roots["got10k"], tmp_path / "got10k")
    images = sorted(data.glob("train/*/*.jpg"))
    ahead = time.time() + 1000
    os.utime(images[0], (ahead, ahead))
    saved = loop._save

    def replaced(*arguments: Any) -> None:
        saved(*arguments)
        for image in images:
            image.write_bytes(image.read_bytes())

    def touched(*arguments: Any) -> None:
        saved(*arguments)
        for image in images:
            image.chmod(0o644)

    monkeypatch.setattr(loop, "_save", touched)
    trained(tmp_path / "untouched", {"got10k": data}, profile_file(tmp_path))
    monkeypatch.setattr(loop, "_save", replaced)
    with pytest.raises(
        DataError, match=r"was written after the training on it had begun.*move the run's checkpoints away"
    ):
        trained(tmp_path / "store", {"got10k": data}, profile_file(tmp_path))
    monkeypatch.setattr(loop, "_save", saved)
    with pytest.raises(DataError, match="had begun"):  # going on, it is the same training
        trained(tmp_path / "store", {"got10k": data}, profile_file(tmp_path))
    for checkpoint in (tmp_path / "store").glob("runs/*/checkpoint*.pt"):
        checkpoint.unlink()
    trained(tmp_path / "store", {"got10k": data}, profile_file(tmp_path))
    assert not list((tmp_path / "store").glob("runs/*/training-began"))


def database(root: Path, place: Path) -> Path:
    """An LMDB copy of a folder."""
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(place), map_size=2**26) as opened, opened.begin(write=True) as transaction:
        for file in filter(Path.is_file, root.rglob("*")):
            transaction.put(file.relative_to(root).as_posix().encode(), file.read_bytes())
    return place


@pytest.mark.parametrize("kind", ["zip", "older zip", "lmdb"])
def test_an_archive_that_is_replaced_in_the_middle_of_a_training_ends_it(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """By another valid one, as another download or one that lay there before: its time need not be new."""
    data = database(roots["got10k"], tmp_path / "got10k") if kind == "lmdb" else tmp_path / "got10k.zip"
    holder = data / "data.mdb" if kind == "lmdb" else zipped(roots["got10k"], data)
    other, kept = tmp_path / "other", tmp_path / "kept"
    shutil.copy2(holder, kept)
    shutil.copy2(holder, other)
    before = time.time() - (1000 if kind == "older zip" else -1000)
    os.utime(other, (before, before))
    saved = loop._save

    def replaced(*arguments: Any) -> None:
        saved(*arguments)
        if other.exists():
            other.replace(holder)

    monkeypatch.setattr(loop, "_save", replaced)
    refusal = rf"{holder}: is not the file that it was when the training on it began; put back what was there"
    with pytest.raises(DataError, match=refusal):
        trained(tmp_path / "store", {"got10k": data}, profile_file(tmp_path))
    with pytest.raises(DataError, match=refusal):  # going on, it is the same training
        trained(tmp_path / "store", {"got10k": data}, profile_file(tmp_path))
    shutil.copy2(kept, holder)
    trained(tmp_path / "store", {"got10k": data}, profile_file(tmp_path))
    assert not list((tmp_path / "store").glob("runs/*/training-began"))


@pytest.mark.parametrize("writable", [True, False])
def test_a_data_server_whose_clock_is_ahead_is_no_reason(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    """Data that were unpacked just before seem to be written later than the training began, by the store's clock."""
    data = shutil.copytree(roots["got10k"], tmp_path / "got10k")

    def clock(folder: Path) -> float:
        if folder == data and not writable:
            raise OSError(errno.EROFS, "Read-only file system")
        return time.time() - (0 if folder == data else 300)

    monkeypatch.setattr(changes, "_same_disk", lambda one, other: False)
    monkeypatch.setattr(changes, "file_clock", clock)
    trained(tmp_path / "store", {"got10k": data}, profile_file(tmp_path))
    assert len(list((tmp_path / "store").glob("runs/*/training.json"))) == 1


def test_a_training_that_an_older_version_began_goes_on(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kept the time alone."""
    saved = loop._save

    def killed(*arguments: Any) -> None:
        saved(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "store", roots, profile_file(tmp_path))
    (began,) = (tmp_path / "store").glob("runs/*/training-began")
    began.write_bytes(b"")
    monkeypatch.setattr(loop, "_save", saved)
    trained(tmp_path / "store", roots, profile_file(tmp_path))
