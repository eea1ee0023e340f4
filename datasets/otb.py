"""OTB100 (Wu, Lim, Yang: Object Tracking Benchmark, PAMI 2015): 100 targets in 98 folders, read as they are published.

    <root>/<Name>/img/0001.jpg ...
    <root>/<Name>/groundtruth_rect.txt     one "x,y,w,h" per frame; comma, tab or spaces; x and y count from 1
    <root>/<Name>/attrs.txt                optional: "SV, DEF, FM"

What differs from that (frame ranges, digits, two targets in one folder) is written in splits/otb100.csv, with the
toolkits that agree on it; its lists of frames and attributes are pytracking's. Nothing here knows a sequence by name.
"""

import csv
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.boxes import valid
from datasets.errors import DataError, raise_all, shown
from datasets.frames import ImageFiles, inside
from datasets.sequence import Sequence

ATTRIBUTES = ("IV", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OPR", "OV", "BC", "LR")
LAYOUT = "<Name>/img/0001.jpg, ... and <Name>/groundtruth_rect.txt"

_IMAGES, _ANNOTATION, _ATTRIBUTES = "img", "groundtruth_rect.txt", "attrs.txt"
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Rule:
    """One row of splits/otb100.csv. images: patterns of frame files in the folder, the first whose folder is there
    counts. Frames are numbered first..last, both included, each with one line of annotation; of these the first
    `skip` are not evaluated."""

    name: str
    folder: str
    images: tuple[str, ...]
    first: int
    last: int
    skip: int
    annotation: str
    attributes: frozenset[str]

    def files(self, folder: Path) -> list[Path]:
        """The paths of all annotated frames, whether or not they exist."""
        there = (p for p in self.images if (folder / p).parent.is_dir())
        pattern = next(there, self.images[0])
        return [folder / (pattern % number) for number in range(self.first, self.last + 1)]


@cache
def rules() -> tuple[Rule, ...]:
    """OTB100's sequences, in its order."""
    table = Path(__file__).parent / "splits" / "otb100.csv"
    with table.open(encoding="utf-8", newline="") as opened:
        return tuple(
            Rule(
                name=row["name"],
                folder=row["folder"],
                images=tuple(row["images"].split()),
                first=int(row["first"]),
                last=int(row["last"]),
                skip=int(row["skip"]),
                annotation=row["annotation"],
                attributes=frozenset(row["attributes"].split()),
            )
            for row in csv.DictReader(opened)
        )


class OtbSequences:
    """The sequences under a root, like a list: those of OTB100 that are there, in its order, then other folders of the
    same layout by name. Annotations are read at first access, frames when asked for.

    Errors: DataError where root has no sequence, a folder has only half of one, and (at access or in `check`) where a
    file is bad. OTB has no flags of absence: every frame counts as visible.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        folders = _folders(root)
        known = {rule.folder for rule in rules()}
        self._sources: list[tuple[str, Path, Rule | None]] = [
            *((rule.name, root / rule.folder, rule) for rule in rules() if rule.folder in folders),
            *((name, root / name, None) for name in folders if name not in known and _is_sequence(root / name)),
        ]
        self._read: dict[int, Sequence] = {}
        if not self._sources:
            raise DataError.at(root, "holds no OTB sequence", _remedy_for_no_sequence(root))
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise DataError.at(root / twice, f"a second sequence called {twice}", "rename this folder")

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int, /) -> Sequence:
        number = range(len(self))[index]
        if number not in self._read:
            self._read[number] = _read_sequence(self.root, *self._sources[number])
        return self._read[number]

    def __iter__(self) -> Iterator[Sequence]:
        return (self[index] for index in range(len(self)))

    @property
    def names(self) -> tuple[str, ...]:
        """The sequences' names, in order, without reading them."""
        return tuple(name for name, _, _ in self._sources)

    @property
    def coverage(self) -> str:
        """How much of OTB100 this is: "2 of 100 sequences", and how many others."""
        present = sum(rule is not None for _, _, rule in self._sources)
        others = len(self) - present
        return f"{present} of {len(rules())} sequences" + (f" and {others} of your own" if others else "")

    def digest(self) -> str:
        """SHA-256 of names, numbers of frames, boxes and visibility: what scores depend on, pixels apart."""
        content = sha256()
        for sequence in self:
            content.update(f"{sequence.name}\0{len(sequence)}\0{len(sequence.boxes)}\0".encode())
            content.update(np.ascontiguousarray(sequence.boxes, dtype="<f8").tobytes())
            content.update(np.ascontiguousarray(sequence.visible, dtype=np.uint8).tobytes())
        return content.hexdigest()

    def check(self) -> None:
        """Raise one DataError with everything that is wrong with annotations and frames; decodes first frames only."""
        raise_all([problem for index in range(len(self)) for problem in self._problems(index)])

    def _problems(self, index: int) -> list[str]:
        try:
            sequence = self[index]
        except DataError as error:
            return list(error.problems)
        frames = sequence.frames
        assert isinstance(frames, ImageFiles)
        return frames.problems() or _first_frame_problems(sequence.boxes[0], frames, *self._sources[index][1:])


def read_boxes(file: Path, *, origin: int = 1, start: int = 0) -> NDArray[np.float64]:
    """Boxes (N, 4) as x, y, w, h in pixels, 0-based, of a file with one box per line.

    origin: how the file numbers the first pixel. start: the frame (0-based) whose box a tracker is given, which must
    have positive sides; elsewhere a side of 0 or less says that the target has no box. Errors: DataError listing every
    line that is no box; blank lines are one, except at the end.
    """
    boxes, problems = [], []
    for number, line in enumerate(_lines(file), start=1):
        try:
            boxes.append(parse_box(line))
            if number == start + 1 and not valid(boxes[-1]):
                raise ValueError("the first box needs a positive width and height")
        except ValueError as error:
            remedy = 'write "x,y,w,h" of this frame, or restore the file from the data set'
            problems.append(str(DataError.at(file, f"{error}, got {shown(line.strip())[:60]!r}", remedy, line=number)))
    raise_all(problems)
    return np.array(boxes, dtype=np.float64).reshape(-1, 4) - (origin, origin, 0, 0)


def _lines(file: Path) -> list[str]:
    """A text file's lines without blank ones at the end. What is not ASCII comes out as a mark that is no number."""
    if not file.is_file():
        raise DataError.at(file, "is missing, or no ordinary file", "restore it from the data set")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError.at(file, f"cannot be read ({error.strerror})", "make it readable") from None
    return content.removeprefix(BOM_UTF8).decode("ascii", errors="replace").rstrip().splitlines()


def parse_box(line: str) -> tuple[float, float, float, float]:
    """The four numbers of an annotation line, separated by a comma, a tab or spaces, also mixed; as written, not made
    0-based. Raises ValueError for anything else, NaN and infinity included."""
    fields = _SEPARATOR.split(line.strip())
    if len(fields) != 4:
        raise ValueError(f"a box has 4 numbers, this line has {len(fields) if line.strip() else 0}")
    if not all(_NUMBER.fullmatch(field) for field in fields) or not all(isfinite(float(field)) for field in fields):
        raise ValueError("a box has 4 finite numbers")
    x, y, w, h = map(float, fields)
    return x, y, w, h


def _folders(root: Path) -> list[str]:
    """Names of root's folders; a link counts, where it leads is judged when it is read."""
    try:
        return sorted(p.name for p in root.iterdir() if not p.name.startswith(".") and (p.is_dir() or p.is_symlink()))
    except OSError as error:
        raise DataError.at(root, f"cannot be listed ({error.strerror})", f"expected {LAYOUT} in it") from None


def _is_sequence(folder: Path) -> bool:
    """Whether a folder that OTB100 does not know is a sequence; half of one is an error rather than left out."""
    has_images, has_boxes = (folder / _IMAGES).is_dir(), (folder / _ANNOTATION).is_file()
    if has_images != has_boxes:
        has, lacks = (_IMAGES, _ANNOTATION) if has_images else (_ANNOTATION, _IMAGES)
        raise DataError.at(folder, f"has {has} but no {lacks}", "add it, or move the folder elsewhere")
    if has_images and not folder.name.isprintable():
        raise DataError.at(folder, "a sequence's name must be printable", "rename the folder")
    return has_images


def _remedy_for_no_sequence(root: Path) -> str:
    if (root / _IMAGES).is_dir():
        return f"this is one sequence: name the folder that it lies in, {shown(root.absolute().parent)}"
    return f"expected {LAYOUT} in it"


def _read_sequence(root: Path, name: str, folder: Path, rule: Rule | None) -> Sequence:
    annotation = inside(_annotation(folder, rule), root)
    start = rule.skip if rule else 0
    boxes = read_boxes(annotation, start=start)
    files = rule.files(folder) if rule else _numbered_files(inside(folder / _IMAGES, root))
    if len(boxes) != len(files):
        raise DataError.at(annotation, f"{len(boxes)} boxes for {len(files)} frames", _remedy_for_count(rule))
    attributes = _read_attributes(inside(folder / _ATTRIBUTES, root), rule.attributes if rule else frozenset())
    return Sequence(
        name, ImageFiles(files[start:], root), boxes[start:], np.ones(len(boxes) - start, dtype=np.bool_), attributes
    )


def _annotation(folder: Path, rule: Rule | None) -> Path:
    return folder / (rule.annotation if rule else _ANNOTATION)


def _remedy_for_count(rule: Rule | None) -> str:
    if rule is None:
        return "give one line for each image in img/, and no more"
    return (
        f"OTB100's {rule.name} is frames {rule.first} to {rule.last}: restore the file from OTB100,"
        " or rename the folder if this is a clip of your own"
    )


def _numbered_files(folder: Path) -> list[Path]:
    """Image files in the order of the number that ends their name."""
    numbered: dict[int, Path] = {}
    for file in sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".")):
        digits = re.search(r"\d+$", file.stem, re.ASCII)
        if digits is None:
            raise DataError.at(file, "a frame's name must end in its number", "rename or remove it")
        other = numbered.setdefault(int(digits[0]), file)
        if other != file:
            raise DataError.at(file, f"has the same number as {shown(other.name)}", "remove one of them")
    if not numbered:
        raise DataError.at(folder, "holds no frames", "expected 0001.jpg, 0002.jpg, ...")
    return [numbered[number] for number in sorted(numbered)]


def _read_attributes(file: Path, otherwise: frozenset[str]) -> frozenset[str]:
    if not file.is_file():
        return otherwise
    found = _SEPARATOR.split(file.read_text(encoding="utf-8", errors="replace").strip())
    if unknown := [word for word in found if word and word not in ATTRIBUTES]:
        remedy = f"OTB's attributes are {', '.join(ATTRIBUTES)}: correct or remove the file"
        raise DataError.at(file, f"no attribute is called {shown(unknown[0])[:40]!r}", remedy, line=1)
    return frozenset(word for word in found if word)


def _first_frame_problems(box: NDArray[np.float64], frames: ImageFiles, folder: Path, rule: Rule | None) -> list[str]:
    """Whether the frame that a tracker starts from can be decoded, and its box touches it."""
    try:
        width, height = frames.size
    except DataError as error:
        return list(error.problems)
    x, y, w, h = box
    if x < width and y < height and x + w > 0 and y + h > 0:
        return []
    problem = f"the first box lies outside the image of {width} x {height} pixels"
    line = rule.skip + 1 if rule else 1
    return [str(DataError.at(_annotation(folder, rule), problem, "correct it, or restore the images", line=line))]
