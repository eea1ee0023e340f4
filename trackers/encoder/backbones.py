"""Plain vision transformers from timm by name, with shipped weights, timm's weights or those of a file."""

import logging
from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import Registry
from trackablate.trackers.checkpoints.state_keys import check_entries
from trackablate.trackers.encoder.pretrained import FILES, MINI_DEPTH, weights_digest
from trackablate.trackers.encoder.timm_vits import ViT, timm_vit
from trackablate.trackers.encoder.weight_files import read_weights

TIMM_PREFIX, FILE_PREFIX = "timm/", "file:"


def _mini(depth: int = MINI_DEPTH) -> VisionTransformer:
    """Return the embedded ViT with `depth` blocks, started as MAE's (He et al. 2022, appendix A.1).

    That start is Xavier-uniform layers and sine-cosine positions. timm's own start, a normal with std 0.02 everywhere,
    is made for widths near 768; at 128 it leaves attention uniform and positions invisible for hundreds of steps.
    """
    vit = VisionTransformer(
        img_size=64,
        patch_size=8,
        embed_dim=128,
        depth=depth,
        num_heads=4,
        class_token=False,
        global_pool="",
        num_classes=0,
        weight_init="moco",
    )
    vit.pos_embed = nn.Parameter(sine_cosine_positions(side=8, dim=128))
    return vit


def sine_cosine_positions(side: int, dim: int) -> Tensor:
    """Return two-dimensional sine-cosine positions of a side x side grid: (1, side * side, dim).

    A quarter of the channels each holds the sine of x, the cosine of x, the sine of y and the cosine of y.
    """
    if dim % 4:
        raise ValueError(f"sine-cosine positions need a width that is a multiple of 4, got {dim}")
    frequency = 1 / 10_000 ** (torch.arange(dim // 4) / (dim / 4))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in (x, y)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)[None]


TIMM_NAMES = {
    "vit-b16": "vit_base_patch16_224.mae",
    "dinov2-s": "vit_small_patch14_dinov2.lvd142m",
    "dinov2-b": "vit_base_patch14_dinov2.lvd142m",
    "dinov2-l": "vit_large_patch14_dinov2.lvd142m",
    "dinov2-g": "vit_giant_patch14_dinov2.lvd142m",
}
"""The published trackers' backbones: MAE for OSTrack, DINOv2 without registers at patch 14 for LoRAT."""

BACKBONES: Registry[Callable[[], ViT]] = Registry("backbone")
BACKBONES.add("vit-mini", _mini)
for _depth in range(1, MINI_DEPTH):
    BACKBONES.add(f"vit-mini-{_depth}", partial(_mini, _depth))
for _name, _timm_name in TIMM_NAMES.items():
    BACKBONES.add(_name, partial(timm_vit, _timm_name))


def make_backbone(name: str, pretrained: str = "none") -> ViT:
    """Return the backbone of that name ("timm/NAME" for any of timm's) with weights as in `TrackerSpec.pretrained`.

    Raises:
        UnknownName: The backbone is unknown.
        ValueError: timm's model cannot be run here.
        DataError: The weights are missing, cannot be fetched or do not fit.
    """
    if pretrained == "timm":
        return _from_timm(name)
    vit = timm_vit(name.removeprefix(TIMM_PREFIX)) if name.startswith(TIMM_PREFIX) else BACKBONES[name]()
    if pretrained.startswith(FILE_PREFIX):
        load_pretrained(vit, Path(pretrained.removeprefix(FILE_PREFIX)))
    elif pretrained == "shipped" and weights_digest(name) is not None:
        load_pretrained(vit, FILES[name], first_blocks=True)
    return vit


def _from_timm(name: str) -> ViT:
    timm_name = TIMM_NAMES.get(name, name.removeprefix(TIMM_PREFIX))
    if timm_name == name:
        raise DataError(
            f"pretrained 'timm': {name!r} is not one of timm's models; use 'shipped', 'none' or 'file:PATH'"
        )
    try:
        return timm_vit(timm_name, pretrained=True)
    except (OSError, RuntimeError) as error:  # raised by timm, its hub client and torch.hub without a network
        raise DataError(
            f"timm's weights for {timm_name!r} cannot be fetched ({type(error).__name__}: {error}). "
            "Fetch them on a machine with network access, or give a file with pretrained 'file:PATH'"
        ) from error


def load_pretrained(vit: nn.Module, file: Path, *, first_blocks: bool = False) -> None:
    """Load a backbone's weights from a file (see `read_weights`) under timm's names or those of its own project.

    Entries beside the backbone (MAE's decoder, DINOv2's mask_token) are named in a warning and left. first_blocks takes
    only the first blocks of a file that has more blocks than the backbone. Raises DataError for a file that is missing,
    damaged or does not fit.
    """
    state = _under_timms_names(read_weights(file), vit)
    shapes = {name: tuple(value.shape) for name, value in vit.state_dict().items()}
    if first_blocks:
        state = {name: value for name, value in state.items() if not name.startswith("blocks.") or name in shapes}
    parts = {name.partition(".")[0] for name in shapes} | {"register_tokens"}  # a model needs those it was trained with
    if unused := [name for name in state if name.partition(".")[0] not in parts]:
        logging.getLogger(__name__).warning("%s: not used and left: %s", file.name, ", ".join(unused))
    used = {name: value for name, value in state.items() if name not in unused}
    check_entries(used, shapes, f"{file} (timm's names)")
    vit.load_state_dict(used)


GATED_NAMES = {".mlp.w12.": ".mlp.fc1.", ".mlp.w3.": ".mlp.fc2."}
"""Names of the gated MLP of DINOv2's giant to timm's."""
SCALED = {"gamma_1": "attn.proj", "gamma_2": "mlp.fc2"}
"""BEiT's names of a block's layer scales to the layers whose output they scale."""


def _under_timms_names(state: dict[str, Tensor], vit: nn.Module) -> dict[str, Tensor]:
    """Return a published backbone's state dict under timm's names for a VisionTransformer.

    CAE's pretraining keeps the backbone under `encoder.`, beside decoder and teacher. It has BEiT's layout: queries and
    values have a bias and keys none, and layer scales are bare parameters, which are folded into the layers that they
    scale. The model computes the same.
    """
    if not isinstance(vit, VisionTransformer):
        return state
    if any(name.startswith("encoder.blocks.") for name in state):
        state = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    state = {reduce(lambda n, pair: n.replace(*pair), GATED_NAMES.items(), n): value for n, value in state.items()}
    for name in [name for name in state if name.endswith(".attn.q_bias") and f"{name[:-6]}v_bias" in state]:
        layer, query = name.removesuffix("q_bias"), state.pop(name)
        state[f"{layer}qkv.bias"] = torch.cat([query, torch.zeros_like(query), state.pop(f"{layer}v_bias")])
    for name in [name for name in state if name.rpartition(".")[2] in SCALED]:
        block, _, scale = name.rpartition(".")
        layer, gamma = f"{block}.{SCALED[scale]}", state.pop(name)
        state[f"{layer}.weight"] = gamma[:, None] * state[f"{layer}.weight"]
        state[f"{layer}.bias"] = gamma * state[f"{layer}.bias"]
    return state


def position_grid(vit: ViT) -> Tensor | None:
    """Return the pretrained positions without prefix tokens as a grid (1, D, G, G), or None without a table."""
    if vit.pos_embed is None:
        return None
    positions: Tensor = vit.pos_embed.detach()[:, -vit.patch_embed.num_patches :]
    side = round(positions.shape[1] ** 0.5)
    return positions.transpose(1, 2).reshape(1, -1, side, side)


def resized(grid: Tensor, side: int) -> Tensor:
    """Return a position grid (1, D, G, G) resized by bicubic interpolation (OSTrack, LoRAT): (1, side * side, D)."""
    if grid.shape[-1] != side:
        grid = torch.nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2).contiguous()


def learning_rate_scale(name: str, depth: int, decay: float) -> float:
    """Return the share of the learning rate that the parameter `name` gets under layer-wise decay.

    With `depth` blocks, block i (0-based) gets decay ** (depth - i) and the patch embedding decay ** (depth + 1).
    Positions, token types, final norm and head get all of it. LoRAT's full fine-tuning baselines use decay 0.7 for B,
    0.8 for L and 0.9 for g.
    """
    if name.startswith("encoder.project."):
        return decay ** (depth + 1)
    if name.startswith("encoder.blocks."):
        return decay ** (depth - int(name.split(".")[2]))
    return 1.0
