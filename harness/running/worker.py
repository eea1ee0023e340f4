"""A worker process: takes task after task from its parent, so that torch is imported once.

The parent writes the settings and then tasks to the worker's standard input, and reads one reply to each task from the pipe
whose number is the worker's only argument; all are lines of JSON. Whatever plugins print goes to the worker's log.

When its standard input closes, the parent has gone: the worker ends at once, so that a killed study leaves nothing behind
that computes. All it loses is the work since its last checkpoint or sequence. At SIGTERM and SIGUSR2 a training saves a
checkpoint after its step (`training.stopping`).
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from queue import SimpleQueue
from typing import TextIO, get_type_hints

from pydantic import BaseModel

from trackablate.datasets.errors import FULL, DataError
from trackablate.datasets.lease import LeaseLost
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.running.tasks import Reply, Task, WorkerSettings
from trackablate.harness.running.threads import quiet_threads
from trackablate.harness.training.stopping import Interrupted, asked, listen, working
from trackablate.trackers.plugins import load_plugins

ORPHANED = 3
"""Exit status of a worker whose parent has gone."""


def main() -> None:
    """Reply to one task after the other, until the parent goes or a task fails."""
    replies = int(sys.argv[1])
    os.set_inheritable(replies, False)
    # Forked processes close sys.stdin: they would wait for ever for the thread that reads it.
    requests, sys.stdin = sys.stdin, None
    settings = WorkerSettings.model_validate_json(requests.readline())
    quiet_threads(settings.threads)
    listen()
    lines = _lines(requests)
    # Torch is imported while the parent still plans.
    from trackablate.harness.running import fresh  # noqa: F401

    last = False
    while not last:
        line = lines.get()
        try:
            reply = answer(line, settings)
        except Interrupted as error:
            reply = Reply(status="failed", text=str(error), last=True)
        last = reply.last
        os.write(replies, f"{reply.model_dump_json()}\n".encode())


def answer(line: str, settings: WorkerSettings) -> Reply:
    """Do a task, which is a line of JSON, and return the reply to it. Raises Interrupted if a signal asks to stop."""
    from trackablate.harness.running.fresh import start_afresh

    try:
        load_plugins()
        last = not start_afresh(settings.threads)
        function, task = _asked(line)
        with working(task.function):
            result = function(task, settings)
        text = result.model_dump_json() if result else ""
        return Reply(status="done", text=text, last=last or asked() is not None)
    except (BadInput, DataError) as error:
        return Reply(status="bad input", text=str(error), last=True)
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = error.filename or settings.store
        return Reply(status="bad input", text=f"{place}: {error.strerror}; make room there", last=True)
    except Interrupted:
        raise
    except (RunFailed, LeaseLost) as error:
        return Reply(status="failed", text=str(error), last=True)


def _lines(requests: TextIO) -> "SimpleQueue[str]":
    # A thread waits for the parent's end even while a task is at work.
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, lines), daemon=True).start()
    return lines


def _read(requests: TextIO, lines: "SimpleQueue[str]") -> None:
    for line in requests:
        lines.put(line)
    os._exit(ORPHANED)


def _asked(line: str) -> tuple[Callable[..., BaseModel | None], Task]:
    # The annotation of the function's first parameter says what it takes.
    module, _, name = str(json.loads(line)["function"]).partition(":")
    if not module.startswith("trackablate."):
        raise BadInput(f"a worker was asked for {module}:{name}: it runs functions of trackablate only")
    function = getattr(import_module(module), name)
    kind: type[Task] = get_type_hints(function)["task"]
    return function, kind.model_validate_json(line)


if __name__ == "__main__":
    main()
