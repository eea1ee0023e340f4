"""What the coordinator takes for each run of a large study: 5,000 runs planned, handed over and answered, none computed.

    python tests/benchmarks/bench_scheduling.py [RUNS] [SLOTS]

The runs are floors with other seeds. A worker answers as soon as it is asked, so that all time is the coordinator's. Without
SLOTS each run has one, as on a cluster.
"""

import sys
import tempfile
import time
from pathlib import Path

from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import Spent
from trackablate.harness.running.observer import Observer
from trackablate.harness.running.queue import Slot, run_all
from trackablate.harness.running.runner import Job, pending
from trackablate.harness.running.tasks import AS_USUAL, Execution, Reply, RunTask, Task, WorkerSettings
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import Store
from trackablate.trackers.spec import FloorSpec

TARGET = 0.050
DONE = Reply(status="done", text=Spent(device_seconds=0.0).model_dump_json())


class Idle:
    """A worker that does nothing, at once."""

    busy = False

    def do(self, task: Task) -> None:
        task.model_dump_json()
        self.busy = True

    def poll(self) -> Reply | None:
        reply = DONE if self.busy else None
        self.busy = False
        return reply

    def at_work(self) -> bool:
        return True

    def stop(self) -> None:
        self.busy = False


class Idlers:
    """Starts such workers."""

    detached = False

    def start(self, settings: WorkerSettings) -> Idle:
        return Idle()

    def worker_settings(self, tasks: int, store: Store, device: str, how: Execution) -> None:
        """Return None."""

    def farewell(self) -> str:
        return ""


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    slots = int(sys.argv[2]) if len(sys.argv) > 2 else runs
    name = "synthetic-smoke"
    sequences = PROTOCOLS[name].open(None)
    evaluation = Evaluation(protocol=name, data=sequences.digest())
    tracker = FloorSpec(kind="static")
    tasks = [RunTask(run=RunSpec(tracker=tracker, seed=seed), evaluations=(evaluation,)) for seed in range(runs)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        settings = WorkerSettings(store=str(store.root), device="cpu", threads=1, workers=slots, command="bench")
        begun = time.perf_counter()
        items = pending(Job(tasks, [], {name: list(sequences.names)}, load_profile("smoke"), how=AS_USUAL), store)
        planned = time.perf_counter() - begun
        places = [Slot(Idlers(), settings) for _ in range(slots)]
        failures = run_all(items, places, Observer(), lambda *_: "died")
        seconds = time.perf_counter() - begun
    assert not failures
    each = seconds / runs
    sys.stdout.write(
        f"{runs} runs in {slots} slots: {seconds:.1f} s, {1000 * planned / runs:.2f} ms to plan each, {1000 * each:.2f} ms"
        f" in all, {runs / seconds:.0f} runs/s; the target is {1000 * TARGET:.0f} ms\n"
    )
    return int(each > TARGET)


if __name__ == "__main__":
    sys.exit(main())
