"""What a tracker is: one frozen value with an orthogonal field per axis. Imports no torch: planning and reporting use it.

A named variant is one `TrackerSpec`; a row of a study is a baseline with fields replaced (`replace`). Which tensor code
an axis builds is one dispatch table in the module named after the axis.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator


class Frozen(BaseModel):
    """Immutable, and refuses unknown fields: a misspelt field is an error, never a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def fingerprint(value: BaseModel) -> str:
    """Hash of a value's resolved content: 16 hexadecimal digits, equal exactly where every field is equal."""
    content = json.dumps(value.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class CropInput(Frozen):
    """Sizes in pixels of the square crops, and their sides as a factor of sqrt(w*h) (OSTrack, section 4.1). Online, a
    box never gets narrower or lower than min_side pixels of the image, and its size follows the predicted one by the
    share size_rate of the way (in log size) per frame: 1, at once, in the published trackers."""

    template_size: PositiveInt = 128
    search_size: PositiveInt = 256
    template_factor: PositiveFloat = 2.0
    search_factor: PositiveFloat = 4.0
    min_side: PositiveFloat = 10.0
    size_rate: Annotated[float, Field(gt=0, le=1)] = 1.0


class FullFineTuning(Frozen):
    kind: Literal["full"] = "full"


class FrozenBackbone(Frozen):
    kind: Literal["frozen"] = "frozen"


LoRATarget = Literal["q", "k", "v", "proj", "fc1", "fc2"]


class LoRA(Frozen):
    """Low-rank adaptation of the blocks' linear layers (LoRAT, section 3.3); q, k and v are adapted separately.

    init `lorat` draws both factors from a normal with std 0.02 (`trunc_normal_` as published, whose bounds of -2 and 2
    no draw reaches), so the adapted model does not start as the pretrained one; `lora` starts B at zero.
    """

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = 64
    alpha: PositiveInt = 64
    targets: tuple[LoRATarget, ...] = ("q", "k", "v", "proj", "fc1", "fc2")
    init: Literal["lorat", "lora"] = "lorat"


Adaptation = Annotated[FullFineTuning | FrozenBackbone | LoRA, Field(discriminator="kind")]


class InputEmbedding(Frozen):
    """How tokens learn where they are and what they are.

    positions `separate`: one table each for template and search, both started from the pretrained grid (OSTrack);
    `shared`: one table at the search grid (LoRAT, section 3.2). template_positions: how the template's positions come
    from that grid, resized (`interpolate`) or its top-left corner (`slice`). token_types: 0 none; 2 template, search;
    3 template background, template foreground, search (foreground indication).
    """

    positions: Literal["separate", "shared"] = "separate"
    template_positions: Literal["interpolate", "slice"] = "interpolate"
    token_types: Literal[0, 2, 3] = 0
    trainable_positions: bool = True


class CandidateElimination(Frozen):
    """OSTrack, section 3.2: after the attention of each listed block (0-based), keep the search tokens that the
    template's centre token attends to most. keep_ratio is the share kept per block; in training it falls from 1 along a
    cosine between `start` and `end`, shares of the training's steps (20 and 100 of 300 epochs).
    """

    kind: Literal["candidate-elimination"] = "candidate-elimination"
    layers: tuple[int, ...] = (3, 6, 9)
    keep_ratio: Annotated[float, Field(gt=0, le=1)] = 0.7
    start: Annotated[float, Field(ge=0, le=1)] = 20 / 300
    end: Annotated[float, Field(ge=0, le=1)] = 100 / 300


class CentreHead(Frozen):
    """OSTrack's convolutional centre head: three towers of 3x3 convolutions, `channels` halved at each."""

    kind: Literal["centre"] = "centre"
    channels: PositiveInt = 256


class MLPHead(Frozen):
    """LoRAT's head: two token-wise MLPs of `layers` linear layers, anchor-free (LoRAT, section 3.4)."""

    kind: Literal["mlp"] = "mlp"
    layers: Annotated[int, Field(ge=1)] = 3


class DeformableHead(Frozen):
    """DETRack's decoder as head (sections 3.2 to 3.4 and 4.1).

    Stated in the paper: width 256, 3 layers, K = 64 queries. Left open there, with our defaults: `heads` and `points` as
    in Deformable DETR (8, 4); `feedforward` 2048, which of the usual widths comes closest to the 2.0 M parameters that
    Table 3 puts between the two heads; `top_k` tokens inside the true box that get a box loss.
    """

    kind: Literal["deformable"] = "deformable"
    width: PositiveInt = 256
    layers: PositiveInt = 3
    queries: PositiveInt = 64
    heads: PositiveInt = 8
    points: PositiveInt = 4
    feedforward: PositiveInt = 2048
    top_k: PositiveInt = 9


Head = Annotated[CentreHead | MLPHead | DeformableHead, Field(discriminator="kind")]


class Denoising(Frozen):
    """DETRack, section 3.5: groups of one positive and one negative query made from the noised true box.

    shift and scale are lambda_1 and lambda_2, shares of the box's side; a negative's noise lies between one and two times
    the positive's. The paper leaves the number of groups and the noise open: ours are DN-DETR's usual values.
    """

    kind: Literal["centre-corner"] = "centre-corner"
    groups: PositiveInt = 5
    shift: Annotated[float, Field(gt=0, lt=1)] = 0.4
    scale: Annotated[float, Field(gt=0, lt=1)] = 0.4


Labels = Literal["gaussian", "iou-aware", "localisation-quality"]


class TrackerSpec(Frozen):
    """A one-stream tracker, one field per axis. `name` is for people: it is neither
    stored nor part of the fingerprint."""

    kind: Literal["one-stream"] = "one-stream"
    name: str = Field(default="", exclude=True)
    backbone: str = "vit-b16"
    crop: CropInput = CropInput()
    adaptation: Adaptation = FullFineTuning()
    embedding: InputEmbedding = InputEmbedding()
    sparsity: CandidateElimination | None = None
    head: Head = CentreHead()
    labels: Labels = "gaussian"
    denoising: Denoising | None = None

    @model_validator(mode="after")
    def _legal(self) -> Self:
        for broken, reason in ILLEGAL:
            if broken(self):
                raise ValueError(f"tracker {self.name!r}: {reason}")
        return self


class FloorSpec(Frozen):
    """A tracker that learns nothing, for the reader to compare with: `static` repeats the first box, `ncc` matches the
    first template by normalised cross-correlation at three scales."""

    kind: Literal["static", "ncc"]

    @property
    def name(self) -> str:
        """The floor's row name."""
        return self.kind


AnyTracker = Annotated[TrackerSpec | FloorSpec, Field(discriminator="kind")]


def _labels_do_not_fit(spec: TrackerSpec) -> bool:
    return spec.labels != LABELS_OF_HEAD[spec.head.kind]


LABELS_OF_HEAD: dict[str, Labels] = {"centre": "gaussian", "mlp": "iou-aware", "deformable": "localisation-quality"}

ILLEGAL = (
    (_labels_do_not_fit, f"each head has one label assignment so far: {LABELS_OF_HEAD}"),
    (
        lambda s: s.denoising is not None and s.head.kind != "deformable",
        "denoising adds queries to a decoder: it needs head 'deformable'",
    ),
    (
        lambda s: s.embedding.positions == "separate" and s.embedding.template_positions == "slice",
        "slicing takes the template's positions from the search table: it needs positions 'shared'",
    ),
)
"""Combinations of axes that cannot work, each with the reason: the one place where they are refused."""


def replace(spec: TrackerSpec, **fields: Any) -> TrackerSpec:
    """The specification with whole fields replaced, validated again. Names of fields, never nested dictionaries.

    Raises ValueError for an unknown field or an illegal combination.
    """
    unknown = fields.keys() - TrackerSpec.model_fields.keys()
    if unknown:
        raise ValueError(f"unknown tracker fields {sorted(unknown)}; there are {sorted(TrackerSpec.model_fields)}")
    return TrackerSpec(**({name: getattr(spec, name) for name in TrackerSpec.model_fields} | fields))


def differences(spec: TrackerSpec, other: TrackerSpec) -> dict[str, tuple[Any, Any]]:
    """Fields in which two specifications differ, dotted down to the leaf: {field: (spec's value, other's value)}."""
    a, b = _leaves(spec.model_dump()), _leaves(other.model_dump())
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {k: v for key, inner in value.items() for k, v in _leaves(inner, f"{path}.{key}" if path else key).items()}
