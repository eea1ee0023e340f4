"""What passes between encoder, heads and box decoding: three small values, tensors inside. Boxes here are xyxy in [0, 1]
of the search crop.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class SearchTokens:
    """The search tokens that the encoder kept.

    features: (B, N, D). index: (B, N) int64, each token's flat place (row * grid + column) on the grid x grid map.
    N is grid * grid where nothing was eliminated; the order is then the raster order.
    """

    features: Tensor
    index: Tensor
    grid: int

    def dense(self, values: Tensor | None = None, fill: float = 0.0) -> Tensor:
        """`values` (B, N, C), the features unless told, laid out on the map: (B, C, grid, grid), `fill` where removed.

        OSTrack pads removed tokens with zeros before its convolutional head (section 3.2).
        """
        source = self.features if values is None else values
        batch, _, channels = source.shape
        dense = source.new_full((batch, self.grid * self.grid, channels), fill)
        dense = dense.scatter(1, self.index[..., None].expand_as(source), source)
        return dense.transpose(1, 2).reshape(batch, channels, self.grid, self.grid)


class Prediction(NamedTuple):
    """score_map: (B, grid, grid) in [0, 1]; boxes: (B, grid, grid, 4) xyxy in units of the search crop's side, 0..1
    inside the crop. Cells without a prediction have score 0.
    """

    score_map: Tensor
    boxes: Tensor


class HeadOutput(Protocol):
    """What a head's forward returns: opaque to everything but the head itself."""


class Head(Protocol):
    """The contract of a head module. `truth` is (B, 4) xyxy in [0, 1]; given in training, it may feed denoising.

    losses returns the named, weighted terms whose sum is minimised; predict needs an output made without truth.
    """

    def __call__(self, tokens: SearchTokens, truth: Tensor | None = None) -> HeadOutput: ...

    def losses(self, output: HeadOutput, truth: Tensor) -> dict[str, Tensor]: ...

    def predict(self, output: HeadOutput) -> Prediction: ...


def cell_centres(grid: int, device: torch.device | None = None) -> Tensor:
    """Centres of a grid x grid map's cells, (grid * grid, 2) as (x, y) in [0, 1], raster order."""
    axis = (torch.arange(grid, device=device, dtype=torch.float32) + 0.5) / grid
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)
