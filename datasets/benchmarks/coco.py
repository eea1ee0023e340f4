"""COCO 2017 (Lin et al.: Microsoft COCO, ECCV 2014), for training only. Every object is a video of one frame.

    <root>/annotations/instances_train2017.json
    <root>/images/train2017/000000000009.jpg     or <root>/train2017/

Crowds (iscrowd 1) are left out. Boxes are x, y, w, h in pixels, 0-based.
"""

from codecs import BOM_UTF8
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from trackablate.datasets.atomic import READ_ONLY, read_arrays, write_arrays
from trackablate.datasets.benchmark import DataSet, Opener, SequenceList
from trackablate.datasets.boxes import valid
from trackablate.datasets.changes import DataState, state_now
from trackablate.datasets.errors import DataError, NothingThereError, counted, raise_all
from trackablate.datasets.progress import OnProgress, followed, tell
from trackablate.datasets.reading.checking import decoded_of
from trackablate.datasets.reading.decoding import decoding_problems
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.frame_names import FrameNames, FrameRange
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.reading.opening import open_files
from trackablate.datasets.sequence import Sequence

REVISION = 1
"""Raise when the same annotation gives other objects, or when the fields of the index change."""
SAMPLED = 200
"""Number of images that a check reads, unless it is deep."""
_RESTORE = "restore it from COCO 2017"


class _Image(BaseModel):
    id: int
    file_name: Annotated[str, Field(pattern=r"^[\w-]+\.jpg$")]


class _Object(BaseModel):
    id: int
    image_id: int
    iscrowd: Annotated[int, Field(ge=0, le=1)]
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class _Instances(BaseModel):
    images: list[_Image]
    annotations: list[_Object]


class ObjectTable(NamedTuple):
    """All objects of one annotation file.

    Attributes:
        numbers: (N,) int64, COCO's ids.
        boxes: (N, 4) float64.
        images: (N,) text, the image file of each object.
    """

    numbers: NDArray[np.int64]
    boxes: NDArray[np.float64]
    images: NDArray[np.str_]


def read_objects(content: bytes, file: Path) -> ObjectTable:
    """Return the objects of an instances_*.json, in its order, without crowds. Raises DataError for any other content."""
    try:
        found = _Instances.model_validate_json(content.removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise_all([_problem(file, fault["loc"], fault["msg"]) for fault in error.errors(include_input=False)])
        raise
    files = {image.id: image.file_name for image in found.images}
    objects = [one for one in found.annotations if not one.iscrowd]
    if not objects:
        raise DataError.at(file, "has no objects", _RESTORE)
    if len(files) < len(found.images) or len({one.id for one in objects}) < len(objects):
        raise DataError.at(file, "has two images or two objects with the same id", _RESTORE)
    lost = [one for one in objects if one.image_id not in files]
    raise_all([_problem(file, ("id", one.id), "its image is not listed") for one in lost])
    return ObjectTable(
        numbers=np.array([one.id for one in objects], dtype=np.int64),
        boxes=np.array([one.bbox for one in objects], dtype=np.float64),
        images=np.array([files[one.image_id] for one in objects]),
    )


def _problem(file: Path, where: tuple[int | str, ...], what: str) -> str:
    return str(DataError.at(file, f"{'.'.join(map(str, where)) or 'the file'}: {what}", _RESTORE))


class CocoObjects(SequenceList):
    """A part's objects as a `SequenceList`: sequences of one frame, with names such as "train2017-1768".

    With a folder for an index, the annotation (448 MB for training) is read once, and again when it changes.
    """

    def __init__(self, part: str, root: Path, index: Path | None) -> None:
        self.part = part
        self.files: Files = open_files(root)
        self._annotation = f"annotations/instances_{part}.json"
        if not self.files.is_file(self._annotation):
            raise NothingThereError.at(self.files.place(self._annotation), "is missing", "get COCO 2017's annotations")
        tell("reading annotation")
        self._objects = self._read(index / f"coco-{part}.npz" if index else None)
        folders = (f"images/{part}", part)
        self._folder = next((folder for folder in folders if self.files.is_folder(folder)), folders[0])

    def state(self, store: Path) -> DataState:
        """See SequenceList."""

        def newest() -> float:
            return max(self.files.stamp(name)[1] for name in (self._annotation, self._folder)) / 1e9

        return state_now(self.files.root, self.files.archives(), newest, store)

    def refuse_changed(self, state: DataState) -> None:
        """See SequenceList."""
        self.files.refuse_changed(state)

    def __len__(self) -> int:
        return len(self._objects.numbers)

    def __getitem__(self, number: int, /) -> Sequence:
        at = range(len(self))[number]
        boxes = self._objects.boxes[at : at + 1].copy()
        return Sequence(self._name(at), self._image(at), boxes, valid(boxes))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """See SequenceList."""
        return tuple(map(self._name, range(len(self))))

    @cached_property
    def images(self) -> tuple[NDArray[np.int64], ...]:
        """The numbers of the objects of each image."""
        _, image = np.unique(self._objects.images, return_inverse=True)
        order = np.argsort(image, kind="stable").astype(np.int64)
        return tuple(np.split(order, np.flatnonzero(np.diff(image[order])) + 1))

    @property
    def coverage(self) -> str:
        """The numbers of objects and images."""
        return f"{counted(len(self), 'object')} in {counted(len(np.unique(self._objects.images)), 'image')}"

    def digest(self) -> str:
        """Return the SHA-256 of the objects' numbers, boxes and files."""
        content = sha256("\n".join(self._objects.images.tolist()).encode())
        content.update(np.ascontiguousarray(self._objects.numbers, dtype="<i8").tobytes())
        content.update(np.ascontiguousarray(self._objects.boxes, dtype="<f8").tobytes())
        return content.hexdigest()

    def stamp(self, index: int) -> str:
        """See SequenceList. All sequences share one annotation file."""
        return f"{self.files.stamp(self._annotation)}:{self._objects.numbers[index]}"

    def lengths(self) -> tuple[int, ...]:
        """See SequenceList."""
        return (1,) * len(self)

    def check(self, *, deep: bool = False, progress: OnProgress | None = None) -> str:
        """Raise DataError for missing or damaged images, among a sample that is spread over the list, or all (deep)."""
        _, firsts = np.unique(self._objects.images, return_index=True)
        images = [self._image(at) for at in np.sort(firsts)[:: 1 if deep else -(-len(firsts) // SAMPLED)].tolist()]
        decoded = decoding_problems([self.files], [(0, image.folder, image.names) for image in images] if deep else [])
        problems = []
        for done, found in enumerate(decoded if deep else (image.problems() for image in images), start=1):
            problems += found
            if progress:
                progress(done, len(images))
        raise_all(problems)
        return decoded_of(len(firsts) if deep else 0, len(firsts))

    def _name(self, at: int) -> str:
        return f"{self.part}-{self._objects.numbers[at]}"

    def _image(self, at: int) -> ImageFiles:
        name = FrameRange(str(self._objects.images[at]), 0, 0, 1, "")
        return ImageFiles(self.files, self._folder, FrameNames((name,)))

    def _read(self, index: Path | None) -> ObjectTable:
        """Return the objects, from the index unless that is of another annotation or version."""
        stamp = np.array([REVISION, *self.files.stamp(self._annotation)], dtype=np.int64)
        kept = read_arrays(index) if index else {}
        if kept.keys() == {"stamp", *ObjectTable._fields} and np.array_equal(kept.pop("stamp"), stamp):
            return ObjectTable(**kept)
        found = read_objects(self.files.read(self._annotation), self.files.place(self._annotation))
        try:
            if index:
                write_arrays(index, {"stamp": stamp, **found._asdict()})
        except OSError as error:
            if error.errno in READ_ONLY:
                return found
            problem = f"the index cannot be written ({error.strerror})"
            raise DataError.at(index or Path(), problem, "free space, or make the folder writable") from None
        return found


def _open(part: str) -> Opener:
    def opened(root: Path | None, index: Path | None = None) -> CocoObjects:
        if root is None:
            raise ValueError("COCO needs a folder: datasets.roots.data_root finds it")
        with followed(f"opening COCO's {part}"):
            return CocoObjects(part, root, index)

    return opened


TRAIN = _open("train2017")
COCO = DataSet("coco", "COCO 2017", {"train2017": TRAIN, "val2017": _open("val2017")})
