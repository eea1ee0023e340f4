"""IA3, by peft: trained vectors that scale k, v and the input of the MLP's second layer (Liu et al. 2022)."""

from typing import Any

from trackablate.trackers.adaptation.method import Method
from trackablate.trackers.adaptation.peft_layers import inject, layer_names
from trackablate.trackers.spec import TrackerSpec


def _add(encoder: Any, spec: TrackerSpec) -> None:
    from peft import IA3Config

    inject(IA3Config(target_modules=layer_names(("k", "v", "fc2")), feedforward_modules=["fc2"]), encoder)


IA3_VECTORS = Method(_add, added=("*.ia3_l.*",))
