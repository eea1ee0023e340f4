"""Plain vision transformers from timm, by name: the same blocks at every size."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from datasets.registry import Registry


def _mini() -> VisionTransformer:
    """The embedded ViT, started as MAE's (He et al. 2022, appendix A.1): Xavier-uniform layers and sine-cosine positions.

    timm's own start, normal with std 0.02 everywhere, is made for widths near 768; at 128 it leaves attention uniform and
    positions invisible for hundreds of steps.
    """
    vit = VisionTransformer(
        img_size=64,
        patch_size=8,
        embed_dim=128,
        depth=4,
        num_heads=4,
        class_token=False,
        global_pool="",
        num_classes=0,
        weight_init="moco",
    )
    vit.pos_embed = nn.Parameter(sine_cosine_positions(side=8, dim=128))
    return vit


def sine_cosine_positions(side: int, dim: int) -> Tensor:
    """Two-dimensional sine-cosine positions of a side x side grid: (1, side * side, dim), a quarter of the channels each
    for the sine and cosine of x and of y. Raises ValueError where dim is no multiple of 4."""
    if dim % 4:
        raise ValueError(f"sine-cosine positions need a width that is a multiple of 4, got {dim}")
    frequency = 1 / 10_000 ** (torch.arange(dim // 4) / (dim / 4))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in (x, y)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)[None]


def _timm(name: str) -> VisionTransformer:
    model = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
    if not isinstance(model, VisionTransformer):
        raise TypeError(f"timm's {name!r} is a {type(model).__name__}, not a plain VisionTransformer")
    return model


BACKBONES: Registry[Callable[[], VisionTransformer]] = Registry("backbone")
BACKBONES.add("vit-mini", _mini)
BACKBONES.add("vit-b16", partial(_timm, "vit_base_patch16_224"))


def load_pretrained(vit: VisionTransformer, file: Path) -> None:
    """Load a backbone's shipped weights, every entry of them. Raises ValueError where the file does not fit."""
    state = load_file(file)
    missing, unexpected = vit.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(f"{file} is not a checkpoint of this backbone: missing {missing}, unexpected {unexpected}")


def position_grid(vit: VisionTransformer) -> Tensor:
    """The pretrained position table without prefix tokens, on its square grid: (1, D, G, G)."""
    table = vit.pos_embed
    if table is None:
        raise ValueError("this backbone has no absolute position table")
    positions = table.detach()[:, -vit.patch_embed.num_patches :]
    side = round(positions.shape[1] ** 0.5)
    return positions.transpose(1, 2).reshape(1, -1, side, side)


def resized(grid: Tensor, side: int) -> Tensor:
    """A position grid (1, D, G, G) resized by plain bicubic interpolation (OSTrack and LoRAT): (1, side * side, D)."""
    if grid.shape[-1] != side:
        grid = torch.nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2).contiguous()
