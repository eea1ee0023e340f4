"""Scores of one sequence and of a protocol, from boxes alone. Which toolkit's rules apply is a `Dialect`, printed beside
every number. Everything here is a share in 0..1; tables and JSON multiply by 100.

Per sequence only counts are kept (`Counts`), so an interval over sequences is a resampling of rows.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datasets.boxes import Boxes, centre_error, iou, normalised_centre_error, valid

OVERLAP_THRESHOLDS = np.arange(21) / 20


@dataclass(frozen=True)
class Metric:
    """What a reader needs to know about a figure: better is higher unless `lower_is_better`; `scale` turns the stored
    value into the printed one."""

    key: str
    symbol: str
    description: str
    unit: str = "%"
    scale: float = 100.0
    decimals: int = 1
    lower_is_better: bool = False


METRICS = {
    m.key: m
    for m in (
        Metric("ao", "AO", "average overlap: mean IoU over frames after the first"),
        Metric("sr50", "SR50", "success rate: share of frames with IoU above 0.5"),
        Metric("sr75", "SR75", "success rate: share of frames with IoU above 0.75"),
        Metric("auc", "AUC", "area under the success curve: mean over 21 overlap thresholds"),
        Metric("precision", "P", "precision: share of frames with centre error of at most 20 px"),
        Metric("norm_precision", "P_norm", "normalised precision: share with normalised centre error of at most 0.2"),
    )
}


@dataclass(frozen=True)
class Dialect:
    """The rules of one toolkit. frames: `all` counts every annotated frame, frame 0 as a hit by definition;
    `after-first` drops frame 0. pooling: `frames` concatenates all sequences' frames before averaging (GOT-10k),
    `sequences` averages per-sequence values. clip: boxes are cut to the image first."""

    name: str
    description: str
    frames: Literal["all", "after-first"]
    pooling: Literal["frames", "sequences"]
    clip: bool
    metrics: tuple[str, ...]


DIALECTS = {
    d.name: d
    for d in (
        Dialect(
            "got10k",
            "GOT-10k toolkit: first frame dropped, boxes clipped to the image, hidden frames dropped, frames pooled",
            frames="after-first",
            pooling="frames",
            clip=True,
            metrics=("ao", "sr50", "sr75"),
        ),
        Dialect(
            "ostrack",
            "OSTrack/pytracking OPE: first frame counted as a hit, invalid or hidden frames miss success and precision"
            " and hit normalised precision, all frames in the denominator, sequences averaged",
            frames="all",
            pooling="sequences",
            clip=False,
            metrics=("auc", "precision", "norm_precision"),
        ),
    )
}
DIALECT_OF = {metric: dialect.name for dialect in DIALECTS.values() for metric in dialect.metrics}


@dataclass(frozen=True)
class Counts:
    """One sequence's sums: numerators by metric, frames counted by dialect, and the success curve's numerators (21,)."""

    sums: dict[str, float]
    frames: dict[str, int]
    success: NDArray[np.float64]


def count(
    prediction: NDArray[np.float64],
    truth: NDArray[np.float64],
    visible: NDArray[np.bool_],
    image_size: tuple[int, int],
) -> Counts:
    """Counts of one sequence. prediction, truth: (N, 4) boxes; visible: (N,); image_size: (width, height) in pixels.

    Raises ValueError where the lengths differ or a predicted number is not finite: nothing is padded or cut.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"{len(prediction)} predicted boxes for {len(truth)} true ones")
    if not np.isfinite(prediction).all():
        raise ValueError(f"predicted box {int(np.argmin(np.isfinite(prediction).all(axis=1)))} is not finite")
    ao_frames, ao = _got10k(prediction, truth, visible, image_size)
    ope_frames, ope, success = _ostrack(prediction, truth, visible)
    return Counts(sums=ao | ope, frames={"got10k": ao_frames, "ostrack": ope_frames}, success=success)


def _got10k(
    prediction: NDArray[np.float64], truth: NDArray[np.float64], visible: NDArray[np.bool_], image_size: tuple[int, int]
) -> tuple[int, dict[str, float]]:
    overlap = iou(_bounded(prediction[1:], image_size), _bounded(truth[1:], image_size))[visible[1:]]
    sums = {"ao": overlap.sum(), "sr50": (overlap > 0.5).sum(), "sr75": (overlap > 0.75).sum()}
    return len(overlap), {key: float(value) for key, value in sums.items()}


def _bounded(boxes: Boxes, image_size: tuple[int, int]) -> Boxes:
    """Boxes cut to the image by GOT-10k's rule (`rect_iou`), which differs from `datasets.boxes.clip` left of and above
    the image: the corner moves to the edge, and the size is cut only at the far edges."""
    corner = boxes[:, :2].clip(0, image_size)
    return np.concatenate([corner, boxes[:, 2:].clip(0, image_size - corner)], axis=1)


def _ostrack(
    prediction: NDArray[np.float64], truth: NDArray[np.float64], visible: NDArray[np.bool_]
) -> tuple[int, dict[str, float], NDArray[np.float64]]:
    boxes = np.concatenate([truth[:1], prediction[1:]])
    counted = valid(truth) & visible
    overlap = np.where(counted, iou(boxes, truth), -1.0)
    error = np.where(counted, centre_error(boxes, truth), np.inf)
    normalised = np.where(counted, np.nan_to_num(normalised_centre_error(boxes, truth)), -1.0)
    success = (overlap[:, None] > OVERLAP_THRESHOLDS).sum(axis=0).astype(np.float64)
    sums = {
        "auc": float(success.mean()),
        "precision": float((error <= 20).sum()),
        "norm_precision": float((normalised <= 0.2).sum()),
    }
    return len(truth), sums, success


def values(counts: list[Counts], metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per-sequence numerators and weights of a metric: its value is numerators.sum() / weights.sum().

    A dialect that averages sequences gives each the weight 1; one that pools frames, its frame count.
    """
    dialect = DIALECTS[DIALECT_OF[metric]]
    sums = np.array([c.sums[metric] for c in counts])
    frames = np.array([float(c.frames[dialect.name]) for c in counts])
    if dialect.pooling == "frames":
        return sums, frames
    return np.divide(sums, frames, out=np.zeros_like(sums), where=frames > 0), np.ones_like(frames)
