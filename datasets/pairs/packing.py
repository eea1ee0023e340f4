"""Packs training sets: of each frame the surroundings of the target that a recipe can ask for, at the needed resolution."""

import ctypes
import json
import signal
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.atomic import sealed, sweep, write_arrays, write_text, write_with
from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.boxes import Box, clip, valid
from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs.cropping import Colour, View
from trackablate.datasets.pairs.geometries import GEOMETRIES, CropRequest, Jitter, mean_colour
from trackablate.datasets.pairs.packed import ROW, VIDEOS_PER_FILE, Packing, read_folder
from trackablate.datasets.progress import OnProgress
from trackablate.datasets.reading.frames import jpeg
from trackablate.datasets.roots import PACKED_MARK
from trackablate.datasets.sequence import Image, Sequence

SPREAD = 3.0
"""Standard deviations of a recipe's jitter of size that the surroundings are enough for; the shift is bounded anyway."""
DETAIL = 1.0
"""Pixels of a packed frame for each pixel of a search crop without jitter, unless the frame has fewer."""
MARGIN = 2
"""Pixels around a template that interpolation may ask for."""
AHEAD = 8
"""Videos for each process that are packed before they are written."""
WORTH = 0.5
"""Largest share of a packed frame at which a picture of the template alone is kept beside it."""


class PackedFrame(NamedTuple):
    """A frame as it is packed.

    Attributes:
        pictures: JPEG files of the surroundings, and of the template alone; b"" for none.
        box: (4,) the box in pixels of the surroundings.
        size: (width, height) of the surroundings.
        corner: Where the template's picture lies in them.
        mean: Mean colour of the whole frame.
    """

    pictures: tuple[bytes, bytes]
    box: Box
    size: tuple[int, int]
    corner: tuple[int, int]
    mean: Colour


def pack_frame(image: Image, box: Box, packing: Packing) -> PackedFrame:
    """Pack one frame. box: (4,) xywh in pixels of the image."""
    height, width = image.shape[:2]
    (left, top, right, bottom), scale = _needed(box, packing, (width, height))
    region = image[top:bottom, left:right]
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    if size != (right - left, bottom - top):
        region = np.asarray(cv2.resize(region, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    factors = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    moved = np.concatenate([(box[:2] - (left, top)) * factors, box[2:] * factors])
    found = _template(moved, packing, size)
    alone, corner = b"", (0, 0)
    if found and (found[2] - found[0]) * (found[3] - found[1]) < WORTH * size[0] * size[1]:
        corner = found[0], found[1]
        alone = jpeg(region[found[1] : found[3], found[0] : found[2]], packing.quality)
    return PackedFrame((jpeg(region, packing.quality), alone), moved, size, corner, mean_colour(image))


def _needed(box: Box, packing: Packing, size: tuple[int, int]) -> tuple[tuple[int, int, int, int], float]:
    """Return the part of the image that a search crop can show, in whole pixels, and its scale; the image if it is empty."""
    box = clip(box, *size) if packing.fit_boxes else box
    cutting, jitter = GEOMETRIES[packing.geometry], Jitter(packing.scale_jitter, packing.centre_jitter)
    try:
        plain = _shown(cutting.around(box, CropRequest(packing.search_factor, packing.search_size, size)))
    except ValueError:
        return (0, 0, *size), 1.0
    reach, centre = cutting.reach(box, packing.search_factor, jitter, SPREAD), box[:2] + box[2:] / 2
    low = np.floor(centre - reach).clip(0, size).astype(int)
    high = np.ceil(centre + reach).clip(0, size).astype(int)
    if (low >= high).any():
        return (0, 0, *size), 1.0
    scale = min(1.0, DETAIL * packing.search_size / float(max(plain[2:])))
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1])), scale


def _template(box: Box, packing: Packing, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return the pixels that a template crop shows, as left, top, right, bottom; None if there are none."""
    box = clip(box, *size) if packing.fit_boxes else box
    try:
        view = GEOMETRIES[packing.geometry].around(
            box, CropRequest(packing.template_factor, packing.template_size, size)
        )
    except ValueError:
        return None
    shown = _shown(view)
    low = (np.floor(shown[:2]) - MARGIN).clip(0, size).astype(int)
    high = (np.ceil(shown[:2] + shown[2:]) + MARGIN).clip(0, size).astype(int)
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1])) if (low < high).all() else None


def _shown(view: View) -> Box:
    return view.to_image(np.array([0.0, 0.0, 1.0, 1.0]))


def pack_set(
    sequences: SequenceList, name: str, packing: Packing, out: Path, progress: OnProgress, processes: int = 1
) -> None:
    """Pack a set into a folder that `begin` has made. Files that are there already are kept."""
    images = np.full(len(sequences), -1, dtype=np.int64)
    for number, objects in enumerate(getattr(sequences, "images", ())):
        images[objects] = number
    _SHARED["work"] = sequences, packing
    cv2.setNumThreads(1)  # processes that are forked from one with OpenCV's threads would wait for them
    with _processes(processes) if processes > 1 else nullcontext() as pool:
        for first in range(0, len(sequences), VIDEOS_PER_FILE):
            file, end = out / f"{name}-{first // VIDEOS_PER_FILE:04d}.zip", min(first + VIDEOS_PER_FILE, len(sequences))
            if not file.with_suffix(".npz").is_file():
                _write(file, _packed(pool, range(first, end), AHEAD * processes, progress), images[first:end])
            progress(end, len(sequences))


def begin(out: Path, data: str, packing: Packing, sets: dict[str, SequenceList]) -> None:
    """Make the folder of packed sets, or go on with one. Raises DataError if it holds something else."""
    about = {"data": data, "packing": asdict(packing)}
    about["sets"] = {name: {"videos": len(found), "digest": found.digest()} for name, found in sets.items()}
    if (out / PACKED_MARK).is_file():
        sweep(out)
        there = read_folder(out)
        if about != {"data": there.data, "packing": asdict(there.packing), "sets": there.sets}:
            raise DataError.at(out, "holds another packing, or one of other data", "name another --out")
    elif out.is_dir() and any(out.iterdir()):
        raise DataError.at(out, "is not empty", "name a new folder as --out")
    else:
        write_text(out / PACKED_MARK, sealed(json.dumps(about, indent=1)))


class _Video(NamedTuple):
    name: str
    visible: NDArray[np.bool_]
    frames: dict[int, PackedFrame]


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(count, get_context("fork"), end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent(_worker: int = 0) -> None:
    """Let a forked process end when the one that started it is killed, and not by the Ctrl-C that is meant for that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


_SHARED: dict[str, tuple[SequenceList, Packing]] = {}
"""What the processes were forked with: open data sets cannot be sent to them."""


def _packed(pool: ProcessPoolExecutor | None, numbers: range, ahead: int, progress: OnProgress) -> Iterator[_Video]:
    """Yield the packed videos in their order; few at a time, since a video takes tens of megabytes."""
    for first in range(0, len(numbers), ahead):
        some = numbers[first : first + ahead]
        for number, video in enumerate((pool.map if pool else map)(_packed_sequence, some), start=some[0] + 1):
            yield video
            progress(number, numbers.stop)


def _packed_sequence(index: int) -> _Video:
    sequences, packing = _SHARED["work"]
    sequence: Sequence = sequences[index]
    usable = np.flatnonzero(sequence.visible & valid(sequence.boxes))
    frames = {int(at): pack_frame(sequence.frames[int(at)], sequence.boxes[at], packing) for at in usable}
    return _Video(sequence.name, sequence.visible, frames)


def _write(file: Path, videos: Iterator[_Video], images: NDArray[np.int64]) -> None:
    """Write an archive, its rows, and at last its videos, which say that the others are whole."""
    rows: list[NDArray[np.void]] = []
    names: list[str] = []
    starts = [0]

    def fill(opened: BinaryIO) -> None:
        with zipfile.ZipFile(opened, "w") as archive:
            for video in videos:
                for number in range(len(video.visible)):
                    rows.append(_row(archive, opened, f"{video.name}/{number:08d}", video.frames.get(number)))
                names.append(video.name)
                starts.append(len(rows))

    write_with(file, fill)
    table = np.array(rows, ROW)
    write_with(file.with_suffix(".npy"), lambda opened: np.save(opened, table))
    about = {"names": np.array(names), "starts": np.array(starts, np.int64), "images": images}
    about |= {"bytes": np.array(file.stat().st_size, np.int64), "checksum": np.array(zlib.crc32(table.data), np.int64)}
    write_arrays(file.with_suffix(".npz"), about)


def _row(archive: zipfile.ZipFile, opened: BinaryIO, name: str, frame: PackedFrame | None) -> NDArray[np.void]:
    row = np.zeros((), ROW)
    row["visible"], row["box"] = frame is not None, np.nan
    if frame is not None:
        row["box"], row["corner"], row["size"], row["mean"] = frame.box, frame.corner, frame.size, frame.mean
        for which, (picture, ending) in enumerate(zip(frame.pictures, (".jpg", "-template.jpg"), strict=True)):
            if picture:
                info = zipfile.ZipInfo(name + ending)
                archive.writestr(info, picture)
                row["places"][which] = opened.tell() - len(picture)
                row["counts"][which], row["checksums"][which] = len(picture), info.CRC
    return row
