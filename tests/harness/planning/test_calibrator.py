"""Measuring several trackers in one worker."""

from pathlib import Path

import pytest

from examples import DATA, RECIPE, SCALE
from trackablate.harness.costing.clock import reset_peak_rss
from trackablate.harness.planning.calibrator import calibrate
from trackablate.harness.running.tasks import CalibrateTask, WorkerSettings
from trackablate.harness.spec import RunSpec
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import TrackerSpec


@pytest.mark.skipif(not reset_peak_rss(), reason="this system cannot forget a peak")
def test_a_small_tracker_does_not_get_the_peak_of_a_large_one(tmp_path: Path) -> None:
    tracker = at_scale(TrackerSpec(name="plain"), SCALE)
    large, small = (
        RunSpec(tracker=tracker, recipe=RECIPE.model_copy(update={"batch_size": pairs}), data=DATA)
        for pairs in (128, 2)
    )
    settings = WorkerSettings(store=str(tmp_path), device="cpu", threads=1, workers=1, command="")
    found = calibrate(CalibrateTask(runs=(large, small), seconds=0.0), settings)
    first, second, *_ = found.samples
    assert first.memory_bytes > second.memory_bytes + 50e6
