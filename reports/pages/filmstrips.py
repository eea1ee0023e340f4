"""Which frames the page shows: per variant its best and its worst sequence, with true and predicted boxes."""

import base64
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trackablate.datasets.boxes import iou
from trackablate.harness.scoring.metrics import METRICS, values
from trackablate.reports.results import FilmStrip, ProtocolFacts, ProtocolResult, RowResult, StudyResult
from trackablate.reports.tables.effects import primary_metric

LOST = 0.1
"""IoU below which a box has lost its target: pixels shared by chance."""
STILLS = 6
"""Frames of a strip, spread over the thumbnails that are kept."""


@dataclass(frozen=True)
class DrawnBox:
    """A box in thumbnail pixels."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Still:
    """One frame. iou: overlap of the two boxes in 0..1, unclipped; uri: the JPEG as a data URI."""

    frame: int
    width: int
    height: int
    uri: str
    truth: DrawnBox
    predicted: DrawnBox
    iou: float


@dataclass(frozen=True)
class Strip:
    """A sequence as one row saw it. score: the sequence's own figure in the metric's unit."""

    row: str
    which: Literal["best", "worst"]
    protocol: str
    sequence: str
    metric: str
    score: float
    stills: tuple[Still, ...]

    @property
    def verdict(self) -> Literal["easy", "failed", "hardest"]:
        """Failed only where a shown box has all but lost the target; the worst sequence may still have gone well."""
        if self.which == "best":
            return "easy"
        return "failed" if any(still.iou < LOST for still in self.stills) else "hardest"


def strips(result: StudyResult) -> list[Strip]:
    """Best and worst sequence of every variant on every protocol, among the sequences with thumbnails and boxes."""
    rows = [row for row in result.rows if row.role == "variant"]
    return [strip for facts in result.protocols for row in rows for strip in _of_row(result, facts, row)]


def _of_row(result: StudyResult, facts: ProtocolFacts, row: RowResult) -> list[Strip]:
    found, metric = row.protocols.get(facts.name), METRICS[primary_metric(result, facts)]
    if found is None:
        return []
    scores = {
        name: score
        for name in sorted(facts.strips)
        if (score := sequence_score(found, facts, name, metric.key)) is not None
    }
    if not scores:
        return []
    ascending = sorted(scores, key=lambda name: -scores[name] if metric.lower_is_better else scores[name])
    chosen: list[tuple[Literal["best", "worst"], str]] = [("best", ascending[-1])]
    chosen += [("worst", ascending[0])] if len(ascending) > 1 else []
    return [
        Strip(
            row.name, which, facts.name, name, metric.symbol, scores[name] * metric.scale, _stills(facts, found, name)
        )
        for which, name in chosen
    ]


def sequence_score(found: ProtocolResult, facts: ProtocolFacts, sequence: str, metric: str) -> float | None:
    """A sequence's own score in 0..1, None where it has no boxes or nothing of it counts."""
    if sequence not in found.boxes or sequence not in found.tallies:
        return None
    numerators, weights = values([found.tallies[sequence]], metric, facts.dialects[metric])
    return float(numerators[0] / weights[0]) if weights[0] > 0 else None


def _stills(facts: ProtocolFacts, found: ProtocolResult, sequence: str) -> tuple[Still, ...]:
    strip = facts.strips[sequence]
    few = np.unique(np.linspace(0, len(strip.frames) - 1, STILLS).round().astype(int)).tolist()
    return tuple(_still(strip, found, sequence, index) for index in few)


def _still(strip: FilmStrip, found: ProtocolResult, sequence: str, index: int) -> Still:
    frame, jpeg = strip.frames[index], strip.jpegs[index]
    truth, predicted = strip.truth[index], found.boxes[sequence][frame]
    width, height = jpeg_size(jpeg)
    return Still(
        frame=frame,
        width=width,
        height=height,
        uri="data:image/jpeg;base64," + base64.b64encode(jpeg).decode(),
        truth=DrawnBox(*(float(v) for v in truth * strip.scale)),
        predicted=DrawnBox(*(float(v) for v in predicted * strip.scale)),
        iou=float(iou(predicted, truth)),
    )


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Width and height from a JPEG's frame header (ITU T.81, B.2.2). Raises ValueError where there is none."""
    at = 2
    while jpeg[:2] == b"\xff\xd8" and at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + length
    raise ValueError("a film strip's thumbnail is not a JPEG image")
