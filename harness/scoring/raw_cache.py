"""Tallies of raw results, kept per tracker, so that scoring again by other rules or beside other trackers reads no boxes.

An entry is valid as long as the stamps of the annotation and of the result file are those it was made from.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.atomic import write_bytes
from trackablate.harness.scoring.failure_modes import FailureCounts
from trackablate.harness.scoring.threshold_counts import TREATMENTS, Measured, Tally, Treated

FAILURES = "failures"
_TABLES = ("above", "from_", "within", "within_rounded", "norm_within", "norm_broad_within")
_KINDS: tuple[Treated, ...] = ("plain", *TREATMENTS)


@dataclass(frozen=True, eq=False)
class ScoredSequence:
    """One sequence of one tracker.

    Attributes:
        stamp: Stamp of the files that it was made from.
        frames: Number of annotated frames.
        made: The treatments of boxes that were asked for, and FAILURES; without FAILURES the failures are zeros.
    """

    stamp: str
    frames: int
    attributes: frozenset[str]
    made: frozenset[str]
    tally: Tally
    failures: FailureCounts


def read_cache(file: Path) -> dict[str, ScoredSequence]:
    """Return the kept sequences by name, none if the file is absent or damaged."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            return _unpacked({key: kept[key] for key in kept.files})
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error):
        return {}


def write_cache(file: Path, sequences: Mapping[str, ScoredSequence]) -> None:
    """Replace the kept sequences."""
    buffer = io.BytesIO()
    np.savez(buffer, **_packed(sequences))  # type: ignore[arg-type]
    write_bytes(file, buffer.getvalue())


def _packed(sequences: Mapping[str, ScoredSequence]) -> dict[str, NDArray[np.generic]]:
    found = list(sequences.values())
    packed: dict[str, NDArray[np.generic]] = {
        "names": np.array(list(sequences), dtype=np.str_),
        "stamps": np.array([s.stamp for s in found], dtype=np.str_),
        "attributes": np.array([" ".join(sorted(s.attributes)) for s in found], dtype=np.str_),
        "made": np.array([" ".join(sorted(s.made)) for s in found], dtype=np.str_),
        "annotated": np.array([s.frames for s in found]),
        "lengths": np.array([len(s.tally.classes) for s in found]),
        "classes": np.concatenate([s.tally.classes for s in found]),
        "frames": np.concatenate([s.tally.frames for s in found]),
        "failures": np.array([s.failures.as_array() for s in found]),
    }
    for kind in _KINDS:
        having = [s.tally.measured.get(kind) for s in found]
        there = [m for m in having if m is not None]
        packed[f"{kind}:has"] = np.array([m is not None for m in having])
        if there:
            packed[f"{kind}:overlap"] = np.concatenate([m.overlap for m in there])
            packed[f"{kind}:counts"] = np.concatenate([np.stack([getattr(m, t) for t in _TABLES], 1) for m in there])
    return packed


def _unpacked(kept: Mapping[str, NDArray[np.generic]]) -> dict[str, ScoredSequence]:
    lengths = kept["lengths"].astype(np.int64)
    measured: list[dict[Treated, Measured]] = [{} for _ in lengths]
    for kind in _KINDS:
        owners = np.flatnonzero(kept[f"{kind}:has"])
        ends = lengths[owners].cumsum()
        for owner, start, end in zip(owners.tolist(), (ends - lengths[owners]).tolist(), ends.tolist(), strict=True):
            counts = kept[f"{kind}:counts"][start:end]
            overlap = np.asarray(kept[f"{kind}:overlap"][start:end], dtype=np.float64)
            above, from_, within, rounded, norm, broad = np.asarray(counts, dtype=np.int32).swapaxes(0, 1)
            measured[owner][kind] = Measured(above, from_, within, rounded, norm, broad, overlap)
    ends = lengths.cumsum()
    sequences = {}
    for index, (start, end) in enumerate(zip((ends - lengths).tolist(), ends.tolist(), strict=True)):
        tally = Tally(
            np.asarray(kept["classes"][start:end], dtype=np.uint8),
            np.asarray(kept["frames"][start:end], dtype=np.int32),
            measured[index],
        )
        sequences[str(kept["names"][index])] = ScoredSequence(
            stamp=str(kept["stamps"][index]),
            frames=int(kept["annotated"].astype(np.int64)[index]),
            attributes=frozenset(str(kept["attributes"][index]).split()),
            made=frozenset(str(kept["made"][index]).split()),
            tally=tally,
            failures=FailureCounts.from_array(np.asarray(kept["failures"][index], dtype=np.int64)),
        )
    return sequences
