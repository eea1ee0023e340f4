"""Synthetic videos written in the layouts of the real benchmarks, to test every reader and to try a run without the data.

Videos get the names of the benchmark's first sequences. If a benchmark fixes the number of frames of each sequence (NFS,
UAV123, OTB100, and COCO's single images), its shortest sequences are taken and written at their length.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from trackablate.datasets.benchmarks import got10k, lasot, nfs, otb, tnl2k, trackingnet, uav123
from trackablate.datasets.errors import DataError
from trackablate.datasets.progress import OnProgress
from trackablate.datasets.reading.layouts import Clip, FileLayout
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import rows
from trackablate.datasets.registry import Registry
from trackablate.datasets.synthetic import layout_files as files
from trackablate.datasets.synthetic.layout_files import FileContent, PlacedVideo, Split
from trackablate.datasets.synthetic.videos import make_sequence

DEFAULT_LENGTH = 50


@dataclass(frozen=True)
class WritableLayout:
    """A layout of files that synthetic videos can be written in.

    Attributes:
        parts: The parts whose sequences the videos replace, by split.
        lists: Makes the files that are written once, after all videos.
        layout: Index of the layout in each part's `layouts`.
        frames: Number of frames that a sequence must have; None if any number will do.
    """

    description: str
    parts: Mapping[Split, Part]
    files: Callable[[PlacedVideo], Iterator[FileContent]]
    lists: Callable[[list[PlacedVideo]], Iterator[FileContent]] = lambda _: iter(())
    layout: int = 0
    frames: Callable[[Clip], int] | None = None

    def clips(self, split: Split) -> list[Clip]:
        """Return the sequences that videos can replace, in the order in which they are taken."""
        clips = self.parts[split].clips()
        return _dealt(clips) if self.frames is None else _shortest(clips, self.frames)


def videos(
    layout: str,
    *,
    count: int,
    length: int | None = None,
    size: tuple[int, int] = (160, 120),
    seed: int = 0,
    test_boxes: bool = False,
) -> list[PlacedVideo]:
    """Choose the videos for `write`: `count` for each of the splits (test, val, train) of a layout, a key of LAYOUTS.

    `length` is the frames of each, by default DEFAULT_LENGTH; it must be None if the benchmark fixes them. `size` is (width,
    height) in pixels. `test_boxes` writes all boxes of the test videos, even if the benchmark publishes only the first.

    Raises:
        UnknownName: There is no such layout.
        DataError: The count, length or size is impossible.
    """
    made = LAYOUTS[layout]
    if length is not None and made.frames is not None:
        raise DataError(f"{layout} fixes the number of frames of its sequences: give no length")
    _check(layout, count, DEFAULT_LENGTH if length is None else length, size)
    chosen = []
    for split, part in made.parts.items():
        clips = made.clips(split)
        if count > len(clips):
            raise DataError(f"{layout} has {len(clips)} places for {split} videos, not {count}: make fewer")
        chosen += [
            PlacedVideo(
                clip=clip,
                layout=part.layouts[made.layout],
                split=split,
                index=index,
                length=made.frames(clip) if made.frames else length or DEFAULT_LENGTH,
                size=size,
                seed=seed,
                secret=part.server and not test_boxes,
            )
            for index, clip in enumerate(clips[:count])
        ]
    return chosen


def write(layout: str, chosen: list[PlacedVideo], out: Path, progress: OnProgress = lambda done, total: None) -> None:
    """Write chosen `videos` to a folder, which may exist if it is empty, or to a zip archive if the name ends in ".zip".

    Raises DataError if `out` exists or cannot be written. After an error, it does not exist.
    """
    made = LAYOUTS[layout]
    is_empty_folder = out.is_dir() and not any(out.iterdir())
    if out.exists() and (out.suffix == ".zip" or not is_empty_folder):
        raise DataError.at(out, "exists already", "name another place, or remove it")
    with _sink(out) as put:
        for done, video in enumerate(chosen, start=1):
            for name, content in made.files(video):
                put(name, content)
            progress(done, len(chosen))
        for name, content in made.lists(chosen):
            put(name, content)


def _check(layout: str, count: int, length: int, size: tuple[int, int]) -> None:
    if count < 1:
        raise DataError(f"{count} videos of {layout}: make at least 1")
    try:
        make_sequence(files.DOMAIN, 0, length=length, size=size)
    except ValueError as error:
        raise DataError(f"these videos cannot be made: {error}") from None


@contextmanager
def _sink(out: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Yield a function that writes files. They appear at `out` when all are written, or not at all."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))
    except OSError as error:
        raise DataError.at(out, f"cannot be made ({error.strerror})", "name another place") from None
    try:
        if out.suffix == ".zip":
            with zipfile.ZipFile(beside / out.name, "w") as archive:
                yield lambda name, content: _put_into(archive, name, content)
            (beside / out.name).rename(out)
        else:
            (beside / "root").mkdir()
            yield lambda name, content: _put_below(beside / "root", name, content)
            (beside / "root").rename(out)
    finally:
        shutil.rmtree(beside)


def _put_below(root: Path, name: str, content: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def _put_into(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # ZipInfo has a fixed date, so that equal videos give equal archives.
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o644 << 16
    packed = zipfile.ZIP_STORED if name.endswith(".jpg") else zipfile.ZIP_DEFLATED
    archive.writestr(info, content, packed)


def _dealt(clips: Iterable[Clip]) -> list[Clip]:
    """Return the clips in their order, or one from each chunk in turn, so that a few videos reach several chunks."""
    chunks: dict[str, list[Clip]] = {}
    for clip in clips:
        chunks.setdefault(clip.fields.get("chunk", ""), []).append(clip)
    return list(chain.from_iterable(zip(*chunks.values(), strict=True)))


def _shortest(clips: Iterable[Clip], frames: Callable[[Clip], int]) -> list[Clip]:
    """Return the clips from the shortest to the longest, one of each folder.

    Sequences that share a folder are pieces of one video, and separate synthetic videos cannot be that.
    """
    one_of_each: dict[str, Clip] = {}
    for clip in sorted(clips, key=lambda clip: (frames(clip), clip.name)):
        one_of_each.setdefault(clip.fields.get("folder", clip.name), clip)
    return list(one_of_each.values())


def _span(clip: Clip) -> int:
    assert clip.span is not None
    return clip.span


def _nfs_frames(clip: Clip) -> int:
    return next(int(row["frames"]) for row in rows("nfs.csv") if row["name"] == clip.name)


def _coco(part: str) -> Part:
    """One part of COCO, with gaps between the images' numbers, like the real ones."""
    return Part(
        name=part,
        data="coco",
        title=f"COCO's {part}",
        clips=lambda: tuple(Clip(f"{number:012d}", {"part": part}) for number in range(9, 10**5, 16)),
        layouts=(FileLayout("images/<part>", boxes="annotations/instances_{part}.json", frames=("images/{part}",)),),
    )


LAYOUTS: Registry[WritableLayout] = Registry("layout")

for _name, _layout in {
    "lasot": WritableLayout(
        "<class>/<sequence>/{groundtruth,full_occlusion,out_of_view,nlp}.txt, img/00000001.jpg; {test,train}ing_set.txt",
        {"test": lasot.TEST, "train": lasot.TRAIN},
        files.lasot,
        files.lasot_lists,
    ),
    "lasot_ext": WritableLayout(
        "<class>/<sequence>/{groundtruth,full_occlusion,out_of_view}.txt, img/00000001.jpg",
        {"test": lasot.EXTENSION},
        files.lasot_ext,
    ),
    "trackingnet": WritableLayout(
        "{TEST,TRAIN_0,...,TRAIN_11}/{anno/<sequence>.txt,frames/<sequence>/0.jpg}",
        {"test": trackingnet.TEST, "train": trackingnet.TRAIN},
        files.trackingnet,
    ),
    "got10k": WritableLayout(
        "{train,val,test}/{list.txt,<sequence>/{groundtruth.txt,meta_info.ini,*.label,00000001.jpg}}",
        {"test": got10k.TEST, "val": got10k.VAL, "train": got10k.TRAIN},
        files.got10k,
        files.got10k_lists,
    ),
    "tnl2k": WritableLayout(
        "TNL2K_{test,train}_subset/<sequence>/{groundtruth.txt,language.txt,imgs/*.jpg}",
        {"test": tnl2k.TEST, "train": tnl2k.TRAIN},
        files.tnl2k,
    ),
    "nfs": WritableLayout(
        "anno/nfs_<sequence>.txt, sequences/<sequence>/00001.jpg (30 fps)",
        {"test": nfs.PART},
        files.nfs,
        frames=_nfs_frames,
    ),
    "nfs-original": WritableLayout(
        "<sequence>/{30,240}/{<sequence>.txt,<sequence>/00001.jpg}", {"test": nfs.PART}, files.nfs_original, layout=1
    ),
    "uav123": WritableLayout(
        "anno/UAV123/{<sequence>.txt,att/<sequence>.txt}, data_seq/UAV123/<folder>/000001.jpg",
        {"test": uav123.PART},
        files.uav,
        frames=_span,
    ),
    "otb": WritableLayout(
        "<sequence>/{groundtruth_rect.txt,attrs.txt,img/0001.jpg}", {"test": otb.PART}, files.otb100, frames=_span
    ),
    "coco": WritableLayout(
        "annotations/instances_{train,val}2017.json, images/{train,val}2017/000000000009.jpg",
        {"train": _coco("train2017"), "val": _coco("val2017")},
        files.coco,
        files.coco_lists,
        frames=lambda _: 1,
    ),
}.items():
    LAYOUTS.add(_name, _layout)
