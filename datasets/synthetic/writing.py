"""Synthetic videos written in the layouts of the real benchmarks: to test every reader on files, and to try a run
without having the data.

Videos get the names of the benchmark's first sequences. Where a benchmark fixes the number of frames of each sequence
(NFS, UAV123, OTB100, and COCO's single images), its shortest ones are taken and written at that length.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from trackablate.datasets.benchmark import OnProgress
from trackablate.datasets.benchmarks import tnl2k
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.tables import names, rows
from trackablate.datasets.registry import Registry
from trackablate.datasets.synthetic import layout_files as files
from trackablate.datasets.synthetic.layout_files import FileContent, SequenceSlot, Split, Video
from trackablate.datasets.synthetic.videos import make_sequence

DEFAULT_LENGTH = 50


@dataclass(frozen=True)
class WritableLayout:
    """slots: where videos can go, those that are taken first first. files: one video's. lists: what is written once,
    after all videos. secret: whether the test videos' annotation is published for their first frame only.
    """

    description: str
    slots: Callable[[], Iterable[SequenceSlot]]
    files: Callable[[Video], Iterator[FileContent]]
    lists: Callable[[list[Video]], Iterator[FileContent]] = lambda _: iter(())
    secret: bool = False


def videos(
    layout: str,
    *,
    count: int,
    length: int | None = None,
    size: tuple[int, int] = (160, 120),
    seed: int = 0,
    test_boxes: bool = False,
) -> list[Video]:
    """The videos that `write` is to write: `count` for each of the layout's splits (test, val, train).

    length: frames of each, DEFAULT_LENGTH by default; None where the benchmark fixes them. size: (width, height).
    test_boxes: write all boxes of the test videos also where the benchmark publishes only the first. Errors:
    UnknownName for the layout; DataError for a count, length or size that cannot be.
    """
    made = LAYOUTS[layout]
    slots = list(made.slots())
    if length is not None and any(slot.frames for slot in slots):
        raise DataError(f"{layout} fixes the number of frames of its sequences: give no length")
    _check(layout, count, DEFAULT_LENGTH if length is None else length, size)
    chosen = []
    for split in dict.fromkeys(slot.split for slot in slots):
        of_split = [slot for slot in slots if slot.split == split]
        if count > len(of_split):
            raise DataError(f"{layout} has {len(of_split)} places for {split} videos, not {count}: make fewer")
        chosen += [
            Video(
                slot=slot,
                index=index,
                length=slot.frames or length or DEFAULT_LENGTH,
                size=size,
                seed=seed,
                secret=made.secret and split == "test" and not test_boxes,
            )
            for index, slot in enumerate(of_split[:count])
        ]
    return chosen


def write(layout: str, chosen: list[Video], out: Path, progress: OnProgress = lambda done, total: None) -> None:
    """Write the videos to a folder, or to a zip archive where the name ends in ".zip". `out` appears whole or not at all;
    progress counts videos. Raises DataError where something lies there already, an empty folder apart.
    """
    made = LAYOUTS[layout]
    is_empty_folder = out.is_dir() and not any(out.iterdir())
    if out.exists() and (out.suffix == ".zip" or not is_empty_folder):
        raise DataError.at(out, "is there already", "name another place, or remove it")
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
        raise DataError(f"no such videos can be made: {error}") from None


@contextmanager
def _sink(out: Path) -> Iterator[Callable[[str, bytes], None]]:
    """A function that takes files; they come to lie at `out` when all are written, and nowhere after an error."""
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
    # A fixed date: equal videos give equal archives.
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o644 << 16
    packed = zipfile.ZIP_STORED if name.endswith(".jpg") else zipfile.ZIP_DEFLATED
    archive.writestr(info, content, packed)


def _places(split: Split, names: Iterable[str], part: str = "") -> list[SequenceSlot]:
    return [SequenceSlot(name, split, part) for name in names]


def _names(file: str) -> list[str]:
    return [row["name"] for row in rows(file)]


def _lasot_slots() -> list[SequenceSlot]:
    return [*_places("test", _names("lasot_test.csv")), *_places("train", _names("lasot_train.csv"))]


def _trackingnet_slots() -> list[SequenceSlot]:
    """Training videos are dealt out to the chunks in turn, so that a few reach several."""
    chunks: dict[str, list[SequenceSlot]] = {}
    for row in rows("trackingnet_train.csv"):
        chunks.setdefault(row["chunk"], []).append(SequenceSlot(row["name"], "train", row["chunk"]))
    dealt = chain.from_iterable(zip(*chunks.values(), strict=True))
    return [*_places("test", names("trackingnet_test.txt"), "TEST"), *dealt]


def _got10k_slots() -> list[SequenceSlot]:
    counts: tuple[tuple[Split, int], ...] = (("test", 180), ("val", 180), ("train", 9335))
    return [
        slot
        for split, count in counts
        for slot in _places(split, (f"GOT-10k_{split.title()}_{n:06d}" for n in range(1, count + 1)), split)
    ]


def _tnl2k_slots() -> list[SequenceSlot]:
    test, train = (tuple(clip.name for clip in clips) for clips in (tnl2k.test_clips(), tnl2k.train_clips()))
    return [*_places("test", test, "TNL2K_test_subset"), *_places("train", train, "TNL2K_train_subset")]


def _nfs_slots() -> list[SequenceSlot]:
    return _shortest(
        SequenceSlot(row["name"], "test", folder=row["name"], frames=int(row["frames"])) for row in rows("nfs.csv")
    )


def _uav_slots() -> list[SequenceSlot]:
    return _shortest(_ranges("uav123.csv"))


def _otb_slots() -> list[SequenceSlot]:
    return _shortest(_ranges("otb100.csv"))


def _ranges(file: str) -> Iterator[SequenceSlot]:
    for row in rows(file):
        first, last = int(row["first"]), int(row["last"])
        yield SequenceSlot(row["name"], "test", folder=row["folder"], first=first, frames=last - first + 1)


def _shortest(slots: Iterable[SequenceSlot]) -> list[SequenceSlot]:
    """Shortest first, one of each folder: sequences that share a folder are pieces of one video, which separate synthetic
    videos are not.
    """
    ordered = sorted(slots, key=lambda slot: (slot.frames, slot.name))
    one_of_each = {slot.folder: slot for slot in reversed(ordered)}
    return [slot for slot in ordered if one_of_each[slot.folder] is slot]


def _coco_slots() -> list[SequenceSlot]:
    """Images by number, with gaps as the real ones' numbers have."""
    parts: tuple[tuple[Split, str], ...] = (("train", "train2017"), ("val", "val2017"))
    return [SequenceSlot(f"{n:012d}", split, part, frames=1) for split, part in parts for n in range(9, 10**5, 16)]


LAYOUTS: Registry[WritableLayout] = Registry("layout")

for _name, _layout in {
    "lasot": WritableLayout(
        "<class>/<sequence>/{groundtruth,full_occlusion,out_of_view,nlp}.txt, img/00000001.jpg; {test,train}ing_set.txt",
        _lasot_slots,
        files.lasot,
        files.lasot_lists,
    ),
    "lasot_ext": WritableLayout(
        "<class>/<sequence>/{groundtruth,full_occlusion,out_of_view}.txt, img/00000001.jpg",
        lambda: _places("test", _names("lasot_ext.csv")),
        files.lasot_ext,
    ),
    "trackingnet": WritableLayout(
        "{TEST,TRAIN_0,...,TRAIN_11}/{anno/<sequence>.txt,frames/<sequence>/0.jpg}",
        _trackingnet_slots,
        files.trackingnet,
        secret=True,
    ),
    "got10k": WritableLayout(
        "{train,val,test}/{list.txt,<sequence>/{groundtruth.txt,meta_info.ini,*.label,00000001.jpg}}",
        _got10k_slots,
        files.got10k,
        files.got10k_lists,
        secret=True,
    ),
    "tnl2k": WritableLayout(
        "TNL2K_{test,train}_subset/<sequence>/{groundtruth.txt,language.txt,imgs/*.jpg}",
        _tnl2k_slots,
        files.tnl2k,
    ),
    "nfs": WritableLayout("anno/nfs_<sequence>.txt, sequences/<sequence>/00001.jpg (30 fps)", _nfs_slots, files.nfs),
    "nfs-original": WritableLayout(
        "<sequence>/{30,240}/{<sequence>.txt,<sequence>/00001.jpg}",
        lambda: _places("test", _names("nfs.csv")),
        files.nfs_original,
    ),
    "uav123": WritableLayout(
        "anno/UAV123/{<sequence>.txt,att/<sequence>.txt}, data_seq/UAV123/<folder>/000001.jpg", _uav_slots, files.uav
    ),
    "otb": WritableLayout("<sequence>/{groundtruth_rect.txt,attrs.txt,img/0001.jpg}", _otb_slots, files.otb100),
    "coco": WritableLayout(
        "annotations/instances_{train,val}2017.json, images/{train,val}2017/000000000009.jpg",
        _coco_slots,
        files.coco,
        files.coco_lists,
    ),
}.items():
    LAYOUTS.add(_name, _layout)
