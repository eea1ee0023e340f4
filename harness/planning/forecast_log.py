"""Predicted against actual: the estimate that a study's run began with, and what its tasks took. Imports no torch.

STORE/estimates/TIME-PROCESS.json
"""

import os
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, computed_field

from trackablate.datasets.atomic import write_text
from trackablate.harness.planning.estimate import StudyEstimate
from trackablate.harness.planning.span import Span, total
from trackablate.harness.record import Spent
from trackablate.harness.store import Store, read_document


class Outcome(BaseModel):
    """What a task took: seconds from its start to its end as its starter saw it, and by the worker's own clocks."""

    model_config = ConfigDict(extra="forbid")

    seconds: float
    spent: Spent


class Entry(BaseModel):
    """One start of a study. wall_seconds: from its start to its end, None where it was stopped or a run failed."""

    model_config = ConfigDict(extra="forbid")

    started: str
    command: str
    estimate: StudyEstimate
    outcomes: dict[str, Outcome] = {}
    wall_seconds: float | None = None


class Comparison(BaseModel):
    """A figure as it was predicted and as it came out; gap: actual over predicted, less 1."""

    model_config = ConfigDict(extra="forbid")

    predicted: Span
    actual: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gap(self) -> float:
        """0.2: it took 20 % longer."""
        return self.actual / self.predicted.expected - 1 if self.predicted.expected else 0.0


class RunComparison(BaseModel):
    """One run's wall seconds and device seconds."""

    model_config = ConfigDict(extra="forbid")

    run: str
    wall: Comparison
    device: Comparison


class StudyComparison(BaseModel):
    """What is known of predictions that came to their end. started: how many runs the last start that ran to its end was
    about; wall: of that start, and device: the device seconds of its runs, without the measurement of speed.
    """

    model_config = ConfigDict(extra="forbid")

    runs: list[RunComparison]
    started: int
    wall: Comparison | None
    device: Comparison | None


class Ledger:
    """The entry of a study that runs now; every change is written at once. began: when it began, by time.monotonic."""

    def __init__(self, store: Store, estimate: StudyEstimate, command: str, began: float) -> None:
        now = datetime.now(UTC)
        self.estimate = estimate
        self._file = store.root / "estimates" / f"{now:%Y%m%dT%H%M%S.%f}-{os.getpid()}.json"
        self._entry = Entry(started=now.isoformat(timespec="seconds"), command=command, estimate=estimate)
        self._began = began
        self._write()

    def book(self, run: str, outcome: Outcome) -> None:
        """A task is done."""
        self._entry.outcomes[run] = outcome
        self._write()

    def close(self) -> None:
        """All is done."""
        self._entry.wall_seconds = time.monotonic() - self._began
        self._write()

    def _write(self) -> None:
        write_text(self._file, self._entry.model_dump_json())


def entries(store: Store) -> list[Entry]:
    """All that the store has, the oldest first."""
    files = sorted((store.root / "estimates").glob("*.json"))
    return [entry for file in files if (entry := read_document(file, Entry))]


def compared(found: Sequence[Entry], runs: Collection[str]) -> StudyComparison:
    """Predicted against actual for these runs, by name: each run's last task that ended, and the last whole start that was
    about nothing but these. found: the oldest first.
    """
    latest = {name: c for entry in found for name in entry.outcomes if name in runs and (c := _run(entry, name))}
    whole = [e for e in found if e.wall_seconds is not None and _only(e, runs)]
    return StudyComparison(
        runs=list(latest.values()),
        started=len(whole[-1].estimate.runs) if whole else 0,
        wall=Comparison(predicted=whole[-1].estimate.wall, actual=whole[-1].wall_seconds or 0.0) if whole else None,
        device=_device(whole[-1]) if whole else None,
    )


def _only(entry: Entry, runs: Collection[str]) -> bool:
    named = {run.run for run in entry.estimate.runs}
    return bool(named) and not entry.estimate.unknown and named <= set(runs)


def _run(entry: Entry, name: str) -> RunComparison | None:
    estimate, outcome = entry.estimate.of(name), entry.outcomes[name]
    if estimate is None:
        return None
    return RunComparison(
        run=name,
        wall=Comparison(predicted=estimate.seconds, actual=outcome.seconds),
        device=Comparison(predicted=estimate.device_seconds, actual=outcome.spent.device_seconds),
    )


def _device(entry: Entry) -> Comparison | None:
    runs = [c for name in entry.outcomes if (c := _run(entry, name))]
    if not runs:
        return None
    return Comparison(predicted=total(c.device.predicted for c in runs), actual=sum(c.device.actual for c in runs))
