"""Files that are whole: written under a temporary name, synced, then renamed; and with a digest, so that damage is noticed.

JSON documents end with the SHA-256 of what is before it (`sealed`). Archives (.npz, .pt) have a checksum of each entry.
"""

import errno
import io
import os
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from trackablate.datasets.errors import FULL

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile
    from numpy.typing import NDArray

LEFTOVER = 3600
"""Seconds after which a temporary file, or one that no index names, is taken for that of a process that was killed."""
_SEAL = re.compile(rb',\s*"sha256":\s*"([0-9a-f]{64})"\s*\}\s*\Z')
_SEAL_BYTES = 120
GUARDS: dict[Path, Callable[[], None]] = {}
"""Folders that this process may write to for as long as it holds them (see `lease`): called before a file appears there."""
UNREADABLE = (
    *(OSError, ValueError, LookupError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What numpy and zipfile raise for an archive that is absent or damaged."""

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of a place that cannot be written to. What can be made again is not kept there."""
LARGEST = 512 * 2**20
"""Bytes of the largest file that is read at once. The largest of any benchmark, COCO's training annotation, has 448 MiB."""


def read_ordinary(path: Path | str, most: int = LARGEST) -> bytes:
    """Return the content of a file of `most` bytes. Raises OSError for a larger one, a pipe, a device or a socket."""
    # Without O_NONBLOCK, opening a pipe would wait for its other end.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
        content = os.read(handle, about.st_size + 1)
        while len(content) < about.st_size and (part := os.read(handle, about.st_size)):
            content += part
        return content
    finally:
        os.close(handle)


def read_ordinary_text(path: Path, most: int = LARGEST) -> str:
    """Return the UTF-8 text of a file, without byte order mark and with plain line ends. Raises as `read_ordinary` does."""
    return io.TextIOWrapper(io.BytesIO(read_ordinary(path, most)), encoding="utf-8-sig").read()


def write_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` in one step by a file that `write` fills. Makes folders.

    An error leaves nothing behind, and names the file: a full disk does not. Raises LeaseLost for a folder that another
    process has taken over.
    """
    name = ""
    refuse_lost(path)  # before a folder is made again that somebody has removed
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        refuse_lost(path)
        Path(name).replace(path)
    except BaseException as error:
        if name:
            Path(name).unlink(missing_ok=True)
        # torch.save says "unexpected pos" for a full disk: the error that says why is the one that it was handling.
        why = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(why, OSError) and why.errno in FULL:
            raise OSError(why.errno, why.strerror, str(path)) from error
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)
        raise


def refuse_lost(path: Path) -> None:
    """Raise LeaseLost if a file is in a folder that another process has taken over from this one.

    Who takes over removes temporary files: a process that is stopped after this check has nothing left to rename.
    """
    for folder in path.parents if GUARDS else ():
        if check := GUARDS.get(folder):
            check()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by the content in one step."""
    write_with(path, lambda file: file.write(content))


def write_text(path: Path, content: str) -> None:
    """Replace `path` by UTF-8 text in one step."""
    write_bytes(path, content.encode())


def write_arrays(path: Path, arrays: "Mapping[str, NDArray[Any]]") -> None:
    """Replace `path` by an .npz file in one step."""
    import numpy as np

    write_with(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path) -> "dict[str, NDArray[Any]]":
    """Return the arrays of an .npz file, {} if it is absent or damaged."""
    try:
        with open_arrays(path) as kept:
            return {key: kept[key] for key in kept.files}
    except UNREADABLE:
        return {}


def open_arrays(path: Path) -> "NpzFile":
    """Return an open .npz file. Raises one of UNREADABLE for another file, and for one that unpacks to more than it has."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with zipfile.ZipFile(path) as archive:
        _refuse_packed(path, archive)
    import numpy as np  # `--help` reads texts, and waits for no numpy

    found: NpzFile = np.load(path, allow_pickle=False)
    return found


def whole_archive(path: Path) -> bool:
    """Return whether a zip archive is there and every entry has its checksum; .npz and torch's files are such archives."""
    try:
        with zipfile.ZipFile(path if path.is_file() else "") as archive:
            _refuse_packed(path, archive)
            return archive.testzip() is None
    except (*UNREADABLE, NotImplementedError):
        return False


def _refuse_packed(path: Path, archive: zipfile.ZipFile) -> None:
    # Neither numpy nor torch packs what it saves: an entry that is packed would only fill the memory.
    if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
        raise ValueError("it unpacks to more than it has")


class Unsealed(NamedTuple):
    """The JSON of a document, and whether it had a digest."""

    content: bytes
    sealed: bool


def sealed(text: str) -> str:
    """Return the JSON text of an object with the digest of what is before it as its last entry, "sha256"."""
    head = text.rstrip().removesuffix("}").rstrip()
    return f'{head},\n"sha256": "{sha256(head.encode()).hexdigest()}"}}\n'


def unsealed(content: bytes) -> Unsealed:
    """Return a document without its digest. Raises ValueError if its content is not what was written."""
    start = max(0, len(content) - _SEAL_BYTES)
    found = _SEAL.search(content, start)
    if found is None:
        return Unsealed(content, sealed=False)
    head = content[: found.start()]
    if sha256(head).hexdigest().encode() != found[1]:
        raise ValueError("its SHA-256 is not the one that it was written with")
    return Unsealed(head + b"}", sealed=True)


def file_clock(folder: Path) -> float:
    """Return the present time by the clock of a folder's file system: this machine's may be another."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".clock.", suffix=".tmp")
    try:
        os.utime(handle)
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder and those below it."""
    for file in folder.rglob(".*.tmp"):
        with suppress(OSError):  # another process may remove or rename the same file
            if file.stat().st_mtime < file_clock(file.parent) - LEFTOVER:
                file.unlink()
