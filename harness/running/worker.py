"""A worker process: reads settings and a task from standard input, does it, says how it went by its exit status.

    0 done: what it found or took is on standard output, one JSON document
    1 the run failed, as its failure.json says; 2 bad input: in both cases the message is on standard output

Its standard input stays open while whoever started it lives. When that one is gone, the worker ends at once, so that a
killed study leaves nothing behind that computes; all it loses is what came after its last checkpoint or sequence.
"""

import os
import sys
import threading
from pkgutil import resolve_name

from trackablate.datasets.errors import DataError
from trackablate.harness.running.tasks import TASK, AnyTask, CalibrateTask, RunTask, SpeedTask, WorkerSettings
from trackablate.harness.running.threads import quiet_threads
from trackablate.trackers.plugins import load_plugins

BAD_INPUT = 2
ORPHANED = 3


def main() -> int:
    """Do the task on standard input: settings in the first line, the task in the second, both JSON."""
    try:
        load_plugins()
    except DataError as error:
        sys.stdout.write(str(error))
        return BAD_INPUT
    settings = WorkerSettings.model_validate_json(sys.stdin.readline())
    task = TASK.validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    quiet_threads(settings.threads)
    return _work(task, settings)


def _work(task: AnyTask, settings: WorkerSettings) -> int:
    import cv2
    import torch

    from trackablate.harness.errors import BadInput, RunFailed
    from trackablate.harness.running.execute import execute_run, measure, prepare

    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)
    try:
        if isinstance(task, RunTask):
            sys.stdout.write(execute_run(task, settings).model_dump_json())
        elif isinstance(task, SpeedTask):
            measure(task, settings)
        elif isinstance(task, CalibrateTask):
            sys.stdout.write(resolve_name(task.function)(task, settings).model_dump_json())
        else:
            sys.stdout.write(prepare(task, settings).model_dump_json())
    except (BadInput, DataError) as error:
        sys.stdout.write(str(error))
        return BAD_INPUT
    except RunFailed as error:
        sys.stdout.write(str(error))
        return 1
    return 0


def _end_with_parent() -> None:
    while sys.stdin.readline():
        continue
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
