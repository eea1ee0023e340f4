"""Whether a report on disk was made from the same files that a new one would be made from, so that nothing is redrawn."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel

from trackablate.harness.checkout import ROOT
from trackablate.harness.documents import read_document, write_document
from trackablate.harness.errors import BadInput
from trackablate.harness.run_folder import BEFORE, DIVERGED

FILE = ".made-from.json"
AT_WORK = ("progress.json", "checkpoint.pt", BEFORE, DIVERGED)
"""Files of a run that change while it is trained and that no report shows."""
PACKAGES = ("ablations", "datasets", "harness", "reports", "trackers")


class _MadeFrom(BaseModel):
    """The source of a report, the size of each of its files, and how many results it shows."""

    source: str
    files: dict[str, int]
    results: int = 0


def source_digest(asked: str, paths: Iterable[Path], known: Mapping[Path, str] = MappingProxyType({})) -> str:
    """Return a digest of what was asked, of the files in some folders by name, size and time, and of the project's code.

    `known` has the digests of folders that were looked through already.
    """
    digest = hashlib.sha256(asked.encode())
    for path in sorted({*(ROOT / name for name in PACKAGES), *paths}):
        digest.update((known.get(path) or folder_digest(path)).encode())
    return digest.hexdigest()


def folder_digest(path: Path) -> str:
    """Return a digest of the files in a folder by name, size and time."""
    found = sorted(_stamps(str(path)))
    return hashlib.sha256(f"{path}\0{found!r}".encode(errors="surrogateescape")).hexdigest()


def unchanged(folder: Path, source: str) -> list[Path]:
    """Return the files of the report in a folder if it has the same source and is whole, else an empty list."""
    found = _made_from(folder)
    if found is None or found.source != source:
        return []
    files = {folder / name: size for name, size in found.files.items()}
    whole = all(file.is_file() and file.stat().st_size == size for file, size in files.items())
    return list(files) if whole else []


def results_in(folder: Path) -> int:
    """Return how many results the report in a folder shows, 0 if there is none."""
    found = _made_from(folder)
    return found.results if found and any((folder / name).is_file() for name in found.files) else 0


def keep_source(folder: Path, source: str, written: Sequence[Path], results: int = 0) -> None:
    """Write what the report in a folder was made from, and how many results it shows."""
    files = {str(file.relative_to(folder)): file.stat().st_size for file in written}
    write_document(folder / FILE, _MadeFrom(source=source, files=files, results=results))


def _made_from(folder: Path) -> _MadeFrom | None:
    try:
        return read_document(folder / FILE, _MadeFrom)
    except BadInput:
        return None


def _stamps(folder: str) -> Iterator[tuple[str, int, int]]:
    ahead = [folder]
    while ahead:
        try:
            entries = list(os.scandir(ahead.pop()))
        except OSError:  # another process has just removed it, or nobody may list it
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in AT_WORK or entry.name.endswith(".pyc"):
                continue
            try:
                about = None if entry.is_dir() else entry.stat()
            except OSError:  # another process has just replaced it, or it is a link in a circle
                continue
            if about:
                yield entry.path, about.st_size, about.st_mtime_ns
            else:
                ahead.append(entry.path)
