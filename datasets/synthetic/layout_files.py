"""The files of each benchmark's layout, made from synthetic videos: names, numbering, rounding and flags as the real ones.

A layout is a generator of (path, content); `datasets.synthetic.writing` chooses the videos and writes the files.
Sequences get
official names, so that the readers know them, and attributes where the layout has a file for them.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.benchmarks import otb, uav123
from trackablate.datasets.reading.tables import rows
from trackablate.datasets.sequence import Image, Sequence
from trackablate.datasets.synthetic.plan import MIN_VISIBLE, Plan
from trackablate.datasets.synthetic.render import paint_scene, render_frame
from trackablate.datasets.synthetic.videos import SyntheticFrames, make_sequence

Split = Literal["train", "val", "test"]
FileContent = tuple[str, bytes]
"""A file's path below the root, with "/", and its content."""
Floats = NDArray[np.float64]

DOMAIN = "target"
QUALITY = 95
NFS_RATE = 8
"""Frames of NFS's 240-fps videos for each one of 30 fps."""


@dataclass(frozen=True)
class SequenceSlot:
    """The place of one video in a layout: an official name. split: of the synthetic videos that it is taken from. part:
    where in the layout ("train", "TRAIN_0"). folder: of its frames, where it is not called like the sequence. first: the
    number of the first frame there. frames: how many it must have, None where that is free.
    """

    name: str
    split: Split
    part: str = ""
    folder: str = ""
    first: int = 1
    frames: int | None = None


@dataclass(frozen=True)
class Video:
    """Synthetic video number `index` of its split, in its place. size: (width, height) in pixels. secret: the
    annotation files give its first box only, as those of the test servers do.
    """

    slot: SequenceSlot
    index: int
    length: int
    size: tuple[int, int]
    seed: int
    secret: bool = False

    @property
    def name(self) -> str:
        """The sequence's name in the layout."""
        return self.slot.name

    def sequence(self) -> Sequence:
        """The video, planned anew at each call: boxes and flags as they are before the layout rounds them."""
        return make_sequence(
            DOMAIN, self.index, length=self.length, size=self.size, split=self.slot.split, seed=self.seed
        )


def plan_of(sequence: Sequence) -> Plan:
    """What a synthetic sequence was drawn from."""
    assert isinstance(sequence.frames, SyntheticFrames)
    return sequence.frames.plan


def lasot(video: Video, origin: int = 1) -> Iterator[FileContent]:
    """Whole pixels; 0,0,0,0 while out of view; flags in one line each. origin: the number of the first pixel."""
    sequence = video.sequence()
    folder = f"{video.name.rsplit('-', 1)[0]}/{video.name}"
    out = ~sequence.visible & (plan_of(sequence).inside < MIN_VISIBLE)
    boxes = np.where(out[:, None], 0, _whole(sequence.boxes, origin))
    yield f"{folder}/groundtruth.txt", _rows(boxes, "%d")
    yield f"{folder}/out_of_view.txt", _line(out)
    yield f"{folder}/full_occlusion.txt", _line(~sequence.visible & ~out)
    yield f"{folder}/nlp.txt", _sentence(video)
    yield from _frames(f"{folder}/img/%08d.jpg", sequence, 1)


def lasot_lists(videos: list[Video]) -> Iterator[FileContent]:
    """The lists that lie beside the class folders; the real ones end without a line break too."""
    for name, split in (("training_set.txt", "train"), ("testing_set.txt", "test")):
        yield name, "\n".join(v.name for v in videos if v.slot.split == split).encode()


def lasot_ext(video: Video) -> Iterator[FileContent]:
    """LaSOT's files, without a sentence; its boxes are taken to be 0-based."""
    return (entry for entry in lasot(video, origin=0) if not entry[0].endswith("/nlp.txt"))


def trackingnet(video: Video) -> Iterator[FileContent]:
    """Two decimals; no flags, but 0,0,0,0 while hidden; frames count from 0."""
    sequence, part = video.sequence(), video.slot.part
    boxes = np.where(sequence.visible[:, None], sequence.boxes, 0.0)
    yield f"{part}/anno/{video.name}.txt", _rows(_published(boxes, video), "%.2f")
    yield from _frames(f"{part}/frames/{video.name}/%d.jpg", sequence, 0)


def got10k(video: Video) -> Iterator[FileContent]:
    """Four decimals; what share of the target is visible in eighths; the flags of training and validation only."""
    sequence, folder = video.sequence(), f"{video.slot.part}/{video.name}"
    yield f"{folder}/groundtruth.txt", _rows(_published(sequence.boxes, video), "%.4f")
    yield f"{folder}/meta_info.ini", _meta_info(video)
    if not video.secret:
        plan = plan_of(sequence)
        eighths = np.where(sequence.visible, np.ceil(8 * plan.seen).clip(1, 8), 0)
        yield f"{folder}/cover.label", _rows(eighths[:, None], "%d")
        yield f"{folder}/absence.label", _rows((plan.inside < MIN_VISIBLE)[:, None], "%d")
        yield f"{folder}/cut_by_image.label", _rows((plan.inside < 1)[:, None], "%d")
    yield from _frames(f"{folder}/%08d.jpg", sequence, 1)


def got10k_lists(videos: list[Video]) -> Iterator[FileContent]:
    """One list for each folder."""
    for part in dict.fromkeys(v.slot.part for v in videos):
        yield f"{part}/list.txt", "".join(f"{v.name}\n" for v in videos if v.slot.part == part).encode()


def _meta_info(video: Video) -> bytes:
    words = ("object_class: figure", "motion_class: gliding", "major_class: object", "root_class: thing")
    header = ("[METAINFO]", "url: synthetic", "begin: 00:00:00", "end: 00:00:10", "anno_fps: 10Hz")
    width, height = video.size
    return "\n".join([*header, *words, "motion_adverb: slowly", f"resolution: ({width}, {height})", ""]).encode()


def tnl2k(video: Video) -> Iterator[FileContent]:
    """Whole pixels from 0; 0,0,0,0 while hidden. The names of frames differ from video to video, as they do there."""
    sequence, folder = video.sequence(), f"{video.slot.part}/{video.name}"
    boxes = np.where(sequence.visible[:, None], _whole(sequence.boxes), 0)
    yield f"{folder}/groundtruth.txt", _rows(boxes, "%d")
    yield f"{folder}/language.txt", _sentence(video)
    pattern, first = (("%05d.jpg", 1), ("img_%06d.jpg", 137))[video.index % 2]
    yield from _frames(f"{folder}/imgs/{pattern}", sequence, first)


def nfs(video: Video) -> Iterator[FileContent]:
    """The processed layout: 30 fps, tabs, no flags."""
    sequence = video.sequence()
    yield f"anno/nfs_{video.name}.txt", _rows(_whole(sequence.boxes), "%d", "\t")
    yield from _frames(f"sequences/{video.name}/%05d.jpg", sequence, 1)


def nfs_original(video: Video) -> Iterator[FileContent]:
    """As published: 30 and 240 fps, both with VATIC rows for 240 fps. Here the faster video holds each frame of the
    slower one until the next, and says so by `generated`.
    """
    sequence = video.sequence()
    corners = _whole(sequence.boxes)
    corners[:, 2:] += corners[:, :2]
    hidden = ~sequence.visible
    out = hidden & (plan_of(sequence).inside < MIN_VISIBLE)
    kept = np.repeat(np.arange(len(sequence)), NFS_RATE)[: NFS_RATE * (len(sequence) - 1) + 1]
    lines = (
        f'0 {" ".join(map(str, corners[k]))} {n} {out[k]:d} {hidden[k] & ~out[k]:d} {n % NFS_RATE != 1:d} "figure"\n'
        for n, k in enumerate(kept, start=1)
    )
    rows = "".join(lines).encode()
    images = [content for _, content in _frames("%d", sequence, 0)]
    for rate, indices in (("30", range(len(images))), ("240", kept.tolist())):
        yield f"{video.name}/{rate}/{video.name}.txt", rows
        yield from ((f"{video.name}/{rate}/{video.name}/{n:05d}.jpg", images[k]) for n, k in enumerate(indices, 1))


def uav(video: Video) -> Iterator[FileContent]:
    """Whole pixels from 1; NaN while hidden; frames numbered as in the folder that sequences may share."""
    sequence = video.sequence()
    boxes = np.where(sequence.visible[:, None], _whole(sequence.boxes, origin=1), np.nan)
    yield f"anno/UAV123/{video.name}.txt", _rows(boxes, "%.0f").replace(b"nan", b"NaN")
    yield f"anno/UAV123/att/{video.name}.txt", _line(_flags(sequence, uav123.ATTRIBUTES))
    yield from _frames(f"data_seq/UAV123/{video.slot.folder}/%06d.jpg", sequence, video.slot.first)


def otb100(video: Video) -> Iterator[FileContent]:
    """Whole pixels from 1; OTB has no flags of absence. Attributes under OTB's names for them."""
    row = next(row for row in rows("otb100.csv") if row["name"] == video.name)
    sequence, folder = video.sequence(), video.slot.folder
    yield f"{folder}/{row['annotation']}", _rows(_whole(sequence.boxes, origin=1), "%d")
    yield f"{folder}/attrs.txt", ", ".join(otb_attributes(sequence)).encode()
    yield from _frames(f"{folder}/{row['images'].split()[0]}", sequence, video.slot.first)


def otb_attributes(sequence: Sequence) -> list[str]:
    """LaSOT's attributes in OTB's words, in its order: any occlusion is OCC, rotation in the plane IPR, out of it OPR."""
    words = {"POC": "OCC", "FOC": "OCC", "ROT": "IPR", "VC": "OPR"}
    found = {words.get(name, name) for name in sequence.attributes}
    return [name for name in otb.ATTRIBUTES if name in found]


def coco(video: Video) -> Iterator[FileContent]:
    """One image."""
    yield f"images/{video.slot.part}/{video.name}.jpg", _jpeg(_drawn(video.sequence(), 0))


def coco_lists(videos: list[Video]) -> Iterator[FileContent]:
    """One object for each image, and in each part one crowd, which is none."""
    for part in dict.fromkeys(v.slot.part for v in videos):
        within = [v for v in videos if v.slot.part == part]
        crowd = _coco_object(len(within) + 1, within[0], [0.0, 0.0, *map(float, within[0].size)], iscrowd=1)
        boxes = (v.sequence().boxes[0].round(2).tolist() for v in within)
        objects = [_coco_object(n, v, box) for n, (v, box) in enumerate(zip(within, boxes, strict=True), start=1)]
        content = {
            "images": [
                {"id": int(v.name), "file_name": f"{v.name}.jpg", "width": v.size[0], "height": v.size[1]}
                for v in within
            ],
            "annotations": [*objects, crowd],
            "categories": [{"id": 1, "name": "figure", "supercategory": "thing"}],
        }
        yield f"annotations/instances_{part}.json", json.dumps(content).encode()


def _coco_object(number: int, video: Video, box: list[float], iscrowd: int = 0) -> dict[str, object]:
    image, area = int(video.name), box[2] * box[3]
    return {"id": number, "image_id": image, "category_id": 1, "bbox": box, "area": area, "iscrowd": iscrowd}


def _whole(boxes: Floats, origin: int = 0) -> NDArray[np.int64]:
    return np.asarray(np.rint(boxes) + np.array([origin, origin, 0, 0]), dtype=np.int64)


def _published(boxes: Floats, video: Video) -> Floats:
    return boxes[:1] if video.secret else boxes


def _flags(sequence: Sequence, names: Iterable[str]) -> NDArray[np.bool_]:
    return np.array([name in sequence.attributes for name in names])


def _rows(values: NDArray[np.generic], form: str, separator: str = ",") -> bytes:
    return "".join(separator.join(form % v for v in row) + "\n" for row in values.tolist()).encode()


def _line(flags: NDArray[np.bool_]) -> bytes:
    return ",".join("1" if flag else "0" for flag in flags).encode()


def _sentence(video: Video) -> bytes:
    return f"figure number {video.index} among others that look like it\n".encode()


def _frames(pattern: str, sequence: Sequence, first: int) -> Iterator[FileContent]:
    return ((pattern % (first + i), _jpeg(_drawn(sequence, i))) for i in range(len(sequence)))


def _drawn(sequence: Sequence, index: int) -> Image:
    """A frame that is not kept: `SyntheticFrames` would hold all of a long video."""
    return render_frame(paint_scene(plan_of(sequence)), index)


def _jpeg(image: Image) -> bytes:
    flags = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)[1])
