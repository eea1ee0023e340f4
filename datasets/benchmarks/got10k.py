"""GOT-10k (Huang, Zhao, Huang, PAMI 2019): 180 test, 180 validation and 9335 training videos.

    <root>/val/list.txt                            the sequences, one in each line
    <root>/val/<sequence>/00000001.jpg ...
    <root>/val/<sequence>/groundtruth.txt          one "x,y,w,h" per frame, from 0; test videos: the first
    <root>/val/<sequence>/absence.label, cover.label, cut_by_image.label      not for test videos
    <root>/val/<sequence>/meta_info.ini            has a line "resolution: (1920, 1080)"

A target is visible where absence is 0 and cover is above 0. Cover counts visible eighths of the target, 0..8.
"""

import re
from typing import Any

from trackablate.datasets.benchmark import DataSet
from trackablate.datasets.reading.layouts import Clip, FileLayout, FlagFile
from trackablate.datasets.reading.reader import Part

_RESOLUTION = re.compile(
    rb"^resolution\s*[:=]\s*\(?\s*(\d{1,6})\s*[,x]\s*(\d{1,6})\s*\)?\s*$", re.MULTILINE | re.IGNORECASE
)


def resolution(content: bytes) -> tuple[int, int] | None:
    """Return (width, height) from meta_info.ini, None without a positive size."""
    found = _RESOLUTION.search(content.replace(b"\r", b"\n"))
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    return size if min(size) > 0 else None


def _part(split: str, count: int, *, name: str, title: str, server: bool = False, training: bool = False) -> Part:
    folder = f"{split}/{{name}}"
    labels = (
        FlagFile(f"{folder}/absence.label", frozenset({1})),
        FlagFile(f"{folder}/cover.label", frozenset({0}), largest=8),
        FlagFile(f"{folder}/cut_by_image.label", frozenset(), optional=True),
    )
    layout = FileLayout(
        title=f"{split}/<sequence>/00000001.jpg, ... and {split}/<sequence>/groundtruth.txt",
        boxes=f"{folder}/groundtruth.txt",
        frames=(folder,),
        flags=() if server else (labels,),
        first=1,
        meta=f"{folder}/meta_info.ini",
        size=resolution,
        listing=f"{split}/list.txt",
    )
    return Part(
        name=name,
        data="got10k",
        title=title,
        clips=lambda: tuple(Clip(f"GOT-10k_{split.title()}_{number:06d}") for number in range(1, count + 1)),
        layouts=(layout,),
        server=server,
        training=training,
    )


TEST = _part("test", 180, name="got10k", title="GOT-10k's test set", server=True)
VAL = _part("val", 180, name="got10k-val", title="GOT-10k's validation set")
TRAIN = _part("train", 9335, name="got10k-train", title="GOT-10k's training set", training=True)

_SCORED: dict[str, Any] = {
    "source": "Huang, Zhao, Huang: GOT-10k, PAMI 2019; metrics as in the got10k toolkit",
    "metrics": (("ao", "got10k"), ("sr50", "got10k"), ("sr75", "got10k")),
    "one_shot": True,
}
PROTOCOLS = (
    TEST.protocol(
        title="GOT-10k",
        description="180 test videos of classes that training has not seen; boxes but the first are on the evaluation"
        " server: `submit` makes its archive",
        **_SCORED,
    ),
    VAL.protocol(
        title="GOT-10k val", description="180 validation videos, scored here as the server scores the test", **_SCORED
    ),
)
GOT10K = DataSet("got10k", "GOT-10k", {part.name: part for part in (TEST, VAL, TRAIN)}, PROTOCOLS)
