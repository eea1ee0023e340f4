"""A run, its evaluations, and the profile that sizes them, as they are asked for. Imports no torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from trackablate.datasets.errors import unsafe
from trackablate.datasets.pairs.augmentation import Augmentation
from trackablate.datasets.pairs.sampling import FramePairs
from trackablate.datasets.pairs.training_sets import TRAINING_SETS, one_shot, versioned
from trackablate.datasets.registry import unknown
from trackablate.trackers.scale import Scale
from trackablate.trackers.spec import AnyTracker, FloorSpec, Frozen, OutsideSpec, TrackerSpec, fingerprint

TRAINING_REVISION = 3
"""Raised whenever the same specification would train to other weights, so that older runs are not taken for it."""

TRACKING_REVISION = 2
"""Raised whenever the same weights would track to other boxes."""

Precision = Literal["fp32", "tf32", "bf16", "fp16"]

GPU_ONLY: tuple[Precision, ...] = ("tf32", "fp16")
"""Precisions that no CPU trains in."""


class Recipe(Frozen):
    """How every variant of a study is trained.

    Attributes:
        micro_batch: Number of pairs that go forward and backward at a time, so that one GPU holds a batch that was published
            for several; None for the whole batch. The gradients sum to the batch's (`OneStreamTracker.loss_divisor`); batch
            normalisation sees a micro-batch.
        precision: Type of the products of matrices. fp16 scales the loss; bf16 and fp16 keep trained weights in float32.
        compile: Whether torch compiles the backbone's blocks in training, which changes results by rounding. Where it
            cannot, they are computed as they are.
        lr_backbone: Peak learning rate of pretrained weights, as in OSTrack and DETRack.
        lr_new: Peak learning rate of weights that start from scratch (head, token types, LoRA).
        schedule: After linear warm-up, `cosine` falls to `final_share` of the peak (LoRAT); `step` drops to it at once after
            the share `step_at` of the steps (OSTrack, DETRack).
        decayed: Weight decay of `matrices` only, which spares biases, norms and embeddings (LoRAT), or of `all` (OSTrack).
        final_rate: Learning rate at which a cosine ends for all parameters, whatever their peak (LoRAT). None for
            `final_share` of each peak.
        layer_decay: Factor by which the rate falls per block towards the input (LoRAT's full fine-tuning).
        least_frames: Frames that a video needs to be drawn; images are exempt (OSTrack: 20).
        least_visible: Usable frames that such a video needs (OSTrack: 5).
        clip_truth: Whether the true box is cut to the search crop for all losses. OSTrack cuts it for L1 and GIoU only,
            not for the heat map.
        fit_boxes: Whether annotated boxes are cut to the image before cropping (LoRAT).
        checkpoint_every: Number of steps after which the run is validated, and from which it can be resumed.
    """

    steps: PositiveInt
    batch_size: PositiveInt
    micro_batch: PositiveInt | None = None
    precision: Precision = "fp32"
    compile: bool = False
    lr_backbone: PositiveFloat
    lr_new: PositiveFloat
    weight_decay: NonNegativeFloat
    warmup_steps: NonNegativeInt
    schedule: Literal["cosine", "step"] = "cosine"
    step_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    final_share: NonNegativeFloat = 0.01
    final_rate: PositiveFloat | None = None
    decayed: Literal["matrices", "all"] = "matrices"
    clip_norm: PositiveFloat = 1.0
    centre_jitter: NonNegativeFloat = 3.0
    scale_jitter: NonNegativeFloat = 0.25
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    image_pairs: Annotated[float, Field(ge=0, le=1)] = 0.25
    frame_pairs: FramePairs = "any"
    augmentation: Augmentation = "ostrack"
    least_frames: NonNegativeInt = 0
    least_visible: NonNegativeInt = 0
    clip_truth: bool = True
    fit_boxes: bool = False
    validation_pairs: PositiveInt = 256
    checkpoint_every: PositiveInt = 50

    @property
    def pairs_at_once(self) -> int:
        """Number of pairs that the device holds at a time."""
        return min(self.micro_batch or self.batch_size, self.batch_size)


class SyntheticData(Frozen):
    """Training pairs from the generator.

    A window of `clips` clips moves on by one clip every `pairs_per_clip` pairs, so that long training sees new clips all the
    time and memory stays bounded.
    """

    kind: Literal["synthetic"] = "synthetic"
    domain: str
    clips: PositiveInt
    pairs_per_clip: PositiveInt
    length: PositiveInt
    width: PositiveInt = 160
    height: PositiveInt = 120
    version: PositiveInt


class VideoData(Frozen):
    """Training pairs from videos and images on disk.

    Attributes:
        sets: Names in `datasets.pairs.training_sets.TRAINING_SETS`.
        weights: How often each set is drawn from, in proportion; equally often if empty.
        pairs_per_epoch: Number of pairs after which every set has had exactly its share, and its sequences came in random
            order, none twice before all (LoRAT). None for independent draws.
        by_image: Whether an image is drawn first and then one of its objects (LoRAT), not an object of any image.
        validation: Sets that only the validation during training looks at.
        packed: Sets that are read as packed crops, whose pixels are not quite those of the frames: "SET: PACKING" for each.
    """

    kind: Literal["videos"] = "videos"
    sets: Annotated[tuple[str, ...], Field(min_length=1)]
    weights: tuple[PositiveFloat, ...] = ()
    pairs_per_epoch: PositiveInt | None = None
    by_image: bool = False
    validation: Annotated[tuple[str, ...], Field(min_length=1)] = ("got10k-val",)
    packed: tuple[str, ...] = ()

    @property
    def all_sets(self) -> tuple[str, ...]:
        """Names of all sets that are read."""
        return (*self.sets, *self.validation)

    @field_validator("sets", "validation")
    @classmethod
    def _versioned(cls, sets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(versioned(name) if name in TRAINING_SETS else name for name in sets)

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.all_sets:
            if name not in TRAINING_SETS and "@" not in name:  # a stored run outlives the file that declares its videos
                raise ValueError(unknown("training set", name, list(TRAINING_SETS)))
        if self.weights and len(self.weights) != len(self.sets):
            raise ValueError(f"{len(self.weights)} weights for {len(self.sets)} training sets: give one each, or none")
        if shared := set(self.sets) & set(self.validation):
            raise ValueError(f"{', '.join(sorted(shared))}: trained on and validated on")
        return self


TrainingData = Annotated[SyntheticData | VideoData, Field(discriminator="kind")]


class Imported(Frozen):
    """Where the weights of a run come from that was not trained here: the user's name for them, and their file's digest."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    sha256: str


class RunSpec(Frozen):
    """One training, or one tracker that needs none. Protocols are not part of it: one training serves any evaluation.

    Attributes:
        weights: Digest of the pretrained backbone's file; None if the backbone starts from scratch.
        imported: Where the weights come from instead of a training; `weights` is then the digest of the file that
            completed them.
        revision: Version of the code that decides which weights come out.
    """

    tracker: AnyTracker
    recipe: Recipe | None = None
    data: TrainingData | None = None
    weights: str | None = None
    seed: int = 0
    imported: Imported | None = None
    revision: int = TRAINING_REVISION

    @property
    def fingerprint(self) -> str:
        """Identity of the training: equal in two studies that need the same run."""
        return fingerprint(self)

    @property
    def name(self) -> str:
        """Readable and unique: the tracker's axes that matter, then the fingerprint's first digits."""
        return f"{self.slug}-{self.fingerprint[:8]}"

    @property
    def slug(self) -> str:
        """What the run is in short, derived from its content, since names that people choose collide."""
        t = self.tracker
        if self.imported:
            return self.imported.name
        if isinstance(t, FloorSpec):
            return t.kind
        if isinstance(t, OutsideSpec):
            return t.slug
        parts = [t.backbone.replace("/", "-"), t.head.kind, t.adaptation.kind]
        parts += ["ce"] if t.sparsity else []
        parts += ["dn"] if t.denoising else []
        return "-".join([*parts, f"s{self.seed}"])

    @property
    def trained_here(self) -> bool:
        """Whether its weights come out of a training of ours."""
        return isinstance(self.tracker, TrackerSpec) and self.imported is None

    @property
    def trained_on(self) -> str:
        """The training data in words."""
        if isinstance(self.data, VideoData):
            return ", ".join(self.data.sets)
        if self.imported:
            return f"what its published weights were (SHA-256 {self.imported.sha256[:12]})"
        if isinstance(self.tracker, OutsideSpec):
            return "what is not known here, outside this project"
        return f"generated clips of the domain {self.data.domain}" if self.data else "nothing"

    @property
    def one_shot(self) -> bool:
        """Whether it is known to keep to GOT-10k's rule: it is trained on its training videos only, or not at all."""
        if self.imported or isinstance(self.tracker, OutsideSpec):
            return False
        return self.data is None or (isinstance(self.data, VideoData) and one_shot(self.data.sets))


Control = Literal["none", "shuffled-template"]


class Evaluation(Frozen):
    """One protocol applied to one run.

    Attributes:
        data: Digest of the protocol's sequences and annotations, so that results on other data are never taken for these.
        control: `shuffled-template` shows every sequence another sequence's template.
        test_layers: Number of the decoder's layers that run, from the first; None for all (DETRack, section 5.1).
        precision: In which the network's products are computed. Reports show evaluations in fp32.
        compile: Whether the network is compiled (`harness.tracking.fixed_shapes`), which changes boxes by rounding. Reports
            show evaluations without.
        revision: Version of the code that decides which boxes come out.
    """

    protocol: str
    data: str
    control: Control = "none"
    test_layers: PositiveInt | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    revision: int = TRACKING_REVISION

    @property
    def key(self) -> str:
        """Readable and unique within a run."""
        suffix = "" if self.control == "none" else f"-{self.control}"
        suffix += f"-first{self.test_layers}" if self.test_layers else ""
        suffix += f"-{self.arithmetic}" if self.arithmetic != "fp32" else ""
        return f"{self.protocol}{suffix}-{fingerprint(self)[:8]}"

    @property
    def arithmetic(self) -> str:
        """In which precision the network is computed, with "-compiled" if it is compiled."""
        return self.precision + "-compiled" * self.compile


def _file_name(name: str) -> str:
    """Return a name that a report's folder can have. Raises ValueError for a path, or characters that are not printed."""
    if unsafe(name) or set(name) & set("/\\\n\t") or name.startswith(".") or not name.strip():
        raise ValueError(f"{name!r} cannot be the name of a folder: use printable characters without slashes")
    return name


class Profile(Frozen):
    """A size at which studies run: one TOML file in `harness/profiles`.

    Attributes:
        comparable_with_paper: Whether figures compare with the paper's. A profile of the user's own has to say so.
        caveat: What page, tables and terminal say first of a profile that is not comparable.
        scale: How trackers are made smaller; None for the published size.
        recipe: Training of every row; None for each study's published ones. `data` and `protocols` likewise.
        length: Share of the published length of trainings, if the profile has no recipe of its own.
        pretrained: Source of a backbone's weights by backbone (as `TrackerSpec.pretrained`), if not the variant's own.
        changes: Fields of every run that has them, dotted from `recipe` or `tracker`, with their values. They come last.
        packed: Training sets that are read as packed crops, with their packing; not written in a file, but by `--data`.
    """

    name: Annotated[str, AfterValidator(_file_name)]
    description: str = "a profile of one's own"
    comparable_with_paper: bool = False
    caveat: str = ""
    scale: Scale | None = None
    recipe: Recipe | None = None
    data: TrainingData | None = None
    protocols: tuple[str, ...] = ()
    length: Annotated[float, Field(gt=0, le=1)] = 1.0
    pretrained: dict[str, str] = Field(default_factory=dict)
    changes: dict[str, Any] = Field(default_factory=dict)
    packed: dict[str, str] = Field(default_factory=dict)
    worker_gigabytes: PositiveFloat = Field(description="memory that one worker needs, for planning", default=2.0)
    disk_gigabytes: PositiveFloat = Field(description="disk that one run needs, for refusing too little", default=0.05)


__all__ = ["Evaluation", "Profile", "Recipe", "RunSpec", "SyntheticData", "TrackerSpec", "TrainingData", "VideoData"]
