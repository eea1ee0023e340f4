"""Boxes drawn into frames. No torch here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from trackablate.datasets.boxes import Box, Boxes, iou, valid
from trackablate.datasets.sequence import Image, Sequence
from trackablate.harness.tracking.video import RATE, writing

PALETTE = ("#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC", "#CA9161", "#56B4E9", "#FBAFE4", "#ECE133")
"""seaborn's "colorblind" palette without its grey."""
LEAST_WIDTH = 480
"""Pixels of width in which text can be read; smaller frames are enlarged by a whole number."""
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
DASH = 6
"""Length of a dash, in widths of its line."""


@dataclass(frozen=True)
class Mark:
    """One drawn box.

    Attributes:
        name: Name of the tracker, which is written in the corner.
        box: Box xywh in pixels; nothing is drawn if it is not finite or has no area.
        colour: RGB.
        note: Text behind the name: the score.
        dashed: Whether its line is dashed, as that of the true box.
    """

    name: str
    box: Box
    colour: tuple[int, int, int]
    note: str = ""
    dashed: bool = False


def colour_of(index: int) -> tuple[int, int, int]:
    """Return the RGB colour of the tracker with this index; after the palette's end it begins again."""
    red, green, blue = bytes.fromhex(PALETTE[index % len(PALETTE)][1:])
    return red, green, blue


def drawn(image: Image, frame: int, marks: Iterable[Mark]) -> Image:
    """Return a copy of an RGB image with the frame's number, from 0, and the boxes; narrow images are enlarged."""
    scale = -(-LEAST_WIDTH // image.shape[1])
    canvas = np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)
    thick, named = max(2, round(canvas.shape[0] / 300)), list(marks)
    for mark in reversed(named):  # the first one on top
        if valid(mark.box):
            x, y, w, h = (float(v) for v in mark.box * scale)
            _rectangle(canvas, [(x, y), (x + w, y), (x + w, y + h), (x, y + h)], thick, mark)
    _corner(canvas, [(f"frame {frame}", BLACK), *((f"{m.name} {m.note}".strip(), m.colour) for m in named)])
    return canvas


def _corner(canvas: Image, lines: list[tuple[str, tuple[int, int, int]]]) -> None:
    """Write lines of text, with the colour that each explains, on a darkened corner."""
    size = max(0.45, canvas.shape[0] / 1100)
    step, thick = round(32 * size), max(1, round(1.5 * size))
    width = max(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)[0][0] for text, _ in lines) + 2 * step
    canvas[: len(lines) * step + step // 3, :width] //= 4
    for row, (text, colour) in enumerate(lines):
        top, left = row * step + step // 3, step // 3 if colour == BLACK else step * 4 // 3
        if colour != BLACK:
            cv2.rectangle(canvas, (step // 3, top), (step, top + step * 2 // 3), colour, cv2.FILLED)
        place = (left, top + step * 2 // 3)
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, WHITE, thick, cv2.LINE_AA)


def _rectangle(canvas: Image, corners: list[tuple[float, float]], thick: int, mark: Mark) -> None:
    """Draw a box with a dark rim, so that it can be seen on any ground."""
    for ink, width in ((BLACK, thick + 2), (mark.colour, thick)):
        for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
            first, last = np.array(start), np.array(end)
            pieces = max(1, int(np.hypot(*(last - first)) / (DASH * thick))) if mark.dashed else 1
            ends = [first + (last - first) * part for part in np.linspace(0, 1, pieces + 1)]
            for a, b in [*pairwise(ends)][::2]:
                # Beyond some 30,000 pixels OpenCV's coordinates overflow.
                (x1, y1), (x2, y2) = (np.clip(np.round(point), -30000, 30000).astype(int).tolist() for point in (a, b))
                cv2.line(canvas, (x1, y1), (x2, y2), ink, width, cv2.LINE_AA)


def save_video(sequence: Sequence, name: str, boxes: Boxes, file: Path, report: Callable[[int], None]) -> None:
    """Draw a tracker's boxes (N, 4) xywh and the true ones, with their overlap, into a video file.

    `report` is called with the number of frames that are drawn.
    """
    truth = np.full((len(sequence), 4), np.nan)
    truth[: len(sequence.boxes)] = sequence.boxes
    with writing(file, RATE) as write:
        for frame, (image, box, true) in enumerate(zip(sequence, boxes, truth, strict=True)):
            overlap = f"IoU {iou(box, true):.2f}" if valid(true) else ""
            marks = [Mark(name, box, colour_of(0), overlap), Mark("truth", true, WHITE, dashed=True)]
            write(drawn(image, frame, marks))
            report(frame + 1)
