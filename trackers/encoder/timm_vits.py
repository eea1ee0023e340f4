"""Which of timm's vision transformers the encoder can run, in one arrangement of modules.

timm's `VisionTransformer` keeps its own blocks. `Eva` (EVA-02, DINOv3, ViTs with rotary positions) computes the same
with other modules, so its blocks are rebuilt like those of VisionTransformer, around the same parameters.
"""

from typing import Any

import timm
import torch
from timm.layers import LayerScale, PatchEmbed, RotaryEmbeddingCat
from timm.layers.attention import Attention, AttentionRope
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from trackablate.trackers.encoder.blocks import SplitQKV

ViT = VisionTransformer | Eva


class PlainAttention(nn.Module):
    """Eva's attention with the attributes of timm's Attention, and split projections, because its keys have no bias."""

    def __init__(self, eva: Any) -> None:
        super().__init__()
        self.num_heads: int = eva.num_heads
        self.head_dim: int = eva.head_dim
        self.scale: float = eva.scale
        self.rotate_half: bool = eva.rotate_half
        self.qkv = _split(eva)
        self.q_norm, self.k_norm, self.norm = eva.q_norm, eva.k_norm, eva.norm
        self.gate: nn.Module | None = getattr(eva, "gate", None)
        self.proj, self.proj_drop = eva.proj, eva.proj_drop


class PlainBlock(nn.Module):
    """Eva's block with the attributes of timm's Block."""

    def __init__(self, eva: Any) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = eva.norm1, PlainAttention(eva.attn), _scale(eva.gamma_1)
        self.norm2, self.mlp, self.ls2 = eva.norm2, eva.mlp, _scale(eva.gamma_2)
        self.drop_path1, self.drop_path2 = nn.Identity(), nn.Identity()


def _split(eva: Any) -> SplitQKV:
    if eva.qkv is None:
        return SplitQKV(eva.q_proj, eva.k_proj, eva.v_proj)
    split = SplitQKV.of(eva.qkv)
    if getattr(eva, "q_bias", None) is not None:
        split.q.bias, split.v.bias = eva.q_bias, eva.v_bias
    return split


def _scale(gamma: nn.Parameter | None) -> nn.Module:
    if gamma is None:
        return nn.Identity()
    scale: nn.Module = LayerScale(gamma.numel())
    scale.register_parameter("gamma", gamma)
    return scale


def plain_blocks(vit: ViT) -> nn.Module:
    """Return the transformer blocks, all with the attributes of timm's Block."""
    blocks: nn.Module = vit.blocks
    if isinstance(vit, Eva):
        return nn.Sequential(*(PlainBlock(block) for block in blocks.children()))
    return blocks


def final_norm(vit: ViT) -> nn.Module:
    """Return the norm after the last block. Models that pool averages keep it elsewhere, after the pooling."""
    norm: nn.Module = vit.fc_norm if isinstance(vit.norm, nn.Identity) else vit.norm
    return norm


def rotations(vit: ViT, template_side: int, search_side: int, sliced: bool) -> Tensor | None:
    """Return rotary positions of [template | search] tokens, (Nz + Nx, 2 * head width), or None without any.

    The template's positions are those of its own grid or, if sliced, of the top left corner of the search grid.
    """
    rope: Any = getattr(vit, "rope", None)
    if rope is None:
        return None
    rope.eval()
    search: Tensor = rope.get_embed(shape=[search_side, search_side])
    template: Tensor = rope.get_embed(shape=[template_side, template_side])
    if sliced:
        grid = search.reshape(search_side, search_side, -1)
        template = grid[:template_side, :template_side].flatten(0, 1)
    return torch.cat([template, search]).detach()


def timm_vit(name: str, *, pretrained: bool = False) -> ViT:
    """Return timm's model of that name without its classifier. Raises ValueError if it does not exist or cannot run."""
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0]}*")[:5]
        raise ValueError(f"timm has no model {name!r}" + (f": did you mean {' or '.join(near)}?" if near else ""))
    # Eva's rotary positions are made for one image size unless told otherwise
    any_size: dict[str, Any] = (
        {"dynamic_img_size": True} if timm.model_entrypoint(name).__module__ == Eva.__module__ else {}
    )
    model = timm.create_model(name, pretrained=pretrained, num_classes=0, **any_size)
    reason = refusal(model)
    if reason:
        raise ValueError(f"timm's {name!r} cannot be a tracker's backbone: {reason}")
    assert isinstance(model, VisionTransformer | Eva)
    return model


def refusal(model: Any) -> str | None:
    """Return the reason why the encoder cannot run a timm model, or None if it can."""
    if type(model) not in (VisionTransformer, Eva):
        return f"a {type(model).__name__} is not a plain vision transformer"
    return next((reason for broken, reason in REFUSED if broken(model)), None)


def _blocks(model: Any) -> list[Any]:
    return list(model.blocks)


REFUSED: tuple[tuple[Any, str], ...] = (
    (lambda m: type(m.patch_embed) is not PatchEmbed, "its patches come from a hybrid stem, not from one convolution"),
    (lambda m: not isinstance(m.patch_embed.norm, nn.Identity), "it normalises its patches before positions are added"),
    (lambda m: len(set(m.patch_embed.patch_size)) > 1, "its patches are not square"),
    (lambda m: len(set(m.patch_embed.grid_size)) > 1, "its position grid is not square"),
    (lambda m: any(type(b) not in (Block, EvaBlock) for b in _blocks(m)), "its blocks are not pre-norm in sequence"),
    (
        lambda m: any(type(b.attn) not in (Attention, EvaAttention, AttentionRope) for b in _blocks(m)),
        "its attention is not plain self-attention",
    ),
    (
        lambda m: any(getattr(b.attn, "num_kv_groups", 1) > 1 for b in _blocks(m)),
        "its queries share keys and values in groups",
    ),
    (
        lambda m: type(getattr(m, "rope", None)) not in (type(None), RotaryEmbeddingCat, RotaryEmbeddingDinoV3),
        "its rotary positions differ from block to block or from axis to axis",
    ),
    (
        lambda m: m.pos_embed is None and getattr(m, "rope", None) is None,
        "it has neither a position table nor rotary positions",
    ),
)
"""Properties that a timm model must not have, each with the reason. Nowhere else is a model refused."""
