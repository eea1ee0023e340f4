"""The input embedding: where a token is (position) and what it is (type). LoRAT, section 3.2; OSTrack, section 3.1."""

import torch
from torch import Tensor, nn

from trackers.backbones import resized
from trackers.spec import InputEmbedding


class TokenEmbedding(nn.Module):
    """Adds positions and token types. grid: the pretrained positions (1, D, G, G); sides are in tokens.

    Parameters: `search_positions` (1, Nx, D); `template_positions` (1, Nz, D) where positions are separate; `token_types`
    (2 or 3, D) where there are any, rows: template [background, foreground], search.
    """

    def __init__(self, spec: InputEmbedding, grid: Tensor, template_side: int, search_side: int) -> None:
        super().__init__()
        self.spec, self.template_side, self.search_side = spec, template_side, search_side
        trainable = spec.trainable_positions
        self.search_positions = nn.Parameter(resized(grid, search_side), requires_grad=trainable)
        if spec.positions == "separate":
            self.template_positions = nn.Parameter(resized(grid, template_side), requires_grad=trainable)
        if spec.token_types:
            self.token_types = nn.Parameter(torch.empty(spec.token_types, grid.shape[1]))
            nn.init.trunc_normal_(self.token_types, std=0.02)

    def forward(self, template: Tensor, search: Tensor, template_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Patch tokens (B, Nz, D) and (B, Nx, D) with their embeddings added; template_mask: (B, Nz) bool, the tokens
        inside the target's box, needed where there are three token types."""
        template = template + self._template_positions()
        search = search + self.search_positions
        if self.spec.token_types:
            search = search + self.token_types[-1]
            template = template + self._template_types(template_mask)
        return template, search

    def _template_positions(self) -> Tensor:
        if self.spec.positions == "separate":
            return self.template_positions
        side = self.search_side
        grid = self.search_positions.transpose(1, 2).reshape(1, -1, side, side)
        if self.spec.template_positions == "slice":
            grid = grid[:, :, : self.template_side, : self.template_side]
        return resized(grid, self.template_side)

    def _template_types(self, mask: Tensor | None) -> Tensor:
        if self.spec.token_types == 2:
            return self.token_types[0]
        if mask is None:
            raise ValueError("foreground indication (3 token types) needs the template's mask")
        return self.token_types[mask.long()]
