"""Measures unit times in a worker: a few real training steps, tracked frames, and drawn frames.

It trains with the loop that runs use (`harness.training.loop.fit`), on clips whose frames are drawn already. Drawing and
decoding are measured apart.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from trackablate.datasets.pairs.sampling import PairSampler
from trackablate.datasets.sequence import Sequence
from trackablate.datasets.synthetic.videos import make_sequence
from trackablate.harness.costing.clock import rss_bytes
from trackablate.harness.costing.devices import device_name, peak_memory_bytes, resolve_device
from trackablate.harness.costing.macs import count_macs
from trackablate.harness.planning.calibration import Calibration, Sample, batch_of
from trackablate.harness.planning.work import FRAMES_PER_CLIP, Unit
from trackablate.harness.record import TrainingCost
from trackablate.harness.running.fresh import start_afresh
from trackablate.harness.running.tasks import CalibrateTask, WorkerSettings
from trackablate.harness.spec import RunSpec, SyntheticData
from trackablate.harness.tracking.evaluation import SLOTS
from trackablate.harness.training.loading import pair_geometry
from trackablate.harness.training.loop import Fit, fit
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.floors import NormalisedCrossCorrelation
from trackablate.trackers.inference import NetworkTracker
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import FloorSpec, TrackerSpec

CLIPS, VALIDATED = 6, 64
WARM_UP, FEWEST, MOST = 2, 4, 40
"""Steps before the measured ones, and the bounds of how many those are."""
ON_DISK = (720, 1280, 3)
"""Shape of the image that is decoded."""
GENERATED = SyntheticData(domain="source", clips=CLIPS, pairs_per_clip=1, length=FRAMES_PER_CLIP, version=1)
"""Stand-in clips for runs that train on real videos."""


def calibrate(task: CalibrateTask, settings: WorkerSettings) -> Calibration:
    """Measure every run of the task, each in an equal share of what is left of the task's seconds."""
    began, device = time.perf_counter(), resolve_device(settings.device)
    videos, drawing, clip_bytes = _draw(
        next((r.data for r in task.runs if isinstance(r.data, SyntheticData)), GENERATED)
    )
    samples = []
    for number, run in enumerate(task.runs):
        left = max(0.0, task.seconds - (time.perf_counter() - began)) / (len(task.runs) - number)
        start_afresh(settings.threads)  # so that the peak memory is this tracker's own
        samples.append(_Bench(run, videos, device).measured(left, drawing))
    share = sum(sample.device_share for sample in samples) / len(samples)
    clip, ncc = videos.clips[0], NormalisedCrossCorrelation()
    ncc.initialise(clip.frames[0], clip.boxes[0])
    correlating = _seconds_of(lambda: ncc.update(clip.frames[-1]), 10)
    for floor, frame in ((FloorSpec(kind="static"), 0.0), (FloorSpec(kind="ncc"), correlating)):
        seconds: dict[Unit, float] = {**drawing, "tracked": frame, "online": frame}
        samples.append(
            Sample(tracker=floor, batch=batch_of(RunSpec(tracker=floor)), seconds=seconds, device_share=share)
        )
    return Calibration(
        device=device_name(device),
        threads=settings.threads,
        workers=settings.workers,
        clip_bytes=0.0 if device.type == "cuda" else clip_bytes,
        samples=samples,
    )


@dataclass(frozen=True)
class _Videos:
    """The `sequence` of a PairSampler: one of a few clips, and the frames that a training uses."""

    clips: list[Sequence]
    frames: NDArray[np.int64]

    def __call__(self, _number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        return self.clips[int(rng.integers(len(self.clips)))], self.frames

    def draw(self) -> None:
        for clip in self.clips:
            for frame in self.frames:
                clip.frames[int(frame)]


def _draw(data: SyntheticData) -> tuple[_Videos, dict[Unit, float], float]:
    """Return clips like those that are trained on, with frames drawn, the seconds of that, and a clip's bytes."""
    frames = np.linspace(0, data.length - 1, min(FRAMES_PER_CLIP, data.length)).round().astype(np.int64)

    def planned(numbers: range) -> _Videos:
        size = (data.width, data.height)
        return _Videos(
            [make_sequence(data.domain, n, length=data.length, size=size, split="val") for n in numbers], frames
        )

    cold = time.perf_counter()
    planned(range(CLIPS, CLIPS + 1)).draw()
    before, began = rss_bytes(), time.perf_counter()
    videos = planned(range(CLIPS))
    ready = time.perf_counter()
    videos.draw()
    drawn, grown = time.perf_counter(), rss_bytes() - before
    noise = np.random.default_rng(0).integers(0, 256, ON_DISK, dtype=np.uint8)
    encoded = cv2.imencode(".jpg", cv2.GaussianBlur(noise, (0, 0), 3))[1]
    seconds: dict[Unit, float] = {
        "textures": max(0.0, (began - cold) - (drawn - began) / CLIPS),
        "clip": (ready - began) / CLIPS,
        "frame": (drawn - ready) / CLIPS / len(frames),
        "image": _seconds_of(lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR), 4),
    }
    return videos, seconds, max(0, grown) / CLIPS


def _seconds_of(act: Callable[[], object], times: int) -> float:
    """Return the mean wall seconds, after one call that is not counted."""
    act()
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times


@dataclass(frozen=True)
class _Bench:
    """Measures one run."""

    run: RunSpec
    videos: _Videos
    device: torch.device

    def measured(self, seconds: float, drawing: dict[Unit, float]) -> Sample:
        """Return all unit times. The steps take about so many seconds, but there are at least FEWEST of them."""
        assert isinstance(self.run.tracker, TrackerSpec)
        began = time.perf_counter()
        model = build(self.run.tracker, pretrained=False)  # weights change no time, and may not be here
        built = time.perf_counter() - began
        pace = WARM_UP / self._train(model, WARM_UP).wall()
        steps = max(FEWEST, min(MOST, round(seconds * pace)))
        cost = self._train(model, steps)
        validation = cost.phases.pop("validate").wall_seconds
        began, merged = time.perf_counter(), merge(model)
        assert isinstance(merged, OneStreamTracker)
        macs = count_macs(merged).all
        setup, tracker = built + time.perf_counter() - began, NetworkTracker(merged, self.device)
        times: dict[Unit, float] = {
            "setup": setup,
            "step": cost.wall() / steps,
            "validated": validation / VALIDATED,
            "tracked": self._tracking(tracker, SLOTS) / SLOTS,
            "online": self._tracking(tracker, 1),
        }
        return Sample(
            tracker=self.run.tracker,
            batch=batch_of(self.run),
            macs=macs,
            seconds={**drawing, **times},
            device_share=cost.device() / cost.wall(),
            memory_bytes=peak_memory_bytes(self.device),
        )

    def _train(self, model: OneStreamTracker, steps: int) -> TrainingCost:
        """Train so many steps on the clips. Returns the cost, and keeps nothing."""
        assert self.run.recipe is not None
        update = {"steps": steps, "checkpoint_every": 10**9, "validation_pairs": VALIDATED, "warmup_steps": 1}
        recipe = self.run.recipe.model_copy(update=update)
        geometry = pair_geometry(model.spec.crop, recipe, model.encoder.template_side)
        pairs = PairSampler(self.videos, geometry, seed=self.run.seed)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "checkpoint.pt"
            return fit(Fit(model, recipe, pairs, pairs, self.run.seed, checkpoint, self.device, lambda *_: None))[1]

    def _tracking(self, tracker: NetworkTracker, rows: int) -> float:
        """Return the seconds of one frame of so many sequences at a time. Its boxes are on the CPU: nothing is left."""
        clip = self.videos.clips[0]
        target = tracker.target((clip.frames[0], clip.boxes[0]), clip.boxes[0])

        def follow() -> None:
            target.box = clip.boxes[0].copy()
            tracker.follow([(target, clip.frames[-1])] * rows)

        return _seconds_of(follow, 2 if rows > 1 else 8)
