"""Learning rates: how they move during a training, and which parameters have which."""

import math
from typing import Any

from torch import Tensor, nn

from trackablate.harness.spec import Recipe
from trackablate.trackers.adaptation.adapt import from_scratch
from trackablate.trackers.encoder.backbones import learning_rate_scale


def schedule(recipe: Recipe, step: int, peak: float | None = None) -> float:
    """Return the learning rate of 0-based step `step` as a share of its peak: linear warm-up, then the schedule.

    peak: The peak learning rate, for a recipe with a `final_rate`; by default that of new parameters.
    """
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    if recipe.schedule == "step":
        return 1.0 if step < recipe.step_at * recipe.steps else recipe.final_share
    phase = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    final = recipe.final_share if recipe.final_rate is None else recipe.final_rate / (peak or recipe.lr_new)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * phase))


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups, each with its peak learning rate as `peak`.

    New and pretrained parameters, told apart by name, have separate learning rates. Biases, norms and embeddings are
    not decayed, unless the recipe decays everything.
    """
    groups: dict[tuple[bool, bool, float], list[Tensor]] = {}
    depth = len({name.split(".")[2] for name, _ in model.named_parameters() if name.startswith("encoder.blocks.")})
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            new = from_scratch(name)
            decayed = recipe.decayed == "all" or (parameter.dim() > 1 and "embedding" not in name)
            share = learning_rate_scale(name, depth, recipe.layer_decay)
            groups.setdefault((new, decayed, share), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": share * (recipe.lr_new if new else recipe.lr_backbone),
            "lr": 0.0,
            "weight_decay": recipe.weight_decay if decayed else 0.0,
        }
        for (new, decayed, share), parameters in groups.items()
    ]
