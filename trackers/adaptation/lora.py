"""LoRA and DoRA, by peft (LoRAT, section 3.3)."""

from typing import Any

from torch import nn

from trackablate.trackers.adaptation.method import Method
from trackablate.trackers.adaptation.peft_layers import inject, layer_names
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
    if lora.init == "lorat":  # published with `trunc_normal_`, whose bounds of -2 and 2 no draw reaches
        for name, parameter in encoder.blocks.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                nn.init.trunc_normal_(parameter, std=0.02)


LORA = Method(_add, added=("*.lora_*",))
