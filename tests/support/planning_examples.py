"""What tests of planning share: runs, a measured device, and what a run lacks."""

from examples import DATA, PLAIN, RECIPE
from trackablate.harness.planning.calibration import (
    Calibration,
    Drawing,
    Steps,
)
from trackablate.harness.record import PaperScale
from trackablate.harness.running.observer import Missing
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.trackers.spec import CandidateElimination, FloorSpec, replace

RUN = RunSpec(tracker=PLAIN, recipe=RECIPE, data=DATA)
OTHER = RUN.model_copy(update={"tracker": replace(PLAIN, sparsity=CandidateElimination())})
HERE = Evaluation(protocol="synthetic-smoke", data="d")
SIZE = PaperScale(
    params=100, trainable_params=100, head_params=1, macs=1000, macs_linear_conv=900, qkv_params=1, qkv_macs=1
)
DRAWING = Drawing(textures=2.0, clip=0.5, frame=0.25, megapixel=0.01)
STEPS = Steps(
    tracker=PLAIN,
    batch_size=2,
    macs=1000,
    setup=3.0,
    step=0.1,
    device_share=0.5,
    validated=0.01,
    tracked=0.02,
    online=0.04,
    memory_bytes=1000,
)
MEASURED = Calibration(
    device="CPU (x)", threads=1, workers=2, start=7.0, first=1.0, drawing=DRAWING, ncc=0.01, steps=[STEPS]
)


def item(run: RunSpec = RUN, **more: int) -> Missing:
    task = RunTask(run=run, evaluations=(HERE,))
    training = not isinstance(run.tracker, FloorSpec)
    return Missing(task=task, training=training, sequences=4, speed=True, **{"frames": 32, "generated": 32} | more)
