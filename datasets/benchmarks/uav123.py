"""UAV123 (Mueller, Smith, Ghanem: A Benchmark and Simulator for UAV Tracking, ECCV 2016).

    <root>/data_seq/UAV123/<folder>/000001.jpg ...
    <root>/anno/UAV123/<sequence>.txt       one "x,y,w,h" per frame; x and y count from 1; NaN while the target is hidden
    <root>/anno/UAV123/att/<sequence>.txt   12 flags

Several sequences lie in one folder, as ranges of its frames. Consecutive ranges share the frame between them. The ranges
are in splits/uav123.csv (pytracking's; the got10k toolkit's are the same). Attributes come from the att files, or from
pytracking's table if there is no file.
"""

from trackablate.datasets.benchmark import DataSet
from trackablate.datasets.reading.layouts import AttributeFile, FileLayout, official_clips
from trackablate.datasets.reading.reader import Part

ATTRIBUTES = ("IV", "SV", "POC", "FOC", "OV", "FM", "CM", "BC", "SOB", "ARC", "VC", "LR")
"""In the order of the data set's own files. pytracking's table has another order."""

LAYOUT = FileLayout(
    title="data_seq/UAV123/<folder>/000001.jpg, ... and anno/UAV123/<sequence>.txt",
    boxes="anno/UAV123/{name}.txt",
    frames=("data_seq/UAV123/{folder}",),
    attributes=AttributeFile("anno/UAV123/att/{name}.txt", ATTRIBUTES),
)
PART = Part(
    name="uav123",
    data="uav123",
    title="UAV123",
    clips=lambda: official_clips("uav123.csv", "folder"),
    layouts=(LAYOUT,),
    origin=1,
    absent="nan",
)
PROTOCOL = PART.protocol(
    title="UAV123",
    description="123 sequences from low-flying drones, 112,578 frames, one pass from the first frame",
    source="Mueller, Smith, Ghanem: A Benchmark and Simulator for UAV Tracking, ECCV 2016",
    attributes=ATTRIBUTES,
)
UAV123 = DataSet("uav123", "UAV123", {PART.name: PART}, (PROTOCOL,))
