"""Opens a root for reading, whatever it is: a folder, a zip archive, or LMDB databases."""

from pathlib import Path

from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.databases import has_databases, open_databases
from trackablate.datasets.reading.files import Archive, Files, Folder


def open_files(path: Path) -> Files:
    """Return the files below a folder, in a zip archive or in LMDB databases.

    Raises:
        DataError: The path is something else, or a hostile archive.
    """
    if path.is_dir() and has_databases(path):
        return open_databases(path)
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Archive(path)
    raise DataError.at(path, "is neither a folder nor a zip archive", "name one that exists")
