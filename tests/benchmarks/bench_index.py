"""Opening a root of TrackingNet's size, cold and warm: 30,132 training sequences, 14 million frames.

    python tests/benchmarks/bench_index.py [FOLDER]

The skeleton has every annotation file with a line for each frame; its frame folders are links to a few real ones inside
the root, whose files are empty: listing them shows 14 million names. It is kept in FOLDER for the next time, by default
made in a temporary folder and removed.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from trackablate.datasets.benchmarks.trackingnet import TRAIN

FRAMES = (465, 480, 450)
"""Lengths of the real folders; TrackingNet has 14,205,677 frames in 30,132 training sequences, 471 on average."""
WARM_TARGET = 2.0


def make_skeleton(root: Path) -> None:
    """Write the skeleton, unless it is there."""
    if (root / "done").exists():
        return
    for length in FRAMES:
        folder = root / "shared" / str(length)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(length):
            (folder / f"{number}.jpg").touch()
    rows = [
        "".join(f"{100 + n * 0.25:.2f},{80 + n * 0.5:.2f},64.00,48.50\n" for n in range(length)) for length in FRAMES
    ]
    for number, clip in enumerate(TRAIN.clips()):
        chunk = root / clip.fields["chunk"]
        for part in ("anno", "frames"):
            (chunk / part).mkdir(parents=True, exist_ok=True)
        (chunk / "anno" / f"{clip.name}.txt").write_text(rows[number % len(FRAMES)])
        (chunk / "frames" / clip.name).symlink_to(f"../../shared/{FRAMES[number % len(FRAMES)]}")
    (root / "done").touch()


def timed_open(root: Path, index: Path) -> tuple[float, int]:
    """Seconds to open the root and know its digest, and the number of frames."""
    begun = time.perf_counter()
    sequences = TRAIN(root, index)
    sequences.digest()
    seconds = time.perf_counter() - begun
    assert sequences.coverage == "30132 of 30132 sequences"
    step = max(1, len(sequences) // 300)
    mean = sum(len(sequences[i]) for i in range(0, len(sequences), step)) / len(range(0, len(sequences), step))
    return seconds, round(mean * len(sequences))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the skeleton is kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        make_skeleton(place / "root")
        index = Path(temporary) / "index"
        cold, frames = timed_open(place / "root", index)
        warm = min(timed_open(place / "root", index)[0] for _ in range(3))
        size = sum(file.stat().st_size for file in index.rglob("*.*")) / 2**20
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    sys.stdout.write(f"about {frames:,} frames: cold {cold:.1f} s, warm {warm:.2f} s (target {WARM_TARGET:.0f} s)\n")
    sys.stdout.write(f"index {size:.0f} MB, peak memory {memory:.0f} MB\n")
    return int(warm > WARM_TARGET)


if __name__ == "__main__":
    sys.exit(main())
