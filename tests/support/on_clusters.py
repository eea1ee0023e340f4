"""What the tests on real clusters share, whichever cluster it is."""

import socket
import subprocess
import sys
from pathlib import Path

from command_line import attentive


def study(folder: Path, store: str, *more: str) -> subprocess.Popen[str]:
    """Start the head study of one row and its baseline at smoke size, with a store of that name in the folder."""
    words = [sys.executable, "-P", "-m", "trackablate", "run", "head", "--profile", "smoke", "--only", "mlp"]
    words += ["--device", "cpu", "--store", str(folder / store), "--out", str(folder / f"report-{store}"), *more]
    return subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=attentive
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a command that must succeed, and return what it said."""
    _, said = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    return said


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
