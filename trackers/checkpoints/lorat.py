"""Official LoRAT weights into our tracker and back, bit for bit.

There are three forms, told apart by their entries (numbers for B-224):

- adapted, 380 entries: the base layers, LoRA's factors beside them, `lora_alpha` and `use_rslora`;
- merged, 186 entries: the plain model, which is also how full fine-tuning stores it;
- trainable only, 157 entries: what LoRAT's trainer keeps. It needs the backbone that it was trained on, and alpha.
"""

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from trackablate.datasets.errors import DataError, raise_all
from trackablate.trackers.checkpoints.state_keys import load_exactly
from trackablate.trackers.encoder.backbones import resized
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import LoRA, LoRATarget, TrackerSpec, replace
from trackablate.trackers.tokens import SearchTokens
from trackablate.trackers.variants import VARIANTS

SIZES = {384: "s", 768: "b", 1024: "l", 1536: "g"}
"""Width of the encoder to the size of the variant."""
PIXELS = {256: 224, 729: 378}
"""Number of search tokens to the side of the search crop."""
SCALARS = ("lora_alpha", "use_rslora")
FIRST_NAMES = {
    "encoder.embedding.search_positions": "pos_embed",
    "encoder.embedding.token_types": "token_type_embed",
    "encoder.project": "patch_embed.proj",
    "encoder.blocks": "blocks",
    "encoder.norm": "norm",
    "head.score": "head.cls_mlp.layers",
    "head.box": "head.reg_mlp.layers",
}
GATED_NAMES = {".mlp.fc1.": ".mlp.w12.", ".mlp.fc2.": ".mlp.w3."}
"""The official names of the giant's gated MLP."""


class AnchorFreePrediction(NamedTuple):
    """The official network's result for G x G cells.

    Attributes:
        score_map: (B, G, G), logits.
        boxes: (B, G, G, 4) xyxy in units of the search crop, not clipped.
    """

    score_map: Tensor
    boxes: Tensor


class OfficialLoRAT(nn.Module):
    """LoRAT with the inputs and outputs of its official code.

    Attributes:
        tracker: Our tracker, as `build` makes it.
        entries: Names in the state dict that it was read from, which `to_lorat` gives back. None for all entries.
    """

    def __init__(self, tracker: OneStreamTracker, *, entries: frozenset[str] | None = None) -> None:
        super().__init__()
        self.tracker, self.entries = tracker, entries

    def forward(self, template: Tensor, search: Tensor, template_mask: Tensor) -> AnchorFreePrediction:
        """Return the official network's result. template_mask: (B, Gz, Gz), 1 inside the target's box.

        Images are (B, 3, H, W), normalised to ImageNet's mean and standard deviation.
        """
        tokens: SearchTokens = self.tracker.encoder(template, search, template_mask.flatten(1).bool(), 1.0)
        output = self.tracker.head(tokens)
        grid = tokens.grid
        return AnchorFreePrediction(output.logits.unflatten(1, (grid, grid)), output.boxes.unflatten(1, (grid, grid)))


def from_lorat(
    state: Mapping[str, Tensor],
    source: str = "lorat",
    *,
    alpha: int | None = None,
    rslora: bool | None = None,
    backbone: Mapping[str, Tensor] | None = None,
    search_size: int | None = None,
) -> OfficialLoRAT:
    """Return the tracker of an official state dict of any form, in evaluation mode, with copied tensors.

    A state dict with LoRA's factors gives a tracker that is not merged.

    Args:
        state: The state dict.
        source: The name that error messages use.
        alpha: LoRA's alpha, needed if the state dict has no `lora_alpha`.
        rslora: Whether LoRA scales by alpha / sqrt(rank), if the state dict does not say. None means False.
        backbone: For trainable-only entries, the backbone that they were trained on: the other entries of the adapted
            or merged form, or DINOv2's own under timm's names, whose position table is resized to the search crop.
        search_size: Side of that search crop in pixels (224 or 378).

    Raises:
        DataError: Entries or options are missing, wrong or of another kind. The message names them all.
    """
    adapted = any(name.endswith(".lora.A") for name in state)
    partial = adapted and not any(n.endswith(".linear.weight") or n.startswith("patch_embed.") for n in state)
    _check_options(state, alpha, rslora, adapted=adapted, partial=partial, completed=backbone is not None)
    whole = dict(state) if backbone is None else {**_base_entries(state, backbone, search_size), **state}
    spec = _variant(whole)
    if search_size is not None and search_size != spec.crop.search_size:
        raise DataError(f"search_size is {search_size}, but the positions are those of {spec.crop.search_size} pixels")
    if adapted:
        spec = replace(spec, adaptation=_lora(state, alpha, rslora))
    tracker = build(spec, pretrained=False)
    entries = {name: value for name, value in whole.items() if name not in SCALARS}
    load_exactly(tracker, entries, lambda name: official_name(name, spec), source)
    return OfficialLoRAT(tracker, entries=frozenset(state)).eval()


def to_lorat(model: OfficialLoRAT) -> dict[str, Tensor]:
    """Return the official state dict of a LoRAT tracker: the inverse of `from_lorat`.

    It has the form that the tracker was read from. Our own trackers get the adapted form, or the merged form if they
    are merged or fully fine-tuned. Raises DataError if the tracker has entries that LoRAT does not have.
    """
    tracker, spec = model.tracker, model.tracker.spec
    state = {official_name(name, spec): value.clone() for name, value in tracker.state_dict().items()}
    adapted = any(name.endswith(".lora.A") for name in state)
    if adapted:
        assert isinstance(spec.adaptation, LoRA)
        state["lora_alpha"] = torch.tensor(spec.adaptation.alpha)
        state["use_rslora"] = torch.tensor(spec.adaptation.rslora)
    was_adapted = model.entries is not None and any(name.endswith(".lora.A") for name in model.entries)
    if model.entries is None or was_adapted != adapted:  # it was merged after it was read: give the whole merged form
        return state
    return {name: value for name, value in state.items() if name in model.entries}


def official_name(name: str, spec: TrackerSpec) -> str:
    """Return the official name of one of our entries. Raises DataError if LoRAT has no such entry."""
    ours = next((first for first in FIRST_NAMES if name == first or name.startswith(f"{first}.")), None)
    if ours is None:
        raise DataError(f"{name!r} has no place in LoRAT's state dict: is this tracker one of its variants?")
    official, rest = FIRST_NAMES[ours], name.removeprefix(ours)
    if ours.startswith("head."):  # our layer numbers count the activations too
        _, layer, kind = rest.split(".")
        return f"{official}.{int(layer) // 2}.{kind}"
    rest = rest.replace(".base_layer.", ".linear.")
    for factor in "AB":
        rest = rest.replace(f".lora_{factor}.default.weight", f".lora.{factor}")
    for plain, gated in GATED_NAMES.items() if spec.backbone == "dinov2-g" else ():
        rest = rest.replace(plain, gated)
    return official + rest


def _check_options(
    state: Mapping[str, Tensor],
    alpha: int | None,
    rslora: bool | None,
    *,
    adapted: bool,
    partial: bool,
    completed: bool,
) -> None:
    stored = {name: state[name] for name in SCALARS if name in state}
    raise_all(
        [
            f"{name} is {value.tolist()} in the checkpoint, not one whole number"
            for name, value in stored.items()
            if value.numel() != 1 or value.item() != int(value.item())
        ]
    )
    if alpha is not None and (type(alpha) is not int or alpha < 1):
        raise DataError(f"alpha is {alpha!r}: give a whole number above 0, the one it was trained with")
    problems = [
        f"{name} is {stored[name].item()} in the checkpoint, but {given} was given: leave it to the checkpoint"
        for name, given in zip(SCALARS, (alpha, rslora), strict=True)
        if name in stored and given is not None and stored[name].item() != given
    ]
    if adapted and "lora_alpha" not in stored and alpha is None:
        unknown = "the checkpoint does not say lora_alpha, which scales its factors"
        problems.append(f"{unknown}: give alpha=, the one it was trained with")
    if not adapted and (alpha is not None or rslora is not None):
        problems.append("alpha and rslora are given, but the checkpoint has no factors of LoRA: it is merged")
    if partial and not completed:
        held = f"the checkpoint holds only the {len(state)} trained entries"
        problems.append(f"{held}: give backbone=, the state dict of the rest")
    if completed and not partial:
        problems.append("backbone= is given, but the checkpoint holds its own")
    raise_all(problems)


def _lora(state: Mapping[str, Tensor], alpha: int | None, rslora: bool | None) -> LoRA:
    factors = {name: value for name, value in state.items() if name.endswith(".lora.A")}
    wrong = {name: tuple(value.shape) for name, value in factors.items() if value.dim() != 2}
    raise_all([f"entry {name!r} has shape {shape}, not (rank, inputs)" for name, shape in wrong.items()])
    plain = {official.strip("."): ours.strip(".") for ours, official in GATED_NAMES.items()}
    layers = {name.split(".")[-3] for name in factors}
    layers = {plain.get(f"mlp.{layer}", layer).removeprefix("mlp.") for layer in layers}
    return LoRA(
        rank=next(iter(factors.values())).shape[0],
        alpha=int(state["lora_alpha"]) if alpha is None else alpha,
        targets=tuple(target for target in get_args(LoRATarget) if target in layers),
        rslora=bool(state["use_rslora"]) if "use_rslora" in state else bool(rslora),
    )


def _variant(state: Mapping[str, Tensor]) -> TrackerSpec:
    """Return the named, fully fine-tuned tracker with the width and number of positions of a state dict."""
    positions = state.get("pos_embed")
    if positions is None or positions.dim() != 3:
        # Any variant of that width will do: the check of entries names 'pos_embed' and its nearest names.
        norm = state.get("norm.weight")
        return VARIANTS[f"full-{SIZES.get(norm.shape[0] if norm is not None and norm.dim() else 0, 'b')}-224"]
    _, tokens, width = positions.shape
    if tokens not in PIXELS or width not in SIZES:
        found = f"{tokens} tokens of width {width}"
        raise DataError(f"lorat: 'pos_embed' has {found}; LoRAT has one of {[*PIXELS]} of {[*SIZES]}")
    return VARIANTS[f"full-{SIZES[width]}-{PIXELS[tokens]}"]


def _base_entries(
    state: Mapping[str, Tensor], backbone: Mapping[str, Tensor], search_size: int | None
) -> dict[str, Tensor]:
    """Return the entries of the backbone that complete trained ones, in whichever form it has them."""
    adapted = {name.removesuffix(".lora.A") for name in state if name.endswith(".lora.A")}
    entries = {}
    for name, value in _officially_named(backbone).items():
        layer, _, kind = name.rpartition(".")
        parts = [f"{layer}.{part}" for part in "qkv"]
        if layer.endswith(".attn.qkv") and adapted & set(parts):
            if value.dim() == 0 or value.shape[0] % 3:
                problem = f"entry {name!r} of shape {tuple(value.shape)} cannot be split into q, k and v"
                raise DataError(f"backbone=: {problem}")
            for part, rows in zip(parts, value.chunk(3), strict=True):
                entries[f"{part}.linear.{kind}" if part in adapted else f"{part}.{kind}"] = rows
        elif layer in adapted:
            entries[f"{layer}.linear.{kind}"] = value
        elif name not in NOT_TAKEN and not name.startswith("head.") and ".lora." not in name:
            entries[name] = value
    if "pos_embed" not in state:  # otherwise positions were trained
        entries["pos_embed"] = _positions(backbone, search_size)
    return entries


NOT_TAKEN = ("cls_token", "mask_token", "register_tokens", "token_type_embed", *SCALARS)
"""Entries of a backbone that LoRAT drops, or that come with the trained ones."""


def _officially_named(backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    gated = any(".mlp.w12." in name for name in backbone) or backbone.get("pos_embed", torch.empty(0)).shape[-1] == 1536
    names = GATED_NAMES.items() if gated else ()
    return {reduce(lambda n, pair: n.replace(*pair), names, name): value for name, value in backbone.items()}


def _positions(backbone: Mapping[str, Tensor], search_size: int | None) -> Tensor:
    """Return the backbone's positions at the search grid. DINOv2's table is resized without its class token."""
    if "pos_embed" not in backbone:
        raise DataError("backbone=: entry 'pos_embed' is missing: give the whole state dict of the backbone")
    table = backbone["pos_embed"]
    if table.dim() != 3:
        raise DataError(f"backbone=: 'pos_embed' has shape {tuple(table.shape)}, not (1, tokens, width)")
    if table.shape[1] in PIXELS:
        return table
    if search_size is None or search_size not in PIXELS.values():
        problem = f"its {table.shape[1]} positions are to be resized to the search crop"
        raise DataError(f"backbone=: {problem}: give search_size=, one of {[*PIXELS.values()]}")
    side = int((table.shape[1] - 1) ** 0.5)
    if side**2 + 1 != table.shape[1]:
        raise DataError(f"backbone=: {table.shape[1]} positions are not a class token and a square grid")
    grid = table[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
    return resized(grid, search_size // 14)
