"""How fast the runs of a study get on, and what is left of them. Imports no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trackablate.harness.record import PhaseProgress
from trackablate.harness.running.observer import Line, Missing

TRUSTED, OWN = 0.05, 0.25
"""Share of all work that must be done before its pace replaces the predicted one; and share of a run's training or tracking
before its own pace replaces that of all runs."""
RECENT = 30.0
"""Seconds over which a pace is averaged at least."""


@dataclass
class Part:
    """Training or tracking of one run.

    Attributes:
        work: Its predicted seconds. If any run has no prediction, the work of all is in frames (see `passes`).
        count: Number of its steps or frames; `done`: number of those that are done.
        seen: When `done` changed last, at first when the part began; 0 before.
        setup: Seconds until the first steps or frames were done, None until then.
        seconds: Recent time after that, and the `steps` that it took. Older ones count less, because what else the machine
            does changes; `age`: all of it.
    """

    work: float
    count: int
    done: int = 0
    seen: float = 0.0
    setup: float | None = None
    seconds: float = 0.0
    steps: float = 0.0
    age: float = 0.0

    def saw(self, done: int, now: float) -> None:
        """Take note of how many steps or frames are done."""
        passed, new = now - self.seen, done - self.done
        if self.setup is None:
            if not done:
                return
            self.setup = passed
        else:
            self.age += passed
            keep = math.exp(-passed / max(RECENT, self.age / 2))
            self.seconds, self.steps = keep * self.seconds + passed, keep * self.steps + new
        self.done, self.seen = done, now

    @property
    def finished(self) -> float:
        """The work that is done."""
        return self.work * min(1.0, self.done / max(1, self.count))


def pace(parts: Sequence[Part], otherwise: float | None, trusted: float = TRUSTED) -> float | None:
    """Return the recent seconds per unit of some work; `otherwise` if a smaller share of the work than `trusted` is done."""
    recent = sum(part.steps * part.work / max(1, part.count) for part in parts)
    known = otherwise is None or sum(p.finished for p in parts) >= trusted * sum(p.work for p in parts)
    return sum(part.seconds for part in parts) / recent if recent and known else otherwise


def mean_setup(parts: Sequence[Part]) -> float:
    """Return the mean time until the first steps or frames of those parts that have begun; 0 if none has."""
    known = [part.setup for part in parts if part.setup is not None]
    return sum(known) / len(known) if known else 0.0


@dataclass(frozen=True)
class Rate:
    """How long trainings, or trackings, take: seconds per unit of work, None if it is not known, and before the first."""

    pace: float | None
    setup: float

    def left(self, part: Part, now: float) -> float | None:
        """Return the seconds that are left of a part; None if they are not known."""
        if not part.work:
            return 0.0
        if (own := pace([part], self.pace, OWN)) is None:
            return None
        since = min(RECENT, now - part.seen) if part.seen else 0.0
        setup = self.setup if part.setup is None else 0.0
        return max(0.0, setup + (part.work - part.finished) * own - since)


@dataclass
class RunningTask:
    """A task, and how far it is.

    Attributes:
        before: The progress that its run had reported before the task began.
        last: The progress that its run reported last.
        earlier: Number of frames in the evaluations that are done.
    """

    item: Missing
    training: Part
    tracking: Part
    before: PhaseProgress | None
    last: PhaseProgress | None = None
    earlier: int = 0
    started: float = 0.0
    ended: bool = False

    @property
    def work(self) -> float:
        """All its work."""
        return self.training.work + self.tracking.work

    def start(self, now: float) -> None:
        """Take note that a worker begins it."""
        self.started = now
        (self.training if self.training.work else self.tracking).seen = now

    def advance(self, said: PhaseProgress | None, now: float) -> None:
        """Count what the run says of itself."""
        if said is None or said in (self.before, self.last):
            return
        if said.trains:
            self.training.saw(max(0, said.done - self.item.steps_done), now)
        else:
            if self.last and self.last.trains:
                self.training.done, self.tracking.seen = self.training.count, self.training.seen
            elif self.last and (said.phase, said.row) != (self.last.phase, self.last.row):
                self.earlier += self.last.total  # each evaluation counts from its own beginning
            self.tracking.count = max(self.tracking.count, self.earlier + said.total)
            self.tracking.saw(self.earlier + said.done, now)
        self.before, self.last = None, said

    def left(self, training: Rate, tracking: Rate, now: float) -> float | None:
        """Return the seconds that are left; None if they are not known."""
        if self.ended:
            return 0.0
        first, second = training.left(self.training, now), tracking.left(self.tracking, now)
        return None if first is None or second is None else first + second

    def line(self, left: float | None) -> Line:
        """Return what is shown of it."""
        if (said := self.last) is None:
            return Line(self.item.task.row, "starting", left=left)
        part, unit = (self.training, "steps") if said.trains else (self.tracking, "frames")
        numbers = [] if said.loss is None else [f"loss {said.loss:.4g}"]
        numbers += [f"{part.steps / part.seconds:.3g} {unit}/s"] if part.steps else []
        return Line(said.row or self.item.task.row, said.words, said.done, said.total, left, ", ".join(numbers))
