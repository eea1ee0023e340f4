"""Adapts the pretrained encoder: adds the modules of a method, and decides which parameters train.

A new method is an entry of `METHODS` and, if it adds modules, a file in this folder; its specification is in
`trackers/axes/adaptations.py`.
"""

from fnmatch import fnmatchcase

from torch import nn

from trackablate.trackers.adaptation.adapter import ADAPTER
from trackablate.trackers.adaptation.ia3 import IA3_VECTORS
from trackablate.trackers.adaptation.lora import LORA
from trackablate.trackers.adaptation.method import Method
from trackablate.trackers.adaptation.peft_layers import fold
from trackablate.trackers.adaptation.prompts import PROMPTS
from trackablate.trackers.encoder.blocks import SplitQKV
from trackablate.trackers.spec import TrackerSpec

METHODS: dict[str, Method] = {
    "full": Method(freed=("encoder.*",)),
    "frozen": Method(),
    "bitfit": Method(freed=("encoder.*bias",)),
    "lora": LORA,
    "adapter": ADAPTER,
    "ia3": IA3_VECTORS,
    "prompts": PROMPTS,
}

NEW = ("head.*", "encoder.embedding.token_types")
"""Parameters that no pretrained backbone has. They train under every method."""

POSITIONS = ("encoder.embedding.search_positions", "encoder.embedding.template_positions")
FINAL_NORM = ("encoder.norm.*",)


def adapt(model: nn.Module, spec: TrackerSpec) -> None:
    """Add the method's modules to `model.encoder` and freeze everything that does not train, in place."""
    METHODS[spec.adaptation.kind].add(model.get_submodule("encoder"), spec)
    patterns = trainable_patterns(spec)
    for name, parameter in model.named_parameters():
        fixed = name in POSITIONS and not positions_train(spec)
        parameter.requires_grad_(not fixed and _matches(name, patterns))


def trainable_patterns(spec: TrackerSpec) -> tuple[str, ...]:
    """Return name patterns of the parameters that train. For position tables `positions_train` takes precedence."""
    positions = POSITIONS if positions_train(spec) else ()
    norm = FINAL_NORM if spec.train_norm else ()
    method = METHODS[spec.adaptation.kind]
    return (*NEW, *method.added, *method.freed, *positions, *norm)


def positions_train(spec: TrackerSpec) -> bool:
    """Tell whether position tables train: as the input embedding says, by default under full fine-tuning only."""
    asked = spec.embedding.trainable_positions
    return spec.adaptation.kind == "full" if asked is None else asked


def is_added(name: str) -> bool:
    """Tell whether the parameter of that name was added to the encoder by a method."""
    return any(_matches(name, method.added) for method in METHODS.values())


def from_scratch(name: str) -> bool:
    """Tell whether the parameter of that name starts from scratch. It gets the learning rate for new parameters."""
    return is_added(name) or _matches(name, NEW)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def merge(model: nn.Module) -> nn.Module:
    """Return the plain model that computes the same, made in place.

    Folds peft's layers (LoRA, DoRA, IA3) into the layers that they wrap, and fuses q, k and v again. Adapters and prompts
    cannot be folded and stay. Raises ValueError if the model was merged before.
    """
    if getattr(model, "merged", False):
        raise ValueError("this model is merged already: merge once, when training is over")
    fold(model)
    for module in list(model.modules()):
        qkv = getattr(module, "qkv", None)
        if isinstance(qkv, SplitQKV) and qkv.fusible:
            setattr(module, "qkv", qkv.fuse())  # noqa: B010, only its attribute is known here
    model.merged = True  # type: ignore[assignment]  # a flag, not a parameter
    return model
