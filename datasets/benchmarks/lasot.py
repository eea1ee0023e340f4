"""LaSOT (Fan et al., CVPR 2019; 280 test and 1120 training videos) and LaSOT_ext (Fan et al., IJCV 2021; 150 videos).

    <root>/<class>/<class>-<k>/img/00000001.jpg ...
    <root>/<class>/<class>-<k>/groundtruth.txt        one "x,y,w,h" per frame
    <root>/<class>/<class>-<k>/full_occlusion.txt     0 or 1 for each frame, in one line; so does out_of_view.txt

The folders of classes may be missing. Annotation without images may have one file absent.txt (1: absent) instead of the
two flag files, or the layout of the toolkit: annos/<class>-<k>.txt, annos/absent/..., annos/att/.... LaSOT's boxes count
from 1; LaSOT_ext's count from 0, as LoRAT reads them.
"""

from trackablate.datasets.benchmark import DataSet
from trackablate.datasets.reading.layouts import AttributeFile, Clip, FileLayout, FlagFile
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import attribute_table

ATTRIBUTES = ("IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC")
"""In the order of the toolkit's columns."""

_ABSENT = frozenset({1})


def _in_folders(folder: str, title: str) -> FileLayout:
    return FileLayout(
        title=title,
        boxes=f"{folder}/groundtruth.txt",
        frames=(f"{folder}/img",),
        flags=(
            (FlagFile(f"{folder}/full_occlusion.txt", _ABSENT), FlagFile(f"{folder}/out_of_view.txt", _ABSENT)),
            (FlagFile(f"{folder}/absent.txt", _ABSENT),),
        ),
        attributes=AttributeFile(f"{folder}/attributes.txt", ATTRIBUTES),
        first=1,
    )


LAYOUTS = (
    _in_folders("{group}/{name}", "<class>/<sequence>/img and <class>/<sequence>/groundtruth.txt"),
    _in_folders("{name}", "<sequence>/groundtruth.txt"),
    FileLayout(
        title="annos/<sequence>.txt",
        boxes="annos/{name}.txt",
        flags=((FlagFile("annos/absent/{name}.txt", _ABSENT),),),
        attributes=AttributeFile("annos/att/{name}.txt", ATTRIBUTES),
    ),
)

LISTS = ("lasot_test.csv", "lasot_train.csv", "lasot_ext.csv")


def _part(name: str, data: str, title: str, file: str, *, origin: int = 0, training: bool = False) -> Part:
    """Return the part of one of the LISTS. A sequence's class is its name up to the last "-"."""
    return Part(
        name=name,
        data=data,
        title=title,
        clips=lambda: tuple(Clip(n, {"group": n.rpartition("-")[0]}, has) for n, has in attribute_table(file).items()),
        layouts=LAYOUTS,
        origin=origin,
        siblings=lambda: [n for other in LISTS if other != file for n in attribute_table(other)],
        training=training,
    )


TEST = _part("lasot", "lasot", "LaSOT's test set", LISTS[0], origin=1)
TRAIN = _part("lasot-train", "lasot", "LaSOT's training set", LISTS[1], origin=1, training=True)
EXTENSION = _part("lasot_ext", "lasot_ext", "LaSOT_ext", LISTS[2])
PROTOCOL = TEST.protocol(
    title="LaSOT",
    description="280 long videos of 70 classes, protocol II: one pass from the first frame",
    source="Fan et al.: LaSOT, CVPR 2019; list, flags and attributes as in its evaluation toolkit",
    attributes=ATTRIBUTES,
)
EXTENSION_PROTOCOL = EXTENSION.protocol(
    title="LaSOT_ext",
    description="150 long videos of 15 classes that LaSOT's training set does not have",
    source="Fan et al.: LaSOT: A High-quality Large-scale Single Object Tracking Benchmark, IJCV 2021",
    attributes=ATTRIBUTES,
)
LASOT = DataSet("lasot", "LaSOT", {TEST.name: TEST, TRAIN.name: TRAIN}, (PROTOCOL,))
LASOT_EXT = DataSet("lasot_ext", "LaSOT_ext", {EXTENSION.name: EXTENSION}, (EXTENSION_PROTOCOL,))
