"""The files of each benchmark's layout, made from synthetic videos.

Paths come from the declarations that the readers use; numbering, rounding and flags are those of the real benchmarks. A
layout is a generator of (path, content). `datasets.synthetic.writing` chooses the videos and writes the files. Sequences
get official names, so that the readers know them, and attributes if the layout has a file for them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.benchmarks import otb
from trackablate.datasets.benchmarks.nfs import RATE
from trackablate.datasets.boxes import Floats
from trackablate.datasets.reading.frames import jpeg
from trackablate.datasets.reading.layouts import Clip, FileLayout, fill
from trackablate.datasets.reading.tables import rows
from trackablate.datasets.sequence import Image, Sequence
from trackablate.datasets.synthetic.plan import MIN_VISIBLE, Plan
from trackablate.datasets.synthetic.render import paint_scene, render_frame
from trackablate.datasets.synthetic.videos import SyntheticFrames, make_sequence

Split = Literal["train", "val", "test"]
FileContent = tuple[str, bytes]
"""A file's path below the root, with "/", and its content."""

DOMAIN = "target"


@dataclass(frozen=True)
class PlacedVideo:
    """A synthetic video in the place of a benchmark's sequence.

    Attributes:
        clip: The sequence whose name and paths it gets.
        layout: The layout in which it is written.
        split: The split of the synthetic videos that it is taken from.
        size: (width, height) in pixels.
        secret: Whether the annotation file has the first box only, as on the test servers.
    """

    clip: Clip
    layout: FileLayout
    split: Split
    index: int
    length: int
    size: tuple[int, int]
    seed: int
    secret: bool = False

    @property
    def name(self) -> str:
        """The sequence's name in the layout."""
        return self.clip.name

    @property
    def boxes_file(self) -> str:
        """The annotation file."""
        return fill(self.layout.boxes, self.clip)

    @property
    def folder(self) -> str:
        """The folder of the annotation file."""
        return self.boxes_file.rpartition("/")[0]

    @property
    def images(self) -> str:
        """The folder of the frames."""
        return fill(self.layout.frames[0], self.clip)

    def sequence(self) -> Sequence:
        """Return the video, planned again at each call, with boxes and flags before the layout rounds them."""
        return make_sequence(DOMAIN, self.index, length=self.length, size=self.size, split=self.split, seed=self.seed)


def plan_of(sequence: Sequence) -> Plan:
    """Return the plan that a synthetic sequence is drawn from."""
    assert isinstance(sequence.frames, SyntheticFrames)
    return sequence.frames.plan


def lasot(video: PlacedVideo, origin: int = 1) -> Iterator[FileContent]:
    """Write whole pixels from `origin`; 0,0,0,0 while out of view; flags in one line each."""
    sequence, folder = video.sequence(), video.folder
    out = ~sequence.visible & (plan_of(sequence).inside < MIN_VISIBLE)
    boxes = np.where(out[:, None], 0, _whole(sequence.boxes, origin))
    yield video.boxes_file, _rows(boxes, "%d")
    yield f"{folder}/out_of_view.txt", _line(out)
    yield f"{folder}/full_occlusion.txt", _line(~sequence.visible & ~out)
    yield f"{folder}/nlp.txt", _sentence(video)
    yield from _frames(f"{video.images}/%08d.jpg", sequence, 1)


def lasot_lists(videos: list[PlacedVideo]) -> Iterator[FileContent]:
    """Write the lists beside the class folders, without a final line break, like the real ones."""
    for name, split in (("training_set.txt", "train"), ("testing_set.txt", "test")):
        yield name, "\n".join(v.name for v in videos if v.split == split).encode()


def lasot_ext(video: PlacedVideo) -> Iterator[FileContent]:
    """Write LaSOT's files without the sentence and with boxes that count from 0."""
    return (entry for entry in lasot(video, origin=0) if not entry[0].endswith("/nlp.txt"))


def trackingnet(video: PlacedVideo) -> Iterator[FileContent]:
    """Write two decimals, 0,0,0,0 while hidden, and no flags. Frames count from 0."""
    sequence = video.sequence()
    boxes = np.where(sequence.visible[:, None], sequence.boxes, 0.0)
    yield video.boxes_file, _rows(_published(boxes, video), "%.2f")
    yield from _frames(f"{video.images}/%d.jpg", sequence, 0)


def got10k(video: PlacedVideo) -> Iterator[FileContent]:
    """Write four decimals, and for training and validation the visible eighths of the target and its flags."""
    sequence, folder = video.sequence(), video.folder
    yield video.boxes_file, _rows(_published(sequence.boxes, video), "%.4f")
    yield f"{folder}/meta_info.ini", _meta_info(video)
    if not video.secret:
        plan = plan_of(sequence)
        eighths = np.where(sequence.visible, np.ceil(8 * plan.seen).clip(1, 8), 0)
        yield f"{folder}/cover.label", _rows(eighths[:, None], "%d")
        yield f"{folder}/absence.label", _rows((plan.inside < MIN_VISIBLE)[:, None], "%d")
        yield f"{folder}/cut_by_image.label", _rows((plan.inside < 1)[:, None], "%d")
    yield from _frames(f"{video.images}/%08d.jpg", sequence, 1)


def got10k_lists(videos: list[PlacedVideo]) -> Iterator[FileContent]:
    """Write the list of sequences of each folder."""
    for listing in dict.fromkeys(str(v.layout.listing) for v in videos):
        yield listing, "".join(f"{v.name}\n" for v in videos if v.layout.listing == listing).encode()


def _meta_info(video: PlacedVideo) -> bytes:
    words = ("object_class: figure", "motion_class: gliding", "major_class: object", "root_class: thing")
    header = ("[METAINFO]", "url: synthetic", "begin: 00:00:00", "end: 00:00:10", "anno_fps: 10Hz")
    width, height = video.size
    return "\n".join([*header, *words, "motion_adverb: slowly", f"resolution: ({width}, {height})", ""]).encode()


def tnl2k(video: PlacedVideo) -> Iterator[FileContent]:
    """Write whole pixels from 0; 0,0,0,0 while hidden. Frames of different videos have different names, as in TNL2K."""
    sequence = video.sequence()
    boxes = np.where(sequence.visible[:, None], _whole(sequence.boxes), 0)
    yield video.boxes_file, _rows(boxes, "%d")
    yield f"{video.folder}/language.txt", _sentence(video)
    pattern, first = (("%05d.jpg", 1), ("img_%06d.jpg", 137))[video.index % 2]
    yield from _frames(f"{video.images}/{pattern}", sequence, first)


def nfs(video: PlacedVideo) -> Iterator[FileContent]:
    """Write the processed layout: 30 fps, tabs, no flags."""
    sequence = video.sequence()
    yield video.boxes_file, _rows(_whole(sequence.boxes), "%d", "\t")
    yield from _frames(f"{video.images}/%05d.jpg", sequence, 1)


def nfs_original(video: PlacedVideo) -> Iterator[FileContent]:
    """Write the published layout: 30 and 240 fps, both with VATIC rows for 240 fps.

    The faster video repeats each frame of the slower one, with `generated` set in its rows.
    """
    sequence = video.sequence()
    corners = _whole(sequence.boxes)
    corners[:, 2:] += corners[:, :2]
    hidden = ~sequence.visible
    out = hidden & (plan_of(sequence).inside < MIN_VISIBLE)
    kept = np.repeat(np.arange(len(sequence)), RATE)[: RATE * (len(sequence) - 1) + 1]
    lines = (
        f'0 {" ".join(map(str, corners[k]))} {n} {out[k]:d} {hidden[k] & ~out[k]:d} {n % RATE != 1:d} "figure"\n'
        for n, k in enumerate(kept, start=1)
    )
    rows = "".join(lines).encode()
    images = [content for _, content in _frames("%d", sequence, 0)]
    for rate, indices in (("30", range(len(images))), ("240", kept.tolist())):
        yield f"{video.name}/{rate}/{video.name}.txt", rows
        yield from ((f"{video.name}/{rate}/{video.name}/{n:05d}.jpg", images[k]) for n, k in enumerate(indices, 1))


def uav(video: PlacedVideo) -> Iterator[FileContent]:
    """Write whole pixels from 1; NaN while hidden; frames numbered as in the folder that sequences may share."""
    sequence = video.sequence()
    boxes = np.where(sequence.visible[:, None], _whole(sequence.boxes, origin=1), np.nan)
    attributes, first = video.layout.attributes, video.clip.first
    assert attributes is not None
    assert first is not None
    flags = np.array([name in sequence.attributes for name in attributes.known])
    yield video.boxes_file, _rows(boxes, "%.0f").replace(b"nan", b"NaN")
    yield fill(attributes.path, video.clip), _line(flags)
    yield from _frames(f"{video.images}/%06d.jpg", sequence, first)


def otb100(video: PlacedVideo) -> Iterator[FileContent]:
    """Write whole pixels from 1 and OTB's names of attributes. OTB has no flags of absence."""
    images = next(row["images"] for row in rows("otb100.csv") if row["name"] == video.name).split()[0]
    sequence, first = video.sequence(), video.clip.first
    assert first is not None
    yield video.boxes_file, _rows(_whole(sequence.boxes, origin=1), "%d")
    yield f"{video.folder}/attrs.txt", ", ".join(otb_attributes(sequence)).encode()
    yield from _frames(f"{video.folder}/{images}", sequence, first)


def otb_attributes(sequence: Sequence) -> list[str]:
    """Return a synthetic sequence's attributes under OTB's names, in OTB's order.

    Any occlusion is OCC, rotation in the image plane is IPR, and out of it OPR.
    """
    words = {"POC": "OCC", "FOC": "OCC", "ROT": "IPR", "VC": "OPR"}
    found = {words.get(name, name) for name in sequence.attributes}
    return [name for name in otb.ATTRIBUTES if name in found]


def coco(video: PlacedVideo) -> Iterator[FileContent]:
    """Write one image."""
    yield f"{video.images}/{video.name}.jpg", jpeg(_drawn(video.sequence(), 0))


def coco_lists(videos: list[PlacedVideo]) -> Iterator[FileContent]:
    """Write one object for each image, and in each part one crowd, which readers must leave out."""
    for file in dict.fromkeys(v.boxes_file for v in videos):
        within = [v for v in videos if v.boxes_file == file]
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
        yield file, json.dumps(content).encode()


def _coco_object(number: int, video: PlacedVideo, box: list[float], iscrowd: int = 0) -> dict[str, object]:
    image, area = int(video.name), box[2] * box[3]
    return {"id": number, "image_id": image, "category_id": 1, "bbox": box, "area": area, "iscrowd": iscrowd}


def _whole(boxes: Floats, origin: int = 0) -> NDArray[np.int64]:
    return np.asarray(np.rint(boxes) + np.array([origin, origin, 0, 0]), dtype=np.int64)


def _published(boxes: Floats, video: PlacedVideo) -> Floats:
    return boxes[:1] if video.secret else boxes


def _rows(values: NDArray[np.generic], form: str, separator: str = ",") -> bytes:
    return "".join(separator.join(form % v for v in row) + "\n" for row in values.tolist()).encode()


def _line(flags: NDArray[np.bool_]) -> bytes:
    return ",".join("1" if flag else "0" for flag in flags).encode()


def _sentence(video: PlacedVideo) -> bytes:
    return f"figure number {video.index} among others that look like it\n".encode()


def _frames(pattern: str, sequence: Sequence, first: int) -> Iterator[FileContent]:
    return ((pattern % (first + i), jpeg(_drawn(sequence, i))) for i in range(len(sequence)))


def _drawn(sequence: Sequence, index: int) -> Image:
    """Return a frame drawn without `SyntheticFrames`, which would keep all frames of a long video."""
    return render_frame(paint_scene(plan_of(sequence)), index)
