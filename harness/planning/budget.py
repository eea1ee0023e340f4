"""Which rows of a study fit a budget, the most informative first. Imports no torch."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trackablate.harness.errors import BadInput
from trackablate.harness.planning.estimate import StudyEstimate

RULE = (
    "the baseline comes first; then always the row that shows most values of the study's factors that no chosen row shows"
    " yet; among equals the one that most other studies need as well; then the cheapest. A row fits if the study with it"
    " stays within the budget at the upper end of its estimate"
)
_UNITS = {"gpuh": 3600.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """Seconds that may be spent: of the device, or of the wall clock."""

    seconds: float
    of_device: bool

    def holds(self, estimate: StudyEstimate) -> bool:
        """Whether an estimate stays within the budget at its upper end."""
        spent = estimate.device_seconds if self.of_device else estimate.wall_seconds
        return spent.high <= self.seconds


@dataclass(frozen=True)
class Candidate:
    """A row: its values of the study's factors, how many other studies need its runs, and the seconds that are left."""

    name: str
    cells: tuple[str, ...]
    baseline: bool
    shared: int
    seconds: float


def parse_budget(text: str) -> Budget:
    """Return the budget that a text like 20gpuh (device-hours), 90min or 2h (wall time) says. Raises BadInput."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(gpuh|min|h)", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise BadInput(f"--budget {text!r} is not a budget: write 20gpuh (GPU-hours), 90min or 2h (wall time)")
    return Budget(float(found[1]) * _UNITS[found[2]], of_device=found[2] == "gpuh")


def choose(candidates: Sequence[Candidate], fits: Callable[[list[str]], bool]) -> list[str]:
    """Return the names of the rows that fit, in the order in which RULE chooses them; none if the baseline does not fit.

    `fits` says whether a study of some rows, given by name, stays within the budget.
    """
    chosen = [c for c in candidates if c.baseline]
    if not fits([c.name for c in chosen]):
        return []
    while fitting := [c for c in candidates if c not in chosen and fits([c.name for c in (*chosen, c)])]:
        shown = {cell for c in chosen for cell in enumerate(c.cells)}
        new = {c: len(set(enumerate(c.cells)) - shown) for c in fitting}
        chosen.append(min(fitting, key=lambda c: (-new[c], -c.shared, c.seconds)))
    return [c.name for c in chosen]
