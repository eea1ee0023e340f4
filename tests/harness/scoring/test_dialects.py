"""Every dialect against the oracle of `toolkit_rules`, which does what the toolkit does frame by frame, on sequences made of
everything that toolkits treat differently."""

import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from toolkit_rules import TOOLKITS, Box, Scene, shares
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.harness.scoring.dialects import DIALECTS
from trackablate.harness.scoring.metrics import METRICS, Dialect, Tally, tally, treatments, values

PROTOCOL_NAMES = ("lasot", "lasot_ext", "tnl2k", "uav123", "nfs", "otb", "got10k", "trackingnet")
SIZE = (96, 64)
BARELY = 1e-9
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True, phases=(Phase.generate, Phase.shrink))

EIGHTHS = st.integers(-24 * 8, 110 * 8).map(lambda number: number / 8)
CORNERS = st.one_of(st.sampled_from((0.0, 1.0, -1.0, 0.5, 95.0)), st.integers(-24, 110).map(float), EIGHTHS)
SIDES = st.one_of(st.sampled_from((1.0, 2.0, 10.0, 20.0, 40.0)), st.integers(1, 70).map(float), EIGHTHS.map(abs))
CENTS = st.integers(-2400, 11000).map(lambda number: number / 100)
EMPTY = st.sampled_from(([0.0, 0.0, 0.0, 0.0], [10.0, 10.0, 0.0, 5.0], [3.0, -2.0, 8.0, 0.0], [-9.0, 4.0, 0.0, 0.0]))
"""True boxes without area: data sets have them for absent targets, and by mistake."""


def of_area(corners: st.SearchStrategy[float], sides: st.SearchStrategy[float]) -> st.SearchStrategy[Box]:
    sides = sides.map(lambda side: max(side, 0.125))
    return st.tuples(corners, corners, sides, sides).map(list)


@st.composite
def guesses(draw: st.DrawFn, truth: Box, boxes: st.SearchStrategy[Box]) -> Box:
    """A prediction: right, off by what meets a threshold exactly, without area, or anywhere."""
    if math.isnan(truth[0]):
        return draw(boxes)
    x, y, w, h = truth
    kind = draw(st.sampled_from(("right", "moved", "by share", "part", "zero", "negative", "anywhere")))
    if kind == "moved":
        dx, dy = draw(st.sampled_from(((20, 0), (12, -16), (0, 50), (0, 20.125), (2.5, 0), (5, 0), (0, 0.5), (30, 40))))
        return [x + dx, y + dy, w, h]
    if kind == "by share":
        part = draw(st.sampled_from((0.05, 0.1, 0.2, 0.25, 0.3, 0.5))) * draw(st.sampled_from((1, -1)))
        return [x + round(w * part * 8) / 8, y, w, h] if draw(st.booleans()) else [x, y + round(h * part * 8) / 8, w, h]
    if kind == "part":
        return [x, y, w * draw(st.sampled_from((0.5, 0.75, 0.25, 1.25, 2.0))), h]
    if kind in ("zero", "negative"):
        size = 0.0 if kind == "zero" else -4.0
        return [x, y, size, h] if draw(st.booleans()) else [x, y, w, size]
    return list(truth) if kind == "right" else draw(boxes)


@st.composite
def scenes(draw: st.DrawFn, boxes: st.SearchStrategy[Box], *, with_nan: bool) -> Scene:
    """The first true box has an area, as readers ensure, of a pixel at least."""
    x, y, w, h = draw(boxes)
    first = [x, y, max(w, 1.0), max(h, 1.0)]
    others = [boxes, boxes, EMPTY, st.just([math.nan] * 4)] if with_nan else [boxes, boxes, EMPTY]
    truth = [first, *draw(st.lists(st.one_of(others), max_size=10))]
    predicted = [draw(guesses(box, boxes)) for box in truth]
    visible = [not math.isnan(box[0]) and draw(st.integers(0, 3)) > 0 for box in truth]
    return Scene(predicted, truth, visible, SIZE)


def tallied(scene: Scene, dialects: list[Dialect]) -> Tally:
    arrays = np.array(scene.predicted), np.array(scene.truth), np.array(scene.visible)
    return tally(*arrays, size=scene.size, treatments=treatments(dialects))


EXACT, ROUGH = of_area(CORNERS, SIDES), of_area(CENTS, CENTS.map(abs))


@pytest.mark.parametrize("protocol", PROTOCOL_NAMES)
def test_every_dialect_gives_its_toolkit_s_scores(protocol: str) -> None:
    """Coordinates are eighths of pixels, so that what meets a threshold meets it in every toolkit."""
    dialects = {name: dialect.on(protocol) for name, dialect in DIALECTS.items()}

    @EXAMPLES
    @given(st.lists(scenes(EXACT, with_nan=protocol == "uav123"), min_size=1, max_size=3))
    def check(several: list[Scene]) -> None:
        tallies = [tallied(scene, list(dialects.values())) for scene in several]
        for name, dialect in dialects.items():
            wanted = [shares(name, scene, protocol) for scene in several]
            assert set(dialect.metrics) == set(wanted[0]), name
            for metric in dialect.metrics:
                numerators, weights = values(tallies, metric, dialect)
                about = f"{name} {metric}"
                assert weights.tolist() == [one[metric].weight for one in wanted], about
                assert numerators == pytest.approx([one[metric].numerator for one in wanted], rel=0, abs=1e-12), about

    check()


@pytest.mark.parametrize("protocol", PROTOCOL_NAMES)
def test_boxes_in_hundredths_score_between_a_little_more_and_a_little_less_strict(protocol: str) -> None:
    """What lies within rounding of a threshold may fall on either side; nothing else may."""
    dialects = {name: dialect.on(protocol) for name, dialect in DIALECTS.items()}

    @EXAMPLES
    @given(scenes(ROUGH, with_nan=protocol == "uav123"))
    def check(scene: Scene) -> None:
        one = tallied(scene, list(dialects.values()))
        for name, dialect in dialects.items():
            low, high = (shares(name, scene, protocol, slack) for slack in (BARELY, -BARELY))
            for metric in dialect.metrics:
                (numerator,), (weight,) = values([one], metric, dialect)
                about = f"{name} {metric}"
                assert low[metric].numerator - 1e-9 <= numerator <= high[metric].numerator + 1e-9, about
                assert weight in (low[metric].weight, high[metric].weight), about

    check()


def test_the_oracle_and_the_protocols_know_every_dialect() -> None:
    assert set(TOOLKITS) == set(DIALECTS)
    for protocol in PROTOCOLS.values():
        for metric, name in protocol.metrics:
            assert metric in DIALECTS[name].metrics
    for name, dialect in DIALECTS.items():
        assert dialect.name == name
        assert dialect.description
        assert set(dialect.metrics) <= set(METRICS)
