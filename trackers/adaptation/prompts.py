"""Deep visual prompts: trained tokens that join the others before every block (Jia et al. 2022; LoRAT's ablation)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from trackablate.trackers.adaptation.method import Method
from trackablate.trackers.spec import Prompts, TrackerSpec


class NoPrompts(nn.Module):
    """Stands in an encoder without prompts."""

    count = 0

    def forward(self, depth: int, tokens: Tensor) -> Tensor:
        """Return the tokens (B, N, D) as they are."""
        return tokens


class DeepPrompts(nn.Module):
    """`count` prompts for each block. The encoder drops them again after the block.

    Attributes:
        tokens: (blocks, count, D), started uniformly within the bounds of a Xavier-uniform patch embedding, as
            published.
    """

    def __init__(self, blocks: int, count: int, dim: int, patch: int) -> None:
        super().__init__()
        self.count = count
        self.tokens = nn.Parameter(torch.empty(blocks, count, dim))
        bound = math.sqrt(6 / (3 * patch**2 + dim))
        nn.init.uniform_(self.tokens, -bound, bound)

    def forward(self, depth: int, tokens: Tensor) -> Tensor:
        """Return the tokens (B, N, D) with the prompts of block `depth` in front: (B, count + N, D)."""
        return torch.cat([self.tokens[depth].expand(len(tokens), -1, -1), tokens], dim=1)


def _add(encoder: Any, spec: TrackerSpec) -> None:
    assert isinstance(spec.adaptation, Prompts)
    patch = encoder.project.kernel_size[0]
    encoder.prompts = DeepPrompts(len(list(encoder.blocks.children())), spec.adaptation.count, encoder.dim, patch)


PROMPTS = Method(_add, added=("encoder.prompts.*",))
