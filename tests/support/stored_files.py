"""Changes files of a store: as another version would have written them, and as a bad disk would leave them."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trackablate.datasets.atomic import sealed, unsealed


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a document and give it the digest of its new content."""
    document = json.loads(unsealed(file.read_bytes()).content)
    change(document)
    file.write_text(sealed(json.dumps(document)))


def without_digest(file: Path) -> None:
    """Leave a document as an older version of the program wrote it."""
    file.write_bytes(unsealed(file.read_bytes()).content)


def flip(file: Path, at: float = 0.5, bit: int = 2) -> None:
    """Change one bit, at a share of the file's length."""
    content = bytearray(file.read_bytes())
    content[min(len(content) - 1, int(at * len(content)))] ^= 1 << bit
    file.write_bytes(bytes(content))


class _Vanishing:
    """What is in a folder; temporary files are removed once they are listed, as by a run at work."""

    def __init__(self, entries: "list[os.DirEntry[str]]") -> None:
        self._left = entries
        for entry in entries:
            if entry.name.endswith(".tmp"):
                os.unlink(entry.path)  # noqa: PTH108

    def __iter__(self) -> "Iterator[os.DirEntry[str]]":
        return iter(self._left)

    def __next__(self) -> "os.DirEntry[str]":
        if not self._left:
            raise StopIteration
        return self._left.pop(0)

    def __enter__(self) -> "_Vanishing":
        return self

    def __exit__(self, *_: object) -> None: ...


def let_temporary_files_vanish(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, they are gone when they have been listed."""
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place=".": _Vanishing(list(scan(place))))
