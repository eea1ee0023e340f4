"""Records in the store: of runs (what was asked, what happened, where), protocols and studies. Imports no torch."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from trackablate.datasets.benchmark import Protocol
from trackablate.datasets.changes import DataState
from trackablate.harness.spec import Control, Evaluation, Profile, RunSpec
from trackablate.harness.speed import Forward, Speed
from trackablate.trackers.spec import Frozen, TrackerSpec

Verdict = Literal["reproducible", "trial", "failed"]
"""Whether a run ended and can be repeated. The profile says whether its size compares with a paper's, and
`Provenance.concurrent_workers` whether its times may be published."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CurvePoint(_Block):
    """One point of a training curve: losses are means since the point before; validation IoU in 0..1."""

    step: int
    seconds: float
    losses: dict[str, float]
    validation_iou: float | None = None


class PhaseCost(_Block):
    """Wall and device time of one phase (data, train, validate); the device is synchronised before every clock reading.

    Device time is the process's CPU time on a CPU, and the wall time during which the GPU was held on a GPU. Energy is that
    of the whole device by its own counter (`harness.costing.energy`); None if a part of the phase was not metered.
    """

    wall_seconds: float = 0.0
    device_seconds: float = 0.0
    energy_joules: float | None = None


class TrainingCost(_Block):
    """Costs of one training, over all its attempts up to their last checkpoints.

    Attributes:
        peak_memory_bytes: The most that was held at a time. A process's peak includes `resident_before_bytes`.
        resident_before_bytes: What of a process's peak is not the training's: what Python held when the training began, and
            the libraries, of which more becomes resident as they are used. None on a GPU, whose memory is all given back.
        pairs_at_once: Number of pairs that were computed at a time, if not as many as published. More were after the first
            steps, whose peak memory is booked; fewer where memory did not hold the published number (--fit-memory).
        compiled: Whether blocks were compiled; False as well if the recipe asks for it and they could not be.
        reserved_bytes: The most that torch held of a GPU's memory, its unused blocks included.
        driver_bytes: Memory of the GPU that the driver said was taken, by whichever process, at the last validation.
        flops_per_pair: FLOPs that training on one pair needs (`harness.costing.peaks.model_flops`).
        peak_tflops: The device's published peak, dense and in 16 bits whatever the recipe's precision; None if unknown.
        recomputed: Whether activations were computed twice because memory did not hold them (--fit-memory).
        fsdp: Whether the processes divided parameters, gradients and optimizer states among them (--fsdp).
    """

    phases: dict[str, PhaseCost] = {}
    samples: int = 0
    peak_memory_bytes: int | None = None
    resident_before_bytes: int | None = None
    pairs_at_once: int | None = None
    recomputed: bool = False
    fsdp: bool = False
    compiled: bool = False
    reserved_bytes: int | None = None
    driver_bytes: int | None = None
    flops_per_pair: float | None = None
    peak_tflops: float | None = None
    memory_kind: Literal["process peak RSS", "device peak allocated"] | None = None
    params: int | None = None
    trainable_params: int | None = None
    macs: int | None = None
    resumed: int = 0

    def memory(self) -> int | None:
        """Return the most that the training held: a process's peak less `resident_before_bytes`, if that is known."""
        if self.peak_memory_bytes is None or self.resident_before_bytes is None:
            return self.peak_memory_bytes
        return max(0, self.peak_memory_bytes - self.resident_before_bytes)

    def wall(self) -> float:
        """Return the wall seconds of all phases."""
        return sum(p.wall_seconds for p in self.phases.values())

    def device(self) -> float:
        """Return the device seconds of all phases."""
        return sum(p.device_seconds for p in self.phases.values())

    def mfu(self) -> float | None:
        """Return the share of the device's published peak that the steps reached (MFU), 0..1; None if that is not known.

        Waiting for data and validation are left out. If several devices shared the training, it is the share of all.
        """
        steps = self.phases.get("train")
        if not (self.flops_per_pair and self.peak_tflops and steps and steps.device_seconds):
            return None
        return self.flops_per_pair * self.samples / (steps.device_seconds * self.peak_tflops * 1e12)

    def energy(self) -> float | None:
        """Return the joules of all phases, None if one of them is not known."""
        known = [p.energy_joules for p in self.phases.values() if p.energy_joules is not None]
        return sum(known) if known and len(known) == len(self.phases) else None


class Provenance(_Block):
    """Code, packages and machine of a piece of work."""

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


class TrainingBegan(_Block):
    """What the data of a training were when it began, by training set."""

    sets: dict[str, DataState]


class TrainingRecord(_Block):
    """The finished training of a run: its curve, cost, and the digest of the weights it left."""

    curve: list[CurvePoint]
    cost: TrainingCost
    weights_digest: str
    where: Provenance


class PaperScale(_Block):
    """The size of a tracker, counted without weights on the meta device.

    Attributes:
        macs: Multiply-accumulates of one frame with both products of attention; `macs_linear_conv` leaves them out.
        qkv_params: Parameters of the blocks' qkv projections, which profilers miss that hook linear layers.
        activation_bytes: Bytes that one pair's forward pass keeps for the backward pass in fp32; None if not counted.
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
    """All that the store knows of one run; `training` is None for floors and for a training that has not finished."""

    asked: RunSpec
    training: TrainingRecord | None = None
    speed: Speed | None = None
    failure: Failure | None = None

    @property
    def verdict(self) -> Verdict:
        """`failed` after a failure; `trial` if the code had uncommitted changes or no known commit; else `reproducible`."""
        if self.failure is not None:
            return "failed"
        where = self.training.where if self.training else None
        if where is not None and (where.commit is None or where.dirty):
            return "trial"
        return "reproducible"


class Spent(_Block):
    """Device seconds that one task took by the worker's own clock, as in TrainingCost."""

    device_seconds: float


class SequenceResult(_Block):
    """One tracked sequence: its boxes (N, 4) as x, y, w, h in pixels, and the wall seconds of tracking it.

    The seconds include waiting for frames, but not the time in which they are read ahead: they are no tracker's speed.

    Attributes:
        forward: How the network was computed, if the evaluation asks for a compiled one.
    """

    name: str
    boxes: list[tuple[float, float, float, float]]
    seconds: float
    forward: Forward | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if self.forward is None:  # as it was before there was a choice
            del written["forward"]
        return written


class SequenceRecord(_Block):
    """The annotation of one sequence.

    Attributes:
        boxes: Boxes (N, 4) as x, y, w, h in pixels; NaN where a frame is not annotated. N is 1 if the other boxes are on an
            evaluation server.
        size: Width and height of the frames in pixels.
        strip: Indices of the frames that are kept as thumbnails.
        scale: Size of the thumbnails as a share of the frame's size.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    name: str
    frames: int
    boxes: list[tuple[float, float, float, float]]
    visible: list[bool]
    size: tuple[int, int]
    attributes: list[str]
    strip: list[int]
    scale: float


class ProtocolRecord(_Block):
    """A protocol as it was evaluated.

    Attributes:
        metrics: Pairs of metric and dialect, as in `datasets.protocols.Protocol`; so are the fields below.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    name: str
    digest: str
    title: str
    description: str
    source: str
    metrics: tuple[tuple[str, str], ...]
    origin: int
    one_shot: bool
    attributes: tuple[str, ...] = ()
    sparse: bool = False
    scored_as: str = ""
    sequences: list[SequenceRecord]

    @property
    def frames(self) -> int:
        """Number of annotated frames over all sequences."""
        return sum(len(s.boxes) for s in self.sequences)

    @property
    def names(self) -> list[str]:
        """Names of the sequences."""
        return [s.name for s in self.sequences]

    @property
    def on_server(self) -> bool:
        """Whether the true boxes are on an evaluation server, so that results are submitted instead of scored here."""
        return any(len(s.boxes) < s.frames for s in self.sequences)


SHARED = tuple(field for field in ProtocolRecord.model_fields if field in Protocol.__dataclass_fields__)
"""Fields of a protocol that its record repeats."""


class SizeRecord(_Block):
    """The counted size of one tracker."""

    tracker: TrackerSpec
    size: PaperScale


class PlannedRun(Frozen):
    """One training behind a row, and the protocols that it is evaluated on."""

    run: RunSpec
    protocols: tuple[str, ...]


class PlannedRow(Frozen):
    """One row of a study's table.

    Attributes:
        cells: Words that the study's factors print for the row, one per factor.
        runs: Runs seed by seed; for each seed one run for every training of the study.
        test_layers: Number of decoder layers that run at inference, see `harness.spec.Evaluation`.
        tracker_at_paper_scale: Tracker at the published size; None for floors and controls.
        baseline: Whether the study's other rows are compared with this one.
    """

    name: str
    role: Literal["variant", "floor", "control"]
    cells: tuple[str, ...] = ()
    description: str
    runs: tuple[PlannedRun, ...]
    control: Control = "none"
    test_layers: int | None = None
    tracker_at_paper_scale: TrackerSpec | None = None
    baseline: bool = False

    @property
    def run(self) -> RunSpec:
        """The first seed's first training."""
        return self.runs[0].run

    def evaluation(self, protocol: str, digest: str) -> Evaluation:
        """Return the row's evaluation on a protocol whose data have this digest."""
        return Evaluation(protocol=protocol, data=digest, control=self.control, test_layers=self.test_layers)


class StudyRecord(_Block):
    """What a study was asked to be when it was last started: enough to report it without planning it.

    Attributes:
        study: Name of the study.
        profile: The whole profile, since a file of the user's own may change or go.
        digests: Digest of the data of each protocol.
        command: The command that runs what is missing, without paths of the machine.
        rows: All rows of the study, floors and controls included.
    """

    study: str
    profile: Profile
    digests: dict[str, str]
    seeds: int
    command: str
    rows: tuple[PlannedRow, ...]

    def evaluations(self) -> dict[str, tuple[RunSpec, tuple[Evaluation, ...]]]:
        """Return each distinct run by its fingerprint, with everything that is evaluated on it."""
        return evaluations_of(self.rows, self.digests)


def evaluations_of(
    rows: Iterable[PlannedRow], digests: Mapping[str, str]
) -> dict[str, tuple[RunSpec, tuple[Evaluation, ...]]]:
    """Return each distinct run of a study's rows by its fingerprint, with everything that is evaluated on it.

    `digests` has the digest of the data of each protocol.
    """
    grouped: dict[str, tuple[RunSpec, dict[Evaluation, None]]] = {}
    for row in rows:
        for planned in row.runs:
            _, evaluations = grouped.setdefault(planned.run.fingerprint, (planned.run, {}))
            evaluations |= {row.evaluation(name, digests[name]): None for name in planned.protocols}
    return {print_: (run, tuple(found)) for print_, (run, found) in grouped.items()}


class PhaseProgress(_Block):
    """How far a working process is, as it says itself.

    Attributes:
        phase: `train` and `validate` count training steps, `track PROTOCOL` frames, `speed` rounds.
        row: The table's row that this is for.
        loss: Loss of the last step.
    """

    phase: str
    done: int
    total: int
    row: str = ""
    loss: float | None = None

    @property
    def trains(self) -> bool:
        """Whether the run is in its training."""
        return self.phase in ("train", "validate")

    @property
    def words(self) -> str:
        """The phase as it is shown."""
        return {"train": "training", "validate": "validation"}.get(
            self.phase, self.phase.replace("track", "tracking", 1)
        )
