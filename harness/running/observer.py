"""What the runner tells of its work, and to whom. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trackablate.harness.record import Spent
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import RunSpec


@dataclass(frozen=True)
class Missing:
    """What the store lacks for one run.

    Attributes:
        training: Whether it has to be trained.
        sequences: Number of sequences to be tracked, over all evaluations.
        speed: Whether its speed has to be measured.
        steps_done: Number of training steps that a checkpoint already has.
        frames: Number of frames to be tracked, over all evaluations, as far as the sequences' lengths are known.
        generated: Number of those frames that are drawn instead of read.
    """

    task: RunTask
    training: bool
    sequences: int
    speed: bool
    steps_done: int = 0
    frames: int = 0
    generated: int = 0

    @property
    def has_work(self) -> bool:
        """Whether the run has to be trained or tracked: speed is measured when that is done."""
        return self.training or bool(self.sequences)

    @property
    def nothing(self) -> bool:
        """Whether the run is done."""
        return not (self.has_work or self.speed)


@dataclass(frozen=True)
class Line:
    """One line that shows how far something is.

    Attributes:
        name: The whole, or a row of the table.
        phase: What is being done now.
        total: How much there is to do; 0: not known yet.
        left: Seconds until it is all done, None if that is not known yet.
        numbers: Loss and rate, as text.
        share: Whether to show a percentage instead of two numbers.
    """

    name: str
    phase: str
    done: float = 0
    total: float = 0
    left: float | None = None
    numbers: str = ""
    share: bool = False

    def later(self, passed: float) -> "Line":
        """Return the line as it is some seconds later. A share rises until the time left is over, and never falls."""
        if not self.left:
            return self
        left = remaining(self.left, passed)
        gained = (self.total - self.done) * passed / (passed + left) if self.share else 0.0
        return replace(self, left=left, done=self.done + gained)


def remaining(predicted: float, gone: float) -> float:
    """Return the seconds that are left of something: at least a fifth of those gone, since it has not come to its end."""
    return max(predicted - gone, gone / 5)


class Observer:
    """Is told how the work gets on, and chooses the order of the tasks.

    This one keeps it to itself, and starts the longest tasks first, so that no worker is left alone with a long one.
    """

    def preparing(self, device: str, workers: int, lacking: Sequence[Missing]) -> None:
        """Take note that workers start and the first one prepares.

        Args:
            device: Name of the device that is expected.
            workers: Number of workers that are expected.
            lacking: The runs that lack anything.
        """

    def prepared(self, device: str, workers: int, lacking: Sequence[Missing]) -> Sequence[Missing]:
        """Return the tasks in the order in which they should start. Called once, before the first task starts."""
        return sorted(lacking, key=lambda item: sum(passes(item)), reverse=True)

    def started(self, item: Missing) -> None:
        """Take note that a worker has been given a task."""

    def watch(self) -> None:
        """Look at the work. Called about twice a second while workers are at work."""

    def finished(self, item: Missing, spent: Spent | None) -> None:
        """Take note that a task has ended, and of what it took; None if it failed."""

    def measuring(self, run: RunSpec) -> None:
        """Take note that speeds are measured now. The folder of this run says how far that is."""

    def ended(self) -> None:
        """Take note that all work is done and nothing failed."""


def passes(item: Missing) -> tuple[int, int]:
    """Return the frames that go through a network in training, three times because of the backward pass, and tracking."""
    recipe = item.task.run.recipe
    pairs = (recipe.steps - item.steps_done) * recipe.batch_size if recipe and item.training else 0
    return 3 * pairs, item.frames or item.sequences
