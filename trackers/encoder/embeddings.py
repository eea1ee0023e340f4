"""The input embedding: where a token is and what it is (LoRAT, section 3.2; OSTrack, section 3.1)."""

import torch
from torch import Tensor, nn

from trackablate.trackers.encoder.backbones import resized, sine_cosine_positions
from trackablate.trackers.encoder.timm_vits import ViT
from trackablate.trackers.spec import InputEmbedding


class TokenEmbedding(nn.Module):
    """Adds positions and token types. grid: the pretrained positions (1, D, G, G), None for a backbone without a table.

    Its parameters are `search_positions` (1, Nx, D), `template_positions` (1, Nz, D) if positions are separate, and
    `token_types` (2 or 3, D) if there are any, with the rows template [background, foreground], search. Sinusoidal
    positions, and the zeros that replace a missing table, are buffers of the same names.
    """

    search_positions: Tensor
    template_positions: Tensor

    def __init__(
        self, spec: InputEmbedding, grid: Tensor | None, dim: int, template_side: int, search_side: int
    ) -> None:
        super().__init__()
        if grid is None and spec.trainable_positions:
            raise ValueError("this backbone has no absolute position table: there are no positions to train")
        self.spec, self.template_side, self.search_side = spec, template_side, search_side
        for name, side in (("search_positions", search_side), ("template_positions", template_side)):
            if grid is None or spec.positions == "sinusoidal":
                self.register_buffer(name, _fixed(spec, side, dim), persistent=False)
            elif name == "search_positions" or spec.positions == "separate":
                self.register_parameter(name, nn.Parameter(resized(grid, side)))
        if spec.token_types:
            self.token_types = nn.Parameter(torch.empty(spec.token_types, dim))
            nn.init.trunc_normal_(self.token_types, std=0.02)

    def forward(self, template: Tensor, search: Tensor, template_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return template tokens (B, Nz, D) and search tokens (B, Nx, D) with their embeddings added.

        template_mask: (B, Nz) bool, the tokens inside the target's box. Three token types need it.
        """
        template, search = template + self._template_table(), search + self.search_positions
        if self.spec.token_types:
            search = search + self.token_types[-1]
            template = template + self._template_types(template_mask)
        return template, search

    def _template_table(self) -> Tensor:
        if self.spec.positions != "shared":
            return self.template_positions
        grid = self.search_positions.transpose(1, 2).reshape(1, -1, self.search_side, self.search_side)
        side = self.template_side
        if self.spec.template_positions == "interpolate":
            return resized(grid, side)
        return grid[:, :, :side, :side].flatten(2).transpose(1, 2)

    def _template_types(self, mask: Tensor | None) -> Tensor:
        if self.spec.token_types == 2:
            return self.token_types[0]
        if mask is None:
            raise ValueError("foreground indication (3 token types) needs the template's mask")
        return self.token_types[mask.long()]


def _fixed(spec: InputEmbedding, side: int, dim: int) -> Tensor:
    return sine_cosine_positions(side, dim) if spec.positions == "sinusoidal" else torch.zeros(1, side * side, dim)


def unused_weights(vit: ViT) -> nn.ParameterDict:
    """Return copies of the backbone's class token and position table, as far as it has them, for `keep_unused`.

    Their gradient stays None, so an optimiser leaves them as they are.
    """
    stored = {"cls_token": vit.cls_token, "pos_embed": vit.pos_embed}
    return nn.ParameterDict({name: value.detach().clone() for name, value in stored.items() if value is not None})
