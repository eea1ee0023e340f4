"""The sizes of a scaled-down tracker."""

from pydantic import Field, PositiveFloat, PositiveInt

from trackablate.trackers.axes.frozen import Frozen

PAPER_RANK = 64
"""LoRAT's rank. `Scale.lora_rank` replaces it."""


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

    def of_rank(self, size: int) -> int:
        """Return a rank or a width in proportion, so that rank 16 stays a quarter of rank 64, but not below 1."""
        return max(1, round(size * self.lora_rank / PAPER_RANK))
