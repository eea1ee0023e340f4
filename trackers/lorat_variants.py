"""LoRAT's named variants (Lin et al. 2024): the trackers, fully fine-tuned baselines, and the rows of its ablations.

Some published rows cannot run, or differ from their baseline in more than the thing that they study. The plain name is
the row *as intended*, which differs in one thing; the name with `-published` follows the official configuration. Rows
that crash as published have the plain name only.
"""

from trackablate.trackers.spec import (
    IA3,
    Adapter,
    CentreHead,
    ConvHead,
    CropInput,
    FullFineTuning,
    InputEmbedding,
    LoRA,
    MLPHead,
    Prompts,
    TrackerSpec,
    replace,
)

LORAT: dict[str, TrackerSpec] = {}
"""LoRAT's trackers by name. `trackers.variants` registers them with the others."""

DROP_PATH = {"s": 0.0, "b": 0.0, "l": 0.1, "g": 0.4}
INPUT_224 = CropInput(geometry="lorat", window="blend", template_size=112, search_size=224, search_factor=4)
INPUT_378 = CropInput(geometry="lorat", window="blend", template_size=196, search_size=378, search_factor=5)
FOREGROUND = InputEmbedding(positions="shared", template_positions="slice", token_types=3, trainable_positions=False)
"""LoRAT's input embedding: one frozen table, sliced for the template, with foreground indication."""


def _add(name: str, spec: TrackerSpec, **changes: object) -> TrackerSpec:
    LORAT[name] = replace(spec, name=name, **changes)
    return LORAT[name]


def _embedding(**changes: object) -> InputEmbedding:
    return InputEmbedding.model_validate(FOREGROUND.model_dump() | changes)


for _size, _drop_path in DROP_PATH.items():
    for _pixels, _crop in ((224, INPUT_224), (378, INPUT_378)):
        _tracker = TrackerSpec(
            name=f"lorat-{_size}-{_pixels}",
            backbone=f"dinov2-{_size}",
            pretrained="timm",
            drop_path=_drop_path,
            crop=_crop,
            adaptation=LoRA(),
            embedding=FOREGROUND,
            head=MLPHead(),
            labels="iou-aware",
        )
        _add(_tracker.name, _tracker)
        _full = {"adaptation": FullFineTuning(), "embedding": _embedding(trainable_positions=None)}
        _add(f"full-{_size}-{_pixels}", _tracker, **_full)

lorat = LORAT["lorat-b-224"]
"""LoRAT-B-224, the baseline of its ablations."""

full = LORAT["full-b-224"]
"""The same under full fine-tuning, the baseline of the full fine-tuning ablations."""

# Heads. As published they also free the final norm and take hard score targets.
_CONV = {"head": ConvHead()}
_OSTRACK = {"head": CentreHead(offset_from="centre")}
_add("lorat-b-224-conv", lorat, **_CONV)
_add("lorat-b-224-conv-published", lorat, **_CONV, labels="hard", train_norm=True)
_add("lorat-b-224-ostrackhead", lorat, **_OSTRACK)
_add("lorat-b-224-ostrackhead-published", lorat, **_OSTRACK, labels="hard", train_norm=True)
_add("full-b-224-conv", full, **_CONV)
_add("full-b-224-conv-published", full, **_CONV, labels="hard")
_add("full-b-224-ostrackhead", full, **_OSTRACK)
_add("full-b-224-ostrackhead-published", full, **_OSTRACK, labels="hard")

# Attention. As published the LoRA row also frees the final norm.
_add("lorat-b-224-mixattn", lorat, attention="mixed")
_add("lorat-b-224-mixattn-published", lorat, attention="mixed", train_norm=True)
_add("full-b-224-mixattn", full, attention="mixed")

# Adaptation methods. The published adapter starts both layers at zero, so only a bias ever moves.
_add("lorat-b-224-adapter", lorat, adaptation=Adapter())
_add("lorat-b-224-adapter-published", lorat, adaptation=Adapter(init="zero"))
_add("lorat-b-224-ia3", lorat, adaptation=IA3())
_add("lorat-b-224-vpt-5", lorat, adaptation=Prompts(count=5))
_add("lorat-b-224-vpt-10", lorat, adaptation=Prompts(count=10))

# Input embedding under LoRA. The first two crash as published, the last two name a model type that does not exist.
_add("lorat-b-224-pos-shared", lorat, embedding=_embedding(token_types=0))
_add("lorat-b-224-pos-trainable-shared", lorat, embedding=_embedding(token_types=0, trainable_positions=True))
_add("lorat-b-224-pos-shared-types", lorat, embedding=_embedding(token_types=2))
_add("lorat-b-224-pos-trainable-shared-types", lorat, embedding=_embedding(token_types=2, trainable_positions=True))

# Input embedding under full fine-tuning.
_OPEN = {"trainable_positions": None}
_SEPARATE = {"positions": "separate", "template_positions": "interpolate", "token_types": 0, **_OPEN}
_add("full-b-224-pos-sep", full, embedding=_embedding(**_SEPARATE))
_add("full-b-224-pos-shared", full, embedding=_embedding(token_types=0, **_OPEN))
_add("full-b-224-pos-shared-types", full, embedding=_embedding(token_types=2, **_OPEN))
_add("full-b-224-pos-sinusoidal", full, embedding=_embedding(**_SEPARATE | {"positions": "sinusoidal"}))

# LoRA's own choices. qv-r4 differs from qv-r64 in alpha as well as in rank, which keeps alpha / rank at 1.
_add("lorat-b-224-init-gaussian", lorat, adaptation=LoRA(init="gaussian"))
_add("lorat-b-224-init-kaiming", lorat, adaptation=LoRA(init="lora"))
_add("lorat-b-224-r16", lorat, adaptation=LoRA(rank=16, alpha=16))
_add("lorat-b-224-qkvo-r64", lorat, adaptation=LoRA(targets=("q", "k", "v", "proj")))
_add("lorat-b-224-qv-r64", lorat, adaptation=LoRA(targets=("q", "v")))
_add("lorat-b-224-qv-r4", lorat, adaptation=LoRA(rank=4, alpha=4, targets=("q", "v")))
_add("lorat-b-224-mlp-r64", lorat, adaptation=LoRA(targets=("fc1", "fc2")))
