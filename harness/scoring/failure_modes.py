"""Failure modes: the kind of each failed frame, from the true and the predicted boxes.

A frame fails if its IoU is at most `FAILED_IOU`, the bound of SR0.5. An *episode* is a run of at least `EPISODE_FRAMES`
failed frames. Shorter runs are not failures, and their frames have no kind. Only counted frames are used, in which the
target is present and annotated; the others neither end nor lengthen a run. The first kind that fits is taken:

- `distractor`: no overlap, and the box seems to have *jumped* to another object. This is a suspicion, because only the
  target is annotated. A jump is a step of the box's centre between two frames that is longer than the box's size before
  it (the root of its area). The last jump must have landed off the target (no overlap in the first counted frame from
  then on), no other jump may follow within `SETTLED_FRAMES` frames, and the size of the box must be within a factor of
  `PLAUSIBLE_SIZE` of the true one.
- `lost`: no overlap for any other reason.
- `size`: some overlap; a box of the true size at the same centre would not have failed.
- `drifted`: some overlap; a box of the true size at the same centre would have failed too.

An episode has the kind of most of its frames; in a tie, the first kind in the order of `KINDS`. Counts do not depend on
the unit of length or the origin.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Floats, iou

Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

KINDS = ("lost", "drifted", "size", "distractor")
FAILED_IOU = 0.5
EPISODE_FRAMES = 5
SETTLED_FRAMES = 10
PLAUSIBLE_SIZE = 2.0
_LOST, _DRIFTED, _SIZE, _DISTRACTOR = range(4)


@dataclass(frozen=True)
class FailureCounts:
    """Failed frames and episodes of each kind, in the order of `KINDS`, and the number of counted frames."""

    frames: tuple[int, ...]
    episodes: tuple[int, ...]
    counted: int

    def as_array(self) -> Indices:
        """Return frames, episodes and counted as one array, (2 * len(KINDS) + 1,). Arrays may be added."""
        return np.array([*self.frames, *self.episodes, self.counted], dtype=np.int64)

    @classmethod
    def from_array(cls, array: NDArray[np.integer]) -> Self:
        """Return the counts of an array from `as_array`. Raises ValueError for another shape."""
        if array.shape != (2 * len(KINDS) + 1,):
            raise ValueError(f"failure counts are {2 * len(KINDS) + 1} numbers, got shape {array.shape}")
        numbers = [int(number) for number in array]
        return cls(tuple(numbers[: len(KINDS)]), tuple(numbers[len(KINDS) : -1]), numbers[-1])

    @classmethod
    def total(cls, counts: Iterable[Self]) -> Self:
        """Return the sum of counts; all zero for none."""
        return cls.from_array(sum((each.as_array() for each in counts), np.zeros(2 * len(KINDS) + 1, dtype=np.int64)))


def failures(prediction: Floats, truth: Floats, counted: Flags) -> FailureCounts:
    """Return the failures of one sequence from its boxes (N, 4), x, y, w, h. A predicted box without area overlaps nothing.

    `counted` (N,) is True for frames in which the target is present and its box valid. Raises ValueError if the lengths
    differ, or a predicted number is not finite.
    """
    if not len(prediction) == len(truth) == len(counted):
        raise ValueError(f"{len(prediction)} predicted boxes for {len(truth)} true ones and {len(counted)} flags")
    if not np.isfinite(prediction).all():
        raise ValueError(f"predicted box {int(np.argmin(np.isfinite(prediction).all(axis=1)))} is not finite")
    at = np.flatnonzero(counted)
    overlaps = iou(prediction[at], truth[at])
    starts, lengths = runs(overlaps <= FAILED_IOU)
    long = lengths >= EPISODE_FRAMES
    starts, lengths = starts[long], lengths[long]
    failed = np.repeat(starts + lengths - lengths.cumsum(), lengths) + np.arange(lengths.sum(), dtype=np.int64)
    if not len(failed):
        return FailureCounts((0,) * len(KINDS), (0,) * len(KINDS), len(at))
    kinds = _kinds(prediction, truth, at, overlaps, failed)
    owners = np.repeat(np.arange(len(starts)), lengths)
    frames = np.bincount(owners * len(KINDS) + kinds, minlength=len(starts) * len(KINDS)).reshape(-1, len(KINDS))
    episodes = np.bincount(frames.argmax(axis=1), minlength=len(KINDS))
    return FailureCounts(tuple(frames.sum(axis=0).tolist()), tuple(episodes.tolist()), len(at))


def runs(holds: Flags) -> tuple[Indices, Indices]:
    """Return the begin and the length of every unbroken run of True."""
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False))
    return edges[::2], edges[1::2] - edges[::2]


def _kinds(prediction: Floats, truth: Floats, at: Indices, overlaps: Floats, failed: Indices) -> Indices:
    """Return the kind of each failed frame, given as positions in the counted frames `at`, which have `overlaps`."""
    frames = at[failed]
    (px, py, pw, ph), (x, y, w, h) = prediction.T[:, frames], truth.T[:, frames]
    apart = overlaps[failed] <= 0
    area, predicted = w * h, pw * ph
    shared = _shared(px + pw / 2, x + w / 2, w) * _shared(py + ph / 2, y + h / 2, h)
    well_placed = shared > FAILED_IOU * (2 * area - shared)
    kinds = np.where(apart, _LOST, np.where(well_placed, _SIZE, _DRIFTED))
    plausible = (predicted <= PLAUSIBLE_SIZE**2 * area) & (area <= PLAUSIBLE_SIZE**2 * predicted)
    suspected = apart & plausible & (pw > 0)
    if suspected.any():
        kinds[suspected & _settled_off_target(prediction, at, overlaps)[frames]] = _DISTRACTOR
    return kinds


def _shared(centre: Floats, other: Floats, length: Floats) -> Floats:
    """Return the common length of two intervals of the same length."""
    return np.maximum(length - np.abs(centre - other), 0)


def _settled_off_target(prediction: Floats, at: Indices, overlaps: Floats) -> Flags:
    """Return (N,): whether the last jump landed off the target, and none follows within SETTLED_FRAMES frames."""
    x, y, w, h = prediction.T
    jumps = np.flatnonzero(np.diff(x + w / 2) ** 2 + np.diff(y + h / 2) ** 2 > (w * h)[:-1]) + 1
    landings = np.concatenate([[0], jumps])
    lengths = np.diff(landings, append=len(prediction))
    first = np.searchsorted(at, landings)  # the first counted frame from the landing on
    off = np.append(overlaps, 1.0)[first] <= 0
    off[0] = False  # frames before the first jump
    return np.repeat(off & (lengths >= SETTLED_FRAMES), lengths)
