"""Results belong to the image files that were tracked: others are noticed, named and tracked again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.errors import BadInput
from trackablate.harness.record import SequenceResult
from trackablate.harness.running.image_files import KEPT, find_replaced, keep_image_files, set_aside
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import Control, Evaluation, RunSpec
from trackablate.harness.store import Store
from trackablate.trackers.spec import FloorSpec
from video_factory import boxes, encoded, images, write, zipped

RUN = RunSpec(tracker=FloorSpec(kind="ncc"))
VIDEOS = ("clip_a", "clip_b")
FRAME = "clip_a/imgs/00000002.jpg"
OTHER = encoded(".jpg", (52, 30))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in VIDEOS:
        write(tmp_path / "data", {f"{name}/groundtruth.txt": boxes(4), **images(f"{name}/imgs", range(1, 5))})
    return tmp_path / "data"


class Tracked:
    """A run's results on the videos, and what becomes of them when the images are looked at again."""

    def __init__(self, store: Path, data: Path, control: Control = "none") -> None:
        sequences = PROTOCOLS["tnl2k"].open(data)
        evaluation = Evaluation(protocol="tnl2k", data=sequences.digest(), control=control)
        self.store, self.task = Store(store), RunTask(run=RUN, evaluations=(evaluation,))
        self.folder, self.evaluation = self.store.run(RUN), evaluation
        keep_image_files(self.folder, evaluation, sequences)
        for name in VIDEOS:
            self.folder.add_result(evaluation, SequenceResult(name=name, boxes=[(1, 2, 3, 4)] * 4, seconds=1))

    def again(self, data: Path, *, act: bool = True, again: bool = False) -> str:
        opened = {"tnl2k": PROTOCOLS["tnl2k"].open(data)}
        assert opened["tnl2k"].digest() == self.evaluation.data, "images are no part of what runs are found by"
        replaced, messages = find_replaced([self.task], self.store, opened, act=act, again=again)
        if act:
            set_aside([self.task], self.store, replaced, again=again)
        return "\n".join(messages)

    @property
    def missing(self) -> list[str]:
        return self.folder.untracked(self.evaluation, VIDEOS)


@pytest.fixture
def tracked(tmp_path: Path, data: Path) -> Tracked:
    return Tracked(tmp_path / "store", data)


def _later(data: Path, file: str = FRAME) -> None:
    for path in (data / Path(file).parent).iterdir():
        os.utime(path, (1_000_000_000, 1_000_000_000))


def test_the_same_images_are_not_tracked_again(tracked: Tracked, data: Path) -> None:
    assert tracked.again(data) == ""
    assert tracked.missing == []


def test_a_copy_in_an_archive_keeps_its_results_and_the_user_is_told(tracked: Tracked, data: Path) -> None:
    said = tracked.again(zipped(data, data.parent / "data.zip"))
    assert "the image files of clip_a, clip_b have the sizes of those that were tracked, but other times" in said
    assert f"`python -m harness evaluate {RUN.name} --protocol tnl2k --again` tracks them anew" in said
    assert tracked.missing == []


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "overwritten in place": (lambda root: (root / FRAME).write_bytes(OTHER), "clip_a (00000002.jpg: other sizes)"),
    "all replaced": (
        lambda root: write(root, {f"clip_a/imgs/{n:08d}.jpg": OTHER for n in range(1, 5)}),
        "clip_a (00000001.jpg and 3 more files: other sizes)",
    ),
    "renamed": (
        lambda root: [(root / f"clip_a/imgs/{n:08d}.jpg").rename(root / f"clip_a/imgs/{n}.jpg") for n in range(1, 5)],
        "clip_a (files with other names)",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_replaced_images_are_named_and_their_sequences_tracked_again(
    tracked: Tracked, data: Path, change: Callable[[Path], object], message: str
) -> None:
    change(data)
    assert message in tracked.again(data, act=False)
    assert tracked.missing == [], "a plan changes nothing"
    said = tracked.again(data)
    assert f"{RUN.name} on tnl2k: tracked again, since the images are not those of its results: {message}" in said
    assert tracked.missing == ["clip_a"]
    (former,) = tracked.folder.path.glob("evaluations/*/former/*/*.json")
    assert former.name == "clip_a.json"
    assert str(former.parent.parent) in said


def test_images_that_were_tracked_again_are_the_ones_that_count(tracked: Tracked, data: Path) -> None:
    (data / FRAME).write_bytes(OTHER)
    tracked.again(data)
    keep_image_files(tracked.folder, tracked.evaluation, PROTOCOLS["tnl2k"].open(data))
    tracked.folder.add_result(tracked.evaluation, SequenceResult(name="clip_a", boxes=[(1, 2, 3, 4)] * 4, seconds=1))
    assert tracked.again(data) == ""


def test_other_times_of_one_video_are_told_and_again_tracks_all(tracked: Tracked, data: Path) -> None:
    _later(data)
    said = tracked.again(data)
    assert "the image files of clip_a have the sizes" in said
    assert tracked.missing == []
    assert "former results are kept in" in tracked.again(data, again=True)
    assert tracked.missing == list(VIDEOS)
    assert len(list(tracked.folder.path.glob("evaluations/*/former/*/*.json"))) == 2


def test_a_control_is_tracked_again_when_its_template_was_replaced(tmp_path: Path, data: Path) -> None:
    tracked = Tracked(tmp_path / "store", data, "shuffled-template")
    (data / "clip_b/imgs/00000001.jpg").write_bytes(OTHER)
    assert "clip_a (its template, clip_b), clip_b (00000001.jpg: other sizes)" in tracked.again(data)
    assert tracked.missing == list(VIDEOS)


def test_results_of_older_versions_count_unless_their_frames_came_in_another_order(tmp_path: Path, data: Path) -> None:
    shutil.rmtree(data / "clip_a")
    write(data, {"clip_a/groundtruth.txt": boxes(4), **images("clip_a/imgs", range(8, 12), "%d.jpg")})
    tracked = Tracked(tmp_path / "store", data)
    (tracked.folder.evaluation_folder(tracked.evaluation) / KEPT).unlink()
    assert "clip_a (frames count by number now)" in tracked.again(data)
    assert tracked.missing == ["clip_a"]
    (data / "clip_b/imgs/00000001.jpg").write_bytes(OTHER)
    assert "clip_b (00000001.jpg: other sizes)" in tracked.again(data), "known since they were looked at"


def test_replaced_images_of_a_run_that_another_process_works_on_are_refused(tracked: Tracked, data: Path) -> None:
    _later(data)
    with tracked.folder.lock():
        assert "but other times" in tracked.again(data)
        (data / FRAME).write_bytes(OTHER)
        assert "clip_a (00000002.jpg: other sizes)" in tracked.again(data, act=False)
        with pytest.raises(BadInput, match="another process works on this run: start again when it has ended"):
            tracked.again(data)
        assert tracked.missing == []
    assert "former results are kept in" in tracked.again(data)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_list_of_image_files_is_as_none(tracked: Tracked, data: Path, content: bytes) -> None:
    (tracked.folder.evaluation_folder(tracked.evaluation) / KEPT).write_bytes(content)
    assert tracked.again(data) == ""


def test_a_damaged_image_takes_no_result_away(tracked: Tracked, data: Path) -> None:
    (data / FRAME).write_bytes(OTHER[: len(OTHER) // 2])
    with pytest.raises(DataError, match=FRAME.rpartition("/")[2]):
        tracked.again(data)
    assert tracked.missing == []
