"""Files below one root, a folder or a zip archive read in place. Nothing here writes, unpacks, or follows a path out.

Names are relative to the root and written with "/". An archive is judged whole when it is opened: absolute paths, "..",
links, encryption, two entries of one name, and contents out of all proportion to their packed size are refused.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn, Protocol

from trackablate.datasets.errors import DataError, raise_all, shown

LARGEST = 512 * 2**20
"""Bytes of the largest file that is read: the largest of any benchmark, COCO's training annotation, has 448 MiB."""
HIGHEST_RATIO = 200
"""Unpacked to packed size beyond which an archive's entry is taken for a bomb. Deflate reaches 1032, with nothing but
repetition; numbers as text and images stay below 20."""
SMALL = 2**20
"""Entries up to this size are not judged by their ratio: they cannot fill a memory."""


class Files(Protocol):
    """What readers see of a data set's root. All errors are DataError and name the file."""

    @property
    def root(self) -> Path:
        """The folder or the archive."""

    def names(self, folder: str = "") -> tuple[str, ...]:
        """What lies directly in a folder, sorted: bare names of files and folders, without hidden ones. () for none."""

    def is_file(self, name: str) -> bool: ...

    def is_folder(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        """The first and the last `count` bytes, as many as there are."""

    def place(self, name: str) -> Path:
        """Where the file is, for messages; in an archive "<archive>/<name>", which need not exist."""

    def stamp(self, name: str) -> tuple[int, int]:
        """Two numbers that change when a file or what lies in a folder does (on disk: size and time; in an archive: size
        and CRC); (-1, 0) where nothing is. Reads no content.
        """


class Folder:
    """A folder on disk; links are followed as long as they stay inside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_places: dict[Path, Path] = {}

    @cached_property
    def _real(self) -> Path:
        return self.root.resolve()

    def names(self, folder: str = "") -> tuple[str, ...]:
        path = self._inside(folder)
        try:
            found = os.listdir(path)  # noqa: PTH208 a Path for each of 14 million frames takes minutes
            return tuple(sorted(name for name in found if not name.startswith(".")))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise DataError.at(path, f"cannot be listed ({error.strerror})", "make it readable") from None

    def is_file(self, name: str) -> bool:
        return os.path.isfile(f"{self.root}/{name}")  # noqa: PTH113 see `stamp`

    def is_folder(self, name: str) -> bool:
        return os.path.isdir(f"{self.root}/{name}")  # noqa: PTH112

    def read(self, name: str) -> bytes:
        with self._opened(name) as (file, size):
            if size > LARGEST:
                raise DataError.at(self.root / name, f"has {size} bytes, more than any such file", "restore it")
            return file.read()

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        with self._opened(name) as (file, size):
            head = file.read(count)
            file.seek(max(0, size - count))
            return head, file.read(count)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        path = self._inside(name)
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):  # opening a named pipe would wait for ever
                raise DataError.at(path, "is no ordinary file", "restore it from the data set")
            with path.open("rb") as file:
                yield file, about.st_size
        except (FileNotFoundError, NotADirectoryError):
            raise DataError.at(path, "is missing", "restore it from the data set") from None
        except OSError as error:
            raise DataError.at(path, f"cannot be read ({error.strerror})", "make it readable") from None

    def place(self, name: str) -> Path:
        return self.root / name

    def stamp(self, name: str) -> tuple[int, int]:
        try:
            about = os.stat(f"{self.root}/{name}")  # noqa: PTH116 a Path takes thrice the time, and 90,000 are asked for
        except (OSError, ValueError):
            return -1, 0
        # The time of the last change cannot be set back, as copying with times does to that of the last writing.
        return about.st_size, max(about.st_mtime_ns, about.st_ctime_ns)

    def _inside(self, name: str) -> Path:
        path = self.root / name
        try:
            # A folder's real place is looked up once: that takes longer than reading a small file.
            above = self._real_places.get(path.parent) or self._real_places.setdefault(
                path.parent, path.parent.resolve()
            )
            real = path.resolve() if path.is_symlink() or ".." in path.parts else above / path.name
            leads_out = not real.is_relative_to(self._real)
        except (OSError, RuntimeError):  # links in a circle
            leads_out = True
        if leads_out:
            raise DataError.at(path, f"leads out of {shown(self.root)}", "replace the link by a copy of its target")
        return path


class Archive:
    """A zip archive. An instance may be sent to another process, which opens the file anew."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self._zip = zipfile.ZipFile(root)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            self._refuse(f"is no zip archive that can be read ({error})")
        infos = self._zip.infolist()
        raise_all([str(DataError.at(root, fault, "get the archive anew")) for fault in _faults(infos)])
        self._entries = {info.filename: info for info in infos if not info.is_dir()}
        self._folders: dict[str, set[str]] = {"": set()}
        for info in infos:
            self._place_in_tree(PurePosixPath(info.filename), is_folder=info.is_dir())
        if clash := sorted(self._entries.keys() & self._folders.keys()):
            self._refuse(f"has {shown(clash[0])!r} as a file and as a folder")

    def __reduce__(self) -> tuple[type["Archive"], tuple[Path]]:
        return Archive, (self.root,)

    def names(self, folder: str = "") -> tuple[str, ...]:
        return tuple(sorted(n for n in self._folders.get(folder.strip("/"), ()) if not n.startswith((".", "__MACOSX"))))

    def is_file(self, name: str) -> bool:
        return name in self._entries

    def is_folder(self, name: str) -> bool:
        return name.strip("/") in self._folders

    def read(self, name: str) -> bytes:
        info = self._entries.get(name)
        if info is None:
            raise DataError.at(self.place(name), "is missing", "restore it from the data set")
        if info.file_size > LARGEST:
            raise DataError.at(self.place(name), f"has {info.file_size} bytes, more than any such file", "get it anew")
        try:
            with self._zip.open(info) as opened:
                # The declared size may be a lie: never read on beyond it.
                content = opened.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, struct.error) as error:
            raise DataError.at(self.place(name), f"cannot be unpacked ({error})", "get the archive anew") from None
        if len(content) != info.file_size:
            raise DataError.at(self.place(name), "is not as long as the archive says", "get the archive anew")
        return content

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        content = self.read(name)
        return content[:count], content[-count:]

    def place(self, name: str) -> Path:
        return self.root / name

    def stamp(self, name: str) -> tuple[int, int]:
        if info := self._entries.get(name):
            return info.file_size, info.CRC
        if self.is_folder(name):
            return 0, zlib.crc32("/".join(self.names(name)).encode(errors="surrogateescape"))
        return -1, 0

    def _refuse(self, problem: str) -> NoReturn:
        raise DataError.at(self.root, problem, "get the archive anew")

    def _place_in_tree(self, path: PurePosixPath, *, is_folder: bool) -> None:
        if is_folder:
            self._folders.setdefault(str(path), set())
        while str(path) != ".":
            above = "" if str(path.parent) == "." else str(path.parent)
            seen = above in self._folders and path.name in self._folders[above]
            self._folders.setdefault(above, set()).add(path.name)
            if seen:
                return
            path = path.parent


def _faults(infos: Iterable[zipfile.ZipInfo]) -> list[str]:
    """What makes an archive hostile or ambiguous, one text each."""
    faults, seen = [], set()
    for info in infos:
        name = info.filename
        parts = name.rstrip("/").split("/")
        if name.startswith("/") or "\\" in name or ":" in parts[0] or any(p in ("", ".", "..") for p in parts):
            faults.append(f"has an entry that leads out of it or is oddly spelled, {shown(name)!r}")
        elif stat.S_ISLNK(info.external_attr >> 16):
            faults.append(f"has a link, {shown(name)!r}")
        elif info.flag_bits & 0x1:
            faults.append(f"has an encrypted entry, {shown(name)!r}")
        elif name in seen:
            faults.append(f"has two entries called {shown(name)!r}")
        elif info.file_size > SMALL and info.file_size > HIGHEST_RATIO * max(1, info.compress_size):
            faults.append(
                f"has an entry of {info.compress_size} bytes that unpacks to {info.file_size}, {shown(name)!r}"
            )
        seen.add(name)
    return faults


class Below:
    """What lies in one folder of other files, as a root of its own: archives tend to hold a single folder."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files, self._folder = files, folder

    @property
    def root(self) -> Path:
        return self._files.place(self._folder)

    def names(self, folder: str = "") -> tuple[str, ...]:
        return self._files.names(f"{self._folder}/{folder}".rstrip("/"))

    def is_file(self, name: str) -> bool:
        return self._files.is_file(f"{self._folder}/{name}")

    def is_folder(self, name: str) -> bool:
        return self._files.is_folder(f"{self._folder}/{name}")

    def read(self, name: str) -> bytes:
        return self._files.read(f"{self._folder}/{name}")

    def ends(self, name: str, count: int) -> tuple[bytes, bytes]:
        return self._files.ends(f"{self._folder}/{name}", count)

    def place(self, name: str) -> Path:
        return self._files.place(f"{self._folder}/{name}")

    def stamp(self, name: str) -> tuple[int, int]:
        return self._files.stamp(f"{self._folder}/{name}")
