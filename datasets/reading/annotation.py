"""One sequence's annotation, read by its declaration and verified: boxes, flags, attributes and the list of its frames.

Errors are DataError with the file, the line and the remedy. Rows are never padded, cut or skipped, unless
splits/quirks.csv has a rule for it, with its source.
"""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Boxes, valid
from trackablate.datasets.errors import DataError, raise_all, shown, some
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.frame_names import FrameNames, frame_names
from trackablate.datasets.reading.layouts import AnnotationRules, BoxRows, Clip, FileLayout, FlagFile, fill
from trackablate.datasets.reading.numbers import parse_rows
from trackablate.datasets.reading.tables import frame_sizes, quirks

_RESTORE = "restore the file from the data set"
_ROW = 'write "x,y,w,h" of this frame, or restore the file from the data set'


@dataclass(frozen=True, eq=False)
class Annotation:
    """All that is known of a sequence without its images.

    Attributes:
        boxes: (N, 4) float64, x, y, w, h in pixels, 0-based. N is the number of frames, or 1 on test servers.
        frames: Names of the evaluated frames in `folder`; None without a folder of images.
        folder: The folder of images below the root.
        size: (width, height) of the frames if the data set says it.
    """

    boxes: Boxes
    visible: NDArray[np.bool_]
    frames: FrameNames | None
    folder: str
    attributes: frozenset[str]
    size: tuple[int, int] | None

    @property
    def length(self) -> int:
        """Number of images, or of boxes if there are no images."""
        return len(self.boxes) if self.frames is None else len(self.frames)


@dataclass(frozen=True)
class SequenceFiles:
    """The files of one sequence, and the rules by which they are read."""

    files: Files
    rules: AnnotationRules
    layout: FileLayout
    clip: Clip

    @property
    def boxes_file(self) -> str:
        """The annotation file, below the root."""
        return fill(self.layout.boxes, self.clip)

    @property
    def place(self) -> Path:
        """The annotation file, for messages."""
        return self.files.place(self.boxes_file)

    @property
    def folders(self) -> list[str]:
        """The folders in which the frames may lie."""
        return [fill(template, self.clip) for template in self.layout.frames]

    def exist(self) -> bool:
        """Return whether there is an annotation file or a folder of images; one without the other is found by `read`."""
        return self.files.is_file(self.boxes_file) or any(map(self.files.is_folder, self.folders))

    def stamps(self) -> list[tuple[int, int]]:
        """Return `Files.stamp` of everything that `read` depends on."""
        return [self.files.stamp(path) for path in self.layout.paths(self.clip)]

    def read(self) -> Annotation:
        """Read the sequence. Raises DataError."""
        rows = self._boxes()
        folder, names = self._frames()
        if rows.numbers is not None:
            rows = self._spread(rows, names)
        boxes, visible = rows.boxes, rows.visible
        names = self._matched(len(boxes), names)
        if rows.numbers is None:
            visible &= self._flagged_visible(len(boxes))
        boxes = boxes - (self.rules.origin, self.rules.origin, 0, 0)
        skip = self.clip.skip
        if names is not None:
            if self.layout.slack:  # there may be one frame fewer than rows
                boxes, visible = boxes[: len(names)], visible[: len(names)]
            names = names.cut(skip, len(names))
        return Annotation(boxes[skip:], visible[skip:], names, folder, self._attributes(), self._size(names))

    def _spread(self, rows: BoxRows, names: FrameNames | None) -> BoxRows:
        """Return a row for every frame, from rows of some frames: NaN and not visible where there was none."""
        assert rows.numbers is not None
        names = None if names is None else self._consecutive(names)
        first = 0 if rows.relative else self.clip.first if names is None else names.ranges[0].first
        at = rows.numbers - (rows.numbers[:1] if first is None else first)
        if len(at) and at[0] != 0:
            problem, remedy = (
                f"row 1 is of frame {rows.numbers[0]}, but the first frame has number {first}",
                (
                    "a target is given in its sequence's first frame: declare the number of that as `first` of the sequence"
                ),
            )
            self._refuse(self.boxes_file, problem, remedy, line=1)
        last = int(at[-1]) + 1 if len(at) else 0
        count = self.clip.span or (last if names is None else len(names))
        if last > count:
            self._refuse_count(last, count)
        boxes, visible = np.full((count, 4), np.nan), np.zeros(count, dtype=np.bool_)
        boxes[at], visible[at] = rows.boxes, rows.visible & self._flagged_visible(len(at))
        return BoxRows(boxes, visible, numbers=rows.numbers)

    def _boxes(self) -> BoxRows:
        """Return the boxes as written, and which of them the annotation file itself calls visible."""
        folder, _, file = self.boxes_file.rpartition("/")
        if not self._there(self.layout.boxes):
            deeper = [name for name in self.files.names(folder) if self.files.is_file(f"{folder}/{name}/{file}")]
            if deeper:
                problem = f"is no sequence, but holds some one folder too deep: {some(deeper, 3)}"
                self._refuse(folder, problem, "move them one folder up")
        found, skip = self.layout.decode(self._text(self.boxes_file)), self.clip.skip
        if self.layout.evaluated_only and skip and len(found.boxes) + skip == self.clip.span:
            rows = np.maximum(np.arange(-skip, len(found.boxes)), 0)  # stand-ins for rows that are cut off again
            found = BoxRows(found.boxes[rows], found.visible[rows], found.bad)
        problems = [(bad.line, f"{bad.problem}, got {bad.text!r}") for bad in found.bad]
        unboxed = np.isnan(found.boxes).any(axis=1)
        if self.rules.absent != "nan" and not self.rules.sparse:
            unwanted = sorted(set(np.flatnonzero(unboxed) + 1) - {bad.line for bad in found.bad})
            problems += [(int(row), "4 finite numbers wanted, got NaN") for row in unwanted]
        if len(found.boxes) > skip and not problems and not valid(found.boxes[skip]):
            problems.append((skip + 1, "the first box needs a positive width and height"))
        raise_all([str(DataError.at(self.place, problem, _ROW, line=line)) for line, problem in problems])
        hidden = unboxed | (found.boxes == 0).all(axis=1) if self.rules.absent == "zero" else unboxed
        return replace(found, visible=found.visible & ~hidden)

    def _text(self, file: str) -> bytes:
        content = self.files.read(file)
        if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            self._refuse(file, "is UTF-16 text", "save it as ASCII or UTF-8", line=1)
        return content.removeprefix(BOM_UTF8)

    def _refuse(self, file: str, problem: str, remedy: str = _RESTORE, line: int | None = None) -> NoReturn:
        raise DataError.at(self.files.place(file), problem, remedy, line=line)

    def _there(self, template: str) -> bool:
        return self.files.is_file(fill(template, self.clip))

    def _flagged_visible(self, rows: int) -> NDArray[np.bool_]:
        """Which rows the flag files call visible, (rows,)."""
        visible = np.ones(rows, dtype=np.bool_)
        alternatives = self.layout.flags or ((),)
        for flag in next((flags for flags in alternatives if any(self._there(f.path) for f in flags)), alternatives[0]):
            if not flag.optional or self._there(flag.path):
                visible &= ~np.isin(self._flags(flag, rows), list(flag.hidden))
        return visible

    def _flags(self, flag: FlagFile, rows: int) -> NDArray[np.float64]:
        file = fill(flag.path, self.clip)
        content = self._text(file).strip()
        in_one_line = b"\n" not in content
        numbers = parse_rows(content.replace(b",", b"\n") if in_one_line else content, 1).values[:, 0]
        fits = (numbers >= 0) & (numbers <= flag.largest) & (numbers == np.floor(numbers))
        if not fits.all():
            first = int(np.argmin(fits)) + 1
            problem = f"flag {first} is not a whole number from 0 to {flag.largest}"
            self._refuse(file, problem, line=1 if in_one_line else first)
        if self._quirk("flags-longer") == str(rows):
            numbers = numbers[:rows]
        if len(numbers) != rows:
            self._refuse(file, f"{len(numbers)} flags for {rows} boxes")
        return numbers

    def _frames(self) -> tuple[str, FrameNames | None]:
        for folder in filter(self.files.is_folder, self.folders):
            try:
                names = frame_names(self.files.names(folder), self.layout.order)
            except ValueError as error:
                self._refuse(folder, *error.args)
            if len(names):
                return folder, names
        return "", None

    def _matched(self, rows: int, names: FrameNames | None) -> FrameNames | None:
        """Return the frames that belong to the rows of annotation. Raises DataError if the two differ in number."""
        if self.clip.span is not None and rows != self.clip.span:
            self._refuse_count(rows, self.clip.span)
        if names is None:
            if rows == 0:
                self._refuse_count(0, 1)
            return None
        names = self._consecutive(names)
        count = len(names)
        if (rows < count and self._quirk("evaluate-first") == str(rows)) or 0 < abs(rows - count) <= self.layout.slack:
            return names.cut(0, min(rows, count))
        if rows != count and not (self.rules.server and rows == 1):
            self._refuse_count(rows, count)
        return names

    def _consecutive(self, names: FrameNames) -> FrameNames:
        """Return the clip's frames among those of its folder. Raises DataError if one is missing before the last."""
        clip = self.clip
        if clip.first is not None and clip.last is not None:
            names = names.numbered(clip.first, clip.last)
        first = clip.first if clip.first is not None else self.layout.first
        if first is None:
            return names
        folder, gap = next(filter(self.files.is_folder, self.folders)), names.gap(first)
        if gap is None and clip.span is not None and len(names) < clip.span:
            gap = first + len(names)
        if gap is not None:
            self._refuse(folder, f"frame number {gap} is missing", "restore it from the data set")
        if names.ranges[0].first < first:
            self._refuse(folder, f"frame {names[0]} comes before number {first}", "remove it")
        return names

    def _refuse_count(self, rows: int, frames: int) -> None:
        clip, remedy = self.clip, "give one line for each image, and no more"
        if clip.first is not None:
            remedy = (
                f"{self.rules.title}'s {shown(clip.name)} is frames {clip.first} to {clip.last}: restore the file from"
                " the data set, or rename the sequence if it is one of your own"
            )
        if revised := quirks(self.rules.data).get(clip.name, {}).get("revised"):
            remedy = f"it was revised: take {revised.value} ({revised.source})"
        self._refuse(self.boxes_file, f"{rows} boxes for {frames} frames", remedy)

    def _attributes(self) -> frozenset[str]:
        declared = self.layout.attributes
        if declared is None or not self._there(declared.path):
            return self.clip.attributes
        file, known = fill(declared.path, self.clip), declared.known
        content = self._text(file)
        if declared.as_flags:
            flags = parse_rows(content, len(known)).values
            if len(flags) != 1 or not np.isin(flags, (0, 1)).all():
                problem = f"one line of {len(known)} flags wanted, 0 or 1 for each of {', '.join(known)}"
                self._refuse(file, problem, line=1)
            return frozenset(name for name, flag in zip(known, flags[0], strict=True) if flag)
        words = content.decode("utf-8", errors="replace").replace(",", " ").split()
        if unknown := [word for word in words if word not in known]:
            remedy = f"the attributes are {', '.join(known)}: correct or remove the file"
            self._refuse(file, f"no attribute is called {shown(unknown[0])[:40]!r}", remedy, line=1)
        return frozenset(words)

    def _size(self, names: FrameNames | None) -> tuple[int, int] | None:
        if self._quirk("changes-size") is not None:
            return None
        layout = self.layout
        if layout.meta and layout.size and self._there(layout.meta):
            return layout.size(self._text(fill(layout.meta, self.clip)))
        # Images, if there are any, are asked for their size: they may be resized, or other images of this name.
        return frame_sizes(self.rules.data).get(self.clip.name) if names is None else None

    def _quirk(self, rule: str) -> str | None:
        found = quirks(self.rules.data).get(self.clip.name, {}).get(rule)
        return found and found.value
