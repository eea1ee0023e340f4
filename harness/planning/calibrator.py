"""Measures unit times in a worker: a few real training steps, tracked frames, and drawn frames.

It trains with the loop that runs use (`harness.training.loop.fit`), on clips whose frames are drawn already. Drawing and
decoding are measured apart.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
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
from trackablate.harness.costing.devices import device_name, peak_memory_bytes, resolve_device, synchroniser
from trackablate.harness.costing.macs import count_macs
from trackablate.harness.planning.calibration import Calibration, Sample, batch_of
from trackablate.harness.planning.work import FRAMES_PER_CLIP, Unit
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

CLIPS = 6
WARM_UP, FEWEST, MOST = 2, 4, 40
"""Steps before the measured ones, and the bounds of how many those are."""
ON_DISK = (720, 1280, 3)
"""Shape of the image that is decoded."""
GENERATED = SyntheticData(domain="source", clips=CLIPS, pairs_per_clip=1, length=FRAMES_PER_CLIP, version=1)
"""Stand-in clips for runs that train on real videos."""


def calibrate(task: CalibrateTask, settings: WorkerSettings) -> Calibration:
    """Measure every run of the task, each in an equal share of what is left of the task's seconds."""
    began, device = time.perf_counter(), resolve_device(settings.device)
    data = next((run.data for run in task.runs if isinstance(run.data, SyntheticData)), GENERATED)
    clips, drawing, clip_bytes = _draw(data)
    samples = []
    for number, run in enumerate(task.runs):
        left = max(0.0, task.seconds - (time.perf_counter() - began)) / (len(task.runs) - number)
        samples.append(_Bench(run, clips, device).measured(left, drawing))
    share = sum(sample.device_share for sample in samples) / len(samples)
    for floor, frame in ((FloorSpec(kind="static"), 0.0), (FloorSpec(kind="ncc"), _correlating(clips[0]))):
        seconds: dict[Unit, float] = {**drawing, "tracked": frame, "online": frame}
        samples.append(Sample(tracker=floor, batch=(0, 0), macs=None, seconds=seconds, device_share=share))
    return Calibration(
        device=device_name(device),
        threads=settings.threads,
        workers=settings.workers,
        start=_importing(),
        clip_bytes=clip_bytes,
        samples=samples,
    )


def _importing() -> float:
    """Return the seconds until a new process has imported what a worker needs."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import trackablate.harness.running.execute"], check=True)
    return time.perf_counter() - began


def _correlating(clip: Sequence) -> float:
    """Return the seconds of one frame of the correlation floor."""
    tracker = NormalisedCrossCorrelation()
    tracker.initialise(clip.frames[0], clip.boxes[0])
    return _seconds_of(lambda: tracker.update(clip.frames[-1]), 10)


def _draw(data: SyntheticData) -> tuple[list[Sequence], dict[Unit, float], float]:
    """Return clips like those that are trained on, with frames drawn, the seconds of that, and a clip's bytes."""
    size, cold = (data.width, data.height), time.perf_counter()
    clips = [make_sequence(data.domain, CLIPS, length=data.length, size=size, split="val")]
    _frames(clips.pop())
    before, began = rss_bytes(), time.perf_counter()
    clips += [make_sequence(data.domain, i, length=data.length, size=size, split="val") for i in range(CLIPS)]
    planned = time.perf_counter()
    frames = sum(len(_frames(clip)) for clip in clips)
    drawn, grown = time.perf_counter(), rss_bytes() - before
    noise = np.random.default_rng(0).integers(0, 256, ON_DISK, dtype=np.uint8)
    encoded = cv2.imencode(".jpg", cv2.GaussianBlur(noise, (0, 0), 3))[1]
    seconds: dict[Unit, float] = {
        "textures": max(0.0, (began - cold) - (drawn - began) / CLIPS),
        "clip": (planned - began) / CLIPS,
        "frame": (drawn - planned) / frames,
        "image": _seconds_of(lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR), 4),
    }
    return clips, seconds, max(0, grown) / CLIPS


def _frames(clip: Sequence) -> NDArray[np.int64]:
    """Draw the frames of a clip that a training uses, as in `harness.training.loading`. Returns their numbers."""
    frames = np.linspace(0, len(clip) - 1, min(FRAMES_PER_CLIP, len(clip))).round().astype(np.int64)
    for frame in frames:
        clip.frames[int(frame)]
    return frames


def _seconds_of(act: Callable[[], object], times: int) -> float:
    """Return the mean wall seconds, after one call that is not counted."""
    act()
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times


class _Enough(Exception):
    """Ends a training loop whose time is up."""


@dataclass(frozen=True)
class _Bench:
    """Measures one run."""

    run: RunSpec
    clips: list[Sequence]
    device: torch.device

    def measured(self, seconds: float, drawing: dict[Unit, float]) -> Sample:
        """Return all unit times. The steps take about so many seconds, but there are at least FEWEST of them."""
        began, model = time.perf_counter(), self._model()
        built = time.perf_counter() - began
        step, share = self._steps(model, seconds)
        began, merged = time.perf_counter(), merge(model)
        assert isinstance(merged, OneStreamTracker)
        macs = count_macs(merged).all
        setup = built + time.perf_counter() - began
        tracker = NetworkTracker(merged, self.device)
        tracked = self._tracking(tracker, SLOTS) / SLOTS
        times: dict[Unit, float] = {
            "setup": setup,
            "step": step,
            "validated": tracked,  # both are crops and a forward pass of one frame in a batch
            "tracked": tracked,
            "online": self._tracking(tracker, 1),
        }
        return Sample(
            tracker=self.run.tracker,
            batch=batch_of(self.run),
            macs=macs,
            seconds={**drawing, **times},
            device_share=share,
            memory_bytes=peak_memory_bytes(self.device),
        )

    def _model(self) -> OneStreamTracker:
        assert isinstance(self.run.tracker, TrackerSpec)
        return build(self.run.tracker, pretrained=False)  # weights change no time, and may not be here

    def _steps(self, model: OneStreamTracker, seconds: float) -> tuple[float, float]:
        """Return the wall seconds of one step, and device seconds per wall second."""
        stamps: list[tuple[float, float]] = []
        wait, cuda = synchroniser(self.device), self.device.type == "cuda"

        def note(done: int) -> None:
            wait()
            stamps.append((time.perf_counter(), time.perf_counter() if cuda else time.process_time()))
            if done > WARM_UP + FEWEST and stamps[-1][0] - stamps[0][0] > seconds:
                raise _Enough

        with suppress(_Enough):
            self._fit(model, WARM_UP + MOST, note)
        # The clock starts with the last warm-up step; the loop's last step validates and saves as well.
        counted = stamps[WARM_UP - 1 : WARM_UP + MOST - 1]
        wall, busy = (counted[-1][i] - counted[0][i] for i in (0, 1))
        return wall / (len(counted) - 1), busy / wall

    def _fit(self, model: OneStreamTracker, steps: int, note: Callable[[int], None]) -> None:
        """Train so many steps on the clips, and keep nothing of it."""
        assert self.run.recipe is not None
        update = {"steps": steps, "checkpoint_every": 10**9, "validation_pairs": 1, "warmup_steps": 1}
        recipe = self.run.recipe.model_copy(update=update)
        geometry = pair_geometry(model.spec.crop, recipe, model.encoder.template_side)
        pairs = PairSampler(self._some_clip, geometry, seed=self.run.seed)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "checkpoint.pt"
            fit(Fit(model, recipe, pairs, pairs, self.run.seed, checkpoint, self.device, note))

    def _some_clip(self, _number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        clip = self.clips[int(rng.integers(len(self.clips)))]
        return clip, _frames(clip)

    def _tracking(self, tracker: NetworkTracker, rows: int) -> float:
        """Return the seconds of one frame of so many sequences at a time. Its boxes are on the CPU: nothing is left."""
        clip = self.clips[0]
        target = tracker.target((clip.frames[0], clip.boxes[0]), clip.boxes[0])

        def follow() -> None:
            target.box = clip.boxes[0].copy()
            tracker.follow([(target, clip.frames[-1])] * rows)

        return _seconds_of(follow, 2 if rows > 1 else 8)
