"""`evaluate --again` and replaced images: results are set aside after all refusals, and once for all attempts."""

from pathlib import Path
from typing import Any

import pytest

from command_line import invoke, said
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.record import SequenceResult
from trackablate.harness.running import runner
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.spec import FloorSpec
from video_factory import boxes, encoded, images, write

VIDEOS = ("clip_a", "clip_b")
REFUSED = {"device": ("--device", "cuda:77"), "gpus": ("--device", "cpu", "--gpus-per-run", "5000")}


class Evaluated:
    """A floor's evaluation on two videos by the command line."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        for name in VIDEOS:
            write(self.data, {f"{name}/groundtruth.txt": boxes(3), **images(f"{name}/imgs", range(1, 4))})
        self.words = ("evaluate", "static", "--protocol", "tnl2k", "--data", f"tnl2k={self.data}")
        self.words = (*self.words, "--store", str(root / "store"))
        self.folder: RunFolder = Store(root / "store").run(RunSpec(tracker=FloorSpec(kind="static")))
        self.folder.claim()
        self.evaluation = Evaluation(protocol="tnl2k", data=PROTOCOLS["tnl2k"].open(self.data).digest())
        said(*self.words, "--device", "cpu")

    def replace_images(self) -> None:
        write(self.data, {f"clip_a/imgs/{number:08d}.jpg": encoded(".jpg", (52, 30)) for number in range(1, 4)})

    def invoke(self, *words: str) -> Any:
        return invoke(*self.words, *words)

    @property
    def missing(self) -> list[str]:
        return self.folder.untracked(self.evaluation, VIDEOS)

    @property
    def former(self) -> list[str]:
        return sorted(file.stem for file in self.folder.path.glob("evaluations/*/former/*/*.json"))


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    return Evaluated(tmp_path)


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED)
def test_a_refused_command_leaves_the_results_where_they_are(evaluated: Evaluated, options: tuple[str, ...]) -> None:
    for replaced, again in ((False, ("--again",)), (True, ())):
        if replaced:
            evaluated.replace_images()
        refused = evaluated.invoke(*again, *options)
        assert refused.exit_code == 2, refused.output
        assert options[-2] in refused.stderr
        assert (evaluated.missing, evaluated.former) == ([], [])


def test_an_interrupted_again_goes_on_where_it_was(evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> list[str]:
        evaluated.folder.add_result(evaluated.evaluation, new)
        return ["stopped"]

    new = SequenceResult(name="clip_a", boxes=[(1, 2, 3, 4)] * 3, seconds=1)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run_all", interrupted)
        assert evaluated.invoke("--again", "--device", "cpu").exit_code == 1
    assert (evaluated.missing, evaluated.former) == (["clip_b"], list(VIDEOS))
    went_on = evaluated.invoke("--again", "--device", "cpu")
    assert went_on.exit_code == 0, went_on.output
    assert "the interrupted --again goes on, 1 of 2 are tracked" in went_on.stderr
    assert (evaluated.missing, evaluated.former) == ([], list(VIDEOS))
    assert evaluated.folder.result(evaluated.evaluation, "clip_a") == new
    anew = evaluated.invoke("--again", "--device", "cpu")
    assert anew.exit_code == 0, anew.output
    assert (evaluated.missing, evaluated.former) == ([], sorted(VIDEOS * 2)), "that one had ended"
    assert evaluated.folder.result(evaluated.evaluation, "clip_a") != new


def test_replaced_images_are_tracked_again_and_shown(evaluated: Evaluated) -> None:
    """The thumbnails are made again too, after the results are set aside."""
    strips = evaluated.folder.path.parents[1] / "protocols" / f"tnl2k-{evaluated.evaluation.data[:12]}" / "strips.npz"
    before = strips.read_bytes()
    evaluated.replace_images()
    done = evaluated.invoke("--device", "cpu")
    assert done.exit_code == 0, done.output
    assert (evaluated.missing, evaluated.former) == ([], ["clip_a"])
    assert strips.read_bytes() != before
    assert "tracked again" not in evaluated.invoke("--device", "cpu").stderr


def test_replaced_images_of_a_run_at_work_elsewhere_are_refused(evaluated: Evaluated) -> None:
    evaluated.replace_images()
    with evaluated.folder.lock():
        refused = evaluated.invoke("--device", "cpu")
    assert refused.exit_code == 2
    assert "another process works on this run: start again when it has ended" in refused.stderr
    assert "metrics" not in refused.stdout
