"""TrackingNet (Mueller et al., ECCV 2018): 511 test videos, 30,132 training videos in 12 chunks.

    <root>/TEST/frames/<sequence>/0.jpg ...       numbered from 0, without padding
    <root>/TEST/anno/<sequence>.txt               "x,y,w,h" of the first frame; all others are on the server
    <root>/TRAIN_0/...                            the same, with a line for each frame

A full annotation of the test videos can be read too, for scoring. The data set has no flags: a target is visible if its
box has an area.
"""

from trackablate.datasets.benchmark import DataSet
from trackablate.datasets.boxes import valid
from trackablate.datasets.reading.layouts import BoxRows, Clip, FileLayout, box_rows, official_clips
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import names


def decode(content: bytes) -> BoxRows:
    """Return the boxes. A target is not visible if its box has no area."""
    found = box_rows(content)
    return BoxRows(found.boxes, valid(found.boxes), found.bad)


def _layout(folder: str, title: str) -> FileLayout:
    return FileLayout(
        title=title,
        boxes=f"{folder}/anno/{{name}}.txt",
        frames=(f"{folder}/frames/{{name}}",),
        decode=decode,
        first=0,
        where={"chunk": r"TRAIN_\d+"},
    )


TEST = Part(
    name="trackingnet",
    data="trackingnet",
    title="TrackingNet's test set",
    clips=lambda: tuple(map(Clip, names("trackingnet_test.txt"))),
    layouts=(_layout("TEST", "TEST/frames/<sequence>/0.jpg, ... and TEST/anno/<sequence>.txt"),),
    server=True,
)
TRAIN = Part(
    name="trackingnet-train",
    data="trackingnet",
    title="TrackingNet's training set",
    clips=lambda: official_clips("trackingnet_train.csv", "chunk"),
    layouts=(_layout("{chunk}", "TRAIN_0/frames/<sequence>/0.jpg, ... and TRAIN_0/anno/<sequence>.txt, to TRAIN_11"),),
    training=True,
)
PROTOCOL = TEST.protocol(
    title="TrackingNet",
    description="511 short videos; boxes but the first are on the evaluation server: `submit` makes its archive",
    source="Mueller et al.: TrackingNet, ECCV 2018; metrics as in the devkit, which the server runs",
    metrics=(("auc", "trackingnet"), ("precision", "trackingnet"), ("norm_precision", "trackingnet")),
)
TRACKINGNET = DataSet("trackingnet", "TrackingNet", {TEST.name: TEST, TRAIN.name: TRAIN}, (PROTOCOL,))
