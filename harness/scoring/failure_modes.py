"""How a tracker fails: every frame of a failure is of one kind, told from the target's annotation and the predicted boxes.

A frame fails where the IoU is at most `FAILED_IOU`, the bound of SR0.5. An *episode* is a run of at least `EPISODE_FRAMES`
failed frames; shorter dips are no failure, and their frames are of no kind. Only counted frames are looked at (the target
is there and annotated): frames without the target neither end nor lengthen a run. The kinds, first match:

- `distractor`: no overlap, and the box sits on something else that it *jumped* to. **A suspicion**: only the target is
  annotated, so what the box sits on is not known. A jump is a step of the box's centre, from one frame to the next, of
  more than its size before the step (the root of its area). The frame is suspected where the last jump before it landed
  off the target (no overlap in the first counted frame from there on), no other jump follows for `SETTLED_FRAMES`
  frames from the landing, and the box's size is plausible: at most `PLAUSIBLE_SIZE` times the true one, and at least its
  inverse.
- `lost`: no overlap for any other reason: slid off, jumped about, no box at all.
- `size`: some overlap, and the size is to blame: a box of the true size at the same centre would not have failed.
- `drifted`: some overlap, and the place is to blame: it would have failed with the true size too.

An episode counts under the kind of most of its frames, the first in the order of `KINDS` where two have as many. Counts
do not depend on the unit of length or the origin.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import iou

Floats = NDArray[np.float64]
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
    """One sequence's failures, or the sum of several. frames, episodes: in the order of `KINDS`; counted: frames that
    were looked at.
    """

    frames: tuple[int, ...]
    episodes: tuple[int, ...]
    counted: int

    def as_array(self) -> Indices:
        """Shape (2 * len(KINDS) + 1,): frames, episodes, counted. Arrays add up as their counts do."""
        return np.array([*self.frames, *self.episodes, self.counted], dtype=np.int64)

    @classmethod
    def from_array(cls, array: NDArray[np.integer]) -> Self:
        """The counts of `as_array`. Raises ValueError for another shape."""
        if array.shape != (2 * len(KINDS) + 1,):
            raise ValueError(f"failure counts are {2 * len(KINDS) + 1} numbers, got shape {array.shape}")
        numbers = [int(number) for number in array]
        return cls(tuple(numbers[: len(KINDS)]), tuple(numbers[len(KINDS) : -1]), numbers[-1])

    @classmethod
    def total(cls, counts: Iterable[Self]) -> Self:
        """The sum over sequences; all zero for none."""
        arrays = [each.as_array() for each in counts]
        return cls.from_array(np.sum(arrays, axis=0) if arrays else np.zeros(2 * len(KINDS) + 1, dtype=np.int64))


def failures(prediction: Floats, truth: Floats, counted: Flags, overlap: Floats | None = None) -> FailureCounts:
    """The failures of one sequence. prediction, truth: (N, 4) boxes (x, y, w, h) in pixels; counted: (N,), True where the
    target is there and its box valid; overlap: (N,) IoU where the caller has it already (right at counted frames).

    A predicted box without area overlaps nothing. Raises ValueError where the lengths differ or a predicted number is not
    finite.
    """
    if not len(prediction) == len(truth) == len(counted):
        raise ValueError(f"{len(prediction)} predicted boxes for {len(truth)} true ones and {len(counted)} flags")
    if not np.isfinite(prediction).all():
        raise ValueError(f"predicted box {int(np.argmin(np.isfinite(prediction).all(axis=1)))} is not finite")
    at = np.flatnonzero(counted)
    overlaps = iou(prediction[at], truth[at]) if overlap is None else overlap[at]
    starts, ends = _episodes(overlaps <= FAILED_IOU)
    lengths = ends - starts
    failed = np.repeat(starts - (lengths.cumsum() - lengths), lengths) + np.arange(lengths.sum())
    if not len(failed):
        return FailureCounts((0,) * len(KINDS), (0,) * len(KINDS), len(at))
    kinds = _kinds(prediction, truth, at, overlaps, failed)
    owners = np.repeat(np.arange(len(starts)), lengths)
    frames = np.bincount(owners * len(KINDS) + kinds, minlength=len(starts) * len(KINDS)).reshape(-1, len(KINDS))
    episodes = np.bincount(frames.argmax(axis=1), minlength=len(KINDS))
    return FailureCounts(tuple(frames.sum(axis=0).tolist()), tuple(episodes.tolist()), len(at))


def _episodes(failed: Flags) -> tuple[Indices, Indices]:
    """Starts and ends of the runs that are long enough."""
    edges = np.flatnonzero(np.diff(failed, prepend=False, append=False))
    starts, ends = edges[0::2], edges[1::2]
    long = ends - starts >= EPISODE_FRAMES
    return starts[long], ends[long]


def _kinds(prediction: Floats, truth: Floats, at: Indices, overlaps: Floats, failed: Indices) -> Indices:
    """The kind of each failed frame. at: the counted frames; overlaps: theirs; failed: positions in `at`."""
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
    """The length that two intervals of the same length share."""
    return np.maximum(length - np.abs(centre - other), 0)


def _settled_off_target(prediction: Floats, at: Indices, overlaps: Floats) -> Flags:
    """(N,): whether the last jump landed off the target, with no other for SETTLED_FRAMES frames."""
    x, y, w, h = prediction.T
    jumps = np.flatnonzero(np.diff(x + w / 2) ** 2 + np.diff(y + h / 2) ** 2 > (w * h)[:-1]) + 1
    landings = np.concatenate([[0], jumps])
    lengths = np.diff(landings, append=len(prediction))
    first = np.searchsorted(at, landings)  # the first counted frame from the landing on
    off = np.append(overlaps, 1.0)[first] <= 0
    off[0] = False  # what comes before the first jump was not jumped to
    return np.repeat(off & (lengths >= SETTLED_FRAMES), lengths)
