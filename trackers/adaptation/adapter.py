"""Bottleneck adapters (LoRAT's ablation, after Houlsby et al. 2019)."""

from typing import Any

from torch import Tensor, nn

from trackablate.trackers.adaptation.method import Method
from trackablate.trackers.spec import Adapter, TrackerSpec


class Bottleneck(nn.Module):
    """A drop path, followed by two linear layers with GELU whose result is added.

    Started at zero, as published, only the upper layer's bias ever gets a gradient. Started as identity, the lower
    layer is drawn (std 0.02) and the upper one is zero, so that both learn.
    """

    def __init__(self, path: nn.Module, dim: int, spec: Adapter) -> None:
        super().__init__()
        self.path = path
        lower = nn.Linear(dim, spec.width)
        self.adapter = nn.Sequential(lower, nn.GELU(), nn.Linear(spec.width, dim))
        for parameter in self.adapter.parameters():
            nn.init.zeros_(parameter)
        if spec.init == "identity":
            nn.init.trunc_normal_(lower.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention branch's result x (B, N, D) with the adapter's correction."""
        x = self.path(x)
        corrected: Tensor = x + self.adapter(x)
        return corrected


def _add(encoder: Any, spec: TrackerSpec) -> None:
    assert isinstance(spec.adaptation, Adapter)
    for block in encoder.blocks.children():
        block.drop_path1 = Bottleneck(block.drop_path1, encoder.dim, spec.adaptation)


ADAPTER = Method(_add, added=("*.adapter.*",))
