"""What the runner tells an observer of a study. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trackablate.harness.record import Spent
from trackablate.harness.running.tasks import RunTask


@dataclass(frozen=True)
class Missing:
    """What the store lacks for one run.

    Attributes:
        steps_done: Steps that its checkpoint has.
        frames: Of the sequences to be tracked, over all evaluations, if their lengths are known.
        generated: How many of those frames are drawn and not read.
    """

    task: RunTask
    training: bool
    sequences: int
    speed: bool
    steps_done: int = 0
    frames: int = 0
    generated: int = 0

    @property
    def nothing(self) -> bool:
        """Whether the run is done."""
        return not (self.training or self.sequences or self.speed)


class Observer(Protocol):
    """An object that is told how a study gets on, and decides in which order its tasks start."""

    def prepared(self, device: str, workers: int, lacking: Sequence[Missing]) -> Sequence[Missing]:
        """Return the tasks in the order in which they should start. Called once, before the first one."""

    def started(self, item: Missing) -> None:
        """Take note that a worker has begun a task."""

    def watch(self) -> None:
        """Look at the running tasks. Called about twice a second while workers run."""

    def finished(self, item: Missing, spent: Spent | None) -> None:
        """Take note that a task has ended, and of what it took; spent: None if it failed."""

    def ended(self) -> None:
        """Take note that all work is done, and nothing failed."""
