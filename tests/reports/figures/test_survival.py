"""Survival curves: values by hand, and only where a protocol has a metric in time."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

import report_factory as factory
from trackablate.harness.scoring.metrics import DIALECTS
from trackablate.reports.figures.drawing import STYLE, looks_of, picture
from trackablate.reports.figures.survival import survival
from trackablate.reports.results import Result
from trackablate.reports.tables.pivot import pivot


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(STYLE):
        yield


def in_time(result: Result) -> Result:
    (facts,) = result.protocols
    return replace(result, protocols=(replace(facts, dialects={**facts.dialects, "survived": DIALECTS["in_time"]}),))


def test_the_share_of_sequences_that_are_not_lost_yet() -> None:
    """Of 4 sequences of 40 frames, the first is lost from frame 13 on, a third of the 39 after the first; one at once."""
    names = factory.names(4)
    boxes = {name: factory.truth(name).copy() for name in names}
    boxes[names[0]][13 + 1 :, 0] += 500
    boxes[names[1]][1:, 0] += 500
    boxes[names[2]][5:14, 0] += 500  # nine frames are no failure
    result = in_time(factory.study_result(4))
    (facts,) = result.protocols
    rows = tuple(
        replace(row, protocols={facts.name: factory.scores_of(boxes)}) if row.name == "conv" else row
        for row in result.rows
    )
    result = replace(result, rows=rows)
    drawing = survival(result, pivot(result), looks_of(result))
    assert drawing is not None
    shown = picture(drawing).values
    assert shown is not None
    at = shown.columns.index("conv")
    read = {time: float(values[at].text.partition(" ")[0]) for time, values in shown.rows if values[at]}
    assert (read["0"], read["30"], read["40"], read["100"]) == (75, 75, 50, 50)
    assert "conv 50.0 % on synthetic-thermal" in drawing.alt


def test_raw_results_have_one_if_they_are_asked_for_these_rules() -> None:
    result = factory.study_result(4)
    (facts,) = result.protocols
    asked = replace(result, protocols=(replace(facts, rules=(DIALECTS["ostrack"], DIALECTS["in_time"])),))
    assert survival(asked, pivot(asked), looks_of(asked)) is not None


def test_no_figure_where_no_metric_reads_the_overlaps_in_time() -> None:
    result = factory.study_result(4)
    assert survival(result, pivot(result), looks_of(result)) is None
