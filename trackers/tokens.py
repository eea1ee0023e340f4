"""The values that pass between encoder, heads and box decoding.

Boxes are xyxy in units of the search crop's side, so that the crop is [0, 1] x [0, 1].
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class SearchTokens:
    """The search tokens that the encoder kept.

    Attributes:
        features: (B, N, D). If nothing was eliminated, N is grid * grid and the order is the raster order.
        index: (B, N) int64, each token's cell (row * grid + column) on the grid x grid map.
        grid: Side of the map.
    """

    features: Tensor
    index: Tensor
    grid: int

    def dense(self, values: Tensor | None = None) -> Tensor:
        """Return `values` (B, N, C), by default the features, laid out on the map: (B, C, grid, grid).

        Cells of removed tokens are zero, as OSTrack pads them before its convolutional head (section 3.2).
        """
        source = self.features if values is None else values
        batch, _, channels = source.shape
        dense = source.new_zeros((batch, self.grid * self.grid, channels))
        dense = dense.scatter(1, self.index[..., None].expand_as(source), source)
        return dense.transpose(1, 2).reshape(batch, channels, self.grid, self.grid)


class Prediction(NamedTuple):
    """Score (B, grid, grid) in [0, 1] and box (B, grid, grid, 4) xyxy of each cell. Without a box, the score is 0."""

    score_map: Tensor
    boxes: Tensor


class Head(Protocol):
    """The contract of a head module. Its output is read by the head alone."""

    def __call__(self, tokens: SearchTokens, truth: Tensor | None = None) -> Any:
        """Return the output for the tokens. truth: (B, 4), given in training; it may feed denoising queries."""

    def losses(self, output: Any, truth: Tensor) -> dict[str, Tensor]:
        """Return the named and weighted terms whose sum is minimised."""

    def predict(self, output: Any) -> Prediction:
        """Return the prediction of an output that was made without truth."""


def cell_centres(grid: int, device: torch.device | None = None) -> Tensor:
    """Return the centres of a grid x grid map's cells, (grid * grid, 2) as (x, y) in [0, 1], in raster order."""
    axis = (torch.arange(grid, device=device, dtype=torch.float32) + 0.5) / grid
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)
