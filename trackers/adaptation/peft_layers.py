"""How peft's layers get into the encoder's blocks, and how they are folded into the plain layers again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trackablate.trackers.encoder.blocks import SplitQKV
from trackablate.trackers.encoder.low_rank import LowRankLinear


def layer_names(targets: tuple[str, ...]) -> list[str]:
    """Return the targets' names in timm's modules. A gated MLP may keep its first layer in two parts."""
    return [*targets, *(("fc1_g", "fc1_x") if "fc1" in targets else ())]


def inject(config: Any, encoder: Any) -> None:
    """Let peft wrap the layers that the configuration names, in place, with q, k and v as separate layers."""
    from peft import inject_adapter_in_model  # importing peft takes seconds

    for block in encoder.blocks.children():
        if not isinstance(block.attn.qkv, SplitQKV):
            block.attn.qkv = SplitQKV.of(block.attn.qkv)
    inject_adapter_in_model(config, encoder.blocks)


@torch.no_grad()
def fold(model: nn.Module) -> None:
    """Replace every adapted layer by the plain layer that computes the same, in place."""
    _replace(model, LowRankLinear, LowRankLinear.merged)
    if not any(".base_layer." in name for name, _ in model.named_parameters()):  # peft's name for a wrapped layer
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    _replace(model, BaseTunerLayer, _merged)


def _replace(model: nn.Module, kind: type[Any], plain: Callable[[Any], nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, plain(child))


def _merged(layer: Any) -> nn.Module:
    # a safe merge refuses NaN, for which it needs values: meta tensors have none
    layer.merge(safe_merge=not layer.get_base_layer().weight.is_meta)
    base: nn.Module = layer.get_base_layer()
    return base
