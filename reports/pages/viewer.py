"""The page's sequence viewer: a few telling sequences, with every row's boxes and overlaps."""

import base64
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import iou, valid
from trackablate.harness.scoring.scored import ScoredProtocol
from trackablate.reports.figures.drawing import Look, looks_of
from trackablate.reports.pages.filmstrips import goodness_of, jpeg_size
from trackablate.reports.results import FilmStrip, Result

BUDGET = 2_500_000
"""Characters that all sequences together may take of a page."""
POSITIONS = 300
"""Places to scrub to, at most: boxes of longer sequences are thinned, overlaps are not."""
MOST_ROWS = 12
ABSENT_BOX, ABSENT_OVERLAP = -32768, 255
STROKES = {"-": "", "--": "6 3", ":": "1.5 2.5", "-.": "6 2 1.5 2"}
"""Dashes of a box's outline, as of the row's lines in the figures."""


@dataclass(frozen=True)
class Viewer:
    """The viewer's data.

    Attributes:
        films: One JSON document per sequence, in the order of the list.
        left_out: Number of sequences for which there was no room.
    """

    films: tuple[str, ...]
    left_out: int


def viewer(result: Result) -> Viewer | None:
    """Return the viewer of a result, None if no sequence has thumbnails and boxes."""
    looks, used = looks_of(result), 0
    films: list[str] = []
    chosen = [(facts, name, why) for facts in result.scored_here for name, why in _chosen(result, facts).items()]
    for facts, name, why in chosen:
        film = json.dumps(_film(result, facts, name, why, looks), separators=(",", ":"))
        if used + len(film) <= BUDGET or not films:
            films.append(film)
            used += len(film)
    return Viewer(tuple(films), len(chosen) - len(films)) if films else None


def _chosen(result: Result, facts: ScoredProtocol) -> dict[str, str]:
    """Return each sequence with why it is shown: hardest for all, most disputed, worst and best of each variant."""
    scores = {row.name: found for row in result.variants if (found := goodness_of(result, facts, row))}
    if not scores:
        return {}
    shared = sorted(set.intersection(*(set(found) for found in scores.values())))
    reasons: dict[str, list[str]] = {}
    if shared:
        each = {s: [found[s] for found in scores.values()] for s in shared}
        reasons.setdefault(min(shared, key=lambda s: float(np.mean(each[s]))), []).append("hardest of all")
        reasons.setdefault(max(shared, key=lambda s: float(np.ptp(each[s]))), []).append("most disputed")
    for word, pick in (("worst", min), ("best", max)):
        for name, found in scores.items():
            reasons.setdefault(pick(sorted(found), key=found.__getitem__), []).append(f"{word} of {name}")
    return {sequence: ", ".join(why) for sequence, why in reasons.items()}


def _film(result: Result, facts: ScoredProtocol, sequence: str, why: str, looks: dict[str, Look]) -> dict[str, object]:
    strip = result.strips[facts.name][sequence]
    predicted = {
        row.name: found.boxes[sequence]
        for row in result.rows
        if (found := row.protocols.get(facts.name)) and sequence in found.boxes
    }
    shown = dict(list(predicted.items())[:MOST_ROWS])
    frames = max(len(boxes) for boxes in shown.values())
    truth, step = true_boxes(strip, frames), -(-frames // POSITIONS)
    width, height = jpeg_size(strip.jpegs[0])
    return {
        "name": f"{sequence} ({facts.name})",
        "why": why,
        "frames": frames,
        "step": step,
        "width": width,
        "height": height,
        "kept": list(strip.frames),
        "jpegs": [base64.b64encode(jpeg).decode() for jpeg in strip.jpegs],
        "truth": _packed(np.where(valid(truth)[:, None], truth, np.nan)[::step] * strip.scale),
        "rows": [
            {
                "name": name,
                "colour": looks[name].colour,
                "dash": STROKES[looks[name].dash],
                "boxes": _packed(boxes[::step] * strip.scale),
                "iou": _overlaps(boxes, truth[: len(boxes)]),
            }
            for name, boxes in shown.items()
        ],
    }


def true_boxes(strip: FilmStrip, frames: int) -> NDArray[np.float64]:
    """Return the true box of every frame, NaN where it is unknown."""
    if strip.path is not None:
        return strip.path
    truth = np.full((frames, 4), np.nan)
    truth[list(strip.frames)] = strip.truth
    return truth


def _packed(boxes: NDArray[np.float64]) -> str:
    """Return boxes in tenths of a thumbnail's pixel as base64 of little-endian 16-bit numbers."""
    tenths = (boxes * 10).round().clip(-32767, 32767)
    known = np.isfinite(boxes).all(axis=1, keepdims=True)
    return _base64(np.where(known, tenths, ABSENT_BOX).astype("<i2"))


def _overlaps(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> str:
    """Return the IoU of every frame in hundredths as base64 of bytes."""
    overlap = np.full(len(boxes), np.nan)
    known = valid(truth) & np.isfinite(boxes).all(axis=1)
    overlap[known] = iou(boxes[known], truth[known])
    return _base64(np.where(np.isfinite(overlap), (100 * overlap).round(), ABSENT_OVERLAP).astype(np.uint8))


def _base64(values: NDArray[np.generic]) -> str:
    return base64.b64encode(values.tobytes()).decode()
