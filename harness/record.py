"""What a run leaves behind, in three blocks: what was asked, what happened, where. Imports no torch."""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trackablate.harness.spec import Control, Evaluation, Profile, RunSpec
from trackablate.trackers.spec import TrackerSpec

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


class SequenceFacts(_Block):
    """The annotation of one sequence.

    Attributes:
        frames: Number of frames of the video.
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
        digest: Digest of the protocol's data.
        metrics: Pairs of metric and dialect, as in `datasets.protocols.Protocol`; so are `origin` and `one_shot`.
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
    sequences: list[SequenceFacts]

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


class SizeRecord(_Block):
    """The counted size of one tracker."""

    tracker: TrackerSpec
    size: PaperScale


class PlannedRun(_Block):
    """One training behind a row, and the protocols that it is evaluated on."""

    model_config = ConfigDict(frozen=True)

    run: RunSpec
    protocols: tuple[str, ...]


class PlannedRow(_Block):
    """One row of a study's table.

    Attributes:
        role: `variant`, `floor` or `control`.
        cells: Words that the study's factors print for the row, one per factor.
        runs: Runs seed by seed; for each seed one run for every training of the study.
        test_layers: Number of decoder layers that run at inference, see `harness.spec.Evaluation`.
        tracker_at_paper_scale: Tracker at the published size; None for floors and controls.
        baseline: Whether the study's other rows are compared with this one.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    role: Literal["variant", "floor", "control"]
    cells: tuple[str, ...]
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

    def on(self, protocol: str) -> tuple[RunSpec, ...]:
        """Return the runs that are evaluated on a protocol, seed by seed."""
        return tuple(planned.run for planned in self.runs if protocol in planned.protocols)

    def evaluation(self, protocol: str, digest: str) -> Evaluation:
        """Return the row's evaluation on a protocol whose data have this digest."""
        return Evaluation(protocol=protocol, data=digest, control=self.control, test_layers=self.test_layers)


class StudyRecord(_Block):
    """What a study was asked to be when it was last started: enough to report it without planning it.

    Attributes:
        study: Name of the study.
        profile: The whole profile, since a file of the user's own may change or go.
        digests: Digest of the data of each protocol, by protocol name.
        seeds: Number of seeds of each row.
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
    """Return each distinct run of some rows by its fingerprint, with everything that is evaluated on it.

    Args:
        rows: Rows of a study.
        digests: Digest of the data of each protocol, by protocol name.
    """
    grouped: dict[str, tuple[RunSpec, dict[Evaluation, None]]] = {}
    for row in rows:
        for planned in row.runs:
            _, evaluations = grouped.setdefault(planned.run.fingerprint, (planned.run, {}))
            evaluations |= {row.evaluation(name, digests[name]): None for name in planned.protocols}
    return {print_: (run, tuple(found)) for print_, (run, found) in grouped.items()}
