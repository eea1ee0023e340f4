"""Whether a report on disk was made from the same files that a new one would be made from, so that nothing is redrawn."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from trackablate.harness.checkout import ROOT
from trackablate.harness.documents import read_document, write_document
from trackablate.harness.errors import BadInput

FILE = ".made-from.json"
AT_WORK = ("lock", "progress.json", "checkpoint.pt")
"""Files of a run that change while it is trained and that no report shows."""
PACKAGES = ("ablations", "datasets", "harness", "reports", "trackers")


class _MadeFrom(BaseModel):
    """The source of a report, and the size of each of its files."""

    source: str
    files: dict[str, int]


def source_digest(asked: str, paths: Iterable[Path]) -> str:
    """Return a digest of what was asked, of the files in some folders by name, size and time, and of the project's code."""
    digest = hashlib.sha256(asked.encode())
    code = [file for name in PACKAGES for file in _files(ROOT / name) if file.suffix != ".pyc"]
    for file in sorted({*code, *(file for path in paths for file in _files(path))}):
        try:
            about = file.stat()
        except FileNotFoundError:  # another process has just replaced it
            continue
        digest.update(f"{file}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def unchanged(folder: Path, source: str) -> list[Path]:
    """Return the files of the report in a folder if it has the same source and is whole, else an empty list."""
    try:
        found = read_document(folder / FILE, _MadeFrom)
    except BadInput:
        return []
    if found is None or found.source != source:
        return []
    files = {folder / name: size for name, size in found.files.items()}
    whole = all(file.is_file() and file.stat().st_size == size for file, size in files.items())
    return list(files) if whole else []


def keep_source(folder: Path, source: str, written: Sequence[Path]) -> None:
    """Write what the report in a folder was made from."""
    files = {str(file.relative_to(folder)): file.stat().st_size for file in written}
    write_document(folder / FILE, _MadeFrom(source=source, files=files))


def _files(path: Path) -> Iterator[Path]:
    found = (inner for inner in path.rglob("[!.]*") if inner.name not in AT_WORK)
    return (inner for inner in found if inner.is_file())
