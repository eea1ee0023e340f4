"""What tests of planning share: runs, a measured device, and what a run lacks."""

from examples import DATA, PLAIN, RECIPE
from trackablate.harness.planning.calibration import Calibration, Sample
from trackablate.harness.planning.work import Unit
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
DRAWING: dict[Unit, float] = {"textures": 2.0, "clip": 0.5, "frame": 0.25, "image": 0.01}
SAMPLE = Sample(
    tracker=PLAIN,
    batch=(2, 2),
    macs=1000,
    seconds={**DRAWING, "setup": 3.0, "step": 0.1, "validated": 0.01, "tracked": 0.02, "online": 0.04},
    device_share=0.5,
    memory_bytes=1000,
)
FLOOR = Sample(
    tracker=FloorSpec(kind="static"),
    batch=(0, 0),
    macs=None,
    seconds={**DRAWING, "tracked": 0.0, "online": 0.0},
    device_share=0.5,
)
MEASURED = Calibration(device="CPU (x)", threads=1, workers=2, samples=[SAMPLE, FLOOR])


def item(run: RunSpec = RUN, **more: int) -> Missing:
    task = RunTask(run=run, evaluations=(HERE,))
    training = not isinstance(run.tracker, FloorSpec)
    return Missing(task=task, training=training, speed=True, **{"sequences": 4, "frames": 32, "generated": 32} | more)
