"""What an executor is: it starts workers, on this machine or elsewhere."""

from typing import Protocol

from trackablate.harness.running.tasks import Execution, Reply, Task, WorkerSettings
from trackablate.harness.store import Store


class WorkerProcess(Protocol):
    """A worker that takes one task after the other."""

    def do(self, task: Task) -> None:
        """Hand over a task. The worker must have replied to the one before."""

    def poll(self) -> Reply | None:
        """Return the reply to the task, None while the worker is at work."""

    def at_work(self) -> bool:
        """Return whether the worker has begun with the task; a job may have to wait for a node."""

    def stop(self) -> None:
        """End the worker; what it has written to the store stays."""


class Executor(Protocol):
    """Starts workers.

    Attributes:
        detached: Whether the study leaves as soon as every task is handed over.
    """

    detached: bool

    def start(self, settings: WorkerSettings) -> WorkerProcess:
        """Start a worker, and return before it is ready."""

    def worker_settings(self, tasks: int, store: Store, device: str, how: Execution) -> list[WorkerSettings] | None:
        """Return the settings of each worker; None if workers share this machine's devices."""

    def farewell(self) -> str:
        """Clear up, and return what the user has to know of work that goes on without this process, "" for none."""
