"""Tallies of raw results, kept per tracker, so that scoring again by other rules or beside other trackers reads no boxes.

An entry is valid as long as the stamps of the annotation and of the result file are those it was made from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.atomic import read_arrays, write_arrays
from trackablate.harness.scoring.failure_modes import FailureCounts
from trackablate.harness.scoring.threshold_counts import TREATMENTS, Measured, Tally, Treated

FAILURES = "failures"
_KINDS: tuple[Treated, ...] = ("plain", *TREATMENTS)


@dataclass(frozen=True, eq=False)
class ScoredSequence:
    """One sequence of one tracker.

    Attributes:
        stamp: Stamp of the files that it was made from.
        frames: Number of annotated frames.
        made: The treatments of boxes that were asked for, and FAILURES; without FAILURES the failures are zeros.
        remarks: What is odd about the file, though it is scored.
    """

    stamp: str
    frames: int
    attributes: frozenset[str]
    made: frozenset[str]
    tally: Tally
    failures: FailureCounts
    remarks: tuple[str, ...] = ()


def read_cache(file: Path) -> dict[str, ScoredSequence]:
    """Return the kept sequences by name, none if the file is absent or damaged."""
    kept = read_arrays(file)
    try:
        return _unpacked(kept) if kept else {}
    except (ValueError, LookupError, TypeError):
        return {}


def write_cache(file: Path, sequences: Mapping[str, ScoredSequence]) -> None:
    """Replace the kept sequences."""
    found = list(sequences.values())
    packed: dict[str, NDArray[np.generic]] = {
        "names": np.array(list(sequences), dtype=np.str_),
        "stamps": np.array([s.stamp for s in found], dtype=np.str_),
        "attributes": np.array([" ".join(sorted(s.attributes)) for s in found], dtype=np.str_),
        "made": np.array([" ".join(sorted(s.made)) for s in found], dtype=np.str_),
        "remarks": np.array(["\n".join(s.remarks) for s in found], dtype=np.str_),
        "annotated": np.array([s.frames for s in found]),
        "lengths": np.array([len(s.tally.classes) for s in found]),
        "classes": np.concatenate([s.tally.classes for s in found]),
        "rows": np.array([len(s.tally.codes) for s in found]),
        "codes": np.concatenate([s.tally.codes for s in found]),
        "overlaps": np.concatenate([s.tally.overlaps for s in found]),
        "frames": np.concatenate([s.tally.frames for s in found]),
        "failures": np.array([s.failures.as_array() for s in found]),
    }
    for kind in _KINDS:
        there = [s.tally.measured[kind] for s in found if kind in s.tally.measured]
        packed[f"{kind}:has"] = np.array([kind in s.tally.measured for s in found])
        if there:
            packed[f"{kind}:overlap"] = np.concatenate([m.overlap for m in there])
            packed[f"{kind}:counts"] = np.concatenate([np.stack(m[1:], 1) for m in there])
    write_arrays(file, packed)


def _unpacked(kept: Mapping[str, NDArray[Any]]) -> dict[str, ScoredSequence]:
    measured: list[dict[Treated, Measured]] = [{} for _ in kept["names"]]
    for kind in _KINDS:
        owners = np.flatnonzero(kept[f"{kind}:has"]).tolist()
        for owner, rows in zip(owners, _slices(kept["lengths"][owners]), strict=True):
            counts = kept[f"{kind}:counts"][rows].swapaxes(0, 1)
            measured[owner][kind] = Measured(kept[f"{kind}:overlap"][rows], *counts)
    return {
        str(kept["names"][index]): ScoredSequence(
            stamp=str(kept["stamps"][index]),
            frames=int(kept["annotated"][index]),
            attributes=frozenset(str(kept["attributes"][index]).split()),
            made=frozenset(str(kept["made"][index]).split()),
            tally=Tally(
                kept["classes"][rows],
                kept["frames"][rows],
                measured[index],
                kept["codes"][time],
                kept["overlaps"][time],
            ),
            failures=FailureCounts.from_array(kept["failures"][index]),
            remarks=tuple(str(kept["remarks"][index]).splitlines()),
        )
        for index, (rows, time) in enumerate(zip(_slices(kept["lengths"]), _slices(kept["rows"]), strict=True))
    }


def _slices(lengths: NDArray[np.int64]) -> list[slice]:
    """Return the rows of each of some parts that follow one another."""
    ends = lengths.cumsum()
    return [slice(start, end) for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]
