"""The command line as tests use it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from trackablate.harness.cli import app
from trackablate.harness.store import Store


def attentive() -> None:
    """Let the process have signals as in a terminal: what runs the tests may have told it to ignore them."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def harness(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m trackablate ...` as a user starts it, in a folder of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKABLATE_")}
    environment |= {"COLUMNS": "200"}
    command = [sys.executable, "-m", "trackablate", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def invoke(*words: object) -> Any:
    """The same in this process: for what needs none of its own."""
    return CliRunner().invoke(app, [str(word) for word in words])


def said(*words: object) -> Any:
    """The JSON document that a command prints."""
    done = invoke(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def report_cited(tmp_path: Path, data: Path, *results: str) -> tuple[int, str, str]:
    Store(tmp_path / "store")
    options = [word for result in results for word in ("--results", result)]
    where = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--data", f"lasot={data}"]
    words = ["report", "table1", "--profile", "paper", "--protocol", "lasot", "--format", "json", "--json"]
    found = CliRunner().invoke(app, [*words, *where, *options])
    return found.exit_code, found.stdout, found.stderr
