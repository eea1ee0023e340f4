"""The frames that the page shows: each variant's best and worst sequence, with true and predicted boxes."""

import base64
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import iou
from trackablate.harness.scoring.metrics import METRICS, values
from trackablate.harness.scoring.scored import ScoredProtocol, ScoredTracker, TrackerScores
from trackablate.reports.results import FilmStrip, Result, primary_metric

LOST = 0.1
"""IoU below which a box has lost its target: pixels shared by chance."""
STILLS = 6
"""Frames of a strip, spread over the thumbnails that are kept."""


@dataclass(frozen=True)
class Still:
    """One frame, its JPEG as a data URI, two boxes x, y, w, h in its pixels, and their unclipped overlap in 0..1."""

    frame: int
    width: int
    height: int
    uri: str
    truth: list[float]
    predicted: list[float]
    iou: float


@dataclass(frozen=True)
class Strip:
    """A sequence as one row tracked it, with its own figure in the metric's unit."""

    row: str
    which: Literal["best", "worst"]
    protocol: str
    sequence: str
    metric: str
    score: float
    stills: tuple[Still, ...]

    @property
    def verdict(self) -> Literal["easy", "failed", "hardest"]:
        """Failed only if a shown box has almost lost the target; the worst sequence may still have gone well."""
        if self.which == "best":
            return "easy"
        return "failed" if any(still.iou < LOST for still in self.stills) else "hardest"


def strips(result: Result) -> list[Strip]:
    """Return the best and the worst sequence of every variant on every protocol, among those with thumbnails and boxes."""
    return [strip for facts in result.scored_here for row in result.variants for strip in _of_row(result, facts, row)]


def _of_row(result: Result, facts: ScoredProtocol, row: ScoredTracker) -> list[Strip]:
    metric, films = METRICS[primary_metric(result, facts)], result.strips.get(facts.name, {})
    goodness = goodness_of(result, facts, row)
    ascending = sorted(goodness, key=goodness.__getitem__)
    chosen: list[tuple[Literal["best", "worst"], str]] = [("best", name) for name in ascending[-1:]]
    chosen += [("worst", name) for name in ascending[:-1][:1]]
    return [
        Strip(
            row.name,
            which,
            facts.name,
            name,
            metric.symbol,
            metric.sign * goodness[name],
            _stills(films[name], row.protocols[facts.name]),
        )
        for which, name in chosen
    ]


def goodness_of(result: Result, facts: ScoredProtocol, row: ScoredTracker) -> dict[str, float]:
    """Return the first seed's own score, negative if less is better, of each sequence with thumbnails, boxes and counts."""
    found, metric = row.protocols.get(facts.name), METRICS[primary_metric(result, facts)]
    if found is None:
        return {}
    names = [s for s in sorted(result.strips.get(facts.name, {})) if s in found.boxes and s in found.tallies]
    pairs = zip(*values([found.tallies[name] for name in names], metric.key, facts.dialects[metric.key]), strict=True)
    scale = metric.sign * metric.scale
    return {name: scale * float(n / w) for name, (n, w) in zip(names, pairs, strict=True) if w > 0}


def _stills(strip: FilmStrip, found: TrackerScores) -> tuple[Still, ...]:
    few = np.unique(np.linspace(0, len(strip.frames) - 1, STILLS).round().astype(int)).tolist()
    return tuple(_still(strip, found.boxes[strip.sequence], index) for index in few)


def _still(strip: FilmStrip, boxes: NDArray[np.float64], index: int) -> Still:
    frame, jpeg = strip.frames[index], strip.jpegs[index]
    truth, predicted = strip.truth[index], boxes[frame]
    width, height = jpeg_size(jpeg)
    return Still(
        frame=frame,
        width=width,
        height=height,
        uri="data:image/jpeg;base64," + base64.b64encode(jpeg).decode(),
        truth=(truth * strip.scale).tolist(),
        predicted=(predicted * strip.scale).tolist(),
        iou=float(iou(predicted, truth)),
    )


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Return width and height from a JPEG's frame header (ITU T.81, B.2.2).

    Raises:
        ValueError: There is no such header.
    """
    at = 2
    while jpeg[:2] == b"\xff\xd8" and at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + length
    raise ValueError("a film strip's thumbnail is not a JPEG image")
