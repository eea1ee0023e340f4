"""What tests of planning share: runs, a measured device, and what a run lacks."""

from examples import DATA, PLAIN, RECIPE, WHERE
from trackablate.harness.planning.history import shelf
from trackablate.harness.record import PaperScale, PhaseCost, SequenceResult, TrainingCost, TrainingRecord
from trackablate.harness.running.observer import Pending
from trackablate.harness.running.tasks import RunTask
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.store import Missing, Store
from trackablate.trackers.spec import CandidateElimination, FloorSpec, replace

RUN = RunSpec(tracker=PLAIN, recipe=RECIPE, data=DATA)
ELIMINATING = replace(PLAIN, sparsity=CandidateElimination())
OTHER = RUN.model_copy(update={"tracker": ELIMINATING})
STATIC, NCC = (RunSpec(tracker=FloorSpec(kind=kind)) for kind in ("static", "ncc"))
HERE = Evaluation(protocol="synthetic-smoke", data="d")
SIZE = PaperScale(
    params=100, trainable_params=100, head_params=1, macs=1000, macs_linear_conv=900, qkv_params=1, qkv_macs=1
)


def train(
    store: Store, run: RunSpec, wall: float, *, pairs: int = 20, macs: int = 2000, device: str = "CPU (x)"
) -> None:
    """Keep the record of a training on so many pairs; RECIPE has 20. The device works half of the time."""
    folder = store.run(run)
    folder.claim()
    folder.weights.write_bytes(b"weights")
    phases = {"train": PhaseCost(wall_seconds=wall, device_seconds=wall / 2)}
    cost = TrainingCost(phases=phases, macs=macs, samples=pairs, peak_memory_bytes=1500, resident_before_bytes=500)
    where = WHERE.model_copy(update={"device": device})
    folder.finish_training(TrainingRecord(curve=[], cost=cost, weights_digest="d", where=where))


def track(store: Store, run: RunSpec, seconds: float, frames: int) -> None:
    """Keep the result of one sequence; seconds: of one frame."""
    store.run(run).claim()
    store.run(run).add_result(HERE, SequenceResult(name="a", boxes=[(0, 0, 1, 1)] * frames, seconds=seconds * frames))


def calibrate(store: Store) -> None:
    """Keep a calibration of CPU (x): 0.1 s for a step of RUN, 0.02 s for a frame, and 0.01 s for one of the static box."""
    measured = Store(shelf(store, "CPU (x)"))
    train(measured, RUN, 0.4, pairs=8, macs=1000)
    track(measured, RUN, 0.02, frames=32)
    track(measured, STATIC, 0.01, frames=32)


def item(
    run: RunSpec = RUN, *, sequences: int = 4, frames: int = 32, generated: int = 32, steps_done: int = 0
) -> Pending:
    """Return a pending run: its training, and 4 sequences of 8 generated frames."""
    missing = Missing(not isinstance(run.tracker, FloorSpec), {HERE: tuple(map(str, range(sequences)))}, (None,))
    return Pending(RunTask(run=run, evaluations=(HERE,)), missing, steps_done, frames, generated)
