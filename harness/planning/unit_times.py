"""How long one unit of a run's work takes, from the best source there is, and how far off that may be.

In this order: the same tracker under the same recipe, finished in this store on this device; its measured steps
(`plan --calibrate`); another tracker of the same size under the same recipe, finished, by the ratio of MACs; another
tracker's measured steps, by the ratio; MACs and a published peak. What was tracked of fewer frames than tell a rate comes
after all that was measured. Imports no torch.
"""

from dataclasses import dataclass
from typing import Literal

from trackablate.harness.planning.calibration import Calibration, Steps
from trackablate.harness.planning.history import FEWEST_FRAMES, Evidence, Finished, Tracked, tracked
from trackablate.harness.planning.peaks import (
    DECODING,
    TRACKING_UTILISATION,
    UTILISATION,
    Peak,
    seconds_at,
    tracking_flops,
    training_flops,
    training_memory,
)
from trackablate.harness.planning.span import Span, about
from trackablate.harness.planning.workload import VALIDATION_CLIPS
from trackablate.harness.record import PaperScale
from trackablate.harness.spec import RunSpec, SyntheticData
from trackablate.trackers.spec import FloorSpec, TrackerSpec, fingerprint

Source = Literal["finished", "measured", "scaled", "peak", "nothing left", "unknown"]

NOTHING = Span(low=0.0, expected=0.0, high=0.0)
SAME_RUN, MEASURED, SCALED, UNCOUNTED, GUESSED = 0.10, 0.20, 0.40, 0.60, 1.0
"""Assumed errors: of a run like one that is done, of one whose steps were measured, of one scaled from another tracker by
MACs, of one taken to be like another because nobody counted its MACs, and of what was only derived from something else."""
MEGAPIXELS = 0.92
"""Of one frame on disk, as 1280 x 720, where nothing better is known."""
FLOOR_FRAME = 0.01
"""Seconds of one frame of the correlation floor, where it was not measured: more than it takes."""
DRAWING = Span(low=0.002, expected=0.004, high=0.01)
"""Assumed seconds of drawing one generated frame, or planning one clip, on one CPU core."""
TEXTURES = Span(low=1.0, expected=2.0, high=5.0)
"""Assumed seconds of making a generated split's textures."""
ASSUMED_START = Span(low=5.0, expected=20.0, high=60.0)


@dataclass(frozen=True)
class TrainingRates:
    """Seconds of: setup once, a step with its pairs, a validation pair, the textures of a
    generated split, a generated clip and frame, an image from a file.
    device_share: device seconds per wall second. memory: bytes.
    """

    source: Source
    note: str
    step: Span
    setup: Span = NOTHING
    validated: Span = NOTHING
    textures: Span = NOTHING
    clip: Span = NOTHING
    drawn: Span = NOTHING
    decoded: Span = NOTHING
    device_share: float = 1.0
    memory: Span | None = None


@dataclass(frozen=True)
class TrackingRates:
    """Seconds of: setup once per evaluation, one frame of many sequences at a time, making the textures of a
    generated split, planning a sequence of it, drawing a frame, decoding one; online: one frame at batch 1.
    """

    source: Source
    note: str
    frame: Span
    online: Span
    setup: Span = NOTHING
    textures: Span = NOTHING
    clip: Span = NOTHING
    drawn: Span = NOTHING
    decoded: Span = NOTHING
    device_share: float = 1.0


def training_rates(run: RunSpec, evidence: Evidence) -> TrainingRates | None:
    """What training the run takes, None where nothing is known."""
    if isinstance(run.tracker, FloorSpec) or run.recipe is None:
        return None
    measured, size = evidence.calibration, evidence.size(run.tracker)
    alike = [f for f in evidence.finished if f.run.recipe == run.recipe and f.run.data == run.data]
    if same := [f for f in alike if fingerprint(f.run.tracker) == fingerprint(run.tracker)]:
        return _from_finished(same, 1.0, SAME_RUN)
    if measured and (steps := measured.of(run)):
        return _from_steps(run, measured, steps, 1.0, "measured")
    near = [f for f in alike if _same_size(f.run, run) and f.record.cost.macs]
    if near:
        best, ratio, error = _nearest(near, size)
        return _from_finished([best], ratio, error)
    if measured and size and (steps := measured.nearest(size.macs, run.recipe)):
        return _from_steps(run, measured, steps, size.macs / steps.macs, "scaled")
    return _from_peak(run, run.tracker, size, evidence) if evidence.peak and size else None


def tracking_rates(run: RunSpec, evidence: Evidence) -> TrackingRates | None:
    """What tracking with the run takes, None where nothing is known."""
    measured = evidence.calibration
    own = tracked(evidence.store.run(run))
    if own and own.enough:
        return _as_tracked(run, own, evidence)
    if isinstance(run.tracker, FloorSpec):
        return _floor(run.tracker, measured, evidence) or (_as_tracked(run, own, evidence) if own else None)
    if measured and (steps := measured.of(run)):
        return _tracking_from_steps(measured, steps, 1.0, "measured")
    size = evidence.size(run.tracker)
    near = [f for f in evidence.finished if _same_size(f.run, run) and f.record.cost.macs and f.tracked]
    if whole := [f for f in near if f.tracked and f.tracked.enough]:
        return _as_another_tracked(whole, size, measured)
    if measured and size and run.recipe and (steps := measured.nearest(size.macs, run.recipe)):
        return _tracking_from_steps(measured, steps, size.macs / steps.macs, "scaled")
    if own:
        return _as_tracked(run, own, evidence)
    if near:
        return _as_another_tracked(near, size, measured)
    return _tracking_from_peak(size, evidence.peak) if evidence.peak and size else None


def _as_tracked(run: RunSpec, own: Tracked, evidence: Evidence) -> TrackingRates:
    rate, note = own.seconds_per_frame, "tracked before"
    frame = about(rate, SAME_RUN) if own.enough else _mostly_start(rate)
    note += "" if own.enough else FEW
    return TrackingRates(
        "finished", note, frame, _online(run, evidence, rate), device_share=_share(evidence.calibration)
    )


def _as_another_tracked(found: list[Finished], size: PaperScale | None, measured: Calibration | None) -> TrackingRates:
    best, ratio, error = _nearest(found, size)
    assert best.tracked is not None
    rate = best.tracked.seconds_per_frame * ratio
    frame = about(rate, error) if best.tracked.enough else _mostly_start(rate)
    note = f"as {best.run.name} tracked{'' if best.tracked.enough else FEW}"
    return TrackingRates("scaled", note, frame, frame.times(2), device_share=_share(measured))


FEW = f", fewer than {FEWEST_FRAMES} frames: mostly its start"


def _mostly_start(rate: float) -> Span:
    return Span(low=rate / 20, expected=rate, high=rate)


def _nearest(found: list[Finished], size: PaperScale | None) -> tuple[Finished, float, float]:
    """The run whose MACs are nearest, the factor from its seconds to ours, and the error of that."""
    if size is None:
        return found[0], 1.0, UNCOUNTED
    best = min(found, key=lambda f: _apart(f.record.cost.macs or 1, size.macs))
    return best, size.macs / (best.record.cost.macs or 1), SCALED


def _from_finished(found: list[Finished], ratio: float, error: float) -> TrainingRates:
    """Steps with all that belongs to them, from trainings that are done, scaled by the ratio of MACs."""
    steps = [f.record.cost.wall() / (f.run.recipe.steps if f.run.recipe else 1) * ratio for f in found]
    devices = [f.record.cost.device() / max(f.record.cost.wall(), 1e-9) for f in found]
    source: Source = "finished" if error == SAME_RUN else "scaled"
    memory = max((f.record.cost.peak_memory_bytes or 0 for f in found), default=0)
    mean = sum(steps) / len(steps)
    step = Span(low=min(*steps, mean / (1 + error)), expected=mean, high=max(*steps, mean * (1 + error)))
    kind = "the same run" if source == "finished" else f"{found[0].run.name}, times {ratio:.2f} by MACs"
    return TrainingRates(
        source,
        f"{len(found)} finished under this recipe on this device: {kind}; +-{100 * error:.0f} %",
        step,
        device_share=sum(devices) / len(devices),
        memory=about(memory, error) if memory else None,
    )


def _from_steps(run: RunSpec, measured: Calibration, steps: Steps, ratio: float, source: Source) -> TrainingRates:
    error = MEASURED if source == "measured" else SCALED
    kind = (
        "steps measured" if source == "measured" else f"steps of another tracker measured, times {ratio:.2f} by MACs,"
    )
    side = f"{measured.workers} at once" if measured.workers > 1 else "alone"
    return TrainingRates(
        source,
        f"{kind} on this device, {side}; +-{100 * error:.0f} %",
        about(steps.step * ratio, error),
        about(steps.setup, error),
        about(steps.validated * ratio, error),
        about(measured.drawing.textures, error),
        about(measured.drawing.clip, error),
        about(measured.drawing.frame, error),
        about(measured.drawing.megapixel * MEGAPIXELS, error),
        steps.device_share,
        about(steps.memory_bytes + _kept_clips(run, measured), error),
    )


def _kept_clips(run: RunSpec, measured: Calibration) -> float:
    """Bytes of the generated clips that a training keeps in memory, where that is the memory its peak is taken of."""
    if not isinstance(run.data, SyntheticData) or not measured.device.startswith("CPU"):
        return 0.0
    return measured.drawing.clip_bytes * (run.data.clips + VALIDATION_CLIPS)


def _tracking_from_steps(measured: Calibration, steps: Steps, ratio: float, source: Source) -> TrackingRates:
    error = MEASURED if source == "measured" else SCALED
    return TrackingRates(
        source,
        f"frames tracked to measure it; +-{100 * error:.0f} %",
        about(steps.tracked * ratio, error),
        about(steps.online * ratio, error),
        about(steps.setup, error),
        about(measured.drawing.textures, error),
        about(measured.drawing.clip, error),
        about(measured.drawing.frame, error),
        about(measured.drawing.megapixel * MEGAPIXELS, error),
        steps.device_share,
    )


def _floor(floor: FloorSpec, measured: Calibration | None, evidence: Evidence) -> TrackingRates | None:
    if measured:
        frame = about(measured.ncc if floor.kind == "ncc" else 0.0, MEASURED)
        drawing = measured.drawing
        return TrackingRates(
            "measured",
            "measured",
            frame,
            frame,
            textures=about(drawing.textures, MEASURED),
            clip=about(drawing.clip, MEASURED),
            drawn=about(drawing.frame, MEASURED),
            decoded=about(drawing.megapixel * MEGAPIXELS, MEASURED),
            device_share=measured.device_share,
        )
    if found := [f.tracked.seconds_per_frame for f in evidence.finished if f.tracked]:
        frame = about(min(found), GUESSED)
        return TrackingRates("scaled", "as the fastest tracker here, at most", frame, frame)
    if evidence.peak:
        frame = about(FLOOR_FRAME, GUESSED)
        return TrackingRates("peak", "assumed", frame, frame, NOTHING, TEXTURES, DRAWING, DRAWING, _decoding())
    return None


def _online(run: RunSpec, evidence: Evidence, frame: float) -> Span:
    speed = evidence.store.run(run).speed()
    return about(1 / speed.fps, SAME_RUN) if speed and speed.fps > 0 else about(2 * frame, GUESSED)


def _from_peak(run: RunSpec, tracker: TrackerSpec, size: PaperScale | None, evidence: Evidence) -> TrainingRates:
    assert run.recipe is not None
    assert size is not None
    assert evidence.peak is not None
    flops = training_flops(tracker, size) * run.recipe.batch_size
    low, _, high = UTILISATION
    return TrainingRates(
        "peak",
        f"MACs at {100 * low:.0f} to {100 * high:.0f} % of the {evidence.peak.tflops:g} TFLOPS that are published of"
        f" {evidence.peak_name}, decoding at {1000 * DECODING[0]:.0f} to {1000 * DECODING[2]:.0f} ms per image",
        seconds_at(flops, evidence.peak, UTILISATION),
        ASSUMED_START,
        seconds_at(tracking_flops(size), evidence.peak, UTILISATION),
        textures=TEXTURES,
        clip=DRAWING,
        drawn=DRAWING,
        decoded=_decoding(),
        memory=training_memory(size, run.recipe.pairs_at_once),
    )


def _tracking_from_peak(size: PaperScale, peak: Peak) -> TrackingRates:
    low, _, high = TRACKING_UTILISATION
    frame = seconds_at(tracking_flops(size), peak, TRACKING_UTILISATION)
    note = f"MACs at {100 * low:.0f} to {100 * high:.0f} % of the peak"
    return TrackingRates("peak", note, frame, frame.times(3), ASSUMED_START, TEXTURES, DRAWING, DRAWING, _decoding())


def _decoding() -> Span:
    low, expected, high = DECODING
    return Span(low=low, expected=expected, high=high)


def _share(measured: Calibration | None) -> float:
    return measured.device_share if measured else 1.0


def _same_size(one: RunSpec, other: RunSpec) -> bool:
    a, b = one.tracker, other.tracker
    return isinstance(a, TrackerSpec) and isinstance(b, TrackerSpec) and (a.backbone, a.crop) == (b.backbone, b.crop)


def _apart(one: int, other: int) -> float:
    return max(one / other, other / one)
