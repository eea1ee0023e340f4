"""One sequence's annotation, read by its declaration and verified: boxes, flags, attributes, and the list of its frames.

Errors are DataError, with the file, the line and the remedy; nothing is padded, cut or skipped but by a rule that
splits/quirks.csv names with its source.
"""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Boxes, valid
from trackablate.datasets.errors import DataError, raise_all, shown
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.frame_names import FrameNames, frame_names
from trackablate.datasets.reading.layouts import Annotation, AttributeFile, Clip, Flag, Places, Rules, fill
from trackablate.datasets.reading.numbers import parse_rows
from trackablate.datasets.reading.tables import frame_sizes, quirks

_RESTORE = "restore the file from the data set"
_ROW = 'write "x,y,w,h" of this frame, or restore the file from the data set'


@dataclass(frozen=True, eq=False)
class Record:
    """What is known of a sequence without its images. boxes: (N, 4) float64 x, y, w, h in pixels, 0-based; visible: (N,)
    bool. frames: the evaluated ones, in `folder`; None where there is no folder of images. N is the number of frames, or
    1. size: (width, height) where the data set says it.
    """

    boxes: Boxes
    visible: NDArray[np.bool_]
    frames: FrameNames | None
    folder: str
    attributes: frozenset[str]
    size: tuple[int, int] | None


@dataclass(frozen=True)
class AnnotationSource:
    """Where sequences are read from, and by what rules."""

    files: Files
    rules: Rules
    places: Places

    def is_there(self, clip: Clip) -> bool:
        """Whether there is an annotation or a folder of images; half a sequence is there, and its `record` an error."""
        boxes, *frames = self.places.paths(clip)[: 1 + len(self.places.frames)]
        return self.files.is_file(boxes) or any(self.files.is_folder(folder) for folder in frames)

    def folders(self, clip: Clip) -> list[str]:
        """Where its frames may lie."""
        return [fill(template, clip) for template in self.places.frames]

    def stamps(self, clip: Clip) -> list[tuple[int, int]]:
        """`Files.stamp` of all that its record is read from."""
        return [self.files.stamp(path) for path in self.places.paths(clip)]

    def record(self, clip: Clip) -> Record:
        """Read one sequence. Raises DataError."""
        found = self._annotation(clip)
        folder, names = self._frames(clip)
        names = self._fitting(clip, len(found.boxes), names)
        visible = found.visible & self._flags(clip, len(found.boxes))
        boxes = found.boxes - (self.rules.origin, self.rules.origin, 0, 0)
        if names is not None:
            if self.places.slack:  # the fitting frames may be one fewer than the rows
                boxes, visible = boxes[: len(names)], visible[: len(names)]
            names = names.cut(clip.skip, len(names))
        attributes = self._attributes(clip)
        return Record(boxes[clip.skip :], visible[clip.skip :], names, folder, attributes, self._size(clip, names))

    def _annotation(self, clip: Clip) -> Annotation:
        file = fill(self.places.boxes, clip)
        found = self.places.decode(self._text(file))
        place, problems = self.files.place(file), []
        for bad in found.bad:
            problems.append(str(DataError.at(place, f"{bad.problem}, got {bad.text!r}", _ROW, line=bad.line)))
        unboxed = np.isnan(found.boxes).any(axis=1)
        if self.rules.absent != "nan":
            for row in sorted(set(np.flatnonzero(unboxed) + 1) - {bad.line for bad in found.bad}):
                problems.append(str(DataError.at(place, "4 finite numbers wanted, got NaN", _ROW, line=int(row))))
        if len(found.boxes) > clip.skip and not problems and not valid(found.boxes[clip.skip]):
            problem = "the first box needs a positive width and height"
            problems.append(str(DataError.at(place, problem, _ROW, line=clip.skip + 1)))
        raise_all(problems)
        hidden = (found.boxes == 0).all(axis=1) if self.rules.absent == "zero" else unboxed
        return replace(found, visible=found.visible & ~hidden)

    def _text(self, file: str) -> bytes:
        content = self.files.read(file)
        if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            raise DataError.at(self.files.place(file), "is UTF-16 text", "save it as ASCII or UTF-8", line=1)
        return content

    def _flags(self, clip: Clip, rows: int) -> NDArray[np.bool_]:
        visible = np.ones(rows, dtype=np.bool_)
        there = (flags for flags in self.places.flags if any(self.files.is_file(fill(f.path, clip)) for f in flags))
        for flag in next(there, self.places.flags[0] if self.places.flags else ()):
            if not flag.optional or self.files.is_file(fill(flag.path, clip)):
                visible &= ~np.isin(self._flag(flag, clip, rows), list(flag.hidden))
        return visible

    def _flag(self, flag: Flag, clip: Clip, rows: int) -> NDArray[np.float64]:
        """The numbers of a flag file, (rows,)."""
        file = fill(flag.path, clip)
        place = self.files.place(file)
        content = self._text(file).strip()
        in_one_line = b"\n" not in content
        found = parse_rows(content.replace(b",", b"\n") if in_one_line else content, 1)
        numbers = found.values[:, 0]
        fits = (numbers >= 0) & (numbers <= flag.largest) & (numbers == np.floor(numbers))
        if not fits.all():
            first = int(np.argmin(fits)) + 1
            problem = f"flag {first} is no whole number of 0..{flag.largest}"
            raise DataError.at(place, problem, _RESTORE, line=1 if in_one_line else first)
        if self._quirk(clip, "flags-longer") == str(rows):
            numbers = numbers[:rows]
        if len(numbers) != rows:
            raise DataError.at(place, f"{len(numbers)} flags for {rows} boxes", _RESTORE)
        return numbers

    def _frames(self, clip: Clip) -> tuple[str, FrameNames | None]:
        for folder in self.folders(clip):
            if self.files.is_folder(folder):
                try:
                    names = frame_names(self.files.names(folder), self.places.order)
                except ValueError as error:
                    raise DataError.at(self.files.place(folder), str(error), "rename or remove it") from None
                if len(names):
                    return folder, names
        return "", None

    def _fitting(self, clip: Clip, rows: int, names: FrameNames | None) -> FrameNames | None:
        """The frames that the rows of annotation are for. Raises DataError where they are not as many."""
        wanted = clip.last - clip.first + 1 if clip.first is not None and clip.last is not None else None
        if wanted is not None and rows != wanted:
            self._refuse_count(clip, rows, wanted)
        if names is None:
            if rows == 0:
                self._refuse_count(clip, 0, 1)
            return None
        names = self._consecutive(clip, names)
        cut = self._quirk(clip, "evaluate-first")
        if cut is not None and rows == int(cut) < len(names):
            return names.cut(0, rows)
        if 0 < abs(rows - len(names)) <= self.places.slack:
            return names.cut(0, min(rows, len(names)))
        if rows != len(names) and not (self.rules.server and rows == 1):
            self._refuse_count(clip, rows, len(names))
        return names

    def _consecutive(self, clip: Clip, names: FrameNames) -> FrameNames:
        """The clip's frames among those of its folder. Raises DataError where one is missing before the last."""
        if clip.first is not None and clip.last is not None:
            names = names.numbered(clip.first, clip.last)
        first = clip.first if clip.first is not None else self.places.first
        if first is None:
            return names
        place = self.files.place(next(f for f in self.folders(clip) if self.files.is_folder(f)))
        gap = names.gap(first)
        if gap is None and clip.last is not None and len(names) < clip.last - first + 1:
            gap = first + len(names)
        if gap is not None:
            raise DataError.at(place, f"frame number {gap} is missing", "restore it from the data set")
        if names.runs[0].first < first:
            raise DataError.at(place, f"frame {names[0]} comes before number {first}", "remove it")
        return names

    def _refuse_count(self, clip: Clip, rows: int, frames: int) -> None:
        file = self.files.place(fill(self.places.boxes, clip))
        if clip.first is None:
            remedy = "give one line for each image, and no more"
        else:
            remedy = (
                f"{self.rules.title}'s {shown(clip.name)} is frames {clip.first} to {clip.last}: restore the file from"
                " the data set, or rename the sequence if it is one of your own"
            )
        raise DataError.at(file, f"{rows} boxes for {frames} frames", remedy)

    def _attributes(self, clip: Clip) -> frozenset[str]:
        declared = self.places.attributes
        if declared is None or not self.files.is_file(file := fill(declared.path, clip)):
            return clip.attributes
        return self._flagged(declared, file) if declared.as_flags else self._named(declared, file)

    def _flagged(self, declared: AttributeFile, file: str) -> frozenset[str]:
        found = parse_rows(self._text(file), len(declared.known))
        if len(found.values) != 1 or not np.isin(found.values, (0, 1)).all():
            problem = f"one line of {len(declared.known)} flags wanted, 0 or 1 for each of {', '.join(declared.known)}"
            raise DataError.at(self.files.place(file), problem, _RESTORE, line=1)
        return frozenset(name for name, flag in zip(declared.known, found.values[0], strict=True) if flag)

    def _named(self, declared: AttributeFile, file: str) -> frozenset[str]:
        words = self._text(file).decode("utf-8", errors="replace").replace(",", " ").split()
        if unknown := [word for word in words if word not in declared.known]:
            remedy = f"the attributes are {', '.join(declared.known)}: correct or remove the file"
            problem = f"no attribute is called {shown(unknown[0])[:40]!r}"
            raise DataError.at(self.files.place(file), problem, remedy, line=1)
        return frozenset(words)

    def _size(self, clip: Clip, names: FrameNames | None) -> tuple[int, int] | None:
        if self._quirk(clip, "changes-size") is not None:
            return None
        places = self.places
        if places.meta and places.size and self.files.is_file(file := fill(places.meta, clip)):
            return places.size(self.files.read(file))
        # With images there, those are asked: they may have been resized, or be others under this name.
        return frame_sizes(self.rules.data).get(clip.name) if names is None else None

    def _quirk(self, clip: Clip, rule: str) -> str | None:
        found = quirks(self.rules.data).get(clip.name, {}).get(rule)
        return found.value if found else None
