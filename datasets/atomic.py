"""Files that are whole: written under a temporary name, synced, then renamed; and with a digest, so that damage is noticed.

JSON documents end with the SHA-256 of what is before it (`sealed`). Archives (.npz, .pt) have a checksum of each entry.
"""

import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.errors import FULL

LEFTOVER = 3600
"""Seconds after which a temporary file, or one that no index names, is taken for that of a process that was killed."""
_SEAL = re.compile(rb',\s*"sha256":\s*"([0-9a-f]{64})"\s*\}\s*\Z')
_SEAL_BYTES = 120
GUARDS: dict[Path, Callable[[], None]] = {}
"""Folders that this process may write to for as long as it holds them (see `lease`): called before a file appears there."""
UNREADABLE = (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)
"""What numpy and zipfile raise for an archive that is absent or damaged."""


def write_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` in one step by a file that `write` fills. Makes folders.

    An error leaves nothing behind, and names the file: a full disk does not.

    Raises:
        LeaseLost: The file is in a folder that another process has taken over.
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
        if isinstance(error, OSError) and (error.errno in FULL or (error.errno and not error.filename)):
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


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Replace `path` by an .npz file in one step."""
    write_with(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file, {} if it is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {key: kept[key] for key in kept.files}
    except UNREADABLE:
        return {}


def whole_archive(path: Path) -> bool:
    """Return whether a zip archive is there and every entry has its checksum; .npz and torch's files are such archives."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (*UNREADABLE, NotImplementedError):
        return False


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
