"""Distributions over sequences: whose values are drawn, and what the table of values says about the extremes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import report_factory as factory
from trackablate.reports.figures.distributions import Spread, distributions, drawing_of, spread_of
from trackablate.reports.figures.drawing import STYLE, Drawing, distinct_looks, looks_of, picture
from trackablate.reports.results import Result
from trackablate.reports.tables.pivot import pivot


@pytest.fixture(scope="module")
def result() -> Result:
    return factory.study_result()


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(STYLE):
        yield


def spread(rows: Mapping[str, Sequence[Sequence[float]]], baseline: str | None = "a") -> Spread:
    small = factory.study_result(4)
    found = spread_of(small, pivot(small))
    assert found is not None
    values = {name: np.array(each, dtype=float) for name, each in rows.items()}
    return replace(found, sequences=("one", "two", "three"), rows=values, baseline=baseline, means={})


def values_of(drawing: Drawing) -> dict[str, dict[str, str]]:
    shown = picture(drawing).values
    assert shown is not None
    return {
        at: {column: value.text for column, value in zip(shown.columns, values, strict=True) if value}
        for at, values in shown.rows
    }


def test_every_complete_row_is_drawn_and_compared_with_the_baseline(result: Result) -> None:
    drawing = distributions(result, pivot(result), looks_of(result))
    assert drawing is not None
    found = values_of(drawing)
    assert list(found) == [row.name for row in result.rows]
    words = ("mean", "lowest", "median", "highest")
    assert set(found["decoder"]) == {f"{word} {s}" for word in words for s in ("AO", "ΔAO")}
    assert set(found["conv"]) == {f"{word} AO" for word in words}
    assert found["decoder"]["mean AO"] == "83.7 [79.6, 86.8]", "the table's mean"
    assert found["decoder"]["highest ΔAO"].startswith("+")
    assert "thermal-" in found["decoder"]["lowest AO"]


def test_values_are_the_metrics_of_the_sequences(result: Result) -> None:
    found = spread_of(result, pivot(result))
    assert found is not None
    assert found.rows["conv"].shape == (1, factory.SEQUENCES)
    assert found.rows["conv"].mean() == pytest.approx(_printed(result, "conv"), abs=0.05)
    assert found.differences()["decoder"][0] == pytest.approx(found.rows["decoder"][0] - found.rows["conv"][0])


def _printed(result: Result, name: str) -> float:
    row = next(row for row in pivot(result).rows if row.name == name)
    return next(cell.value for key, cell in row.cells.items() if key.endswith(":ao") and cell.value is not None)


def test_extremes_name_their_sequences_over_all_seeds() -> None:
    rows = {"a": [[10, 20, 30], [20, 30, 40]], "b": [[15, 5, 90]]}
    found = values_of(drawing_of(spread(rows), distinct_looks(["a", "b"])))
    assert found["a"]["lowest AO"] == "10.0 on one"
    assert found["a"]["highest AO"] == "40.0 on three"
    assert found["b"]["lowest ΔAO"] == "-20.0 on two"  # 5 against the mean of 20 and 30
    assert found["b"]["highest ΔAO"] == "+55.0 on three"
    assert found["b"]["median ΔAO"] == "+0.0 (quartiles -10.0, +27.5)"


def test_each_seed_has_a_median_and_each_sequence_a_tick() -> None:
    drawing = drawing_of(spread({"a": [[10, 20, 30], [20, 30, 40]]}), distinct_looks(["a"]))
    (ax,) = drawing.figure.axes
    ticks, medians = ax.lines
    assert np.sort(np.asarray(ticks.get_xdata())[::3]).tolist() == [10, 20, 20, 30, 30, 40]
    assert np.asarray(medians.get_xdata()).tolist() == [20, 30]


def test_without_a_baseline_there_are_no_differences() -> None:
    drawing = drawing_of(spread({"a": [[1, 2, 3]], "b": [[3, 2, 1]]}, baseline=None), distinct_looks(["a", "b"]))
    assert len(drawing.figure.axes) == 1
    assert "difference" not in drawing.caption


def test_sequences_without_a_value_are_left_out() -> None:
    rows = {"a": [[np.nan, 20, 30]], "b": [[15, 25, np.nan]]}
    found = values_of(drawing_of(spread(rows), distinct_looks(["a", "b"])))
    assert found["a"]["lowest AO"] == "20.0 on two"
    assert found["b"]["median ΔAO"] == "+5.0 (quartiles +5.0, +5.0)"


def test_equal_values_have_a_place_too() -> None:
    rows = {"a": [[20, 20, 20]], "b": [[20, 20, 20]]}
    assert values_of(drawing_of(spread(rows), distinct_looks(["a", "b"])))["b"]["median ΔAO"].startswith("+0.0")


def test_the_same_values_give_the_same_bytes_and_few_sequences_no_figure(result: Result) -> None:
    few = factory.study_result(2)
    assert distributions(few, pivot(few), looks_of(few)) is None
    drawings = [distributions(result, pivot(result), looks_of(result)) for _ in range(2)]
    files = [picture(drawing).files() for drawing in drawings if drawing is not None]
    assert len(files) == 2
    assert all(one == other for one, other in pairwise(files))
