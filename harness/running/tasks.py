"""The messages between a study and its workers, each one line of JSON. Imports no torch."""

from typing import Literal

from pydantic import Field

from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.training.meeting import Meeting
from trackablate.trackers.spec import Frozen, TrackerSpec


class Task(Frozen):
    """A piece of work for a worker.

    Attributes:
        function: Function that does the work, as "module:name". It takes the task and the worker's settings, and returns a
            pydantic model or None.
    """

    function: str


class RunTask(Task):
    """Train a run unless it is trained, and track what is missing of its evaluations.

    Attributes:
        roots: Folder or archive of each data set, by name.
        rows: The table's row of each evaluation. The first one also names the training.
    """

    function: str = "trackablate.harness.running.execute:execute_run"
    run: RunSpec
    evaluations: tuple[Evaluation, ...]
    roots: dict[str, str] = Field(default_factory=dict)
    rows: tuple[str, ...] = ()

    @property
    def row(self) -> str:
        """The table's row that the run is trained for."""
        return self.rows[0] if self.rows else self.run.slug

    @property
    def fully_trained(self) -> bool:
        """Whether all of the run's network trains, which --fsdp divides."""
        return isinstance(self.run.tracker, TrackerSpec) and self.run.tracker.adaptation.kind == "full"


class RankTask(Task):
    """Share a run with the worker that has it.

    Attributes:
        rank: Number of this process, from 1; the worker itself has 0.
        size: Number of processes.
        meeting: Where they meet.
    """

    function: str = "trackablate.harness.running.execute:follow"
    run: RunTask
    rank: int
    size: int
    meeting: Meeting


class Call(Frozen):
    """What the worker that has a run tells the other machines that share it.

    Attributes:
        run: Name of the run.
        size: Number of processes, of all machines.
        on_gpu: Whether its own processes are on GPUs.
    """

    run: str
    size: int
    on_gpu: bool


class PrepareTask(Task):
    """Work before any run: name the device, count sizes, and keep what reports show of the protocols.

    Attributes:
        sizes: Trackers whose size is counted.
        activations: Whether the memory that a backward pass keeps is counted as well.
        roots: Folder or archive of each data set, by name.
    """

    function: str = "trackablate.harness.running.execute:prepare"
    sizes: tuple[TrackerSpec, ...]
    activations: bool = False
    protocols: tuple[Evaluation, ...]
    roots: dict[str, str] = Field(default_factory=dict)


class Timed(Frozen):
    """A run whose tracking speed is measured, with so many of its decoder's layers (see `harness.spec.Evaluation`)."""

    run: RunSpec
    test_layers: int | None = None


class SpeedTask(Task):
    """Measure the tracking speed of these runs together, with compiled networks if that is wanted."""

    function: str = "trackablate.harness.running.execute:measure"
    timed: tuple[Timed, ...]
    compile: bool = False


class CalibrateTask(RunTask):
    """Measure a few steps and frames of a run.

    Attributes:
        seconds: Time for it, about.
    """

    function: str = "trackablate.harness.planning.calibration:measure"
    seconds: float


class Machines(Frozen):
    """The machines that share each run (`harness.running.machines`).

    Attributes:
        meeting: Where they meet.
        names: Their host names, by number; number 0 leads.
    """

    meeting: Meeting
    names: tuple[str, ...]

    def named(self, node: int) -> str:
        """Return a machine as messages name it."""
        return f"node {node} ({self.names[node]})"


class Joining(Frozen):
    """This machine's place among those that share the runs, as the user or a launcher says it.

    Attributes:
        node: This machine's number.
        host: Name or address of machine 0, or of the launcher's store.
        opens: Whether machine 0 opens the store where they meet; else a launcher has.
        room: What this command's entries in that store begin with.
    """

    nodes: int
    node: int
    host: str
    port: int
    opens: bool = True
    room: str = "trackablate"

    @property
    def place(self) -> str:
        """Where they meet, as the user types it."""
        return f"{self.host}:{self.port}"


class Execution(Frozen):
    """How runs are done, which changes no result beyond rounding.

    Attributes:
        gpus_per_run: Number of GPUs of each machine that share each run; without a GPU, number of processes.
        joining: This machine's place among several that share each run; None if it works alone.
        machines: These machines, once they have met.
        loader_workers: Processes that make the pairs of each training; None for `default_loader_workers`.
        fit_memory: Whether a training goes on with less memory where the device does not hold it (`training.step`).
        fsdp: Whether the processes of a run divide a fully trained network among them (`training.sharding`).
        log: The logger that trainings are handed to; "" for none.
        again: Whether what is tracked already is tracked anew.
        compile: Whether tracking speed is measured with compiled networks; boxes are tracked without.
    """

    gpus_per_run: int = 1
    loader_workers: int | None = None
    fit_memory: bool = False
    fsdp: bool = False
    log: str = ""
    again: bool = False
    compile: bool = False
    joining: Joining | None = None
    machines: Machines | None = None

    @property
    def helps(self) -> bool:
        """Whether another machine leads."""
        return self.joining is not None and self.joining.node > 0

    @property
    def processes(self) -> int:
        """Number of processes that share each run, of all machines."""
        return self.gpus_per_run * (len(self.machines.names) if self.machines else 1)


AS_USUAL = Execution()


class WorkerSettings(Frozen):
    """How a worker works.

    Attributes:
        store: Folder of the store.
        device: Device as the user names it: auto, cpu, cuda, or one GPU.
        threads: Number of CPU threads.
        workers: Number of workers on this machine, this one included.
        command: The command that needs the work, for the records.
        loader_workers: Number of processes that make a training's pairs; 0 for none.
        fit_memory: Whether a training goes on with less memory where the device does not hold it.
        fsdp: Whether the processes of a run divide a fully trained network among them.
        log: The logger that trainings are handed to; "" for none.
        others: Further devices of this machine for each of the worker's runs.
        machines: The machines that share the worker's runs, if there are several. Each has as many devices for them.
        patience: Seconds without a sign of life after which one of the processes of a run is said to hang.
    """

    store: str
    device: str
    threads: int
    workers: int
    command: str
    loader_workers: int = 0
    fit_memory: bool = False
    fsdp: bool = False
    log: str = ""
    others: tuple[str, ...] = ()
    machines: Machines | None = None
    patience: float = 600.0

    @property
    def processes(self) -> int:
        """Number of processes that share each of the worker's runs, of all machines."""
        return (1 + len(self.others)) * (len(self.machines.names) if self.machines else 1)


class Device(Frozen):
    """The device that work runs on.

    Attributes:
        name: Name of the GPU or processor.
        gpus: GPUs that work can be spread over; none on a CPU.
    """

    name: str
    gpus: tuple[str, ...]


class Reply(Frozen):
    """How a task ended.

    Attributes:
        status: `done`; `bad input`: the user can mend it; `failed`: the run's failure.json says why; `died`: the worker's
            process ended and could not say why.
        text: The result as JSON if done, else the message for the user.
        last: Whether the worker has ended with this task.
    """

    status: Literal["done", "bad input", "failed", "died"]
    text: str
    last: bool = False
