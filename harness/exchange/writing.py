"""A tracker's boxes as raw result files, in the layouts of `harness.scoring.layouts`."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trackablate.datasets.errors import DataError, shown
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.layouts import LAYOUTS, lines_of

Tracked = tuple[str, ArrayLike, ArrayLike]
"""A sequence's name, its boxes (N, 4) x, y, w, h in pixels, 0-based, and its seconds: (N,), or their sum."""


def write_results(
    layout: str,
    out: Path,
    tracker: str,
    results: Iterable[Tracked],
    *,
    dataset: str,
    origin: int,
    truncate: bool = False,
) -> int:
    """Write one tracker's results into a folder, beside other trackers' of the same layout, and return how many sequences.

    They appear completely or not at all. `layout` is a key of LAYOUTS, `dataset` the protocol's name. `origin` is the number
    of the first pixel in the data set's files, which is added to x and y. `truncate` cuts boxes to integers, towards zero,
    as the writers of pytracking and OSTrack do. Raises BadInput if the folder holds such a file, or a name cannot be one;
    DataError if boxes are not (N, 4) finite numbers.
    """
    chosen, out = LAYOUTS[layout], out.absolute()
    if out.is_file():
        raise BadInput(f"{out} is a file: name a folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))
    count = 0
    try:
        for name, boxes, seconds in results:
            box_file, time_file = chosen.paths(file_name(tracker), dataset, file_name(name))
            rows = in_pixels_of(name, boxes, origin)
            times = per_frame(seconds, len(rows))
            _write(temporary / box_file, chosen.encode(rows, times, integers=truncate))
            if time_file:
                _write(temporary / time_file, lines_of(times, chosen.separator))
            count += 1
        temporary.chmod(0o755)
        for file in (path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file()):
            if (out / file).exists():
                raise BadInput(f"{out / file} is there already: name another folder, or move that away")
        _move(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _move(new: Path, place: Path) -> None:
    # A folder that is not there yet moves as a whole.
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        new.replace(place)
        return
    for inner in sorted(new.iterdir()):
        _move(inner, place / inner.name)


def _write(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        file.write(content)


def in_pixels_of(name: str, boxes: ArrayLike, origin: int) -> NDArray[np.float64]:
    """Return 0-based boxes in the pixel numbers of the data set's files. Raises DataError for malformed boxes."""
    found = np.array(boxes, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 4 or not np.isfinite(found).all():
        raise DataError(f"the boxes of {shown(name)} are not (N, 4) finite numbers: track the sequence again")
    found[:, :2] += origin
    return found


def per_frame(seconds: ArrayLike, frames: int) -> NDArray[np.float64]:
    """Return the seconds of each frame as a column (N, 1). A sum is spread evenly."""
    found = np.asarray(seconds, dtype=np.float64)
    return np.broadcast_to(found / frames if found.ndim == 0 else found, (frames,))[:, None]


def file_name(name: str) -> str:
    """Return the name. Raises BadInput if no file can have it."""
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise BadInput(f"{shown(name)!r} cannot be a file name: rename the sequence or the tracker")
    return name
