"""Killed and started again, a run ends with the numbers of an unbroken one, bit for bit; two workers share one run.

Real worker processes, started as a study starts them, on a small training and three videos of different lengths.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from trackablate.ablations.plan import run_of
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.executors.local import LocalExecutor, LocalWorker
from trackablate.harness.running.tasks import Reply, RunTask, WorkerSettings
from trackablate.harness.running.worker import ORPHANED
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import EVALUATION, RunFolder, Store
from trackablate.trackers.variants import detrack_ce

SMOKE = load_profile("smoke")
STEPS, BATCH = 36, 4
LENGTHS = {"short": 4, "middle": 40, "long": 150}
PATIENCE = 120.0


def run_spec() -> RunSpec:
    """The variant with all the randomness there is: denoising queries, and elimination on a schedule."""
    update = {"steps": STEPS, "batch_size": BATCH, "checkpoint_every": 4, "validation_pairs": 4}
    return run_of(detrack_ce, SMOKE.model_copy(update={"recipe": SMOKE.recipe.model_copy(update=update)}), seed=5)


def make_videos(root: Path) -> Path:
    """A textured square on noise, moving, in OTB's layout."""
    rng = np.random.default_rng(0)
    for name, length in LENGTHS.items():
        folder = root / name / "img"
        folder.mkdir(parents=True)
        ground = rng.integers(60, 120, (96, 128, 3), dtype=np.uint8)
        target = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        lines = []
        for frame in range(length):
            x, y = 20 + frame // 2 % 60, 30 + frame // 5 % 30
            image = ground.copy()
            image[y : y + 16, x : x + 16] = target
            cv2.imwrite(str(folder / f"{frame + 1:04d}.jpg"), image)
            lines.append(f"{x + 1},{y + 1},16,16\n")
        (root / name / "groundtruth_rect.txt").write_text("".join(lines))
    return root


@dataclass
class Workshop:
    """One store and workers on one run in it."""

    store: Store
    executor: LocalExecutor
    task: RunTask

    @classmethod
    def at(cls, root: Path, videos: Path) -> "Workshop":
        digest = PROTOCOLS["otb"].open(videos).digest()
        evaluations = (
            Evaluation(protocol="otb", data=digest),
            Evaluation(protocol="otb", data=digest, control="shuffled-template"),
        )
        task = RunTask(run=run_spec(), evaluations=evaluations, roots={"otb": str(videos)})
        return cls(Store(root), LocalExecutor(root / "logs"), task)

    @property
    def folder(self) -> RunFolder:
        return self.store.run(self.task.run)

    def start(self, loading: int = 0) -> LocalWorker:
        settings = WorkerSettings(store=str(self.store.root), device="cpu", threads=1, workers=1, command="test")
        worker = self.executor.start(settings.model_copy(update={"loader_workers": loading}))
        worker.do(self.task)
        return worker

    def results(self) -> dict[str, list[str]]:
        """Names of the sequences with a result, by evaluation."""
        places = {e.key: self.folder.path / "evaluations" / e.key for e in self.task.evaluations}
        return {
            key: sorted(p.stem for p in place.glob("[!.]*.json") if p.name != EVALUATION)
            for key, place in places.items()
        }

    def boxes(self) -> dict[str, list[tuple[float, float, float, float]]]:
        found = {}
        for evaluation in self.task.evaluations:
            for name in LENGTHS:
                result = self.folder.result(evaluation, name)
                assert result is not None, f"{name} was not tracked"
                found[f"{evaluation.key} {name}"] = result.boxes
        return found


def wait_until(happened: Callable[[], bool], *works: LocalWorker) -> None:
    """Wait for something the workers do; they must still be at it."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "nothing happened for too long"
        ended = [reply for work in works if (reply := work.poll()) is not None]
        assert not ended, f"a worker ended before it: {ended}"
        time.sleep(0.001)


def reply_of(work: LocalWorker) -> Reply:
    """Wait for the reply, and end the worker."""
    end = time.monotonic() + PATIENCE
    while (reply := work.poll()) is None:
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    work.stop()
    return reply


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("videos"))


@dataclass
class Shared:
    """Two workers started at once on the same run: how each ended, and every file that ever was the weights."""

    shop: Workshop
    ends: list[Reply]
    written: set[int]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Shared:
    shop = Workshop.at(tmp_path_factory.mktemp("shared") / "store", videos)
    works, written = [shop.start(), shop.start()], set[int]()
    wait_until(lambda: shop.folder.checkpoint.exists(), *works)
    end, ends = time.monotonic() + PATIENCE, list[Reply]()
    while len(ends) < len(works) and time.monotonic() < end:
        if shop.folder.weights.exists():
            written.add(shop.folder.weights.stat().st_ino)
        ends += [reply for work in works if (reply := work.poll()) is not None]
        time.sleep(0.001)
    for work in works:
        work.stop()
    return Shared(shop, ends, written)


def test_two_workers_on_one_run_train_it_once(shared: Shared) -> None:
    shop, ends = shared.shop, shared.ends
    assert [reply.status for reply in ends] == ["done", "done"], ends
    assert len(shared.written) == 1, "the second waits, and finds the run trained"
    training = shop.folder.training()
    assert training is not None
    assert training.cost.resumed == 0
    assert training.cost.samples == STEPS * BATCH
    assert [point.step for point in training.curve] == list(range(4, STEPS + 1, 4))
    assert training.weights_digest == hashlib.sha256(shop.folder.weights.read_bytes()).hexdigest()
    assert shop.results() == {evaluation.key: sorted(LENGTHS) for evaluation in shop.task.evaluations}
    for key, boxes in shop.boxes().items():
        assert len(boxes) == LENGTHS[key.split()[-1]]
    assert shop.folder.failure() is None
    assert not shop.folder.checkpoint.exists()
    assert not list(shop.store.root.rglob("*.tmp"))


@pytest.mark.slow
def test_killed_and_orphaned_workers_change_nothing(tmp_path: Path, videos: Path, shared: Shared) -> None:
    """Killed in training, abandoned by its parent in training, killed in tracking; then left to finish.

    Two processes make the first one's pairs, and one the second one's.
    """
    unbroken, shop = shared.shop, Workshop.at(tmp_path / "store", videos)
    folder = shop.folder

    killed = shop.start(loading=2)
    wait_until(folder.checkpoint.exists, killed)
    killed.stop()
    assert folder.training() is None, "killed too late to say anything"
    first = folder.checkpoint.stat().st_ino

    orphan = shop.start(loading=1)
    wait_until(lambda: folder.checkpoint.stat().st_ino != first, orphan)
    assert orphan.process.stdin is not None
    orphan.process.stdin.close()
    closed = time.monotonic()
    assert orphan.process.wait(PATIENCE) == ORPHANED
    assert time.monotonic() - closed < 5
    assert folder.training() is None, "it went on working for nobody"
    assert not any(shop.results().values())

    tracking = shop.start()
    wait_until(lambda: any(shop.results().values()), tracking)
    tracking.stop()
    trained = folder.training()
    assert trained is not None
    assert trained.cost.resumed == 2
    found = shop.results()
    assert any(found.values())
    assert any(len(names) < len(LENGTHS) for names in found.values()), "killed too late to say anything"
    weights = folder.weights.stat().st_mtime_ns

    last = shop.start()
    assert (reply := reply_of(last)).status == "done", reply
    assert folder.weights.stat().st_mtime_ns == weights, "what is trained is not trained again"
    assert folder.weights.read_bytes() == unbroken.folder.weights.read_bytes()
    assert shop.boxes() == unbroken.boxes()
    expected = unbroken.folder.training()
    assert expected is not None
    assert trained.cost.samples == expected.cost.samples
    assert [(p.step, p.losses, p.validation_iou) for p in trained.curve] == [
        (p.step, p.losses, p.validation_iou) for p in expected.curve
    ]


def test_the_control_is_tracked_with_other_templates(shared: Shared) -> None:
    shop = shared.shop
    plain, shuffled = ([shop.folder.result(e, name) for name in LENGTHS] for e in shop.task.evaluations)
    for own, others in zip(plain, shuffled, strict=True):
        assert own is not None
        assert others is not None
        assert own.boxes[0] == others.boxes[0], "both start at the given box"
        assert own.boxes[1:] != others.boxes[1:]
