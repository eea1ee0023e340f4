"""The two ends of a copy between stores: a store on this machine, and one anywhere that fsspec reaches.

A copy goes by units: a run, a protocol, all studies, all counted sizes. The remote has a manifest of each unit, with the
size and the SHA-256 of its files. Nothing that a remote says is trusted: `fault_of_name` refuses names
that no store has.
"""

import json
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Protocol

from pydantic import BaseModel, NonNegativeInt

from trackablate.datasets.atomic import LARGEST, sealed, unsealed, whole_archive, write_with
from trackablate.datasets.errors import shown, unsafe
from trackablate.harness.documents import DIGESTS, MARKER, Damaged, damaged, is_whole
from trackablate.harness.errors import BadInput
from trackablate.harness.store import FORMAT, Store

OF_A_RUN = (
    *("weights.safetensors", "training.json", "speed*.json", "server/*.json"),
    *("evaluations/*/*.json", "evaluations/*/weights.sha256", "evaluations/*/image_files.npz", "spec.json"),
)
"""What is copied of a run, in this order: a run without spec.json is not there yet."""
COPIED = (
    *(f"runs/*/{name}" for name in OF_A_RUN),
    *("protocols/*/protocol.json", "protocols/*/strips.npz", "studies/*/*.json", "counted/*.json"),
)
"""What is copied of a store."""
MANIFESTS = "manifests"
LARGEST_MANIFEST = 64 * 2**20
"""Bytes. A run on 10,000 sequences has a manifest of 2 MB."""
CHUNK = 2**20


class Entry(BaseModel):
    """Size and SHA-256 of a file."""

    size: NonNegativeInt
    sha256: str


class Manifest(BaseModel):
    """The files of a unit, by their names in the store."""

    files: dict[str, Entry]


class End(Protocol):
    """A store at one end of a copy. Names are those of files in the store, written with "/"."""

    def files(self, unit: str) -> dict[str, Entry]:
        """Return the files that the unit has there."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file."""

    def receive(self, name: str, chunks: Iterable[bytes], entry: Entry) -> None:
        """Write a file in one step, and only if it is what was announced. Raises Damaged otherwise."""


def fault_of_name(name: str, unit: str) -> str:
    """Return why a name from a remote is none of a file of this unit, "" if it is one."""
    parts = name.split("/")
    odd = any(not part or part.startswith(".") or len(part) > 200 or set(part) & set("\\:") for part in parts)
    patterns = [known.split("/") for known in COPIED]
    fits = any(len(parts) == len(known) and all(map(fnmatchcase, parts, known)) for known in patterns)
    good = fits and not odd and not unsafe(name) and name.startswith(f"{unit}/")
    return "" if good else f"{shown(name)!r} is no file of {shown(unit)}"


def read(end: End, name: str, most: int = LARGEST) -> bytes:
    """Return the content of a file. Raises Damaged for a larger one."""
    with end.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Damaged(f"{name} has more than {most} bytes")
    return content


def chunks_of(end: End, name: str) -> Iterator[bytes]:
    """Yield the content of a file in parts."""
    with end.open(name) as file:
        while part := file.read(CHUNK):
            yield part


def checked(name: str, chunks: Iterable[bytes], entry: Entry) -> Iterator[bytes]:
    """Yield the chunks, never more than announced. Raises Damaged at their end unless size and SHA-256 are as announced."""
    digest, size = sha256(), 0
    for part in chunks:
        size += len(part)
        if size > entry.size:
            break
        digest.update(part)
        yield part
    if size != entry.size or digest.hexdigest() != entry.sha256:
        raise Damaged(f"{shown(name)} is not what was announced (its size or its SHA-256 differs)")


class LocalEnd:
    """A store on this machine."""

    def __init__(self, store: Store) -> None:
        self._root = store.root

    def files(self, unit: str) -> dict[str, Entry]:
        """See End. Raises Damaged if one of them is: damage is not copied."""
        found = {}
        for name in self.names(unit):
            path = self._root / name
            if not {".json": is_whole, ".npz": whole_archive}.get(path.suffix, Path.is_file)(path):
                raise damaged(path, "its checksum is not the one that it was written with")
            found[name] = _entry(chunks_of(self, name))
        return found

    def names(self, unit: str) -> list[str]:
        """Return the names of the files of a unit, in the order in which they are copied."""
        patterns = [known for known in COPIED if known.startswith(f"{unit.split('/')[0]}/")]
        places = [pattern.replace("*", unit.split("/")[1], 1) if "/" in unit else pattern for pattern in patterns]
        found = (path for place in places for path in sorted(self._root.glob(place)))
        names = (path.relative_to(self._root).as_posix() for path in found if path.is_file())
        return [name for name in dict.fromkeys(names) if not fault_of_name(name, unit)]

    def open(self, name: str) -> IO[bytes]:
        """See End."""
        return (self._root / name).open("rb")

    def receive(self, name: str, chunks: Iterable[bytes], entry: Entry) -> None:
        """See End. Also raises Damaged if a link leads out of the store."""
        path = self._root / name
        if not path.parent.resolve().is_relative_to(self._root):
            raise Damaged(f"{path} leads out of the store by a link")
        write_with(path, lambda file: [file.write(part) for part in checked(name, chunks, entry)])


class RemoteEnd:
    """A store that fsspec reaches. Raises BadInput if it cannot, or if the place is no store of this format.

    Args:
        url: A folder as fsspec names it: s3://BUCKET/FOLDER, sftp://HOST/FOLDER, file:///FOLDER.
        marker: What to write into an empty place to make it a store; None to refuse it.
    """

    def __init__(self, url: str, marker: bytes | None = None) -> None:
        from fsspec import filesystem
        from fsspec.core import url_to_fs

        self.url = url
        # In a path without a protocol "::" chains nothing.
        local = "" if "://" in url else Path(url).expanduser().absolute().as_posix()
        try:
            self._fs, root = (filesystem("file"), local) if local else url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            raise BadInput(f"{shown(url)} cannot be reached: {error}") from error
        self._root = root.rstrip("/")
        if (found := self._marker()) is None:
            if marker is None:
                raise BadInput(f"there is no store at {shown(url)}: `store push` makes one")
            if self._fs.exists(self._root) and self._fs.ls(self._root):
                raise BadInput(f"{shown(url)} is neither empty nor a store: name another folder")
            self._put(MARKER, marker)
            found = json.loads(marker)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise BadInput(f"{shown(url)} is no store of format {FORMAT}: use the version of trackablate that wrote it")
        self.digests = bool(found.get(DIGESTS))
        """Whether all its documents have digests."""

    def units(self) -> tuple[list[str], list[str]]:
        """Return the units that have a manifest, and the names of manifests that cannot be one's."""
        found = [path.partition(f"{self._root}/{MANIFESTS}/")[2] for path in self._fs.find(f"{self._root}/{MANIFESTS}")]
        units = {name.removesuffix(".json"): name for name in sorted(found) if name.endswith(".json")}
        files = ("spec.json", "protocol.json")  # of a run, of a protocol
        good = [
            unit
            for unit in units
            if unit in ("studies", "counted") or any(not fault_of_name(f"{unit}/{name}", unit) for name in files)
        ]
        return good, [shown(name) for unit, name in units.items() if unit not in good]

    def manifest(self, unit: str) -> Manifest | None:
        """Return what is said to be in a unit, None if nothing is. Raises Damaged for a bad manifest or name."""
        try:
            content = read(self, f"{MANIFESTS}/{unit}.json", LARGEST_MANIFEST)
        except FileNotFoundError:
            return None
        try:
            found = Manifest.model_validate_json(unsealed(content).content)
        except ValueError as error:
            raise Damaged(f"{MANIFESTS}/{unit}.json is damaged: {shown(error)[:200]}") from error
        if fault := next(filter(None, (fault_of_name(name, unit) for name in found.files)), ""):
            raise Damaged(f"{MANIFESTS}/{unit}.json: {fault}")
        large = [name for name, entry in found.files.items() if entry.size > LARGEST]
        if large := [name for name in large if not name.endswith(".safetensors")]:
            raise Damaged(f"{large[0]} has more than {LARGEST} bytes")
        return found

    def files(self, unit: str) -> dict[str, Entry]:
        """See End. Files of a push that was interrupted are in no manifest: they are read."""
        if (found := self.manifest(unit)) is not None:
            return found.files
        there = self._fs.find(f"{self._root}/{unit}") if self._fs.exists(f"{self._root}/{unit}") else []
        names = [path.partition(f"{self._root}/")[2] for path in there]
        return {name: _entry(chunks_of(self, name)) for name in names if not fault_of_name(name, unit)}

    def keep(self, unit: str, files: dict[str, Entry]) -> None:
        """Write the manifest of a unit."""
        self._put(f"{MANIFESTS}/{unit}.json", sealed(Manifest(files=files).model_dump_json()).encode())

    def open(self, name: str) -> IO[bytes]:
        """See End."""
        path = f"{self._root}/{name}"
        if "file" in self._fs.protocol and self._fs.info(path)["type"] != "file":  # reading a pipe would never end
            raise Damaged(f"{shown(path)} is no ordinary file")
        file: IO[bytes] = self._fs.open(path, "rb")
        return file

    def receive(self, name: str, chunks: Iterable[bytes], entry: Entry) -> None:
        """See End. What has arrived is read back before it gets its name."""
        folder, _, bare = name.rpartition("/")
        temporary = f"{folder}/.{bare}.tmp" if folder else f".{bare}.tmp"
        self._fs.makedirs(f"{self._root}/{folder}".rstrip("/"), exist_ok=True)
        try:
            with self._fs.open(f"{self._root}/{temporary}", "wb") as file:
                for part in checked(name, chunks, entry):
                    file.write(part)
            for _ in checked(name, chunks_of(self, temporary), entry):
                continue
            self._fs.mv(f"{self._root}/{temporary}", f"{self._root}/{name}")
        finally:
            if self._fs.exists(f"{self._root}/{temporary}"):
                self._fs.rm(f"{self._root}/{temporary}")

    def _put(self, name: str, content: bytes) -> None:
        if self._fs.exists(f"{self._root}/{name}"):
            self._fs.rm(f"{self._root}/{name}")
        self.receive(name, [content], _entry([content]))

    def _marker(self) -> Any:
        try:
            return json.loads(read(self, MARKER, 2**16))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError, Damaged) as error:
            raise BadInput(f"{shown(self.url)}/{MARKER} is damaged: {error}") from error


def _entry(chunks: Iterable[bytes]) -> Entry:
    digest, size = sha256(), 0
    for part in chunks:
        digest.update(part)
        size += len(part)
    return Entry(size=size, sha256=digest.hexdigest())
