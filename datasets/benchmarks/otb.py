"""OTB100 (Wu, Lim, Yang: Object Tracking Benchmark, PAMI 2015): 100 targets in 98 folders, read as they are published.

    <root>/<Name>/img/0001.jpg ...
    <root>/<Name>/groundtruth_rect.txt     one "x,y,w,h" per frame; commas, tabs or spaces; x and y count from 1
    <root>/<Name>/attrs.txt                optional: "SV, DEF, FM"

Frame ranges and folders with two targets are written in splits/otb100.csv, with the toolkits that agree on them; its
lists of frames and attributes are pytracking's. Videos of the user's own in the same layout are read beside those of
OTB100. OTB has no flags of absence: every frame counts as visible.
"""

from functools import partial

from trackablate.datasets.benchmark import DataSet
from trackablate.datasets.reading.layouts import AttributeFile, FileLayout, official_clips
from trackablate.datasets.reading.reader import OSTRACK_METRICS, Part

ATTRIBUTES = ("IV", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OPR", "OV", "BC", "LR")

CLIPS = partial(official_clips, "otb100.csv", "folder", "annotation")
TITLE = "<Name>/img/0001.jpg, ... and <Name>/groundtruth_rect.txt"
LAYOUT = FileLayout(
    title=TITLE,
    boxes="{folder}/{annotation}",
    frames=("{folder}/img", "{folder}/jpg"),
    attributes=AttributeFile("{folder}/attrs.txt", ATTRIBUTES, as_flags=False),
)
OWN = FileLayout(
    title=TITLE,
    boxes="{name}/groundtruth_rect.txt",
    frames=("{name}/img",),
    attributes=AttributeFile("{name}/attrs.txt", ATTRIBUTES, as_flags=False),
)
PART = Part(
    name="otb",
    data="otb",
    title="OTB100",
    clips=CLIPS,
    layouts=(LAYOUT,),
    own="beside",
    own_layouts=(OWN,),
    origin=1,
    siblings=lambda: {clip.fields["folder"] for clip in CLIPS()},
)
PROTOCOL = PART.protocol(
    title="OTB100",
    description="100 short real videos, one pass from the first frame; those present are scored, their number said",
    source="Wu, Lim, Yang: Object Tracking Benchmark, PAMI 2015; frame ranges as in pytracking",
    metrics=(*OSTRACK_METRICS, ("ao", "got10k")),
    attributes=ATTRIBUTES,
)
OTB = DataSet("otb", "OTB100", {PART.name: PART}, (PROTOCOL,))
