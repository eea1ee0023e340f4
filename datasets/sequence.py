"""The noun that all other modules use: one video with one target."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB, shape (height, width, 3), uint8."""


@runtime_checkable
class Frames(Protocol):
    """Lazy frames: their number is known without decoding; each access gives one decoded RGB image."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Image: ...


class FrameFiles(NamedTuple):
    """The image files of a sequence, by which replaced images are noticed without reading them.

    Attributes:
        names: Digest of their names, in order.
        sizes: (N,) uint32, bytes of each file.
        times: (N,) uint32, seconds of each file's last writing; its CRC in an archive.
    """

    names: str
    sizes: NDArray[np.uint32]
    times: NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Sequence:
    """A video and its annotation.

    Attributes:
        boxes: (N, 4) float64, (x, y, w, h) in pixels, 0-based; NaN for frames without an annotated box. N is
            len(frames), or 1 for videos of a test server.
        visible: (N,) bool, False if the data set says that the target is absent or fully hidden.
        attributes: Short names of the benchmark's attributes that apply.
        size: (width, height) of the frames; None if only decoding a frame would tell.
    """

    name: str
    frames: Frames
    boxes: NDArray[np.float64]
    visible: NDArray[np.bool_]
    attributes: frozenset[str] = field(default_factory=frozenset)
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.boxes.shape[0] != len(self.visible):
            raise ValueError(
                f"{self.name}: boxes must be (N, 4) and visible (N,), got {self.boxes.shape} and {self.visible.shape}"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Image]:
        return (self.frames[i] for i in range(len(self.frames)))
