"""A benchmark's sequences, read from where they lie, in any of its layouts, from a folder or an archive.

**How to add a benchmark**, all in one module `datasets/<name>.py`:

    PLACES = (Places("<name>/img/00000001.jpg, ... and <name>/groundtruth.txt",
                     boxes="{name}/groundtruth.txt", frames=("{name}/img",), first=1),)
    PART = Part(name="mine", data="mine", title="Mine", clips=_clips, places=PLACES)
    MINE = DataSet("mine", "Mine", {"mine": PART}, (Protocol(..., data="mine", open=PART),))

where `_clips()` gives the official list as `Clip`s, from a file in splits/. Then name the constant in DATA_SETS of
`datasets/protocols.py`. Everything else (missing sequences, counts, flags, bad lines, the index, checks) follows from
the declaration; `datasets/lasot.py` is an example of most of it. A `Part` is an `Opener`.

Scoring needs annotation only, tracking needs images: roots without images open all the same, `check_annotations` is what
scoring asks for, `check` what tracking does, and a frame that is asked for and not there is a DataError.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal

from trackablate.datasets.benchmark import OnProgress
from trackablate.datasets.errors import LISTED, DataError, NothingThereError, raise_all, shown
from trackablate.datasets.reading.annotation import AnnotationSource, Record
from trackablate.datasets.reading.checking import frame_problems
from trackablate.datasets.reading.files import Below, Files
from trackablate.datasets.reading.frames import ImageFiles, NoFrames
from trackablate.datasets.reading.index import Index, IndexEntry, digest_of, open_index
from trackablate.datasets.reading.layouts import Clip, Places, Rules, find_clips
from trackablate.datasets.reading.opening import open_files
from trackablate.datasets.reading.tables import quirks
from trackablate.datasets.sequence import Sequence

KEPT = 2000
"""Without an index, lists of up to this many sequences keep the annotation that was read."""


@dataclass(frozen=True, kw_only=True)
class Part(Rules):
    """One split of a data set; called with a root, it opens it.

    name: as protocols and `data check` show it. clips: the official list, in its order. places: the layouts it comes in,
    of which a root has one. own: sequences that the list does not know make up a list of the user's own where none of
    the list is there ("alone"), or are read beside it ("beside"), from own_places, by default the same. siblings: names
    that lie in the same root and are of other parts, or are folders that official sequences share. training: sequences
    unfit for training are left out.
    """

    name: str
    clips: Callable[[], tuple[Clip, ...]]
    places: tuple[Places, ...]
    own: Literal["alone", "beside"] = "alone"
    own_places: tuple[Places, ...] = ()
    siblings: Callable[[], Iterable[str]] = tuple
    training: bool = False

    def __call__(
        self, root: Path | None, index: Path | None = None, progress: OnProgress | None = None, /
    ) -> "Sequences":
        """Open the part. Raises DataError where root has none of it, or two sequences of one name."""
        if root is None:
            raise ValueError(f"{self.title} needs the folder it lies in: datasets.roots.data_root finds it")
        return Sequences(self, _find(self, open_files(root)), index, progress or _silent)


@dataclass(frozen=True)
class FoundParts:
    """What a root has of a part. entries: the sequences that are there; missing, left_out: names of the official list;
    own: how many of the entries are none of the official list.
    """

    files: Files
    entries: tuple[IndexEntry, ...]
    missing: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    own: int = 0


class Sequences:
    """The sequences of a part that are there, like a list, those of the official list first. Annotation is read at first
    access, or comes from the index; frames are read when asked for. Bad files are a DataError at access.
    """

    def __init__(self, part: Part, found: FoundParts, index: Path | None, progress: OnProgress) -> None:
        self.part, self.found = part, found
        self._read: dict[int, Record] = {}
        self._index: Index | None = None
        if index is not None:
            self._index = open_index(index / self._key(), found.entries, progress)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int, /) -> Sequence:
        number = range(len(self))[index]
        source, clip = self.entries[number]
        record = self.record(number)
        if record.frames is None:
            frames: ImageFiles | NoFrames = NoFrames(source.files, source.folders(clip), len(record.boxes))
        else:
            frames = ImageFiles(source.files, record.folder, record.frames)
        return Sequence(clip.name, frames, record.boxes, record.visible, record.attributes, record.size)

    def __iter__(self) -> Iterator[Sequence]:
        return (self[index] for index in range(len(self)))

    @property
    def entries(self) -> tuple[IndexEntry, ...]:
        """Where each sequence is read from."""
        return self.found.entries

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The sequences' names, in order, without reading them."""
        return tuple(clip.name for _, clip in self.entries)

    @property
    def coverage(self) -> str:
        """How much of the official list this is: "2 of 100 sequences", how many were left out, how many are others."""
        present, own = len(self) - self.found.own, self.found.own
        total = present + len(self.found.missing) + len(self.found.left_out)
        left_out = f", {len(self.found.left_out)} left out as unfit for training" if self.found.left_out else ""
        return f"{present} of {total} sequences{left_out}" + (f" and {own} of your own" if own else "")

    def record(self, number: int) -> Record:
        """What is known of a sequence without its images."""
        kept = self._index.record(number) if self._index else self._read.get(number)
        if kept is not None:
            return kept
        source, clip = self.entries[number]
        record = source.record(clip)
        if len(self) <= KEPT:
            self._read[number] = record
        return record

    def digest(self) -> str:
        """SHA-256 over names, numbers of frames, boxes and visibility: what scores depend on, pixels apart."""
        digests = (self._digest(number) for number in range(len(self)))
        return sha256("".join(digests).encode()).hexdigest()

    def stamp(self, index: int) -> str:
        """Sizes and times (in an archive: CRCs) of the files that the sequence is read from, and how it is read."""
        source, clip = self.entries[index]
        return f"{source.places.title}|{clip.first}|{clip.last}|{clip.skip}|{source.stamps(clip)}"

    def lengths(self) -> tuple[int, ...]:
        """Frames as there are images, or where there are none rows of the annotation."""
        return tuple(_length(self.record(number)) for number in range(len(self)))

    def check_annotations(self) -> None:
        """Raise one DataError with everything that is wrong with annotation: what scoring depends on."""
        raise_all([problem for number in range(len(self)) for problem in self._annotation_problems(number)])

    def check(self, *, deep: bool = False, progress: OnProgress | None = None) -> None:
        """Raise one DataError with everything that is wrong with annotation and frames; see `datasets.reading.checking`
        for what
        is looked at.
        """
        raise_all(frame_problems(self, deep=deep, progress=progress or _silent))

    def notes(self) -> list[str]:
        """What is no error but should be known: what is missing, what else lies there, known oddities."""
        notes = []
        if missing := self.found.missing:
            notes.append(f"missing of {self.part.title}: {_some(missing)}; get them, or report what is there as such")
        if left_out := self.found.left_out:
            notes.append(f"left out as unfit for training: {_some(left_out)}")
        if strangers := self._strangers():
            notes.append(f"no sequences of {self.part.title}, and not read: {_some(strangers)}; move them elsewhere")
        known = quirks(self.part.data)
        for name in self.names:
            for rule, quirk in known.get(name, {}).items():
                notes.append(f"{name}: {rule}, {quirk.value} ({quirk.source})")
        return notes

    def _strangers(self) -> list[str]:
        """Sequences in the same layout that neither the official list nor one of its siblings knows."""
        known = {*self.names, *self.found.missing, *self.found.left_out, *self.part.siblings()}
        used = {id(source.places): source for source, _ in self.entries}
        found = (clip.name for source in used.values() for clip in _others(source) if clip.name not in known)
        return sorted(found)

    def _annotation_problems(self, number: int) -> list[str]:
        if self._index and self._index.facts[number] is not None:
            return []
        try:
            self.record(number)
        except DataError as error:
            return list(error.problems)
        return []

    def _digest(self, number: int) -> str:
        kept = self._index.digest(number) if self._index else None
        return kept or digest_of(self.names[number], self.record(number))

    def _key(self) -> str:
        """The index's folder: one for each part, root, layout, and manner of reading."""
        places = sorted({source.places.title for source, _ in self.entries})
        rules = [self.part.origin, self.part.server, self.part.absent, sorted(quirks(self.part.data).items())]
        content = repr([str(self.found.files.root.resolve()), places, rules])
        return f"{self.part.name}-{sha256(content.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _length(record: Record) -> int:
    return len(record.boxes) if record.frames is None else len(record.frames)


def _silent(_done: int, _total: int) -> None:
    """The progress of those who do not ask."""


def _find(part: Part, files: Files) -> FoundParts:
    """What a root has of a part, also where it lies in the only folder of the root."""
    inner = files.names()
    roots = [files, Below(files, inner[0])] if len(inner) == 1 and files.is_folder(inner[0]) else [files]
    for root in roots:
        if found := _official(part, root) or _own_alone(part, root):
            _refuse_doubles(found)
            return found
    layouts = " or ".join(places.title for places in part.places)
    raise NothingThereError.at(
        files.root, f"holds no sequence of {part.title}", f"expected {layouts} in it{_hint(part, files)}"
    )


def _official(part: Part, files: Files) -> FoundParts | None:
    """The official sequences that are there, and with them those of one's own that may be read beside them."""
    clips = part.clips()
    found: list[tuple[AnnotationSource, list[Clip]]] = []
    for places in part.places:
        source = AnnotationSource(files, part, places)
        found.append((source, [clip for clip in clips if source.is_there(clip)]))
    beside = _own(part, files, set(part.siblings())) if part.own == "beside" else []
    source, there = max(found, key=lambda each: len(each[1]))
    for other, mixed in found:
        if mixed and there and other is not source and other.places.frames and source.places.frames:
            both = f"{shown(mixed[0].name)} as in {other.places.title}, but others as in {source.places.title}"
            raise DataError.at(files.root, f"mixes two layouts: {both}", "keep them in two folders")
    if not there and not beside:
        return None
    unfit = {n for n, rules in quirks(part.data).items() if part.training and "not-for-training" in rules}
    names = {clip.name for clip in there}
    return FoundParts(
        files=files,
        entries=(*((source, clip) for clip in _ordered(source, there) if clip.name not in unfit), *beside),
        missing=tuple(clip.name for clip in clips if clip.name not in names),
        left_out=tuple(sorted(names & unfit)),
        own=len(beside),
    )


def _own_alone(part: Part, files: Files) -> FoundParts | None:
    """Sequences of one's own, in a root that has none of the official list."""
    official = {clip.name for clip in part.clips()}
    own = _own(part, files, official | set(part.siblings()))
    return (
        FoundParts(files, tuple(own), missing=tuple(clip.name for clip in part.clips()), own=len(own)) if own else None
    )


def _own(part: Part, files: Files, known: set[str]) -> list[IndexEntry]:
    """Sequences that are none of the known ones, from the layout that has most of them."""
    sources = [AnnotationSource(files, part, places) for places in part.own_places or part.places]
    found = [(source, [clip for clip in _others(source) if clip.name not in known]) for source in sources]
    source, clips = max(found, key=lambda each: len(each[1]))
    for clip in clips:
        if not clip.name.isprintable():
            place = source.files.place(source.places.paths(clip)[0])
            raise DataError.at(place, "a sequence's name must be printable", "rename it")
    return [(source, clip) for clip in _ordered(source, clips)]


def _others(source: AnnotationSource) -> list[Clip]:
    return find_clips(source.files, source.places)


def _ordered(source: AnnotationSource, clips: list[Clip]) -> list[Clip]:
    """Clips in the order of the layout's list of sequences, where it has one; those it does not name come last."""
    listing = source.places.listing
    if listing is None or not source.files.is_file(listing):
        return clips
    lines = source.files.read(listing).decode("utf-8", errors="replace").split()
    place = source.files.place(listing)
    if twice := [name for name, count in Counter(lines).items() if count > 1]:
        raise DataError.at(place, f"names {shown(twice[0])!r} twice", "restore the file", line=_last(lines, twice[0]))
    order = {name: number for number, name in enumerate(lines)}
    return sorted(clips, key=lambda clip: order.get(clip.name, len(order)))


def _last(lines: list[str], name: str) -> int:
    return max(number for number, line in enumerate(lines, start=1) if line == name)


def _refuse_doubles(found: FoundParts) -> None:
    seen: set[str] = set()
    for source, clip in found.entries:
        if clip.name in seen:
            place = source.files.place(source.places.paths(clip)[0])
            raise DataError.at(place, f"a second sequence called {shown(clip.name)}", "rename or remove one of them")
        seen.add(clip.name)


def _hint(part: Part, files: Files) -> str:
    """Whether the user named one sequence's folder instead of the one that it lies in."""
    marks = {places.boxes.rpartition("/")[2] for places in part.own_places or part.places}
    if any(files.is_file(mark) for mark in marks if "{" not in mark):
        return f"; this is one sequence: name the folder that it lies in, {shown(files.root.absolute().parent)}"
    return ""


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(shown(name) for name in names[:LISTED]) + more
