"""How fast `score` is: the 280 test sequences of LaSOT, three trackers, text files; against the loop that toolkits of
pytracking's kind use (pandas reads each file, torch measures it), written here from the rules it follows.

    python tests/benchmarks/bench_score.py [ROUNDS] [FOLDER]

FOLDER: made and kept if it is not there, else used again. Boxes are generated: random walks, as many and about as long as
LaSOT's sequences, written as trackers write them. Both are timed in the same process, in turn, without imports; ours
starts its processes within the time. Cold: no tally kept. Warm: all kept. Every round of ours is also checked to give the
yardstick's scores.
"""

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from trackablate.datasets.benchmarks.lasot import TEST
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.scoring.raw_reading import ScoreRequest
from trackablate.harness.scoring.raw_scoring import score
from trackablate.harness.scoring.result_files import open_results
from trackablate.harness.scoring.scored import Scored

FRAMES, SHORTEST = 685_360, 1_000
"""Annotated frames of LaSOT's test set, and about its shortest sequence."""
TRACKERS = ("walker", "drifter", "sleeper")
T = TypeVar("T")
METRICS = ("auc", "precision", "norm_precision")


def main() -> None:
    """Make the files, time both, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("folder", nargs="?", type=Path, help="where the files are kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.folder or Path(scratch) / "lasot"
        if not root.exists():
            make_files(root)
        from toolkit_loop import toolkit_loop

        times: dict[str, list[float]] = {"yardstick": [], "cold": [], "warm": []}
        for _ in range(arguments.rounds):
            wanted, seconds = timed(lambda: toolkit_loop(root / "annotations", [root / t for t in TRACKERS]))
            times["yardstick"].append(seconds)
            shutil.rmtree(root / "store", ignore_errors=True)
            for name in ("cold", "warm"):
                found, seconds = timed(lambda: ours(root))
                times[name].append(seconds)
                check(found, wanted)
        report(times)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What work gives, and the seconds it took."""
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def ours(root: Path) -> Scored:
    """What the command does, from opening the folders on."""
    sequences = PROTOCOLS["lasot"].open(root / "annotations")
    results = tuple(open_results(name, root / name, sequences.names) for name in TRACKERS)
    request = ScoreRequest("lasot", root / "annotations", results, ("ostrack",), "benchmark", store=root / "store")
    return score(request, sequences)


def check(found: Scored, wanted: np.ndarray) -> None:
    """Raise where the two disagree: a fast wrong answer is no answer."""
    scores = [[t.percent(found.protocol, m) or 0.0 for m in METRICS] for t in found.trackers]
    if not np.allclose(scores, 100 * wanted, atol=1e-3):
        raise SystemExit(f"the two disagree:\n{np.array(scores)}\n{100 * wanted}")


def report(times: dict[str, list[float]]) -> None:
    """Medians and medians of ratios of the same round."""
    for name, seconds in times.items():
        ratios = [mine / theirs for mine, theirs in zip(seconds, times["yardstick"], strict=True)]
        print(f"{name:10} {statistics.median(seconds):7.3f} s  {statistics.median(ratios):6.3f} x yardstick")  # noqa: T201
    own, workers = (resource.getrusage(who).ru_maxrss / 1e3 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"peak memory: {own:.0f} MB with torch and pandas loaded; largest worker {workers:.0f} MB")  # noqa: T201


def make_files(root: Path) -> None:
    """Annotation in LaSOT's annotation-only layout, and three trackers' results, of the real sequences' lengths."""
    rng = np.random.default_rng(0)
    names = [clip.name for clip in TEST.clips()]
    lengths = rng.gamma(1.0, FRAMES / len(names) - SHORTEST, len(names)) + SHORTEST
    lengths = np.round(lengths * FRAMES / lengths.sum()).astype(int)
    for name, frames in zip(names, lengths.tolist(), strict=True):
        walk = np.cumsum(rng.normal(0, 3, (frames, 4)) * [1, 1, 0.2, 0.2], axis=0)
        truth = np.abs(walk + np.array([600, 300, 90, 60])).round() + 1
        absent = rng.random(frames) < 0.027
        absent[0] = False
        truth[absent & (rng.random(frames) < 0.5)] = 0
        folder = root / "annotations" / name
        folder.mkdir(parents=True)
        np.savetxt(folder / "groundtruth.txt", truth, "%d", ",")
        np.savetxt(folder / "absent.txt", absent, "%d")
        (folder / "attributes.txt").write_text(",".join(["0"] * 14) + "\n")
        for tracker, noise in zip(TRACKERS, (5.0, 20.0, 80.0), strict=True):
            (root / tracker).mkdir(exist_ok=True)
            boxes = truth + rng.normal(0, noise, truth.shape) * [1, 1, 0.2, 0.2]
            boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
            np.savetxt(root / tracker / f"{name}.txt", boxes, "%.2f", ",")


if __name__ == "__main__":
    main()
