"""The record of a tracker's speed, and the ways in which its network is computed. Imports no torch."""

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

FAILED: Final = "eager, for it cannot be compiled"
Forward = Literal["eager", "compiled", "CUDA graph", "eager, for it cannot be compiled"]
"""How the network of a tracker is computed: as it is written, made by torch's compiler, or replayed on a GPU."""


class Speed(BaseModel):
    """Tracking speed at batch 1: crop, normalise, forward and decode, without decoding of the video.

    It is measured after warm-up, with the device synchronised, the rounds of all compared runs interleaved in one process.

    Attributes:
        fps: Median over the rounds; `low` and `high` are the slowest and the fastest round.
        latency: Median milliseconds of a frame; `latency95` is the 95th percentile over all frames.
        fps_from_jpeg: Frames per second from JPEG frames of 1280 x 720 pixels, which are decoded in time; one round.
        forward: How the network was computed, in float32; None for a tracker without a network of ours.
        measured_with: Names of the runs that were measured together.
        macs: Multiply-accumulates of one frame.
    """

    model_config = ConfigDict(extra="forbid")

    fps: float
    low: float
    high: float
    rounds: int
    frames_per_round: int
    device: str
    threads: int
    measured_with: list[str]
    macs: int | None = None
    latency: float | None = None
    latency95: float | None = None
    fps_from_jpeg: float | None = None
    forward: Forward | None = "eager"

    @property
    def session(self) -> str:
        """A digest of the runs that were measured together."""
        return sha256(repr(self.measured_with).encode()).hexdigest()[:12]


def last_measured_together(found: Iterable[Sequence[Speed]]) -> tuple[tuple[str, ...], int]:
    """Return the runs of the measurement that has the most of some trackers, and of how many it has a speed.

    Each tracker has its speeds, the last one first. The names are empty if there is none.
    """
    counts = Counter(tuple(speed.measured_with) for speeds in found for speed in speeds)
    return max(counts.items(), key=lambda item: item[1], default=((), 0))
