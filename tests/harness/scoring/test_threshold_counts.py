"""What is counted of one sequence, against frames counted one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from trackablate.harness.scoring.threshold_counts import (
    ERRORS,
    NORM_ERRORS,
    OVERLAPS,
    TREATMENTS,
    Fact,
    Measured,
    Tally,
    tally,
)

PROPERTY = settings(max_examples=80, deadline=None, derandomize=True)
SIZE = (160, 90)
WHOLE = [10.0, 10, 32, 16]
EMPTY = [30.0, 30, 0, 16]
TABLES = ("above", "from_", "within", "within_rounded", "norm_within", "norm_broad_within")

NUMBERS = st.one_of(st.integers(-40, 200).map(float), st.integers(-320, 1600).map(lambda number: number / 8))
SIDES = st.one_of(st.sampled_from((0.0, 0.25, 1.0, 8.0, 20.0, 100.0)), st.integers(0, 120).map(float))
BOXES = st.tuples(NUMBERS, NUMBERS, SIDES, SIDES).map(list)
NEAR = st.sampled_from((0, 0.5, 1, 2, 4, 5, 10, 20, 25, 50))
Rows = list[tuple[list[float], list[float], bool]]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Predictions that are anywhere, or lie off the true box by what often meets a threshold."""
    found = []
    for truth in draw(st.lists(BOXES, min_size=1, max_size=15)):
        x, y, w, h = truth
        close = [x + draw(NEAR), y, w * draw(st.sampled_from((1, 0.5, 0.75, 2))), h]
        found.append((draw(st.one_of(BOXES, st.just(close), st.just(list(truth)))), truth, draw(st.booleans())))
    return found


def arrays(found: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    predicted, truth, visible = zip(*found, strict=True)
    return np.array(predicted), np.array(truth), np.array(visible)


def counted(prediction: ArrayLike, truth: ArrayLike) -> Tally:
    boxes, target = np.array(prediction, dtype=np.float64), np.array(truth, dtype=np.float64)
    return tally(boxes, target, np.ones(len(target), bool), size=SIZE)


def total(one: Tally, table: str, treatment: str = "plain") -> list[int]:
    """A table over all classes."""
    return getattr(one.measured[treatment], table).sum(axis=0).tolist()


def overlap(a: list[float], b: list[float]) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inner = max(w, 0) * max(h, 0)
    union = a[2] * a[3] + b[2] * b[3] - inner
    return inner / union if union > 0 else 0.0


def offset(a: list[float], b: list[float]) -> tuple[float, float]:
    return a[0] + (a[2] - 1) / 2 - b[0] - (b[2] - 1) / 2, a[1] + (a[3] - 1) / 2 - b[1] - (b[3] - 1) / 2


def test_the_grids() -> None:
    assert OVERLAPS.tolist() == [k / 100 for k in range(101)]
    assert ERRORS.tolist() == [k / 2 for k in range(101)]
    assert NORM_ERRORS.tolist() == [k / 200 for k in range(101)]


@PROPERTY
@given(rows())
def test_counts_are_those_of_frames_counted_one_by_one(found: Rows) -> None:
    """Coordinates are eighths of pixels: overlaps and errors are exact, and many lie on the grid."""
    one = tally(*arrays(found), treatments=())
    pairs = [(predicted, truth) for predicted, truth, _ in found]
    overlaps, errors = [overlap(*p) for p in pairs], [math.hypot(*offset(*p)) for p in pairs]
    assert total(one, "above") == [sum(o > t for o in overlaps) for t in OVERLAPS]
    assert total(one, "from_") == [sum(o >= t and o > 0 for o in overlaps) for t in OVERLAPS]
    assert total(one, "within") == [sum(e <= t for e in errors) for t in ERRORS]
    assert total(one, "within_rounded") == [sum(round(e, 4) <= t for e in errors) for t in ERRORS]
    broad = [math.hypot(offset(p, t)[0] / max(t[2], 1), offset(p, t)[1] / max(t[3], 1)) for p, t in pairs]
    lenient, strict = ([sum(e <= t + off for e in broad) for t in NORM_ERRORS] for off in (1e-12, -1e-12))
    assert all(a <= b <= c for a, b, c in zip(strict, total(one, "norm_broad_within"), lenient, strict=True))
    assert one.measured["plain"].overlap.sum() == pytest.approx(sum(overlaps))


@PROPERTY
@given(rows())
def test_no_frame_is_lost_or_counted_twice(found: Rows) -> None:
    one = tally(*arrays(found), size=SIZE)
    assert one.frames.sum() == len(found)
    assert (one.frames > 0).all()
    assert len(set(one.classes.tolist())) == len(one.classes)
    for measured in one.measured.values():
        for table in TABLES:
            counts = getattr(measured, table)
            assert counts.shape == (len(one.classes), 101)
            assert (counts <= one.frames[:, None]).all() and (counts >= 0).all()
        assert (measured.overlap <= one.frames).all()


@PROPERTY
@given(rows())
def test_a_class_s_counts_are_those_of_its_frames_alone(found: Rows) -> None:
    one = tally(*arrays(found), treatments=())
    for row, code in enumerate(one.classes):
        if code & Fact.FIRST:
            continue
        # Behind another first frame, whose own counts are taken off.
        alone = tally(*arrays([found[0], *(r for r in found[1:] if facts(r) == code)]), treatments=())
        (place,) = np.flatnonzero(alone.classes == code)
        assert alone.frames[place] == one.frames[row]
        for table in TABLES:
            ours, theirs = (getattr(t.measured["plain"], table)[p] for t, p in ((one, row), (alone, place)))
            assert ours.tolist() == theirs.tolist()


def facts(row: tuple[list[float], list[float], bool]) -> Fact:
    """What is true of a frame that is not the first."""
    (_, _, pw, ph), (x, y, w, h), visible = row
    holds = {
        Fact.VISIBLE: visible,
        Fact.SIZED: w > 0 and h > 0,
        Fact.BROAD: w >= 1 and h >= 1,
        Fact.PLACED: x > 0 and y > 0,
        Fact.CENTRED: x + (w - 1) / 2 > 0 and y + (h - 1) / 2 > 0,
        Fact.NUMERIC: not math.isnan(x + y + w + h),
        Fact.DEGENERATE: pw <= 0 or ph <= 0,
    }
    found = Fact(0)
    for fact, is_so in holds.items():
        found |= fact if is_so else Fact(0)
    return found


@PROPERTY
@given(rows())
def test_classes_are_what_is_true_of_the_frames(found: Rows) -> None:
    one = tally(*arrays(found), treatments=())
    wanted = [facts(row) | (Fact.FIRST if i == 0 else Fact(0)) for i, row in enumerate(found)]
    assert dict(zip(one.classes.tolist(), one.frames.tolist(), strict=True)) == {
        int(code): wanted.count(code) for code in set(wanted)
    }


@pytest.mark.parametrize(
    ("truth", "lacking"),
    [
        ([1.0, 1, 1, 1], Fact(0)),
        ([0.0, 1, 1, 1], Fact.PLACED | Fact.CENTRED),
        ([1.0, 0, 9, 9], Fact.PLACED),
        ([1.0, 1, 0, 1], Fact.SIZED | Fact.BROAD),
        ([9.0, 9, 1, -1], Fact.SIZED | Fact.BROAD),
        ([1.0, 1, 0.5, 1], Fact.BROAD),
        ([-4.0, 1, 9, 1], Fact.PLACED | Fact.CENTRED),
        ([-4.0, 1, 9.125, 1], Fact.PLACED),
        ([np.nan] * 4, Fact.SIZED | Fact.BROAD | Fact.PLACED | Fact.CENTRED | Fact.NUMERIC),
        ([5.0, 5, np.nan, 5], Fact.SIZED | Fact.BROAD | Fact.CENTRED | Fact.NUMERIC),
    ],
)
def test_facts_at_their_limits(truth: list[float], lacking: Fact) -> None:
    every = Fact.VISIBLE | Fact.SIZED | Fact.BROAD | Fact.PLACED | Fact.CENTRED | Fact.NUMERIC
    one = tally(np.array([WHOLE, WHOLE]), np.array([WHOLE, truth]), np.ones(2, bool))
    assert set(one.classes.tolist()) == {int(every | Fact.FIRST), int(every & ~lacking)}


@pytest.mark.parametrize(
    ("guess", "table", "on"),
    [
        ([10.0, 10, 16, 16], "above", 50),
        ([10.0, 10, 24, 16], "from_", 75),
        ([10.0, 22.5, 32, 16], "within", 25),
        ([10.0, 10 + 20.00004, 32, 16], "within_rounded", 40),
        ([10 + 0.25 * 32, 10.0, 32, 16], "norm_within", 50),
        ([10.0, 10 + 0.125 * 16, 32, 16], "norm_broad_within", 25),
    ],
)
def test_values_that_lie_on_a_threshold(guess: list[float], table: str, on: int) -> None:
    """Frame 1 passes the threshold number `on` or, of `above`, the one before; it passes all on one side of it."""
    counts = np.array(total(counted([WHOLE, guess], [WHOLE, WHOLE]), table))
    if table in ("above", "from_"):
        last = on - 1 if table == "above" else on
        assert counts.tolist() == [2] * (last + 1) + [1] * (99 - last) + [1 if table == "from_" else 0]
    else:
        assert counts.tolist() == [1] * on + [2] * (101 - on)


def test_no_overlap_reaches_no_threshold_and_a_whole_one_the_last() -> None:
    one = counted([WHOLE, [90.0, 10, 8, 8]], [WHOLE, WHOLE])
    assert total(one, "from_") == [1] * 101
    assert total(one, "above") == [1] * 100 + [0]


def test_true_boxes_without_area() -> None:
    """Their IoU is 0. Their centre can be hit; the normalised error of what hits it is 0, of all else boundless, but for a
    side taken to be 1."""
    one = counted([WHOLE, EMPTY, [31.0, 30, 0, 16]], [WHOLE, EMPTY, EMPTY])
    assert total(one, "above") == [1] * 100 + [0]
    assert total(one, "within") == [2] * 2 + [3] * 99
    assert total(one, "norm_within") == [2] * 101
    assert total(counted([WHOLE, [30.25, 30, 0, 16]], [WHOLE, EMPTY]), "norm_broad_within") == [1] * 50 + [2] * 51
    assert total(one, "norm_broad_within", "rounded") == [1] * 101, "0 / 0 and 1 / 0 are no error"


def test_a_truth_that_is_no_number_is_never_met() -> None:
    one = counted([WHOLE, WHOLE], [WHOLE, [np.nan] * 4])
    for table in TABLES:
        assert max(total(one, table)) == 1
    assert one.measured["plain"].overlap.sum() == 1


def test_boxes_without_area_are_held() -> None:
    """By the one before, itself held; not the first; not where the truth is no number."""
    none = [np.nan] * 4
    predicted = [WHOLE, EMPTY, EMPTY, [50.0, 50, 8, 8], [1.0, 1, 5, -1], EMPTY, EMPTY]
    one = counted(predicted, [WHOLE] * 5 + [none, WHOLE])
    other = counted([WHOLE] * 3 + [[50.0, 50, 8, 8]] * 2 + [EMPTY] * 2, [WHOLE] * 5 + [none, WHOLE])
    for table in TABLES:
        assert total(one, table, "held") == total(other, table, "plain")
    assert total(one, "above", "held")[50] == 3
    assert total(one, "above")[50] == 1


def test_nothing_is_held_where_only_the_first_box_lacks_area() -> None:
    assert "held" not in counted([EMPTY, WHOLE], [WHOLE, WHOLE]).measured
    assert "held" in counted([WHOLE, EMPTY], [WHOLE, WHOLE]).measured


def test_rounding_is_to_even_and_of_both_boxes() -> None:
    one = counted([WHOLE, [10.5, 11.5, 32.4, 15.6]], [WHOLE, [9.5, 12.4, 31.6, 16.4]])
    same = counted([WHOLE, [10.0, 12, 32, 16]], [WHOLE, [10.0, 12, 32, 16]])
    for table in TABLES:
        assert total(one, table, "rounded") == total(same, table)


@pytest.mark.parametrize("seed", range(5))
def test_clipping_is_got10k_s_own(seed: int) -> None:
    metrics = pytest.importorskip("got10k.utils.metrics")
    rng = np.random.default_rng(seed)
    truth = rng.integers(-400, 1600, (200, 4)) / 8
    truth[:, 2:] = abs(truth[:, 2:])
    predicted = truth + rng.integers(-160, 160, (200, 4)) / 8
    ours = tally(predicted, truth, np.ones(200, bool), size=SIZE, treatments=("clipped",))
    plain = ours.measured["plain"].overlap.sum()
    theirs = metrics.rect_iou(predicted.copy(), truth.copy(), bound=SIZE)
    assert ours.measured["clipped"].overlap.sum() == pytest.approx(theirs.sum(), abs=1e-9)
    assert total(ours, "above", "clipped") == [(theirs > t).sum() for t in OVERLAPS]
    assert abs(plain - theirs.sum()) > 0.1, "it makes a difference"
    untouched = metrics.rect_iou(predicted.copy(), truth.copy())
    positive = (predicted[:, 2:] > 0).all(axis=1)
    assert untouched[positive].sum() == pytest.approx(plain, abs=1e-9)


@PROPERTY
@given(rows(), st.integers(-2, 2))
def test_an_origin_is_a_shift_of_both_boxes(found: Rows, origin: int) -> None:
    predicted, truth, visible = arrays(found)
    shift = np.array([origin, origin, 0, 0])
    told = tally(predicted, truth, visible, origin=origin, size=SIZE)
    shifted = tally(predicted + shift, truth + shift, visible, size=SIZE)
    assert told.classes.tolist() == shifted.classes.tolist()
    assert told.frames.tolist() == shifted.frames.tolist()
    assert told.measured.keys() == shifted.measured.keys()
    for kind, measured in told.measured.items():
        for table in Measured._fields:
            assert (getattr(measured, table) == getattr(shifted.measured[kind], table)).all()


def test_the_image_s_size_is_needed_for_clipping() -> None:
    boxes = np.array([WHOLE, EMPTY])
    assert set(tally(boxes, boxes, np.ones(2, bool)).measured) == {"plain", "held", "rounded"}
    assert set(tally(boxes, boxes, np.ones(2, bool), size=SIZE).measured) == {"plain", *TREATMENTS}
    assert set(tally(boxes, boxes, np.ones(2, bool), size=SIZE, treatments=()).measured) == {"plain"}


@pytest.mark.parametrize("number", [0, 1, 3])
def test_lengths_must_agree(number: int) -> None:
    with pytest.raises(ValueError, match=f"{number} predicted boxes for 2 true ones"):
        counted(np.tile(WHOLE, (number, 1)), [WHOLE] * 2)


def test_flags_must_be_as_many_as_boxes() -> None:
    with pytest.raises(ValueError, match="2 predicted boxes for 2 true ones and 3 flags"):
        tally(np.array([WHOLE] * 2), np.array([WHOLE] * 2), np.ones(3, bool))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_predictions_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="predicted box 1 is not finite"):
        counted([WHOLE, [1.0, 2, bad, 3], [bad] * 4], [WHOLE] * 3)


def test_counting_leaves_the_boxes_alone() -> None:
    boxes, truth = np.array([WHOLE, EMPTY, [-9.5, -9.5, 999, 999]]), np.array([WHOLE] * 3)
    before = boxes.copy(), truth.copy()
    tally(boxes, truth, np.ones(3, bool), origin=1, size=SIZE)
    assert (boxes == before[0]).all() and (truth == before[1]).all()
