"""What the runner tells of its work, and to whom. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from trackablate.harness.record import Spent
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Missing
from trackablate.trackers.spec import FloorSpec


@dataclass(frozen=True)
class Pending:
    """A run's task, with what is missing of it.

    Attributes:
        steps_done: Number of training steps that a checkpoint already has.
        frames: Number of frames to be tracked, over all evaluations, as far as the sequences' lengths are known.
        generated: Number of those frames that are drawn instead of read.
    """

    task: RunTask
    missing: Missing
    steps_done: int = 0
    frames: int = 0
    generated: int = 0

    @property
    def run(self) -> RunSpec:
        """The run."""
        return self.task.run

    @property
    def steps(self) -> int:
        """Number of training steps that are left."""
        return self.run.recipe.steps - self.steps_done if self.run.recipe and self.missing.training else 0


class Observer:
    """Is told how the work gets on, and chooses the order of the tasks.

    This one keeps it to itself, and starts the longest tasks first, so that no worker is left alone with a long one.
    """

    def preparing(self, device: str, workers: int, pending: Sequence[Pending]) -> None:
        """Take note that workers start and the first one prepares. Device and number of workers are those expected."""

    def prepared(self, device: str, workers: int, pending: Sequence[Pending]) -> Sequence[Pending]:
        """Return the tasks in the order in which they should start. Called once, before the first task starts."""
        return sorted(pending, key=lambda item: sum(passes(item)), reverse=True)

    def started(self, item: Pending) -> None:
        """Take note that a worker has been given a task."""

    def watch(self) -> None:
        """Look at the work. Called about twice a second while workers are at work."""

    def finished(self, item: Pending, spent: Spent | None) -> None:
        """Take note that a task has ended, and of what it took; None if it failed."""

    def measuring(self, run: RunSpec) -> None:
        """Take note that speeds are measured now. The folder of this run says how far that is."""

    def ended(self) -> None:
        """Take note that all work is done and nothing failed."""


def passes(item: Pending) -> tuple[int, int]:
    """Return the frames that go through a network in training, three times because of the backward pass, and tracking.

    A box that stands still takes no time.
    """
    pairs = item.steps * item.run.recipe.batch_size if item.run.recipe else 0
    still = isinstance(item.run.tracker, FloorSpec) and item.run.tracker.kind == "static"
    return 3 * pairs, 0 if still else item.frames or item.missing.untracked
