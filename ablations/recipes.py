"""The published trainings: recipe and data of each paper, to the letter. Epochs have PAIRS pairs unless stated.

The sources are DETRack, section 4.1, and OSTrack and LoRAT, section 4.1 with their published settings. A profile with a
recipe of its own (`mini`) takes from these only the differences between rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trackablate.harness.spec import Recipe, VideoData
from trackablate.trackers.spec import TrackerSpec
from trackablate.trackers.variants import CROP_384

PAIRS = 60_000
"""Image pairs per epoch in OSTrack and DETRack (and in DETRack's Table 1 for everyone)."""

LORAT_PAIRS = 131_072

BATCH = 128
DETRACK_AT_ONCE, LORAT_AT_ONCE = 64, 16
"""Pairs of a batch that one GPU holds: two GPUs in DETRack (section 4.1), eight in LoRAT."""

ONE_SHOT = VideoData(sets=("got10k-train",))
"""GOT-10k's protocol: its own training videos and no others."""

FOUR_SETS = VideoData(sets=("lasot-train", "got10k-train-vottrain", "coco2017-train", "trackingnet-train"))
"""The usual four sets, drawn equally often; of GOT-10k the 7086 videos that the published trackers train on."""


def lorat_draws(data: VideoData) -> VideoData:
    """Return the data as LoRAT draws them: exact shares of sets, sequences without replacement, COCO by image."""
    return data.model_copy(update={"pairs_per_epoch": LORAT_PAIRS, "by_image": True})


LORAT_ONE_SHOT_SETS, LORAT_SETS = lorat_draws(ONE_SHOT), lorat_draws(FOUR_SETS)

ONE_SHOT_WARM_UP = (20 / 100, 70 / 100)
"""Shares of OSTrack's one-shot training of 100 epochs at which candidate elimination starts and is complete."""


@dataclass(frozen=True)
class Training:
    """A training at paper scale, and the protocols that its result is evaluated on.

    A protocol that no training of a study names belongs to the last training.

    Attributes:
        elimination: Shares of the training at which candidate elimination starts and is complete; None for the tracker's.
    """

    recipe: Recipe
    data: VideoData
    protocols: tuple[str, ...]
    elimination: tuple[float, float] | None = None


def epochs(recipe: Recipe) -> float:
    """Return how many times a recipe sees PAIRS pairs, the papers' common measure (DETRack, Table 1)."""
    return recipe.steps * recipe.batch_size / PAIRS


def ostrack(epochs: int, **changes: Any) -> Recipe:
    """Return OSTrack's recipe: AdamW on everything, the rate a tenth in the last fifth, causal frame pairs."""
    recipe = Recipe(
        steps=epochs * PAIRS // BATCH,
        batch_size=BATCH,
        micro_batch=DETRACK_AT_ONCE,
        lr_backbone=4e-5,
        lr_new=4e-4,
        weight_decay=1e-4,
        decayed="all",
        warmup_steps=0,
        schedule="step",
        final_share=0.1,
        clip_norm=0.1,
        image_pairs=0.0,
        frame_pairs="causal",
        augmentation="ostrack-published",
        least_frames=20,
        least_visible=5,
        clip_truth=False,
        validation_pairs=4096,
        checkpoint_every=PAIRS // BATCH,
    )
    return Recipe.model_validate(recipe.model_dump() | changes)


def lorat(epochs: int, **changes: Any) -> Recipe:
    """Return LoRAT's recipe: one rate, warm-up over two epochs, cosine. Its epochs have LORAT_PAIRS pairs."""
    per_epoch = LORAT_PAIRS // BATCH
    recipe = Recipe(
        steps=epochs * per_epoch,
        batch_size=BATCH,
        micro_batch=LORAT_AT_ONCE,
        precision="fp16",
        lr_backbone=1e-4,
        lr_new=1e-4,
        weight_decay=0.1,
        warmup_steps=2 * per_epoch,
        schedule="cosine",
        final_rate=1e-6,
        clip_norm=1.0,
        image_pairs=0.0,
        frame_pairs="interval",
        augmentation="lorat",
        fit_boxes=True,
        validation_pairs=4096,
        checkpoint_every=per_epoch,
    )
    return Recipe.model_validate(recipe.model_dump() | changes)


LAYER_DECAY: Mapping[str, float] = {"b": 0.7, "l": 0.8, "g": 0.9}
"""Layer-wise decay of LoRAT's fully fine-tuned baselines, by size. None is published for S, which gets B's."""


def lorat_full(epochs: int, size: str, clip_norm: float = 0.1) -> Recipe:
    """Return the recipe of LoRAT's fully fine-tuned baselines: layer-wise decay and a tighter clip."""
    return lorat(epochs, layer_decay=LAYER_DECAY.get(size, LAYER_DECAY["b"]), clip_norm=clip_norm)


OSTRACK_ONE_SHOT = Training(ostrack(100), ONE_SHOT, ("got10k",), ONE_SHOT_WARM_UP)
DETRACK_ONE_SHOT = Training(ostrack(20), ONE_SHOT, ("got10k",), ONE_SHOT_WARM_UP)
"""DETRack's training is OSTrack's with a fifth of the epochs (section 4.1)."""

LORAT_ONE_SHOT = Training(lorat(100), LORAT_ONE_SHOT_SETS, ("got10k",))
LORAT_FOUR_SETS = Training(lorat(170), LORAT_SETS, ("lasot", "lasot_ext", "trackingnet", "tnl2k"))


def published_training(tracker: TrackerSpec) -> Training:
    """Return the training that a tracker's own paper uses for the benchmarks other than GOT-10k."""
    if tracker.crop.geometry == "lorat":
        size = tracker.backbone.rsplit("-", 1)[-1]
        recipe = lorat_full(170, size) if tracker.adaptation.kind == "full" else lorat(170)
        return Training(recipe, LORAT_SETS, LORAT_FOUR_SETS.protocols)
    jitter = {"centre_jitter": 4.5, "scale_jitter": 0.5} if tracker.crop == CROP_384 else {}
    recipe = ostrack(60 if tracker.head.kind == "deformable" else 300, **jitter)
    return Training(recipe, FOUR_SETS, LORAT_FOUR_SETS.protocols)
