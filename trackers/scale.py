"""The published variants at a smaller size.

A profile names a `Scale`, and `at_scale` makes a paper-scale specification smaller. All fields that a scale may touch
are listed here, so a scaled row differs from its scaled baseline only in what the study declares.
"""

from pydantic import Field, PositiveFloat, PositiveInt

from trackablate.trackers.spec import (
    Adapter,
    CentreHead,
    ConvHead,
    CornerHead,
    CropInput,
    DeformableHead,
    Denoising,
    Frozen,
    LoRA,
    TrackerSpec,
    replace,
)

PAPER_RANK = 64
"""LoRAT's rank. `Scale.lora_rank` replaces it."""


LARGE_SEARCH = 300
"""Search crops above this many pixels are the papers' large ones (378, 384). The small ones are 224 and 256."""

LARGE = 1.5
"""Side of a large crop divided by the side of a small one: 384 / 256."""

PAPER_SEARCH_FACTOR = 4.0
"""Search factor of both papers' small crops. `Scale.search_factor` replaces it."""


class Scale(Frozen):
    """The sizes of a scaled-down tracker. Each replaces the field of the same meaning in `TrackerSpec`.

    Sizes are those of the published small crops. Large crops are LARGE times as large, and their factor grows in
    proportion.

    Attributes:
        backbone: Replaces every published backbone that `backbones` does not name.
        backbones: Published backbone to its replacement, for studies that compare backbone sizes.
    """

    backbone: str
    backbones: dict[str, str] = Field(default_factory=dict)
    template_size: PositiveInt
    search_size: PositiveInt
    template_factor: PositiveFloat
    search_factor: PositiveFloat
    min_side: PositiveFloat
    size_rate: PositiveFloat = 1.0
    elimination_layers: tuple[int, ...]
    centre_channels: PositiveInt
    decoder_width: PositiveInt
    decoder_queries: PositiveInt
    decoder_heads: PositiveInt
    decoder_feedforward: PositiveInt
    decoder_top_k: PositiveInt
    denoising_groups: PositiveInt
    lora_rank: PositiveInt


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
        adaptation=_scaled_adaptation(spec, scale),
        head=_scaled_head(spec, scale),
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


def _scaled_adaptation(spec: TrackerSpec, scale: Scale) -> object:
    """Shrink ranks and widths in proportion, so that rank 16 stays a quarter of rank 64, but not below 1."""

    def scaled(size: int) -> int:
        return max(1, round(size * scale.lora_rank / PAPER_RANK))

    adaptation = spec.adaptation
    if isinstance(adaptation, LoRA):
        return adaptation.model_copy(update={"rank": scaled(adaptation.rank), "alpha": scaled(adaptation.alpha)})
    if isinstance(adaptation, Adapter):
        return adaptation.model_copy(update={"width": scaled(adaptation.width)})
    return adaptation


def _scaled_head(spec: TrackerSpec, scale: Scale) -> object:
    if isinstance(spec.head, CentreHead | ConvHead | CornerHead):
        return spec.head.model_copy(update={"channels": scale.centre_channels})
    if isinstance(spec.head, DeformableHead):
        return spec.head.model_copy(
            update={
                "width": scale.decoder_width,
                "queries": scale.decoder_queries,
                "heads": scale.decoder_heads,
                "feedforward": scale.decoder_feedforward,
                "top_k": scale.decoder_top_k,
            }
        )
    return spec.head
