"""Our trackers inside the got10k package's experiments, and our metrics beside the package's on the same files.

The package (0.1.3) works with NumPy 2 and Matplotlib 3.11 as it is, but it imports `six` without declaring it. Its LaSOT
experiment, the only one with normalised precision, is not in that release; its OTB experiment downloads OTB, so DTB70's,
which is the same class on plain folders, stands for it.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from examples import SCALE
from places import ROOT
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.scoring.metrics import DIALECTS, Curve, Tally, curve, tally, values
from trackablate.harness.scoring.result_files import RawResult, open_results
from trackablate.trackers.floors import FLOORS, StaticBox
from trackablate.trackers.inference import FrameTracker, NetworkTracker
from trackablate.trackers.model import build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.toolkit import toolkit_tracker
from trackablate.trackers.variants import ostrack

ONE = np.array([1, 1, 0, 0])
LENGTHS = (9, 6, 8)
NAMES = [f"GOT-10k_Val_{k:06d}" for k in range(1, len(LENGTHS) + 1)]


@pytest.fixture(scope="module")
def got10k() -> Any:
    """The package's experiments; without them the tests are skipped, and say why."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import got10k.experiments
    except ImportError as error:
        pytest.skip(f"the got10k package cannot be imported ({error}): pip install got10k six")
    return got10k.experiments


@pytest.fixture(scope="module")
def clips() -> list[Sequence]:
    return [make_sequence("target", i, length=length, split="test") for i, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory, clips: list[Sequence]) -> Path:
    """GOT-10k's validation set in small. The second video's target is hidden in two frames."""
    root = tmp_path_factory.mktemp("got10k")
    (root / "val").mkdir()
    (root / "val" / "list.txt").write_text("\n".join(NAMES) + "\n")
    for name, clip in zip(NAMES, clips, strict=True):
        folder = root / "val" / name
        write_images(folder, clip)
        np.savetxt(folder / "groundtruth.txt", clip.boxes, fmt="%.4f", delimiter=",")
        height, width = clip.frames[0].shape[:2]
        (folder / "meta_info.ini").write_text(f"[METAINFO]\nanno_fps: 10Hz\nresolution: ({width}, {height})\n")
        for label, values_ in (("cover", covers(name, len(clip))), ("absence", 0), ("cut_by_image", 0)):
            np.savetxt(folder / f"{label}.label", np.broadcast_to(values_, len(clip)), fmt="%d")
    return root


def covers(name: str, length: int) -> NDArray[np.int64]:
    cover = np.full(length, 8)
    cover[3:5] = 0 if name == NAMES[1] else 1
    return cover


def write_images(folder: Path, clip: Sequence) -> None:
    folder.mkdir(parents=True)
    for i in range(len(clip)):
        assert cv2.imwrite(str(folder / f"{i + 1:08d}.jpg"), cv2.cvtColor(clip.frames[i], cv2.COLOR_RGB2BGR))


def network() -> FrameTracker:
    torch.manual_seed(0)
    return NetworkTracker(build(at_scale(ostrack, SCALE), pretrained=False), torch.device("cpu"))


TRACKERS: dict[str, Callable[[], FrameTracker]] = {**FLOORS, "network": network}


def tracked(tracker: FrameTracker, files: list[Path], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same without the package."""
    images = [np.asarray(Pillow.open(file).convert("RGB")) for file in files]
    tracker.initialise(images[0], box)
    return np.stack([box, *(tracker.update(image) for image in images[1:])])


@pytest.mark.parametrize("kind", TRACKERS)
def test_got10ks_experiment_runs_our_trackers_and_agrees_with_our_metrics(
    got10k: Any, tmp_path: Path, validation: Path, kind: str
) -> None:
    experiment = got10k.ExperimentGOT10k(str(validation), "val", str(tmp_path / "results"), str(tmp_path / "reports"))
    experiment.run(toolkit_tracker(kind, TRACKERS[kind]()))
    overall = experiment.report([kind])[kind]["overall"]
    results = open_results(kind, tmp_path / "results", NAMES)
    assert results.layout == "GOT-10k, repetition 1 of 1" and results.found.unknown == ()
    tallies = []
    for name in NAMES:
        folder = validation / "val" / name
        truth = np.loadtxt(folder / "groundtruth.txt", delimiter=",")
        found = clean(results.read(name, len(truth)))
        assert np.abs(found - tracked(TRACKERS[kind](), sorted(folder.glob("*.jpg")), truth[0])).max() <= 0.0005
        tallies.append(tally(found, truth, covers(name, len(truth)) > 0, size=(160, 120)))
    for metric, theirs in (("ao", overall["ao"]), ("sr50", overall["sr"])):
        sums, weights = values(tallies, metric, DIALECTS["got10k"])
        assert sums.sum() / weights.sum() == pytest.approx(theirs, abs=1e-12)
        assert weights.sum() == sum(LENGTHS) - len(LENGTHS) - 2
    assert_curves_agree(tallies, "success", "got10k", overall["succ_curve"])
    assert overall["speed_fps"] > 0


def clean(result: RawResult) -> NDArray[np.float64]:
    """The boxes of a result without fault, with times."""
    assert (result.faults, result.remarks) == ((), ())
    assert result.seconds is not None and (result.seconds > 0).all()
    return result.boxes


def test_an_ope_experiment_runs_our_tracker_on_one_based_boxes(
    got10k: Any, tmp_path: Path, clips: list[Sequence]
) -> None:
    root = tmp_path / "DTB70"
    names = ["Car2", "Yacht4", "Horse1"]
    for name, clip in zip(names, clips, strict=True):
        write_images(root / name / "img", clip)
        np.savetxt(root / name / "groundtruth_rect.txt", np.add(clip.boxes, ONE).round(), fmt="%d", delimiter=",")
    experiment = got10k.ExperimentDTB70(str(root), str(tmp_path / "results"), str(tmp_path / "reports"))
    experiment.run(toolkit_tracker("ncc", FLOORS["ncc"](), origin=1))
    overall = experiment.report(["ncc"])["ncc"]["overall"]
    results = open_results("ncc", tmp_path / "results", names)
    assert results.layout == "got10k toolkit"
    tallies = []
    for name in names:
        truth = np.loadtxt(root / name / "groundtruth_rect.txt", delimiter=",")
        found = clean(results.read(name, len(truth)))
        expected = tracked(FLOORS["ncc"](), sorted((root / name / "img").glob("*.jpg")), truth[0] - ONE)
        assert np.abs(found - expected - ONE).max() <= 0.0005
        tallies.append(tally(found, truth, np.ones(len(truth), dtype=bool)))
    assert_ope_agrees(tallies, overall)


def assert_curves_agree(tallies: list[Tally], kind: Curve, dialect: str, theirs: list[float]) -> None:
    _, sums, weights = curve(tallies, kind, DIALECTS[dialect])
    assert (sums.sum(axis=0) / weights.sum()).tolist() == pytest.approx(theirs, abs=1e-12)


def assert_ope_agrees(tallies: list[Tally], overall: dict[str, Any]) -> None:
    assert_curves_agree(tallies, "success", "got10k_ope", overall["success_curve"])
    assert_curves_agree(tallies, "precision", "got10k_ope", overall["precision_curve"])
    theirs = {"auc": "success_score", "precision": "precision_score", "op50": "success_rate"}
    for metric, key in theirs.items():
        sums, weights = values(tallies, metric, DIALECTS["got10k_ope"])
        assert sums.sum() / weights.sum() == pytest.approx(overall[key], abs=1e-12), metric


class Annotated:
    """What an experiment wants of a data set to report on it."""

    def __init__(self, boxes: dict[str, NDArray[np.float64]]) -> None:
        self.boxes, self.seq_names = boxes, list(boxes)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> tuple[list[str], NDArray[np.float64]]:
        return [], self.boxes[self.seq_names[index]].copy()


def test_the_ope_metrics_agree_on_boxes_of_every_sort(got10k: Any, tmp_path: Path) -> None:
    """Targets without annotation (NaN, as UAV123 has them), annotated as nothing (as LaSOT's absent ones), off the image,
    and predictions without area; the first row is another than the truth, which the package puts right."""
    rng = np.random.default_rng(7)
    truths = {f"seq{i}": rng.uniform(-20, 120, (60, 4)).round(2) for i in range(5)}
    experiment = got10k.ExperimentUAV123.__new__(got10k.ExperimentUAV123)
    experiment.result_dir, experiment.report_dir = str(tmp_path / "UAV123"), str(tmp_path / "reports")
    experiment.nbins_iou, experiment.nbins_ce = 21, 51
    experiment.dataset = Annotated(truths)
    (tmp_path / "UAV123" / "mine").mkdir(parents=True)
    tallies = []
    for name, truth in truths.items():
        truth[:, 2:] = np.abs(truth[:, 2:])
        prediction = np.round(truth + rng.normal(0, 12, truth.shape), 3)
        prediction[:, 2:] = np.abs(prediction[:, 2:])
        truth[5:9] = np.nan
        truth[20:23] = 0
        prediction[30:33, 2:] = 0
        np.savetxt(tmp_path / "UAV123" / "mine" / f"{name}.txt", prediction, fmt="%.3f", delimiter=",")
        tallies.append(tally(prediction, truth, np.ones(60, dtype=bool)))
    assert_ope_agrees(tallies, experiment.report(["mine"])["mine"]["overall"])


def test_the_tracker_says_what_it_is(got10k: Any) -> None:
    tracker = toolkit_tracker("static", StaticBox())
    assert (tracker.name, tracker.is_deterministic) == ("static", True)
    assert isinstance(tracker, sys.modules["got10k.trackers"].Tracker)


def test_grey_images_and_lists_are_taken(got10k: Any) -> None:
    tracker = toolkit_tracker("ncc", FLOORS["ncc"](), origin=1)
    grey = Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8))
    tracker.init(grey, [21, 11, 20, 20])
    assert tracker.update(grey).tolist() == [21, 11, 20, 20]


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "got10k.trackers", None)
    with pytest.raises(ImportError, match="pip install got10k"):
        toolkit_tracker("static", StaticBox())


def test_the_adapter_imports_neither_torch_nor_the_package() -> None:
    check = "import sys, trackers.toolkit; assert not {'torch', 'got10k', 'PIL'} & set(sys.modules), list(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
