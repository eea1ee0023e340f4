"""Workers as processes of this machine."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel

import trackablate
from trackablate.harness.errors import BadInput
from trackablate.harness.running.tasks import Execution, Reply, RunTask, Task, WorkerSettings
from trackablate.harness.running.threads import drop_launchers, quiet_threads
from trackablate.harness.store import Store

STOP_SECONDS = 10.0
"""How long a worker that is stopped may take for the step at hand and a checkpoint."""
POLL_SECONDS = 0.05
LOG_TAIL = 12
"""Lines of a worker's log that a message shows."""


class LocalWorker:
    """A worker process on this machine."""

    def __init__(self, settings: WorkerSettings, log: Path) -> None:
        self._log, self._seen, self._text = log, 0, b""
        self._runs = False
        self._replies, theirs = os.pipe()
        os.set_blocking(self._replies, False)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trackablate.harness.running.worker", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                text=True,
                env=environment(settings.threads),
                pass_fds=(theirs,),
                start_new_session=True,
            )
        os.close(theirs)
        self._write(settings)

    def do(self, task: Task) -> None:
        """Hand over a task."""
        self._seen = self._log.stat().st_size
        self._write(task)
        self._runs = type(task) is RunTask

    def poll(self) -> Reply | None:
        """Return the reply to the task, None while the worker is at work."""
        status = self.process.poll()  # before reading: all that an ended process wrote is there
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._replies, 65536):
                self._text += part
        line, found, rest = self._text.partition(b"\n")
        if found:
            self._text, self._runs = rest, False
            return Reply.model_validate_json(line)
        if status is None:
            return None
        return Reply(status="died", text=f"a worker stopped with status {status}: {self._said()}", last=True)

    def at_work(self) -> bool:
        """Return True: it begins at once."""
        return True

    def stop(self) -> None:
        """End the worker; a training saves a checkpoint first."""
        if self._runs:
            self.process.terminate()
            end = time.monotonic() + STOP_SECONDS
            # A reply is the last thing it does: torch may take long to leave a group of processes.
            while self._runs and self.process.poll() is None and time.monotonic() < end:
                self.poll()
                time.sleep(POLL_SECONDS)
        self.process.kill()
        self.process.wait()
        if self._replies >= 0:
            os.close(self._replies)
            self._replies = -1
        with contextlib.suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def _write(self, message: BaseModel) -> None:
        assert self.process.stdin is not None
        line = json.dumps(message.model_dump(mode="json"))  # ASCII: the worker's encoding may be another one
        with contextlib.suppress(BrokenPipeError):  # it has died, as the next poll will say
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    def _said(self) -> str:
        lines = self._log.read_bytes()[self._seen :].decode("utf-8", errors="replace").strip().splitlines()
        return "\n".join(lines[-LOG_TAIL:]) or "it said nothing"


class LocalExecutor:
    """Starts worker processes on this machine; what they print goes to files in the folder `logs`.

    machine: Distinguishes the files of machines that write to one folder.
    """

    def __init__(self, logs: Path, machine: str = "") -> None:
        self._logs, self._started, self.detached, self._machine = logs, 0, False, machine

    def start(self, settings: WorkerSettings) -> LocalWorker:
        """Start a worker process. Raises BadInput if the folder of logs, and so the store, was removed."""
        if self._started and not self._logs.exists():
            raise BadInput(f"{self._logs.parent} is gone: bring it back, and the same command goes on from there")
        self._logs.mkdir(parents=True, exist_ok=True)
        self._started += 1
        return LocalWorker(settings, self._logs / f"worker-{self._machine}{os.getpid()}-{self._started}.log")

    def worker_settings(self, tasks: int, store: Store, device: str, how: Execution) -> None:
        """Return None: workers share this machine's devices."""

    def farewell(self) -> str:
        """Return nothing: workers end with this process."""
        return ""


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker with so many threads."""
    # The worker imports the project from where this process does.
    source = str(Path(trackablate.__file__).absolute().parents[1])
    found = dict(os.environ)
    found["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [found.get("PYTHONPATH")])])
    quiet_threads(threads, found)
    drop_launchers(found)
    # glibc reads these when a process starts. Else it returns the memory of each large tensor, and asks for it again.
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        found.setdefault(name, str(1 << 30))
    return found
