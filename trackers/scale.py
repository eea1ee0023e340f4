"""The published variants at a smaller size.

A profile names a `Scale`, and `at_scale` makes a paper-scale specification smaller. What heads and adaptation methods have
of it, their specifications say (`at_scale` in `trackers.axes`); all other fields that a scale may touch are listed here. So
a scaled row differs from its scaled baseline only in what the study declares.
"""

from trackablate.trackers.axes.scale import Scale
from trackablate.trackers.spec import CropInput, Denoising, TrackerSpec, replace

__all__ = ["Scale", "at_scale"]

LARGE_SEARCH = 300
"""Search crops above this many pixels are the papers' large ones (378, 384). The small ones are 224 and 256."""

LARGE = 1.5
"""Side of a large crop divided by the side of a small one: 384 / 256."""

PAPER_SEARCH_FACTOR = 4.0
"""Search factor of both papers' small crops. `Scale.search_factor` replaces it."""


def at_scale(spec: TrackerSpec, scale: Scale) -> TrackerSpec:
    """Return the specification with its sizes replaced by the scale's."""
    sparsity = spec.sparsity and spec.sparsity.model_copy(update={"layers": scale.elimination_layers})
    denoising: Denoising | None = spec.denoising and spec.denoising.model_copy(
        update={"groups": scale.denoising_groups}
    )
    return replace(
        spec,
        backbone=scale.backbones.get(spec.backbone, scale.backbone),
        pretrained="shipped",
        crop=_scaled_crop(spec.crop, scale),
        sparsity=sparsity,
        denoising=denoising,
        adaptation=spec.adaptation.at_scale(scale),
        head=spec.head.at_scale(scale),
    )


def _scaled_crop(crop: CropInput, scale: Scale) -> CropInput:
    side = LARGE if crop.search_size > LARGE_SEARCH else 1.0
    sizes = {
        "template_size": round(scale.template_size * side),
        "search_size": round(scale.search_size * side),
        "template_factor": scale.template_factor,
        "search_factor": scale.search_factor * crop.search_factor / PAPER_SEARCH_FACTOR,
        "min_side": scale.min_side,
        "size_rate": scale.size_rate,
    }
    return crop.model_copy(update=sizes)
