"""What was read of a list's sequences, kept in a folder, so that opening it again reads no annotation and lists no frames.

A sequence is read again when a stamp of its files differs (size or time; in an archive size or CRC), so an index is never
stale and never has to be deleted. One that is damaged, or of another version, is made anew. Layout of the folder:
`index.json` names the other files, which are .npy arrays over all sequences together, mapped into memory.
"""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.atomic import write_bytes, write_with
from trackablate.datasets.benchmark import OnProgress
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.annotation import AnnotationSource, Record
from trackablate.datasets.reading.frame_names import FrameNames, Run
from trackablate.datasets.reading.layouts import Clip

REVISION = 2
"""Raise when a sequence that is read the same way gives another `Record`, or the files here another meaning."""
SETTLED = 2_000_000_000
"""Nanoseconds after which a file's time is believed: what changes twice within a clock's tick shows one time only."""
LEFTOVER = 3600
"""Seconds after which a file that the index does not name is left over."""
_UNSETTLED = -2
_CHUNK = 64

IndexEntry = tuple[AnnotationSource, Clip]
Stamps = NDArray[np.int64]
"""(sequences, files of each, 2); rows of fewer files are filled up with -3."""


@dataclass(frozen=True, eq=False)
class Index:
    """names: the sequences, in order; clips: how each was read, `_manner`; facts: for each what index.json says of it,
    None where it could not be read; starts: (n + 1,) where its rows begin in boxes (rows, 4) and visible (rows,).
    tag: part of its files' names.
    """

    tag: str
    names: list[str]
    clips: list[str]
    facts: list[dict[str, Any] | None]
    starts: NDArray[np.int64]
    stamps: Stamps
    boxes: NDArray[np.float64]
    visible: NDArray[np.bool_]

    def record(self, number: int) -> Record | None:
        """What was read of a sequence, None where that failed."""
        facts = self.facts[number]
        if facts is None:
            return None
        rows = slice(self.starts[number], self.starts[number + 1])
        return Record(
            boxes=np.array(self.boxes[rows]),
            visible=np.array(self.visible[rows]),
            frames=None if facts["frames"] is None else FrameNames(Run(*run) for run in facts["frames"]),
            folder=facts["folder"],
            attributes=frozenset(facts["attributes"]),
            size=tuple(facts["size"]) if facts["size"] else None,
        )

    def digest(self, number: int) -> str | None:
        """`digest_of` a sequence, None where it could not be read."""
        facts = self.facts[number]
        return None if facts is None else str(facts["digest"])


def digest_of(name: str, record: Record) -> str:
    """SHA-256 of what a sequence's scores depend on: its name, number of frames, boxes and visibility."""
    frames = len(record.boxes) if record.frames is None else len(record.frames)
    content = sha256(f"{name}\0{frames}\0{len(record.boxes)}\0".encode(errors="surrogateescape"))
    content.update(np.ascontiguousarray(record.boxes, dtype="<f8").tobytes())
    content.update(np.ascontiguousarray(record.visible, dtype=np.uint8).tobytes())
    return content.hexdigest()


def open_index(folder: Path, entries: Sequence[IndexEntry], progress: OnProgress) -> Index:
    """The index kept in a folder, after reading what is new or has changed, with several threads. Sequences that cannot
    be read stay out of it, to fail when they are asked for. Raises DataError where the folder cannot be written.
    """
    began = time.time_ns()
    stamps = _stamps(entries)
    kept = _load(folder)
    clips = [_manner(clip) for _, clip in entries]
    fresh = _unchanged(kept, clips, stamps)
    if kept is not None and kept.clips == clips and (fresh >= 0).all():
        return kept
    records = _read(entries, kept, fresh, progress)
    stamps[stamps[..., 1] > began - SETTLED] = _UNSETTLED
    try:
        _write(folder, entries, records, stamps)
    except OSError as error:
        raise DataError.at(
            folder, f"the index cannot be written ({error.strerror})", "make room, or it writable"
        ) from None
    written = _load(folder)
    if written is None:
        raise DataError.at(folder, "the index was replaced by another process meanwhile", "start again")
    _tidy(folder, written, kept)
    return written


def _stamps(entries: Sequence[IndexEntry]) -> Stamps:
    found = [source.stamps(clip) for source, clip in entries]
    widest = max((len(each) for each in found), default=0)
    if all(len(each) == widest for each in found):
        return np.array(found, dtype=np.int64).reshape(len(found), widest, 2)
    return np.array([each + [(-3, -3)] * (widest - len(each)) for each in found], dtype=np.int64)


def _manner(clip: Clip) -> str:
    """All that the data set's declaration says of a clip: its record depends on it."""
    more = sorted(clip.fields.items()), sorted(clip.attributes)
    return f"{clip.name}|{clip.first}|{clip.last}|{clip.skip}|{more}"


def _unchanged(kept: Index | None, clips: list[str], stamps: Stamps) -> NDArray[np.int64]:
    """For each clip its number in the kept index, -1 where it is not there, was not read, or has changed."""
    if kept is None or kept.stamps.shape[1:] != stamps.shape[1:]:
        return np.full(len(clips), -1)
    at = {clip: number for number, clip in enumerate(kept.clips) if kept.facts[number] is not None}
    numbers = np.array([at.get(clip, -1) for clip in clips], dtype=np.int64)
    same = (kept.stamps[numbers] == stamps).all(axis=(1, 2))
    return np.where(same, numbers, -1)


def _read(
    entries: Sequence[IndexEntry], kept: Index | None, fresh: NDArray[np.int64], progress: OnProgress
) -> list[Record | None]:
    """All records; those that are fresh in the kept index from there, the others from their files."""
    todo = np.flatnonzero(fresh < 0).tolist()
    records = [kept.record(int(number)) if kept and number >= 0 else None for number in fresh]
    progress(0, len(todo))
    # Threads, not processes: reading waits for disks most of all, and a process would have to import the caller's script.
    with ThreadPoolExecutor() as pool:
        chunks = [todo[at : at + _CHUNK] for at in range(0, len(todo), _CHUNK)]
        done = 0
        for chunk, found in zip(chunks, pool.map(lambda c: [_record(entries[i]) for i in c], chunks), strict=True):
            for number, record in zip(chunk, found, strict=True):
                records[number] = record
            done += len(chunk)
            progress(done, len(todo))
    return records


def _record(entry: IndexEntry) -> Record | None:
    source, clip = entry
    try:
        return source.record(clip)
    except DataError:
        # Not lost: whoever asks for this sequence reads it again, and gets the error.
        return None


def _write(folder: Path, entries: Sequence[IndexEntry], records: list[Record | None], stamps: Stamps) -> None:
    names, clips = [clip.name for _, clip in entries], [_manner(clip) for _, clip in entries]
    folder.mkdir(parents=True, exist_ok=True)
    tag = uuid4().hex[:16]
    there = [record for record in records if record is not None]
    rows = [0 if record is None else len(record.boxes) for record in records]
    _save(folder / f"boxes-{tag}.npy", [record.boxes for record in there], (sum(rows), 4), np.dtype("<f8"))
    _save(folder / f"visible-{tag}.npy", [record.visible for record in there], (sum(rows),), np.dtype(np.bool_))
    _save(folder / f"stamps-{tag}.npy", [stamps], stamps.shape, np.dtype("<i8"))
    facts = [None if r is None else _facts(name, r) for name, r in zip(names, records, strict=True)]
    document = {"revision": REVISION, "tag": tag, "names": names, "clips": clips, "rows": rows, "facts": facts}
    write_bytes(folder / "index.json", json.dumps(document).encode())


def _tidy(folder: Path, index: Index, replaced: Index | None) -> None:
    """Remove the files of the index that was replaced, and of processes that came to nothing; not what is new, which
    another process may be about to name in its index.
    """
    for file in folder.glob("*.npy*"):
        with suppress(OSError):  # another process tidies up too
            is_old = file.stat().st_mtime < time.time() - LEFTOVER
            if index.tag not in file.name and (is_old or (replaced is not None and replaced.tag in file.name)):
                file.unlink()


def _facts(name: str, record: Record) -> dict[str, Any]:
    return {
        "digest": digest_of(name, record),
        "frames": None if record.frames is None else record.frames.runs,
        "folder": record.folder,
        "attributes": sorted(record.attributes),
        "size": record.size,
    }


def _save(file: Path, parts: Sequence[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """One .npy of arrays that follow each other, without a copy of them all."""

    def write(opened: BinaryIO) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(opened, header)
        for part in parts:
            opened.write(np.ascontiguousarray(part, dtype=dtype).data)

    write_with(file, write)


def _load(folder: Path) -> Index | None:
    """The index as kept, None where there is none that is whole and of this version."""
    try:
        document = json.loads((folder / "index.json").read_bytes())
        if document["revision"] != REVISION:
            return None
        tag, names, clips, rows, facts = (document[key] for key in ("tag", "names", "clips", "rows", "facts"))
        boxes, visible, stamps = (
            np.load(folder / f"{kind}-{tag}.npy", mmap_mode="r" if sum(rows) else None, allow_pickle=False)
            for kind in ("boxes", "visible", "stamps")
        )
        starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        return None
    total = int(starts[-1])
    whole = len(names) == len(clips) == len(facts) == len(rows) == len(stamps)
    whole = whole and boxes.shape == (total, 4) and visible.shape == (total,)
    return Index(tag, names, clips, facts, starts, stamps, boxes, visible) if whole else None
