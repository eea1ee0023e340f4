"""LoRA and DoRA as peft describes and initialises them (LoRAT, section 3.3)."""

from typing import Any

from torch import nn

from trackablate.trackers.adaptation.method import Method
from trackablate.trackers.adaptation.peft_layers import inject, layer_names
from trackablate.trackers.encoder.low_rank import LowRankLinear
from trackablate.trackers.spec import LoRA, TrackerSpec


def _add(encoder: Any, spec: TrackerSpec) -> None:
    from peft import LoraConfig

    lora = spec.adaptation
    assert isinstance(lora, LoRA)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        init_lora_weights="gaussian" if lora.init == "gaussian" else True,
        target_modules=layer_names(lora.targets),
    )
    inject(config, encoder)
    if not lora.dora and not lora.dropout:
        _replace_peft(encoder.blocks)
    if lora.init == "lorat":  # published with `trunc_normal_`, whose bounds of -2 and 2 no draw reaches
        for name, parameter in encoder.blocks.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                nn.init.trunc_normal_(parameter, std=0.02)


def _replace_peft(blocks: nn.Module) -> None:
    """Compute peft's layers without peft, with the same parameters under the same names."""
    from peft.tuners.lora import Linear

    for parent in list(blocks.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear):
                base = child.get_base_layer()
                assert isinstance(base, nn.Linear)
                setattr(parent, name, LowRankLinear(base, child.lora_A, child.lora_B, child.scaling["default"]))


LORA = Method(_add, added=("*.lora_*",))
