"""Whole trackers from weights of any known layout, and back into the official layout where there is one."""

from collections.abc import Mapping

from torch import Tensor

from trackablate.datasets.errors import DataError
from trackablate.trackers.adaptation.adapt import is_added, merge
from trackablate.trackers.checkpoints import ostrack
from trackablate.trackers.checkpoints.lorat import OfficialLoRAT, from_lorat, to_lorat
from trackablate.trackers.checkpoints.official import is_unused
from trackablate.trackers.checkpoints.state_keys import load_exactly
from trackablate.trackers.encoder.backbones import TIMM_NAMES
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import LoRA, TrackerSpec, replace

OSTRACK, LORAT, OURS = "OSTrack's layout", "LoRAT's layout", "this project's own names"


def layout_of(names: Mapping[str, object]) -> str:
    """Return whose layout the entries of a state dict have, by their names."""
    if any(name.startswith("box_head.") for name in names):
        return OSTRACK
    return LORAT if any(name.startswith(("head.cls_mlp.", "token_type_embed")) for name in names) else OURS


def tracker_from(
    state: Mapping[str, Tensor],
    spec: TrackerSpec,
    *,
    alpha: int | None = None,
    backbone: Mapping[str, Tensor] | None = None,
) -> OneStreamTracker:
    """Return the tracker of a specification with the weights of a state dict, bit for bit.

    Args:
        state: The weights in the layout of OSTrack, of LoRAT (see `from_lorat`), or of this project.
        spec: What they are weights of. LoRA's fields are taken from the weights instead, if these have its factors.
        alpha: LoRA's alpha, for weights of LoRAT that do not say it.
        backbone: The backbone of LoRAT's trained entries, for weights that hold these alone.

    Raises:
        DataError: The weights are not those of such a tracker, with every entry that does not fit.
    """
    state = {name: value for name, value in state.items() if not is_unused(name)}
    spec, layout = replace(spec, pretrained="none"), layout_of(state)
    if layout != LORAT and (alpha is not None or backbone is not None):
        raise DataError(f"alpha and a backbone belong to LoRAT's weights, and these have {layout}: leave them out")
    if layout == OSTRACK:
        if spec.backbone == "vit-b16":
            _refuse_another(ostrack.ostrack_variant(state, "ostrack"), spec)
        model = build(spec, pretrained=False)
        load_exactly(model, state, ostrack.official_name, "ostrack")
        return model
    if layout == OURS:
        return tracker_with(spec, state, spec.name)
    size = None if backbone is None else spec.crop.search_size
    found = from_lorat(state, alpha=alpha, backbone=backbone, search_size=size).tracker
    _refuse_another(found.spec, spec)
    if isinstance(found.spec.adaptation, LoRA):
        if not isinstance(spec.adaptation, LoRA):
            raise DataError(f"the weights hold LoRA's factors, and {spec.name} has none: name the variant with LoRA")
        spec = replace(spec, adaptation=found.spec.adaptation)
    return tracker_with(spec, found.state_dict(), "lorat")


def tracker_with(spec: TrackerSpec, state: Mapping[str, Tensor], source: str) -> OneStreamTracker:
    """Return the tracker of a specification with every entry from `state`, under our names.

    It is merged if the state has no entries for what its adaptation adds. Raises DataError for entries that do not fit.
    """
    model = build(spec, pretrained=False)
    if not any(".lora_" in name for name in state) and isinstance(spec.adaptation, LoRA):
        merge(model)
    load_exactly(model, state, lambda name: name, source)
    return model


def official_state(model: OneStreamTracker) -> tuple[str, dict[str, Tensor]]:
    """Return a tracker's weights and whose layout they have: the official one, or ours for trackers without one.

    LoRAT's keep the form that they have. Other trackers are merged for it, in place. LoRAT's layout is of the published
    backbones alone: it tells them by their size.
    """
    spec = model.spec
    names = model.state_dict()
    if (
        spec.backbone in TIMM_NAMES
        and spec.head.kind == "mlp"
        and spec.adaptation.kind in ("lora", "full")
        and "encoder.embedding.token_types" in names
    ):
        return LORAT, to_lorat(OfficialLoRAT(model))
    if not getattr(model, "merged", False):
        merge(model)
    plain = not any(is_added(name) for name in model.state_dict())
    if spec.head.kind == "centre" and spec.embedding.keep_unused and plain:
        return OSTRACK, ostrack.to_ostrack(model)
    return OURS, {name: value.clone() for name, value in model.state_dict().items()}


def _refuse_another(found: TrackerSpec, spec: TrackerSpec) -> None:
    has, wanted = ((s.backbone, s.crop.search_size) for s in (found, spec))
    if has != wanted:
        raise DataError(
            f"the weights are of {has[0]} at {has[1]} pixels, and {spec.name} has {wanted[0]} at {wanted[1]}: name the"
            " variant that they belong to"
        )
