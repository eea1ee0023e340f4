"""What a tracker is: one frozen value with an orthogonal field per axis. Imports no torch: planning and reporting use it.

A named variant is one `TrackerSpec`; a row of a study is a baseline with fields replaced (`replace`). Which tensor code
an axis builds is one dispatch table in the module named after the axis.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    model_validator,
)

from trackablate.datasets.registry import Registry, unknown


class Frozen(BaseModel):
    """Immutable, and refuses unknown fields: a misspelt field is an error, never a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ALWAYS_HASHED = ("kind", "revision")
"""Fields that a fingerprint covers even at their default: which class a value is, and which version of the code it means."""


def fingerprint(value: BaseModel) -> str:
    """Return a hash of the fields in which a value differs from its defaults: 16 hexadecimal digits.

    A new field with a default therefore changes no fingerprint. A default that changes would change the meaning of stored
    fingerprints: raise the revision in `harness.spec` with it.
    """
    content = json.dumps(_differing(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _differing(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = {name: field for name, field in type(value).model_fields.items() if not field.exclude}
        found = {name: _differing(getattr(value, name)) for name in fields}
        return {
            name: inner
            for name, inner in found.items()
            if name in ALWAYS_HASHED
            or fields[name].is_required()
            or inner != _differing(fields[name].get_default(call_default_factory=True))
        }
    return [_differing(inner) for inner in value] if isinstance(value, tuple) else value


class CropInput(Frozen):
    """Sizes in pixels of the square crops, and how they are cut. geometry `ostrack`: a square of ceil(factor sqrt(w h)),
    black outside the image (OSTrack, section 4.1); `lorat`: area (w + (f - 1) m)(h + (f - 1) m) with m = (w + h) / 2,
    pixel-aligned, the image's mean outside (LoRAT). window: how a Hanning window weighs the scores online, `multiply`
    (OSTrack) or `blend` (LoRAT: 0.55 score + 0.45 window). Online, a box never gets narrower or lower than min_side
    pixels of the image, and its size follows the predicted one by the share size_rate of the way (in log size) per frame:
    1, at once, in the published trackers.
    """

    geometry: Literal["ostrack", "lorat"] = "ostrack"
    window: Literal["multiply", "blend"] = "multiply"
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
    no draw reaches), so the adapted model does not start as the pretrained one; `lora` draws A Kaiming-uniform and starts
    B at zero, `gaussian` draws A from a normal with std 1/rank and starts B at zero. rslora scales by alpha / sqrt(rank)
    instead of alpha / rank; dora adds a trained magnitude per output.
    """

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = 64
    alpha: PositiveInt = 64
    targets: tuple[LoRATarget, ...] = ("q", "k", "v", "proj", "fc1", "fc2")
    init: Literal["lorat", "lora", "gaussian"] = "lorat"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rslora: bool = False
    dora: bool = False


class Adapter(Frozen):
    """A bottleneck of `width` with GELU after every block's attention branch, added to it. init `identity` starts the
    second layer at zero; `zero`, LoRAT's published ablation, both layers: then only the second one's bias ever moves.
    """

    kind: Literal["adapter"] = "adapter"
    width: PositiveInt = 96
    init: Literal["identity", "zero"] = "identity"


class IA3(Frozen):
    """Vectors, started at one, that scale k, v and the input of the MLP's second layer."""

    kind: Literal["ia3"] = "ia3"


class Prompts(Frozen):
    """Deep visual prompts: `count` fresh trained tokens before every block's input, dropped after it."""

    kind: Literal["prompts"] = "prompts"
    count: PositiveInt = 10


class BitFit(Frozen):
    """Only the encoder's biases train."""

    kind: Literal["bitfit"] = "bitfit"


Adaptation = Annotated[
    FullFineTuning | FrozenBackbone | LoRA | Adapter | IA3 | Prompts | BitFit, Field(discriminator="kind")
]


class InputEmbedding(Frozen):
    """How tokens learn where they are and what they are.

    positions `separate`: one table each for template and search, both started from the pretrained grid (OSTrack);
    `shared`: one table at the search grid (LoRAT, section 3.2); `sinusoidal`: fixed sine-cosine positions, a grid each.
    template_positions: how the template's positions come from that grid, resized (`interpolate`) or its top-left corner
    (`slice`). trainable_positions: whether tables move; None: as the encoder does, under full fine-tuning only.
    token_types: 0 none; 2 template, search;
    3 template background, template foreground, search (foreground indication). keep_unused: store the backbone's class
    token and its own position table too, though nothing reads them, as OSTrack does: they count as its parameters.
    """

    positions: Literal["separate", "shared", "sinusoidal"] = "separate"
    template_positions: Literal["interpolate", "slice"] = "interpolate"
    token_types: Literal[0, 2, 3] = 0
    trainable_positions: bool | None = None
    keep_unused: bool = False


class CandidateElimination(Frozen):
    """OSTrack, section 3.2: after the attention of each listed block (0-based), keep the search tokens that the
    template's centre token attends to most. keep_ratio is the share kept per block; in training it falls from 1 along a
    cosine between `start` and `end`, shares of the training's steps (20 and 100 of 300 epochs). template: whose attention
    counts: the centre token's (CTR_POINT), the mean of the central 2 x 2 at 8 x 8 (CTR_REC), of all, or of the tokens
    inside the target's box (GT_BOX).
    """

    kind: Literal["candidate-elimination"] = "candidate-elimination"
    layers: tuple[int, ...] = (3, 6, 9)
    keep_ratio: Annotated[float, Field(gt=0, le=1)] = 0.7
    start: Annotated[float, Field(ge=0, le=1)] = 20 / 300
    end: Annotated[float, Field(ge=0, le=1)] = 100 / 300
    template: Literal["CTR_POINT", "CTR_REC", "ALL", "GT_BOX"] = "CTR_POINT"


class HeadSpec(Frozen):
    """What the specification of any head is; `kind`, a Literal in each, finds its class in HEAD_SPECS and its module in
    `model.HEADS`. A plugin adds another with `trackers.plugins.add_head`.
    """

    kind: str


class CentreHead(HeadSpec):
    """OSTrack's convolutional centre head: three towers of 3x3 convolutions, `channels` halved at each. offset_from: what
    the offset is added to: the cell's index (OSTrack), or its centre, the offset in units of the crop and neither score
    nor size clamped (LoRAT's ablation /ostrackhead).
    """

    kind: Literal["centre"] = "centre"
    channels: PositiveInt = 256
    offset_from: Literal["index", "centre"] = "index"


class ConvHead(HeadSpec):
    """Two towers of 3x3 convolutions for score and box, anchor-free as LoRAT's MLP head (LoRAT's ablation /convhead)."""

    kind: Literal["conv"] = "conv"
    channels: PositiveInt = 256


class CornerHead(HeadSpec):
    """STARK's corner head: two towers of 3x3 convolutions, the box's corners are the expectations of two heat maps."""

    kind: Literal["corner"] = "corner"
    channels: PositiveInt = 256


class MLPHead(HeadSpec):
    """LoRAT's head: two token-wise MLPs of `layers` linear layers, anchor-free (LoRAT, section 3.4)."""

    kind: Literal["mlp"] = "mlp"
    layers: Annotated[int, Field(ge=1)] = 3


class DeformableHead(HeadSpec):
    """DETRack's decoder as head (sections 3.2 to 3.4 and 4.1).

    Stated in the paper: width 256, 3 layers, K = 64 queries, one box MLP for all layers (shared_box_mlp; False gives the
    query selection and each layer their own). test_layers: how many of the first layers run at inference, None all
    (section 5.1, Table 4). Left open there, with our defaults: `heads` and `points` as
    in Deformable DETR (8, 4); `feedforward` 2048, which of the usual widths comes closest to the 2.0 M parameters that
    Table 3 puts between the two heads; `top_k` tokens inside the true box that get a box loss.
    """

    kind: Literal["deformable"] = "deformable"
    width: PositiveInt = 256
    layers: PositiveInt = 3
    test_layers: PositiveInt | None = None
    shared_box_mlp: bool = True
    queries: PositiveInt = 64
    heads: PositiveInt = 8
    points: PositiveInt = 4
    feedforward: PositiveInt = 2048
    top_k: PositiveInt = 9


HEAD_SPECS: Registry[type[HeadSpec]] = Registry("head")
for _head in (CentreHead, ConvHead, CornerHead, MLPHead, DeformableHead):
    HEAD_SPECS.add(_head.model_fields["kind"].default, _head)


def _of_its_kind(value: Any) -> Any:
    """The head in the class of its kind, made of a stored document or as it is. Raises ValueError for a kind that is not
    registered.
    """
    kind = str(value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None))
    if kind not in HEAD_SPECS:
        raise ValueError(f"{unknown('head', kind, HEAD_SPECS)}; a plugin's head needs its plugin: --plugin FILE")
    return HEAD_SPECS[kind].model_validate(value)


Head = Annotated[SerializeAsAny[HeadSpec], BeforeValidator(_of_its_kind)]


class Denoising(Frozen):
    """DETRack, section 3.5: groups of one positive and one negative query made from the noised true box.

    shift and scale are lambda_1 and lambda_2, shares of the box's side; a negative's noise lies between one and two times
    the positive's. The paper leaves the number of groups and the noise open: ours are DN-DETR's usual values. kind: what
    the content of the positive and of the negative is, a row of Table 5 each: two learned embeddings; the tokens at the
    true box's centre and at a corner of it; the token at its centre and a random one outside it.
    """

    kind: Literal["embedding", "centre-corner", "centre-outside"] = "centre-corner"
    groups: PositiveInt = 5
    shift: Annotated[float, Field(gt=0, lt=1)] = 0.4
    scale: Annotated[float, Field(gt=0, lt=1)] = 0.4


Labels = Literal[
    "gaussian", "iou-aware", "hard", "corner", "localisation-quality", "centre", "hungarian", "one-to-many"
]
"""gaussian: OSTrack's centre heat map. iou-aware, hard: every cell that the box touches is positive, with the predicted
box's IoU or 1 as target (LoRAT). corner: STARK's, no score is learned. localisation-quality: DETRack, section 3.4; centre,
hungarian, one-to-many (hard): its rivals."""


class TrackerSpec(Frozen):
    """A one-stream tracker, one field per axis. `name` is for people: it is neither
    stored nor part of the fingerprint.

    backbone: a name of `backbones.BACKBONES`, or any timm ViT as "timm/<its name>". pretrained: `shipped` (the
    project's own weights where it ships any for this backbone, else a random start), `timm`, `none`, or "file:<path>".
    checkpointing: recompute activations in the backward pass. drop_path: the rate of all blocks, or with
    drop_path_depth `linear` (OSTrack) that of the last, rising from 0; above 0.1 it leaves whole examples out of a
    branch's computation (DINOv2, LoRAT). attention `mixed`: the template's queries see the template only. train_norm:
    whether an adaptation that freezes the encoder leaves its final norm trainable, as LoRAT's published ablations of
    heads and attention did.
    """

    kind: Literal["one-stream"] = "one-stream"
    name: str = Field(default="", exclude=True)
    backbone: str = "vit-b16"
    pretrained: Annotated[str, Field(pattern=r"^(shipped|timm|none|file:.+)$")] = "shipped"
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop_path_depth: Literal["uniform", "linear"] = "uniform"
    checkpointing: bool = False
    crop: CropInput = CropInput()
    adaptation: Adaptation = FullFineTuning()
    embedding: InputEmbedding = InputEmbedding()
    attention: Literal["joint", "mixed"] = "joint"
    train_norm: bool = False
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
    first template by normalised cross-correlation at three scales.
    """

    kind: Literal["static", "ncc"]

    @property
    def name(self) -> str:
        """The floor's row name."""
        return self.kind


AnyTracker = Annotated[TrackerSpec | FloorSpec, Field(discriminator="kind")]


def _labels_do_not_fit(spec: TrackerSpec) -> bool:
    return spec.labels not in LABELS_OF_HEAD[spec.head.kind]


LABELS_OF_HEAD: dict[str, tuple[Labels, ...]] = {
    "centre": ("gaussian", "hard", "iou-aware"),
    "conv": ("hard", "iou-aware"),
    "corner": ("corner",),
    "mlp": ("iou-aware", "hard"),
    "deformable": ("localisation-quality", "centre", "hungarian", "one-to-many"),
}

ILLEGAL = (
    (_labels_do_not_fit, f"label assignments belong to heads: {LABELS_OF_HEAD}"),
    (
        lambda s: s.denoising is not None and s.head.kind != "deformable",
        "denoising adds queries to a decoder: it needs head 'deformable'",
    ),
    (
        lambda s: s.embedding.positions != "shared" and s.embedding.template_positions == "slice",
        "slicing takes the template's positions from the search table: it needs positions 'shared'",
    ),
    (
        lambda s: s.embedding.positions == "sinusoidal" and s.embedding.trainable_positions is True,
        "sinusoidal positions are fixed: trainable_positions must be None or False",
    ),
    (
        lambda s: s.adaptation.kind == "lora" and s.adaptation.dora and s.adaptation.init == "lorat",
        "DoRA takes its magnitudes from the pretrained weights: it needs an init that starts there, 'lora' or 'gaussian'",
    ),
    (
        lambda s: s.sparsity is not None and s.attention == "mixed",
        "candidate elimination ranks search tokens by the template's attention to them: under mixed attention the "
        "template does not see them",
    ),
    (
        lambda s: s.head.kind == "deformable" and (s.head.test_layers or 0) > s.head.layers,
        "a decoder cannot run more layers at inference (test_layers) than are trained (layers)",
    ),
)
"""Combinations of axes that cannot work, each with the reason: the one place where they are refused."""


def replace(spec: TrackerSpec, **fields: Any) -> TrackerSpec:
    """The specification with whole fields replaced, validated again. Names of fields, never nested dictionaries.

    Raises ValueError for an unknown field or an illegal combination.
    """
    strange = fields.keys() - TrackerSpec.model_fields.keys()
    if strange:
        raise ValueError(f"unknown tracker fields {sorted(strange)}; there are {sorted(TrackerSpec.model_fields)}")
    return TrackerSpec(**({name: getattr(spec, name) for name in TrackerSpec.model_fields} | fields))


def differences(spec: BaseModel, other: BaseModel) -> dict[str, tuple[Any, Any]]:
    """Fields in which two specifications differ, dotted down to the leaf: {field: (spec's value, other's value)}."""
    a, b = leaves(spec), leaves(other)
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def leaves(spec: BaseModel) -> dict[str, Any]:
    """All fields of a specification, dotted down to the leaf."""
    return _leaves(spec.model_dump())


def with_fields(spec: TrackerSpec, fields: dict[str, Any]) -> TrackerSpec:
    """The specification with dotted fields replaced, as a study's file writes them: {"adaptation.rank": 16}.

    Raises ValueError for a field that does not exist, or an illegal combination.
    """
    document = spec.model_dump(mode="json") | {"name": spec.name}
    for path, value in fields.items():
        *parents, last = path.split(".")
        inner: Any = document
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or (not parents and last not in TrackerSpec.model_fields):
            raise ValueError(f"{path!r} is no field of tracker {spec.name!r}; it has: {', '.join(leaves(spec))}")
        inner[last] = value
    return TrackerSpec.model_validate(document)


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {k: v for key, inner in value.items() for k, v in _leaves(inner, f"{path}.{key}" if path else key).items()}
