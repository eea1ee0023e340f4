"""Measures in a worker what `harness.planning.calibration` keeps: a few real training steps, tracked frames, drawn frames.

It trains with the loop that runs use (`harness.training.loop.fit`), on pairs whose frames are at hand, so that drawing
them is
measured once and apart.
"""

import itertools
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
from trackablate.harness.planning.calibration import Calibration, Drawing, Steps
from trackablate.harness.running.tasks import CalibrateTask, WorkerSettings
from trackablate.harness.spec import RunSpec, SyntheticData
from trackablate.harness.tracking.evaluation import SLOTS
from trackablate.harness.training.loading import pair_geometry
from trackablate.harness.training.loop import Fit, fit
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.floors import NormalisedCrossCorrelation
from trackablate.trackers.inference import NetworkTracker, Row
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import TrackerSpec

CLIPS, FRAMES = 6, 8
"""What the steps are measured on: clips like those that are trained on, and frames drawn of each."""
WARM_UP, FEWEST, MOST = 2, 4, 40
"""Steps before the measured ones, and the bounds of how many those are."""
MEGAPIXEL = (1280, 800)
CLIP = SyntheticData(domain="source", clips=CLIPS, pairs_per_clip=1, length=FRAMES, version=1)
"""Where nothing that is trained on is generated, and frames are at hand all the same."""


def calibrate(task: CalibrateTask, settings: WorkerSettings) -> Calibration:
    """Measure every run of the task, each in an equal share of what is left of the task's seconds."""
    began, start = time.perf_counter(), time.time() - task.asked
    device = resolve_device(settings.device)
    clips, drawing = _draw(next((r.data for r in task.runs if isinstance(r.data, SyntheticData)), CLIP))
    first = _Bench(task.runs[0], clips, device).first()
    steps: list[Steps] = []
    for number, run in enumerate(task.runs):
        left = task.seconds - (time.perf_counter() - began)
        steps.append(_Bench(run, clips, device).measured(max(0.0, left) / (len(task.runs) - number)))
    return Calibration(
        device=device_name(device),
        threads=settings.threads,
        workers=settings.workers,
        start=start,
        first=first,
        drawing=drawing,
        ncc=_ncc(clips[0]),
        steps=steps,
    )


def _draw(data: SyntheticData) -> tuple[list[Sequence], Drawing]:
    """Clips of the kind that is trained on, some of their frames drawn, and what that took: clips of another domain or
    length take another time to plan and to draw.
    """
    size = (data.width, data.height)

    def clip(number: int) -> Sequence:
        return make_sequence(data.domain, number, length=data.length, size=size, split="val")

    cold = time.perf_counter()
    _draw_some(clip(CLIPS))
    before = rss_bytes()
    began = time.perf_counter()
    clips = [clip(number) for number in range(CLIPS)]
    planned = time.perf_counter()
    frames = sum(_draw_some(one) for one in clips)
    drawn = time.perf_counter()
    grown = rss_bytes() - before
    noise = np.random.default_rng(0).integers(0, 256, (*MEGAPIXEL[::-1], 3), dtype=np.uint8)
    encoded = cv2.imencode(".jpg", cv2.GaussianBlur(noise, (0, 0), 3))[1]
    decoding = _seconds_of(lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR), 4)
    drawing = Drawing(
        textures=max(0.0, (began - cold) - (drawn - began) / CLIPS),
        clip=(planned - began) / CLIPS,
        frame=(drawn - planned) / frames,
        megapixel=decoding * 1e6 / (MEGAPIXEL[0] * MEGAPIXEL[1]),
        clip_bytes=max(0, grown) / CLIPS,
    )
    return clips, drawing


def _some(clip: Sequence) -> NDArray[np.int64]:
    """The frames that are drawn of a clip, as in `harness.training.loading`."""
    return np.linspace(0, len(clip) - 1, min(FRAMES, len(clip))).round().astype(np.int64)


def _draw_some(clip: Sequence) -> int:
    frames = _some(clip)
    for frame in frames:
        clip.frames[int(frame)]
    return len(frames)


def _ncc(clip: Sequence) -> float:
    tracker = NormalisedCrossCorrelation()
    tracker.initialise(clip.frames[0], clip.boxes[0])
    return _seconds_of(lambda: tracker.update(clip.frames[-1]), 10)


def _seconds_of(act: Callable[[], object], times: int) -> float:
    """Mean wall seconds, after one that is not counted."""
    act()
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times


@dataclass(frozen=True)
class _Clips:
    """The `sequence` of a PairSampler: one of a few clips, the frames that are drawn of it."""

    clips: list[Sequence]

    def __call__(self, _number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        clip = self.clips[int(rng.integers(len(self.clips)))]
        return clip, _some(clip)


class _Enough(Exception):
    """Ends a training loop whose time is up."""


@dataclass(frozen=True)
class _Bench:
    """One run, measured."""

    run: RunSpec
    clips: list[Sequence]
    device: torch.device

    def measured(self, seconds: float) -> Steps:
        """All its figures, the steps within about so many seconds, but at least FEWEST of them."""
        tracker, recipe = self.run.tracker, self.run.recipe
        assert isinstance(tracker, TrackerSpec)
        assert recipe is not None
        began = time.perf_counter()
        model = build(tracker, pretrained=False)  # weights change no time, and may not be here
        built = time.perf_counter() - began
        wall, share = self._steps(model, seconds)
        began = time.perf_counter()
        merged = merge(model)
        assert isinstance(merged, OneStreamTracker)
        macs = count_macs(merged).all
        setup = built + time.perf_counter() - began
        online = NetworkTracker(merged, self.device)
        together = self._tracking(online, SLOTS) / SLOTS
        return Steps(
            tracker=tracker,
            batch_size=recipe.batch_size,
            pairs_at_once=recipe.pairs_at_once,
            macs=macs,
            setup=setup,
            step=wall,
            device_share=share,
            validated=self._validation(merged, recipe.pairs_at_once),
            tracked=together,
            online=self._tracking(online, 1),
            memory_bytes=peak_memory_bytes(self.device),
        )

    def first(self) -> float:
        """Wall seconds of building and of as few steps as warm up: nearly all of it is paid once per process."""
        began = time.perf_counter()
        assert isinstance(self.run.tracker, TrackerSpec)
        self._fit(build(self.run.tracker, pretrained=False), WARM_UP, lambda _: None)
        return time.perf_counter() - began

    def _steps(self, model: OneStreamTracker, seconds: float) -> tuple[float, float]:
        """Wall seconds of one step, and device seconds per wall second."""
        cuda = self.device.type == "cuda"
        stamps: list[tuple[float, float]] = []
        wait = synchroniser(self.device)

        def note(done: int) -> None:
            wait()
            stamps.append((time.perf_counter(), time.perf_counter() if cuda else time.process_time()))
            if done > WARM_UP + FEWEST and stamps[-1][0] - stamps[0][0] > seconds:
                raise _Enough

        with suppress(_Enough):
            self._fit(model, WARM_UP + MOST, note)
        # The last of all steps validates and saves as well; the warm-up's last stamp is where the clock starts.
        counted = stamps[WARM_UP - 1 : WARM_UP + MOST - 1]
        wall, busy = (counted[-1][i] - counted[0][i] for i in (0, 1))
        return wall / (len(counted) - 1), busy / wall

    def _fit(self, model: OneStreamTracker, steps: int, note: Callable[[int], None]) -> None:
        """Train so many steps on the clips; nothing of it is kept."""
        assert self.run.recipe is not None
        update = {"steps": steps, "checkpoint_every": 10**9, "validation_pairs": 1, "warmup_steps": 1}
        recipe, sampler = self.run.recipe.model_copy(update=update), self._pairs(model.encoder.template_side)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "checkpoint.pt"
            fit(Fit(model, recipe, sampler, sampler, self.run.seed, checkpoint, self.device, note))

    def _pairs(self, template_side: int, *, augment: bool = True) -> PairSampler:
        assert isinstance(self.run.tracker, TrackerSpec)
        assert self.run.recipe is not None
        geometry = pair_geometry(self.run.tracker.crop, self.run.recipe, template_side)
        return PairSampler(_Clips(self.clips), geometry, seed=self.run.seed, augment=augment)

    def _validation(self, model: OneStreamTracker, pairs: int) -> float:
        """Seconds of one validation pair: its crops, and its forward pass."""
        crop = model.spec.crop
        template, search = (
            torch.zeros(pairs, 3, s, s, device=self.device) for s in (crop.template_size, crop.search_size)
        )
        mask = torch.zeros(pairs, model.encoder.template_side**2, dtype=torch.bool, device=self.device)
        wait = synchroniser(self.device)

        @torch.no_grad()
        def validate() -> None:
            model(template, search, mask)
            wait()

        numbers, sampler = itertools.count(), self._pairs(model.encoder.template_side, augment=False)
        return _seconds_of(lambda: sampler(next(numbers)), 32) + _seconds_of(validate, 2) / pairs

    def _tracking(self, tracker: NetworkTracker, rows: int) -> float:
        """Wall seconds of one frame of so many sequences at a time; boxes are on the CPU at the end, so it has waited."""
        clip = self.clips[0]
        target = tracker.target((clip.frames[0], clip.boxes[0]), clip.boxes[0])
        batch: list[Row] = [(target, clip.frames[-1])] * rows

        def follow() -> None:
            target.box = clip.boxes[0].copy()
            tracker.follow(batch)

        return _seconds_of(follow, 2 if rows > 1 else 8)
