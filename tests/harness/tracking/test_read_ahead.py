"""Reading frames ahead changes neither boxes nor errors, holds few frames, and leaves no thread behind."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_models import tiny_model
from trackablate.datasets.benchmarks import got10k
from trackablate.datasets.boxes import Box
from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import SequenceList
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.sequence import Image, Sequence
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.datasets.synthetic.writing import videos, write
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.harness.tracking import evaluation
from trackablate.harness.tracking.read_ahead import MOST, FramesAhead, frame_readers, reading_ahead
from trackablate.harness.training.stopping import Interrupted
from trackablate.trackers.floors import NormalisedCrossCorrelation, StaticBox
from trackablate.trackers.inference import FrameTracker, NetworkTracker
from trackablate.trackers.outside.processes import TrackerFailed
from trackablate.trackers.spec import FloorSpec
from trackablate.trackers.variants import ostrack_mlp

CPU = torch.device("cpu")
LENGTHS = (5, 2, 7, 1, 4, 3, 6)
"""Frames of each sequence, so that slots come free at different steps."""
Result = dict[str, list[tuple[float, float, float, float]]]


@pytest.fixture(scope="module", params=["folder", "archive", "database"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GOT-10k's validation videos."""
    place = tmp_path_factory.mktemp("frames")
    out = place / ("made.zip" if request.param == "archive" else "made")
    write_videos(out)
    if request.param == "database":
        lmdb = pytest.importorskip("lmdb", reason="needs the package lmdb: pip install lmdb")
        with lmdb.open(str(place / "lmdb"), map_size=2**26) as opened, opened.begin(write=True) as transaction:
            for file in sorted(f for f in out.rglob("*") if f.is_file()):
                transaction.put(file.relative_to(out).as_posix().encode(), file.read_bytes())
        return place / "lmdb"
    return out


def write_videos(out: Path) -> None:
    made = [one for one in videos("got10k", count=len(LENGTHS), size=(96, 64)) if one.split == "val"]
    write("got10k", [replace(one, length=length) for one, length in zip(made, LENGTHS, strict=True)], out)


@pytest.fixture(scope="module")
def network() -> NetworkTracker:
    return NetworkTracker(tiny_model(ostrack_mlp), CPU)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the threads that read frames. None of them may be there afterwards."""
    seen, content = list[str](), ImageFiles.content

    def watched(frames: ImageFiles, index: int) -> bytes:
        seen.append(threading.current_thread().name)
        return content(frames, index)

    monkeypatch.setattr(ImageFiles, "content", watched)
    yield seen
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("frames")]


Evaluate = Callable[..., tuple[Result, str]]


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Evaluate:
    """Evaluates with so many threads in three slots, into a new store; returns its boxes and the error's words."""
    stores: list[Path] = []
    held: list[object] = []

    @contextmanager
    def kept(threads: int) -> Iterator[Callable[[Sequence], Sequence]]:
        with reading_ahead(threads) as ahead:
            held.append(ahead)  # a pool that nobody holds ends its threads by itself
            yield ahead

    monkeypatch.setattr(evaluation, "reading_ahead", kept)

    def run(
        tracker: FrameTracker,
        sequences: SequenceList,
        threads: int,
        report: Callable[[int, int], None] = lambda *_: None,
        error: type[BaseException] | None = None,
    ) -> tuple[Result, str]:
        monkeypatch.setattr(evaluation, "online_tracker", lambda *_, **__: tracker)
        monkeypatch.setattr(evaluation, "frame_readers", lambda _: threads)
        monkeypatch.setattr(evaluation, "SLOTS", 3)
        asked = Evaluation(protocol="got10k-val", data=sequences.digest())
        stores.append(tmp_path / f"store-{len(stores)}")
        folder: RunFolder = Store(stores[-1]).run(RunSpec(tracker=FloorSpec(kind="static")))
        said = ""
        if error is None:
            evaluation.evaluate(folder, asked, sequences, CPU, report)
        else:
            with pytest.raises(error) as raised:
                evaluation.evaluate(folder, asked, sequences, CPU, report)
            said = str(raised.value)
        found = {name: folder.result(asked, name) for name in sequences.names}
        return {name: result.boxes for name, result in found.items() if result}, said

    return run


def test_boxes_are_the_same_bit_for_bit(
    root: Path, network: NetworkTracker, evaluate: Evaluate, readers: list[str]
) -> None:
    for tracker in (network, NormalisedCrossCorrelation()):
        plain, _ = evaluate(tracker, got10k.VAL(root), 0)
        assert set(readers) == {"MainThread"}
        readers.clear()
        assert [len(found) for found in plain.values()] == list(LENGTHS)
        assert len({str(boxes[1:]) for boxes in plain.values()}) == len(LENGTHS)
        for threads in (1, 3):
            ahead, _ = evaluate(tracker, got10k.VAL(root), threads)
            assert ahead == plain
        by_threads = sum(name.startswith("frames") for name in readers)
        assert by_threads > len(readers) / 2
        if tracker is network:
            assert len(readers) == 2 * sum(LENGTHS), "each frame once"
        readers.clear()


@pytest.mark.parametrize("broken", [(2, 0), (2, 1), (0, 3), (6, 5), (4, 0)])
def test_an_unreadable_frame_is_named_as_without_threads(
    broken: tuple[int, int], tmp_path: Path, network: NetworkTracker, evaluate: Evaluate, readers: list[str]
) -> None:
    write_videos(tmp_path / "made")
    sequence = got10k.VAL(tmp_path / "made")[broken[0]]
    file = sorted((tmp_path / "made" / "val" / sequence.name).glob("*.jpg"))[broken[1]]
    file.write_bytes(file.read_bytes()[:-50])
    for tracker in (network, StaticBox()):
        found = [evaluate(tracker, got10k.VAL(tmp_path / "made"), threads, error=DataError) for threads in (0, 3)]
        assert found[0] == found[1]
        assert f"{file}: is truncated" in found[0][1]
    assert "frames_0" in readers


class Fails(StaticBox):
    """Fails in the third frame of a sequence that begins at `box`, which is no reason to leave the others out."""

    def __init__(self, box: Box) -> None:
        self.bad, self.seen = box, 0

    def initialise(self, image: Image, box: Box) -> None:
        super().initialise(image, box)
        self.seen = -100 if (box != self.bad).any() else 0

    def update(self, image: Image) -> Box:
        self.seen += 1
        if self.seen == 2:
            raise TrackerFailed("lost")
        return super().update(image)


def test_a_sequence_that_fails_loses_no_other(root: Path, evaluate: Evaluate, readers: list[str]) -> None:
    sequences = got10k.VAL(root)
    found, said = evaluate(Fails(sequences[2].boxes[0]), sequences, 3, error=TrackerFailed)
    assert said == f"it failed on 1 sequence: {sequences.names[2]}: lost"
    assert found.keys() == {*sequences.names} - {sequences.names[2]}
    assert "frames_0" in readers


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted(signal.SIGTERM, "in a test")])
def test_what_stops_the_tracking_ends_the_threads(
    error: BaseException, root: Path, network: NetworkTracker, evaluate: Evaluate, readers: list[str]
) -> None:
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise error

    found, _ = evaluate(network, got10k.VAL(root), 2, stop, type(error))
    assert 0 < len(found) < len(LENGTHS)
    assert "frames_0" in readers


def test_a_tracker_that_diverges_ends_the_threads(
    root: Path, network: NetworkTracker, evaluate: Evaluate, readers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find, calls = network.find, iter(range(99))
    monkeypatch.setattr(network, "find", lambda *given: [find, find, _nowhere][min(2, next(calls))](*given))
    _, said = evaluate(network, got10k.VAL(root), 2, error=ValueError)
    assert "is not finite" in said
    assert "frames_0" in readers


def _nowhere(templates: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((len(templates), 4), torch.nan), torch.zeros(len(templates))


def test_one_frame_is_held_ahead(root: Path, readers: list[str]) -> None:
    files = got10k.VAL(root)[2].frames
    assert isinstance(files, ImageFiles)
    with ThreadPoolExecutor(4) as pool:
        ahead = FramesAhead(files, pool)
        for index in (0, 1, 2):
            assert (ahead[index] == files[index]).all()
            assert [*ahead._coming] == [index + 1]
        assert (ahead[6] == files[6]).all()
        assert [*ahead._coming] == [], "nothing is after the last one, and no skipped frame stays"
        with pytest.raises(IndexError, match="frame 7 of 7"):
            ahead[7]


def test_generated_frames_are_drawn_when_they_are_looked_at() -> None:
    clip = make_sequence("target", 0, length=3, split="test")
    with reading_ahead(2) as ahead:
        assert ahead(clip) is clip


def test_threads_have_the_cores_that_a_gpu_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for cores in (1, 2, 5, 64):
        monkeypatch.setattr(torch, "get_num_threads", lambda cores=cores: cores)
        found[cores] = frame_readers(torch.device("cuda", 1))
        assert frame_readers(CPU) == 0
    assert found == {1: 1, 2: 1, 5: 4, 64: MOST}
