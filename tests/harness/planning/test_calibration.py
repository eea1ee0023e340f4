"""What a calibration measures in a worker, and which runs it takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from examples import DATA, RECIPE, SCALE
from planning_examples import HERE, NCC, OTHER, RUN, item
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.costing.clock import reset_peak_rss
from trackablate.harness.planning import calibration
from trackablate.harness.planning.calibration import calibrate, measure
from trackablate.harness.planning.history import History, gather
from trackablate.harness.profiles import load_profile
from trackablate.harness.running.observer import Pending
from trackablate.harness.running.tasks import CalibrateTask, Reply, Task, WorkerSettings
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Missing, Store
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import TrackerSpec

SMOKE = HERE.model_copy(update={"data": PROTOCOLS["synthetic-smoke"].open(None).digest()})


def measured(store: Store, *runs: RunSpec) -> History:
    """Return what is known after measuring some runs one after the other in one process."""
    settings = WorkerSettings(store=str(store.root), device="cpu", threads=1, workers=1, command="plan")
    for run in runs:
        measure(CalibrateTask(run=run, evaluations=(SMOKE,), seconds=0.0), settings)
    return gather(store)


@pytest.mark.skipif(not reset_peak_rss(), reason="this system cannot forget a peak")
def test_a_small_tracker_does_not_get_the_peak_of_a_large_one(tmp_path: Path) -> None:
    tracker = at_scale(TrackerSpec(name="plain", pretrained="file:/not/here"), SCALE)
    large, small = (
        RunSpec(tracker=tracker, recipe=RECIPE.model_copy(update={"batch_size": pairs}), data=DATA)
        for pairs in (128, 2)
    )
    known = measured(Store(tmp_path / "s"), large, small, NCC)
    memory = [times.memory.expected for run in (large, small) if (times := known.training_times(run)) and times.memory]
    assert memory[0] > memory[1] + 50e6
    assert memory[1] < 300e6, "Python and its libraries are not the training's"
    network, floor = known.tracking_times(small), known.tracking_times(NCC)
    assert network is not None
    assert floor is not None
    assert network.source == floor.source == "measured"
    assert 0 < floor.seconds["tracked"].expected < network.seconds["tracked"].expected < 1
    assert not list((tmp_path / "s" / "runs").glob("*")), "the store itself has no run that nobody asked for"


class Recorder:
    """An executor whose workers do nothing but remember their tasks."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def start(self, _settings: WorkerSettings) -> "Recorder":
        return self

    def do(self, task: Task) -> None:
        self.tasks.append(task)

    def poll(self) -> Reply | None:
        return Reply(status="done", text='{"device_seconds": 1}')

    def at_work(self) -> bool:
        return True

    def stop(self) -> None:
        pass


def asked_of_workers(store: Store, lacking: list[Pending]) -> list[CalibrateTask]:
    recorder = Recorder()
    calibrate(lacking, load_profile("smoke"), store, recorder, "cpu")
    return [task for task in recorder.tasks if isinstance(task, CalibrateTask)]


def test_each_tracker_is_measured_once_and_of_many_only_some(tmp_path: Path) -> None:
    store, again = Store(tmp_path / "s"), RUN.model_copy(update={"seed": 3})
    tasks = asked_of_workers(store, [item(RUN), item(again), item(OTHER), item(NCC)])
    assert [task.run.tracker for task in tasks] == [RUN.tracker, OTHER.tracker, NCC.tracker]
    assert tasks[0].seconds * 2 <= calibration.SECONDS * 2
    many = [RUN.model_copy(update={"recipe": RECIPE.model_copy(update={"batch_size": b})}) for b in range(1, 25)]
    assert len(asked_of_workers(store, list(map(item, many)))) == 8


def test_what_lacks_only_its_speed_is_not_measured(tmp_path: Path) -> None:
    done = replace(item(), missing=Missing(False, {}, (None,)))
    assert asked_of_workers(Store(tmp_path / "s"), [done]) == []
