"""What the runner tells, and whom. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trackablate.harness.record import Spent
from trackablate.harness.running.tasks import RunTask


@dataclass(frozen=True)
class Missing:
    """What the store lacks for one run. steps_done: how many steps a checkpoint already has; frames: of the sequences to be
    tracked, over all evaluations, as far as their lengths are known; generated: how many of those are drawn, not read.
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
    """Is told how a study gets on, and decides in which order its tasks start."""

    def prepared(self, device: str, workers: int, lacking: Sequence[Missing]) -> Sequence[Missing]:
        """Return the tasks in the order in which they should start. Called once, before the first task."""

    def started(self, item: Missing) -> None:
        """A worker has begun a task."""

    def watch(self) -> None:
        """Called about twice a second while workers run."""

    def finished(self, item: Missing, spent: Spent | None) -> None:
        """A task has ended; spent: what it took, None if it failed."""

    def ended(self) -> None:
        """All work is done, and nothing failed."""
