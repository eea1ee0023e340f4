"""What each start of a study predicted, and what it took: STORE/forecasts/TIME-PROCESS.json. Imports no torch."""

from collections.abc import Collection, Iterable

from pydantic import BaseModel, computed_field

from trackablate.harness.documents import read_document, readable
from trackablate.harness.planning.work import Range
from trackablate.harness.store import Store


class Compared(BaseModel):
    """Seconds as they were predicted, and as they came out; actual: None until then."""

    predicted: Range
    actual: float | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gap(self) -> float | None:
        """Actual over predicted, less 1."""
        return None if self.actual is None else self.actual / self.predicted.expected - 1


class RunCompared(BaseModel):
    """Wall and device seconds of one run; assumed: nothing was known of it, so that comparing them says nothing."""

    run: str
    wall: Compared
    device: Compared
    assumed: bool = False


class Forecast(BaseModel):
    """One start of a study and the runs that had work. If predictions lack or all are assumed, `wall` is None."""

    command: str
    runs: list[RunCompared]
    wall: Compared | None


class StudyCompared(BaseModel):
    """What was predicted, beside what it took: the last finished task of each run, and the last start that finished.

    `started` is the number of runs in that start; `device` leaves out the measuring of speed.
    """

    runs: list[RunCompared] = []
    started: int = 0
    wall: Compared | None = None
    device: Compared | None = None


def forecasts(store: Store) -> list[Forecast]:
    """Return all forecasts in a store that can be read, the oldest first."""
    files = sorted(store.forecasts.glob("*.json"))
    return [forecast for file in files if (forecast := readable(read_document, file, Forecast))]


def compared(found: Iterable[Forecast], names: Collection[str]) -> StudyCompared:
    """Return what came of the predictions of some runs, given by name, in forecasts, the oldest first.

    A run counts if its task succeeded and its prediction was not assumed. A start counts if it finished and did no others.
    """
    runs, last = dict[str, RunCompared](), StudyCompared()
    for forecast in found:
        done = [run for run in forecast.runs if run.wall.actual is not None]
        runs |= {run.run: run for run in done if run.run in names and not run.assumed}
        if forecast.wall and forecast.wall.actual and {run.run for run in forecast.runs} <= set(names):
            predicted = Range.total(run.device.predicted for run in done)
            device = Compared(predicted=predicted, actual=sum(run.device.actual or 0.0 for run in done))
            last = StudyCompared(started=len(done), wall=forecast.wall, device=device)
    return last.model_copy(update={"runs": list(runs.values())})
