"""The axes before the head: how crops are cut, how tokens are embedded, and which search tokens are dropped."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from trackablate.trackers.axes.frozen import Frozen


class CropInput(Frozen):
    """How the square template and search crops are cut, with their sides in pixels and their factors.

    Attributes:
        geometry: `ostrack` cuts a square of side ceil(factor * sqrt(w * h)), black outside the image (OSTrack, section
            4.1). `lorat` cuts a pixel-aligned square of area (w + (f - 1) m)(h + (f - 1) m) with m = (w + h) / 2,
            filled with the image's mean outside the image (LoRAT).
        window: How a Hanning window weighs the scores online: `multiply` (OSTrack), or `blend`, which is
            0.55 * score + 0.45 * window (LoRAT).
        min_side: Smallest width and height of a tracked box, in pixels of the image.
        size_rate: Share of the way, in log size, that the box's size moves towards the predicted size in each frame.
            The published trackers use 1.
    """

    geometry: Literal["ostrack", "lorat"] = "ostrack"
    window: Literal["multiply", "blend"] = "multiply"
    template_size: PositiveInt = 128
    search_size: PositiveInt = 256
    template_factor: PositiveFloat = 2.0
    search_factor: PositiveFloat = 4.0
    min_side: PositiveFloat = 10.0
    size_rate: Annotated[float, Field(gt=0, le=1)] = 1.0


class InputEmbedding(Frozen):
    """How tokens learn where they are and what they are.

    Attributes:
        positions: `separate` has one table for the template and one for the search region, both started from the
            pretrained grid (OSTrack). `shared` has one table at the search grid (LoRAT, section 3.2). `sinusoidal` has
            fixed sine-cosine positions for each grid.
        template_positions: How the template's positions come from that grid: it is resized (`interpolate`), or its top
            left corner is taken (`slice`).
        token_types: 0 for none; 2 for template and search; 3 for template background, template foreground and search
            (foreground indication).
        trainable_positions: Whether position tables train. None trains them under full fine-tuning only.
        keep_unused: Whether to store the backbone's class token and position table although nothing reads them. OSTrack
            does, so they count as its parameters.
    """

    positions: Literal["separate", "shared", "sinusoidal"] = "separate"
    template_positions: Literal["interpolate", "slice"] = "interpolate"
    token_types: Literal[0, 2, 3] = 0
    trainable_positions: bool | None = None
    keep_unused: bool = False


class CandidateElimination(Frozen):
    """Drops, after the attention of the listed blocks, the search tokens that the template attends to least.

    Source: OSTrack, section 3.2. In training the kept share falls from 1 along a cosine between `start` and `end`.

    Attributes:
        layers: The blocks that drop tokens, 0-based.
        keep_ratio: Share of the search tokens that each of these blocks keeps.
        start: Share of the training's steps after which elimination begins (epoch 20 of 300).
        end: Share of the training's steps after which it is complete (epoch 100 of 300).
        template: The template tokens whose attention counts: the centre token (CTR_POINT), the mean of the central 2 x
            2 (CTR_REC), of all tokens (ALL), or of the tokens inside the target's box (GT_BOX).
    """

    kind: Literal["candidate-elimination"] = "candidate-elimination"
    layers: tuple[int, ...] = (3, 6, 9)
    keep_ratio: Annotated[float, Field(gt=0, le=1)] = 0.7
    start: Annotated[float, Field(ge=0, le=1)] = 20 / 300
    end: Annotated[float, Field(ge=0, le=1)] = 100 / 300
    template: Literal["CTR_POINT", "CTR_REC", "ALL", "GT_BOX"] = "CTR_POINT"
