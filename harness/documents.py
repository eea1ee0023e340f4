"""Documents: JSON files of the store, each with its digest, so that damage is named and never becomes a number."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

from pydantic import BaseModel, ValidationError

from trackablate.datasets.atomic import read_ordinary, sealed, unsealed, write_text
from trackablate.harness.errors import BadInput

MARKER = "store.json"
"""The file that makes a folder a store."""
DIGESTS = "digests"
"""Field of the marker: every document of this store has a digest. Stores of older versions have some without."""

M = TypeVar("M", bound=BaseModel)
P = ParamSpec("P")
T = TypeVar("T")


class Damaged(BadInput):
    """A document that does not hold what was written."""


def write_document(path: Path, document: BaseModel, indent: int | None = None) -> None:
    """Replace a file by a document with its digest, in one step."""
    write_text(path, sealed(document.model_dump_json(indent=indent)))


def read_document(path: Path, model: type[M]) -> M | None:
    """Return the document in a file, None if there is no file.

    Raises:
        Damaged: Its content is not what was written.
        BadInput: It is of another version. Both messages have the remedy.
    """
    try:
        content = read_ordinary(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise damaged(path, str(error.strerror)) from error
    text = _content(path, content)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problem = _unreadable(error)
        raise (BadInput(f"{path} {problem}") if problem else damaged(path, "it is no JSON")) from error


def is_whole(path: Path) -> bool:
    """Return whether a file is there and holds what was written, by its digest alone if it has one."""
    try:
        content = read_ordinary(path)
        text = _content(path, content)
    except (OSError, Damaged):
        return False
    return len(text) < len(content) or _is_json(text)


def damaged(path: Path, problem: str) -> Damaged:
    """Return the error for a damaged document."""
    return Damaged(f"{path} is damaged ({problem}): restore it from a copy, or move it away")


def readable(read: Callable[P, T], *args: P.args, **named: P.kwargs) -> T | None:
    """Return what `read` returns. If it raises BadInput, log a warning, which names the file, and return None."""
    return _unless(BadInput, read, *args, **named)


def undamaged(read: Callable[P, T], *args: P.args, **named: P.kwargs) -> T | None:
    """Return what `read` returns. A damaged document counts as absent; a warning is logged."""
    return _unless(Damaged, read, *args, **named)


@cache
def left_out(reason: str) -> None:
    """Log a warning once, since history, plans and progress read the documents of a store again and again."""
    logging.getLogger(__name__).warning("left out: %s", reason)


def _unless(kind: type[BadInput], read: Callable[P, T], *args: P.args, **named: P.kwargs) -> T | None:
    try:
        return read(*args, **named)
    except kind as error:
        left_out(str(error))
        return None


def _content(path: Path, content: bytes) -> bytes:
    try:
        found = unsealed(content)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if not found.sealed and (marker := _needs_digests(path.parent)):
        if not _is_json(content):
            raise damaged(path, "it is no JSON")
        remedy = f'restore it from a copy; if it comes from an older store, remove "{DIGESTS}" from {marker}'
        raise Damaged(f"{path} has no digest: {remedy}")
    return found.content


@cache
def _needs_digests(folder: Path) -> Path | None:
    """Return the marker of the store that a folder is in, if all documents of the store have digests."""
    for place in (folder, *folder.parents):
        try:
            return place / MARKER if f'"{DIGESTS}"'.encode() in read_ordinary(place / MARKER) else None
        except OSError:
            continue
    return None


def _is_json(content: bytes) -> bool:
    from pydantic_core import from_json

    try:
        from_json(content)
    except ValueError:
        return False
    return True


def _unreadable(error: ValidationError) -> str:
    """Return how a document differs from this version's, "" if it is no JSON."""
    first = error.errors()[0]
    kind = first["input"].get("kind") if isinstance(first["input"], dict) else None
    if "--plugin" in first["msg"] and isinstance(kind, str):
        return f"has the head {kind!r} of a plugin: name the plugin's file with --plugin FILE"
    if first["type"] == "json_invalid":
        return ""
    place = ".".join(map(str, first["loc"]))
    return f"is of another version ({place}: {first['msg']}): use the version of trackablate that wrote it"
