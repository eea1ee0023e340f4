"""How fast the runs of a study get on, and what is left of them. Imports no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trackablate.harness.record import PhaseProgress
from trackablate.harness.running.observer import Pending

TRUSTED, OWN = 0.05, 0.25
"""Share of all work that must be done before its pace replaces the predicted one; and share of a run's training or tracking
before its own pace replaces that of all runs."""
RECENT, SHARE = 5.0, 1 / 3
"""Seconds over which a pace is averaged at least, and the share of all its time: the first steps of a process are slow."""
SILENT = 30.0
"""The most seconds since the last sign of life that count as work on the next step."""


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


@dataclass
class Stage:
    """Training or tracking of one run.

    Attributes:
        work: Its predicted seconds. If any run has no prediction, the work of all is in frames (see `passes`).
        count: Number of its steps or frames; `done`: number of those that are done.
        seen: When `done` changed last, at first when the part began; 0 before.
        setup: Seconds until the first steps or frames were done, of all evaluations that have begun; None until then.
        begins: Whether no step or frame of the present evaluation has been done.
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

    def __post_init__(self) -> None:
        self.begins = self.setup is None

    def saw(self, done: int, now: float) -> None:
        """Take note of how many steps or frames are done."""
        passed, new = now - self.seen, done - self.done
        if self.begins:
            if new <= 0:
                return
            self.setup, self.begins = (self.setup or 0.0) + passed, False
        else:
            self.age += passed
            keep = math.exp(-passed / max(RECENT, SHARE * self.age))
            self.seconds, self.steps = keep * self.seconds + passed, keep * self.steps + new
        self.done, self.seen = done, now

    @property
    def finished(self) -> float:
        """The work that is done."""
        return self.work * min(1.0, self.done / max(1, self.count))


def pace(stages: Sequence[Stage], otherwise: float | None, trusted: float = TRUSTED) -> float | None:
    """Return the recent seconds per unit of some work; `otherwise` if a smaller share of the work than `trusted` is done."""
    stages = [stage for stage in stages if stage.work]
    recent = sum(stage.steps * stage.work / max(1, stage.count) for stage in stages)
    known = otherwise is None or sum(s.finished for s in stages) >= trusted * sum(s.work for s in stages)
    return sum(stage.seconds for stage in stages) / recent if recent and known else otherwise


def mean_setup(stages: Sequence[Stage]) -> float:
    """Return the mean time until the first steps or frames of those stages that have begun; 0 if none has."""
    known = [stage.setup for stage in stages if stage.setup is not None]
    return sum(known) / len(known) if known else 0.0


@dataclass(frozen=True)
class Rate:
    """How long trainings, or trackings, take: seconds per unit of work, None if it is not known, and before the first."""

    pace: float | None
    setup: float

    def left(self, stage: Stage, now: float) -> float | None:
        """Return the seconds that are left of a stage; None if they are not known."""
        if not stage.work:
            return 0.0
        if (own := pace([stage], self.pace, OWN)) is None:
            return None
        since = min(SILENT, now - stage.seen) if stage.seen else 0.0
        setup = self.setup if stage.setup is None else 0.0
        return max(0.0, setup + (stage.work - stage.finished) * own - since)


def line_of(said: PhaseProgress, row: str, stage: Stage, left: float | None, *more: str) -> Line:
    """Return what is shown of a run by what it says of itself."""
    numbers = [] if said.loss is None else [f"loss {said.loss:.4g}"]
    rate = stage.steps / stage.seconds if stage.seconds > 0 else 0.0
    numbers += [f"{rate:.3g} {'steps' if said.trains else 'frames'}/s"] if rate else []
    return Line(said.row or row, said.words, said.done, said.total, left, ", ".join((*numbers, *more)))


@dataclass
class RunningTask:
    """A task, and how far it is.

    Attributes:
        before: The progress that its run had reported before the task began.
        last: The progress that its run reported last.
        earlier: Number of frames in the evaluations that are done.
    """

    item: Pending
    training: Stage
    tracking: Stage
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
                self.tracking.begins = True
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
        row = self.item.task.row
        if (said := self.last) is None:
            return Line(row, "starting", left=left)
        return line_of(said, row, self.training if said.trains else self.tracking, left)
