"""The official code's golden vectors, and the inputs they were made from. The inputs are stated nowhere; these reproduce
every vector, which nothing else plausibly would."""

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from places import GOLDEN
from trackablate.trackers.tokens import cell_centres

GRID = 16
WIDTH, HEIGHT = 1280, 720


def golden(name: str, file: str = "models.json") -> Any:
    """One entry of a file in tests/golden, made by the official code."""
    return json.loads((GOLDEN / file).read_text(encoding="utf-8"))[name]


def state_shapes(form: str) -> dict[str, list[int]]:
    """The names and shapes of one form of an official state dict."""
    return {name: shape for name, (shape, _) in golden(form, "state_dict_keys.json").items()}


def counted_image(*, channels_first: bool) -> NDArray[np.uint8]:
    """720 x 1280 RGB: 0, 1, ..., 250, 0, 1, ... in memory order of (3, H, W) (LoRAT's crops) or of (H, W, 3) (OSTrack's)."""
    count = (np.arange(3 * HEIGHT * WIDTH) % 251).astype(np.uint8)
    if channels_first:
        return np.ascontiguousarray(count.reshape(3, HEIGHT, WIDTH).transpose(1, 2, 0))
    return count.reshape(HEIGHT, WIDTH, 3)


def lorat_logits() -> Tensor:
    """(2, 256): sin(0.37 n)."""
    return torch.sin(torch.arange(2 * GRID**2, dtype=torch.float32) * 0.37).view(2, GRID**2)


def lorat_boxes() -> Tensor:
    """(2, 256, 4) xyxy in [0, 1]: around each cell's centre by sigmoid(cos(0.11 n) - 1) of the crop's side each way."""
    raw = torch.cos(torch.arange(2 * GRID**2 * 4, dtype=torch.float32) * 0.11) - 1
    side = raw.sigmoid().view(2, GRID**2, 4)
    centre = cell_centres(GRID)
    return torch.cat([centre - side[..., :2], centre + side[..., 2:]], dim=-1)


LORAT_TRUTH = torch.tensor([[0.25, 0.25, 0.5, 0.75], [0.1, 0.3, 0.4, 0.5]])
"""(2, 4) xyxy in [0, 1], of the golden loss."""
