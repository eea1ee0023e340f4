"""TNL2K (Wang et al.: Towards More Flexible and Accurate Object Tracking with Natural Language, CVPR 2021).

    <root>/<sequence>/imgs/*.jpg or *.png     names are not uniform and do not all start at 1
    <root>/<sequence>/groundtruth.txt         one "x,y,w,h" per frame, 0,0,0,0 while the target is absent
    <root>/<sequence>/language.txt            one sentence, which no tracker here reads

The 700 test and the 1300 training sequences are published separately, as TNL2K_test_subset and TNL2K_train_subset, and
are two data sets here. The root is that folder, or the one above it. Scoring needs only the evaluation toolkit's
annotation, as published (gt_rect and absent, in folders or in annos/annos.tar.gz) or with a folder for each sequence. Only
the official lists decide which sequences belong to the benchmark: many copies have other folders beside them.
"""

from trackablate.datasets.benchmark import DataSet
from trackablate.datasets.reading.frame_names import Order
from trackablate.datasets.reading.layouts import Clip, FileLayout, FlagFile, official_clips
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import names

ATTRIBUTES = (
    *("CM", "ROT", "DEF", "FOC", "IV", "OV", "POC", "VC", "SV"),
    *("BC", "MB", "ARC", "LR", "FM", "AS", "TC", "MS"),
)
ALSO_IN_TEST = frozenset({"monitor_manypeople"})
"""Sequences in both TNL2K's training list and its test list, left out of training here."""


def _train_clips() -> tuple[Clip, ...]:
    # Named like their folders: the toolkit's list omits the blanks in 18 names ("monitor_take away"), LoRAT's has them.
    return tuple(Clip(name) for name in names("tnl2k_train.txt") if name not in ALSO_IN_TEST)


def _published(subset: str, order: Order = "name") -> tuple[FileLayout, ...]:
    """Return the layouts with images, with or without the subset's folder."""
    return tuple(
        FileLayout(
            title=f"{within}<sequence>/imgs and {within}<sequence>/groundtruth.txt",
            boxes=f"{within}{{name}}/groundtruth.txt",
            frames=(f"{within}{{name}}/imgs",),
            flags=((FlagFile(f"{within}{{name}}/absent.txt", frozenset({1}), optional=True),),),
            order=order,
        )
        for within in (f"TNL2K_{subset}_subset/", "")
    )


_TOOLKIT = FileLayout(
    title="gt_rect/<sequence>.txt and absent/<sequence>.txt",
    boxes="gt_rect/{name}.txt",
    flags=((FlagFile("absent/{name}.txt", frozenset({1})),),),
)

TEST = Part(
    name="tnl2k",
    data="tnl2k",
    title="TNL2K's test set",
    clips=lambda: official_clips("tnl2k_test.csv"),
    layouts=(*_published("test"), _TOOLKIT),
    own_layouts=(*_published("test", "clear"), _TOOLKIT),
    absent="zero",
    siblings=lambda: names("tnl2k_train.txt"),
    tars=("annos.tar.gz", "annos/annos.tar.gz"),
)
TRAIN = Part(
    name="tnl2k-train",
    data="tnl2k-train",
    title="TNL2K's training set",
    clips=_train_clips,
    layouts=_published("train"),
    own_layouts=_published("train", "clear"),
    absent="zero",
    siblings=lambda: tuple(clip.name for clip in TEST.clips()),
    training=True,
)

PROTOCOL = TEST.protocol(
    title="TNL2K",
    description="700 sequences, 516,038 frames, one of eight without the target; one pass from the first frame",
    source="Wang et al.: Towards More Flexible and Accurate Object Tracking with Natural Language, CVPR 2021",
    attributes=ATTRIBUTES,
)
TNL2K = DataSet("tnl2k", "TNL2K", {TEST.name: TEST}, (PROTOCOL,))
TNL2K_TRAIN = DataSet("tnl2k-train", "TNL2K, training", {TRAIN.name: TRAIN})
