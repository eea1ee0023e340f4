"""A benchmark's sequences, found and read in any of its layouts, from a folder or an archive.

`docs/extend/benchmark.md` shows how to add a benchmark. Missing sequences, counts, flags, bad lines, the index and the
checks follow from its declaration, a `Part`.

Scoring needs annotation only, tracking needs images. Roots without images can be opened too: `check_annotations` checks
what scoring needs, `check` what tracking needs, and access to a frame that is not there raises DataError.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from trackablate.datasets.benchmark import Protocol, SequenceList
from trackablate.datasets.changes import DataState, state_now
from trackablate.datasets.errors import DataError, NothingThereError, counted, raise_all, shown, some
from trackablate.datasets.progress import OnProgress, followed, tell, told_each
from trackablate.datasets.reading.annotation import Annotation, SequenceFiles
from trackablate.datasets.reading.checking import SEQUENCES, decoded_of, frame_problems
from trackablate.datasets.reading.files import Files
from trackablate.datasets.reading.frames import ImageFiles, NoFrames
from trackablate.datasets.reading.index import READING, digest_of, open_index
from trackablate.datasets.reading.layouts import FIELD, LOOKING, AnnotationRules, Clip, FileLayout, find_clips
from trackablate.datasets.reading.opening import PYSOT, Below, open_files, unpacked
from trackablate.datasets.reading.tables import quirks
from trackablate.datasets.sequence import FrameFiles, Sequence

KEPT = 2000
"""Lists of up to this many sequences keep their annotation in memory when there is no index."""
MOST_LOOKED_AT = 100
"""Folders that are searched for what may be meant, where nothing is found as it should lie."""
OSTRACK_METRICS = (("auc", "ostrack"), ("precision", "ostrack"), ("norm_precision", "ostrack"))
"""The metrics that most benchmarks are reported in, by the rules of OSTrack's evaluation code."""


@dataclass(frozen=True, kw_only=True)
class Part(AnnotationRules):
    """One split of a data set. Calling it opens it: a `Part` is an `Opener`.

    Attributes:
        clips: Returns the official list, in its order.
        layouts: The layouts in which the split is distributed; a root has one of them.
        own: When sequences outside the official list are read: "alone", if the root has none of the list, "beside", or
            "never".
        own_layouts: The layouts of such sequences, by default `layouts`.
        siblings: Returns names in the same root that belong to other splits, or to folders that sequences share.
        training: Whether to leave out sequences that are unfit for training.
        tars: Packed files of the root, or of its only folder, that hold the annotation too.
        listed: Whether there is a list; without one, `clips` is empty and all sequences that are there are read.
    """

    name: str
    clips: Callable[[], tuple[Clip, ...]]
    layouts: tuple[FileLayout, ...]
    own: Literal["alone", "beside", "never"] = "alone"
    own_layouts: tuple[FileLayout, ...] = ()
    siblings: Callable[[], Iterable[str]] = tuple
    training: bool = False
    tars: tuple[str, ...] = ()
    listed: bool = True

    def __call__(self, root: Path | None, index: Path | None = None, /) -> "StoredSequences":
        """Open the part. Raises DataError if the root has none of it, or two sequences of one name."""
        if root is None:
            raise ValueError(f"{self.title} needs a folder: datasets.roots.data_root finds it")
        with followed(f"opening {self.name}"):
            tell("listing files")
            return StoredSequences(self, _find(self, open_files(root)), index)

    def protocol(
        self,
        *,
        title: str,
        description: str,
        source: str,
        metrics: tuple[tuple[str, str], ...] = OSTRACK_METRICS,
        attributes: tuple[str, ...] = (),
        one_shot: bool = False,
        scored_as: str = "",
    ) -> Protocol:
        """Return the protocol that scores trackers on this part. See `Protocol`."""
        return Protocol(
            name=self.name,
            title=title,
            description=description,
            source=source,
            data=self.data,
            metrics=metrics,
            attributes=attributes,
            open=self,
            origin=self.origin,
            one_shot=one_shot,
            sparse=self.sparse,
            scored_as=scored_as,
        )


class FoundSequences(NamedTuple):
    """The sequences of a part that a root has.

    Attributes:
        missing: Names of the official list that are not there.
        left_out: Names that are there but unfit for training.
        own: How many of the entries are not in the official list.
    """

    files: Files
    entries: tuple[SequenceFiles, ...]
    missing: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    own: int = 0


class StoredSequences(SequenceList):
    """The sequences of a part as found in one root. Those of the official list come first.

    Annotation comes from the index or is read at first access; frames are read at each access. Bad files raise DataError
    at access.
    """

    def __init__(self, part: Part, found: FoundSequences, index: Path | None) -> None:
        self.part, self.found = part, found
        self._read: dict[int, Annotation] = {}
        self._index = open_index(index / self._key(), found.entries) if index else None

    def __len__(self) -> int:
        return len(self.found.entries)

    def __getitem__(self, index: int, /) -> Sequence:
        number = range(len(self))[index]
        entry, found = self.found.entries[number], self.annotation(number)
        if found.frames is None:
            frames: ImageFiles | NoFrames = NoFrames(entry.files, entry.folders, len(found.boxes))
        else:
            frames = ImageFiles(entry.files, found.folder, found.frames)
        return Sequence(entry.clip.name, frames, found.boxes, found.visible, found.attributes, found.size)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """See SequenceList."""
        return tuple(entry.clip.name for entry in self.found.entries)

    def state(self, store: Path) -> DataState:
        """See SequenceList."""

        def newest() -> float:  # in an archive, a stamp has no time
            return max((when for entry in self.found.entries for _, when in entry.stamps()), default=0) / 1e9

        archives = tuple(stamp for files in self._files() for stamp in files.archives())
        return state_now(self.found.files.root, archives, newest, store)

    def refuse_changed(self, state: DataState) -> None:
        """See SequenceList."""
        for files in self._files():
            files.refuse_changed(state)

    def _files(self) -> list[Files]:
        return list({id(entry.files): entry.files for entry in self.found.entries}.values())

    @property
    def coverage(self) -> str:
        """See SequenceList. Also counts sequences that were left out, and those outside the official list."""
        left_out, own = len(self.found.left_out), self.found.own
        present = len(self) - own
        if not self.part.listed:
            return f"{counted(len(self), 'sequence')}, of no list"
        said = f"{present} of {present + len(self.found.missing) + left_out} sequences"
        said += f", {left_out} left out as unfit for training" if left_out else ""
        return said + (f" and {own} of your own" if own else "")

    def annotation(self, number: int) -> Annotation:
        """Return all that is known of a sequence without its images."""
        kept = self._index.annotation(number) if self._index else self._read.get(number)
        if kept is not None:
            return kept
        found = self.found.entries[number].read()
        if len(self) <= KEPT:
            self._read[number] = found
        return found

    def _numbers(self) -> Iterator[int]:
        """Yield the number of each sequence, whose annotation is read now."""
        with followed(f"opening {self.part.name}"):
            yield from told_each(READING, range(len(self)))

    def digest(self) -> str:
        """See SequenceList."""
        kept = (self._index.digest(number) if self._index else None for number in self._numbers())
        digests = (one or digest_of(self.names[i], self.annotation(i)) for i, one in enumerate(kept))
        return sha256("".join(digests).encode()).hexdigest()

    def stamp(self, index: int) -> str:
        """See SequenceList. Made of the declaration, and sizes and times (in an archive CRCs) of the sequence's files."""
        entry = self.found.entries[index]
        clip = entry.clip
        version = f"|{self.part.version}" if self.part.version else ""
        return f"{entry.layout.title}|{clip.first}|{clip.last}|{clip.skip}|{entry.stamps()}{version}"

    def frame_files(self, index: int) -> FrameFiles | None:
        """See SequenceList."""
        found = self.annotation(index)
        if found.frames is None:
            return None
        stamps = np.array(self.found.entries[index].files.stamps(found.folder, found.frames), dtype=np.int64)
        names = sha256("/".join(found.frames).encode(errors="surrogateescape")).hexdigest()[:16]
        return FrameFiles(names, *stamps.reshape(-1, 2).T.astype(np.uint32))

    def reordered(self, index: int) -> bool:
        """See SequenceList."""
        frames = self.annotation(index).frames if self.found.entries[index].layout.order != "number" else None
        return frames is not None and list(frames) != sorted(frames)

    def lengths(self) -> tuple[int, ...]:
        """See SequenceList. Without images, rows of annotation count."""
        return tuple(self.annotation(number).length for number in self._numbers())

    def check_annotations(self) -> None:
        """See SequenceList."""
        problems: list[str] = []
        for number in self._numbers():
            if self._index is None or self._index.facts[number] is None:
                try:
                    self.annotation(number)
                except DataError as error:
                    problems += error.problems
        raise_all(problems)

    def check(self, *, deep: bool = False, progress: OnProgress | None = None) -> str:
        """See SequenceList; `datasets.reading.checking` says what is checked."""
        lengths: dict[int, int] = {}

        def annotation(number: int) -> Annotation:
            found = self.annotation(number)
            lengths[number] = found.length
            return found

        raise_all(
            frame_problems(self.found.entries, annotation, deep=deep, progress=progress or (lambda done, total: None))
        )
        frames = sum(lengths.values())
        return decoded_of(frames if deep else min(SEQUENCES, len(self)), frames)

    def notes(self) -> list[str]:
        """See SequenceList."""
        title, notes = self.part.title, []
        if missing := self.found.missing:
            remedy = (
                "download them and put them beside the others: figures of a part do not compare with published ones"
            )
            count = "1 sequence is" if len(missing) == 1 else f"{len(missing)} sequences are"
            notes.append(f"{title}: {count} not here: {some(missing)}; {remedy}")
        if left_out := self.found.left_out:
            notes.append(f"left out as unfit for training: {some(left_out)}")
        if strangers := self._strangers():
            notes.append(f"not sequences of {title}, and not read: {some(strangers)}; move them elsewhere")
        if reordered := [name for number, name in enumerate(self.names) if self.reordered(number)]:
            notes.append(f"frames in the order of their numbers, which is not that of their names: {some(reordered)}")
        known = quirks(self.part.data)
        for name in self.names:
            for rule, quirk in known.get(name, {}).items():
                notes.append(f"{name}: {rule}, {quirk.value} ({quirk.source})")
        return notes

    def _strangers(self) -> list[str]:
        """Sequences in the same layout that are neither in the official list nor in one of its siblings."""
        known = {*self.names, *self.found.missing, *self.found.left_out, *self.part.siblings()}
        used = {id(entry.layout): entry for entry in self.found.entries}
        with followed(f"checking {self.part.name}"):
            found = [clip.name for entry in used.values() for clip in find_clips(entry.files, entry.layout)]
        return sorted(name for name in found if name not in known)

    def _key(self) -> str:
        """Return the name of the index's folder: one for each part, root, layout, and set of rules."""
        layouts = sorted({entry.layout.title for entry in self.found.entries})
        rules = [self.part.origin, self.part.server, self.part.absent, sorted(quirks(self.part.data).items())]
        version = [self.part.version] if self.part.version else []
        content = repr([str(self.found.files.root.resolve()), layouts, rules, *version])
        return f"{self.part.name}-{sha256(content.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _find(part: Part, files: Files) -> FoundSequences:
    """Return the sequences of a part in a root, or in the only folder of the root."""
    roots = _with_inner(files)
    roots += [
        one for root in roots for tar in part.tars if root.is_file(tar) for one in _with_inner(unpacked(root, tar))
    ]
    for root in roots:
        if found := _official(part, root) or (_own_alone(part, root) if part.own != "never" else None):
            _refuse_doubles(found.entries)
            return found
    expected = " or ".join(layout.title for layout in part.layouts)
    remedy = f"expected {expected} in it{_hint(part, files)}"
    raise NothingThereError.at(files.root, f"holds no sequence of {part.title}", remedy)


def _with_inner(files: Files) -> list[Files]:
    """Return a root, and the only folder in it if there is just one."""
    inner = files.names()
    return [files, Below(files, inner[0])] if len(inner) == 1 and files.is_folder(inner[0]) else [files]


def _official(part: Part, files: Files) -> FoundSequences | None:
    """Return the official sequences that are there, and with them the user's own if those are read beside."""
    clips = part.clips()
    layouts = (PYSOT,) if files.is_folder(PYSOT.boxes.partition("/")[0]) else part.layouts
    candidates = [[SequenceFiles(files, part, layout, clip) for clip in clips] for layout in layouts]
    found = [[entry for entry in told_each(LOOKING, entries) if entry.exist()] for entries in candidates]
    beside = _own(part, files, set(part.siblings())) if part.own == "beside" else []
    there = max(found, key=len)
    for other in found:
        if other and other is not there and other[0].layout.frames and there[0].layout.frames:
            one, rest = other[0], there[0].layout.title
            problem = f"{shown(one.clip.name)} as in {one.layout.title}, but others as in {rest}"
            raise DataError.at(files.root, f"mixes two layouts: {problem}", "keep them in two folders")
    if not there and not beside:
        return None
    unfit = {n for n, rules in quirks(part.data).items() if part.training and "not-for-training" in rules}
    names = {entry.clip.name for entry in there}
    return FoundSequences(
        files=files,
        entries=(*(entry for entry in _ordered(there) if entry.clip.name not in unfit), *beside),
        missing=tuple(clip.name for clip in clips if clip.name not in names),
        left_out=tuple(sorted(names & unfit)),
        own=len(beside),
    )


def _own_alone(part: Part, files: Files) -> FoundSequences | None:
    """Return the user's own sequences, in a root that has none of the official list."""
    official = tuple(clip.name for clip in part.clips())
    own = _own(part, files, {*official, *part.siblings()})
    return FoundSequences(files, tuple(own), missing=official, own=len(own)) if own else None


def _own(part: Part, files: Files, known: set[str]) -> list[SequenceFiles]:
    """Return the sequences with none of the known names, in the layout that most of them have."""
    found = [
        [SequenceFiles(files, part, layout, clip) for clip in find_clips(files, layout) if clip.name not in known]
        for layout in part.own_layouts or part.layouts
    ]
    entries = max(found, key=len)
    for entry in entries:
        if not entry.clip.name.isprintable():
            raise DataError.at(entry.place, "a sequence's name must be printable", "rename it")
    return _ordered(entries)


def _ordered(entries: list[SequenceFiles]) -> list[SequenceFiles]:
    """Sort entries by their layout's list of sequences, if there is one. Names outside the list come last."""
    if not entries or (listing := entries[0].layout.listing) is None or not entries[0].files.is_file(listing):
        return entries
    files = entries[0].files
    lines = files.read(listing).decode("utf-8-sig", errors="replace").split()
    if twice := [name for name, count in Counter(lines).items() if count > 1]:
        second = max(number for number, line in enumerate(lines, start=1) if line == twice[0])
        raise DataError.at(files.place(listing), f"names {shown(twice[0])!r} twice", "restore the file", line=second)
    order = {name: number for number, name in enumerate(lines)}
    return sorted(entries, key=lambda entry: order.get(entry.clip.name, len(order)))


def _refuse_doubles(entries: Iterable[SequenceFiles]) -> None:
    seen: set[str] = set()
    for entry in entries:
        name = entry.clip.name
        if name in seen:
            raise DataError.at(entry.place, f"a second sequence called {shown(name)}", "rename or remove one of them")
        seen.add(name)


def _hint(part: Part, files: Files) -> str:
    """Return a hint for a user who named a folder of one sequence, or one that is too high."""
    if files.is_file("packed.json"):
        return "; it holds packed training sets: name the data set itself too, to track or score on it"
    marks = {layout.boxes.rpartition("/")[2] for layout in part.own_layouts or part.layouts}
    if any(files.is_file(mark) for mark in marks if "{" not in mark):
        return f"; this is one sequence: name the folder above it, {shown(files.root.absolute().parent)}"
    fitting = [re.compile("(.+)/" + FIELD.sub(r"([^/]+)", layout.boxes)) for layout in part.layouts]
    folders, looked_at, elsewhere = [""], 0, set(part.siblings())
    while folders and looked_at < MOST_LOOKED_AT:
        folder, looked_at = folders.pop(0), looked_at + 1
        for found in filter(None, (one.fullmatch(f"{folder}/{mark}") for one in fitting for mark in marks)):
            if files.is_file(found[0]) and not elsewhere.intersection(found.groups()):
                return f"; {shown(files.place(found[1]))} holds such: name that folder, or move what is in it up"
        inner = [f"{folder}/{name}".lstrip("/") for name in files.names(folder)]
        folders += [path for path in inner[:MOST_LOOKED_AT] if files.is_folder(path)]
    return ""
