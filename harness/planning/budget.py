"""Which rows of a study fit a budget, the most informative first. Imports no torch."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from trackablate.harness.errors import BadInput
from trackablate.harness.planning.estimate import StudyEstimate

RULE = (
    "the baseline first; then always the row that shows most values of the study's factors which no chosen row shows yet; "
    "among equals the one that most other studies need as well; then the cheapest. A row fits if the study with it stays "
    "within the budget at the upper end of its estimate"
)

_UNITS: dict[str, tuple[Literal["wall", "device"], float]] = {
    "gpuh": ("device", 3600.0),
    "min": ("wall", 60.0),
    "h": ("wall", 3600.0),
}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(gpuh|min|h)", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """Seconds that may be spent: of the wall clock, or of the device."""

    kind: Literal["wall", "device"]
    seconds: float

    def holds(self, estimate: StudyEstimate) -> bool:
        """Whether an estimate stays within it, at its upper end."""
        span = estimate.wall if self.kind == "wall" else estimate.device_seconds
        return span.high <= self.seconds


@dataclass(frozen=True)
class Candidate:
    """A row. cells: its values of the study's factors; shared: how many other studies need its runs; seconds: what its runs
    alone are expected to take, 0 where they are done.
    """

    name: str
    cells: tuple[str, ...]
    baseline: bool
    shared: int
    seconds: float


@dataclass(frozen=True)
class Choice:
    """Row names, the chosen ones in the order of choice."""

    chosen: tuple[str, ...]
    left_out: tuple[str, ...]


def parse_budget(text: str) -> Budget:
    """20gpuh: device-hours; 90min, 2h: wall time. Raises BadInput for anything else, and for nothing."""
    found = _FORM.fullmatch(text.strip())
    if not found or float(found[1]) == 0:
        raise BadInput(f"--budget {text!r} is no budget: write 20gpuh (GPU-hours), 90min or 2h (wall time)")
    kind, seconds = _UNITS[found[2].lower()]
    return Budget(kind, float(found[1]) * seconds)


def choose(candidates: Sequence[Candidate], fits: Callable[[list[str]], bool]) -> Choice:
    """The rows that fit, by RULE; fits: whether a study of these rows stays within the budget. Nothing is chosen where the
    baseline alone does not fit, since no other row says anything without it.
    """
    left = list(candidates)
    chosen = [c for c in left if c.baseline]
    if not fits([c.name for c in chosen]):
        return Choice((), tuple(c.name for c in left))
    while fitting := [c for c in left if c not in chosen and fits([c.name for c in (*chosen, c)])]:
        shown = {(i, cell) for c in chosen for i, cell in enumerate(c.cells)}
        chosen.append(min(fitting, key=lambda c: (-_new(c, shown), -c.shared, c.seconds)))
    names = [c.name for c in chosen]
    return Choice(tuple(names), tuple(c.name for c in left if c.name not in names))


def _new(candidate: Candidate, shown: set[tuple[int, str]]) -> int:
    return len(set(enumerate(candidate.cells)) - shown)
