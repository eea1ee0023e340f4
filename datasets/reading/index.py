"""An index: the annotation of a list's sequences, kept in a folder, so that opening the list again is fast.

A sequence is read again when a stamp of its files differs (size or time; in an archive size or CRC), so an index is never
stale and never has to be deleted. A damaged index, or one of another version, is replaced. In the folder, `index.json`
names the other files: .npy arrays over all sequences together, mapped into memory.
"""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.atomic import LEFTOVER, READ_ONLY, read_ordinary, sealed, unsealed, write_text, write_with
from trackablate.datasets.errors import DataError
from trackablate.datasets.progress import tell, told_each
from trackablate.datasets.reading.annotation import Annotation, SequenceFiles
from trackablate.datasets.reading.frame_names import FrameNames, FrameRange
from trackablate.datasets.reading.layouts import Clip

REVISION = 3
"""Raise when equal files give another `Annotation`, or when the files of an index change their meaning."""
SETTLED = 2_000_000_000
"""Nanoseconds after which a file's time is trusted: two changes within one tick of the clock have the same time."""
_UNSETTLED = -2
_CHUNK = 64
READING = "reading annotation"

Stamps = NDArray[np.int64]
"""(sequences, files of each, 2). Sequences with fewer files are padded with -3."""


@dataclass(frozen=True, eq=False)
class Index:
    """The content of an index over n sequences.

    Attributes:
        tag: Part of its files' names.
        clips: The declaration by which each sequence was read (`_declared`).
        facts: The entry of each sequence in index.json; None if it could not be read.
        starts: (n + 1,), the first row of each sequence in `boxes` and `visible`.
    """

    tag: str
    clips: list[str]
    facts: list[dict[str, Any] | None]
    starts: NDArray[np.int64]
    stamps: Stamps
    boxes: NDArray[np.float64]
    visible: NDArray[np.bool_]

    def annotation(self, number: int) -> Annotation | None:
        """Return the annotation of a sequence, None if it could not be read or if the index is damaged there."""
        facts = self.facts[number]
        if facts is None:
            return None
        rows = slice(self.starts[number], self.starts[number + 1])
        found = Annotation(
            boxes=np.array(self.boxes[rows]),
            visible=np.array(self.visible[rows]),
            frames=None if facts["frames"] is None else FrameNames(tuple(FrameRange(*r) for r in facts["frames"])),
            folder=facts["folder"],
            attributes=frozenset(facts["attributes"]),
            size=tuple(facts["size"]) if facts["size"] else None,
        )
        return found if digest_of(facts["name"], found) == facts["digest"] else None

    def digest(self, number: int) -> str | None:
        """Return the digest of a sequence (`digest_of`), None if it could not be read."""
        facts = self.facts[number]
        return None if facts is None else str(facts["digest"])


def digest_of(name: str, found: Annotation) -> str:
    """Return the SHA-256 of everything that scores depend on: name, number of frames, boxes and visibility."""
    content = sha256(f"{name}\0{found.length}\0{len(found.boxes)}\0".encode(errors="surrogateescape"))
    content.update(np.ascontiguousarray(found.boxes, dtype="<f8").tobytes())
    content.update(np.ascontiguousarray(found.visible, dtype=np.uint8).tobytes())
    return content.hexdigest()


def open_index(folder: Path, entries: Sequence[SequenceFiles]) -> Index:
    """Return the index kept in a folder, after reading new and changed sequences in several threads.

    Sequences that cannot be read stay out of it, and raise their error when they are needed. In a read-only place nothing
    is kept. Raises DataError if the disk is full.
    """
    began = time.time_ns()
    stamps = _stamps(entries)
    kept = _load(folder)
    clips = [_declared(entry.clip) for entry in entries]
    fresh = _unchanged(kept, clips, stamps)
    if kept is not None and kept.clips == clips and (fresh >= 0).all():
        return kept
    found = _read(entries, kept, fresh)
    stamps[stamps[..., 1] > began - SETTLED] = _UNSETTLED
    names = [entry.clip.name for entry in entries]
    try:
        _write(folder, names, clips, found, stamps)
    except OSError as error:
        if error.errno in READ_ONLY:
            with TemporaryDirectory() as elsewhere:  # what is mapped into memory stays when its file is removed
                _write(Path(elsewhere), names, clips, found, stamps)
                if index := _load(Path(elsewhere)):
                    return index
        problem = f"the index cannot be written ({error.strerror})"
        raise DataError.at(folder, problem, "free space, or make the folder writable") from None
    written = _load(folder)
    if written is None:
        raise DataError.at(folder, "another process replaced the index at the same time", "start again")
    _tidy(folder, written, kept)
    return written


def _stamps(entries: Sequence[SequenceFiles]) -> Stamps:
    found = [entry.stamps() for entry in told_each("looking for changes", entries)]
    widest = max(map(len, found), default=0)
    padded = [each + [(-3, -3)] * (widest - len(each)) for each in found]
    return np.array(padded, dtype=np.int64).reshape(len(found), widest, 2)


def _declared(clip: Clip) -> str:
    """Return the whole declaration of a clip as a text, because its annotation depends on it."""
    more = sorted(clip.fields.items()), sorted(clip.attributes)
    return f"{clip.name}|{clip.first}|{clip.last}|{clip.skip}|{more}"


def _unchanged(kept: Index | None, clips: list[str], stamps: Stamps) -> NDArray[np.int64]:
    """Return the number of each clip in the kept index; -1 if it is new, was not readable, or has changed."""
    if kept is None or kept.stamps.shape[1:] != stamps.shape[1:]:
        return np.full(len(clips), -1)
    at = {clip: number for number, clip in enumerate(kept.clips) if kept.facts[number] is not None}
    numbers = np.array([at.get(clip, -1) for clip in clips], dtype=np.int64)
    return np.where((kept.stamps[numbers] == stamps).all(axis=(1, 2)), numbers, -1)


def _read(entries: Sequence[SequenceFiles], kept: Index | None, fresh: NDArray[np.int64]) -> list[Annotation | None]:
    """All annotations: fresh ones from the kept index, the others from their files."""
    todo = np.flatnonzero(fresh < 0).tolist()
    found = [kept.annotation(int(number)) if kept and number >= 0 else None for number in fresh]
    chunks, done = [todo[at : at + _CHUNK] for at in range(0, len(todo), _CHUNK)], 0
    tell(READING, 0, len(todo))
    # Threads, because reading mostly waits for disks, and a process would have to import the caller's script.
    with ThreadPoolExecutor() as pool:
        for read in pool.map(lambda chunk: [(number, _annotation(entries[number])) for number in chunk], chunks):
            for number, annotation in read:
                found[number] = annotation
            done += len(read)
            tell(READING, done, len(todo))
    return found


def _annotation(entry: SequenceFiles) -> Annotation | None:
    try:
        return entry.read()
    except DataError:
        # The error is not lost: it is raised again when this sequence is needed.
        return None


def _write(folder: Path, names: list[str], clips: list[str], found: list[Annotation | None], stamps: Stamps) -> None:
    tag = uuid4().hex[:16]
    readable = [each for each in found if each is not None]
    rows = [0 if each is None else len(each.boxes) for each in found]
    _save(folder / f"boxes-{tag}.npy", [each.boxes for each in readable], (sum(rows), 4), np.dtype("<f8"))
    _save(folder / f"visible-{tag}.npy", [each.visible for each in readable], (sum(rows),), np.dtype(np.bool_))
    _save(folder / f"stamps-{tag}.npy", [stamps], stamps.shape, np.dtype("<i8"))
    facts = [each and _facts(name, each) for name, each in zip(names, found, strict=True)]
    document = {"revision": REVISION, "tag": tag, "clips": clips, "rows": rows, "facts": facts}
    write_text(folder / "index.json", sealed(json.dumps(document)))


def _facts(name: str, found: Annotation) -> dict[str, Any]:
    return {
        "name": name,
        "digest": digest_of(name, found),
        "frames": None if found.frames is None else found.frames.ranges,
        "folder": found.folder,
        "attributes": sorted(found.attributes),
        "size": found.size,
    }


def _save(file: Path, parts: Sequence[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write one .npy file of arrays that follow each other, without a copy of all of them."""

    def write(opened: BinaryIO) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(opened, header)
        for part in parts:
            opened.write(np.ascontiguousarray(part, dtype=dtype).data)

    write_with(file, write)


def _tidy(folder: Path, index: Index, replaced: Index | None) -> None:
    """Remove the files of the replaced index and those that a stopped process left.

    New files stay, because another process may be about to name them in its index.
    """
    for file in folder.glob("*.npy*"):
        with suppress(OSError):  # another process may remove the same file
            is_old = file.stat().st_mtime < time.time() - LEFTOVER
            if index.tag not in file.name and (is_old or (replaced is not None and replaced.tag in file.name)):
                file.unlink()


def _load(folder: Path) -> Index | None:
    """Return the index in a folder; None unless it is complete and of this version."""
    try:
        content, is_sealed = unsealed(read_ordinary(folder / "index.json"))
        document = json.loads(content)
        if not is_sealed or document["revision"] != REVISION:
            return None
        tag, clips, rows, facts = (document[key] for key in ("tag", "clips", "rows", "facts"))
        boxes, visible, stamps = (
            np.load(folder / f"{kind}-{tag}.npy", mmap_mode="r" if sum(rows) else None, allow_pickle=False)
            for kind in ("boxes", "visible", "stamps")
        )
        starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
    except (OSError, EOFError, ValueError, TypeError, KeyError, RecursionError):
        return None
    whole = len(clips) == len(facts) == len(rows) == len(stamps)
    whole = whole and boxes.shape == (starts[-1], 4) and visible.shape == (starts[-1],)
    return Index(tag, clips, facts, starts, stamps, boxes, visible) if whole else None
