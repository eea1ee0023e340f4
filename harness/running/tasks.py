"""What a worker process is told to do: one JSON document, whatever started the worker. Imports no torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.trackers.spec import TrackerSpec


class _Task(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunTask(_Task):
    """Train a run unless it is trained, and make whatever is missing of its evaluations. roots: data name to path."""

    kind: Literal["run"] = "run"
    run: RunSpec
    evaluations: tuple[Evaluation, ...]
    roots: dict[str, str] = {}


class PrepareTask(_Task):
    """Before any run: name the device, count sizes (with what a backward pass keeps, where activations are asked for), and
    keep what reports show of the protocols.
    """

    kind: Literal["prepare"] = "prepare"
    sizes: tuple[TrackerSpec, ...]
    activations: bool = False
    protocols: tuple[Evaluation, ...]
    roots: dict[str, str] = {}


class Timed(_Task):
    """A run whose tracking speed is measured, with so many of its decoder's layers (see `harness.spec.Evaluation`)."""

    run: RunSpec
    test_layers: int | None = None


class SpeedTask(_Task):
    """Measure the tracking speed of these runs together."""

    kind: Literal["speed"] = "speed"
    timed: tuple[Timed, ...]


class CalibrateTask(_Task):
    """Measure what a few steps of each of these runs take, all of it within about so many seconds.

    `function` names what measures (module:function). It takes the task and the settings, and returns a document.
    """

    kind: Literal["calibrate"] = "calibrate"
    function: str
    runs: tuple[RunSpec, ...]
    seconds: float


AnyTask = RunTask | PrepareTask | SpeedTask | CalibrateTask
TASK: TypeAdapter[AnyTask] = TypeAdapter(Annotated[AnyTask, Field(discriminator="kind")])


class WorkerSettings(_Task):
    """How a worker works: where the store is, on which device, with how many threads, beside how many others."""

    store: str
    device: str
    threads: int
    workers: int
    command: str


class Device(_Task):
    """What the preparing worker found: the device's name, and the GPUs that work can be spread over, none on a CPU."""

    name: str
    gpus: tuple[str, ...]
