"""Downloads of published weights and results: only from the addresses of `downloads.toml`, over HTTPS, whole or not at all.

What has arrived lies beside the file as `.NAME.DIGEST.part` until all of it is there and compared; the digest is that of
the server's version. Nothing here opens what it fetches.
"""

import hashlib
import http.client
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import Field

from trackablate.datasets.atomic import read_ordinary_text, write_text
from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.registry import UnknownName, unknown
from trackablate.datasets.toml_files import read_toml
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.trackers.spec import Frozen

TABLE = Path(__file__).with_name("downloads.toml")
PIECE = 1 << 20
"""Bytes that are read at once."""
LARGEST = 50_000_000_000
"""Bytes that a file has at most."""
PATIENCE = 60
"""Seconds without a byte after which a server is given up."""
BUSY = (408, 425, 429)
"""Answers of a server that may say otherwise later."""
HERE = ("127.0.0.1", "localhost", "::1")
"""Hosts that may be asked without encryption: this machine itself."""


class Download(Frozen):
    """One entry of the table: an address, or what to do by hand, with source, licence and published checksum."""

    title: str
    source: str
    licence: str
    use: str
    address: str = ""
    by_hand: str = ""
    md5: str = Field(default="", pattern="^[0-9a-f]{0,32}$")
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")

    @property
    def file(self) -> str:
        """The file's name, as the address has it."""
        return unquote(urlsplit(self.address).path.rpartition("/")[2])


@dataclass(frozen=True)
class Offer:
    """What a server says of a file before it is fetched.

    Attributes:
        size: Number of bytes.
        version: Text that changes with the content; "" if the server has none.
        sha256: The checksum that the address's own host states.
    """

    size: int
    version: str
    sha256: str


def downloads(kind: str) -> dict[str, Download]:
    """Return what there is of a kind, "weights" or "results". Raises UnknownName for another kind."""
    _, found = read_toml(TABLE)
    if kind not in found:
        raise UnknownName(unknown("kind of download", kind, found))
    return {name: Download.model_validate(entry) for name, entry in found[kind].items()}


def download(kind: str, name: str) -> Download:
    """Return one entry. Raises UnknownName, or BadInput with what to do by hand where no program may fetch it."""
    entries = downloads(kind)
    if name not in entries:
        raise UnknownName(unknown(kind, name, entries))
    found = entries[name]
    if found.by_hand:
        then = found.use.replace("{file}", "FILE")
        raise BadInput(
            f"{found.title}: no program may download it; {found.by_hand}. Source: {found.source}. Then: {then}"
        )
    return found


def inspect(found: Download) -> Offer:
    """Ask the server for size and version. Raises DataError or RunFailed (`_open`)."""
    answer, stated = _open(found, method="HEAD")
    with answer:
        size = stated.get("X-Linked-Size") or answer.headers.get("Content-Length") or ""
        digest = (stated.get("X-Linked-Etag") or "").strip('"')
        version = _version(answer)
    if not size.isdigit() or not 0 < int(size) <= LARGEST:
        raise DataError(f"{found.address} states no size up to {LARGEST / 1e9:.0f} GB; fetch it by hand")
    return Offer(int(size), version, found.sha256 or (digest if re.fullmatch("[0-9a-f]{64}", digest) else ""))


def fetch(
    found: Download, offer: Offer, out: Path, progress: Callable[[int], None] = lambda _done: None
) -> dict[str, Any]:
    """Fetch a file, or what is left of it, and return what is known of it, which also lies beside it as JSON.

    Raises:
        BadInput: The file is there already, and is not known to be this one; or the user has a JSON file of that name.
        RunFailed: The connection broke off; what has arrived is kept.
        DataError: The server sends something else than it announced; nothing is kept.
    """
    beside = out.with_name(f"{out.name}.json")
    before = _record(beside)
    if out.exists():
        return _already(found, out, before)
    part = out.with_name(f".{out.name}.{hashlib.sha256(offer.version.encode()).hexdigest()[:12]}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not offer.version or (part.exists() and part.stat().st_size > offer.size):
        part.unlink(missing_ok=True)  # without a version nobody knows what the beginning belongs to
    if not part.exists() or part.stat().st_size < offer.size:
        _receive(found, offer, part, progress)
    if part.stat().st_size != offer.size:
        part.unlink()
        raise BadInput(f"another `fetch` writes {shown(out)} too: let it end, and name another file with --out")
    digests = _digests(part)
    for kind, wanted in (("md5", found.md5), ("sha256", offer.sha256)):
        if not digests[kind].startswith(wanted):
            part.unlink()
            problem = f"its {kind.upper()} is {digests[kind]}, not {wanted} as published"
            raise DataError(f"{found.address}: {problem}; it was removed, fetch it again later, or by hand")
    compared = " and ".join(kind for kind, wanted in (("MD5", found.md5), ("SHA-256", offer.sha256)) if wanted)
    record = {
        "file": str(out),
        "bytes": offer.size,
        "sha256": digests["sha256"],
        "compared": compared or "none is published",
    }
    record |= {"address": found.address, "source": found.source, "licence": found.licence}
    write_text(
        beside, json.dumps({**record, "fetched": datetime.now(UTC).isoformat(timespec="seconds")}, indent=1) + "\n"
    )
    part.replace(out)
    return record | {"next": found.use.replace("{file}", str(out))}


def _record(file: Path) -> dict[str, Any]:
    """Return what an earlier `fetch` has recorded, {} for nothing. Raises BadInput for any other file."""
    if not file.exists():
        return {}
    try:
        record = json.loads(read_ordinary_text(file))
    except (OSError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not record.keys() >= {"address", "sha256", "fetched"}:
        raise BadInput(
            f"{shown(file)} is not a record of `fetch`, which would write one there: move it away, or name another file"
            " with --out"
        )
    return record


def _already(found: Download, out: Path, record: dict[str, Any]) -> dict[str, Any]:
    if record.get("address") == found.address and record.get("sha256") == _digests(out)["sha256"]:
        return {**record, "next": found.use.replace("{file}", str(out)), "note": "it was there already"}
    raise BadInput(
        f"{shown(out)} is there already, and not as `fetch` left it: move it away, or name another with --out"
    )


def _receive(found: Download, offer: Offer, part: Path, progress: Callable[[int], None]) -> None:
    """Append what is left of a file to its part."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-", "If-Range": offer.version} if done else {}
    answer, _ = _open(found, headers)
    with answer:
        resumed = answer.status == http.client.PARTIAL_CONTENT
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise DataError(f"{found.address}: the server sends another part than was asked for; fetch it by hand")
        if resumed and _version(answer) not in ("", offer.version):  # it does not heed If-Range
            part.unlink()
            raise DataError(f"{found.address} has changed meanwhile; nothing is kept, fetch it again")
        done = done if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while piece := _piece(answer, found.address):
                done += len(piece)
                if done > offer.size:
                    file.close()
                    part.unlink()
                    problem = f"sends more than the {offer.size} bytes that it announced"
                    raise DataError(f"{found.address} {problem}; nothing is kept")
                file.write(piece)
                progress(done)
            file.flush()
            os.fsync(file.fileno())
    if done < offer.size:
        raise RunFailed(f"{found.address}: the connection broke off after {done} of {offer.size} bytes")


def _version(answer: Any) -> str:
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""


def _piece(answer: Any, address: str) -> bytes:
    try:
        return bytes(answer.read(PIECE))
    except (OSError, http.client.HTTPException) as error:
        raise RunFailed(f"{address}: the connection broke off ({error})") from error


def _digests(file: Path) -> dict[str, str]:
    found = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            for digest in found.values():
                digest.update(piece)
    return {kind: digest.hexdigest() for kind, digest in found.items()}


class _Redirects(HTTPRedirectHandler):
    """Follows redirections to encrypted addresses only, and keeps what the first answer states of the file."""

    def __init__(self) -> None:
        self.stated: Any = {}

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Return the request of the next address. Raises DataError if it is not allowed."""
        _refuse_open(newurl)
        self.stated = self.stated or headers
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request:
            request.method = req.get_method()
        return request


def _refuse_open(address: str) -> None:
    """Raise DataError if anyone on the way could change what an address sends."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in HERE):
        raise DataError(f"{shown(address)} is not encrypted (HTTPS); nothing is fetched from it")


def _open(found: Download, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[Any, Any]:
    """Open a download's address; return the answer, and the headers of the first of several.

    Raises:
        DataError: The address, or one that it leads to, is not allowed, or there is no such file.
        RunFailed: The server cannot be reached, or fails.
    """
    _refuse_open(found.address)
    sent = {"User-Agent": "trackablate", "Accept-Encoding": "identity", **(headers or {})}
    redirects = _Redirects()
    try:
        answer = build_opener(redirects).open(Request(found.address, headers=sent, method=method), timeout=PATIENCE)
    except HTTPError as error:
        if error.code < 500 and error.code not in BUSY:
            problem = f"{found.address}: the server refuses it ({error.code} {error.reason})"
            raise DataError(f"{problem}; look at {found.source} for where it lies now") from error
        raise RunFailed(f"{found.address}: the server fails ({error.code} {error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise RunFailed(f"{found.address} cannot be reached ({getattr(error, 'reason', error)})") from error
    return answer, redirects.stated
