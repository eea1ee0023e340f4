"""LMDB copies of data sets, as OSTrack's and SUTrack's scripts make them, read as if they were folders.

A database's keys are the paths of the files. Reading needs the package lmdb and writes nothing, not even a lock file.

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
from trackablate.datasets.reading.files import LARGEST, Files, Folder, Redirected

DATA = "data.mdb"
SUFFIX = "_lmdb"
AGAIN = "make the database again from the data set"
_AFTER_SLASH = b"0"
"""The byte after "/": keys from "folder0" on come after all keys of "folder/"."""


def has_databases(root: Path) -> bool:
    """Return whether a folder is a database or holds some."""
    return (root / DATA).is_file() or any((folder / DATA).is_file() for folder in root.glob(f"*{SUFFIX}"))


def open_databases(root: Path) -> Files:
    """Return the files in a database, or in all databases of a folder. Raises DataError if damaged or without lmdb."""
    return Database(root) if (root / DATA).is_file() else Databases(root)


class Database(Files):
    """The files in one database. A copy sent to another process opens the database again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._environment = _environment(root.resolve())

    def __reduce__(self) -> tuple[type["Database"], tuple[Path]]:
        return Database, (self.root,)

    def names(self, folder: str = "") -> tuple[str, ...]:
        """See Files."""
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
        """See Files."""
        return self._size(name) is not None

    def is_folder(self, name: str) -> bool:
        """See Files."""
        within = _within(name)
        with self._reading() as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(within) if within else cursor.first()
            return bool(there) and bytes(cursor.key()).startswith(within)

    def read(self, name: str) -> bytes:
        """See Files."""
        size = self._size(name)
        if size is None:
            raise DataError.at(self.place(name), "is missing", AGAIN)
        if size > LARGEST:
            raise DataError.at(self.place(name), f"has {size} bytes, more than any such file", AGAIN)
        with self._reading() as transaction:
            return bytes(transaction.get(_key(name)))

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

    def _size(self, name: str) -> int | None:
        with self._reading() as transaction:
            content = transaction.get(_key(name))
            return None if content is None else len(content)


class Databases(Redirected):
    """The databases of a folder, each as a folder named like it without "_lmdb", and the other files beside them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._beside = Folder(root)

    @cached_property
    def _databases(self) -> dict[str, Database]:
        found = sorted(folder for folder in self.root.glob(f"*{SUFFIX}") if (folder / DATA).is_file())
        return {folder.name.removesuffix(SUFFIX): Database(folder) for folder in found}

    def names(self, folder: str = "") -> tuple[str, ...]:
        """See Files."""
        if folder.strip("/"):
            return super().names(folder)
        hidden = {f"{name}{SUFFIX}" for name in self._databases}
        return tuple(sorted({*self._beside.names(), *self._databases} - hidden))

    def is_file(self, name: str) -> bool:
        """See Files."""
        return name.strip("/") not in self._databases and super().is_file(name)

    def is_folder(self, name: str) -> bool:
        """See Files."""
        return name.strip("/") in self._databases or super().is_folder(name)

    def _target(self, name: str) -> tuple[Files, str]:
        first, _, rest = name.strip("/").partition("/")
        database = self._databases.get(first)
        return (self._beside, name) if database is None else (database, rest)


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
    # lmdb raises an error for keys outside 1 to 511 bytes; no file is called by a zero byte.
    key = os.fsencode(name)
    return key if 0 < len(key) <= 511 else b"\0"


def _within(folder: str) -> bytes:
    return _key(f"{folder.strip('/')}/") if folder.strip("/") else b""
