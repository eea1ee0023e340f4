"""A real Ray cluster on this machine, for tests: a head without work and two nodes of one CPU each, gone with the test.

It needs Ray (`python -m pip install ray`).
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from on_clusters import free_ports

BYTES = 80_000_000
"""Of each node's object store."""
PATIENCE = 120.0


class Cluster(NamedTuple):
    """Its address, and the process that started each of its two nodes."""

    address: str
    nodes: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]

    def kill_node(self, number: int) -> None:
        """Kill the daemon of a node with SIGKILL; what it has started ends by itself."""
        os.kill(_daemon(self.nodes[number].pid), signal.SIGKILL)


def lacking() -> str:
    """Why there can be no cluster here, "" if there can."""
    return "" if find_spec("ray") else "Ray is not installed: python -m pip install ray"


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster whose nodes know nothing of the project."""
    folder.mkdir()
    head, client = free_ports(2)
    address, started = f"127.0.0.1:{head}", list[subprocess.Popen[bytes]]()
    # The paths of sockets have to be short.
    with tempfile.TemporaryDirectory(prefix="ray") as place, (folder / "daemons.log").open("wb") as log:
        ports = ["--head", f"--port={head}", f"--ray-client-server-port={client}", "--include-dashboard=false"]
        try:
            for words in (
                [*ports, f"--temp-dir={place}", "--num-cpus=0"],
                *[[f"--address={address}", "--num-cpus=1"]] * 2,
            ):
                words = ["start", "--block", "--disable-usage-stats", f"--object-store-memory={BYTES}", *words]
                command = [sys.executable, "-m", "ray.scripts.scripts", *words]
                environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
                process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
                started.append(process)
                _wait_for_node(started, folder / "daemons.log")
            yield Cluster(address, (started[1], started[2]))
        finally:
            for process in reversed(started):
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                process.kill()


def _wait_for_node(started: list[subprocess.Popen[bytes]], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not _daemon(started[-1].pid) or log.read_bytes().count(b"Ray runtime started") < len(started):
        if started[-1].poll() is not None or time.monotonic() > end:
            raise RuntimeError(log.read_text(errors="replace")[-2000:])
        time.sleep(0.2)


def _daemon(parent: int) -> int:
    """The number of the raylet that a process has started, 0 for none."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            number, _, rest = file.read_text().partition(" (")
            name, _, fields = rest.rpartition(") ")
            if name == "raylet" and int(fields.split()[1]) == parent:
                return int(number)
    return 0
