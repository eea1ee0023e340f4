"""How much work a run still is, counted in what can be timed: steps, pairs, frames. Imports no torch."""

from dataclasses import dataclass

from trackablate.harness.running.observer import Missing
from trackablate.harness.spec import Recipe, RunSpec, SyntheticData

VALIDATION_CLIPS = 64
FRAMES_PER_CLIP = 8
"""As in `harness.training.loading`, which imports torch; a test holds them equal."""
BOX_BYTES = 70
"""Of one box in a result file, about."""


@dataclass(frozen=True)
class Training:
    """What is left of a training. pairs: of all steps left; validated: validation pairs looked at; splits, clips, frames:
    generated ones whose textures are made, that are planned, and drawn; decoded: images read from files.
    """

    steps: int = 0
    pairs: int = 0
    validated: int = 0
    splits: int = 0
    clips: float = 0.0
    frames: float = 0.0
    decoded: int = 0


@dataclass(frozen=True)
class Tracking:
    """What is left of tracking. frames: all; splits, clips, drawn: generated; decoded: read from files; evaluations: how
    many have something left.
    """

    frames: int = 0
    splits: int = 0
    clips: int = 0
    drawn: int = 0
    decoded: int = 0
    evaluations: int = 0


def training_left(item: Missing) -> Training:
    """What is left of the item's training, from its last checkpoint on."""
    run = item.task.run
    if not item.training or run.recipe is None or run.data is None:
        return Training()
    recipe, done = run.recipe, item.steps_done
    steps = recipe.steps - done
    validations = -(-recipe.steps // recipe.checkpoint_every) - done // recipe.checkpoint_every
    pairs, validated = steps * recipe.batch_size, validations * recipe.validation_pairs
    clips, frames = _drawn(run, pairs)
    if isinstance(run.data, SyntheticData):
        return Training(steps, pairs, validated, 2, clips, frames)  # the training's split, and the validation's
    decoded = round((2 - recipe.image_pairs) * pairs) + 2 * validated
    return Training(steps, pairs, validated, decoded=decoded)


def tracking_left(item: Missing) -> Tracking:
    """What is left of the item's evaluations."""
    made, read = item.generated, item.frames - item.generated
    clips = item.sequences if made else 0
    return Tracking(item.frames, int(made > 0), clips, made, read, len(item.task.evaluations) if item.sequences else 0)


def _drawn(run: RunSpec, pairs: int) -> tuple[float, float]:
    if not isinstance(run.data, SyntheticData) or run.recipe is None:
        return 0.0, 0.0
    clips, frames = drawn_clips(run.data, run.recipe, pairs)
    fixed = run.data.model_copy(update={"clips": VALIDATION_CLIPS, "pairs_per_clip": 10**9})
    more_clips, more_frames = drawn_clips(fixed, run.recipe, run.recipe.validation_pairs)
    return clips + more_clips, frames + more_frames


def drawn_clips(data: SyntheticData, recipe: Recipe, pairs: int) -> tuple[float, float]:
    """How many clips and frames are expected to be drawn for `pairs` training pairs: (clips, frames).

    Clip c is in the window for pairs p (c + 1 - clips) to p (c + 1), where p is pairs_per_clip; each pair takes it with
    probability 1 / clips, and of its frames two, or one where the pair is made of a single image.
    """
    usable = min(FRAMES_PER_CLIP, data.length)
    share = min(1.0, (2 - recipe.image_pairs) / usable)
    clips = frames = 0.0
    for c in range(data.clips + max(0, pairs - 1) // data.pairs_per_clip):
        first = max(0, data.pairs_per_clip * (c + 1 - data.clips))
        inside = max(0, min(pairs, data.pairs_per_clip * (c + 1)) - first)
        clips += 1 - (1 - 1 / data.clips) ** inside
        frames += usable * (1 - (1 - share / data.clips) ** inside)
    return clips, frames
