"""Files below one root, which is a folder or a zip archive read in place.

Nothing here writes, unpacks, or follows a path out of the root. Names are relative to the root and written with "/".
All entries of an archive are checked when it is opened: `Archive` refuses absolute paths, "..", links, encryption, two
entries of one name, and contents that are suspiciously larger than their packed size. Paths as some programs write them,
with backslashes, "./" or "//", are read as they are meant; hidden files and what macOS adds are left out.
"""

import math
import os
import re
import stat
import struct
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Protocol

from trackablate.datasets.atomic import LARGEST
from trackablate.datasets.changes import PUT_BACK, DataState, refuse_replaced, stamp_of
from trackablate.datasets.errors import DataError, raise_all, shown
from trackablate.datasets.toml_files import allowed_links

HIGHEST_RATIO = 200
"""Ratio of unpacked to packed size from which an archive's entry counts as a zip bomb.

Deflate reaches 1032 on pure repetition; numbers as text and images stay below 20.
"""
MOST_ENTRIES = 10**6
"""Entries of the largest archive that is read in place: a million takes 10 s and 0.6 GB in each process that opens it."""
LONGEST_ENTRY = 400
"""Bytes of an archive's list for each entry, more than honest ones take."""
SMALL = 2**20
"""Bytes up to which an entry may have any ratio, because it cannot fill the memory."""


class Files(Protocol):
    """The files of a data set's root as readers see them. All errors are DataError and name the file."""

    root: Path
    """The folder or the archive."""
    known: DataState = DataState(since=math.inf)
    """What is of another state is refused when it is read."""

    def names(self, folder: str = "") -> tuple[str, ...]:
        """Return the sorted bare names of the files and folders directly in a folder, without hidden ones."""

    def is_file(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def is_folder(self, name: str) -> bool:
        """Return whether there is a folder of this name."""

    def read(self, name: str) -> bytes:
        """Return the content of a file."""

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        """Return the first and the last `count` bytes of a file, or all of a shorter one."""
        content = self.read(name)
        return content[:count], content[-count:]

    def place(self, name: str) -> Path:
        """Return the path of a file for messages; in an archive "<archive>/<name>", which does not exist on disk."""
        return self.root / name

    def stamp(self, name: str) -> tuple[int, int]:
        """Return two numbers that change when a file, or the list of files in a folder, changes. Reads no content.

        They are size and time on disk, size and CRC in an archive, and (-1, 0) if nothing has this name.
        """

    def archives(self) -> tuple[tuple[int, int], ...]:
        """Return size and time of the last writing, in whole seconds, of each file that holds others."""
        return ()

    def refuse_changed(self, state: DataState) -> None:
        """Raise DataError from now on for what is not of this state."""
        self.known = state

    def stamps(self, folder: str, names: Iterable[str]) -> list[tuple[int, int]]:
        """Return size and time of the last writing (in an archive, the CRC) of files in a folder. Reads no content."""
        return [self.stamp(f"{folder}/{name}") for name in names]


class Folder(Files):
    """A folder on disk. Links are followed if they stay inside, or lead into a folder that the user allows."""

    def __init__(self, root: Path) -> None:
        self.root, self._allowed = root, allowed_links()
        self._real_places: dict[Path, Path] = {}

    def names(self, folder: str = "") -> tuple[str, ...]:
        """See Files."""
        path = self._inside(folder)
        try:
            found = os.listdir(path)  # noqa: PTH208 a Path for each of 14 million frames takes minutes
            return tuple(sorted(name for name in found if not name.startswith(".")))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise DataError.at(path, f"cannot be listed ({error.strerror})", "make it readable") from None

    def is_file(self, name: str) -> bool:
        """See Files."""
        return os.path.isfile(f"{self.root}/{name}")  # noqa: PTH113 see `stamp`

    def is_folder(self, name: str) -> bool:
        """See Files."""
        return os.path.isdir(f"{self.root}/{name}")  # noqa: PTH112

    def read(self, name: str) -> bytes:
        """See Files."""
        with self._opened(name) as (file, size):
            if size > LARGEST:
                raise DataError.at(self.root / name, f"has {size} bytes, more than any such file", "restore it")
            return file.read()

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        """See Files."""
        with self._opened(name) as (file, size):
            head = file.read(count)
            file.seek(max(0, size - count))
            return head, file.read(count)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        path = self._inside(name)
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):  # opening a named pipe would block
                raise DataError.at(path, "is not an ordinary file", "restore it from the data set")
            # Other times may be set by hand, or lie ahead.
            if min(about.st_mtime, about.st_ctime) > self.known.since:
                raise DataError.at(path, "was written after the training on it had begun", PUT_BACK)
            with path.open("rb") as file:
                yield file, about.st_size
        except (FileNotFoundError, NotADirectoryError):
            raise DataError.at(path, "is missing", "restore it from the data set") from None
        except OSError as error:
            raise DataError.at(path, f"cannot be read ({error.strerror})", "make it readable") from None

    def stamp(self, name: str) -> tuple[int, int]:
        """See Files."""
        try:
            about = os.stat(f"{self.root}/{name}")  # noqa: PTH116 a Path takes three times as long, for 90,000 files
        except (OSError, ValueError):
            return -1, 0
        # Copying can set the time of the last writing back, but not the time of the last change.
        return about.st_size, max(about.st_mtime_ns, about.st_ctime_ns)

    def stamps(self, folder: str, names: Iterable[str]) -> list[tuple[int, int]]:
        """See Files. Unlike in `stamp`, a copy that keeps its times has the same ones, in whole seconds."""
        found = []
        for name in names:
            try:
                about = os.stat(f"{self.root}/{folder}/{name}")  # noqa: PTH116 see `stamp`
                found.append((about.st_size, int(about.st_mtime)))
            except (OSError, ValueError):
                found.append((-1, 0))
        return found

    def _real(self, folder: Path) -> Path:
        # A folder's real path is looked up once, because that takes longer than reading a small file.
        return self._real_places.get(folder) or self._real_places.setdefault(folder, folder.resolve())

    def _inside(self, name: str) -> Path:
        path = self.root / name
        try:
            real = path.resolve() if path.is_symlink() or ".." in path.parts else self._real(path.parent) / path.name
            leads_out = not any(map(real.is_relative_to, (self._real(self.root), *self._allowed)))
        except (OSError, RuntimeError):  # links in a circle
            leads_out = True
        if leads_out:
            remedy = "replace the link by a copy of its target, or allow its folder with --allow-links PATH"
            raise DataError.at(path, f"leads out of {shown(self.root)}", remedy)
        return path


class Listed(Files):
    """Files that are known by their paths alone: a folder is what several paths begin with.

    Attributes:
        restore: What to do about a file that is missing or too large.
    """

    restore: str
    root: Path
    _paths: list[str]
    """All paths in their order, unless a subclass seeks elsewhere."""

    def _seeking(self) -> AbstractContextManager[Callable[[str], str | None]]:
        """Give a function that returns the first path, in their order, that is not before a text."""
        return nullcontext(self._first_from)

    def _first_from(self, text: str) -> str | None:
        at = bisect_left(self._paths, text)
        return self._paths[at] if at < len(self._paths) else None

    def _size(self, name: str) -> int | None:
        """Return the bytes of a file, None if there is none."""
        raise NotImplementedError

    def _content(self, name: str, size: int) -> bytes:
        raise NotImplementedError

    @property
    def holder(self) -> Path:
        """The file on disk that holds all of them."""
        return self.root

    def archives(self) -> tuple[tuple[int, int], ...]:
        """See Files."""
        # One that is inside of another archive has no time of its own.
        return (stamp_of(self.holder),) if self.holder.is_file() else ()

    def refuse_changed(self, state: DataState) -> None:
        """See Files."""
        self.known = state
        if self.holder.is_file():
            refuse_replaced(self.holder, state)

    def names(self, folder: str = "") -> tuple[str, ...]:
        """See Files."""
        within, found = _within(folder), set()
        with self._seeking() as first_from:
            path = first_from(within)
            while path is not None and path.startswith(within):
                name, slash, _ = path[len(within) :].partition("/")
                found.add(name)
                # All that is in a folder comes before its name and "0", the character after "/".
                path = first_from(f"{within}{name}0" if slash else f"{path}\0")
        return tuple(sorted(name for name in found if name and not name.startswith((".", "__MACOSX"))))

    def is_file(self, name: str) -> bool:
        """See Files."""
        return self._size(name) is not None

    def is_folder(self, name: str) -> bool:
        """See Files."""
        within = _within(name)
        with self._seeking() as first_from:
            path = first_from(within)
        return path is not None and path.startswith(within)

    def read(self, name: str) -> bytes:
        """See Files."""
        if self.known.archives is not None:
            self.refuse_changed(self.known)
        size = self._size(name)
        if size is None:
            raise DataError.at(self.place(name), "is missing", self.restore)
        if size > LARGEST:
            raise DataError.at(self.place(name), f"has {size} bytes, more than any such file", self.restore)
        return self._content(name, size)


def _within(folder: str) -> str:
    return f"{folder.strip('/')}/".removeprefix("/")


class Archive(Listed):
    """A zip archive. Its files can be read by several threads, which take turns.

    Each process opens the archive for itself, because open files of a forked one share their position.
    """

    restore = "restore it from the data set"

    def __init__(self, root: Path, most: int = MOST_ENTRIES) -> None:
        self.root = root
        try:
            if (count := _entries(root, most)) > most:
                problem = f"has {count} entries, more than {most}, which take too long to list"
                raise DataError.at(root, problem, "unpack it and name the folder")
            self._process, self._zip, self._turn = os.getpid(), zipfile.ZipFile(root), Lock()
        except DataError:
            raise
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DataError.at(root, f"is not a readable zip archive ({error})", "get the archive again") from None
        whole, packed = sum(info.file_size for info in self._zip.infolist()), root.stat().st_size
        if whole > max(LARGEST, HIGHEST_RATIO * packed):  # entries may share their packed bytes
            problem = f"has {packed} bytes and unpacks to {whole}"
            raise DataError.at(root, problem, "get the archive again")
        infos = [(path, info) for info in self._zip.infolist() if not _is_left_out(path := _meant(info.filename))]
        self._entries = {path: info for path, info in infos if not path.endswith("/")}
        self._paths = sorted(path for path, _ in infos)
        faults = _faults(infos) or [
            f"has {shown(name)!r} as a file and as a folder" for name in self._entries if self.is_folder(name)
        ]
        raise_all([str(DataError.at(root, fault, "get the archive again")) for fault in faults])

    def __reduce__(self) -> tuple[type["Archive"], tuple[Path], dict[str, DataState]]:
        return Archive, (self.root,), {"known": self.known}

    def stamp(self, name: str) -> tuple[int, int]:
        """See Files."""
        if info := self._entries.get(name):
            return info.file_size, info.CRC
        if self.is_folder(name):
            return 0, zlib.crc32("/".join(self.names(name)).encode(errors="surrogateescape"))
        return -1, 0

    def _size(self, name: str) -> int | None:
        info = self._entries.get(name)
        return info.file_size if info else None

    def _content(self, name: str, size: int) -> bytes:
        try:
            with self._turn:
                if self._process != os.getpid():
                    self._process, self._zip = os.getpid(), zipfile.ZipFile(self.root)
                with self._zip.open(self._entries[name]) as opened:
                    content = opened.read(size + 1)  # the declared size may be wrong: never read beyond it
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, struct.error) as error:
            raise DataError.at(self.place(name), f"cannot be unpacked ({error})", "get the archive again") from None
        if len(content) != size:
            raise DataError.at(self.place(name), "is not as long as the archive says", "get the archive again")
        return content


def _entries(root: Path, most: int) -> int:
    """Return how many entries a zip archive announces or lists, whichever is more; 0 if it has no end that says so.

    Reads the archive's end, and its list as far as `most` entries need.
    """
    with root.open("rb") as file:
        begin = max(0, file.seek(0, os.SEEK_END) - 2**16 - 100)
        file.seek(begin)
        end = file.read()
        at = end.rfind(b"PK\5\6")
        if at < 0:
            return 0
        announced, length = _numbers(end, at + 10, (2, 4))
        # Numbers that are full stand for those of eight bytes in another record.
        if (announced == 2**16 - 1 or length == 2**32 - 1) and (long := end.rfind(b"PK\6\6")) >= 0:
            at, (announced, length) = long, _numbers(end, long + 32, (8, 8))
        file.seek(max(0, begin + at - length))
        return max(announced, file.read(min(length, (most + 1) * LONGEST_ENTRY)).count(b"PK\1\2"))


def _numbers(content: bytes, at: int, sizes: tuple[int, int]) -> tuple[int, int]:
    first, second = sizes
    middle = at + first
    return int.from_bytes(content[at:middle], "little"), int.from_bytes(content[middle : middle + second], "little")


_LEFT_OUT = re.compile(r"(^|/)(__MACOSX(/|$)|\.(?!\.(/|$)))")


def _meant(name: str) -> str:
    """Return an entry's path as it is meant, with "/" at the end of a folder."""
    if "\\" not in name and "//" not in name and "./" not in name:  # nearly always
        return name
    parts = name.replace("\\", "/").split("/")
    path = "/".join(part for at, part in enumerate(parts) if part != "." and (part or at == 0))
    return f"{path}/" if path and parts[-1] in ("", ".") else path


def _is_left_out(path: str) -> bool:
    return path == "" or bool(_LEFT_OUT.search(path))


def _faults(infos: Iterable[tuple[str, zipfile.ZipInfo]]) -> list[str]:
    """One message for each entry that makes an archive hostile or ambiguous."""
    faults, seen = [], set()
    for path, info in infos:
        name, parts = info.filename, path.split("/")
        if path.startswith("/") or ":" in parts[0] or ".." in parts:
            faults.append(f"has an entry that leads out of it or is oddly spelled, {shown(name)!r}")
        elif stat.S_ISLNK(info.external_attr >> 16):
            faults.append(f"has a link, {shown(name)!r}")
        elif info.flag_bits & 0x1:
            faults.append(f"has an encrypted entry, {shown(name)!r}")
        elif path in seen and not path.endswith("/"):
            faults.append(f"has two entries called {shown(name)!r}")
        elif info.file_size > max(SMALL, HIGHEST_RATIO * max(1, info.compress_size)):
            packed = f"{info.compress_size} bytes that unpacks to {info.file_size}"
            faults.append(f"has an entry of {packed}, {shown(name)!r}")
        seen.add(path)
    return faults
