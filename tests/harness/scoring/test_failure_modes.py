"""The taxonomy of failures: one example by hand for every kind and threshold, and what must hold for any boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from trackablate.datasets.boxes import iou
from trackablate.harness.scoring.failure_modes import EPISODE_FRAMES, KINDS, SETTLED_FRAMES, FailureCounts, failures

FRAMES = 60
Boxes = NDArray[np.float64]


def still(frames: int = FRAMES) -> Boxes:
    """A target of 40 x 20 px that stands still."""
    return np.tile([200.0, 100.0, 40.0, 20.0], (frames, 1))


def moved(start: int, stop: int, *change: float) -> Boxes:
    """Right but for some frames, whose boxes are changed by so much."""
    boxes = still()
    boxes[start:stop] += change
    return boxes


def frames_of(
    prediction: Boxes, truth: Boxes | None = None, counted: NDArray[np.bool_] | None = None
) -> dict[str, int]:
    found = run(prediction, truth, counted)
    return {kind: number for kind, number in zip(KINDS, found.frames, strict=True) if number}


def run(prediction: Boxes, truth: Boxes | None = None, counted: NDArray[np.bool_] | None = None) -> FailureCounts:
    counted = np.ones(len(prediction), dtype=bool) if counted is None else counted
    return failures(prediction, still(len(prediction)) if truth is None else truth, counted)


def slide(start: int, per_frame: float) -> Boxes:
    """Slides off to the right from a frame on, slower than a jump."""
    boxes = still()
    boxes[start:, 0] += per_frame * np.arange(1, FRAMES - start + 1)
    return boxes


# By hand


def test_a_right_tracker_does_not_fail() -> None:
    assert run(still()) == FailureCounts((0, 0, 0, 0), (0, 0, 0, 0), FRAMES)


def test_an_offset_is_drift_and_a_wrong_size_a_size_error() -> None:
    assert frames_of(moved(10, 30, 20, 0, 0, 0)) == {"drifted": 20}
    assert frames_of(moved(10, 30, -20, -10, 40, 20)) == {"size": 20}, "twice the size about the same centre: IoU 1/4"
    assert frames_of(moved(10, 30, 10, 5, -20, -10)) == {"size": 20}, "half the size"


def test_wrong_size_and_place_are_drift_where_the_place_alone_would_fail() -> None:
    """Of an offset along x, a true-sized box keeps an IoU above 0.5 up to a third of the side: 13.3 of 40 px."""
    assert frames_of(moved(10, 30, -20 + 13, -10, 40, 20)) == {"size": 20}
    assert frames_of(moved(10, 30, -20 + 14, -10, 40, 20)) == {"drifted": 20}


def test_the_bound_itself_has_failed() -> None:
    """Half the width inside the target: IoU exactly 0.5."""
    assert frames_of(moved(10, 30, 10, 0, -20, 0)) == {"size": 20}
    assert frames_of(moved(10, 30, 9.5, 0, -19, 0)) == {}


def test_a_brief_dip_is_no_failure() -> None:
    assert frames_of(moved(10, 10 + EPISODE_FRAMES - 1, 20, 0, 0, 0)) == {}
    assert frames_of(moved(10, 10 + EPISODE_FRAMES, 20, 0, 0, 0)) == {"drifted": EPISODE_FRAMES}


def test_runs_at_both_ends_count() -> None:
    found = run(np.concatenate([moved(0, 5, 20, 0, 0, 0)[:30], moved(53, 60, 20, 0, 0, 0)[30:]]))
    assert (found.frames, found.episodes) == ((0, 12, 0, 0), (0, 2, 0, 0))


def test_sliding_off_is_drift_and_then_lost() -> None:
    """3 px a frame: IoU at most 0.5 from an offset of 15 px on (frame 14), none from 42 px on (frame 23)."""
    found = run(slide(10, 3))
    assert (found.frames, found.episodes) == ((37, 9, 0, 0), (1, 0, 0, 0))


def test_a_jump_that_settles_off_the_target_is_a_suspected_distractor() -> None:
    assert frames_of(moved(20, 60, 100, 0, 0, 0)) == {"distractor": 40}
    assert frames_of(moved(20, 60, 42, 0, 0, 0)) == {"distractor": 40}, "further than the root of 40 x 20, 28.3 px"


def test_it_is_lost_where_it_does_not_settle() -> None:
    assert frames_of(moved(20, 20 + SETTLED_FRAMES - 1, 100, 0, 0, 0)) == {"lost": SETTLED_FRAMES - 1}
    assert frames_of(moved(20, 20 + SETTLED_FRAMES, 100, 0, 0, 0)) == {"distractor": SETTLED_FRAMES}
    wild = moved(20, 60, 100, 0, 0, 0)
    wild[20::2, 1] += 60
    assert frames_of(wild) == {"lost": 40}


@pytest.mark.parametrize(("factor", "kind"), [(1.9, "distractor"), (2.1, "lost"), (0.55, "distractor"), (0.45, "lost")])
def test_it_is_lost_where_the_size_is_not_the_targets(factor: float, kind: str) -> None:
    boxes = moved(20, 60, 100, 0, 0, 0)
    boxes[20:, 2:] *= factor
    assert frames_of(boxes) == {kind: 40}


def test_a_jump_onto_the_target_and_a_slow_loss_is_no_distractor() -> None:
    boxes = moved(20, 60, 100, 0, 0, 0)
    boxes[40:] = still()[40:]
    boxes[42:, 0] += 5.0 * np.arange(1, 19)
    assert frames_of(boxes) == {"distractor": 20, "drifted": 5, "lost": 11}


def test_a_jump_while_the_target_is_away_counts() -> None:
    """What matters is the first counted frame after the landing; the absent ones before it are not judged."""
    counted = np.ones(FRAMES, dtype=bool)
    counted[20:30] = False
    found = run(moved(25, 60, 100, 0, 0, 0), counted=counted)
    assert (found.frames, found.episodes, found.counted) == ((0, 0, 0, 30), (0, 0, 0, 1), 50)


def test_a_landing_is_judged_by_its_own_frames_whatever_is_absent() -> None:
    counted = np.ones(FRAMES, dtype=bool)
    counted[5:25] = False
    assert frames_of(moved(30, 42, 100, 0, 0, 0), counted=counted) == {"distractor": 12}


def test_a_box_that_was_never_on_the_target_did_not_jump() -> None:
    assert frames_of(moved(0, 60, 100, 0, 0, 0)) == {"lost": 60}


def test_absent_frames_neither_end_nor_lengthen_a_run() -> None:
    counted = np.ones(FRAMES, dtype=bool)
    counted[12:15] = False
    assert run(moved(10, 17, 20, 0, 0, 0), counted=counted).frames == (0, 0, 0, 0), "4 counted frames"
    found = run(moved(10, 18, 20, 0, 0, 0), counted=counted)
    assert (found.frames, found.episodes) == ((0, 5, 0, 0), (0, 1, 0, 0))


def test_truth_of_absent_frames_is_not_looked_at() -> None:
    truth, counted = still(), np.ones(FRAMES, dtype=bool)
    truth[30:35], counted[30:35] = np.nan, False
    prediction = moved(20, 60, 20, 0, 0, 0)
    assert frames_of(prediction, truth, counted) == {"drifted": 35}


def test_no_box_is_lost() -> None:
    assert frames_of(moved(20, 60, 0, 0, -40, 0)) == {"lost": 40}
    assert frames_of(moved(20, 60, 0, 0, -80, -40)) == {"lost": 40}, "two negative sides have a positive product"


def test_an_episode_is_of_the_kind_of_most_of_its_frames() -> None:
    boxes = still()
    boxes[10:16] += [20, 0, 0, 0]
    boxes[16:21] += [-20, -10, 40, 20]
    found = run(boxes)
    assert (found.frames, found.episodes) == ((0, 6, 5, 0), (0, 1, 0, 0))
    boxes[15:16] = still()[0] + [-20, -10, 40, 20]
    assert run(boxes).episodes == (0, 0, 1, 0)


def test_wrong_lengths_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="59 predicted boxes for 60 true ones and 60 flags"):
        failures(still(59), still(), np.ones(60, dtype=bool))
    broken = still()
    broken[7, 2] = np.nan
    with pytest.raises(ValueError, match="predicted box 7 is not finite"):
        run(broken)


def test_no_frames_are_no_failures() -> None:
    none = FailureCounts((0, 0, 0, 0), (0, 0, 0, 0), 0)
    assert run(np.zeros((0, 4))) == run(still(), counted=np.zeros(FRAMES, dtype=bool)) == none


# As kept in the cache


def test_arrays_give_the_counts_back_and_add_up() -> None:
    one, other = FailureCounts((1, 2, 3, 4), (5, 6, 7, 8), 90), FailureCounts((10, 0, 0, 0), (1, 0, 0, 0), 10)
    assert FailureCounts.from_array(one.as_array()) == one
    assert FailureCounts.total([one, other]) == FailureCounts((11, 2, 3, 4), (6, 6, 7, 8), 100)
    assert FailureCounts.total([]) == FailureCounts((0, 0, 0, 0), (0, 0, 0, 0), 0)
    with pytest.raises(ValueError, match=r"9 numbers, got shape \(8,\)"):
        FailureCounts.from_array(np.zeros(8, dtype=np.int64))


# For any boxes

numbers = st.integers(-60, 60)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Boxes, Boxes, NDArray[np.bool_]]:
    """Boxes of integers in runs of equal frames, so that there are episodes and settled jumps."""
    runs = draw(st.lists(st.tuples(st.integers(1, 14), st.tuples(*[numbers] * 4)), min_size=1, max_size=6))
    offsets = np.concatenate([np.tile(np.array(change, dtype=np.float64), (n, 1)) for n, change in runs])
    truth = np.tile([200.0, 100.0, 40.0, 20.0], (len(offsets), 1))
    truth[:, :2] += draw(st.integers(-5, 5)) * np.arange(len(offsets))[:, None]
    return truth + offsets, truth, draw(arrays(np.bool_, len(offsets)))


@given(scenes())
@settings(max_examples=150, deadline=None)
def test_the_kinds_part_the_failed_frames(scene: tuple[Boxes, Boxes, NDArray[np.bool_]]) -> None:
    """Counted again frame by frame: the frames of all long runs, none twice, and as many episodes as runs."""
    prediction, truth, counted = scene
    failed = [bool(o <= 0.5) for o in iou(prediction, truth)[counted]]
    runs = [len(run) for run in "".join("x" if f else " " for f in failed).split()]
    long = [length for length in runs if length >= EPISODE_FRAMES]
    found = failures(prediction, truth, counted)
    assert sum(found.frames) == sum(long)
    assert sum(found.episodes) == len(long)
    assert found.counted == counted.sum()
    assert all(frames or not episodes for frames, episodes in zip(found.frames, found.episodes, strict=True))


@given(scenes(), st.sampled_from([0.25, 0.5, 2.0, 8.0]), st.tuples(numbers, numbers))
@settings(max_examples=150, deadline=None)
def test_counts_depend_on_neither_unit_nor_origin(
    scene: tuple[Boxes, Boxes, NDArray[np.bool_]], scale: float, shift: tuple[int, int]
) -> None:
    prediction, truth, counted = scene
    offset = np.array([*shift, 0, 0])
    found = failures(prediction, truth, counted)
    assert failures(prediction * scale, truth * scale, counted) == found
    assert failures(prediction + offset, truth + offset, counted) == found
