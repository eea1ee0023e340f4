"""How the pretrained encoder is adapted: which parameters train, and what is added to it.

One entry per method in `ADAPT`; `TRAINABLE` says, as name patterns, exactly what moves, and a test holds it to that.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from trackers.spec import LoRA, TrackerSpec

FROM_SCRATCH = ("head.*", "encoder.embedding.token_types", "*.lora_A.*", "*.lora_B.*")
"""Parameters that start from scratch under every method: they get the recipe's learning rate for new parameters."""

POSITIONS = ("encoder.embedding.search_positions", "encoder.embedding.template_positions")

TRAINABLE: dict[str, tuple[str, ...]] = {
    "full": ("*",),
    "frozen": ("head.*", "encoder.embedding.token_types"),
    "lora": ("head.*", "encoder.embedding.token_types", "*.lora_A.*", "*.lora_B.*"),
}
"""Name patterns of the parameters that train, by adaptation. Positions additionally stay fixed where the input embedding
says so."""


class SplitQKV(nn.Module):
    """A fused qkv projection as three linear layers, so that each can be adapted for itself (LoRAT, section 3.3)."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        self.q, self.k, self.v = (_rows(fused, part) for part in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, N, 3 D), in the order q, k, v."""
        return torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)

    def fuse(self) -> nn.Linear:
        """The one linear layer that computes the same."""
        parts: list[nn.Linear] = [self.q, self.k, self.v]
        first = parts[0]
        fused = nn.Linear(first.in_features, 3 * first.out_features, first.bias is not None, first.weight.device)
        with torch.no_grad():
            fused.weight.copy_(torch.cat([p.weight for p in parts]))
            if first.bias is not None:
                fused.bias.copy_(torch.cat([p.bias for p in parts]))
        return fused


def _rows(fused: nn.Linear, part: int) -> nn.Linear:
    size = fused.out_features // 3
    rows = slice(part * size, (part + 1) * size)
    linear = nn.Linear(fused.in_features, size, fused.bias is not None, fused.weight.device)
    with torch.no_grad():
        linear.weight.copy_(fused.weight[rows])
        if fused.bias is not None:
            linear.bias.copy_(fused.bias[rows])
    return linear


def adapt(model: nn.Module, spec: TrackerSpec) -> None:
    """Add what the method adds to `model.encoder`, in place, and freeze everything that it does not train."""
    ADAPT[spec.adaptation.kind](model, spec)
    patterns = TRAINABLE[spec.adaptation.kind]
    for name, parameter in model.named_parameters():
        fixed = name in POSITIONS and not spec.embedding.trainable_positions
        parameter.requires_grad_(not fixed and any(fnmatchcase(name, pattern) for pattern in patterns))


def _nothing_added(model: nn.Module, spec: TrackerSpec) -> None:
    """Full fine-tuning and the frozen backbone add no module."""


def _add_lora(model: nn.Module, spec: TrackerSpec) -> None:
    from peft import LoraConfig, inject_adapter_in_model  # seconds to import: only what uses it pays

    assert isinstance(spec.adaptation, LoRA)
    blocks = model.get_submodule("encoder.blocks")
    for module in blocks.modules():
        if isinstance(module, Attention):
            setattr(module, "qkv", SplitQKV(module.qkv))  # noqa: B010, its type says Linear
    config = LoraConfig(
        r=spec.adaptation.rank, lora_alpha=spec.adaptation.alpha, target_modules=list(spec.adaptation.targets)
    )
    inject_adapter_in_model(config, blocks)
    if spec.adaptation.init == "lorat":
        for name, parameter in blocks.named_parameters():
            if ".lora_" in name:
                nn.init.trunc_normal_(parameter, std=0.02)


ADAPT: dict[str, Callable[[Any, TrackerSpec], None]] = {
    "full": _nothing_added,
    "frozen": _nothing_added,
    "lora": _add_lora,
}


def merge(model: nn.Module) -> nn.Module:
    """Fold LoRA into the linear layers it adapts and fuse q, k, v again, in place: the plain model that computes the
    same. A model without LoRA comes back as it is; so merging twice changes nothing the second time."""
    if any(".lora_" in name for name, _ in model.named_parameters()):
        _fold_lora(model)
    for module in model.modules():
        if isinstance(module, Attention) and isinstance(module.qkv, SplitQKV):
            module.qkv = module.qkv.fuse()
    return model


def _fold_lora(model: nn.Module) -> None:
    from peft.tuners.lora import LoraLayer

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())
