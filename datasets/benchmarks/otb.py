"""OTB100 (Wu, Lim, Yang: Object Tracking Benchmark, PAMI 2015): 100 targets in 98 folders, read as they are published.

    <root>/<Name>/img/0001.jpg ...
    <root>/<Name>/groundtruth_rect.txt     one "x,y,w,h" per frame; commas, tabs or spaces; x and y count from 1
    <root>/<Name>/attrs.txt                optional: "SV, DEF, FM"

What differs from that (frame ranges, two targets in one folder) is written in splits/otb100.csv, with the toolkits that
agree on it; its lists of frames and attributes are pytracking's. Nothing here knows a sequence by name. Videos of one's
own in the same layout are read beside those of OTB100. OTB has no flags of absence: every frame counts as visible.
"""

from dataclasses import dataclass
from functools import cache

from trackablate.datasets.benchmark import DataSet, Protocol
from trackablate.datasets.reading.layouts import AttributeFile, Clip, Places
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import rows

ATTRIBUTES = ("IV", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OPR", "OV", "BC", "LR")


@dataclass(frozen=True)
class Rule:
    """One row of splits/otb100.csv. images: patterns of frame files in the folder, the first whose folder is there
    counts. Frames are numbered first..last, both included, each with one line of annotation; of these the first
    `skip` are not evaluated.
    """

    name: str
    folder: str
    images: tuple[str, ...]
    first: int
    last: int
    skip: int
    annotation: str
    attributes: frozenset[str]


@cache
def rules() -> tuple[Rule, ...]:
    """OTB100's sequences, in its order."""
    return tuple(
        Rule(
            name=row["name"],
            folder=row["folder"],
            images=tuple(row["images"].split()),
            first=int(row["first"]),
            last=int(row["last"]),
            skip=int(row["skip"]),
            annotation=row["annotation"],
            attributes=frozenset(row["attributes"].split()),
        )
        for row in rows("otb100.csv")
    )


def _clips() -> tuple[Clip, ...]:
    return tuple(
        Clip(
            name=rule.name,
            fields={"folder": rule.folder, "annotation": rule.annotation},
            attributes=rule.attributes,
            first=rule.first,
            last=rule.last,
            skip=rule.skip,
        )
        for rule in rules()
    )


PLACES = Places(
    title="<Name>/img/0001.jpg, ... and <Name>/groundtruth_rect.txt",
    boxes="{folder}/{annotation}",
    frames=("{folder}/img", "{folder}/jpg"),
    attributes=AttributeFile("{folder}/attrs.txt", ATTRIBUTES, as_flags=False),
)
OWN = Places(
    title=PLACES.title,
    boxes="{name}/groundtruth_rect.txt",
    frames=("{name}/img",),
    attributes=AttributeFile("{name}/attrs.txt", ATTRIBUTES, as_flags=False),
)
PART = Part(
    name="otb",
    data="otb",
    title="OTB100",
    clips=_clips,
    places=(PLACES,),
    own="beside",
    own_places=(OWN,),
    origin=1,
    siblings=lambda: {rule.folder for rule in rules()},
)

OTB = DataSet(
    name="otb",
    title="OTB100",
    parts={PART.name: PART},
    protocols=(
        Protocol(
            name="otb",
            title="OTB100",
            description="100 short real videos, one pass from the first frame; those present are scored, their number said",
            source="Wu, Lim, Yang: Object Tracking Benchmark, PAMI 2015; frame ranges as in pytracking",
            data="otb",
            metrics=(("auc", "ostrack"), ("precision", "ostrack"), ("norm_precision", "ostrack"), ("ao", "got10k")),
            attributes=ATTRIBUTES,
            open=PART,
            origin=1,
        ),
    ),
)
