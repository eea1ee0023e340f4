"""What a tracker is: one frozen value with one field for each axis.

A named variant is one `TrackerSpec` (`trackers/variants.py`). A row of a study is a baseline with fields replaced
(`replace`). The values that the fields can take are in `trackers/axes/`, the modules that they build in `heads/`,
`adaptation/` and `encoder/`. Nothing here imports torch, because planning and reporting read specifications.
"""

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue, PositiveFloat, model_validator
from pydantic_core import to_jsonable_python

from trackablate.trackers.axes.adaptations import (
    IA3,
    Adaptation,
    Adapter,
    BitFit,
    FrozenBackbone,
    FullFineTuning,
    LoRA,
    LoRATarget,
    Prompts,
)
from trackablate.trackers.axes.frozen import Frozen
from trackablate.trackers.axes.heads import (
    AnyHead,
    CentreHead,
    ConvHead,
    CornerHead,
    DeformableHead,
    Denoising,
    HeadSpec,
    Labels,
    MLPHead,
)
from trackablate.trackers.axes.inputs import CandidateElimination, CropInput, InputEmbedding
from trackablate.trackers.plugins import HEADS

# Plugins and the other packages import the values of the axes from here, too.
__all__ = ["ILLEGAL", "AnyTracker", "FloorSpec", "Frozen", "OutsideSpec", "TrackerSpec"]
__all__ += ["differences", "fingerprint", "leaves", "replace", "with_fields"]
__all__ += ["CandidateElimination", "CropInput", "Denoising", "InputEmbedding", "Labels"]
__all__ += ["Adaptation", "BitFit", "FrozenBackbone", "FullFineTuning", "LoRA", "LoRATarget"]
__all__ += ["IA3", "Adapter", "Prompts"]
__all__ += ["CentreHead", "ConvHead", "CornerHead", "DeformableHead", "HeadSpec", "MLPHead"]


ALWAYS_HASHED = ("kind", "revision")
"""Fields that a fingerprint covers even at their default: the class of a value, and the version of the code behind it."""


def fingerprint(value: BaseModel) -> str:
    """Return a hash of the fields in which a value differs from its defaults: 16 hexadecimal digits.

    A new field with a default therefore changes no fingerprint. A default that changes would change the meaning of stored
    fingerprints: raise the revision in `harness.spec` with it.
    """
    return hashlib.sha256(_as_text(_differing(value)).encode()).hexdigest()[:16]


def _differing(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = {name: field for name, field in type(value).model_fields.items() if not field.exclude}
        found = {name: _differing(getattr(value, name)) for name in fields}
        return {
            name: inner
            for name, inner in found.items()
            if name in ALWAYS_HASHED or fields[name].is_required() or _as_text(inner) != _default(type(value), name)
        }
    if isinstance(value, dict):
        return {str(key): _differing(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_differing(inner) for inner in value]
    found = to_jsonable_python(value)
    return sorted(found, key=_as_text) if isinstance(value, set | frozenset) else found


@cache
def _default(model: type[BaseModel], name: str) -> str:
    return _as_text(_differing(model.model_fields[name].get_default(call_default_factory=True)))


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class TrackerSpec(Frozen):
    """A one-stream tracker: one vision transformer reads template and search region together, a head finds the box.

    Attributes:
        name: For people. It is neither stored nor part of the fingerprint.
        backbone: A name in `trackers.encoder.backbones.BACKBONES`, or "timm/NAME" for any of timm's vision transformers.
        pretrained: `shipped` takes the project's own weights where it ships some for this backbone, else a random
            start. `timm`, `none` and "file:PATH" are the others.
        drop_path: Rate of stochastic depth. A uniform rate above 0.1 leaves whole examples out of a
            branch's computation (DINOv2, LoRAT).
        drop_path_depth: `uniform` gives all blocks the rate; `linear` lets it rise from 0 to the rate (OSTrack).
        checkpointing: Whether to compute activations again in the backward pass instead of keeping them.
        attention: Under `mixed`, the template's queries see the template only.
        train_norm: Whether an adaptation that freezes the encoder still trains its final norm. LoRAT's published
            ablations of heads and attention do so.
        sparsity: Which search tokens are dropped on the way; None keeps all.
        denoising: Extra queries for a decoder's training; None trains without them.
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
    head: AnyHead = CentreHead()
    labels: Labels = "gaussian"
    denoising: Denoising | None = None

    @property
    def loss_adds_up(self) -> bool:
        """Whether the losses of a batch's parts sum to the batch's loss, as LoRAT's do: they have one common divisor."""
        return self.labels in ("iou-aware", "hard")

    @model_validator(mode="after")
    def _legal(self) -> Self:
        allowed = HEADS[self.head.kind].labels
        for broken, reason in ILLEGAL:
            if broken(self):
                why = reason.format(head=self.head.kind, allowed=" or ".join(allowed))
                raise ValueError(f"tracker {self.name!r}: {why}")
        return self


class FloorSpec(Frozen):
    """A tracker that learns nothing, as a lower bound for the others.

    Attributes:
        kind: `static` repeats the first box. `ncc` matches the first template by normalised cross-correlation at three
            scales.
    """

    kind: Literal["static", "ncc"]

    @property
    def name(self) -> str:
        """Return the name of its row in tables."""
        return self.kind


class OutsideSpec(Frozen):
    """A tracker that is not trained here: a class with `initialise(image, box)` and `update(image)`, in its own process.

    Attributes:
        target: The class, as `module:Class`.
        arguments: Its keyword arguments, part of what the tracker is.
        python: The Python of its own environment; empty for this one.
        timeout: Seconds that a frame may take; its start may take ten times as long.
        version: Any text; change it when the class's code changes, so that older results are not taken for the new ones.
    """

    kind: Literal["outside"] = "outside"
    target: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    python: str = ""
    timeout: PositiveFloat = 120.0
    version: str = ""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def name(self) -> str:
        """Return the class with its arguments, in words."""
        words = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return self.target + (f"({words})" if words else "")

    @property
    def slug(self) -> str:
        """Return the class and its short arguments as part of a file name."""
        values = [str(value) for value in self.arguments.values() if isinstance(value, str | int | float)]
        return (
            re.sub(r"[^A-Za-z0-9.]+", "-", "-".join([self.target.rpartition(":")[2], *values])).strip("-")[:48].lower()
        )


AnyTracker = Annotated[TrackerSpec | FloorSpec | OutsideSpec, Field(discriminator="kind")]

ILLEGAL: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (
        lambda s: s.labels not in HEADS[s.head.kind].labels,
        "label assignments belong to heads: the labels of head '{head}' are {allowed}",
    ),
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
        "DoRA takes its magnitudes from the pretrained weights: it needs the init 'lora' or 'gaussian'",
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
"""Combinations of axes that cannot work, each with the reason.

What depends on a backbone's weights (its depth, patch size and rotary positions) is refused where the model is built.
"""


def replace(spec: TrackerSpec, **fields: Any) -> TrackerSpec:
    """Return the specification with whole fields replaced and everything validated again.

    Raises ValueError for an unknown field or an illegal combination.
    """
    strange = fields.keys() - TrackerSpec.model_fields.keys()
    if strange:
        raise ValueError(f"unknown tracker fields {sorted(strange)}; there are {sorted(TrackerSpec.model_fields)}")
    return TrackerSpec(**({name: getattr(spec, name) for name in TrackerSpec.model_fields} | fields))


def differences(spec: BaseModel, other: BaseModel) -> dict[str, tuple[Any, Any]]:
    """Return the fields that differ, dotted down to the leaf: {field: (value in spec, value in other)}."""
    a, b = leaves(spec), leaves(other)
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def changes_of(spec: TrackerSpec, baseline: TrackerSpec) -> dict[str, Any]:
    """Return the fields that `replace` needs to make this tracker from a baseline. The name is left out."""
    fields = (name for name in TrackerSpec.model_fields if name not in ("kind", "name"))
    return {name: getattr(spec, name) for name in fields if getattr(spec, name) != getattr(baseline, name)}


def leaves(spec: BaseModel) -> dict[str, Any]:
    """Return all fields of a specification, dotted down to the leaf."""
    return _leaves(spec.model_dump())


def with_fields(spec: TrackerSpec, fields: dict[str, Any]) -> TrackerSpec:
    """Return the specification with dotted fields replaced, as a study's file writes them: {"adaptation.rank": 16}.

    Raises ValueError for a field that does not exist or an illegal combination.
    """
    document = spec.model_dump(mode="json") | {"name": spec.name}
    for path, value in fields.items():
        *parents, last = path.split(".")
        inner: Any = document
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or (not parents and last not in TrackerSpec.model_fields):
            raise ValueError(f"{path!r} is not a field of tracker {spec.name!r}; it has: {', '.join(leaves(spec))}")
        inner[last] = value
    return TrackerSpec.model_validate(document)


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {k: v for key, inner in value.items() for k, v in _leaves(inner, f"{path}.{key}" if path else key).items()}
