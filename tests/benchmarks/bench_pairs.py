"""Training pairs per second that one core makes from JPEG frames, by LoRAT's and OSTrack's recipe, at three frame sizes.

    python tests/benchmarks/bench_pairs.py --seconds 10
    python tests/benchmarks/bench_pairs.py --loaders 1 2 4       # batches of 128 from so many processes, wall time

Each is measured from the frames and from crops of them that `data pack` makes.

Beside ours stand decoding alone (OpenCV, both frames whole), and a plain loop that takes the way of LoRAT's published
pipeline: decode both frames whole, convert them to float32, crop there with `F.interpolate`, augment in float, normalise.
The plain loop draws no frames and no jitter and reads no annotation. All take turns, and count the CPU time of their
process, so that other work on the machine counts little. The frames are drawn here: smoothed noise that JPEG compresses
about as well as photographs. Targets have 5 to 30 % of the frame's side.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from trackablate.ablations import recipes
from trackablate.datasets.benchmarks.got10k import TRAIN
from trackablate.datasets.pairs.aligned_cropping import AlignedView, view_around
from trackablate.datasets.pairs.packed import PackedSequences, Packing
from trackablate.datasets.pairs.packing import begin, pack_set
from trackablate.datasets.sequence import Sequence
from trackablate.harness.spec import Recipe, VideoData
from trackablate.harness.training.loading import PairDataset, made, pair_geometry, pair_loader, training_pairs
from trackablate.trackers.model import IMAGE_MEAN, IMAGE_STD
from trackablate.trackers.spec import CropInput

SIZES = {"480p": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
TARGETS = {"480p": 200, "720p": 100, "1080p": 55}
PACKED = 300
VIDEOS, FRAMES, QUALITY, BATCH = 6, 24, 90, 128
LORAT = CropInput(geometry="lorat", window="blend", template_size=112, search_size=224)
WAYS: dict[str, tuple[CropInput, Recipe]] = {
    "LoRAT": (LORAT, recipes.lorat(1)),
    "OSTrack": (CropInput(), recipes.ostrack(1)),
}


def frame(size: tuple[int, int], rng: Generator) -> np.ndarray:
    """Draw smoothed noise at several scales."""
    image = 128 + rng.standard_normal((size[1], size[0], 3)).astype(np.float32) * 3
    for scale in (4, 8, 16, 32, 64, 128):
        coarse = rng.standard_normal((size[1] // scale + 2, size[0] // scale + 2, 3)).astype(np.float32)
        image += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) * (3 * scale**0.6)
    return image.clip(0, 255).astype(np.uint8)


def write_videos(root: Path, size: tuple[int, int]) -> None:
    """Write training videos in GOT-10k's layout."""
    rng = np.random.default_rng(0)
    for number in range(1, VIDEOS + 1):
        folder = root / f"train/GOT-10k_Train_{number:06d}"
        folder.mkdir(parents=True)
        sides = rng.uniform(0.05, 0.3, 2) * size
        corners = rng.uniform(0, 1, 2) * (size - sides) + rng.normal(0, 8, (FRAMES, 2)).cumsum(axis=0)
        boxes = np.concatenate([corners.clip(0, size - sides), np.tile(sides, (FRAMES, 1))], axis=1)
        np.savetxt(folder / "groundtruth.txt", boxes, fmt="%.4f", delimiter=",")
        (folder / "absence.label").write_text("0\n" * FRAMES)
        (folder / "cover.label").write_text("8\n" * FRAMES)
        for index in range(1, FRAMES + 1):
            picture = frame(size, rng)
            cv2.imwrite(str(folder / f"{index:08d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def files_of(sequence: Sequence, rng: Generator) -> tuple[list[bytes], np.ndarray]:
    """Return two frames' files and boxes."""
    numbers = rng.choice(FRAMES, 2, replace=False)
    frames = sequence.frames
    return [frames.files.read(frames.file(int(n))) for n in numbers], sequence.boxes[numbers]  # type: ignore[attr-defined]


def decoded(content: bytes) -> np.ndarray:
    """Decode the whole image with OpenCV."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def floats_cut(image: np.ndarray, view: AlignedView) -> Tensor:
    """Cut a crop out of the whole image as float32, 0..1, with the image's mean colour outside."""
    pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    crop = pixels.mean(dim=(1, 2))[:, None, None].repeat(1, view.size, view.size)
    (left, right), (top, bottom) = view.x.target, view.y.target
    shown = pixels[:, slice(*view.y.source), slice(*view.x.source)]
    crop[:, top:bottom, left:right] = F.interpolate(shown[None], (bottom - top, right - left), mode="bilinear")[0]
    return crop


def floats_augmented(crop: Tensor, rng: Generator, change: int) -> Tensor:
    """Mirror, jitter the colours, then grey, solarise or blur, and normalise: all in float32."""
    crop = crop.flip(2) if rng.random() < 0.5 else crop
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    for kind in rng.permutation(3):
        grey = (crop * weights).sum(dim=0, keepdim=True)
        middle = (torch.zeros(()), grey.mean(), grey)[kind]
        crop = (middle + (crop - middle) * rng.uniform(0.6, 1.4)).clip(0, 1)
    if change == 0:
        crop = (crop * weights).sum(dim=0, keepdim=True).repeat(3, 1, 1)
    elif change == 1:
        crop = torch.where(crop >= 0.5, 1 - crop, crop)
    else:
        blurred = cv2.GaussianBlur(crop.permute(1, 2, 0).numpy(), (0, 0), rng.uniform(0.1, 2))
        crop = torch.from_numpy(blurred).permute(2, 0, 1)
    return (crop - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None]


def plain_pair(sequence: Sequence, rng: Generator) -> object:
    """Make one pair by the plain loop."""
    contents, boxes = files_of(sequence, rng)
    change = int(rng.integers(3))
    images = [decoded(content) for content in contents]
    size = images[0].shape[1], images[0].shape[0]
    views = [view_around(boxes[0], 2.0, 112, size), view_around(boxes[1], 4.0, 224, size)]
    cut = [floats_cut(image, view) for image, view in zip(images, views, strict=True)]
    return [floats_augmented(crop, rng, change).contiguous() for crop in cut]


def rates(ways: dict[str, Callable[[int], object]], seconds: float) -> dict[str, float]:
    """Return each way's pairs per second of CPU time. They take turns of 8 pairs; the first turn warms up."""
    taken, made = dict.fromkeys(ways, 0.0), 0
    until = time.perf_counter() + seconds
    for turn in range(10_000):
        for name, make in ways.items():
            started = time.process_time()
            for number in range(8 * turn, 8 * turn + 8):
                make(number)
            taken[name] += (time.process_time() - started) if turn else 0.0
        made += 8 if turn else 0
        if made and time.perf_counter() > until:
            break
    return {name: made / spent for name, spent in taken.items()}


def ways_from(root: Path) -> dict[str, Callable[[int], object]]:
    """Return the ways to make pair number n from the videos below a root, by name."""
    videos, rng = TRAIN(root, root / "index"), np.random.default_rng(1)
    ways: dict[str, Callable[[int], object]] = {}
    for name, (crop, recipe) in WAYS.items():
        geometry = pair_geometry(crop, recipe, 8)
        sampler = training_pairs(VideoData(sets=(TRAIN.name,)), geometry, 0, {TRAIN.name: videos})
        ways[name] = PairDataset(sampler, 0, 10**9).__getitem__
        packing, out = Packing.of(geometry), root / f"packed-{name}"
        begin(out, TRAIN.data, packing, {TRAIN.name: videos})
        pack_set(videos, TRAIN.name, packing, out, lambda *_: None)
        packed = {TRAIN.name: PackedSequences(out, TRAIN.name)}
        sampler = training_pairs(VideoData(sets=(TRAIN.name,)), geometry, 0, packed)
        ways[f"{name} packed"] = PairDataset(sampler, 0, 10**9).__getitem__
    ways["plain loop"] = lambda number: plain_pair(videos[number % VIDEOS], rng)
    ways["decoding alone"] = lambda number: [decoded(file) for file in files_of(videos[number % VIDEOS], rng)[0]]
    return ways


def loader_rate(root: Path, workers: int, seconds: float) -> float:
    """Return LoRAT's pairs per second of wall time from a training's loader. The batches of its start do not count."""
    crop, recipe = WAYS["LoRAT"]
    data = VideoData(sets=(TRAIN.name,))
    sampler = training_pairs(data, pair_geometry(crop, recipe, 8), 0, {TRAIN.name: TRAIN(root, root / "index")})
    loader = made(pair_loader(PairDataset(sampler, 0, 10**6), BATCH, workers))
    for _ in range(2 * workers + 1):
        next(loader)
    started = now = time.perf_counter()
    pairs = 0
    while now < started + seconds:
        pairs += len(next(loader)["truth"])
        now = time.perf_counter()
    return pairs / (now - started)


def main() -> None:
    """Print pairs per second of each way at each size, or of the loader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each frame size")
    parser.add_argument(
        "--loaders", type=int, nargs="+", default=[], help="numbers of processes to try at 720p instead"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for workers in asked.loaders:
        with tempfile.TemporaryDirectory() as folder:
            write_videos(Path(folder), SIZES["720p"])
            rate = loader_rate(Path(folder), workers, asked.seconds)
        sys.stdout.write(f"720p, {workers} processes: {rate:.0f} pairs per second, {rate / workers:.0f} each\n")
    for name, size in SIZES.items() if not asked.loaders else ():
        with tempfile.TemporaryDirectory() as folder:
            write_videos(Path(folder), size)
            found = rates(ways_from(Path(folder)), asked.seconds)
        rated = ", ".join(f"{way} {rate:.0f}" for way, rate in found.items())
        sys.stdout.write(f"{name}: pairs per second and core: {rated} (to reach: {TARGETS[name]}, packed {PACKED})\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
