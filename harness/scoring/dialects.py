"""Whose rules a score follows. A dialect is what one public toolkit does, as data: every field is a rule that some other
toolkit has otherwise, and the reason why two papers print different figures for the same boxes.

Sources (paths inside the public repositories): pytracking analysis/extract_results.py; OSTrack lib/test/analysis/
extract_results.py; pysot toolkit/utils/statistics.py; LaSOT and TNL2K toolkits utils/calc_seq_err_robust.m,
eval_tracker.m, plot_draw_save.m; got10k experiments and utils/metrics.py; LoRAT's one_pass_evaluation and
one_pass_evaluation_compatible; tracker_benchmark scripts/butil; TrackingNet-devkit metrics.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trackablate.datasets.registry import Registry

Curve = Literal["success", "precision", "norm_precision"]
Treatment = Literal["hit", "miss"]


@dataclass(frozen=True)
class Treatments:
    """What a frame without a measurable target counts as, under each curve."""

    success: Treatment = "miss"
    precision: Treatment = "miss"
    norm_precision: Treatment = "miss"


@dataclass(frozen=True)
class Reading:
    """How a score is read off a curve: its mean over the thresholds, its value at one (IoU, pixels, or share of the
    target's size), its trapezoid integral over the unit axis, or the mean IoU itself, which needs no curve.
    """

    curve: Curve
    how: Literal["mean", "at", "trapezoid", "mean overlap"]
    at: float | None = None


@dataclass(frozen=True)
class Dialect:
    """One toolkit's rules.

    valid, valid_error: which true boxes are measured under success and under both error curves: `sized` w, h > 0;
    `positive` x, y, w, h > 0; `centred` centre x, y > 0; `numeric` no NaN; `any`.
    flags: whether the data set's flags of absence are looked at. absent: what a frame flagged absent counts as;
    invalid: what one with an invalid true box counts as. denominator: all frames, or those measured.
    overlap_test: the comparison of overlaps with thresholds (errors are always compared by <=).
    first: the first frame's prediction is replaced by the truth, counted as given, or not counted.
    boxes: `rounded` to integers, or `clipped` to the image, both boxes alike. degenerate: a predicted side <= 0 is
    taken as it is, counts as a miss, or the box before is held. smallest_side: 1 divides centre errors by a side of at
    least 1 px, after subtracting; 0 (and not rounding boxes) divides both centres first. error_decimals: errors are
    rounded to so many first.
    overlap_points, error_points: thresholds spread evenly over IoU 0..1, and over 0..50 px and 0..0.5 of the size.
    pooling: the mean over sequences of their scores, or over all frames of all sequences.
    zero_curves: whether a sequence whose curve is 0 everywhere stays in the mean.
    readings: metric key (`harness.scoring.metrics.METRICS`) to how it is read. by_protocol: fields that the toolkit itself
    changes by the name of the data set; `on` applies them.
    """

    name: str
    description: str
    readings: Mapping[str, Reading]
    valid: Literal["sized", "positive", "numeric", "any"] = "sized"
    valid_error: Literal["sized", "positive", "centred", "numeric", "any"] = "sized"
    flags: Literal["used", "ignored"] = "ignored"
    absent: Treatments = Treatments()
    invalid: Treatments = Treatments()
    denominator: Literal["all", "measured"] = "all"
    overlap_test: Literal[">", ">="] = ">"
    first: Literal["truth", "as given", "dropped"] = "truth"
    boxes: Literal["as given", "rounded", "clipped"] = "as given"
    degenerate: Literal["as given", "miss", "hold"] = "as given"
    smallest_side: Literal[0, 1] = 0
    error_decimals: int | None = None
    overlap_points: int = 21
    error_points: int = 51
    pooling: Literal["sequences", "frames"] = "sequences"
    zero_curves: Literal["kept", "dropped"] = "kept"
    by_protocol: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it defines, the main ones first."""
        return tuple(self.readings)

    def on(self, protocol: str) -> "Dialect":
        """The rules as the toolkit applies them to one protocol's data."""
        return replace(self, **self.by_protocol.get(protocol, {}), by_protocol={})


def _ope(**norm: Reading) -> dict[str, Reading]:
    """The readings of one-pass evaluation; norm_precision is the value at 0.2 unless given."""
    at_20 = Reading("norm_precision", "at", 0.2)
    return {
        "auc": Reading("success", "mean"),
        "precision": Reading("precision", "at", 20),
        "norm_precision": norm.get("norm_precision", at_20),
        "op50": Reading("success", "at", 0.5),
        "op75": Reading("success", "at", 0.75),
        "norm_precision_at_20": at_20,
        "norm_precision_mean": _NORM_MEAN,
    }


_NORM_MEAN = Reading("norm_precision", "mean")
_AO = {
    "ao": Reading("success", "mean overlap"),
    "sr50": Reading("success", "at", 0.5),
    "sr75": Reading("success", "at", 0.75),
}
_HIT_NORM = Treatments(norm_precision="hit")
_HIT_ERRORS = Treatments(precision="hit", norm_precision="hit")
_FLAGGED = {"flags": "used", "absent": Treatments()}
_PYTRACKING_NAMES: dict[str, dict[str, Any]] = {
    # Only the data set called "lasot" has the normalised errors of its invisible frames reset to infinity; under any
    # other name they stay at -1, which is below every threshold. "uav" has its invalid frames' errors set to -1.
    "lasot": _FLAGGED,
    "lasot_ext": {"flags": "used", "absent": _HIT_NORM},
    "uav123": {"invalid": _HIT_ERRORS},
    # Generated videos carry LaSOT's flags and are scored like LaSOT.
    "synthetic": _FLAGGED,
    "synthetic-smoke": _FLAGGED,
}
_OSTRACK = Dialect(
    name="ostrack",
    description="OSTrack: all frames in the denominator, absent or invalid frames miss success and precision, and hit"
    " normalised precision except on LaSOT",
    readings=_ope(),
    invalid=_HIT_NORM,
    degenerate="hold",
    by_protocol=_PYTRACKING_NAMES,
)
_MATLAB = Dialect(
    name="lasot_matlab",
    description="LaSOT's MATLAB toolkit: absent frames miss, present frames with a non-positive true box hit both"
    " precisions, sequences whose curve is all zero leave the mean",
    readings=_ope(),
    valid="positive",
    valid_error="positive",
    flags="used",
    invalid=_HIT_ERRORS,
    degenerate="hold",
    zero_curves="dropped",
)

_ALL = (
    _OSTRACK,
    replace(
        _OSTRACK,
        name="pytracking",
        description="pytracking: as ostrack, but a true box counts only where x and y are positive too",
        valid="positive",
        valid_error="positive",
    ),
    _MATLAB,
    replace(
        _MATLAB,
        name="tnl2k_matlab",
        description="TNL2K's MATLAB toolkit: as lasot_matlab, but normalised precision is the mean of its curve",
        readings=_ope(norm_precision=_NORM_MEAN),
    ),
    Dialect(
        name="pysot",
        description="pysot: boxes as they are, invalid frames hit both precisions, flags looked at on LaSOT alone",
        readings=_ope(),
        valid_error="centred",
        invalid=_HIT_ERRORS,
        first="as given",
        by_protocol={"lasot": _FLAGGED, "synthetic": _FLAGGED, "synthetic-smoke": _FLAGGED},
    ),
    Dialect(
        name="got10k_ope",
        description="got10k's experiments for LaSOT, OTB, UAV123 and NfS: flags ignored, frames annotated NaN removed,"
        " normalised precision is the mean of its curve",
        readings=_ope(norm_precision=_NORM_MEAN),
        valid="numeric",
        valid_error="numeric",
        denominator="measured",
        smallest_side=1,
    ),
    Dialect(
        name="got10k",
        description="GOT-10k: mean IoU over the frames of all sequences after the first, boxes clipped to the image,"
        " hidden frames dropped",
        readings=_AO,
        valid="any",
        valid_error="any",
        flags="used",
        denominator="measured",
        first="dropped",
        boxes="clipped",
        overlap_points=101,
        pooling="frames",
    ),
    Dialect(
        name="trackingnet",
        description="TrackingNet's server: boxes rounded to integers, trapezoid areas, precision as the area over"
        " 0..50 px",
        readings={
            "auc": Reading("success", "trapezoid"),
            "precision": Reading("precision", "trapezoid"),
            "norm_precision": Reading("norm_precision", "trapezoid"),
        },
        valid="any",
        valid_error="any",
        boxes="rounded",
        error_points=21,
    ),
    Dialect(
        name="otb",
        description="OTB's toolkit: flags ignored, non-positive true boxes hit precision, errors rounded to 4 decimals",
        readings={key: _ope()[key] for key in ("auc", "precision", "op50", "op75")},
        valid="positive",
        valid_error="positive",
        invalid=_HIT_ERRORS,
        error_decimals=4,
    ),
    Dialect(
        name="lorat_compatible",
        description="LoRAT's evaluation compatible with STARK: as ostrack, with the first frame's box as it is",
        readings=_ope(),
        invalid=_HIT_NORM,
        first="as given",
        by_protocol=_PYTRACKING_NAMES,
    ),
    Dialect(
        name="lorat_plain",
        description="LoRAT's own evaluation: absent and invalid frames leave the denominator, overlap counts from the"
        " threshold on",
        readings={**_ope(), **_AO},
        flags="used",
        denominator="measured",
        overlap_test=">=",
        first="as given",
        degenerate="miss",
    ),
    replace(
        _OSTRACK,
        name="ostrack_exclude_invalid",
        description="OSTrack with exclude_invalid_frames: absent and invalid frames leave the denominator",
        denominator="measured",
    ),
    replace(
        _OSTRACK,
        name="strict",
        description="no toolkit's: as ostrack, but absent and invalid frames miss everything on every data set",
        flags="used",
        invalid=Treatments(),
        by_protocol={},
    ),
)

DIALECTS: Registry[Dialect] = Registry("dialect")

for _dialect in _ALL:
    DIALECTS.add(_dialect.name, _dialect)
