"""Packed training sets: crops of the frames that show the target, as `datasets.pairs.packing` writes them.

A set is one zip archive of stored JPEG files for each thousand videos, `SET-0000.zip`, and beside it `SET-0000.npz`: names,
boxes, and where each frame's file lies in the archive, with its CRC-32. So a frame is one read, from any process, and the
archive can be looked into with any tool. `packed.json` says what was packed and for which recipe.
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
from trackablate.datasets.errors import DataError
from trackablate.datasets.pairs.cropping import Colour
from trackablate.datasets.reading.frames import decoded
from trackablate.datasets.roots import PACKED_MARK
from trackablate.datasets.sequence import Image, Sequence

VERSION = 1
"""Raised whenever the same frame would be packed to other pixels or boxes, or the files change."""
VIDEOS_PER_FILE = 1000
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


class Part(NamedTuple):
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
        part = self.part(index)
        image = decoded(part.content)
        if image is None:
            raise DataError.at(self._file.path, f"frame {index} cannot be decoded", AGAIN)
        return image

    def part(self, index: int, *, template: bool = False) -> Part:
        """Return a frame's picture; for a template the smaller one around the target, if there is one."""
        return self._file.part(self._first + range(self._count)[index], template=template)

    def mean(self, index: int) -> Colour:
        """Return the mean colour of the whole frame, of which the packed one is a crop."""
        red, green, blue = (float(value) for value in self._file.index["means"][self._first + index])
        return red, green, blue


class _File:
    """One archive with its index."""

    def __init__(self, path: Path) -> None:
        self.path, self.index = path, read_arrays(path.with_suffix(".npz"))
        try:
            self._open = os.open(path, os.O_RDONLY)
            size = os.fstat(self._open).st_size
        except OSError as error:
            raise DataError.at(path, f"cannot be opened ({error.strerror})", AGAIN) from None
        if not self.index or size != int(self.index["bytes"]):
            raise DataError.at(path, "does not belong to its index", AGAIN)

    def part(self, row: int, *, template: bool) -> Part:
        index = self.index
        which = int(template and index["counts"][row, 1] > 0)
        count = int(index["counts"][row, which])
        content = os.pread(self._open, count, int(index["places"][row, which]))  # forked processes share no position
        if not count or zlib.crc32(content) != int(index["checksums"][row, which]):
            name = index["names"][np.searchsorted(index["starts"], row, "right") - 1]
            raise DataError.at(self.path, f"a frame of {name} is {'damaged' if count else 'not packed'}", AGAIN)
        left, top = (int(value) for value in index["corners"][row]) if which else (0, 0)
        width, height = (int(value) for value in index["sizes"][row])
        return Part(content, (left, top), (width, height))


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
        first, end = (int(value) for value in file.index["starts"][at : at + 2])
        boxes, visible = (file.index[name][first:end] for name in ("boxes", "visible"))
        return Sequence(str(file.index["names"][at]), PackedFrames(file, first, end - first), boxes, visible)

    @property
    def names(self) -> tuple[str, ...]:
        """See SequenceList."""
        return tuple(str(name) for file in self._files for name in file.index["names"])

    @cached_property
    def images(self) -> tuple[NDArray[np.int64], ...]:
        """The numbers of the objects of each image, () for videos."""
        image = np.concatenate([file.index["images"] for file in self._files])
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
            for name in ("names", "boxes", "visible", "checksums"):
                content.update(np.ascontiguousarray(file.index[name]).tobytes())
        return content.hexdigest()

    def stamp(self, index: int) -> str:
        """See SequenceList."""
        file, at = self._place(index)
        return f"{int(file.index['bytes'])}:{at}"

    def lengths(self) -> tuple[int, ...]:
        """See SequenceList."""
        return tuple(int(count) for file in self._files for count in np.diff(file.index["starts"]))

    def _place(self, index: int) -> tuple[_File, int]:
        return self._files[index // VIDEOS_PER_FILE], index % VIDEOS_PER_FILE
