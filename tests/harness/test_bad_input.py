"""Bad input is refused before any work: exit status 2, one message that names the thing and the remedy, nothing run."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from examples import SCALE, Evil
from places import ROOT
from trackablate.ablations.plan import run_of
from trackablate.harness.cli import app
from trackablate.harness.errors import RunFailed
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.execute import execute_run
from trackablate.harness.running.executors.local import LocalExecutor
from trackablate.harness.running.tasks import RunTask, WorkerSettings
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import FORMAT, Store
from trackablate.harness.tracking.evaluation import trained_model
from trackablate.harness.tracking.video import frames_of
from trackablate.trackers.encoder import pretrained
from trackablate.trackers.model import build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.variants import ostrack_mlp

SMOKE = load_profile("smoke")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a store would come to lie; the present folder is empty and the environment names no data."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRACKABLATE_STORE", "TRACKABLATE_DATA_OTB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "store"


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be started: what is refused is refused before."""

    def start(*_: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(LocalExecutor, "start", start)


def refusal(store: Path, *words: object) -> str:
    """The message with which a command is refused; there is nothing else, and nothing was run."""
    done = CliRunner().invoke(app, [*map(str, words), "--store", str(store)])
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    told = done.stderr.removeprefix(f"store: {store} (new)\n")  # where only a worker or the disk can tell
    told = re.sub(r"^\d+:\d\d all \d+ runs: loading torch, preparing\n", "", told)  # if that takes seconds
    assert told.count("error: ") == 1
    assert told.startswith("error: ")
    assert not (store / "runs").exists()
    return told


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "table3", "--seeds", "zero"), "--seeds: is no whole number, got 'zero'; write one"),
        (("run", "table3", "--seeds", "0"), "--seeds: is too small, got '0'; write 1 or more"),
        (("plan", "table3", "--gpus", "1.5"), "--gpus: is no whole number, got '1.5'; write one"),
        (
            ("evaluate", "ncc", "--protocol", "synthetic", "--precision", "fp8"),
            "'fp8' is not one of 'fp32', 'bf16', 'fp16'",
        ),
    ],
)
def test_the_value_of_an_option_is_refused_in_plain_words(store: Path, words: tuple[str, ...], told: str) -> None:
    assert told in refusal(store, *words)


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize("command", ["run", "plan", "report"])
def test_misspelt_names_offer_the_nearest(store: Path, command: str) -> None:
    assert "no study is called 'tabel3': did you mean table3" in refusal(store, command, "tabel3")
    message = refusal(store, command, "table3", "--profile", "smok")
    assert "no profile is called 'smok': did you mean smoke" in message
    message = refusal(store, command, "table3", "--protocol", "synthetic-smoky")
    assert "no protocol is called 'synthetic-smoky': did you mean synthetic-smoke" in message
    message = refusal(store, command, "table3", "--only", "decodr")
    assert "no row of table3 is called 'decodr': did you mean decoder" in message
    assert "there are: ce-conv, ce-decoder, conv, decoder" in message
    assert not store.exists()


@pytest.mark.usefixtures("no_workers")
def test_misspelt_names_of_single_things_offer_the_nearest(store: Path) -> None:
    for words in (["show", "tabel3"], ["list", "studys"], ["cost", "detrak"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2, words
        assert "did you mean" in done.stderr
        assert done.stdout == ""
    assert "did you mean mini" in refusal(store, "pretrain", "minni")
    message = refusal(store, "evaluate", "nothing", "--protocol", "synthetic")
    assert f"holds no run: `python -m harness run STUDY --store {store}`" in message
    assert not store.exists()


@pytest.mark.usefixtures("no_workers")
def test_unknown_formats_are_refused(store: Path) -> None:
    message = refusal(store, "report", "table3", "--profile", "smoke", "--format", "html,docx", "--out", "out")
    assert "--format docx: there are html, latex, markdown, csv, json" in message
    assert not Path("out").exists()


@pytest.mark.usefixtures("no_workers")
def test_data_options_must_be_name_and_path(store: Path) -> None:
    assert "--data 'otb' is not NAME=PATH; write for example --data otb=" in refusal(
        store, "run", "table3", "--data", "otb"
    )
    assert "did you mean otb" in refusal(store, "run", "table3", "--data", "otbb=/data")
    assert not store.exists()


@pytest.mark.usefixtures("no_workers")
def test_data_that_are_not_there(store: Path, tmp_path: Path) -> None:
    otb = ("run", "table3", "--profile", "smoke", "--protocol", "otb")
    message = refusal(store, *otb)
    assert "the folder of the data set 'otb' is not known; give --data otb=PATH, or set TRACKABLATE_DATA_OTB" in message
    message = refusal(store, *otb, "--data", f"otb={tmp_path / 'nowhere'}")
    assert f"{tmp_path / 'nowhere'} is neither a folder nor an archive, but --data names it" in message
    (tmp_path / "empty").mkdir()
    message = refusal(store, *otb, "--data", f"otb={tmp_path / 'empty'}")
    assert f"{tmp_path / 'empty'}: holds no sequence of OTB100; expected <Name>/img/0001.jpg" in message
    assert not store.exists()


def make_clip(root: Path) -> Path:
    """Three frames of the plain layout."""
    folder = root / "Clip"
    (folder / "img").mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for number in (1, 2, 3):
        cv2.imwrite(str(folder / "img" / f"{number:04d}.jpg"), picture)
    (folder / "groundtruth_rect.txt").write_text("5,6,20,16\n" * 3)
    return folder


def no_box(folder: Path) -> str:
    file = folder / "groundtruth_rect.txt"
    file.write_text("5,6,20,16\n5,6,wide,16\n5,6,20,16\n")
    return f"{file}, line 2: 4 finite numbers wanted, got '5,6,wide,16'; write \"x,y,w,h\""


def missing_frame(folder: Path) -> str:
    (folder / "img" / "0003.jpg").unlink()
    return f"{folder / 'groundtruth_rect.txt'}: 3 boxes for 2 frames; give one line for each image"


def truncated_frame(folder: Path) -> str:
    file = folder / "img" / "0002.jpg"
    file.write_bytes(file.read_bytes()[:-200])
    return f"{file}: is truncated (a JPEG without its end marker); copy it again"


def empty_frame(folder: Path) -> str:
    (folder / "img" / "0002.jpg").write_bytes(b"")
    return f"{folder / 'img' / '0002.jpg'}: is empty; copy it again"


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize("spoil", [no_box, missing_frame, truncated_frame, empty_frame])
def test_broken_data_are_named_by_file_and_line(store: Path, tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    words = ("--profile", "smoke", "--protocol", "otb", "--data", f"otb={tmp_path / 'otb'}")
    folder = make_clip(tmp_path / "otb")
    fine = CliRunner().invoke(app, ["plan", "table3", *words, "--store", str(tmp_path / "other"), "--json"])
    assert fine.exit_code == 0, "before it is spoilt it is fine"
    assert json.loads(fine.stdout)["protocols"]["otb"].startswith("0 of 100 sequences and 1 of your own")
    message = spoil(folder)
    assert message in refusal(store, "run", "table3", *words)
    done = CliRunner().invoke(app, ["data", "check", f"otb={tmp_path / 'otb'}"])
    assert done.exit_code == 2
    assert message in done.stderr
    assert not store.exists()


@pytest.mark.usefixtures("no_workers")
def test_stores_that_are_none_are_left_alone(store: Path) -> None:
    words = ("run", "table3", "--profile", "smoke")
    store.mkdir()
    (store / "store.json").write_text(json.dumps({"format": FORMAT + 1}))
    message = refusal(store, *words)
    assert f"the store {store} has format {FORMAT + 1}" in message
    assert message.endswith("use the version that wrote it\n")
    (store / "store.json").rename(store / "my.json")
    assert "is neither empty nor a store: name another folder" in refusal(store, *words)
    assert "is a file: name a folder" in refusal(store / "my.json", *words)
    assert [p.name for p in store.iterdir()] == ["my.json"]


@pytest.mark.usefixtures("no_workers")
def test_too_little_disk_is_said_before_any_work(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "free_bytes", lambda self: 170_000_000)
    message = refusal(store, "run", "table3", "--profile", "smoke")
    assert f"{store} has 0.17 GB free, 6 runs need about 0.18 GB: make room, or name a --store on another" in message


def test_enough_disk_is_not_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused above goes on to the first worker with a little more room."""
    monkeypatch.setattr(Store, "free_bytes", lambda self: 190_000_000)
    started: list[Any] = []

    def start(*arguments: object) -> None:
        started.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalExecutor, "start", start)
    done = CliRunner().invoke(app, ["run", "table3", "--profile", "smoke", "--store", str(store)])
    assert done.exit_code == 130
    assert len(started) == 1
    assert "the same command goes on from there" in done.stderr


def test_a_device_that_is_not_here(store: Path) -> None:
    """The one refusal that needs a worker: only torch knows."""
    message = refusal(store, "run", "table3", "--profile", "smoke", "--device", "cuda:99")
    assert re.search(r"--device cuda:99 is not usable here \(.+\): use cpu, or auto", message)


@pytest.mark.usefixtures("no_workers")
def test_what_is_no_device_anywhere(store: Path) -> None:
    message = refusal(store, "run", "table3", "--profile", "smoke", "--device", "gpuuu")
    assert "--device gpuuu is not usable here: use auto, cpu, cuda, or cuda:N" in message
    assert not (store / "counted").exists()
    assert not (store / "protocols").exists()


@pytest.mark.usefixtures("no_workers")
def test_what_is_sure_to_fail_is_refused_before_a_store_is_made(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackablate.harness.running.runner.surely_no_gpu", lambda: True)
    smoke = ("--protocol", "synthetic-smoke")
    assert "there is no module nowhere here" in refusal(store, "evaluate", "nowhere:Tracker", *smoke)
    half = ("--profile", "smoke", "--set", "recipe.precision=fp16")
    assert "precision fp16 needs a GPU" in refusal(store, "run", "table3", *half)
    assert "precision fp16 needs a GPU" in refusal(store, "train", "ostrack-256", *half)
    assert not store.exists()


@pytest.fixture
def broken_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the place of the shipped weights, its end cut off."""
    content = pretrained.FILES["vit-mini"].read_bytes()
    file = tmp_path / "vit-mini.safetensors"
    file.write_bytes(content[: len(content) // 2])
    monkeypatch.setattr(pretrained, "FILES", {"vit-mini": file})
    monkeypatch.setattr("trackablate.trackers.encoder.backbones.FILES", {"vit-mini": file})
    pretrained.weights_digest.cache_clear()
    return file


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize("content", [None, b"", b"version https://git-lfs.github.com/spec/v1\n"], ids=repr)
def test_damaged_weights(store: Path, broken_weights: Path, content: bytes | None) -> None:
    if content is not None:
        broken_weights.write_bytes(content)
    tracker = at_scale(ostrack_mlp, SCALE)
    try:
        message = refusal(store, "run", "table3", "--profile", "smoke")
        assert f"{broken_weights}: is damaged" in message
        assert "python -m harness pretrain mini" in message
        broken_weights.unlink()
        message = refusal(store, "run", "table3", "--profile", "smoke")
        assert f"{broken_weights} is missing: `python -m harness pretrain mini --store {store}` makes it" in message
        with pytest.raises(FileNotFoundError, match="pretrain mini"):
            build(tracker)
    finally:
        pretrained.weights_digest.cache_clear()
    assert not store.exists()


@pytest.fixture
def mlp_run() -> RunSpec:
    """A run that takes a second."""
    return run_of(ostrack_mlp, SMOKE, 0)


def settings(store: Path) -> WorkerSettings:
    return WorkerSettings(store=str(store), device="cpu", threads=1, workers=1, command="test")


def test_a_malicious_checkpoint_runs_no_code_and_fails_the_run_by_name(
    store: Path, tmp_path: Path, mlp_run: RunSpec
) -> None:
    trap = tmp_path / "trap"
    folder = Store(store).run(mlp_run)
    folder.path.mkdir(parents=True)
    torch.save({"step": Evil(trap), "model": {}, "optimizer": {}, "curve": [], "cost": {}}, folder.checkpoint)
    with pytest.raises(RunFailed) as caught:
        execute_run(RunTask(run=mlp_run, evaluations=()), settings(store))
    assert not trap.exists(), "the checkpoint's code ran"
    message = str(caught.value)
    assert message.startswith(f"{mlp_run.name} failed: ")
    assert f"{folder.checkpoint} cannot be resumed" in message
    assert "move it away to start the training anew" in message
    assert "\n" not in message, "one line: it is what the runner shows"
    failure = folder.failure()
    assert failure is not None
    assert failure.summary in message
    assert "Traceback" in failure.traceback
    folder.checkpoint.unlink()
    execute_run(RunTask(run=mlp_run, evaluations=()), settings(store))
    assert folder.failure() is None, "the remedy works"
    assert folder.training() is not None


def test_damaged_trained_weights_are_named_and_the_remedy_works(store: Path, mlp_run: RunSpec) -> None:
    folder = Store(store).run(mlp_run)
    task = RunTask(run=mlp_run, evaluations=())
    execute_run(task, settings(store))
    whole = folder.weights.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for content in (whole[:1000], b"", flipped):
        folder.weights.write_bytes(content)
        with pytest.raises(ValueError, match="move it away to train the run again") as caught:
            trained_model(folder)
        assert str(folder.weights) in str(caught.value)
    out = store / "out.pth"
    done = CliRunner().invoke(app, ["export-weights", mlp_run.name, "--out", str(out), "--store", str(store)])
    assert done.exit_code == 2
    assert f"error: {folder.weights} is damaged" in done.stderr
    assert not out.exists()
    folder.weights.unlink()
    execute_run(task, settings(store))
    assert folder.weights.read_bytes() == whole


@pytest.mark.parametrize("init", ["1,2,3", "a,b,c,d", "1,2,0,4", "1,2,3,nan", ""])
def test_boxes_on_the_command_line(store: Path, tmp_path: Path, init: str) -> None:
    run = RunSpec.model_validate({"tracker": {"kind": "static"}})
    Store(store).run(run).claim()
    done = CliRunner().invoke(app, ["track", "static", str(tmp_path), "--init", init, "--store", str(store)])
    assert done.exit_code == 2
    assert f"--init {init!r} is no box: write x,y,w,h in pixels" in done.stderr


def test_videos_that_are_none(store: Path, tmp_path: Path) -> None:
    Store(store).run(RunSpec.model_validate({"tracker": {"kind": "static"}})).claim()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    (tmp_path / "two orders").mkdir()
    for name in ("cam_1.png", "cam_3.png", "img_2.png"):
        (tmp_path / "two orders" / name).touch()
    for video, problem in (
        ("nowhere", "is not there: name a folder of images, a video file, or a camera's number"),
        ("empty", "holds no image"),
        ("two orders", "two orders are possible: after 'cam_1.png' comes 'cam_3.png' by name, 'img_2.png' by number;"),
        ("text.mp4", "is no video that OpenCV can decode"),
    ):
        words = ["track", "static", str(tmp_path / video), "--init", "1,2,3,4", "--store", str(store)]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2, done.exception
        assert re.search(re.escape(f"{tmp_path / video}") + r":? " + re.escape(problem), done.stderr)


@pytest.mark.parametrize("told", [5.0, 8.0, -1.0])
def test_a_video_that_ends_before_its_header_says_is_told(
    tmp_path: Path, told: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = [np.zeros((8, 8, 3), np.uint8)] * 5

    class Capture:
        def read(self) -> tuple[bool, object]:
            return (True, left.pop()) if left else (False, None)

        def get(self, _: int) -> float:
            return told

        def release(self) -> None: ...

    (tmp_path / "clip.mp4").touch()
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Capture())
    assert len(list(frames_of(tmp_path / "clip.mp4"))) == 5
    wanted = f"{tmp_path / 'clip.mp4'} ends after 5 frames, though its header says 8: if it is cut off, get it again\n"
    assert capsys.readouterr().err == (wanted if told == 8 else "")


def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    numbers = [*range(1, 13)]
    for number in numbers:
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    assert [int(image[0, 0, 0]) for image in frames_of(tmp_path)] == numbers


def test_no_message_advises_to_delete_anything_or_to_start_another_store() -> None:
    """What a run has cost is lost with it. What is damaged is moved away."""
    packages = ("datasets", "trackers", "harness", "ablations", "reports")
    trees = [ast.parse(file.read_text()) for name in packages for file in (ROOT / name).rglob("*.py")]
    texts = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    advice = re.compile(r"\b(delete (it|them|that)|(new|another) --store)\b")
    assert [text for text in texts if isinstance(text, str) and advice.search(text)] == []


@pytest.mark.usefixtures("no_workers")
def test_a_plan_makes_no_store(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["plan", "table3", "--profile", "smoke", "--store", str(tmp_path / "nowhere")])
    assert done.exit_code == 0, done.output
    assert "0 of 6 runs done" in done.output
    assert not (tmp_path / "nowhere").exists()
