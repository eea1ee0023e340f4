"""LaSOT (Fan et al., CVPR 2019; 280 test and 1120 training videos) and LaSOT_ext (Fan et al., IJCV 2021; 150 videos).

    <root>/<class>/<class>-<k>/img/00000001.jpg ...
    <root>/<class>/<class>-<k>/groundtruth.txt        one "x,y,w,h" per frame
    <root>/<class>/<class>-<k>/full_occlusion.txt     0 or 1 for each frame, in one line; so does out_of_view.txt

also without the folders of classes. Annotation without images: the same with one file absent.txt (1: absent) for the two
flag files, and the toolkit's own annos/<class>-<k>.txt, annos/absent/..., annos/att/.... LaSOT's boxes count from 1;
LaSOT_ext's are read as LoRAT does, from 0.
"""

from trackablate.datasets.benchmark import DataSet, Protocol
from trackablate.datasets.reading.layouts import AttributeFile, Clip, Flag, Places
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import attribute_table

ATTRIBUTES = ("IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC")
"""In the order of the toolkit's columns."""

_ABSENT = frozenset({1})
_METRICS = (("auc", "ostrack"), ("precision", "ostrack"), ("norm_precision", "ostrack"))


def _in_folders(folder: str, title: str) -> Places:
    return Places(
        title=title,
        boxes=f"{folder}/groundtruth.txt",
        frames=(f"{folder}/img",),
        flags=(
            (Flag(f"{folder}/full_occlusion.txt", _ABSENT), Flag(f"{folder}/out_of_view.txt", _ABSENT)),
            (Flag(f"{folder}/absent.txt", _ABSENT),),
        ),
        attributes=AttributeFile(f"{folder}/attributes.txt", ATTRIBUTES),
        first=1,
    )


PLACES = (
    _in_folders("{group}/{name}", "<class>/<sequence>/img and <class>/<sequence>/groundtruth.txt"),
    _in_folders("{name}", "<sequence>/groundtruth.txt"),
    Places(
        title="annos/<sequence>.txt",
        boxes="annos/{name}.txt",
        flags=((Flag("annos/absent/{name}.txt", _ABSENT),),),
        attributes=AttributeFile("annos/att/{name}.txt", ATTRIBUTES),
    ),
)


def clips(file: str) -> tuple[Clip, ...]:
    """The sequences of a table of names and attributes. Their class is the name up to the last "-"."""
    found = attribute_table(file)
    return tuple(Clip(name, {"group": name.rpartition("-")[0]}, attributes) for name, attributes in found.items())


TEST = Part(
    name="lasot",
    data="lasot",
    title="LaSOT's test set",
    clips=lambda: clips("lasot_test.csv"),
    places=PLACES,
    origin=1,
    siblings=lambda: (*attribute_table("lasot_train.csv"), *attribute_table("lasot_ext.csv")),
)
TRAIN = Part(
    name="lasot-train",
    data="lasot",
    title="LaSOT's training set",
    clips=lambda: clips("lasot_train.csv"),
    places=PLACES,
    origin=1,
    siblings=lambda: (*attribute_table("lasot_test.csv"), *attribute_table("lasot_ext.csv")),
    training=True,
)
EXTENSION = Part(
    name="lasot_ext",
    data="lasot_ext",
    title="LaSOT_ext",
    clips=lambda: clips("lasot_ext.csv"),
    places=PLACES,
    siblings=lambda: (*attribute_table("lasot_test.csv"), *attribute_table("lasot_train.csv")),
)

LASOT = DataSet(
    name="lasot",
    title="LaSOT",
    parts={TEST.name: TEST, TRAIN.name: TRAIN},
    protocols=(
        Protocol(
            name="lasot",
            title="LaSOT",
            description="280 long videos of 70 classes, protocol II: one pass from the first frame",
            source="Fan et al.: LaSOT, CVPR 2019; list, flags and attributes as in its evaluation toolkit",
            data="lasot",
            metrics=_METRICS,
            attributes=ATTRIBUTES,
            open=TEST,
            origin=1,
        ),
    ),
)
LASOT_EXT = DataSet(
    name="lasot_ext",
    title="LaSOT_ext",
    parts={EXTENSION.name: EXTENSION},
    protocols=(
        Protocol(
            name="lasot_ext",
            title="LaSOT_ext",
            description="150 long videos of 15 classes that LaSOT's training set does not have",
            source="Fan et al.: LaSOT: A High-quality Large-scale Single Object Tracking Benchmark, IJCV 2021",
            data="lasot_ext",
            metrics=_METRICS,
            attributes=ATTRIBUTES,
            open=EXTENSION,
        ),
    ),
)
