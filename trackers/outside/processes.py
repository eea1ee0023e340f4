"""The process of an outside tracker: started, fed with frames, and ended when it crashes or takes too long."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trackablate.datasets.boxes import Box
from trackablate.datasets.sequence import Image
from trackablate.trackers.spec import OutsideSpec

WORKER = Path(__file__).with_name("worker.py")
STARTS = 10
"""The start may take so many times as long as a frame: old trackers load and compile much."""


class TrackerFailed(RuntimeError):
    """An outside tracker failed on a sequence: it raised, ended, gave no box, or took too long."""


class TrackerUnusable(TrackerFailed):
    """An outside tracker could not even be started, so that no sequence can be tracked with it."""


class OutsideTracker:
    """An outside tracker with the methods of every other one. Each sequence gets an instance of its own.

    Args:
        spec: The tracker.
        environment: Changes of the environment's variables, for instance which GPUs it sees.
    """

    def __init__(self, spec: OutsideSpec, environment: Mapping[str, str] | None = None) -> None:
        self.spec, self.environment = spec, dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the tracker

    def __del__(self) -> None:
        self.close()

    def initialise(self, image: Image, box: Box) -> None:
        """Start on the first frame with box xywh, in a new instance. Raises TrackerFailed."""
        self._errors.truncate(0)
        try:
            self._start()
            self._ask({"do": "make", "target": self.spec.target, "arguments": self.spec.arguments}, STARTS)
        except TrackerFailed as error:
            raise TrackerUnusable(f"{self.spec.name} cannot be started: {error}") from error
        self._ask({"do": "initialise", "box": [float(v) for v in box]}, STARTS, image)

    def update(self, image: Image) -> Box:
        """Return the box xywh in the next frame. Raises TrackerFailed."""
        found = self._ask({"do": "update"}, 1, image).get("box")
        box = np.array(found, dtype=np.float64) if isinstance(found, list) else np.empty(0)
        if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < 0).any():
            self.close()
            raise TrackerFailed(f"gave {found}, which is no box x, y, w, h")
        return box

    def about(self) -> dict[str, Any]:
        """Return the peak memory of its process and the parameters of its networks, None if they are not known."""
        return self._ask({"do": "about"}, 1)

    def close(self) -> None:
        """End the process and what it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            _kill(process)
        assert process.stdout is not None
        process.stdout.close()

    def _start(self) -> None:
        if self._process is not None:
            return
        python = str(Path(self.spec.python).expanduser()) if self.spec.python else sys.executable
        try:
            self._process = subprocess.Popen(
                [python, "-u", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=self._variables(),
                start_new_session=True,  # so that the processes that it starts end with it
            )
        except OSError as error:
            raise TrackerFailed(f"{python} does not start ({error.strerror})") from error
        paths = [] if self.spec.python else [str(Path.cwd()), *sys.path]
        self._write(self._process, json.dumps(paths).encode() + b"\n")

    def _variables(self) -> dict[str, str]:
        own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") if self.spec.python else ()
        return {name: value for name, value in os.environ.items() if name not in own} | self.environment

    def _ask(self, request: dict[str, Any], patience: int, image: Image | None = None) -> dict[str, Any]:
        process = self._process
        if process is None:
            raise TrackerFailed("it has ended on this sequence before")
        assert process.stdout is not None
        pixels = b""
        if image is not None:
            request, pixels = request | {"shape": image.shape[:2]}, np.ascontiguousarray(image).tobytes()
        seconds = self.spec.timeout * patience
        with _killed_after(process, seconds) as late:
            self._write(process, json.dumps(request).encode() + b"\n" + pixels)
            answer = process.stdout.readline()
        if late.is_set():
            self.close()
            raise TrackerFailed(f"gave no answer within {seconds:g} s")
        if not answer.endswith(b"\n"):
            raise TrackerFailed(self._end())
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            self.close()
            raise TrackerFailed(found["error"])
        return found

    @staticmethod
    def _write(process: subprocess.Popen[bytes], content: bytes) -> None:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which reading its answer shows
            process.stdin.write(content)
            process.stdin.flush()

    def _end(self) -> str:
        """Return how the process ended, with its last words."""
        process = self._process
        assert process is not None
        self.close()
        code = process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 2000))
        said = self._errors.read().decode(errors="replace").strip("\0\n ").splitlines()  # truncating leaves zeros
        return f"its process ended {how}" + (f": {said[-1][:300]}" if said else "")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """End the process, whatever it does, unless the block is left in time. The event tells whether that happened."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
