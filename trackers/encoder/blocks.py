"""A transformer block over [template tokens | search tokens].

timm's modules hold the parameters. The order of the computation is written here, because a tracker needs three things
that timm's blocks do not offer: template queries that do not see the search region (mixed attention), blocks that skip
queries whose result nothing reads (the template's in the last block), and drop path that leaves whole examples out.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import DropPath, LayerScale, Mlp, apply_rot_embed_cat
from torch import Tensor, nn

from trackablate.trackers.encoder.low_rank import LowRankLinear, low_rank_outputs

SUBSET_ABOVE = 0.1
"""Above this rate, drop path does not compute the dropped examples at all (DINOv2, LoRAT)."""


class TokenLayout(NamedTuple):
    """The order of the N tokens of a sequence.

    Attributes:
        prompts: Number of prompts, which come first and have no position.
        leading: Number of prompts and template tokens. The search tokens come after them.
        mixed: Whether the queries among the leading tokens see only the leading tokens.
        rotation: Rotary positions of all tokens but the prompts, (N - prompts, 2 * head width), or None.
    """

    prompts: int
    leading: int
    mixed: bool
    rotation: Tensor | None


class SplitQKV(nn.Module):
    """The query, key and value projections as three linear layers, each adapted separately (LoRAT, section 3.3)."""

    def __init__(self, q: nn.Linear, k: nn.Linear, v: nn.Linear) -> None:
        super().__init__()
        self.q, self.k, self.v = q, k, v

    @classmethod
    def of(cls, fused: nn.Linear) -> "SplitQKV":
        """Return the three parts of a fused projection, with copied parameters."""
        return cls(*(_rows(fused, part) for part in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, D) to (B, N, 3 D), in the order q, k, v."""
        low_rank = [part for part in (self.q, self.k, self.v) if isinstance(part, LowRankLinear)]
        if len(low_rank) == 3 and self.fusible:
            return low_rank_outputs(low_rank, x)
        return torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)

    @property
    def fusible(self) -> bool:
        """Tell whether one linear layer can hold the three: all have a bias or none has (EVA's keys have none)."""
        return len({_plain(part).bias is None for part in (self.q, self.k, self.v)}) == 1

    def fuse(self) -> nn.Linear:
        """Return one linear layer that computes the same."""
        parts: list[nn.Linear] = [self.q, self.k, self.v]
        first = parts[0]
        kind = {"device": first.weight.device, "dtype": first.weight.dtype}
        fused = nn.Linear(first.in_features, 3 * first.out_features, first.bias is not None, **kind)
        with torch.no_grad():
            fused.weight.copy_(torch.cat([p.weight for p in parts]))
            if first.bias is not None:
                fused.bias.copy_(torch.cat([p.bias for p in parts]))
        return fused


def _plain(layer: nn.Module) -> nn.Module:
    return layer.base_layer if isinstance(layer, LowRankLinear) else layer


def _rows(fused: nn.Linear, part: int) -> nn.Linear:
    size = fused.out_features // 3
    rows = slice(part * size, (part + 1) * size)
    linear = nn.Linear(fused.in_features, size, fused.bias is not None, fused.weight.device)
    with torch.no_grad():
        linear.weight.copy_(fused.weight[rows])
        if fused.bias is not None:
            linear.bias.copy_(fused.bias[rows])
    return linear


class SubsetDropPath(nn.Module):
    """Drop path over the batch: a random subset of fixed size goes through the branch, scaled up in return.

    Called on a result, it drops afterwards. `add` computes the kept examples only.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def kept(self, batch: int, device: torch.device) -> Tensor:
        """Return the indices of max(1, floor(batch * (1 - rate))) random examples, those kept in this step."""
        return torch.randperm(batch, device=device)[: max(1, int(batch * (1 - self.rate)))]

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, ...) with dropped examples set to zero and the others scaled up; in evaluation x itself."""
        if not self.training:
            return x
        kept = self.kept(len(x), x.device)
        return torch.zeros_like(x).index_add(0, kept, x[kept], alpha=len(x) / len(kept))

    def add(self, base: Tensor, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """Return base + self(branch(x)), with the branch computed for the kept examples alone."""
        kept = self.kept(len(x), x.device)
        return base.index_add(0, kept, branch(x[kept]).to(base.dtype), alpha=len(x) / len(kept))


def set_drop_path(blocks: nn.Module, last: float, depth: Literal["uniform", "linear"] = "uniform") -> None:
    """Give both branches of every block their drop path, in place. last: the rate of the last block.

    With depth `uniform` all blocks have that rate, above SUBSET_ABOVE with the kind that leaves examples out (LoRAT).
    With `linear` the rate rises from 0 in the first block, with the plain kind (OSTrack).
    """
    found = list(blocks.children())
    for index, block in enumerate(found):
        uniform = depth == "uniform"
        rate = last if uniform else last * (index / max(1, len(found) - 1))
        kind = SubsetDropPath if uniform and rate > SUBSET_ABOVE else DropPath
        for name in ("drop_path1", "drop_path2"):
            setattr(block, name, kind(rate) if rate else nn.Identity())


def run_block(block: Any, tokens: Tensor, layout: TokenLayout, first: int = 0) -> Tensor:
    """Return the block's output for the tokens from `first` on: (B, N - first, D). tokens: (B, N, D)."""

    def attention(x: Tensor) -> Tensor:
        return attend(block.attn, block.norm1(x), layout, first)

    tokens = _add(tokens[:, first:], tokens, attention, block.ls1, block.drop_path1)
    return feed_forward(block, tokens)


def feed_forward(block: Any, tokens: Tensor) -> Tensor:
    """Return the second half of a block, which works token by token."""
    return _add(tokens, tokens, lambda x: _mlp(block.mlp, block.norm2(x)), block.ls2, block.drop_path2)


def _mlp(mlp: Any, x: Tensor) -> Tensor:
    plain = type(mlp) is Mlp and type(mlp.act) is nn.GELU and isinstance(mlp.norm, nn.Identity)
    if plain and mlp.act.approximate == "none" and mlp.drop1.p == 0 and isinstance(mlp.fc2, LowRankLinear):
        return low_rank_outputs([mlp.fc2], mlp.fc1(x), gelu=True)
    result: Tensor = mlp(x)
    return result


def _add(base: Tensor, x: Tensor, branch: Callable[[Tensor], Tensor], scale: nn.Module, path: nn.Module) -> Tensor:
    """Return base + path(scale(branch(x))), scaled and summed in one pass over memory if nothing lies between them."""
    if isinstance(path, SubsetDropPath) and path.training:
        return path.add(base, x, lambda part: scale(branch(part)))
    if isinstance(path, nn.Identity) and isinstance(scale, LayerScale):
        return torch.addcmul(base, branch(x), scale.gamma)
    kept: Tensor = path(scale(branch(x)))
    return base + kept


def attend(attention: Any, x: Tensor, layout: TokenLayout, first: int = 0) -> Tensor:
    """Return self-attention of x (B, N, D) for the queries from `first` on: (B, N - first, D).

    `attention` has the attributes of timm's Attention.
    """
    q, k, v = queries_keys_values(attention, x, layout, first)
    blind = layout.leading - first if layout.mixed else 0
    if blind > 0:
        parts = (q[:, :, :blind], k[:, :, : layout.leading], v[:, :, : layout.leading]), (q[:, :, blind:], k, v)
        mixed = torch.cat([F.scaled_dot_product_attention(*part) for part in parts], dim=2)
    else:
        mixed = F.scaled_dot_product_attention(q, k, v)
    return project_out(attention, mixed, x[:, first:])


def project_out(attention: Any, mixed: Tensor, x: Tensor) -> Tensor:
    """Return attention's output (B, N, D) for its products `mixed` (B, heads, N, width). x: the queries' tokens."""
    mixed = attention.norm(mixed.transpose(1, 2).flatten(2))
    gate = getattr(attention, "gate", None)
    if gate is not None:
        mixed = mixed * gate(x).sigmoid()
    out: Tensor = attention.proj_drop(attention.proj(mixed))
    return out


def queries_keys_values(
    attention: Any, x: Tensor, layout: TokenLayout, first: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the queries from `first` on, and the keys and values of x (B, N, D), each (B, heads, tokens, width).

    They are normalised and rotated.
    """
    flat = _projected(attention.qkv, x, first)
    q, k, v = (part.reshape(*part.shape[:2], attention.num_heads, -1).transpose(1, 2) for part in flat)
    q, k = attention.q_norm(q), attention.k_norm(k)
    if layout.rotation is not None:
        q = _rotated(attention, q, layout, first)
        k = _rotated(attention, k, layout, 0)
    return q, k, v


def _projected(qkv: Any, x: Tensor, first: int) -> tuple[Tensor, ...]:
    if first == 0:
        fused: Tensor = qkv(x)
        return fused.chunk(3, dim=-1)
    if isinstance(qkv, SplitQKV):
        return qkv.q(x[:, first:]), qkv.k(x), qkv.v(x)
    width = qkv.out_features // 3
    weight, bias = qkv.weight.split([width, 2 * width]), (None, None)
    if qkv.bias is not None:
        bias = qkv.bias.split([width, 2 * width])
    return F.linear(x[:, first:], weight[0], bias[0]), *F.linear(x, weight[1], bias[1]).chunk(2, dim=-1)


def _rotated(attention: Any, x: Tensor, layout: TokenLayout, first: int) -> Tensor:
    """Rotate x (B, heads, n, width), the tokens from `first` on. Prompts have no position and are not rotated."""
    assert layout.rotation is not None
    still = max(0, layout.prompts - first)
    rotation = layout.rotation[max(0, first - layout.prompts) :]
    turned: Tensor = apply_rot_embed_cat(x[:, :, still:], rotation, half=attention.rotate_half)
    return torch.cat([x[:, :, :still], turned], dim=2).type_as(x)
