"""LMDB copies of data sets, as OSTrack's and SUTrack's scripts make them, read as if they were folders: a database's keys
are the paths of the files. Needs the package lmdb. Nothing is written, not even a lock file.

    <root>/data.mdb                     LaSOT (<class>/<sequence>/img/00000001.jpg), GOT-10k (train/<sequence>/...)
    <root>/TRAIN_0_lmdb/data.mdb ...    TrackingNet, a database for each chunk: frames/<sequence>/0.jpg, anno/<sequence>.txt
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.files import LARGEST, Files, Folder

DATA = "data.mdb"
SUFFIX = "_lmdb"
AGAIN = "make the database anew from the data set"
_AFTER_SLASH = b"0"
"""The byte that follows "/": keys from "folder0" on lie behind all of "folder/"."""


def has_databases(root: Path) -> bool:
    """Whether a folder is a database, or holds some."""
    return (root / DATA).is_file() or any((folder / DATA).is_file() for folder in root.glob(f"*{SUFFIX}"))


def open_databases(root: Path) -> Files:
    """The files in a database, or in those that a folder holds. Raises DataError for a damaged one, and without lmdb."""
    return Database(root) if (root / DATA).is_file() else Databases(root)


class Database:
    """The files in one database. An instance may be sent to another process, which opens the database anew."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._environment = _environment(root.resolve())

    def __reduce__(self) -> tuple[type["Database"], tuple[Path]]:
        return Database, (self.root,)

    def names(self, folder: str = "") -> tuple[str, ...]:
        within = _within(folder)
        found = set()
        with self._reading() as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(within) if within else cursor.first()
            while there and (key := bytes(cursor.key())).startswith(within):
                name, slash, _ = key[len(within) :].partition(b"/")
                found.add(os.fsdecode(name))
                there = cursor.set_range(within + name + _AFTER_SLASH) if slash else cursor.next()
        return tuple(sorted(name for name in found if not name.startswith(".")))

    def is_file(self, name: str) -> bool:
        return self._size(name) is not None

    def is_folder(self, name: str) -> bool:
        within = _within(name)
        with self._reading() as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(within) if within else cursor.first()
            return bool(there) and bytes(cursor.key()).startswith(within)

    def read(self, name: str) -> bytes:
        size = self._size(name)
        if size is None:
            raise DataError.at(self.place(name), "is missing", AGAIN)
        if size > LARGEST:
            raise DataError.at(self.place(name), f"has {size} bytes, more than any such file", AGAIN)
        with self._reading() as transaction:
            return bytes(transaction.get(_key(name)))

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        content = self.read(name)
        return content[:count], content[-count:]

    def place(self, name: str) -> Path:
        return self.root / name

    def stamp(self, name: str) -> tuple[int, int]:
        """A file's size, 0 for a folder; and the time of the whole database, which is all that it keeps."""
        size = self._size(name)
        if size is None and not self.is_folder(name):
            return -1, 0
        about = (self.root / DATA).stat()
        return size or 0, max(about.st_mtime_ns, about.st_ctime_ns)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """A transaction. A page that cannot be read is a DataError, as a damaged file is."""
        import lmdb

        try:
            with self._environment.begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise DataError.at(self.root / DATA, f"cannot be read ({error})", AGAIN) from None

    def _size(self, name: str) -> int | None:
        with self._reading() as transaction:
            content = transaction.get(_key(name))
            return None if content is None else len(content)


class Databases:
    """The databases of a folder, each as a folder called like it without "_lmdb"; what else lies there as on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._beside = Folder(root)

    @cached_property
    def _databases(self) -> dict[str, Database]:
        found = sorted(folder for folder in self.root.glob(f"*{SUFFIX}") if (folder / DATA).is_file())
        return {folder.name.removesuffix(SUFFIX): Database(folder) for folder in found}

    def names(self, folder: str = "") -> tuple[str, ...]:
        if not folder.strip("/"):
            hidden = {f"{name}{SUFFIX}" for name in self._databases}
            return tuple(sorted({*self._beside.names(), *self._databases} - hidden))
        files, rest = self._owner(folder)
        return files.names(rest)

    def is_file(self, name: str) -> bool:
        files, rest = self._owner(name)
        return bool(rest) and files.is_file(rest)

    def is_folder(self, name: str) -> bool:
        files, rest = self._owner(name)
        return not rest or files.is_folder(rest)

    def read(self, name: str) -> bytes:
        files, rest = self._owner(name)
        return files.read(rest)

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        files, rest = self._owner(name)
        return files.ends(rest, count)

    def place(self, name: str) -> Path:
        files, rest = self._owner(name)
        return files.place(rest)

    def stamp(self, name: str) -> tuple[int, int]:
        files, rest = self._owner(name)
        return files.stamp(rest)

    def _owner(self, name: str) -> tuple[Files, str]:
        """The files that a path leads into, and the path there."""
        first, _, rest = name.strip("/").partition("/")
        database = self._databases.get(first)
        return (self._beside, name) if database is None else (database, rest)


@cache
def _environment(root: Path) -> Any:
    """An open database: one in each process, as lmdb demands, and a forked process has its parent's, which it may go on
    reading since nothing is locked and the position is a transaction's own.
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
    # Keys have 1 to 511 bytes. What has not is in no database, but lmdb would raise an error; no path is a zero byte.
    key = os.fsencode(name)
    return key if 0 < len(key) <= 511 else b"\0"


def _within(folder: str) -> bytes:
    """What the keys of a folder's files begin with."""
    return _key(f"{folder.strip('/')}/") if folder.strip("/") else b""
