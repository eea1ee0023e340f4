"""Counts of the work that a run still has to do, in units whose time is known. Imports no torch."""

from collections.abc import Mapping
from typing import Literal

from trackablate.harness.planning.ranges import Range, total
from trackablate.harness.running.observer import Missing
from trackablate.harness.spec import Recipe, SyntheticData
from trackablate.trackers.spec import FloorSpec

Unit = Literal["setup", "step", "validated", "tracked", "online", "textures", "clip", "frame", "image"]
"""What is counted and timed: building a model, an optimiser step with its pairs, a validation pair, a frame tracked beside
other sequences, a frame tracked alone, the textures of a generated split, planning a generated clip, drawing a generated
frame, and decoding an image file."""
FIXED: tuple[Unit, ...] = ("setup", "textures", "clip", "frame", "image")
"""Units whose time does not grow with a tracker's MACs."""

VALIDATION_CLIPS, FRAMES_PER_CLIP = 64, 8
"""As in `harness.training.loading`, which imports torch. A test compares them."""
SPEED_FRAMES = 9 * 24 + 10 + 25
"""Frames per run in `harness.tracking.speed`: rounds, warm-up, and drawing. A test compares them."""


def training_work(item: Missing) -> dict[Unit, float]:
    """Return what is left of a run's training after its last checkpoint; empty if nothing is left."""
    recipe, data = item.task.run.recipe, item.task.run.data
    if not item.training or recipe is None or data is None:
        return {}
    steps = recipe.steps - item.steps_done
    validations = -(-recipe.steps // recipe.checkpoint_every) - item.steps_done // recipe.checkpoint_every
    validated = validations * recipe.validation_pairs
    work: dict[Unit, float] = {"setup": 1, "step": steps, "validated": validated}
    if not isinstance(data, SyntheticData):
        return work | {"image": round((2 - recipe.image_pairs) * steps * recipe.batch_size) + 2 * validated}
    held_out = data.model_copy(update={"clips": VALIDATION_CLIPS, "pairs_per_clip": 10**9})
    clips, frames = drawn(data, recipe, steps * recipe.batch_size)
    more_clips, more_frames = drawn(held_out, recipe, recipe.validation_pairs)
    return work | {"textures": 2, "clip": clips + more_clips, "frame": frames + more_frames}


def tracking_work(item: Missing) -> dict[Unit, float]:
    """Return what is left of a run's evaluations; empty if nothing is left."""
    if not item.frames:
        return {}
    work: dict[Unit, float] = {"tracked": item.frames, "image": item.frames - item.generated}
    if item.generated:
        work |= {"clip": item.sequences, "frame": item.generated}
    if isinstance(item.task.run.tracker, FloorSpec):  # has no model; it comes last, when the worker has its textures
        return work
    return work | {"setup": len(item.task.evaluations), "textures": 1 if item.generated else 0}


def speed_work(item: Missing) -> dict[Unit, float]:
    """Return what measuring a run's speed takes; empty if it is measured. A floor has no model to set up."""
    setup = 0 if isinstance(item.task.run.tracker, FloorSpec) else 1
    return {"setup": setup, "online": SPEED_FRAMES} if item.speed else {}


def drawn(data: SyntheticData, recipe: Recipe, pairs: int) -> tuple[float, float]:
    """Return the expected numbers of clips and frames that are drawn for `pairs` training pairs.

    With p pairs per clip, clip c is in the window for the pairs p (c + 1 - clips) to p (c + 1). Each of those pairs takes
    it with probability 1 / clips, and uses two of its frames, or one if the pair is made of a single image.
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


def seconds_of(work: Mapping[Unit, float], times: Mapping[Unit, Range]) -> Range:
    """Return the seconds of some work. A unit without a time is part of another unit, or takes no time."""
    return total(times[unit].times(count) for unit, count in work.items() if unit in times)
