"""Packed training sets: crops of the frames that show the target, as `datasets.pairs.packing` writes them.

A set is one zip archive of stored JPEG files for each thousand videos, `SET-0000.zip`. Beside it `SET-0000.npy` has a row
for each frame (`ROW`), and `SET-0000.npz` has the videos. So a frame is one read from any process, processes share the rows,
which are mapped and not loaded, and any tool can look into the archive. `packed.json` says what was packed and for which
recipe.
"""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.atomic import UNREADABLE, read_arrays, unsealed
from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.changes import DataState, refuse_replaced, stamp_of, state_now
from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs.cropping import Colour
from trackablate.datasets.reading.frames import decoded
from trackablate.datasets.roots import PACKED_MARK
from trackablate.datasets.sequence import Image, Sequence

VERSION = 1
"""Raised whenever the same frame would be packed to other pixels or boxes, or the files change."""
VIDEOS_PER_FILE = 1000
ROW = np.dtype(
    [
        ("box", np.float64, 4),
        ("visible", np.bool_),
        ("places", np.int64, 2),
        ("counts", np.int32, 2),
        ("checksums", np.uint32, 2),
        ("corner", np.uint16, 2),
        ("size", np.uint16, 2),
        ("mean", np.float32, 3),
    ]
)
"""A frame: the fields of a `packing.PackedFrame`, and for its two pictures the place in the archive, bytes and CRC-32."""
AGAIN = "pack it again"
OWN = ("quality", "version")
"""Fields of a packing that no recipe decides."""


@dataclass(frozen=True)
class Packing:
    """What packed crops were made for: the fields of `sampling.PairGeometry` that decide how much of a frame is needed.

    Attributes:
        quality: JPEG quality of the crops.
        version: Version of the code that made them.
    """

    geometry: str
    template_size: int
    search_size: int
    template_factor: float
    search_factor: float
    centre_jitter: float
    scale_jitter: float
    fit_boxes: bool
    quality: int = 95
    version: int = VERSION

    @classmethod
    def of(cls, *sources: Any) -> "Packing":
        """Return the packing that a tracker's crops and a recipe need, whose fields have the same names."""
        needed = [field.name for field in fields(cls) if field.name not in OWN]
        return cls(**{name: next(getattr(of, name) for of in sources if hasattr(of, name)) for name in needed})

    @property
    def words(self) -> str:
        """The packing as a run's specification names it."""
        digest = sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"JPEG {self.quality}, {self.geometry}, {self.search_size} px x {self.search_factor:g}, {digest}"

    def lacking(self, asked: "Packing") -> list[str]:
        """Return in words in what a recipe asks for more than these crops have."""
        finer = asked.search_size / asked.search_factor > self.search_size / self.search_factor
        differing = ("geometry", "fit_boxes", *(("search_size", "search_factor") if finer else ()))
        return [
            f"{name} {theirs} instead of {ours}"
            for name, ours in asdict(self).items()
            if (theirs := getattr(asked, name)) != ours and name not in OWN and (name in differing or theirs > ours)
        ]


class PackedFolder(NamedTuple):
    """The content of `packed.json`. sets: number of videos and digest of the source, by training set."""

    data: str
    packing: Packing
    sets: Mapping[str, Mapping[str, Any]]


def read_folder(root: Path) -> PackedFolder:
    """Return what a folder of packed sets says of itself. Raises DataError for a damaged file or one of another version."""
    file = root / PACKED_MARK
    try:
        found = json.loads(unsealed(file.read_bytes()).content)
        if found["packing"]["version"] == VERSION:
            return PackedFolder(found["data"], Packing(**found["packing"]), found["sets"])
    except (*UNREADABLE, TypeError) as error:
        raise DataError.at(file, f"is damaged ({error})", AGAIN) from None
    raise DataError.at(file, f"was packed by another version ({found['packing']['version']}, not {VERSION})", AGAIN)


class PackedPicture(NamedTuple):
    """A picture of a frame: its JPEG file, and where it lies in the packed frame, whose size is (width, height)."""

    content: bytes
    corner: tuple[int, int]
    size: tuple[int, int]


class PackedFrames:
    """The frames of one packed sequence. Only those that show the target are there."""

    def __init__(self, file: "_File", first: int, count: int) -> None:
        self._file, self._first, self._count = file, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Image:
        image = decoded(self.picture(index).content)
        if image is None:
            raise DataError.at(self._file.path, f"frame {index} cannot be decoded", AGAIN)
        return image

    def picture(self, index: int, *, template: bool = False) -> PackedPicture:
        """Return a frame's picture; for a template the smaller one around the target, if there is one."""
        return self._file.picture(self._first + range(self._count)[index], template=template)

    def mean(self, index: int) -> Colour:
        """Return the mean colour of the whole frame, of which the packed one is a crop."""
        red, green, blue = (float(value) for value in self._file.rows["mean"][self._first + index])
        return red, green, blue


class _File:
    """One archive with its videos and its rows."""

    def __init__(self, path: Path) -> None:
        self.path, self.videos = path, read_arrays(path.with_suffix(".npz"))
        try:
            self._open = os.open(path, os.O_RDONLY)
            size = os.fstat(self._open).st_size
            self.rows = np.load(path.with_suffix(".npy"), mmap_mode="r")
        except (OSError, ValueError) as error:
            raise DataError.at(path, f"or the .npy file beside it cannot be read ({error})", AGAIN) from None
        whole = self.videos and self.rows.dtype == ROW and zlib.crc32(self.rows.data) == int(self.videos["checksum"])
        if not whole or size != int(self.videos["bytes"]):
            raise DataError.at(path, "does not belong to the files beside it", AGAIN)

    def picture(self, number: int, *, template: bool) -> PackedPicture:
        row = self.rows[number]
        which = int(template and row["counts"][1] > 0)
        count = int(row["counts"][which])
        content = os.pread(self._open, count, int(row["places"][which]))  # forked processes share no position
        if not count or zlib.crc32(content) != int(row["checksums"][which]):
            name = self.videos["names"][np.searchsorted(self.videos["starts"], number, "right") - 1]
            raise DataError.at(self.path, f"a frame of {name} is {'damaged' if count else 'not packed'}", AGAIN)
        left, top = (int(value) for value in row["corner"]) if which else (0, 0)
        width, height = (int(value) for value in row["size"])
        return PackedPicture(content, (left, top), (width, height))


class PackedSequences(SequenceList):
    """One packed training set: the sequences of the set that was packed, in its order, with boxes in packed pixels."""

    def __init__(self, root: Path, name: str) -> None:
        about = read_folder(root)
        if name not in about.sets:
            raise DataError.at(root, f"holds no {name}, but {', '.join(about.sets)}", f"{AGAIN} with --sets {name}")
        self.packing, self._videos = about.packing, int(about.sets[name]["videos"])
        files = [root / f"{name}-{number:04d}.zip" for number in range(-(-self._videos // VIDEOS_PER_FILE))]
        there = [file for file in files if file.with_suffix(".npz").is_file()]
        if len(there) < len(files):
            problem = f"has {len(there)} of {len(files)} files of {name}"
            raise DataError.at(root, problem, "the same `data pack` goes on")
        self._files = [_File(file) for file in files]

    def __len__(self) -> int:
        return self._videos

    def __getitem__(self, index: int, /) -> Sequence:
        file, at = self._place(range(len(self))[index])
        first, end = (int(value) for value in file.videos["starts"][at : at + 2])
        boxes, visible = (np.array(file.rows[name][first:end]) for name in ("box", "visible"))
        return Sequence(str(file.videos["names"][at]), PackedFrames(file, first, end - first), boxes, visible)

    @property
    def names(self) -> tuple[str, ...]:
        """See SequenceList."""
        return tuple(str(name) for file in self._files for name in file.videos["names"])

    @cached_property
    def images(self) -> tuple[NDArray[np.int64], ...]:
        """The numbers of the objects of each image, () for videos."""
        image = np.concatenate([file.videos["images"] for file in self._files])
        if (image < 0).all():
            return ()
        order = np.argsort(image, kind="stable").astype(np.int64)
        return tuple(np.split(order, np.flatnonzero(np.diff(image[order])) + 1))

    @property
    def coverage(self) -> str:
        """See SequenceList."""
        return f"{len(self)} packed sequences"

    def digest(self) -> str:
        """See SequenceList."""
        content = sha256(self.packing.words.encode())
        for file in self._files:
            content.update(file.videos["names"].tobytes())
            content.update(file.rows.data)
        return content.hexdigest()

    def state(self, store: Path) -> DataState:
        """See SequenceList. A frame has a checksum: what is replaced in the middle of a process is noticed by that."""
        return state_now(self._files[0].path.parent, tuple(stamp_of(file.path) for file in self._files), float, store)

    def refuse_changed(self, state: DataState) -> None:
        """See SequenceList."""
        for file in self._files:
            refuse_replaced(file.path, state)

    def stamp(self, index: int) -> str:
        """See SequenceList."""
        file, at = self._place(index)
        return f"{int(file.videos['bytes'])}:{at}"

    def lengths(self) -> tuple[int, ...]:
        """See SequenceList."""
        return tuple(int(count) for file in self._files for count in np.diff(file.videos["starts"]))

    def _place(self, index: int) -> tuple[_File, int]:
        return self._files[index // VIDEOS_PER_FILE], index % VIDEOS_PER_FILE
