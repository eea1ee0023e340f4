"""NFS at 30 frames per second (Galoogahi et al.: Need for Speed, ICCV 2017), in both layouts that are in use.

    processed, as pytracking's readers expect it, 47,953 frames:
      <root>/sequences/<sequence>/00001.jpg ...
      <root>/anno/nfs_<sequence>.txt                one "x<tab>y<tab>w<tab>h" per frame
    original, as it is published:
      <root>/<sequence>/30/<sequence>/00001.jpg ...
      <root>/<sequence>/30/<sequence>.txt           VATIC rows for 240 frames per second, see `parse_vatic`

Scores on the two layouts are not comparable: the processed boxes were made from results on the NFS site, and are known
to be out of step with the frames in places (pytracking issues 160, 211).

Readers of the original layout differ. The got10k toolkit takes every eighth row and no flags. LoRAT selects rows by their
frame number, has no box where `lost` or `occluded` is set, and drops all of pingpong_2's boxes from frame 264 of 1277 on.
This reader selects rows by their frame number, since a missing row would shift all later ones. It marks `lost` and
`occluded` as not visible, so that the metric decides whether they count. It drops no annotation.
"""

import numpy as np

from trackablate.datasets.benchmark import DataSet
from trackablate.datasets.boxes import xyxy_to_xywh
from trackablate.datasets.reading.layouts import BoxRows, FileLayout, official_clips
from trackablate.datasets.reading.numbers import BadLine, parse_rows
from trackablate.datasets.reading.reader import Part

RATE = 8
"""Rows of annotation for each frame of the 30-fps videos."""


def decode_vatic(content: bytes) -> BoxRows:
    """Return the boxes of the 30-fps frames from rows for 240 fps.

    A row is `track x1 y1 x2 y2 frame lost occluded generated "label"`. Frame k at 30 fps (from 0) has the row with the
    frame number 8 k + 1, and its box has the width x2 - x1. Bad lines are those that are not such a row, and of each of
    these the first: a row of a second track, a frame number that does not increase, a row that follows a missing one.
    """
    lines = [line.partition(b'"')[0].rstrip() for line in content.rstrip().splitlines()]
    found = parse_rows(b"\n".join(lines), columns=9)
    track, frame, lost, occluded = found.values[:, [0, 5, 6, 7]].T
    kept = np.flatnonzero((frame - 1) % RATE == 0)
    wrong = {
        "is of another track than the first row": track != track[:1],
        "its frame is not after the one before": ~(np.diff(frame, prepend=0) > 0),
        "comes where the row of an earlier frame is missing": np.isin(
            np.arange(len(frame)), kept[(frame[kept] - 1) / RATE != np.arange(len(kept))]
        ),
    }
    firsts = {int(np.argmax(rows)): problem for problem, rows in reversed(wrong.items()) if rows.any()}
    bad = {row + 1: BadLine(row + 1, firsts[row], lines[row].decode("ascii", errors="replace")) for row in firsts}
    bad |= {line.line: line for line in found.bad}
    visible = (lost[kept] == 0) & (occluded[kept] == 0)
    return BoxRows(xyxy_to_xywh(found.values[kept, 1:5]), visible, tuple(bad[line] for line in sorted(bad)))


LAYOUTS = (
    FileLayout(
        title="sequences/<sequence> and anno/nfs_<sequence>.txt (processed)",
        boxes="anno/nfs_{name}.txt",
        frames=("sequences/{name}",),
        first=1,
    ),
    FileLayout(
        title="<sequence>/30/<sequence> and <sequence>/30/<sequence>.txt (as published)",
        boxes="{name}/30/{name}.txt",
        frames=("{name}/30/{name}",),
        decode=decode_vatic,
        slack=1,
    ),
)
PART = Part(name="nfs", data="nfs", title="NFS", clips=lambda: official_clips("nfs.csv"), layouts=LAYOUTS)
PROTOCOL = PART.protocol(
    title="NFS30",
    description="100 sequences at 30 frames per second, about 48,000 frames, one pass from the first frame",
    source="Galoogahi et al.: Need for Speed, ICCV 2017; processed and published boxes do not compare",
)
NFS = DataSet("nfs", "NFS", {PART.name: PART}, (PROTOCOL,))
