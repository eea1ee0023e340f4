"""What a run leaves behind, in three blocks: what was asked, what happened, where. Imports no torch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trackablate.harness.spec import RunSpec

Verdict = Literal["publishable", "trial", "failed"]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CurvePoint(_Block):
    """One point of a training curve: losses are means since the point before; validation IoU in 0..1."""

    step: int
    seconds: float
    losses: dict[str, float]
    validation_iou: float | None = None


class PhaseCost(_Block):
    """Wall and device time of one phase (data, train, validate), device synchronised before every clock reading.

    On a CPU device time is the process's CPU time; on a GPU it is the wall time during which the GPU was held. Energy is
    the whole device's meanwhile, by its own counter (`harness.costing.energy`); None where a part of the phase was not
    metered.
    """

    wall_seconds: float = 0.0
    device_seconds: float = 0.0
    energy_joules: float | None = None


class TrainingCost(_Block):
    """Booked over all attempts of one training, as far as their checkpoints reached."""

    phases: dict[str, PhaseCost] = {}
    samples: int = 0
    peak_memory_bytes: int | None = None
    memory_kind: Literal["process peak RSS", "device peak allocated"] | None = None
    params: int | None = None
    trainable_params: int | None = None
    macs: int | None = None
    resumed: int = 0

    def wall(self) -> float:
        """All phases' wall seconds."""
        return sum(p.wall_seconds for p in self.phases.values())

    def device(self) -> float:
        """All phases' device seconds."""
        return sum(p.device_seconds for p in self.phases.values())

    def energy(self) -> float | None:
        """All phases' joules, None where one of them is not known."""
        known = [p.energy_joules for p in self.phases.values() if p.energy_joules is not None]
        return sum(known) if known and len(known) == len(self.phases) else None


class Speed(_Block):
    """Tracking speed at batch 1: crop, normalise, forward and decode, after warm-up, device synchronised, decoding of
    the video excluded. Median over rounds; rounds of all compared runs were interleaved in one process. macs: of one
    frame.
    """

    fps: float
    low: float
    high: float
    rounds: int
    frames_per_round: int
    device: str
    threads: int
    measured_with: list[str]
    macs: int | None = None


class Provenance(_Block):
    """Where it happened."""

    commit: str | None
    dirty: bool | None
    python: str
    platform: str
    packages: dict[str, str]
    device: str
    driver: str | None
    threads: int
    concurrent_workers: int
    started: str
    command: str


class TrainingRecord(_Block):
    """The finished training of a run: its curve, cost, and the digest of the weights it left."""

    curve: list[CurvePoint]
    cost: TrainingCost
    weights_digest: str
    where: Provenance


class PaperScale(_Block):
    """Size of a tracker at the published size, counted without weights on the meta device; MACs by two conventions, and
    the share of the blocks' qkv projections, which profilers that hook linear layers miss where qkv is called as a
    function. activation_bytes: what one pair's forward pass keeps for the backward pass in fp32; None in records from
    before it was counted.
    """

    params: int
    trainable_params: int
    head_params: int
    macs: int
    macs_linear_conv: int
    qkv_params: int
    qkv_macs: int
    activation_bytes: int | None = None


class Failure(_Block):
    """Why a run stopped."""

    summary: str
    traceback: str
    where: Provenance


class RunRecord(_Block):
    """All that the store knows of one run. training is None for floors and for what never finished."""

    asked: RunSpec
    training: TrainingRecord | None = None
    speed: Speed | None = None
    failure: Failure | None = None

    @property
    def verdict(self) -> Verdict:
        """By rule: failed where a failure stands; trial where the code had uncommitted changes or no commit is known;
        else publishable.
        """
        if self.failure is not None:
            return "failed"
        where = self.training.where if self.training else None
        if where is not None and (where.commit is None or where.dirty):
            return "trial"
        return "publishable"


class Spent(_Block):
    """What one worker process took for one task, by its own clocks, from after its imports to its end; device_seconds as in
    PhaseCost, memory as in TrainingCost.
    """

    wall_seconds: float
    device_seconds: float
    peak_memory_bytes: int


class SequenceResult(_Block):
    """One tracked sequence in the store: boxes (N, 4) x, y, w, h; the wall seconds of tracking it."""

    name: str
    boxes: list[tuple[float, float, float, float]]
    seconds: float


Json = dict[str, Any]
