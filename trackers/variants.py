"""The named variants at paper scale: each is what is special about it, in a few lines."""

from datasets.registry import Registry
from trackers.spec import (
    CandidateElimination,
    CentreHead,
    DeformableHead,
    Denoising,
    MLPHead,
    TrackerSpec,
    replace,
)

VARIANTS: Registry[TrackerSpec] = Registry("tracker")


def _named(spec: TrackerSpec, name: str, **changes: object) -> TrackerSpec:
    return VARIANTS.add(name, replace(spec, name=name, **changes))


ostrack = VARIANTS.add("ostrack-256", TrackerSpec(name="ostrack-256", backbone="vit-b16", head=CentreHead()))
"""OSTrack without candidate elimination: ViT-B/16, separate positions, convolutional centre head."""

ostrack_ce = _named(ostrack, "ostrack-256-ce", sparsity=CandidateElimination())
"""OSTrack as published: eliminates search tokens in blocks 3, 6 and 9."""

detrack = _named(ostrack, "detrack", head=DeformableHead(), labels="localisation-quality", denoising=Denoising())
"""DETRack's deformable decoder as head, its labels and its denoising, without elimination."""

detrack_ce = _named(detrack, "detrack-ce", sparsity=CandidateElimination())
"""DETRack as published (section 4.1)."""

ostrack_mlp = _named(ostrack, "ostrack-256-mlp", head=MLPHead(), labels="iou-aware")
"""OSTrack's encoder under LoRAT's MLP head: the head study's row, not a published tracker."""
