"""A head of two linear layers per token for the score and two for the box."""

from typing import Any, Literal

from torch import nn

from trackablate.trackers.heads.mlp import TokenMLPHead
from trackablate.trackers.plugins import add_head
from trackablate.trackers.spec import HeadSpec, MLPHead, replace
from trackablate.trackers.variants import VARIANTS, ostrack_mlp


class TwoLinear(HeadSpec):
    kind: Literal["two-linear"] = "two-linear"
    width: int = 64


class TwoLinearHead(TokenMLPHead):
    def __init__(self, spec: TwoLinear, dim: int, grid: int, **axes: Any) -> None:
        super().__init__(MLPHead(layers=1), dim, grid, **axes)
        self.score = nn.Sequential(nn.Linear(dim, spec.width), nn.Linear(spec.width, 1))
        self.box = nn.Sequential(nn.Linear(dim, spec.width), nn.Linear(spec.width, 4))


add_head(TwoLinear, TwoLinearHead, labels=("iou-aware", "hard"))
VARIANTS.add("two-linear", replace(ostrack_mlp, name="two-linear", head=TwoLinear()))
