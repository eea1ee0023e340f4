"""Metrics against numbers worked out by hand, rule by rule; toolkits' rules as wholes are in test_dialects."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from trackablate.harness.scoring.dialects import DIALECTS, Dialect, Reading, Treatments
from trackablate.harness.scoring.metrics import (
    METRICS,
    Metric,
    Tally,
    curve,
    survived,
    tally,
    treatments,
    unbroken,
    until_failure,
    values,
)

SIZE = (200, 100)
WHOLE = [10.0, 10, 32, 16]
FAR = [150.0, 50, 8, 8]
NO_BOX = [np.nan] * 4
PROPERTY = settings(max_examples=30, deadline=None, derandomize=True)


def scored(prediction: ArrayLike, truth: ArrayLike, visible: Sequence[bool] | None = None) -> Tally:
    boxes, target = np.array(prediction, dtype=np.float64), np.array(truth, dtype=np.float64)
    shown = np.ones(len(target), bool) if visible is None else np.array(visible, dtype=bool)
    return tally(boxes, target, shown, size=SIZE)


def value(tallies: list[Tally], metric: str, dialect: Dialect | str) -> float:
    numerators, weights = values(tallies, metric, DIALECTS[dialect] if isinstance(dialect, str) else dialect)
    return float(numerators.sum() / weights.sum())


def part(share: float) -> list[float]:
    """A part of WHOLE: its IoU with it is `share`; its centre is 16 * (1 - share) to the left."""
    return [10.0, 10, 32 * share, 16]


def moved(dx: float, dy: float = 0) -> list[float]:
    return [10 + dx, 10 + dy, 32.0, 16]


TRUTH = [WHOLE] * 5
BOXES = [FAR, WHOLE, part(0.8125), part(0.5625), part(0.25)]
"""Frame 0 is wrong on purpose. Then IoU 1, 0.8125, 0.5625, 0.25; centre errors 0, 3, 7, 12 px; normalised 0, 0.09375,
0.21875, 0.375."""


def test_got10k_by_hand() -> None:
    counts = scored(BOXES, TRUTH)
    assert value([counts], "ao", "got10k") == pytest.approx((1 + 0.8125 + 0.5625 + 0.25) / 4)
    assert value([counts], "sr50", "got10k") == 3 / 4
    assert value([counts], "sr75", "got10k") == 2 / 4


def test_ope_by_hand() -> None:
    counts = scored(BOXES, TRUTH)
    # thresholds 0, 0.05, ..., 1 that lie below the IoU: 20 for 1 (twice: frame 0 is a hit), 17, 12, 5
    assert value([counts], "auc", "ostrack") == pytest.approx((20 + 20 + 17 + 12 + 5) / 21 / 5)
    assert value([counts], "precision", "ostrack") == 5 / 5
    assert value([counts], "norm_precision", "ostrack") == 3 / 5
    assert value([counts], "op50", "ostrack") == 4 / 5
    assert value([counts], "op75", "ostrack") == 3 / 5
    # of 0, 0.01, ..., 0.5 those at least as large as the error: 51 (twice), 41, 29, 13
    assert value([counts], "norm_precision_mean", "ostrack") == pytest.approx((51 + 51 + 41 + 29 + 13) / 51 / 5)


def test_curves_by_hand() -> None:
    counts = scored(BOXES, TRUTH)
    thresholds, numerators, weights = curve([counts], "success", DIALECTS["ostrack"])
    assert thresholds.tolist() == [k / 20 for k in range(21)]
    assert (5 * numerators[0]).tolist() == pytest.approx([5] * 5 + [4] * 7 + [3] * 5 + [2] * 3 + [0])
    assert weights.tolist() == [1]
    thresholds, numerators, _ = curve([counts], "precision", DIALECTS["ostrack"])
    assert thresholds.tolist() == list(range(51))
    assert (5 * numerators[0]).tolist() == pytest.approx([2] * 3 + [3] * 4 + [4] * 5 + [5] * 39)
    thresholds, numerators, _ = curve([counts], "norm_precision", DIALECTS["trackingnet"])
    assert thresholds.tolist() == [k / 40 for k in range(21)]
    assert (5 * numerators[0]).tolist() == pytest.approx([2] * 4 + [3] * 5 + [4] * 6 + [5] * 6)
    thresholds, numerators, weights = curve([counts], "success", DIALECTS["got10k"])
    assert thresholds.tolist() == [k / 100 for k in range(101)]
    assert numerators[0].tolist() == [4] * 25 + [3] * 32 + [2] * 25 + [1] * 18 + [0], (
        "frames, not shares: it pools them"
    )
    assert weights.tolist() == [4]


@pytest.mark.parametrize("name", DIALECTS)
def test_a_perfect_tracker(name: str) -> None:
    """95.24 under `>`, since no IoU is above 1; the trapezoid takes half of the last step only."""
    dialect = DIALECTS[name].on("lasot")
    counts = scored(TRUTH, TRUTH)
    auc = {"trackingnet": 0.975, "lorat_plain": 1.0}.get(name, 20 / 21)
    for metric in dialect.metrics:
        assert value([counts], metric, dialect) == pytest.approx(auc if metric == "auc" else 1, abs=1e-15), metric


def test_a_lost_tracker_keeps_only_the_first_frame() -> None:
    counts = scored([FAR] * 5, TRUTH)
    assert value([counts], "ao", "got10k") == value([counts], "sr50", "got10k") == 0
    assert value([counts], "auc", "ostrack") == pytest.approx(20 / 21 / 5)
    assert value([counts], "precision", "ostrack") == value([counts], "norm_precision", "ostrack") == 1 / 5
    assert value([counts], "precision", "pysot") == 0


HIT_BOTH = Treatments(precision="hit", norm_precision="hit")
PLAIN = Dialect(
    name="plain",
    description="every field at its default",
    readings={
        "auc": Reading("success", "mean"),
        "op50": Reading("success", "at", 0.5),
        "ao": Reading("success", "mean overlap"),
        "precision": Reading("precision", "at", 20),
        "norm_precision": Reading("norm_precision", "at", 0.2),
        "norm_precision_mean": Reading("norm_precision", "mean"),
    },
)


@dataclass(frozen=True)
class Flip:
    """What one field is worth: a sequence of two frames, its first right unless given, and a metric before and after."""

    change: dict[str, Any]
    metric: str
    before: float
    after: float
    box: list[float] = field(default_factory=lambda: FAR)
    truth: list[float] = field(default_factory=lambda: WHOLE)
    seen: bool = True
    first: list[float] = field(default_factory=lambda: WHOLE)
    given: dict[str, Any] = field(default_factory=dict)


EDGE, LEFT, EMPTY = [0.0, 10, 32, 16], [-20.0, 10, 32, 16], [10.0, 10, 0, 16]
USED = {"flags": "used"}
FLIPS = (
    Flip({"valid": "positive"}, "op50", 1, 0.5, EDGE, EDGE),
    Flip({"valid": "positive"}, "precision", 1, 1, EDGE, EDGE),
    Flip({"valid_error": "positive"}, "precision", 1, 0.5, EDGE, EDGE),
    Flip({"valid_error": "positive"}, "norm_precision", 1, 0.5, EDGE, EDGE),
    Flip({"valid_error": "positive"}, "op50", 1, 1, EDGE, EDGE),
    Flip({"valid_error": "centred"}, "precision", 1, 0.5, LEFT, LEFT),
    Flip({"valid_error": "centred"}, "precision", 1, 1, EDGE, EDGE),
    Flip({"valid_error": "centred"}, "precision", 0.5, 1, EMPTY, EMPTY),
    Flip({"valid_error": "numeric"}, "precision", 0.5, 1, EMPTY, EMPTY),
    Flip({"valid_error": "any"}, "precision", 0.5, 1, EMPTY, EMPTY),
    Flip(
        {"valid_error": "any"}, "precision", 1, 0.5, FAR, NO_BOX, given={"valid_error": "numeric", "invalid": HIT_BOTH}
    ),
    Flip({"valid": "numeric"}, "op50", 1, 0.5, FAR, EMPTY, given={"denominator": "measured"}),
    Flip({"valid": "any"}, "op50", 1, 0.5, FAR, NO_BOX, given={"denominator": "measured", "valid": "numeric"}),
    Flip({"flags": "used"}, "op50", 1, 0.5, WHOLE, seen=False),
    Flip({"flags": "used"}, "norm_precision", 1, 0.5, WHOLE, seen=False),
    Flip({"absent": Treatments(precision="hit")}, "precision", 0.5, 1, seen=False, given=USED),
    Flip({"absent": Treatments(precision="hit")}, "norm_precision", 0.5, 0.5, seen=False, given=USED),
    Flip({"absent": Treatments(success="hit")}, "op50", 0.5, 1, seen=False, given=USED),
    Flip({"absent": Treatments(success="hit")}, "ao", 0.5, 0.5, seen=False, given=USED),
    Flip({"absent": HIT_BOTH}, "precision", 0.5, 0.5, seen=False),
    Flip({"invalid": HIT_BOTH}, "precision", 0.5, 1, truth=EMPTY),
    Flip({"invalid": HIT_BOTH}, "norm_precision", 0.5, 1, truth=EMPTY),
    Flip({"invalid": HIT_BOTH}, "precision", 0.5, 0.5, truth=EMPTY, seen=False, given=USED),
    Flip({"denominator": "measured"}, "op50", 0.5, 1, seen=False, given=USED),
    Flip({"denominator": "measured"}, "precision", 0.5, 1, truth=EMPTY),
    Flip({"denominator": "measured"}, "precision", 1, 1, truth=EMPTY, given={"invalid": HIT_BOTH}),
    Flip({"denominator": "measured"}, "ao", 0.5, 1, truth=EMPTY),
    Flip({"overlap_test": ">="}, "op50", 0.5, 1, part(0.5)),
    Flip({"overlap_test": ">="}, "auc", 20 / 21, 1, WHOLE),
    Flip({"overlap_test": ">="}, "auc", 10 / 21, 0.5),
    Flip({"first": "as given"}, "precision", 1, 0.5, WHOLE, first=FAR),
    Flip({"first": "as given"}, "ao", 1, 0.75, WHOLE, first=part(0.5)),
    Flip({"first": "dropped"}, "precision", 0.5, 0),
    Flip({"first": "dropped"}, "ao", 0.5, 0),
    Flip({"boxes": "rounded"}, "op50", 1, 0.5, [10.4, 10, 16.4, 16]),
    Flip({"boxes": "clipped"}, "op50", 0.5, 1, [-20.0, 0, 32, 16], [0.0, 0, 32, 16]),
    Flip({"boxes": "clipped"}, "op50", 0.5, 1, [180.0, 90, 99, 99], [180.0, 90, 20, 10]),
    Flip({"degenerate": "miss"}, "precision", 1, 0.5, EMPTY),
    Flip({"degenerate": "hold"}, "op50", 0.5, 1, EMPTY),
    Flip({"degenerate": "hold"}, "op50", 0.5, 0.5, EMPTY, first=FAR),
    Flip({"smallest_side": 1}, "norm_precision", 0.5, 1, [10.15, 10, 0.5, 16], [10.0, 10, 0.5, 16]),
    Flip({"error_decimals": 4}, "precision", 0.5, 1, moved(0, 20.00004)),
    Flip({"error_decimals": 4}, "precision", 0.5, 0.5, moved(0, 20.00006)),
    Flip({"overlap_points": 101}, "auc", (20 + 10) / 21 / 2, (100 + 50) / 101 / 2, part(0.5)),
    Flip({"error_points": 21}, "norm_precision_mean", (1 + 38 / 51) / 2, (1 + 16 / 21) / 2, moved(4)),
    Flip({"readings": {"auc": Reading("success", "trapezoid")}}, "auc", 20 / 21, 0.975, WHOLE),
    Flip({"readings": {"auc": Reading("success", "at", 0.25)}}, "auc", (20 + 10) / 21 / 2, 1, part(0.5)),
    Flip({"readings": {"auc": Reading("precision", "at", 8)}}, "auc", (20 + 10) / 21 / 2, 1, part(0.5)),
    Flip({"readings": {"auc": Reading("precision", "at", 7)}}, "auc", (20 + 10) / 21 / 2, 0.5, part(0.5)),
    Flip({"readings": {"auc": Reading("success", "mean overlap")}}, "auc", (20 + 10) / 21 / 2, 0.75, part(0.5)),
)


@pytest.mark.parametrize("flip", FLIPS, ids=lambda flip: f"{'-'.join(map(str, flip.change.items()))}-{flip.metric}")
def test_what_a_field_of_a_dialect_is_worth(flip: Flip) -> None:
    counts = scored([flip.first, flip.box], [WHOLE, flip.truth], [True, flip.seen])
    before = replace(PLAIN, **flip.given)
    assert value([counts], flip.metric, before) == pytest.approx(flip.before)
    assert value([counts], flip.metric, replace(before, **flip.change)) == pytest.approx(flip.after)


def test_every_field_is_flipped_above_or_below() -> None:
    elsewhere = {"name", "description", "pooling", "zero_curves", "by_protocol"}
    assert {key for flip in FLIPS for key in flip.change} | elsewhere == set(Dialect.__dataclass_fields__)


def test_thresholds_themselves() -> None:
    """An IoU must exceed its threshold; an error may equal its."""
    half = scored([WHOLE, part(0.5)], [WHOLE] * 2)
    _, numerators, _ = curve([half], "success", PLAIN)
    assert (2 * numerators[0, 9:12]).tolist() == [2, 1, 1]
    assert value([scored([WHOLE, moved(0, 20)], [WHOLE] * 2)], "precision", PLAIN) == 1
    assert value([scored([WHOLE, moved(12, 16)], [WHOLE] * 2)], "precision", PLAIN) == 1
    assert value([scored([WHOLE, moved(0, 20.125)], [WHOLE] * 2)], "precision", PLAIN) == 0.5
    quarter = replace(PLAIN, readings={"norm_precision": Reading("norm_precision", "at", 0.25)})
    assert value([scored([WHOLE, moved(8)], [WHOLE] * 2)], "norm_precision", quarter) == 1
    assert value([scored([WHOLE, moved(0, 4.125)], [WHOLE] * 2)], "norm_precision", quarter) == 0.5


def test_otb_alone_rounds_errors() -> None:
    counts = scored([WHOLE, moved(0, 20.00004)], [WHOLE] * 2)
    precise = {n for n, d in DIALECTS.items() if d.readings.get("precision") == Reading("precision", "at", 20)}
    assert {name for name in precise if value([counts], "precision", name) == 1} == {"otb"}


def test_trackingnet_divides_after_subtracting() -> None:
    """4 px of 20 are 0.2 exactly; of centres divided first, a little more."""
    boxes, truth = [[100.0, 10, 20, 16], [104.0, 10, 20, 16]], [[100.0, 10, 20, 16]] * 2
    counts = scored(boxes, truth)
    at_20 = {"norm_precision": Reading("norm_precision", "at", 0.2)}
    assert value([counts], "norm_precision", "ostrack") == 0.5
    assert value([counts], "norm_precision", replace(DIALECTS["trackingnet"], readings=at_20)) == 1
    assert value([counts], "norm_precision", replace(DIALECTS["got10k_ope"], readings=at_20)) == 1


def test_boxes_are_held_before_the_truth_is_put_into_the_first_frame() -> None:
    """So the toolkits' code: what follows a wrong first box without area is that wrong box."""
    counts = scored([FAR, EMPTY, EMPTY, WHOLE, EMPTY], [WHOLE] * 5)
    for name in ("ostrack", "pytracking", "lasot_matlab"):
        assert value([counts], "op50", DIALECTS[name].on("lasot")) == 3 / 5


def test_pooling_frames_and_averaging_sequences() -> None:
    """A long perfect sequence and a short lost one."""
    long, short = scored([WHOLE] * 9, [WHOLE] * 9), scored([FAR] * 3, [WHOLE] * 3)
    assert value([long, short], "ao", "got10k") == pytest.approx(8 / 10), "every frame after the first weighs the same"
    assert value([long, short], "precision", "ostrack") == pytest.approx((1 + 1 / 3) / 2), (
        "every sequence weighs the same"
    )
    numerators, weights = values([long, short], "ao", DIALECTS["got10k"])
    assert numerators.tolist() == [8, 0]
    assert weights.tolist() == [8, 2]
    numerators, weights = values([long, short], "auc", DIALECTS["ostrack"])
    assert numerators.tolist() == pytest.approx([20 / 21, 20 / 21 / 3])
    assert weights.tolist() == [1, 1]
    assert value([long, short], "ao", PLAIN) == pytest.approx((1 + 1 / 3) / 2)
    pooled = replace(PLAIN, pooling="frames")
    assert value([long, short], "ao", pooled) == value([long, short], "precision", pooled) == pytest.approx(10 / 12)


def test_sequences_whose_curve_is_zero_leave_the_mean_of_that_curve_alone() -> None:
    good = scored([WHOLE] * 2, [WHOLE] * 2)
    near = scored([moved(33)] * 2, [WHOLE] * 2)
    kept = replace(PLAIN, first="as given")
    dropped = replace(kept, zero_curves="dropped")
    assert value([good, near], "op50", kept) == 0.5
    assert value([good, near], "op50", dropped) == 1
    assert value([good, near], "precision", kept) == value([good, near], "precision", dropped) == 0.5
    thresholds, numerators, weights = curve([good, near], "success", dropped)
    assert weights.tolist() == [1, 0]
    assert numerators.shape == (2, len(thresholds))
    assert curve([good, near], "precision", dropped)[2].tolist() == [1, 1]


def test_a_sequence_where_nothing_counts_weighs_nothing() -> None:
    hidden = scored(BOXES, TRUTH, [True] + [False] * 4)
    assert value([hidden, scored(TRUTH, TRUTH)], "ao", "got10k") == 1
    unseen = scored(BOXES, TRUTH, [False] * 5)
    for metric in ("ao", "precision"):
        numerators, weights = values([unseen], metric, DIALECTS["lorat_plain"])
        assert numerators.tolist() == weights.tolist() == [0]


def test_no_sequences_give_no_shares() -> None:
    for metric in PLAIN.metrics:
        assert [part.tolist() for part in values([], metric, PLAIN)] == [[], []]


def test_a_dialect_changes_its_rules_by_the_data_s_name() -> None:
    named = replace(PLAIN, by_protocol={"lasot": {"flags": "used"}, "uav123": {"invalid": HIT_BOTH}})
    assert named.on("lasot") == replace(PLAIN, flags="used")
    assert named.on("uav123") == replace(PLAIN, invalid=HIT_BOTH)
    assert named.on("otb") == PLAIN
    assert named.on("lasot").on("uav123") == named.on("lasot"), "applied once"


def test_the_absent_frames_of_lasot_and_lasot_ext() -> None:
    """Misses of normalised precision under the one name, hits under the other; misses of the rest under both."""
    counts = scored([WHOLE, FAR], [WHOLE] * 2, [True, False])
    for name in ("ostrack", "pytracking", "lorat_compatible"):
        assert value([counts], "norm_precision", DIALECTS[name].on("lasot")) == 0.5
        assert value([counts], "norm_precision", DIALECTS[name].on("lasot_ext")) == 1
        assert value([counts], "precision", DIALECTS[name].on("lasot_ext")) == 0.5
    assert value([counts], "norm_precision", DIALECTS["strict"].on("lasot_ext")) == 0.5


def test_treatments_are_what_the_dialects_need() -> None:
    wanted = {"held": {"ostrack", "pytracking", "lasot_matlab", "tnl2k_matlab", "ostrack_exclude_invalid", "strict"}}
    wanted |= {"rounded": {"trackingnet"}, "clipped": {"got10k"}}
    for name, dialect in DIALECTS.items():
        needed = treatments([dialect])
        assert needed == tuple(kind for kind in wanted if name in wanted[kind])
        boxes, truth = np.array([WHOLE, EMPTY]), np.array([WHOLE, WHOLE])
        enough = tally(boxes, truth, np.ones(2, bool), size=SIZE, treatments=needed)
        plenty = scored(boxes, truth)
        for metric in dialect.metrics:
            assert value([enough], metric, dialect) == value([plenty], metric, dialect)
    assert treatments(DIALECTS.values()) == ("held", "rounded", "clipped")
    assert treatments([]) == ()


@pytest.mark.parametrize(("name", "kind"), [("got10k", "clipped"), ("trackingnet", "rounded"), ("ostrack", "held")])
def test_what_was_not_measured_is_refused(name: str, kind: str) -> None:
    bare = tally(np.array([WHOLE, EMPTY]), np.array([WHOLE, WHOLE]), np.ones(2, bool), treatments=())
    with pytest.raises(ValueError, match=f"dialect {name} needs {kind} boxes, which were not measured"):
        values([bare], DIALECTS[name].metrics[0], DIALECTS[name])


def test_boxes_with_area_need_not_be_held() -> None:
    bare = tally(np.array([EMPTY, FAR]), np.array([WHOLE, WHOLE]), np.ones(2, bool), treatments=())
    assert value([bare], "op50", "ostrack") == 0.5


def test_a_metric_that_a_dialect_lacks_is_no_number() -> None:
    with pytest.raises(KeyError, match="ao"):
        values([scored(BOXES, TRUTH)], "ao", DIALECTS["ostrack"])


def test_a_plugin_does_not_replace_a_metric_by_another_of_its_name() -> None:
    with pytest.raises(ValueError, match="metric 'ao' is claimed twice"):
        METRICS.add("ao", Metric("ao", "AO", "another"))


def test_metrics_are_described() -> None:
    for key, metric in METRICS.items():
        assert metric.key == key
        assert metric.description
        assert (metric.unit, metric.scale) == ("%", 100)


COORDINATES = st.integers(-20, 220).map(float)
SIDES = st.one_of(st.just(0.0), st.integers(1, 60).map(float))
ROWS = st.lists(
    st.tuples(
        st.tuples(COORDINATES, COORDINATES, SIDES, SIDES),
        st.one_of(st.tuples(COORDINATES, COORDINATES, SIDES, SIDES), st.just(tuple(WHOLE))),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
Drawn = list[tuple[tuple[float, ...], tuple[float, ...], bool]]


def drawn(rows: Drawn) -> Tally:
    return scored([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


@PROPERTY
@given(ROWS)
def test_scores_are_shares_and_curves_monotone(rows: Drawn) -> None:
    counts = [drawn(rows)]
    for name, dialect in DIALECTS.items():
        for protocol in ("lasot", "uav123", "otb"):
            on = dialect.on(protocol)
            for metric in on.metrics:
                (numerator,), (weight,) = values(counts, metric, on)
                assert 0 <= numerator <= weight, (name, metric)
            for kind in {reading.curve for reading in on.readings.values()}:
                _, (points,), _ = curve(counts, kind, on)
                steps = np.diff(points)
                assert (steps <= 0).all() if kind == "success" else (steps >= 0).all(), (name, kind)


@PROPERTY
@given(ROWS)
def test_values_are_read_off_the_curve(rows: Drawn) -> None:
    counts = [drawn(rows)]
    for dialect in DIALECTS.values():
        for metric, reading in dialect.readings.items():
            if reading.how in ("mean overlap", "in time"):
                continue
            thresholds, (points,), (width,) = curve(counts, reading.curve, dialect)
            (numerator,), (weight,) = values(counts, metric, dialect)
            assert weight == width
            read = {
                "mean": points.mean(),
                "trapezoid": (points[:-1] + points[1:]).mean() / 2,
                "at": points[np.argmin(abs(thresholds - (reading.at or 0)))],
            }
            assert numerator == pytest.approx(read[reading.how], abs=1e-12)


LOST, WEAK, GOOD = 0.0, 0.3, 0.9


@pytest.mark.parametrize(
    ("overlaps", "until", "longest"),
    [
        ([GOOD], 1.0, 1.0),
        ([LOST] * 9, 1.0, 0.0),
        ([LOST] * 10, 0.0, 0.0),
        ([GOOD] * 6 + [0.1] * 10 + [GOOD] * 4, 0.3, 0.3),
        ([GOOD] * 6 + [LOST] * 9 + [WEAK] + [LOST] * 4, 1.0, 0.3),
        ([GOOD, WEAK] * 2 + [GOOD] * 4, 1.0, 0.5),
        ([0.5] * 5, 1.0, 0.0),
    ],
)
def test_overlaps_are_read_in_time(overlaps: list[float], until: float, longest: float) -> None:
    found = np.array(overlaps)
    assert (until_failure(found), unbroken(found), survived(found)) == (until, longest, float(until == 1))
