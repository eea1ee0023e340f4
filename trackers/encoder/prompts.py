"""Deep visual prompts: trained tokens that join the others before every block (Jia et al. 2022; LoRAT's ablation)."""

import math

import torch
from torch import Tensor, nn


class NoPrompts(nn.Module):
    """Tokens go into every block as they are."""

    count = 0

    def forward(self, depth: int, tokens: Tensor) -> Tensor:
        """The tokens (B, N, D) themselves."""
        return tokens


class DeepPrompts(nn.Module):
    """`count` prompts for each block, put in front; the encoder drops them again after the block.

    tokens: (blocks, count, D), started uniformly within the bounds of a Xavier-uniform patch embedding (as published).
    """

    def __init__(self, blocks: int, count: int, dim: int, patch: int) -> None:
        super().__init__()
        self.count = count
        self.tokens = nn.Parameter(torch.empty(blocks, count, dim))
        bound = math.sqrt(6 / (3 * patch**2 + dim))
        nn.init.uniform_(self.tokens, -bound, bound)

    def forward(self, depth: int, tokens: Tensor) -> Tensor:
        """The tokens (B, N, D) of block `depth` with its prompts in front: (B, count + N, D)."""
        return torch.cat([self.tokens[depth].expand(len(tokens), -1, -1), tokens], dim=1)
