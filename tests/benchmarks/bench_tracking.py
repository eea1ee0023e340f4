"""Many sequences tracked at once against one after the other: `python tests/benchmarks/bench_tracking.py [--slots N]`, in
the project's root; on a GPU, if there is one.

The same frames through the same network: batches of up to `slots` sequences, a slot that is free taken by the next sequence
at its next step, against batch 1. The two are measured in turn, the order changing from round to round; what counts is the
median over rounds of the same-round ratio. And they are held to each other box for box: what a network says of a row depends
on the batch's size in the last bits only.

With `--readers 0 1 2`, the sequences are JPEG files of 1280 x 720 pixels instead, read ahead by so many threads or by none,
in up to 16 slots. `--wait 5` puts a wait of 5 ms for each batch in the network's place, as a GPU lets the processor wait.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import replace as replace_field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from trackablate.datasets.reading.files import Folder
from trackablate.datasets.reading.frame_names import frame_names
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.videos import SyntheticSequences, make_sequence
from trackablate.harness.spec import Evaluation
from trackablate.harness.tracking.evaluation import _trajectories
from trackablate.harness.tracking.read_ahead import reading_ahead
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.inference import (
    NetworkTracker,
    TrackingBatch,
    Trajectory,
    schedule,
    track_one_by_one,
    track_together,
)
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import CropInput, TrackerSpec, replace
from trackablate.trackers.variants import VARIANTS

LENGTHS = (40, 12, 25, 8, 31, 17, 6, 22, 14, 36, 9, 19)
"""Frames per sequence: as unequal as a benchmark's, so that slots come free at different steps."""
SAME = 0.01
"""Pixels that a box may differ by between the two ways; frames are 160 x 120."""
MINI = CropInput(template_size=32, search_size=64, template_factor=1.5, search_factor=3.0, min_side=3.0)


def say(line: str) -> None:
    """One line to the terminal."""
    sys.stdout.write(f"{line}\n")


def network(name: str, device: torch.device) -> NetworkTracker:
    """The named variant, merged, with random weights under which its boxes wander; under the name "mini" OSTrack's encoder
    under LoRAT's head on the embedded backbone."""
    mini = replace(VARIANTS["ostrack-256-mlp"], backbone="vit-mini", pretrained="shipped", crop=MINI)
    spec: TrackerSpec = mini if name == "mini" else replace(VARIANTS[name], pretrained="none")
    torch.manual_seed(1)
    model = build(spec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        if spec.head.kind == "mlp":
            model.head.box[-1].bias.sub_(2)  # else every box is as large as the image
    merged = merge(model)
    assert isinstance(merged, OneStreamTracker)
    return NetworkTracker(merged, device)


def batch(clips: list[Sequence], slots: int) -> TrackingBatch:
    """All clips, each with its own first frame as template."""
    everything = frozenset(range(len(clips)))
    lengths = [len(clip) for clip in clips]
    return TrackingBatch(clips.__getitem__, lambda _, clip: (clip.frames[0], clip.boxes[0]), lengths, everything, slots)


def timed(track: Callable[[], Iterable[Trajectory]], device: torch.device) -> tuple[float, dict[str, Trajectory]]:
    """Seconds of tracking everything, and what came of it."""
    started = time.perf_counter()
    found = {trajectory.name: trajectory for trajectory in track()}
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, found


def largest_difference(a: dict[str, Trajectory], b: dict[str, Trajectory]) -> float:
    """The most that two trackings of the same sequences differ in any number of any box, in pixels."""
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name].boxes - b[name].boxes).max()) for name in a)


def mean_step(found: dict[str, Trajectory]) -> float:
    """By how many pixels a box's numbers change from frame to frame, the mean over all frames of their sum."""
    return float(np.mean(np.concatenate([np.abs(np.diff(t.boxes, axis=0)).sum(1) for t in found.values()])))


@dataclass(frozen=True)
class Files(SyntheticSequences):
    """Generated sequences as JPEG files of 1280 x 720 pixels in folders below `root`."""

    root: Path = Path()

    def __getitem__(self, index: int, /) -> Sequence:
        clip, folder = super().__getitem__(index), self.root / str(index)
        if not folder.exists():
            folder.mkdir()
            for number in range(self.length):
                picture = cv2.resize(clip.frames[number][:, :, ::-1], (1280, 720), interpolation=cv2.INTER_CUBIC)
                picture = cv2.add(picture, np.random.default_rng(number).integers(0, 8, picture.shape, np.uint8))
                cv2.imwrite(str(folder / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
        files = Folder(folder)
        frames = ImageFiles(files, "", frame_names(files.names(), "number"))
        return replace_field(clip, frames=frames, boxes=clip.boxes * (8, 6, 8, 6))


def from_files(tracker: NetworkTracker, readers: list[int], rounds: int) -> None:
    """Print the frames per second with each number of threads, and the ratio of each to the first."""
    asked = Evaluation(protocol="synthetic", data="")
    with tempfile.TemporaryDirectory() as folder:
        clips = Files("target", "test", count=18, length=13, root=Path(folder))
        list(clips)  # written before the clock runs

        def track(threads: int) -> list[Trajectory]:
            with reading_ahead(threads) as ahead:
                return list(_trajectories(tracker, asked, clips, set(clips.names), lambda _: None, ahead))

        seconds: dict[int, list[float]] = {threads: [] for threads in readers}
        found: dict[int, dict[str, Trajectory]] = {}
        for number in range(1 + rounds):
            for threads in readers if number % 2 else readers[::-1]:
                elapsed, found[threads] = timed(lambda threads=threads: track(threads), tracker.device)
                seconds[threads] += [elapsed] if number else []
    for threads, row in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[readers[0]], row, strict=True))
        rate = clips.count * (clips.length - 1) / statistics.median(row)
        say(f"{threads} threads: median {rate:6.1f} frames/s, {ratio:.2f} times as fast as with {readers[0]}")
        if largest_difference(found[readers[0]], found[threads]):
            raise SystemExit("boxes differ")


def waiting(milliseconds: float) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a network that waits and then finds every target in the middle."""

    def find(templates: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        time.sleep(milliseconds / 1000)
        return torch.tensor([0.4, 0.4, 0.6, 0.6]).repeat(len(templates), 1), torch.ones(len(templates))

    return find


def main() -> None:
    """Measure and print; fails where the boxes are not the same, or stand still and so say nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", default="mini", help="mini, or a named tracker")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readers", type=int, nargs="+")
    parser.add_argument("--wait", type=float)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked.readers:
        cv2.setNumThreads(1)
        tracker = network(asked.tracker, device)
        if asked.wait is not None:
            tracker.find = waiting(asked.wait)
        from_files(tracker, asked.readers, asked.rounds)
        return
    clips = [make_sequence("target", i, length=length, split="test") for i, length in enumerate(LENGTHS)]
    for clip in clips:
        list(clip.frames)  # drawn before the clock runs
    tracker = network(asked.tracker, device)
    ways: dict[str, Callable[[], Iterable[Trajectory]]] = {
        "one by one": lambda: track_one_by_one(tracker, clips),
        f"{asked.slots} slots": lambda: track_together(tracker, batch(clips, asked.slots)),
    }
    alone, together = ways
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    difference = 0.0
    for number in range(1 + asked.rounds):
        found = {}
        for name in list(ways) if number % 2 else list(ways)[::-1]:
            elapsed, found[name] = timed(ways[name], device)
            if number:
                seconds[name].append(elapsed)
        difference = max(difference, largest_difference(found[alone], found[together]))
    frames = sum(LENGTHS) - len(LENGTHS)
    steps = [len(rows) for rows in schedule(list(LENGTHS), asked.slots)]
    for name, row in seconds.items():
        say(f"{name:12} median {frames / statistics.median(row):8.1f} frames/s")
    ratio = statistics.median(a / b for a, b in zip(seconds[together], seconds[alone], strict=True))
    say(f"{together} / one by one: time {ratio:.2f}; slots filled {sum(steps) / (len(steps) * asked.slots):.0%}")
    say(f"largest difference of any box: {difference:.2g} px; a box moves by {mean_step(found[alone]):.2g} px a frame")
    if mean_step(found[alone]) < 1:
        raise SystemExit("the boxes stand still: that they are the same says nothing")
    if difference > SAME:
        raise SystemExit(f"boxes differ by {difference:.2g} px, more than {SAME}")


if __name__ == "__main__":
    main()
