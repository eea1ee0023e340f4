"""Plain vision transformers from timm, by name: the same blocks at every size."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from datasets.registry import Registry


def _mini() -> VisionTransformer:
    return VisionTransformer(
        img_size=64,
        patch_size=8,
        embed_dim=128,
        depth=4,
        num_heads=4,
        class_token=False,
        global_pool="",
        num_classes=0,
    )


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
    table = table.detach()[:, -vit.patch_embed.num_patches :]
    side = round(table.shape[1] ** 0.5)
    return table.transpose(1, 2).reshape(1, -1, side, side)


def resized(grid: Tensor, side: int) -> Tensor:
    """A position grid (1, D, G, G) resized by plain bicubic interpolation (OSTrack and LoRAT): (1, side * side, D)."""
    if grid.shape[-1] != side:
        grid = torch.nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2).contiguous()
