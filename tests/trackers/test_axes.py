"""The axes are orthogonal: whatever combination of them the table of illegal ones lets through builds, learns, predicts and
merges; and each family of pretrained ViTs builds at its own size."""

import random
from typing import Any

import pytest
import torch

from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.model import build
from trackablate.trackers.plugins import HEADS
from trackablate.trackers.spec import (
    IA3,
    Adapter,
    BitFit,
    CandidateElimination,
    CentreHead,
    ConvHead,
    CornerHead,
    CropInput,
    DeformableHead,
    Denoising,
    FrozenBackbone,
    FullFineTuning,
    InputEmbedding,
    LoRA,
    MLPHead,
    Prompts,
    TrackerSpec,
)

AXES: dict[str, tuple[Any, ...]] = {
    "adaptation": (
        *(FullFineTuning(), FrozenBackbone(), LoRA(rank=2), LoRA(rank=2, init="gaussian", rslora=True, dropout=0.1)),
        *(LoRA(rank=2, init="lora", dora=True), LoRA(rank=2, targets=("q", "fc2")), Adapter(width=4)),
        *(Adapter(width=4, init="zero"), IA3(), Prompts(count=2), BitFit()),
    ),
    "embedding": (
        *(InputEmbedding(), InputEmbedding(token_types=2), InputEmbedding(trainable_positions=False, keep_unused=True)),
        *(InputEmbedding(positions="shared"), InputEmbedding(positions="sinusoidal", token_types=3)),
        InputEmbedding(positions="shared", template_positions="slice", token_types=3, trainable_positions=True),
    ),
    "attention": ("joint", "mixed"),
    "sparsity": (
        None,
        *(
            CandidateElimination(layers=layers, keep_ratio=0.5, template=template)
            for layers, template in (((0,), "CTR_POINT"), ((1, 2), "CTR_REC"), ((3,), "ALL"), ((0, 3), "GT_BOX"))
        ),
    ),
    "head": (
        *(CentreHead(channels=16), CentreHead(channels=16, offset_from="centre"), ConvHead(channels=16)),
        *(CornerHead(channels=16), MLPHead(), MLPHead(layers=1)),
        DeformableHead(width=16, heads=2, queries=8, feedforward=16, top_k=3, layers=2, test_layers=1),
        DeformableHead(width=16, heads=2, queries=8, feedforward=16, layers=1, shared_box_mlp=False),
    ),
    "denoising": (None, *(Denoising(kind=k, groups=2) for k in ("embedding", "centre-corner", "centre-outside"))),
    "drop_path": (0.0, 0.1, 0.4),
    "checkpointing": (False, True),
    "train_norm": (False, True),
}
CROP = CropInput(template_size=32, search_size=64)
COMBINATIONS = 48
TRUTH = torch.tensor([[0.3, 0.35, 0.6, 0.7], [0.1, 0.2, 0.5, 0.6]])


def drawn(seed: int) -> TrackerSpec:
    """The first legal tracker of a seed, every axis drawn for itself."""
    rng = random.Random(seed)
    while True:
        axes = {name: rng.choice(values) for name, values in AXES.items()}
        labels = rng.choice(HEADS[axes["head"].kind].labels)
        try:
            return TrackerSpec(backbone="vit-mini", pretrained="none", crop=CROP, labels=labels, **axes)
        except ValueError:
            continue


def test_every_value_of_every_axis_is_drawn() -> None:
    specs = [drawn(seed) for seed in range(COMBINATIONS)]
    for name, values in AXES.items():
        assert all(any(getattr(spec, name) == value for spec in specs) for value in values), name


@pytest.mark.parametrize("seed", range(COMBINATIONS))
def test_a_legal_combination_builds_learns_predicts_and_merges(seed: int) -> None:
    torch.manual_seed(seed)
    model = build(drawn(seed)).train()
    images = [torch.rand(2, 3, side, side) * 255 for side in (32, 64)]
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 5:7] = True
    terms = model(*images, mask, TRUTH, 1.0)
    assert isinstance(terms, dict)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() <= {name for name, p in model.named_parameters() if p.requires_grad}
    assert gradients and all(gradient.isfinite().all() for gradient in gradients.values())
    model.eval()
    with torch.no_grad():
        apart = model(*images, mask)
        merge(model)
        together = model(*images, mask)
    torch.testing.assert_close(together.score_map, apart.score_map, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.boxes, apart.boxes, atol=1e-5, rtol=1e-5)


FAMILIES = {
    "vit_small_patch14_dinov2.lvd142m": 384,
    "vit_base_patch14_dinov2.lvd142m": 768,
    "vit_large_patch14_dinov2.lvd142m": 1024,
    "vit_giant_patch14_dinov2.lvd142m": 1536,
    "vit_base_patch16_224.mae": 768,
    "vit_base_patch16_clip_224.openai": 768,
    "eva02_base_patch14_224.mim_in22k": 768,
    "vit_base_patch16_224.augreg_in21k": 768,
    "vit_base_patch16_dinov3.lvd1689m": 768,
}
"""One tag of each family of pretrained ViTs, and DINOv2's four sizes, with their widths."""


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_of_pretrained_vits_is_a_backbone(name: str) -> None:
    """At its own size, on the meta device; what it computes is held to timm's blocks in test_backbones.py."""
    patch = 14 if "patch14" in name else 16
    crop = CropInput(template_size=8 * patch, search_size=16 * patch)
    spec = TrackerSpec(backbone=f"timm/{name}", pretrained="none", crop=crop, head=MLPHead(), labels="iou-aware")
    with torch.device("meta"):
        model = build(spec).eval()
        found = model(*(torch.empty(1, 3, side, side) for side in (crop.template_size, crop.search_size)))
    assert model.encoder.dim == FAMILIES[name]
    assert model.encoder.project.kernel_size == (patch, patch)
    assert found.score_map.shape == (1, 16, 16)
