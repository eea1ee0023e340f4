"""Processes that make pairs: the same batches, errors that name the pair, and what happens when one of them dies."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs.augmentation import Pair
from trackablate.datasets.pairs.sampling import PairGeometry, PairSampler
from trackablate.datasets.reading.frame_names import frame_names
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.reading.opening import open_files
from trackablate.datasets.sequence import Sequence
from trackablate.harness.costing.loader_processes import PREFETCHED, PRIVATE_BYTES, default_loader_workers, loader_bytes
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.runner import worker_settings
from trackablate.harness.running.tasks import Execution
from trackablate.harness.store import Store
from trackablate.harness.training import loading
from trackablate.harness.training.loading import PairDataset, loader_deaths_named, made, pair_loader
from trackablate.trackers.spec import CropInput
from video_factory import JPEG, WIDTH

GEOMETRY = PairGeometry(16, 32, 2.0, 4.0, centre_jitter=0.0, scale_jitter=0.0, template_tokens=4)
Draw = Callable[[int], Pair]


def pair(number: int) -> Pair:
    image = np.full((8, 8, 3), number, dtype=np.uint8)
    image[..., 1] += 1
    return Pair(image, image, np.zeros(4, dtype=np.float32), np.ones(4, dtype=np.bool_))


def loaded(draw: Draw, workers: int, first: int = 5, last: int = 17) -> list[Any]:
    """All batches of four."""
    pairs = PairDataset(draw, first, last)  # type: ignore[arg-type]
    with loader_deaths_named():
        return list(made(pair_loader(pairs, 4, workers)))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order_with_channels_first(workers: int) -> None:
    batches = loaded(pair, workers)
    assert [batch["search"][:, 0, 0, 0].tolist() for batch in batches] == [
        [5, 6, 7, 8],
        [9, 10, 11, 12],
        [13, 14, 15, 16],
    ]
    assert batches[0]["template"].shape == (4, 3, 8, 8)
    assert batches[0]["template"][1, :, 3, 4].tolist() == [6, 7, 6]
    assert all(batch["template"].dtype == torch.uint8 for batch in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_is_named_with_its_pair(tmp_path: Path, workers: int) -> None:
    (tmp_path / "1.jpg").write_bytes(JPEG)
    (tmp_path / "2.jpg").write_bytes(JPEG[:-30])
    frames = ImageFiles(open_files(tmp_path), "", frame_names(["1.jpg", "2.jpg"], "number"))
    video = Sequence("a video", frames, np.array([[8.0, 9, 10, 12]] * 2), np.ones(2, dtype=np.bool_))
    sampler = PairSampler(lambda number, rng: (video, np.array([int(number > 9)])), GEOMETRY, seed=0)
    with pytest.raises(DataError) as caught:
        loaded(sampler, workers)
    said = f"pair 10: {tmp_path / '2.jpg'}: is truncated (a JPEG without its end marker);"
    assert str(caught.value).startswith(said)
    assert str(caught.value).count("\n") == 0, "one message, without torch's traceback"
    assert any("Traceback" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("workers", [0, 2])
def test_any_other_error_names_the_pair_the_video_and_the_frames(tmp_path: Path, workers: int) -> None:
    (tmp_path / "1.jpg").write_bytes(JPEG)
    frames = ImageFiles(open_files(tmp_path), "", frame_names(["1.jpg"], "number"))
    far = Sequence("far out", frames, np.array([[WIDTH + 500.0, 3, 10, 12]]), np.ones(1, dtype=np.bool_))
    lorat = PairGeometry(16, 32, 2.0, 4.0, 0.0, 0.0, template_tokens=4, geometry="lorat")
    any_view = type("AnyView", (PairSampler,), {"_jittered": lambda *_: object()})
    with pytest.raises(RuntimeError) as caught:
        loaded(any_view(lambda number, rng: (far, np.arange(1)), lorat, 0), workers)
    said = r"pair 5: ValueError: a crop around .* shows nothing of the image of 40 x 30 px; far out, frames 0 and 0"
    assert re.fullmatch(said, str(caught.value))


def test_a_process_that_dies_is_one_message() -> None:
    def dies(number: int) -> Pair:
        if number == 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return pair(number)

    with pytest.raises(
        RuntimeError, match=r"^a process that makes training pairs died \(.*(killed|exited).*--loader-workers$"
    ):
        loaded(dies, 2)


def test_a_process_that_hangs_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(number: int) -> Pair:
        if number == 10:
            os.kill(os.getpid(), signal.SIGSTOP)
        return pair(number)

    monkeypatch.setattr(loading, "PATIENCE", 2)
    with pytest.raises(
        RuntimeError, match=r"^the processes that make training pairs gave none for 2 s: .*goes on from"
    ):
        loaded(hangs, 2)
    for process in multiprocessing.active_children():
        process.kill()


def test_another_error_of_the_training_stays_as_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"^singular$"), loader_deaths_named():
        raise RuntimeError("singular")


ORPHANS = """
import sys, time
sys.path.insert(0, {here!r})
from test_loading import PairDataset, pair, pair_loader
batches = iter(pair_loader(PairDataset(lambda n: time.sleep(0.05) or pair(n % 200), 0, 10**6), 4, 2))
next(batches)
time.sleep(1.5)  # until both wait for more to do
print(*[worker.pid for worker in batches._workers], flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they end some seconds later")
def test_processes_end_at_once_with_a_killed_training() -> None:
    """They would hold its run's lock."""
    program = ORPHANS.format(here=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program], stdout=subprocess.PIPE, text=True, env=_with_support()
    ) as killed:
        assert killed.stdout is not None
        loaders = [int(pid) for pid in killed.stdout.readline().split()]
        assert len(loaders) == 2
        killed.kill()
    deadline = time.monotonic() + 1.5
    while any(map(_alive, loaders)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_alive, loaders))


def _with_support() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_get_the_cores_that_trainings_leave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert [default_loader_workers(gpus, trainings) for gpus, trainings in ((0, 4), (1, 1), (4, 4), (8, 16))] == [
        0,
        8,
        3,
        0,
    ]
    profile, store = load_profile("smoke"), Store(tmp_path)
    two = ("cuda:0", "cuda:1")
    for gpus, asked, wanted in (((), None, 0), ((), 3, 3), (two, None, 7), (two[:1], 0, 0)):
        how = Execution(loader_workers=asked)
        found = worker_settings(gpus, "cuda" if gpus else "cpu", profile, 2, store, how)
        assert {each.loader_workers for each in found} == {wanted}


def test_memory_of_a_process_counts_the_batches_that_it_makes_ahead() -> None:
    recipe = load_profile("smoke").recipe.model_copy(update={"batch_size": 128})
    crop = CropInput(template_size=112, search_size=224)
    images = 128 * 3 * (112**2 + 224**2)
    assert loader_bytes(crop, recipe) == PRIVATE_BYTES + PREFETCHED * images
    assert (
        loader_bytes(crop.model_copy(update={"geometry": "lorat"}), recipe) == PRIVATE_BYTES + PREFETCHED * 4 * images
    )
