"""Scores of sequences, computed from their tallies by the rules of a dialect.

All values are shares in 0..1; tables and JSON multiply them by 100. A score is a ratio of sums over sequences, so that
its interval can be computed by resampling sequences.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Floats
from trackablate.datasets.registry import Registry
from trackablate.harness.scoring.dialects import DIALECTS, Curve, Dialect, Reading
from trackablate.harness.scoring.failure_modes import runs
from trackablate.harness.scoring.threshold_counts import GRID, TREATMENTS, Fact, Measured, Tally, Treated, tally

__all__ = ["DIALECTS", "METRICS", "Curve", "Dialect", "Metric", "Tally", "curve", "tally", "treatments", "values"]


@dataclass(frozen=True)
class Metric:
    """A metric as readers see it.

    Attributes:
        scale: Factor that turns the stored value into the printed one.
        better: Which direction is better.
        in_time: Reads a sequence's overlaps (N,) in the order of its frames, N > 0, instead of a curve; returns 0..1.
    """

    key: str
    symbol: str
    description: str
    unit: str = "%"
    scale: float = 100.0
    decimals: int = 1
    better: Literal["higher", "lower"] = "higher"
    in_time: Callable[[Floats], float] | None = None

    @property
    def sign(self) -> int:
        """Return the factor with which larger values are better."""
        return 1 if self.better == "higher" else -1


FAILED_BELOW, FAILED_FRAMES = 0.1, 10
"""A tracker fails where its overlap is at most 0.1 in ten frames on end, as in VOT since 2020, but without anchors."""


def until_failure(overlaps: Floats) -> float:
    """Return the share of frames before the first failure, 1 if there is none."""
    begins, lengths = runs(overlaps <= FAILED_BELOW)
    failed = begins[lengths >= FAILED_FRAMES]
    return float(failed[0]) / len(overlaps) if len(failed) else 1.0


def survived(overlaps: Floats) -> float:
    """Return 1 if the tracker never failed, else 0."""
    return float(until_failure(overlaps) == 1)


def unbroken(overlaps: Floats) -> float:
    """Return the share of frames in the longest run with an IoU above 0.5."""
    return int(runs(overlaps > 0.5)[1].max(initial=0)) / len(overlaps)


METRICS: Registry[Metric] = Registry("metric")
for _metric in (
    Metric("ao", "AO", "average overlap: mean IoU over frames after the first"),
    Metric("sr50", "SR50", "success rate: share of frames with IoU above 0.5"),
    Metric("sr75", "SR75", "success rate: share of frames with IoU above 0.75"),
    Metric("auc", "AUC", "area under the success curve: mean over 21 overlap thresholds"),
    Metric("precision", "P", "precision: share of frames with centre error of at most 20 px"),
    Metric("norm_precision", "P_norm", "normalised precision: share with normalised centre error of at most 0.2"),
    Metric("op50", "OP50", "overlap precision: share of frames with IoU above 0.5"),
    Metric("op75", "OP75", "overlap precision: share of frames with IoU above 0.75"),
    Metric("norm_precision_at_20", "P_norm@.2", "share of frames with normalised centre error of at most 0.2"),
    Metric("norm_precision_mean", "P_norm mean", "mean of the normalised precision curve over 0..0.5"),
    Metric("until_failure", "T_fail", "time to first failure: share of frames before it", in_time=until_failure),
    Metric("survived", "Survived", "share of sequences without a failure", in_time=survived),
    Metric("unbroken", "Unbroken", "longest run with IoU above 0.5: share of frames", in_time=unbroken),
):
    METRICS.add(_metric.key, _metric)


def treatments(dialects: Collection[Dialect]) -> tuple[Treated, ...]:
    """Return the treatments of boxes, besides "plain", that these dialects need in a tally."""
    wanted = {"held" if d.degenerate == "hold" else "plain" for d in dialects if d.boxes == "as given"}
    wanted |= {d.boxes for d in dialects}
    return tuple(t for t in TREATMENTS if t in wanted)


def values(tallies: Sequence[Tally], metric: str, dialect: Dialect) -> tuple[Floats, Floats]:
    """Return a metric's numerator and weight for each sequence, (S,) each.

    The metric's value is numerators.sum() / weights.sum(). With a dialect that averages sequences, each weight is 1, or
    0 if no frame counts. With one that pools frames, it is the number of frames. Raises KeyError if the dialect does
    not define the metric.
    """
    reading = dialect.readings[metric]
    if read := METRICS[metric].in_time:
        series = [_in_time(one, dialect) for one in tallies]
        frames = np.array([len(overlaps) for overlaps in series], dtype=np.float64)
        weights = frames if dialect.pooling == "frames" else (frames > 0).astype(np.float64)
        return np.array([read(overlaps) if len(overlaps) else 0.0 for overlaps in series]) * weights, weights
    if reading.how == "mean overlap":
        sums, frames = _counted(tallies, "success", dialect, lambda one: one.overlap[:, None], np.ones(1), hit=0)
        return _pooled(sums[:, 0], frames, dialect)
    points, frames = _points(tallies, reading.curve, dialect)
    numerators, weights = _pooled(_read(points, reading, dialect), frames, dialect)
    return numerators, _kept(weights, points, dialect)


def curve(tallies: Sequence[Tally], kind: Curve, dialect: Dialect) -> tuple[Floats, Floats, Floats]:
    """Return thresholds (T,), numerators (S, T) and weights (S,): the curve is numerators.sum(0) / weights.sum()."""
    points, frames = _points(tallies, kind, dialect)
    share, weights = _pooled(points, frames, dialect)
    return thresholds(kind, dialect), share, _kept(weights, points, dialect)


def _kept(weights: Floats, points: Floats, dialect: Dialect) -> Floats:
    """Return the weights, with 0 for sequences that the dialect drops because their curve is zero everywhere."""
    return np.where(points.sum(axis=1) > 0, weights, 0.0) if dialect.zero_curves == "dropped" else weights


def thresholds(kind: Curve, dialect: Dialect) -> Floats:
    """Return a curve's thresholds: IoU, pixels, or shares of the target's size."""
    step = {"success": 100, "precision": 2, "norm_precision": 200}[kind]
    return np.arange(GRID)[_on_grid(kind, dialect)] / step


def _on_grid(kind: Curve, dialect: Dialect) -> slice:
    number = dialect.overlap_points if kind == "success" else dialect.error_points
    return slice(None, None, (GRID - 1) // (number - 1))


def _pooled(sums: Floats, frames: Floats, dialect: Dialect) -> tuple[Floats, Floats]:
    """Return numerators, (S,) or (S, T) as `sums`, and weights (S,) by the dialect's pooling."""
    if dialect.pooling == "frames":
        return sums, frames
    below = frames if sums.ndim == 1 else frames[:, None]
    share: Floats = np.divide(sums, below, out=np.zeros_like(sums), where=below > 0)
    return share, (frames > 0).astype(np.float64)


def _read(points: Floats, reading: Reading, dialect: Dialect) -> Floats:
    """Return one number for each sequence of its points (S, T)."""
    if reading.how == "mean":
        return np.asarray(points.mean(axis=1))
    if reading.how == "trapezoid":
        return np.asarray((points[:, :-1] + points[:, 1:]).mean(axis=1) / 2)
    at = np.flatnonzero(np.isclose(thresholds(reading.curve, dialect), reading.at or 0.0))
    return np.asarray(points[:, at[0]])


def _points(tallies: Sequence[Tally], kind: Curve, dialect: Dialect) -> tuple[Floats, Floats]:
    """Return the numbers of frames that pass each threshold (S, T), and of frames that count (S,)."""
    grid, perfect = _on_grid(kind, dialect), np.ones(GRID)
    if kind == "success" and dialect.overlap_test == ">":
        perfect[-1] = 0  # an IoU of 1 is not above 1
    return _counted(tallies, kind, dialect, lambda one: _table(one, kind, dialect)[:, grid], perfect[grid])


def _counted(
    tallies: Sequence[Tally],
    kind: Curve,
    dialect: Dialect,
    measured: Callable[[Measured], NDArray[np.generic]],
    perfect: Floats,
    hit: int = 1,
) -> tuple[Floats, Floats]:
    """Sum what was measured of each class (C, T) by the classes' fates.

    `perfect` (T,) is what a frame adds in which the truth counts as predicted, `hit` what one adds that counts as a hit.
    Returns the sums (S, T) of the sequences, and the numbers of frames that count (S,).
    """
    sums, counts = np.zeros((len(tallies), len(perfect))), np.zeros(len(tallies))
    if not tallies:
        return sums, counts
    codes, frames = (np.concatenate([getattr(one, of) for one in tallies]) for of in ("classes", "frames"))
    owners = np.repeat(np.arange(len(tallies)), [len(one.classes) for one in tallies])
    by_code = np.full(256, "", dtype="<U7")
    for code in np.unique(codes):
        by_code[code] = _fate(int(code), kind, dialect)
    fates = by_code[codes][:, None]
    points = np.concatenate([measured(_measured(one, dialect)) for one in tallies]).astype(np.float64)
    points = np.where(fates == "measure", points, 0.0)
    points += np.where(fates == "hit", frames[:, None], 0.0) * hit
    points += np.where(fates == "perfect", frames[:, None], 0.0) * perfect
    np.add.at(sums, owners, points)
    np.add.at(counts, owners, np.where(fates[:, 0] == "drop", 0.0, frames))
    return sums, counts


def _in_time(one: Tally, dialect: Dialect) -> Floats:
    """Return the overlaps of the frames that count, in time."""
    fates = {int(code): _fate(int(code), "success", dialect) for code in one.classes}
    given = {"measure": np.nan, "miss": 0.0, "hit": 1.0, "perfect": 1.0, "drop": -1.0}
    by_code = np.array([given[fates.get(code, "drop")] for code in range(256)])[one.codes]
    overlaps = np.where(np.isnan(by_code), one.overlaps, by_code)
    return np.asarray(overlaps[by_code != given["drop"]])


def _measured(one: Tally, dialect: Dialect) -> Measured:
    treated: Treated = "plain" if dialect.boxes == "as given" else dialect.boxes
    if treated == "plain" and dialect.degenerate == "hold" and (one.classes & _LATE == Fact.DEGENERATE).any():
        treated = "held"
    if treated not in one.measured:
        raise ValueError(f"dialect {dialect.name} needs {treated} boxes, which were not measured")
    return one.measured[treated]


_LATE = np.uint8(Fact.DEGENERATE | Fact.FIRST)
"""Holding changes the boxes of a sequence if a degenerate one is not the first."""


def _table(measured: Measured, kind: Curve, dialect: Dialect) -> NDArray[np.int32]:
    if kind == "success":
        return measured.above if dialect.overlap_test == ">" else measured.from_
    if kind == "precision":
        return measured.within if dialect.error_decimals is None else measured.within_rounded
    divided_last = dialect.smallest_side or dialect.boxes == "rounded"
    return measured.norm_broad_within if divided_last else measured.norm_within


_VALID: Mapping[str, Fact] = {
    "sized": Fact.SIZED,
    "positive": Fact.SIZED | Fact.PLACED,
    "centred": Fact.CENTRED,
    "numeric": Fact.NUMERIC,
    "any": Fact(0),
}


def _fate(code: int, kind: Curve, dialect: Dialect) -> str:
    """Return what a class of frames counts as: "measure", "perfect" (as if the truth were predicted), "hit" etc."""
    valid = _VALID[dialect.valid if kind == "success" else dialect.valid_error]
    drop = dialect.denominator == "measured"
    if code & Fact.FIRST and dialect.first == "dropped":
        return "drop"
    if dialect.flags == "used" and not code & Fact.VISIBLE:
        return "drop" if drop else getattr(dialect.absent, kind)
    if code & valid != valid:
        return "drop" if drop else getattr(dialect.invalid, kind)
    if code & Fact.FIRST and dialect.first == "truth":
        return "perfect"
    return "miss" if dialect.degenerate == "miss" and code & Fact.DEGENERATE else "measure"
