"""Where workers run. An executor starts a worker on a task and says how it went; the local one starts processes here.

Another executor (a cluster's queue) needs the same two things: to hand the worker its two JSON lines, and to keep its
standard input open for as long as the study wants the work.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trackablate
from trackablate.harness.running.tasks import AnyTask, WorkerSettings
from trackablate.harness.running.threads import quiet_threads


class Work(Protocol):
    """A started task."""

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def output(self) -> tuple[str, str]:
        """Standard output and error of the finished task."""

    def stop(self) -> None:
        """End it now; what it has written stays."""


class Executor(Protocol):
    """Starts workers."""

    def start(self, task: AnyTask, settings: WorkerSettings) -> Work: ...


@dataclass
class _LocalWork:
    process: "subprocess.Popen[str]"
    log: Path
    _text: tuple[str, str] | None = field(default=None)

    def poll(self) -> int | None:
        return self.process.poll()

    def output(self) -> tuple[str, str]:
        if self._text is None:
            assert self.process.stdout is not None
            self._text = self.process.stdout.read(), self.log.read_text(encoding="utf-8", errors="replace")
        return self._text

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class LocalExecutor:
    """Worker processes on this machine. What they say on standard error goes to files in `logs`."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started = 0

    def start(self, task: AnyTask, settings: WorkerSettings) -> Work:
        """Start a process on the task."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._started += 1
        log = self._logs / f"worker-{os.getpid()}-{self._started}.log"
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            [_importable_from(), *filter(None, [environment.get("PYTHONPATH")])]
        )
        quiet_threads(settings.threads, environment)
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "trackablate.harness.running.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                start_new_session=True,
            )
        assert process.stdin is not None
        process.stdin.write(f"{settings.model_dump_json()}\n{task.model_dump_json()}\n")
        process.stdin.flush()
        return _LocalWork(process, log)


def _importable_from() -> str:
    """The folder on `sys.path` from which this process imports the project."""
    return str(Path(trackablate.__file__).absolute().parents[1])
