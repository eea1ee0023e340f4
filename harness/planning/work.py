"""Counts of the work that a run still has to do, in units whose time is known to lie in a range. Imports no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from trackablate.harness.running.observer import Pending
from trackablate.harness.spec import SyntheticData
from trackablate.trackers.spec import TrackerSpec


@dataclass(frozen=True)
class Range:
    """A quantity in any unit, with low <= expected <= high."""

    low: float = 0.0
    expected: float = 0.0
    high: float = 0.0

    @classmethod
    def about(cls, value: float, error: float) -> "Range":
        """Return the range of a value with a relative error: value / (1 + error) to value * (1 + error)."""
        return cls(value / (1 + error), value, value * (1 + error))

    @classmethod
    def total(cls, ranges: "Iterable[Range]") -> "Range":
        """Return the sum. Ends add to ends, because errors that have one source do not cancel."""
        found = list(ranges)
        return cls(sum(r.low for r in found), sum(r.expected for r in found), sum(r.high for r in found))

    def times(self, factor: float) -> "Range":
        """Return the range multiplied by a factor of at least 0."""
        return Range(self.low * factor, self.expected * factor, self.high * factor)


Unit = Literal["setup", "step", "tracked", "frame", "image"]
"""Making a model ready, an optimiser step with its pairs and its share of the validation, tracking a frame, drawing a frame,
and decoding an image file. Steps and frames that were timed in a run include the last two."""

VALIDATION_CLIPS, FRAMES_PER_CLIP = 64, 8
"""As in `harness.training.loading`, which imports torch. A test compares them."""
SPEED_FRAMES = (9 + 1) * 24 + 10 + 25
"""Frames per run in `harness.tracking.speed`: rounds, warm-up, and drawing. A test compares them. On a CPU, a frame that is
tracked alone takes about as long as one that is drawn and tracked beside others."""


def training_work(item: Pending) -> dict[Unit, float]:
    """Return what is left of a run's training after its last checkpoint; empty if nothing is left."""
    recipe, data, steps = item.run.recipe, item.run.data, item.steps
    if not item.missing.training or recipe is None or data is None:
        return {}
    pairs = steps * recipe.batch_size
    images = (2 - recipe.image_pairs) * pairs + 2 * recipe.validation_pairs * steps / recipe.checkpoint_every
    if not isinstance(data, SyntheticData):
        return {"setup": 1, "step": steps, "image": images}
    clips = data.clips + pairs / data.pairs_per_clip + VALIDATION_CLIPS
    return {"setup": 1, "step": steps, "frame": min(images, FRAMES_PER_CLIP * clips)}


def tracking_work(item: Pending) -> dict[Unit, float]:
    """Return what is left of a run's evaluations; empty if nothing is left."""
    if not item.frames:
        return {}
    setups = len(item.task.evaluations) if isinstance(item.run.tracker, TrackerSpec) else 0
    return {"setup": setups, "tracked": item.frames, "frame": item.generated, "image": item.frames - item.generated}


def speed_work(item: Pending) -> dict[Unit, float]:
    """Return what measuring a run's speed takes; empty if it is measured."""
    return (
        {"setup": int(isinstance(item.run.tracker, TrackerSpec)), "tracked": SPEED_FRAMES} if item.missing.speed else {}
    )


def seconds_of(work: Mapping[Unit, float], times: Mapping[Unit, Range]) -> Range:
    """Return the seconds of some work. A unit without a time is part of another unit, or takes no time."""
    return Range.total(times[unit].times(count) for unit, count in work.items() if unit in times)
