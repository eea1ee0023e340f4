"""How a benchmark is declared: its sequences (`Clip`), and where a layout keeps the files of each (`Places`).

Paths are templates below the root, "/" between folders, whose fields are those of a clip: {name}, and what the clip's
`fields` say. Everything here is data; `datasets.reading.annotation` reads one sequence by it, `datasets.reading.reader`
a whole list.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.numbers import BadLine, parse_rows

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Clip:
    """One sequence of an official list. fields: for path templates, beside {name}. attributes: by short name, where the
    data set's files do not say them. first, last: the numbers of its frames, both included, where its folder may hold
    others; None for all that are there. skip: frames at the beginning that are annotated but not evaluated.
    """

    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()
    first: int | None = None
    last: int | None = None
    skip: int = 0


@dataclass(frozen=True, eq=False)
class Annotation:
    """What an annotation file says. boxes: (M, 4) float64 x, y, w, h as written, not made 0-based; NaN for lines named in
    `bad` and for lines that say so. visible: (M,) bool. Row n is for the n-th frame.
    """

    boxes: NDArray[np.float64]
    visible: NDArray[np.bool_]
    bad: tuple[BadLine, ...] = ()


def box_rows(content: bytes) -> Annotation:
    """The usual annotation: a box x, y, w, h in each line, separated by commas, by tabs or by spaces."""
    rows = parse_rows(content, 4)
    return Annotation(rows.values, np.ones(len(rows.values), dtype=np.bool_), rows.bad)


@dataclass(frozen=True)
class Flag:
    """A file with one whole number for each row of annotation, in one line with commas or one in each line. largest: they
    are 0..largest. hidden: the numbers that say that the target is not visible. optional: may be missing.
    """

    path: str
    hidden: frozenset[int]
    largest: int = 1
    optional: bool = False


@dataclass(frozen=True)
class AttributeFile:
    """A sequence's attributes, where its folder has them. known: the attributes' short names. as_flags: the file has a 0
    or 1 for each of these, in their order, separated by commas; else it names those that hold ("SV, DEF").
    """

    path: str
    known: tuple[str, ...]
    as_flags: bool = True


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the annotation of a data set is meant. data: the name that splits/*.csv call it by. title: of the official list,
    for messages. origin: how its files number the first pixel. server: the annotation may be of the first frame alone, the
    rest being on a test server. absent: the box that says that there is none to see, NaN or four zeros; None: none does.
    """

    data: str
    title: str
    origin: int = 0
    server: bool = False
    absent: Literal["nan", "zero"] | None = None


@dataclass(frozen=True)
class Places:
    """One layout.

    title: for messages, with the layout in short. boxes: the annotation file. frames: folders of images, of which the
    first that is there counts; () for annotation without images. decode: what the annotation file's bytes say.
    flags: alternatives, of which the first with any file there counts; the first of all where none is.
    order: frames are sorted by the number that ends their name, or by name. first: the number of the first frame, from
    which on none may be missing; None where any numbers will do. meta: a file with facts, of which `size` reads (width,
    height). listing: a file that names the sequences, one in each line, in their order. where: regular expressions that
    the fields of sequences must fit which the official list does not know; others may be anything. slack: so many of the
    last images or rows may be without a partner; both are cut to the shorter.
    """

    title: str
    boxes: str
    frames: tuple[str, ...] = ()
    decode: Callable[[bytes], Annotation] = box_rows
    flags: tuple[tuple[Flag, ...], ...] = ()
    attributes: AttributeFile | None = None
    order: Literal["number", "name"] = "number"
    first: int | None = None
    meta: str | None = None
    size: Callable[[bytes], tuple[int, int] | None] | None = None
    listing: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    slack: int = 0

    def paths(self, clip: Clip) -> list[str]:
        """All files and folders that this clip's `Record` depends on, whether or not they are there, annotation first."""
        flags = (flag.path for alternative in self.flags for flag in alternative)
        more = (path for path in (self.attributes and self.attributes.path, self.meta) if path)
        return [fill(template, clip) for template in (self.boxes, *self.frames, *flags, *more)]


def fill(template: str, clip: Clip) -> str:
    """A template's path for one clip."""
    return template.format(name=clip.name, **clip.fields)


def find_clips(files: Files, places: Places) -> list[Clip]:
    """A clip for each annotation, and for each folder of images, that lies in these places, sorted by name; none where
    paths do not tell all fields of a clip.
    """
    templates = (places.boxes, *places.frames)
    needed = {"name", *_FIELD.findall("".join(templates))}
    found = {}
    for template in templates:
        is_there = files.is_file if template == places.boxes else files.is_folder
        if set(_FIELD.findall(template)) == needed:
            for fields in _walk(files, template.split("/"), "", {}, places.where):
                if not is_there(template.format(**fields)):
                    continue
                clip = Clip(fields["name"], {key: value for key, value in fields.items() if key != "name"})
                found[clip.name, fill(places.boxes, clip)] = clip
    return [found[key] for key in sorted(found)]


def _walk(
    files: Files, segments: list[str], at: str, fields: Mapping[str, str], where: Mapping[str, str]
) -> Iterator[Mapping[str, str]]:
    if not segments:
        yield fields
        return
    prefix = f"{at}/" if at else ""
    segment = _FIELD.sub(lambda m: fields.get(m[1], m[0]), segments[0])
    if not _FIELD.search(segment):
        yield from _walk(files, segments[1:], prefix + segment, fields, where)
        return
    fits = _pattern(segment, where)
    for name in files.names(at):
        if found := fits.fullmatch(name):
            yield from _walk(files, segments[1:], prefix + name, {**fields, **found.groupdict()}, where)


def _pattern(segment: str, where: Mapping[str, str]) -> re.Pattern[str]:
    parts = _FIELD.split(segment)
    return re.compile(
        "".join(
            f"(?P<{part}>{where.get(part, '.+')})" if odd else re.escape(part)
            for part, odd in zip(parts, [False, True] * len(parts), strict=False)
        )
    )
