"""Annotations, attributes and thumbnails of a protocol's sequences, kept in the store for reports."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from trackablate.datasets.atomic import UNREADABLE, open_arrays, write_arrays
from trackablate.datasets.protocols import Protocol, SequenceList
from trackablate.datasets.reading.frames import jpeg
from trackablate.datasets.sequence import Image, Sequence
from trackablate.harness.documents import left_out, write_document
from trackablate.harness.record import SHARED, ProtocolRecord, SequenceRecord
from trackablate.harness.store import PROTOCOL, STRIPS, outdated, protocol_is_whole

ON_SERVER = (
    "its true boxes are on the evaluation server; `python -m harness submit RUN --protocol {0}` makes its archive, `returned"
    " RUN METRIC=PERCENT ... --protocol {0}` keeps what it says"
)
"""Message instead of a score; takes the protocol's name."""
FEWEST_FRAMES, MOST_FRAMES = 6, 24
"""Least and largest number of thumbnails of a sequence."""
THUMBNAILS = 4000
"""Number of thumbnails of a protocol, about: with some 4 kB each, 16 MB. A protocol of 700 sequences keeps 6 of each."""
STRIP_WIDTH = 160


def keep_protocol(folder: Path, protocol: Protocol, sequences: SequenceList) -> None:
    """Write the record and the thumbnails of a protocol, unless they are there and whole, by its present rules."""
    if protocol_is_whole(folder):
        if now := outdated(folder):
            write_document(folder / PROTOCOL, now)
        return
    records, strips = [], {}
    number = max(FEWEST_FRAMES, min(MOST_FRAMES, THUMBNAILS // max(1, len(sequences))))
    for i in range(len(sequences)):
        sequence = sequences[i]
        record, thumbnails = _recorded(sequence, number)
        records.append(record)
        strips.update({f"{sequence.name}:{frame}": thumbnail for frame, thumbnail in thumbnails.items()})
    write_arrays(folder / STRIPS, strips)
    shared = {field: getattr(protocol, field) for field in SHARED}
    kept = ProtocolRecord(**shared, digest=sequences.digest(), sequences=records)
    write_document(folder / PROTOCOL, kept)


def read_strip(folder: Path, sequence: SequenceRecord) -> tuple[bytes, ...]:
    """Return the JPEG thumbnails of a sequence, in the order of `sequence.strip`; none if their file is gone or damaged."""
    file = folder / STRIPS
    try:
        strips = _opened(file, file.stat().st_mtime_ns)
        return tuple(strips[f"{sequence.name}:{frame}"].tobytes() for frame in sequence.strip)
    except UNREADABLE:
        left_out(f"thumbnails, since {file} is not there or damaged: `run` makes it again")
        return ()


@lru_cache(maxsize=1)
def _opened(file: Path, changed: int) -> NpzFile:
    # The archive stays open: finding one thumbnail among thousands takes reading the archive's directory.
    return open_arrays(file)


def _recorded(sequence: Sequence, thumbnails: int) -> tuple[SequenceRecord, dict[int, NDArray[np.uint8]]]:
    indices = np.unique(np.linspace(0, len(sequence) - 1, thumbnails).round().astype(int)).tolist()
    images = {i: sequence.frames[i] for i in indices}
    height, width = images[0].shape[:2]
    scale = min(1.0, STRIP_WIDTH / width)
    record = SequenceRecord(
        name=sequence.name,
        frames=len(sequence),
        boxes=[(float(x), float(y), float(w), float(h)) for x, y, w, h in sequence.boxes],
        visible=[bool(v) for v in sequence.visible],
        size=(width, height),
        attributes=sorted(sequence.attributes),
        strip=indices,
        scale=scale,
    )
    return record, {i: _thumbnail(image, scale) for i, image in images.items()}


def _thumbnail(image: Image, scale: float) -> NDArray[np.uint8]:
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    return np.frombuffer(jpeg(np.asarray(small, dtype=np.uint8), quality=82), dtype=np.uint8)
