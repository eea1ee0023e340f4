"""The named trackers at paper scale. Each entry is what is special about it, in a few lines."""

from trackablate.datasets.registry import Registry
from trackablate.trackers.lorat_variants import LORAT
from trackablate.trackers.spec import (
    CandidateElimination,
    CentreHead,
    CornerHead,
    CropInput,
    DeformableHead,
    Denoising,
    InputEmbedding,
    MLPHead,
    TrackerSpec,
    replace,
)

VARIANTS: Registry[TrackerSpec] = Registry("tracker")


def _named(spec: TrackerSpec, name: str, **changes: object) -> TrackerSpec:
    return VARIANTS.add(name, replace(spec, name=name, **changes))


ostrack = VARIANTS.add(
    "ostrack-256",
    TrackerSpec(
        name="ostrack-256",
        backbone="vit-b16",
        pretrained="timm",
        drop_path=0.1,
        drop_path_depth="linear",
        embedding=InputEmbedding(keep_unused=True),
        head=CentreHead(),
    ),
)
"""OSTrack without candidate elimination: ViT-B/16, separate positions, convolutional centre head."""

ostrack_ce = _named(ostrack, "ostrack-256-ce", sparsity=CandidateElimination())
"""OSTrack as published: it eliminates search tokens in blocks 3, 6 and 9."""

CROP_384 = CropInput(template_size=192, search_size=384, template_factor=2.0, search_factor=5.0)

ostrack_384 = _named(ostrack, "ostrack-384", crop=CROP_384)
"""OSTrack-384 without candidate elimination: larger crops of a larger region."""

ostrack_384_ce = _named(ostrack_ce, "ostrack-384-ce", crop=CROP_384)
"""OSTrack-384 as published."""

ostrack_corner = _named(ostrack, "ostrack-256-corner", head=CornerHead(), labels="corner")
"""OSTrack's encoder under STARK's corner head: a row of a head study, not a published tracker."""

detrack = _named(ostrack, "detrack", head=DeformableHead(), labels="localisation-quality", denoising=Denoising())
"""DETRack without elimination: the deformable decoder as head, its labels and its denoising."""

detrack_ce = _named(detrack, "detrack-ce", sparsity=CandidateElimination())
"""DETRack as published (section 4.1). The paper's ablations below start from it."""

for _trained in (2, 3, 4):
    for _tested in range(1, _trained + 1):
        if (_trained, _tested) != (3, 3):
            _layers = DeformableHead(layers=_trained, test_layers=None if _tested == _trained else _tested)
            _named(detrack_ce, f"detrack-ce-{_trained}-layers-test-{_tested}", head=_layers)
"""Table 4: decoder layers in training, and how many of them run at inference. 3 and 3 is DETRack itself."""

detrack_no_denoising = _named(detrack_ce, "detrack-ce-no-denoising", denoising=None)
"""Table 5, baseline."""

detrack_embedding = _named(detrack_ce, "detrack-ce-denoising-embedding", denoising=Denoising(kind="embedding"))
"""Table 5, row 1: learned label embeddings, as in object detection."""

detrack_outside = _named(detrack_ce, "detrack-ce-denoising-outside", denoising=Denoising(kind="centre-outside"))
"""Table 5, row 3: negatives from anywhere outside the box."""

detrack_centre = _named(detrack_ce, "detrack-ce-labels-centre", labels="centre")
"""Table 6, row 1: one-to-one, the query at the centre."""

detrack_hungarian = _named(detrack_ce, "detrack-ce-labels-hungarian", labels="hungarian")
"""Table 6, row 2: one-to-one, DETR's matching."""

detrack_hard = _named(detrack_ce, "detrack-ce-labels-hard", labels="one-to-many")
"""Table 6, row 3: one-to-many, with target 1 for all positives."""

ostrack_mlp = _named(ostrack, "ostrack-256-mlp", head=MLPHead(), labels="iou-aware")
"""OSTrack's encoder under LoRAT's MLP head: a row of the head study, not a published tracker."""

for _name, _spec in LORAT.items():
    VARIANTS.add(_name, _spec)


def same_weights(spec: TrackerSpec) -> list[str]:
    """Return the named trackers whose weights have the same entries, but which track otherwise.

    Weights say nothing of elimination, of the kind of attention, and of how many of a decoder's layers run.
    """
    others = ((name, VARIANTS[name]) for name in VARIANTS)
    return [name for name, other in others if _traceless(other) == _traceless(spec) and name != spec.name]


def _traceless(spec: TrackerSpec) -> TrackerSpec:
    head = spec.head.model_copy(update={"test_layers": None}) if isinstance(spec.head, DeformableHead) else spec.head
    return replace(spec, name="any", sparsity=None, attention="joint", head=head)
