"""What the sequence viewer is given: which sequences, whose boxes, and overlaps over all frames; and the Pareto front."""

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import report_factory as factory
from trackablate.datasets.boxes import iou
from trackablate.reports.figures.cost import front
from trackablate.reports.pages import viewer as module
from trackablate.reports.pages.viewer import ABSENT_OVERLAP, viewer


@pytest.fixture(scope="module")
def films() -> list[dict[str, Any]]:
    found = viewer(factory.study_result())
    assert found is not None
    assert found.left_out == 0
    return [json.loads(film) for film in found.films]


def overlaps(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(row["iou"]), dtype=np.uint8)


def test_the_hardest_comes_first_and_every_variant_has_its_best_and_worst(films: list[dict[str, Any]]) -> None:
    assert films[0]["why"].startswith("hardest of all")
    reasons = ", ".join(film["why"] for film in films)
    for variant in ("conv", "decoder", "ce-conv", "ce-decoder"):
        assert f"worst of {variant}" in reasons
        assert f"best of {variant}" in reasons
    assert len({film["name"] for film in films}) == len(films)


def test_overlaps_are_those_of_all_frames(films: list[dict[str, Any]]) -> None:
    film = films[0]
    name = film["name"].split(" ")[0]
    assert film["frames"] == factory.FRAMES
    for row in film["rows"][:4]:
        noise = {"conv": 0.11, "decoder": 0.085, "ce-conv": 0.12, "ce-decoder": 0.10}[row["name"]]
        expected = iou(factory.predicted(row["name"], name, noise), factory.truth(name))
        assert np.abs(overlaps(row) / 100 - expected).max() <= 0.005
        boxes = np.frombuffer(base64.b64decode(row["boxes"]), dtype="<i2").reshape(-1, 4) / 10
        assert np.abs(boxes - factory.predicted(row["name"], name, noise)).max() <= 0.051


def test_frames_without_a_known_true_box_have_no_overlap() -> None:
    result = factory.study_result(6)
    strips = {name: replace(strip, path=None) for name, strip in result.strips[factory.PROTOCOL].items()}
    found = viewer(replace(result, strips={factory.PROTOCOL: strips}))
    assert found is not None
    known = overlaps(json.loads(found.films[0])["rows"][0]) != ABSENT_OVERLAP
    assert np.flatnonzero(known).tolist() == list(range(0, factory.FRAMES, 7))


def test_what_does_not_fit_the_budget_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET", 40_000)
    found = viewer(factory.study_result())
    assert found is not None
    assert sum(map(len, found.films)) <= 40_000
    assert found.left_out > 0


def test_nothing_to_see_is_no_viewer() -> None:
    result = factory.study_result(4)
    assert viewer(replace(result, strips={})) is None
    assert viewer(replace(result, protocols=())) is None


def test_the_front_is_what_no_other_beats_in_both() -> None:
    points = [
        ("cheap", 1.0, 50.0),
        ("dominated", 2.0, 49.0),
        ("good", 2.0, 60.0),
        ("dear", 9.0, 60.0),
        ("best", 10.0, 61.0),
    ]
    assert front(points) == ["cheap", "good", "best"]
    assert front(reversed(points)) == front(points)
    assert front([("a", 1.0, 5.0), ("b", 1.0, 5.0)]) == ["a", "b"]
