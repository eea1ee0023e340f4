"""A data set that a user declares in one TOML file, as good as a built-in one. docs/data.md has a complete example.

The file says where boxes and images lie, which sequences there are, and by whose rules they are scored. Paths in it are
templates below the data set's folder, with {name} for the sequence, {split}, and fields that the list of sequences has.
Lists lie beside the file.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from trackablate.datasets.atomic import read_ordinary_text
from trackablate.datasets.benchmark import DataSet
from trackablate.datasets.boxes import xyxy_to_xywh
from trackablate.datasets.errors import DataError, shown, some
from trackablate.datasets.reading.layouts import FIELD, AttributeFile, BoxRows, Clip, FileLayout, FlagFile
from trackablate.datasets.reading.numbers import BadLine, Rows, parse_rows
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.toml_files import faults, line_of, read_toml

FLAGS_SCORED_AS = "lasot_ext"
"""Toolkits with rules for data sets that have flags apply those of this one, unless the file says otherwise."""
TEST, TRAIN = "test", "train"
"""Names of splits: the one that the data set's own name means, and one that is trained on and never scored."""
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
_FIELDS = re.compile(r"\{[A-Za-z_]\w*\}")
MOST_FRAMES = 10_000_000
"""Frames that a video has at most."""
Number = Annotated[int, Field(ge=0, le=MOST_FRAMES)]
BOXES = {"x,y,w,h": 4, "x1,y1,x2,y2": 4, "polygon": 8}
"""Meanings of the numbers of a row, and how many there are. A polygon has four corners; its box is the one around them."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Flag(_Table):
    file: str
    hidden: tuple[int, ...] = (1,)
    largest: PositiveInt = 1
    optional: bool = False


class _Sequence(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")  # further fields fill templates

    name: Annotated[str, Field(min_length=1)]
    attributes: tuple[str, ...] = ()
    first: Number | None = None
    last: Number | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.first is None) != (self.last is None) or (self.last or 0) < (self.first or 0):
            raise ValueError("write both `first` and `last`, the numbers of its first and last frame")
        return self

    def clip(self, split: str) -> Clip:
        more = {key: str(value) for key, value in (self.model_extra or {}).items()}
        return Clip(self.name, {**more, "split": split}, frozenset(self.attributes), self.first, self.last)


class _Split(_Table):
    list: str | None = None
    sequences: tuple[str | _Sequence, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.list and self.sequences:
            raise ValueError("`list` and `sequences` are both given: keep one of them")
        return self


class _File(_Table):
    name: Word
    title: str = ""
    description: str = ""
    source: str = ""
    first_pixel: Literal[0, 1]
    boxes: str
    frames: str | tuple[str, ...] = ()
    first_frame: Number | None = None
    row: Literal["x,y,w,h", "x1,y1,x2,y2", "polygon"] = "x,y,w,h"
    absent: Literal["nan", "zero"] | None = None
    annotated: Literal["all", "numbered", "boxed"] | Annotated[int, Field(ge=1, le=1000)] = "all"
    flags: dict[str, str | _Flag] = Field(default_factory=dict)
    attributes: tuple[Annotated[str, Field(pattern=r"^\S+$")], ...] = ()
    attribute_file: str | None = None
    attribute_flags: bool = True
    list: str | None = None
    sequences: tuple[str | _Sequence, ...] = ()
    splits: dict[Word, _Split] = Field(default_factory=dict)
    dialect: str = "ostrack"
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("auc", "precision", "norm_precision")
    scored_as: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.splits and (self.list or self.sequences):
            raise ValueError("[splits] and a list at the top are both given: move the list into a split")
        if self.list and self.sequences:
            raise ValueError("`list` and `sequences` are both given: keep one of them")
        for template in self.templates:
            if template.startswith("/") or ".." in template.split("/") or re.search("[{}]", _FIELDS.sub("", template)):
                raise ValueError(f"'{template}' is no path below the data set's folder with fields such as {{name}}")
            if not FIELD.search(template):
                raise ValueError(f"'{template}' is the same file for all sequences: write {{name}} into it")
        if len({metric for metric, _ in self.columns}) < len(self.metrics):
            raise ValueError("`metrics` names one twice")
        if self.annotated == "boxed" and self.absent == "nan":
            raise ValueError(
                '`annotated = "boxed"` takes NaN for a frame without annotation: `absent` cannot be it too'
            )
        if self.attribute_file and not self.attributes:
            raise ValueError("`attribute_file` needs `attributes`, their short names in the file's order")
        return self

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Pairs of metric and dialect; "METRIC@DIALECT" is one of another dialect."""
        found = (metric.partition("@") for metric in self.metrics)
        return tuple((metric, dialect or self.dialect) for metric, _, dialect in found)

    @property
    def images(self) -> tuple[str, ...]:
        return (self.frames,) if isinstance(self.frames, str) else self.frames

    @property
    def flag_files(self) -> tuple[FlagFile, ...]:
        found = (_Flag(file=flag) if isinstance(flag, str) else flag for flag in self.flags.values())
        return tuple(FlagFile(flag.file, frozenset(flag.hidden), flag.largest, flag.optional) for flag in found)

    @property
    def templates(self) -> tuple[str, ...]:
        flags = (flag.path for flag in self.flag_files)
        return (self.boxes, *self.images, *flags, *([self.attribute_file] if self.attribute_file else []))

    @property
    def parts(self) -> dict[str, _Split]:
        return self.splits or {TEST: _Split(list=self.list, sequences=self.sequences)}


class Declaration(NamedTuple):
    """A data set from a file, the file's text, and a digest of all that it declares, its lists included."""

    file: Path
    text: str
    data: DataSet
    digest: str

    def refuse(self, problem: str, remedy: str, *words: str) -> DataError:
        """Return the error about the line that has one of these words."""
        line = line_of(self.text, *words).removeprefix(", line ")
        return DataError.at(self.file, problem, remedy, line=int(line) if line else None)


def read_declaration(file: Path) -> Declaration:
    """Return the data set that a file declares. Raises DataError with file, line, field and remedy."""
    if not file.is_file():
        raise DataError(f"{shown(file)} is not there: name the TOML file that declares the data set")
    text, document = read_toml(file)
    try:
        asked = _File.model_validate(document)
    except ValidationError as error:
        raise DataError("\n".join(faults(file, text, error, _File, _Sequence))) from error
    lists = {name: split.list for name, split in asked.parts.items() if split.list}
    contents = {name: _content(file.parent / path) for name, path in lists.items()}
    digest = sha256(repr([asked.model_dump_json(), sorted(contents.items())]).encode()).hexdigest()
    clips = {}
    for name, split in asked.parts.items():
        place, words = (file.parent / split.list, contents[name]) if split.list else (file, text)
        clips[name] = _clips(asked, name, place, words, _listed(place, words) if split.list else split.sequences)
    _refuse_overlap(file, asked, clips)
    every = frozenset(clip.name for of in clips.values() for clip in of)
    parts = [replace(_part(asked, name, clips[name], digest), siblings=lambda: every) for name in clips]
    scored = tuple(
        part.protocol(
            title=" ".join(filter(None, (asked.title or asked.name, "" if name == TEST else name))),
            description=asked.description or f"a data set of one's own, declared in {file.name}",
            source=asked.source or f"declared in {file.name}",
            metrics=asked.columns,
            attributes=asked.attributes,
            scored_as=FLAGS_SCORED_AS if asked.scored_as is None and asked.flags else asked.scored_as or "",
        )
        for name, part in zip(clips, parts, strict=True)
        if name != TRAIN
    )
    data = DataSet(asked.name, asked.title or asked.name, {part.name: part for part in parts}, scored)
    return Declaration(file, text, data, digest)


def _part(asked: _File, split: str, clips: tuple[Clip, ...], digest: str) -> Part:
    def path(template: str) -> str:
        return template.replace("{split}", split)

    flags = tuple(FlagFile(path(f.path), f.hidden, f.largest, f.optional) for f in asked.flag_files)
    file, images, boxes = asked.attribute_file, tuple(map(path, asked.images)), path(asked.boxes)
    layout = FileLayout(
        title=" and ".join(FIELD.sub(r"<\1>", template) for template in (*images, boxes)),
        boxes=boxes,
        frames=images,
        decode=partial(decode, row=asked.row, annotated=asked.annotated),
        flags=(flags,) if flags else (),
        attributes=AttributeFile(path(file), asked.attributes, asked.attribute_flags) if file else None,
        first=asked.first_frame,
    )
    return Part(
        name=asked.name if split == TEST else f"{asked.name}-{split}",
        data=asked.name,
        title=asked.title or asked.name,
        clips=lambda: clips,
        layouts=(layout,),
        own="never" if clips else "alone",
        listed=bool(clips),
        origin=asked.first_pixel,
        absent=asked.absent,
        sparse=asked.annotated != "all",
        version=digest,
        training=split == TRAIN,
    )


def decode(content: bytes, row: str, annotated: str | int) -> BoxRows:
    """Return the boxes of an annotation file, whose rows are of a key of BOXES.

    `annotated` is "numbered" if each row begins with its frame's number, N if rows belong to every N-th frame.
    """
    numbered = annotated == "numbered"
    found = parse_rows(content, BOXES[row] + numbered)
    values, bad = found.values[:, int(numbered) :], found.bad
    if row == "polygon":
        corners = values.reshape(-1, 4, 2)
        values = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    boxes = values if row == "x,y,w,h" else xyxy_to_xywh(values)
    numbers = None
    if numbered:
        bad = bad or _out_of_order(content, found)
        numbers = np.zeros(len(boxes), dtype=np.int64) if bad else found.values[:, 0].astype(np.int64)
    elif isinstance(annotated, int):
        numbers = np.arange(len(boxes)) * annotated
    relative = isinstance(annotated, int)
    return BoxRows(boxes, np.ones(len(boxes), dtype=np.bool_), bad, numbers, relative)


def _out_of_order(content: bytes, found: Rows) -> tuple[BadLine, ...]:
    """Return the first row whose frame number is none, or is not after the one before."""
    number = found.values[:, 0]
    right = (number == np.floor(number)) & (np.diff(number, prepend=-1) > 0) & (number <= MOST_FRAMES)  # NaN is neither
    if right.all():
        return ()
    line = int(np.argmin(right)) + 1
    text = content.decode("ascii", errors="replace").splitlines()[line - 1]
    return (BadLine(line, "its first number is no frame after the one before", shown(text)),)


def _content(file: Path) -> str:
    try:
        return read_ordinary_text(file)
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read as a list of sequences ({error})"
        raise DataError.at(file, problem, "write one name a line, or a CSV table with a column `name`") from None


def _listed(file: Path, content: str) -> Iterable[str | _Sequence]:
    """Return the sequences of a list: the lines of a text file, or the rows of a CSV table with a header."""
    if file.suffix.lower() != ".csv":
        return [line.strip() for line in content.splitlines() if line.strip()]
    found = []
    try:
        rows = list(csv.DictReader(content.splitlines()))
    except csv.Error as error:
        raise DataError.at(file, f"is no CSV table ({error})", "write one with a column `name`") from None
    for number, row in enumerate(rows, start=2):
        cells: dict[str, Any] = {key: value.strip() for key, value in row.items() if key and value and value.strip()}
        cells["attributes"] = tuple(cells.get("attributes", "").split())
        try:
            found.append(_Sequence.model_validate(cells))
        except ValidationError as error:
            place = Path(f"{file}, line {number}")
            raise DataError("\n".join(faults(place, "", error, _Sequence))) from None
    return found


def _clips(asked: _File, split: str, place: Path, text: str, listed: Iterable[str | _Sequence]) -> tuple[Clip, ...]:
    """Return the clips of a list. Raises DataError for names given twice, and for fields that are missing or unused."""
    clips = tuple((_Sequence(name=one) if isinstance(one, str) else one).clip(split) for one in listed)
    wanted = {field for template in asked.templates for field in FIELD.findall(template)} - {"name"}
    seen: set[str] = set()
    for clip in clips:
        name, fault = shown(clip.name), ("", "")
        if clip.name in seen:
            fault = f"{name!r} is listed twice", "give each sequence a name of its own"
        elif "/" in clip.name or not clip.name.isprintable():
            fault = f"{name!r} cannot be a sequence's name", "rename it"
        elif missing := wanted - clip.fields.keys():
            fault = f"{name} has no `{min(missing)}`, which a path needs", "write it"
        elif unused := clip.fields.keys() - wanted - {"split"}:
            fault = f"{name}: no path has the field {{{min(unused)}}}", "correct its name, or remove it"
        elif unknown := clip.attributes - set(asked.attributes):
            fault = f"{name}: `attributes` does not name {min(unknown)}", "add it there"
        if fault[0]:
            word = re.compile(rf"(?<![\w-]){re.escape(clip.name)}(?![\w-])")
            lines = [number for number, line in enumerate(text.splitlines(), start=1) if word.search(line)]
            raise DataError.at(place, *fault, line=lines[-1 if clip.name in seen else 0] if lines else None)
        seen.add(clip.name)
    return clips


def _refuse_overlap(file: Path, asked: _File, clips: dict[str, tuple[Clip, ...]]) -> None:
    """Raise DataError if two splits may be the same videos."""
    open_ended = [name for name, of in clips.items() if not of]
    if len(clips) > 1 and open_ended and "{split}" not in asked.boxes:
        problem = f"the split {open_ended[0]} has no list, so that it is every sequence"
        raise DataError.at(file, problem, "give it a list, or write {split} into `boxes`")
    if "{split}" in asked.boxes:
        return
    names = {clip.name for clip in clips.get(TRAIN, ())}
    for name, of in clips.items():
        if name != TRAIN and (shared := sorted(names & {clip.name for clip in of})):
            raise DataError.at(
                file, f"the splits {TRAIN} and {name} share {some(shared, 3)}", "keep each in one of them"
            )
