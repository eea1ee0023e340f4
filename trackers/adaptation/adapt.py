"""How the pretrained encoder is adapted: which parameters train, and what is added to it.

One entry per method in `METHODS`: what it adds, and as name patterns exactly what moves; a test holds it to that.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trackablate.trackers.encoder.blocks import SplitQKV
from trackablate.trackers.encoder.prompts import DeepPrompts
from trackablate.trackers.spec import Adapter, LoRA, Prompts, TrackerSpec

NEW = ("head.*", "encoder.embedding.token_types")
"""Parameters that no pretrained backbone has: they train under every method."""

POSITIONS = ("encoder.embedding.search_positions", "encoder.embedding.template_positions")

FINAL_NORM = ("encoder.norm.*",)


class Bottleneck(nn.Module):
    """A drop path, and on what it lets through a bottleneck of two linear layers with GELU, added (LoRAT's ablation, after
    Houlsby et al. 2019).

    Both start at zero as published: then only the upper bias ever gets a gradient, and after it nothing else does. Started
    as identity, the lower layer is drawn (std 0.02) and the upper one zero, so that both learn.
    """

    def __init__(self, path: nn.Module, dim: int, spec: Adapter) -> None:
        super().__init__()
        self.path = path
        lower = nn.Linear(dim, spec.width)
        self.adapter = nn.Sequential(lower, nn.GELU(), nn.Linear(spec.width, dim))
        for parameter in self.adapter.parameters():
            nn.init.zeros_(parameter)
        if spec.init == "identity":
            nn.init.trunc_normal_(lower.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """X (B, N, D), the attention branch's result, and the adapter's correction to it."""
        x = self.path(x)
        corrected: Tensor = x + self.adapter(x)
        return corrected


def _nothing(encoder: Any, spec: TrackerSpec) -> None:
    """Full fine-tuning, the frozen backbone and BitFit add no module."""


def _add_lora(encoder: Any, spec: TrackerSpec) -> None:
    from peft import LoraConfig  # seconds to import: only what uses it pays

    lora = spec.adaptation
    assert isinstance(lora, LoRA)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        init_lora_weights="gaussian" if lora.init == "gaussian" else True,
        target_modules=_layers(lora.targets),
    )
    _inject(config, encoder)
    if lora.init == "lorat":
        for name, parameter in encoder.blocks.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                nn.init.trunc_normal_(parameter, std=0.02)


def _add_ia3(encoder: Any, spec: TrackerSpec) -> None:
    from peft import IA3Config

    _inject(IA3Config(target_modules=_layers(("k", "v", "fc2")), feedforward_modules=["fc2"]), encoder)


def _layers(targets: tuple[str, ...]) -> list[str]:
    """The layers' names in timm's modules: a gated MLP may keep its first layer in two parts, adapted each for itself."""
    return [*targets, *(("fc1_g", "fc1_x") if "fc1" in targets else ())]


def _inject(config: Any, encoder: Any) -> None:
    """Let peft wrap the blocks' layers that the configuration names, q, k and v each for itself."""
    from peft import inject_adapter_in_model

    for block in encoder.blocks.children():
        if not isinstance(block.attn.qkv, SplitQKV):
            block.attn.qkv = SplitQKV.of(block.attn.qkv)
    inject_adapter_in_model(config, encoder.blocks)


def _add_bottlenecks(encoder: Any, spec: TrackerSpec) -> None:
    assert isinstance(spec.adaptation, Adapter)
    for block in encoder.blocks.children():
        block.drop_path1 = Bottleneck(block.drop_path1, encoder.dim, spec.adaptation)


def _add_prompts(encoder: Any, spec: TrackerSpec) -> None:
    assert isinstance(spec.adaptation, Prompts)
    patch = encoder.project.kernel_size[0]
    encoder.prompts = DeepPrompts(len(list(encoder.blocks.children())), spec.adaptation.count, encoder.dim, patch)


class Method(NamedTuple):
    """add(encoder, spec) puts modules into the encoder. Patterns of the names of what moves besides `NEW`: added, what the
    method puts in; freed, what the pretrained encoder had.
    """

    add: Callable[[Any, TrackerSpec], None]
    added: tuple[str, ...] = ()
    freed: tuple[str, ...] = ()


METHODS: dict[str, Method] = {
    "full": Method(_nothing, freed=("encoder.*",)),
    "frozen": Method(_nothing),
    "lora": Method(_add_lora, added=("*.lora_*",)),
    "adapter": Method(_add_bottlenecks, added=("*.adapter.*",)),
    "ia3": Method(_add_ia3, added=("*.ia3_l.*",)),
    "prompts": Method(_add_prompts, added=("encoder.prompts.*",)),
    "bitfit": Method(_nothing, freed=("encoder.*bias",)),
}


def is_added(name: str) -> bool:
    """Whether a method added the parameter of that name to the encoder."""
    return any(fnmatchcase(name, pattern) for method in METHODS.values() for pattern in method.added)


def from_scratch(name: str) -> bool:
    """Whether the parameter of that name starts from scratch: it gets the recipe's learning rate for new parameters."""
    return is_added(name) or any(fnmatchcase(name, pattern) for pattern in NEW)


def adapt(model: nn.Module, spec: TrackerSpec) -> None:
    """Add what the method adds to `model.encoder`, in place, and freeze everything that it does not train."""
    method = METHODS[spec.adaptation.kind]
    method.add(model.get_submodule("encoder"), spec)
    patterns = trainable_patterns(spec)
    for name, parameter in model.named_parameters():
        fixed = name in POSITIONS and not positions_train(spec)
        parameter.requires_grad_(not fixed and any(fnmatchcase(name, pattern) for pattern in patterns))


def trainable_patterns(spec: TrackerSpec) -> tuple[str, ...]:
    """Name patterns of the parameters that train; `positions_train` decides on position tables before them."""
    positions = POSITIONS if positions_train(spec) else ()
    norm = FINAL_NORM if spec.train_norm else ()
    method = METHODS[spec.adaptation.kind]
    return (*NEW, *method.added, *method.freed, *positions, *norm)


def positions_train(spec: TrackerSpec) -> bool:
    """Whether position tables move: as the input embedding says, or where it leaves it open, as the encoder does."""
    asked = spec.embedding.trainable_positions
    return spec.adaptation.kind == "full" if asked is None else asked


def merge(model: nn.Module) -> nn.Module:
    """Fold what peft adapts (LoRA, DoRA, IA3) into the layers it wraps and fuse q, k, v again, in place: the plain model
    that computes the same. What cannot be folded (adapters, prompts) stays. Raises ValueError for a model merged before.
    """
    if getattr(model, "merged", False):
        raise ValueError("this model is merged already: merging is done once, when training is over")
    _fold(model)
    for module in list(model.modules()):
        qkv = getattr(module, "qkv", None)
        if isinstance(qkv, SplitQKV) and qkv.fusible:
            setattr(module, "qkv", qkv.fuse())  # noqa: B010, only its attribute is known here
    model.merged = True  # type: ignore[assignment]  # a flag, not a parameter
    return model


@torch.no_grad()
def _fold(model: nn.Module) -> None:
    if not any(".base_layer." in name for name, _ in model.named_parameters()):  # peft's name for what it wraps
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge(
                    safe_merge=not child.get_base_layer().weight.is_meta
                )  # safe: refuses NaN, which takes values
                setattr(parent, name, child.get_base_layer())
