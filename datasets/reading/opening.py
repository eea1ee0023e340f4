"""Opens a root for reading, whatever it is: a folder, a zip archive, LMDB copies of folders, or pysot's annotation.

OSTrack's and SUTrack's scripts make the LMDB copies. A database's keys are the paths of the files. Reading needs the
package lmdb and writes nothing, not even a lock file.

    <root>/data.mdb                     LaSOT (<class>/<sequence>/img/00000001.jpg), GOT-10k (train/<sequence>/...)
    <root>/TRAIN_0_lmdb/data.mdb ...    TrackingNet, a database for each chunk: frames/<sequence>/0.jpg, anno/<sequence>.txt

pysot keeps the annotation of a data set in one file, such as LaSOT.json: {"airplane-1": {"gt_rect": [[x, y, w, h], ...],
"absent": [1, ...], ...}, ...}. Boxes are as the data set writes them; OTB's Tiger1 lacks its first five frames. Its `absent`
is 1 where the target is there (toolkit/evaluation/ope_benchmark.py, lines 47-49).
"""

import os
import re
import tarfile
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from posixpath import normpath
from typing import Any

from pydantic_core import from_json

from trackablate.datasets.atomic import LARGEST, read_ordinary
from trackablate.datasets.changes import DataState
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.files import MOST_ENTRIES, Archive, Files, Folder, Listed
from trackablate.datasets.reading.layouts import FileLayout, FlagFile

_PRESENT = "pysot/absent/{name}.txt"
PYSOT = FileLayout(
    title="pysot's JSON",
    boxes="pysot/{name}.txt",
    flags=((FlagFile(_PRESENT, frozenset({0}), optional=True),),),
    evaluated_only=True,
)
_OTB_TARGETS = re.compile(r"(Jogging|Skating2|Human4)-(\d)")
DATA = "data.mdb"
SUFFIX = "_lmdb"
LONGEST = 511
"""Bytes of the longest key."""
AGAIN = "make the database again from the data set"
PACKED = {
    b"\x1f\x8b": "gzip (.tar.gz)",
    b"BZh": "bzip2 (.tar.bz2)",
    b"\xfd7zXZ\x00": "xz (.tar.xz)",
    b"\x28\xb5\x2f\xfd": "Zstandard (.tar.zst)",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "RAR",
}
"""Kinds of packed files that are not read, by their first bytes."""


def open_files(path: Path, most: int = MOST_ENTRIES) -> Files:
    """Return the files below a folder, in a zip archive of `most` entries, or in LMDB databases.

    Raises DataError if the path is something else, a hostile archive or a damaged database, or if lmdb is missing.
    """
    if path.suffix.lower() == ".json" and path.is_file():
        return pysot_annotation(path)
    if path.is_file():
        if kind := _kind(path):
            problem = f"is a {kind} file, which is not read in place"
            raise DataError.at(path, problem, "unpack it and name the folder, or pack that as zip")
        about = path.stat()
        archive = _archive(path, most, (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
        archive.known = Files.known  # a training before may have set it
        return archive
    if not path.is_dir():
        raise DataError.at(path, "is neither a folder nor a zip archive", "name one that exists")
    if (path / DATA).is_file():
        return Database(path)
    found = {f.name.removesuffix(SUFFIX): Database(f) for f in path.glob(f"*{SUFFIX}") if (f / DATA).is_file()}
    return Databases(path, found) if found else Folder(path)


def _kind(root: Path) -> str:
    """Return the kind of a packed file that is no zip archive, "" if it is none that is known."""
    try:
        with root.open("rb") as file:
            head = file.read(262)
    except OSError:
        return ""
    return next(
        (kind for mark, kind in PACKED.items() if head.startswith(mark)), "tar" if head[257:] == b"ustar" else ""
    )


class Unpacked(Listed):
    """Small files that were packed in a way that cannot be read in place, in memory."""

    restore = "restore it from the data set"

    def __init__(self, root: Path, content: Mapping[str, bytes]) -> None:
        self.root, self._content_of, self._paths = root, content, sorted(content)

    def stamp(self, name: str) -> tuple[int, int]:
        """Return size and CRC, for a folder of its files' names."""
        if name in self._content_of:
            return len(self._content_of[name]), zlib.crc32(self._content_of[name])
        return (0, zlib.crc32("/".join(self.names(name)).encode())) if self.is_folder(name) else (-1, 0)

    def _size(self, name: str) -> int | None:
        return len(self._content_of[name]) if name in self._content_of else None

    def _content(self, name: str, size: int) -> bytes:
        return self._content_of[name]


def unpacked(files: Files, name: str) -> Unpacked:
    """Return what is in a tar file, packed or not. Raises DataError if it is damaged or suspiciously large."""
    place, found, size = files.place(name), dict[str, bytes](), 0
    try:
        with tarfile.open(fileobj=BytesIO(files.read(name))) as opened:
            for member in opened:
                if member.isfile() and (content := opened.extractfile(member)):
                    size += member.size
                    if size > LARGEST:
                        raise DataError.at(place, f"unpacks to over {LARGEST} bytes", "unpack it and name the folder")
                    found[normpath(member.name).lstrip("/")] = content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError.at(place, f"cannot be unpacked ({error})", "get it again") from None
    return Unpacked(place, found)


def pysot_annotation(file: Path) -> Unpacked:
    """Return pysot's annotation as files of the layout PYSOT. Raises DataError for another content."""
    lines: dict[str, bytes] = {}
    try:
        for key, video in from_json(read_ordinary(file).removeprefix(BOM_UTF8)).items():
            name = _OTB_TARGETS.sub(r"\1_\2", key)
            rows = "".join(",".join(map(repr, map(float, box))) + "\n" for box in video["gt_rect"])
            lines[PYSOT.boxes.format(name=name)] = rows.encode()
            if present := video.get("absent"):
                lines[_PRESENT.format(name=name)] = "".join(f"{int(flag)}\n" for flag in present).encode()
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        problem = f"is no annotation of pysot, with boxes under `gt_rect` of each video ({type(error).__name__})"
        raise DataError.at(file, problem, "name the data set's own folder") from None
    return Unpacked(file, lines)


class Database(Listed):
    """The files in one database. A copy sent to another process opens the database again."""

    restore = AGAIN

    def __init__(self, root: Path) -> None:
        self.root = root
        self._environment = _environment(root.resolve())

    def __reduce__(self) -> tuple[type["Database"], tuple[Path], dict[str, DataState]]:
        return Database, (self.root,), {"known": self.known}

    @property
    def holder(self) -> Path:
        """See Listed."""
        return self.root / DATA

    def stamp(self, name: str) -> tuple[int, int]:
        """Return a file's size, 0 for a folder, and the time of the whole database: files have no times of their own."""
        size = self._size(name)
        if size is None and not self.is_folder(name):
            return -1, 0
        about = (self.root / DATA).stat()
        return size or 0, max(about.st_mtime_ns, about.st_ctime_ns)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """Open a transaction. Raises DataError for a page that cannot be read."""
        import lmdb

        try:
            with self._environment.begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise DataError.at(self.root / DATA, f"cannot be read ({error})", AGAIN) from None

    @contextmanager
    def _seeking(self) -> Iterator[Callable[[str], str | None]]:
        with self._reading() as transaction, transaction.cursor() as cursor:

            def first_from(text: str) -> str | None:
                key = os.fsencode(text)
                there = cursor.set_range(key[:LONGEST]) if key else cursor.first()
                there = cursor.next() if there and bytes(cursor.key()) < key else there
                return os.fsdecode(bytes(cursor.key())) if there else None

            yield first_from

    def _size(self, name: str) -> int | None:
        with self._reading() as transaction:
            content = transaction.get(_key(name))
            return None if content is None else len(content)

    def _content(self, name: str, size: int) -> bytes:
        with self._reading() as transaction:
            return bytes(transaction.get(_key(name)))


class Redirected(Files):
    """Files that lie in other files. Subclasses say where."""

    _within: tuple[Files, ...]

    def archives(self) -> tuple[tuple[int, int], ...]:
        """See Files."""
        return tuple(stamp for files in self._within for stamp in files.archives())

    def refuse_changed(self, state: DataState) -> None:
        """See Files."""
        for files in self._within:
            files.refuse_changed(state)

    def _target(self, name: str) -> tuple[Files, str]:
        """Return the files that hold a name, and its name there."""
        raise NotImplementedError

    def names(self, folder: str = "") -> tuple[str, ...]:
        """See Files."""
        files, name = self._target(folder)
        return files.names(name)

    def is_file(self, name: str) -> bool:
        """See Files."""
        files, name = self._target(name)
        return files.is_file(name)

    def is_folder(self, name: str) -> bool:
        """See Files."""
        files, name = self._target(name)
        return files.is_folder(name)

    def read(self, name: str) -> bytes:
        """See Files."""
        files, name = self._target(name)
        return files.read(name)

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        """See Files."""
        files, name = self._target(name)
        return files.ends(name, count)

    def place(self, name: str) -> Path:
        """See Files."""
        files, name = self._target(name)
        return files.place(name)

    def stamp(self, name: str) -> tuple[int, int]:
        """See Files."""
        files, name = self._target(name)
        return files.stamp(name)

    def stamps(self, folder: str, names: Iterable[str]) -> list[tuple[int, int]]:
        """See Files."""
        files, folder = self._target(folder)
        return files.stamps(folder, names)


class Below(Redirected):
    """The content of one folder of other files, as a root of its own. Archives often hold a single folder."""

    def __init__(self, files: Files, folder: str) -> None:
        self.root = files.place(folder)
        self._files, self._folder = files, folder
        self._within = (files,)

    def _target(self, name: str) -> tuple[Files, str]:
        return self._files, f"{self._folder}/{name}".rstrip("/")


class Databases(Redirected):
    """The databases of a folder, each as a folder named like it without "_lmdb", and the other files beside them."""

    def __init__(self, root: Path, databases: Mapping[str, Database]) -> None:
        self.root, self._databases, self._beside = root, databases, Folder(root)
        self._within = (self._beside, *databases.values())

    def names(self, folder: str = "") -> tuple[str, ...]:
        """See Files."""
        if folder.strip("/"):
            return super().names(folder)
        hidden = {f"{name}{SUFFIX}" for name in self._databases}
        return tuple(sorted({*self._beside.names(), *self._databases} - hidden))

    def _target(self, name: str) -> tuple[Files, str]:
        first, _, rest = name.strip("/").partition("/")
        database = self._databases.get(first)
        return (self._beside, name) if database is None else (database, rest)


@lru_cache(maxsize=1)
def _archive(path: Path, most: int, _stamp: tuple[int, ...]) -> Archive:
    # A data set is opened once for each of its parts, and listing a million entries takes ten seconds.
    return Archive(path, most)


@cache
def _environment(root: Path) -> Any:
    """Open a database once in each process, as lmdb demands.

    A forked process keeps reading its parent's, which is safe: nothing is locked, and each transaction has its own position.
    """
    try:
        import lmdb
    except ImportError:
        raise DataError.at(root, "is an LMDB database", "install the package lmdb to read it") from None
    try:
        return lmdb.open(str(root), readonly=True, create=False, lock=False, readahead=False, max_spare_txns=8)
    except (lmdb.Error, OSError) as error:
        raise DataError.at(root / DATA, f"cannot be opened ({error})", AGAIN) from None


def _key(name: str) -> bytes:
    # lmdb raises an error for an empty or a longer key; no file is called by a zero byte.
    key = os.fsencode(name)
    return key if 0 < len(key) <= LONGEST else b"\0"
