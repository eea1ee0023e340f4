"""Counts of the work that a run still has to do, in units whose time is known. Imports no torch."""

from collections.abc import Mapping
from typing import Literal

from trackablate.harness.planning.ranges import Range, total
from trackablate.harness.running.observer import Missing
from trackablate.harness.spec import SyntheticData
from trackablate.trackers.spec import TrackerSpec

Unit = Literal["setup", "step", "tracked", "frame", "image"]
"""What is counted and timed: making a model ready, an optimiser step with its pairs and its share of the validation,
tracking a frame, drawing a generated frame, and decoding an image file. Steps and frames that were timed in a run include
the last two; those that follow from a published peak do not."""

VALIDATION_CLIPS, FRAMES_PER_CLIP = 64, 8
"""As in `harness.training.loading`, which imports torch. A test compares them."""
SPEED_FRAMES = (9 + 1) * 24 + 10 + 25
"""Frames per run in `harness.tracking.speed`: rounds, warm-up, and drawing. A test compares them. On a CPU, a frame that is
tracked alone takes about as long as one that is drawn and tracked beside others."""


def training_work(item: Missing) -> dict[Unit, float]:
    """Return what is left of a run's training after its last checkpoint; empty if nothing is left."""
    recipe, data = item.task.run.recipe, item.task.run.data
    if not item.training or recipe is None or data is None:
        return {}
    steps = recipe.steps - item.steps_done
    pairs = steps * recipe.batch_size
    images = (2 - recipe.image_pairs) * pairs + 2 * recipe.validation_pairs * steps / recipe.checkpoint_every
    if not isinstance(data, SyntheticData):
        return {"setup": 1, "step": steps, "image": images}
    clips = data.clips + pairs / data.pairs_per_clip + VALIDATION_CLIPS
    return {"setup": 1, "step": steps, "frame": min(images, FRAMES_PER_CLIP * clips)}


def tracking_work(item: Missing) -> dict[Unit, float]:
    """Return what is left of a run's evaluations; empty if nothing is left."""
    if not item.frames:
        return {}
    on_disk, setups = item.frames - item.generated, len(item.task.evaluations) * _models(item)
    return {"setup": setups, "tracked": item.frames, "frame": item.generated, "image": on_disk}


def speed_work(item: Missing) -> dict[Unit, float]:
    """Return what measuring a run's speed takes; empty if it is measured."""
    return {"setup": _models(item), "tracked": SPEED_FRAMES} if item.speed else {}


def seconds_of(work: Mapping[Unit, float], times: Mapping[Unit, Range]) -> Range:
    """Return the seconds of some work. A unit without a time is part of another unit, or takes no time."""
    return total(times[unit].times(count) for unit, count in work.items() if unit in times)


def _models(item: Missing) -> int:
    return 1 if isinstance(item.task.run.tracker, TrackerSpec) else 0
