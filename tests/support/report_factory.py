"""A realistic synthetic study result for the report's tests: table3 with floors, a control and film strips."""

from dataclasses import replace
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from trackablate.ablations.catalogue import STUDIES
from trackablate.datasets.boxes import valid
from trackablate.harness.record import (
    CurvePoint,
    Failure,
    PaperScale,
    PhaseCost,
    Provenance,
    RunRecord,
    TrainingCost,
    TrainingRecord,
)
from trackablate.harness.scoring.failure_modes import failures
from trackablate.harness.scoring.metrics import DIALECTS, Dialect, Tally, tally
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker, SequenceInfo, TrackerScores
from trackablate.harness.spec import Profile, Recipe, RunSpec, SyntheticData
from trackablate.harness.speed import Speed
from trackablate.reports.results import FilmStrip, Result
from trackablate.trackers.spec import AnyTracker, FloorSpec

SEQUENCES = 48
FRAMES = 40
WIDTH, HEIGHT = 160, 120
PROTOCOL = "synthetic-thermal"
RECIPE = Recipe(steps=150, batch_size=32, lr_backbone=1e-3, lr_new=1e-3, weight_decay=0.05, warmup_steps=20)
DATA = SyntheticData(domain="thermal", clips=400, pairs_per_clip=12, length=8, version=1)
PROFILE = Profile(
    name="mini",
    description="a ViT of 1.1 M parameters on synthetic 160x120 clips, minutes on two CPU cores",
    comparable_with_paper=False,
    caveat="Not comparable with the paper: profile mini trains a ViT of 1.1 M parameters for 150 steps on synthetic clips.",
    recipe=RECIPE,
    data=DATA,
    protocols=(PROTOCOL,),
)
PACKAGES = {"torch": "2.15.0", "numpy": "2.4.6", "opencv-python-headless": "5.0.0.93", "trackablate": "0.1.0"}
# As our own count gives them, but for ce-decoder's linear and convolutional MACs: those agree with the printed figure.
SIZES = {
    "conv": (92_366_469, 30_911_537_152, 29_024_100_352, 6_794_772_480),
    "decoder": (90_637_605, 29_690_478_592, 27_796_750_336, 6_794_772_480),
    "ce-conv": (92_366_469, 22_640_273_920, 21_497_946_112, 5_110_235_136),
    "ce-decoder": (90_637_605, 21_331_445_504, 15_500_000_000, 5_110_235_136),
}


def study_result(sequences: int = SEQUENCES) -> Result:
    """Four variants, two floors and a control on one protocol, all complete."""
    study = STUDIES["table3"]
    noise = {"conv": 0.11, "decoder": 0.085, "ce-conv": 0.12, "ce-decoder": 0.10}
    rows = [
        ScoredTracker(
            name=row.name,
            role="variant",
            cells=row.cells,
            description="",
            records=(record(study.spec(row), row.name),),
            protocols={PROTOCOL: protocol_result(row.name, noise[row.name], sequences)},
            paper_scale=_paper_scale(row.name),
            baseline=not row.changes,
        )
        for row in study.rows
    ]
    rows += [
        _floor("static", "repeats the first box", 0.8, sequences),
        _floor("ncc", "normalised cross-correlation of the first template, 3 scales, no learning", 0.15, sequences),
        ScoredTracker(
            "shuffled-template",
            "control",
            {PROTOCOL: protocol_result("shuffled", 0.35, sequences)},
            description="conv with another sequence's template: what it finds without knowing the target",
            records=rows[0].records,
        ),
    ]
    facts = ScoredProtocol(
        name=PROTOCOL,
        title=PROTOCOL,
        description="synthetic clips, grey and inverted, 160x120",
        source="this project's generator, seeds 900000 to 900047",
        sequences=tuple(SequenceInfo(name, FRAMES, frozenset(attributes(name))) for name in names(sequences)),
        dialects=dialects("ao", "sr50", "auc", "precision", "norm_precision"),
    )
    return Result(
        protocols=(facts,),
        rows=tuple(rows),
        command="python -m harness run table3 --profile mini --out out",
        study=study,
        profile=PROFILE,
        strips={PROTOCOL: {name: film_strip(name) for name in names(sequences)}},
    )


def names(sequences: int = SEQUENCES) -> list[str]:
    """The sequences' names."""
    return [f"thermal-{index:03d}" for index in range(sequences)]


def attributes(name: str) -> tuple[str, ...]:
    """The attributes of a sequence."""
    index = int(name.rsplit("-", 1)[1])
    return tuple(word for word, every in (("occlusion", 2), ("distractors", 3), ("rotation", 7)) if index % every == 0)


@cache
def truth(name: str) -> NDArray[np.float64]:
    """The true boxes of a sequence: a smooth path."""
    rng = np.random.default_rng(int(name.rsplit("-", 1)[1]))
    step = np.cumsum(rng.normal(0, 1.2, (FRAMES, 2)), axis=0) + rng.uniform(30, 80, 2)
    size = np.array([26.0, 22.0]) * (1 + 0.2 * np.sin(np.arange(FRAMES) / 9))[:, None]
    return np.concatenate([step, size], axis=1)


def predicted(row: str, name: str, noise: float) -> NDArray[np.float64]:
    """Boxes that drift off the truth, faster for a larger noise; hard sequences are hard for every row."""
    boxes = truth(name)
    seed = int(name.rsplit("-", 1)[1])
    hard = np.random.default_rng(seed).gamma(1.5, 1.0)
    drift = np.random.default_rng([seed, sum(map(ord, row))]).normal(0, 1, (FRAMES, 4)) * [1, 1, 0.3, 0.3]
    moved: NDArray[np.float64] = boxes + np.cumsum(drift, axis=0) * noise * hard * 12 / np.sqrt(FRAMES) * 1.6
    moved[:, 2:] = moved[:, 2:].clip(4)
    moved[0] = boxes[0]
    return moved


def protocol_result(row: str, noise: float, sequences: int = SEQUENCES) -> TrackerScores:
    """One row's counts and boxes."""
    return scores_of({name: predicted(row, name, noise) for name in names(sequences)})


def scores_of(boxes: dict[str, NDArray[np.float64]]) -> TrackerScores:
    """The scores of one seed's boxes."""
    failed = {n: failures(b, truth(n), valid(truth(n))) for n, b in boxes.items()}
    return TrackerScores(tuple(boxes), ({n: score(n, b) for n, b in boxes.items()},), (failed,), boxes)


def dialects(*metrics: str) -> dict[str, Dialect]:
    """Each metric's dialect: GOT-10k's for its three, OSTrack's on LaSOT for the others."""
    return {m: DIALECTS["got10k" if m in ("ao", "sr50", "sr75") else "ostrack"].on("lasot") for m in metrics}


def score(name: str, boxes: NDArray[np.float64]) -> Tally:
    """The tally of one sequence's boxes."""
    return tally(boxes, truth(name), np.ones(FRAMES, dtype=bool), size=(WIDTH, HEIGHT))


def record(tracker: AnyTracker, name: str, dirty: bool = False) -> RunRecord:
    """A finished run."""
    decoder, sparse = "decoder" in name, "ce" in name
    speed = 190.0 - 55 * decoder + 20 * sparse
    return RunRecord(
        asked=RunSpec(tracker=tracker, recipe=RECIPE, data=DATA, weights="a" * 16),
        training=TrainingRecord(
            curve=_curve(decoder),
            cost=_cost(decoder, sparse),
            weights_digest="b" * 16,
            where=provenance(name, dirty),
        ),
        speed=_speed(speed),
    )


def provenance(name: str, dirty: bool = False) -> Provenance:
    """Where a run happened."""
    return Provenance(
        commit="9e65990c0ffee0123456789abcdef0123456789a",
        dirty=dirty,
        python="3.11.7",
        platform="Linux-6.1-x86_64",
        packages=PACKAGES,
        device="Intel Xeon 2.1 GHz, 2 cores",
        driver=None,
        threads=1,
        concurrent_workers=2,
        started="2026-05-09T07:35:25Z",
        command=f"python -m harness run table3 --profile mini --only {name}",
    )


def failed(result: Result, name: str, summary: str = "CUDA out of memory at step 40") -> Result:
    """The result with one row's run failed."""
    rows = []
    for row in result.rows:
        if row.name == name:
            failure = Failure(summary=summary, traceback="Traceback ...\nMemoryError", where=provenance(name))
            broken = record_of(row).model_copy(update={"failure": failure, "training": None, "speed": None})
            row = replace(row, records=(broken,), protocols={})
        rows.append(row)
    return replace(result, rows=tuple(rows))


def record_of(row: ScoredTracker) -> RunRecord:
    """The record of a row's first run."""
    assert row.record is not None
    return row.record


def with_row(result: Result, name: str, **changes: Any) -> Result:
    """The result with fields of one row replaced."""
    rows = tuple(replace(row, **changes) if row.name == name else row for row in result.rows)
    return replace(result, rows=rows)


def _floor(kind: Literal["static", "ncc"], description: str, noise: float, sequences: int) -> ScoredTracker:
    floor = FloorSpec(kind=kind)
    asked = RunRecord(asked=RunSpec(tracker=floor), speed=_speed(2400.0 if kind == "ncc" else 90000.0))
    boxes = {n: np.repeat(truth(n)[:1], FRAMES, axis=0) for n in names(sequences)}
    found = scores_of(boxes)
    if kind == "ncc":
        found = protocol_result(kind, noise, sequences)
    return ScoredTracker(kind, "floor", {PROTOCOL: found}, description=description, records=(asked,))


def _paper_scale(name: str) -> PaperScale:
    params, macs, linear_conv, qkv_macs = SIZES[name]
    return PaperScale(
        params=params,
        trainable_params=params,
        head_params=6_000_000,
        macs=macs,
        macs_linear_conv=linear_conv,
        qkv_params=21_261_312,
        qkv_macs=qkv_macs,
    )


def _curve(decoder: bool) -> list[CurvePoint]:
    points = []
    for step in range(10, 151, 10):
        iou = 0.62 * (1 - np.exp(-step / (70 if decoder else 50))) if step % 50 == 0 else None
        total = (7 if decoder else 4) * np.exp(-step / 60) + 1
        points.append(
            CurvePoint(step=step, seconds=step * 0.31, losses={"iou": total / 2, "l1": total / 2}, validation_iou=iou)
        )
    return points


def _cost(decoder: bool, sparse: bool) -> TrainingCost:
    seconds = 46.0 + 16 * decoder - 3 * sparse
    phases = {
        "data": PhaseCost(wall_seconds=6.2, device_seconds=6.0),
        "train": PhaseCost(wall_seconds=seconds, device_seconds=seconds - 1),
    }
    return TrainingCost(
        phases=phases,
        samples=4800,
        peak_memory_bytes=1_260_000_000 + 90_000_000 * decoder,
        memory_kind="process peak RSS",
        params=1_106_000 - 20_000 * decoder,
        trainable_params=1_106_000 - 20_000 * decoder,
        macs=71_000_000 + 9_000_000 * decoder - 12_000_000 * sparse,
    )


def _speed(fps: float) -> Speed:
    return Speed(
        fps=fps, low=fps * 0.97, high=fps * 1.02, rounds=7, frames_per_round=60,
        device="Intel Xeon 2.1 GHz, 2 cores", threads=1,
        measured_with=["ce-conv", "ce-decoder", "conv", "decoder", "ncc", "static"],
    )  # fmt: skip


@cache
def film_strip(name: str) -> FilmStrip:
    """Six thumbnails: a blob on a gradient."""
    frames = tuple(range(0, FRAMES, 7))
    boxes = truth(name)[list(frames)]
    return FilmStrip(name, frames, tuple(_thumbnail(box) for box in boxes), 1.0, boxes, truth(name))


def _thumbnail(box: NDArray[np.float64]) -> bytes:
    image = np.linspace(60, 130, WIDTH, dtype=np.float64)[None, :, None] * np.ones((HEIGHT, 1, 3))
    image = (image + 12 * np.sin(np.arange(HEIGHT) / 3)[:, None, None]).astype(np.uint8)
    centre = (box[:2] + box[2:] / 2).astype(int)
    axes = (box[2:] / 2).astype(int)
    cv2.ellipse(image, centre.tolist(), axes.tolist(), 0, 0, 360, (200, 210, 190), -1)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1])
