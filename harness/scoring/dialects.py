"""Dialects: the scoring rules of the public toolkits, as data.

Each field is a rule in which toolkits differ. Because of them, papers print different scores for the same boxes.

Sources (paths inside the public repositories): pytracking analysis/extract_results.py; OSTrack lib/test/analysis/
extract_results.py; pysot toolkit/utils/statistics.py; LaSOT and TNL2K toolkits utils/calc_seq_err_robust.m,
eval_tracker.m, plot_draw_save.m; got10k experiments and utils/metrics.py; LoRAT's one_pass_evaluation and
one_pass_evaluation_compatible; tracker_benchmark scripts/butil; TrackingNet-devkit metrics.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trackablate.datasets.benchmark import Protocol
from trackablate.datasets.protocols import PROTOCOLS, declared
from trackablate.datasets.registry import Registry, unknown

Curve = Literal["success", "precision", "norm_precision"]
Treatment = Literal["hit", "miss"]


@dataclass(frozen=True)
class Treatments:
    """How a frame without a measurable target counts, under each curve."""

    success: Treatment = "miss"
    precision: Treatment = "miss"
    norm_precision: Treatment = "miss"


@dataclass(frozen=True)
class Reading:
    """How a score is computed from a curve.

    "mean" is the mean over the thresholds, "at" the value at the threshold `at` (IoU, pixels, or share of the target's
    size), "trapezoid" the integral over the axis scaled to 0..1. "mean overlap" is the mean IoU and needs no curve, and "in
    time" is what the metric itself reads in the overlaps of the frames that count (`Metric.in_time`).
    """

    curve: Curve
    how: Literal["mean", "at", "trapezoid", "mean overlap", "in time"]
    at: float | None = None


@dataclass(frozen=True)
class Dialect:
    """One toolkit's rules.

    Attributes:
        readings: How each metric (key of `harness.scoring.metrics.METRICS`) is computed, the main ones first.
        valid: The true boxes that are measured under the success curve: "sized" w, h > 0; "positive" x, y, w, h > 0;
            "numeric" no NaN; "any".
        valid_error: The same under both error curves; also "centred": the centre's x, y > 0.
        flags: Whether the data set's absence flags are used.
        absent: How a frame flagged absent counts.
        invalid: How a frame with an invalid true box counts.
        denominator: All frames, or those that are measured.
        overlap_test: The comparison of an overlap with a threshold. Errors are always compared by <=.
        first: The first prediction is replaced by the truth, counts as it is, or does not count.
        boxes: Predicted and true boxes are used as they are, rounded to integers, or clipped to the image.
        degenerate: A predicted box with a side <= 0 is used as it is, is a miss, or is replaced by the box before.
        smallest_side: 1 divides a centre error by a side of at least 1 px. 0 divides both centres by the side before
            they are subtracted, unless boxes are rounded.
        error_decimals: The decimals that errors are rounded to. None: they are not rounded.
        overlap_points: The number of thresholds, spread evenly over IoU 0..1.
        error_points: The number of thresholds, spread evenly over 0..50 px and over 0..0.5 of the size.
        pooling: The mean over the sequences' scores, or over the frames of all sequences.
        zero_curves: Whether a sequence whose curve is 0 everywhere counts.
        by_protocol: Fields that the toolkit changes by the data set's name; `on` applies them.
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
        """The metrics that it defines, the main ones first."""
        return tuple(self.readings)

    def on(self, protocol: str) -> "Dialect":
        """Return the rules that the toolkit applies to one protocol's data."""
        return replace(self, **self.by_protocol.get(protocol, {}), by_protocol={})


_AT_20 = Reading("norm_precision", "at", 0.2)
_NORM_MEAN = Reading("norm_precision", "mean")
_OPE = {
    "auc": Reading("success", "mean"),
    "precision": Reading("precision", "at", 20),
    "norm_precision": _AT_20,
    "op50": Reading("success", "at", 0.5),
    "op75": Reading("success", "at", 0.75),
    "norm_precision_at_20": _AT_20,
    "norm_precision_mean": _NORM_MEAN,
}
"""Readings of one-pass evaluation."""
_AO = {
    "ao": Reading("success", "mean overlap"),
    "sr50": Reading("success", "at", 0.5),
    "sr75": Reading("success", "at", 0.75),
}
_HIT_NORM = Treatments(norm_precision="hit")
_HIT_ERRORS = Treatments(precision="hit", norm_precision="hit")
_FLAGGED = {"flags": "used", "absent": Treatments()}
_PYTRACKING_NAMES: dict[str, dict[str, Any]] = {
    # Only for the data set called "lasot" does the code reset the normalised errors of invisible frames to infinity.
    # Otherwise they stay at -1, which is below every threshold. For "uav", errors of invalid frames are set to -1.
    "lasot": _FLAGGED,
    "lasot_ext": {"flags": "used", "absent": _HIT_NORM},
    "uav123": {"invalid": _HIT_ERRORS},
    # Generated videos have LaSOT's flags and are scored like LaSOT.
    "synthetic": _FLAGGED,
    "synthetic-smoke": _FLAGGED,
}
_OSTRACK = Dialect(
    name="ostrack",
    description="OSTrack: all frames in the denominator, absent or invalid frames miss success and precision, and hit"
    " normalised precision except on LaSOT",
    readings=_OPE,
    invalid=_HIT_NORM,
    degenerate="hold",
    by_protocol=_PYTRACKING_NAMES,
)
_MATLAB = Dialect(
    name="lasot_matlab",
    description="LaSOT's MATLAB toolkit: absent frames miss, present frames with a non-positive true box hit both"
    " precisions, sequences whose curve is all zero leave the mean",
    readings=_OPE,
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
        readings=_OPE | {"norm_precision": _NORM_MEAN},
    ),
    Dialect(
        name="pysot",
        description="pysot: boxes as they are, invalid frames hit both precisions, flags used on LaSOT alone",
        readings=_OPE,
        valid_error="centred",
        invalid=_HIT_ERRORS,
        first="as given",
        by_protocol={"lasot": _FLAGGED, "synthetic": _FLAGGED, "synthetic-smoke": _FLAGGED},
    ),
    Dialect(
        name="got10k_ope",
        description="got10k's experiments for LaSOT, OTB, UAV123 and NfS: flags ignored, frames annotated NaN removed,"
        " normalised precision is the mean of its curve",
        readings=_OPE | {"norm_precision": _NORM_MEAN},
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
        readings={key: _OPE[key] for key in ("auc", "precision", "op50", "op75")},
        valid="positive",
        valid_error="positive",
        invalid=_HIT_ERRORS,
        error_decimals=4,
    ),
    Dialect(
        name="lorat_compatible",
        description="LoRAT's evaluation compatible with STARK: as ostrack, with the first frame's box as it is",
        readings=_OPE,
        invalid=_HIT_NORM,
        first="as given",
        by_protocol=_PYTRACKING_NAMES,
    ),
    Dialect(
        name="lorat_plain",
        description="LoRAT's own evaluation: absent and invalid frames leave the denominator, overlap counts from the"
        " threshold on",
        readings=_OPE | _AO,
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
        description="Not a toolkit's: as ostrack, but absent and invalid frames miss everything on every data set",
        flags="used",
        invalid=Treatments(),
        by_protocol={},
    ),
    Dialect(
        name="in_time",
        description="Not a toolkit's: overlaps in the order of frames after the first; absent and invalid frames are passed"
        " over",
        readings={key: Reading("success", "in time") for key in ("until_failure", "survived", "unbroken")},
        flags="used",
        denominator="measured",
        first="dropped",
        degenerate="miss",
    ),
)

DIALECTS: Registry[Dialect] = Registry("dialect")

for _dialect in _ALL:
    DIALECTS.add(_dialect.name, _dialect)


def known_protocol(name: str) -> Protocol:
    """Return a protocol by its name, or by the TOML file that declares it.

    Raises:
        UnknownName: There is no such protocol.
        DataError: The file is faulty, or names a dialect, or a metric of it, that does not exist.
    """
    protocol = PROTOCOLS[name]
    if declaration := declared(protocol.name):
        for metric, dialect in protocol.metrics:
            if dialect not in DIALECTS:
                problem = unknown("dialect", dialect, DIALECTS)
                raise declaration.refuse(problem, "correct it", f"{metric}@{dialect}", "dialect")
            if metric not in (known := DIALECTS[dialect].metrics):
                problem = f"the dialect {dialect} does not define {metric}, but {', '.join(known)}"
                remedy = "choose among them, or write METRIC@DIALECT"
                raise declaration.refuse(problem, remedy, "metrics", "dialect")
        if protocol.scored_as and protocol.scored_as not in PROTOCOLS.built_in:
            problem = unknown("built-in protocol", protocol.scored_as, PROTOCOLS.built_in)
            raise declaration.refuse(problem, "correct it", "scored_as")
    return protocol
