"""The vocabulary in which a benchmark is declared: its sequences (`Clip`) and the layouts of its files (`FileLayout`).

All paths are templates below the root, with "/" between folders. Their fields are {name} and the clip's own `fields`.
Everything here is data. `datasets.reading.annotation` reads one sequence by it, `datasets.reading.reader` a whole list.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.errors import DataError
from trackablate.datasets.progress import told_each
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.frame_names import Order
from trackablate.datasets.reading.numbers import BadLine, parse_rows
from trackablate.datasets.reading.tables import rows

FIELD = re.compile(r"\{(\w+)\}")
MOST_SEQUENCES = 400_000
"""Sequences of the largest data set that is read. VastTrack, the largest benchmark, has 50,610, YouTube-BB 380,000 clips."""
LOOKING = "looking for sequences"


@dataclass(frozen=True, slots=True)
class Clip:
    """One sequence as its benchmark's official list declares it.

    Attributes:
        fields: Values for path templates, beside {name}.
        attributes: Short names, for data sets whose files do not say them.
        first: Number of its first frame, for folders that hold other frames too; None for all frames of the folder.
        last: Number of its last frame, included.
        skip: Number of frames at the beginning that are annotated but not evaluated.
    """

    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()
    first: int | None = None
    last: int | None = None
    skip: int = 0

    @property
    def span(self) -> int | None:
        """Number of annotated frames that the list prescribes, None if it does not prescribe any."""
        return None if self.first is None or self.last is None else self.last - self.first + 1


@cache
def official_clips(table: str, *fields: str) -> tuple[Clip, ...]:
    """Return the sequences of a table in splits/, in its order.

    Its columns are "name", where they are known "attributes" ("FM OV"), "first", "last" and "skip", and the given fields.
    """
    return tuple(
        Clip(
            name=row["name"],
            fields={name: row[name] for name in fields},
            attributes=frozenset(row.get("attributes", "").split()),
            first=int(row["first"]) if "first" in row else None,
            last=int(row["last"]) if "last" in row else None,
            skip=int(row.get("skip", 0)),
        )
        for row in rows(table)
    )


@dataclass(frozen=True, eq=False)
class BoxRows:
    """The content of an annotation file; row n belongs to the n-th frame.

    Attributes:
        boxes: (M, 4) float64, x, y, w, h as written, not yet 0-based; NaN for bad lines and for lines of NaN.
        visible: (M,) bool.
        numbers: (M,) the number of each row's frame, ascending, where not every frame has a row; None where each has.
        relative: Whether `numbers` count from the sequence's first frame as 0, instead of being those of the images.
    """

    boxes: NDArray[np.float64]
    visible: NDArray[np.bool_]
    bad: tuple[BadLine, ...] = ()
    numbers: NDArray[np.int64] | None = None
    relative: bool = False


def box_rows(content: bytes) -> BoxRows:
    """Parse the usual annotation: a box x, y, w, h in each line, separated by commas, tabs or spaces."""
    found = parse_rows(content, 4)
    return BoxRows(found.values, np.ones(len(found.values), dtype=np.bool_), found.bad)


@dataclass(frozen=True)
class FlagFile:
    """A file with one whole number for each row of annotation, all in one line with commas or one in each line.

    Attributes:
        hidden: The numbers that mean "not visible".
        largest: Numbers must be in 0..largest.
        optional: Whether the file may be missing.
    """

    path: str
    hidden: frozenset[int]
    largest: int = 1
    optional: bool = False


@dataclass(frozen=True)
class AttributeFile:
    """A file with a sequence's attributes.

    Attributes:
        known: Short names of the attributes.
        as_flags: True for a 0 or 1 for each known attribute in their order; False for a list of names ("SV, DEF").
    """

    path: str
    known: tuple[str, ...]
    as_flags: bool = True


@dataclass(frozen=True, kw_only=True)
class AnnotationRules:
    """How the annotation of a data set is to be understood.

    Attributes:
        data: The data set's name in splits/*.csv.
        origin: Number of the first pixel in the data set's files.
        server: Whether a file may have the first box only, because a test server keeps the others.
        absent: The box that means "no target": NaN or four zeros; None where every box is one.
        sparse: Whether frames may be without annotation; their box is NaN.
        version: Digest of the declaration, for data sets that a user declares: another one is read anew.
    """

    data: str
    title: str
    origin: int = 0
    server: bool = False
    absent: Literal["nan", "zero"] | None = None
    sparse: bool = False
    version: str = ""


@dataclass(frozen=True)
class FileLayout:
    """One way in which the files of a benchmark are laid out.

    Attributes:
        title: The layout in short, for messages. Part of an index's identity.
        frames: Templates of image folders, of which the first that exists counts; () for annotation without images.
        flags: Alternatives, of which the first with any existing file counts; without one, the first alternative.
        order: How frames are sorted.
        first: Number of the first frame, from which no number may be missing; None for any numbers.
        meta: Template of a file with facts about the sequence.
        size: Reads (width, height) from the content of `meta`.
        listing: A file with the sequences' names in their order, one in each line.
        where: Regular expressions for the fields of sequences outside the official list; other fields may be anything.
        evaluated_only: Whether annotation may leave out the frames that are not evaluated (`Clip.skip`).
        slack: How many of the last images or rows may lack a partner; both are cut to the shorter.
    """

    title: str
    boxes: str
    frames: tuple[str, ...] = ()
    decode: Callable[[bytes], BoxRows] = box_rows
    flags: tuple[tuple[FlagFile, ...], ...] = ()
    attributes: AttributeFile | None = None
    order: Order = "number"
    first: int | None = None
    meta: str | None = None
    size: Callable[[bytes], tuple[int, int] | None] | None = None
    listing: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    evaluated_only: bool = False
    slack: int = 0

    def paths(self, clip: Clip) -> list[str]:
        """Return all files and folders that a clip's annotation depends on, existing or not, the boxes first."""
        flags = (flag.path for alternative in self.flags for flag in alternative)
        more = (path for path in (self.attributes and self.attributes.path, self.meta) if path)
        return [fill(template, clip) for template in (self.boxes, *self.frames, *flags, *more)]


def fill(template: str, clip: Clip) -> str:
    """Return a template's path for one clip."""
    return template.format(name=clip.name, **clip.fields)


def find_clips(files: Files, layout: FileLayout) -> list[Clip]:
    """Return a clip for each annotation file or image folder in this layout, sorted by name.

    Templates that do not mention every field of a clip are not searched. Raises DataError for more than MOST_SEQUENCES.
    """
    templates = (layout.boxes, *layout.frames)
    needed = {"name", *FIELD.findall("".join(templates))}
    found = {}
    for template in templates:
        exists = files.is_file if template == layout.boxes else files.is_folder
        if set(FIELD.findall(template)) == needed:
            for fields in _matches(files, template.split("/"), "", {}, layout.where):
                if exists(template.format(**fields)):
                    clip = Clip(fields["name"], {key: value for key, value in fields.items() if key != "name"})
                    found[clip.name, fill(layout.boxes, clip)] = clip
                    if len(found) > MOST_SEQUENCES:
                        problem = f"holds more than {MOST_SEQUENCES:,} sequences, as no data set of the field does"
                        raise DataError.at(files.root, problem, "split it, or name another place")
    return [found[key] for key in sorted(found)]


def _matches(
    files: Files, segments: list[str], at: str, fields: Mapping[str, str], where: Mapping[str, str]
) -> Iterator[Mapping[str, str]]:
    """Yield the fields of every path that fits the template's segments, below the folder `at`."""
    if not segments:
        yield fields
        return
    prefix = f"{at}/" if at else ""
    segment = FIELD.sub(lambda m: fields.get(m[1], m[0]), segments[0])
    if not FIELD.search(segment):
        yield from _matches(files, segments[1:], prefix + segment, fields, where)
        return
    pattern, names = _pattern(segment, where), files.names(at)
    for name in names if fields else told_each(LOOKING, names):  # of inner folders nobody knows the number
        if found := pattern.fullmatch(name):
            yield from _matches(files, segments[1:], prefix + name, {**fields, **found.groupdict()}, where)


def _pattern(segment: str, where: Mapping[str, str]) -> re.Pattern[str]:
    parts = FIELD.split(segment)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = (f"(?P<{name}>{where.get(name, '.+')})" for name in parts[1::2])
    return re.compile("".join(parts))
