"""A grid of frames with the boxes of several trackers: a row per sequence, as `report --grid` asks for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trackablate.datasets.boxes import Box, iou, valid
from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.roots import open_protocol
from trackablate.harness.errors import BadInput
from trackablate.harness.record import ProtocolRecord, SequenceRecord
from trackablate.harness.scoring.scored import ScoredTracker
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import Store, read_protocol
from trackablate.reports.figures.drawing import Drawing, Look, canvas, name_entries, short
from trackablate.reports.figures.paper_style import TEXT_WIDTH
from trackablate.reports.figures.values import Readings
from trackablate.reports.results import FrameRow, Result
from trackablate.reports.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

DPI = 300
"""Resolution of the frames in print."""
MOST = 9
"""Rows whose boxes can be told apart; further ones are named in the caption."""
TRUTH = Look("#ffffff", "", "--")


@dataclass(frozen=True)
class _Asked:
    text: str
    protocol: ProtocolRecord
    facts: SequenceRecord
    frames: tuple[int, ...]


def read_frames(
    texts: tuple[str, ...], digests: Mapping[str, str], given: Mapping[str, str], store: Store
) -> tuple[FrameRow, ...]:
    """Return the frames of each `SEQUENCE,FRAME,FRAME,...`, counted from 0, of protocols that the store has results on.

    Raises:
        BadInput: A text has another form, a frame is beyond the end, or the data are of another version.
        UnknownName: No protocol has the sequence.
        DataError: The images are not here.
    """
    kept = [read_protocol(store.protocol(Evaluation(protocol=name, data=digest))) for name, digest in digests.items()]
    known = [record for record in kept if record is not None]
    return tuple(_read(asked, given, store) for asked in [_parsed(text, known) for text in texts])


def _parsed(text: str, known: list[ProtocolRecord]) -> _Asked:
    if not (found := re.fullmatch(r"(.+?)((?:,\d{1,9})+)", text)):
        raise BadInput(f"--grid {text!r} is not SEQUENCE,FRAME,FRAME,...: write for example --grid car-2,0,100,500")
    name, frames = found[1], tuple(map(int, found[2][1:].split(",")))
    every = {facts.name: (record, facts) for record in reversed(known) for facts in record.sequences}
    if name not in every:
        names = " and ".join(record.name for record in known) or "the study (nothing is evaluated yet)"
        raise UnknownName(f"--grid: {unknown(f'sequence of {names}', name, every)}")
    record, facts = every[name]
    length = max(facts.frames, len(facts.boxes))
    if max(frames) >= length:
        raise BadInput(f"--grid {text!r}: {name} has {length} frames, counted from 0 to {length - 1}")
    return _Asked(text, record, facts, frames)


def _read(asked: _Asked, given: Mapping[str, str], store: Store) -> FrameRow:
    name, protocol = asked.facts.name, asked.protocol.name
    try:
        sequences = open_protocol(protocol, given, store.index)
        if name not in sequences.names:
            raise DataError(f"the data of {protocol} that are here lack it")
        sequence = sequences[sequences.names.index(name)]
        images = tuple(sequence.frames[frame] for frame in asked.frames)
    except DataError as error:
        raise DataError(f"--grid {asked.text!r} needs the images of {name}: {error}") from error
    truth = np.array(asked.facts.boxes)
    if not np.array_equal(sequence.boxes, truth, equal_nan=True):
        raise BadInput(
            f"--grid {asked.text!r}: the data of {protocol} here are not those of the results; name these with --data"
        )
    return FrameRow(protocol, name, asked.frames, images, truth)


def frame_grid(result: Result, table: Table, looks: dict[str, Look]) -> Drawing | None:
    """Draw the asked frames with the boxes of the variants and the cited trackers, and the true ones."""
    if not result.grid:
        return None
    rows = [*result.variants, *result.of_role("cited")]
    with_boxes = [row for row in rows if any(_box(row, of, 0) is not None for of in result.grid)]
    shown, others = with_boxes[:MOST], [row.name for row in rows if row not in with_boxes[:MOST]]
    figure, axes = _canvas(result.grid)
    readings, columns = Readings("frame"), len(axes) // len(result.grid)
    for at, of in enumerate(result.grid):
        for column, ax in enumerate(axes[at * columns : (at + 1) * columns]):
            if column < len(of.frames):
                _panel(ax, of, column, shown, looks, readings)
            else:
                ax.set_axis_off()
        axes[at * columns].set_ylabel(short(of.sequence))
    _legend(figure, {row.name: looks[row.name] for row in shown} | {"true box": TRUTH})
    left_out = f" Not drawn: {', '.join(others)}." if others else ""
    seeds = " Boxes are those of the first seed." if result.seeds > 1 else ""
    names = ", ".join(f"{of.sequence} ({of.protocol})" for of in result.grid)
    caption = f"Frames of {names}, counted from 0. Dashed: the true box.{seeds}{left_out}"
    alt = (
        f"Frames of {names} with the boxes of {', '.join(row.name for row in shown)}; their IoU is in the table below."
    )
    return Drawing("frames", figure, alt, caption, readings, dpi=DPI)


def _canvas(grid: tuple[FrameRow, ...]) -> tuple["Figure", list["Axes"]]:
    """Return axes in the shapes of the frames, which fill a paper's text width."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = max(len(of.frames) for of in grid)
    shapes = [max(image.shape[0] / image.shape[1] for image in of.images) for of in grid]
    height = TEXT_WIDTH / columns * sum(shapes) + 0.3
    figure, axes = canvas(columns, height / len(grid), rows=len(grid), width=TEXT_WIDTH)
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    gridspec = axes[0].get_gridspec()
    assert gridspec is not None
    gridspec.set_height_ratios(shapes)
    return figure, axes


def _panel(
    ax: "Axes", of: FrameRow, column: int, rows: list[ScoredTracker], looks: dict[str, Look], readings: Readings
) -> None:
    """Draw one frame with all boxes; note their IoU."""
    from matplotlib.patheffects import withStroke

    frame, image = of.frames[column], of.images[column]
    height, width = image.shape[:2]
    ax.imshow(image, extent=(0, width, height, 0))
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    rim = [withStroke(linewidth=2, foreground="#000000")]
    ax.text(0.03, 0.96, f"#{frame}", transform=ax.transAxes, va="top", color="#ffffff", path_effects=rim)
    ax.grid(visible=False)
    for side in ax.spines.values():
        side.set_visible(False)
    truth = of.truth[frame] if frame < len(of.truth) else np.full(4, np.nan)
    if valid(truth):
        ax.add_patch(_outline(truth, TRUTH))
    for row in reversed(rows):  # the first one on top
        box = _box(row, of, frame)
        if box is None or not valid(box):
            continue
        ax.add_patch(_outline(box, looks[row.name]))
        if valid(truth):
            place = (float(box[0] + box[2] / 2), float(box[1] + box[3] / 2))
            readings.add(ax, f"{of.sequence}, {frame}", row.name, place, f"IoU {iou(box, truth):.2f}")


def _outline(box: Box, look: Look) -> "Patch":
    """Return a box with a dark rim, so that it can be seen on any ground."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    x, y, w, h = (float(v) for v in box)
    dash = (0, (4, 2)) if look is TRUTH else look.dash
    patch = Rectangle((x, y), w, h, fill=False, edgecolor=look.colour, linewidth=1.2, linestyle=dash)
    patch.set_path_effects([withStroke(linewidth=2.2, foreground="#000000")])
    return patch


def _legend(figure: "Figure", looks: dict[str, Look]) -> None:
    """Draw a legend below."""
    handles = [_outline(np.array([0.0, 0, 1, 1]), look) for look in looks.values()]
    numbers = [str(index) for index in range(len(looks))]
    name_entries(
        figure.legend(handles, numbers, loc="outside lower center", ncols=min(len(looks), 5), frameon=False), looks
    )


def _box(row: ScoredTracker, of: FrameRow, frame: int) -> Box | None:
    """Return a row's box in a frame, None if it is not known."""
    found = row.protocols.get(of.protocol)
    boxes = found.boxes.get(of.sequence) if found else None
    return None if boxes is None or frame >= len(boxes) else boxes[frame]
