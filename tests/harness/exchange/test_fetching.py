"""Downloads from a server on this machine: whole or not at all, only from where they should, and resumed."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import invoke, said
from trackablate.datasets.errors import DataError
from trackablate.harness.errors import RunFailed
from trackablate.harness.exchange import fetching

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@dataclass
class Served:
    """What the server does, and the requests that it had."""

    content: bytes = CONTENT
    size: int = len(CONTENT)
    version: str = '"one"'
    breaks_after: int = 0
    to: str = ""
    linked: str = ""
    sparing: bool = True
    careless: bool = False
    asked: list[str] = field(default_factory=list)
    address: str = ""


class Server(ThreadingHTTPServer):
    served: Served


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        served, wanted = self.server.served, self.headers.get("Range", "")
        served.asked.append(f"{self.command} {wanted}".strip())
        if served.to and self.path == "/weights.pth":
            self.send_response(302)
            self.send_header("Location", served.to)
            if served.linked:
                self.send_header("X-Linked-Etag", f'"{served.linked}"')
            self.end_headers()
            return
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        resumed = (
            bool(wanted) and served.sparing and (served.careless or self.headers.get("If-Range") == served.version)
        )
        begin = begin if resumed else 0
        self.send_response(206 if resumed else 200)
        self.send_header("Content-Length", str(served.size - begin))
        self.send_header("ETag", served.version)
        if resumed:
            self.send_header("Content-Range", f"bytes {begin}-{served.size - 1}/{served.size}")
        self.end_headers()
        if self.command == "GET":
            end = served.breaks_after or len(served.content)
            self.wfile.write(served.content[begin:end])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    server = Server(("127.0.0.1", 0), Handler)
    server.served = served = Served(address=f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    declare(tmp_path, monkeypatch, served.address)
    monkeypatch.chdir(tmp_path)
    yield served
    server.shutdown()
    server.server_close()


def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, more: str = "") -> None:
    monkeypatch.setattr(fetching, "TABLE", tmp_path / "table.toml")
    (tmp_path / "table.toml").write_text(
        f'[weights.one]\ntitle = "One"\nsource = "its page"\nlicence = "MIT"\nuse = "use {{file}}"\n'
        f'address = "{address}/weights.pth"\n{more}\n'
        '[weights.drive]\ntitle = "Two"\nsource = "p"\nlicence = "none"\nuse = "use {file}"\nby_hand = "open the drive"\n'
    )


def test_a_file_arrives_whole_with_its_record(served: Served, tmp_path: Path) -> None:
    found = said("fetch", "weights", "one", "--yes")
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT
    assert (found["sha256"], found["bytes"], found["compared"]) == (SHA256, len(CONTENT), "none is published")
    assert found["next"] == "use weights.pth"
    assert json.loads((tmp_path / "weights.pth.json").read_text())["sha256"] == SHA256
    assert sorted(file.name for file in tmp_path.iterdir()) == ["table.toml", "weights.pth", "weights.pth.json"]
    assert said("fetch", "weights", "one", "--yes")["note"] == "it was there already"
    assert served.asked.count("GET") == 1, "the second time nothing is fetched"


@pytest.mark.parametrize("mine", ['{"epochs": 300}', "[1]", "no JSON", '{"address": "mine"}'])
def test_a_json_file_of_the_users_own_is_not_overwritten(mine: str, served: Served, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.json").write_text(mine)
    done = invoke("fetch", "weights", "one", "--yes")
    assert done.exit_code == 2
    assert "weights.pth.json is not a record of `fetch`" in done.output
    assert (tmp_path / "weights.pth.json").read_text() == mine
    assert served.asked.count("GET") == 0
    assert said("fetch", "weights", "one", "--yes", "--out", "other.pth")["sha256"] == SHA256


def test_a_record_without_its_file_is_written_anew(served: Served, tmp_path: Path) -> None:
    said("fetch", "weights", "one", "--yes")
    (tmp_path / "weights.pth").unlink()
    assert said("fetch", "weights", "one", "--yes")["sha256"] == SHA256


def test_size_source_licence_and_checksum_are_told_before_anything_is_fetched(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(tmp_path, monkeypatch, served.address, f'md5 = "{MD5[:6]}"')
    done = invoke("fetch", "weights", "one")
    assert done.exit_code == 2
    for word in ("3.0 MB", "its page", "MIT", f"MD5 {MD5[:6]}", "--yes"):
        assert word in done.output
    assert served.asked == ["HEAD"]
    assert said("fetch", "weights", "one", "--yes")["compared"] == "MD5"


def test_an_interrupted_download_goes_on(served: Served, tmp_path: Path) -> None:
    served.breaks_after = 1_000_000
    done = invoke("fetch", "weights", "one", "--yes")
    assert done.exit_code == 1
    assert "broke off after 1000000 of 3000000 bytes" in done.output
    assert not (tmp_path / "weights.pth").exists()
    served.breaks_after = 0
    assert said("fetch", "weights", "one", "--yes")["sha256"] == SHA256
    assert "GET bytes=1000000-" in served.asked


def test_a_part_of_another_version_is_not_appended(served: Served, tmp_path: Path) -> None:
    """The file changes between the question and the answer, and the server does not heed If-Range."""
    offer = fetching.inspect(fetching.download("weights", "one"))
    served.breaks_after = 1_000_000
    with pytest.raises(RunFailed):
        fetching.fetch(fetching.download("weights", "one"), offer, tmp_path / "weights.pth")
    served.breaks_after, served.careless, served.version = 0, True, '"two"'
    with pytest.raises(DataError, match="has changed meanwhile; nothing is kept, fetch it again"):
        fetching.fetch(fetching.download("weights", "one"), offer, tmp_path / "weights.pth")
    assert [file.name for file in tmp_path.iterdir()] == ["table.toml"]


@pytest.mark.parametrize("sparing", [True, False])
def test_another_version_is_fetched_from_its_beginning(sparing: bool, served: Served) -> None:
    """The file has changed meanwhile, or the server knows no parts."""
    served.breaks_after = 1_000_000
    invoke("fetch", "weights", "one", "--yes")
    served.breaks_after, served.sparing = 0, sparing
    served.content, served.version = CONTENT[::-1], '"two"' if sparing else '"one"'
    found = said("fetch", "weights", "one", "--yes")
    assert found["sha256"] == hashlib.sha256(CONTENT[::-1]).hexdigest()


@pytest.mark.parametrize("published", ['md5 = "0a0b0c"', f'sha256 = "{"0" * 64}"'])
def test_a_wrong_checksum_is_refused(
    published: str, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(tmp_path, monkeypatch, served.address, published)
    done = invoke("fetch", "weights", "one", "--yes")
    assert done.exit_code == 2
    assert "as published" in done.output
    assert [file.name for file in tmp_path.iterdir()] == ["table.toml"]


def test_the_hubs_checksum_is_compared(served: Served, tmp_path: Path) -> None:
    served.to, served.linked = f"{served.address}/stored", SHA256
    assert said("fetch", "weights", "one", "--yes")["compared"] == "SHA-256"
    (tmp_path / "weights.pth").unlink()
    served.linked = "1" * 64
    assert invoke("fetch", "weights", "one", "--yes").exit_code == 2


@pytest.mark.parametrize(
    "to", ["http://example.invalid/weights.pth", "ftp://example.invalid/w", "file:///etc/hostname"]
)
def test_a_redirection_to_a_place_without_encryption_is_refused(to: str, served: Served, tmp_path: Path) -> None:
    served.to = to
    done = invoke("fetch", "weights", "one", "--yes")
    assert done.exit_code == 2
    assert "not encrypted" in done.output or "not allowed" in done.output
    assert [file.name for file in tmp_path.iterdir()] == ["table.toml"]


def test_an_address_without_encryption_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, monkeypatch, "http://example.invalid")
    assert "not encrypted" in invoke("fetch", "weights", "one", "--yes").output


def test_more_than_was_announced_is_refused(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer claims another length than the first."""
    offer = fetching.Offer(1_000_000, '"one"', "")
    monkeypatch.setattr(fetching, "inspect", lambda _found: offer)
    done = invoke("fetch", "weights", "one", "--yes")
    assert done.exit_code == 2
    assert "sends more than the 1000000 bytes" in done.output
    assert [file.name for file in tmp_path.iterdir()] == ["table.toml"]


def test_a_file_that_is_there_is_never_overwritten(served: Served, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"mine")
    done = invoke("fetch", "weights", "one", "--yes")
    assert done.exit_code == 2
    assert (tmp_path / "weights.pth").read_bytes() == b"mine"


def test_a_server_that_is_not_there_and_what_is_to_be_done_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(tmp_path, monkeypatch, "http://127.0.0.1:9")
    done = invoke("fetch", "weights", "one", "--yes")
    assert done.exit_code == 1
    assert "cannot be reached" in done.output
    done = invoke("fetch", "weights", "drive", "--yes")
    assert done.exit_code == 2
    assert "open the drive" in done.output


def test_every_shipped_entry_is_whole() -> None:
    for kind in ("weights", "results"):
        for name, entry in fetching.downloads(kind).items():
            assert bool(entry.address) != bool(entry.by_hand), name
            assert not entry.address or (entry.address.startswith("https://") and entry.file)
            assert "https://" in entry.source
    assert set(said("fetch", "weights")["weights"]) >= {"mae-b16", "dinov2-b14", "ostrack", "lorat"}
    assert invoke("fetch", "weights", "dinov2").exit_code == 2, "an unknown name is refused"
