"""Files below a root: the same from a folder and an archive, nothing from outside, and no hostile archive."""

import multiprocessing
import os
import pickle
import struct
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Literal

import pytest

from trackablate.datasets.errors import DataError
from trackablate.datasets.reading import files as files_module
from trackablate.datasets.reading.files import Archive, Files, Folder
from trackablate.datasets.reading.opening import Below, open_files
from video_factory import write, zipped

CONTENT = {"a/b/c.txt": "hello", "a/d.txt": "", "e.txt": "x" * 300, ".hidden": "no", "__MACOSX/a": "no"}


def _message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_files(path)
    return str(caught.value)


@pytest.fixture(params=["folder", "archive", "below"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    root = write(tmp_path / "root", CONTENT)
    if request.param == "folder":
        return open_files(root)
    if request.param == "archive":
        return open_files(zipped(root, tmp_path / "root.zip"))
    return Below(open_files(zipped(root, tmp_path / "root.zip", within="in/side/")), "in/side")


def test_a_folder_and_an_archive_read_alike(files: Files) -> None:
    assert [n for n in files.names() if n != "__MACOSX"] == ["a", "e.txt"]
    assert files.names("a") == ("b", "d.txt")
    assert files.names("a/") == files.names("a")
    assert files.names("nowhere") == files.names("e.txt") == ()
    assert [files.is_file(n) for n in ("a", "a/d.txt", "a/x", "")] == [False, True, False, False]
    assert [files.is_folder(n) for n in ("a", "a/b", "a/d.txt", "x")] == [True, True, False, False]
    assert files.read("a/b/c.txt") == b"hello"
    assert files.read("a/d.txt") == b""
    assert files.ends("e.txt", 8) == (b"x" * 8, b"x" * 8)
    assert files.ends("a/b/c.txt", 2) == (b"he", b"lo")
    assert files.ends("a/b/c.txt", 8) == (b"hello", b"hello")
    assert files.place("a/d.txt") == files.root / "a/d.txt"
    with pytest.raises(DataError, match=r"nowhere\.txt: is missing"):
        files.read("a/nowhere.txt")
    with pytest.raises(DataError, match="is missing"):
        files.read("e.txt/inside")


def test_a_stamp_tells_a_change_and_what_is_not_there(files: Files) -> None:
    assert files.stamp("nowhere") == (-1, 0)
    assert files.stamp("a/b/c.txt")[0] == 5
    assert files.stamp("a") != (-1, 0)
    assert len({files.stamp(n) for n in ("a/b/c.txt", "a/d.txt", "e.txt", "a", "a/b")}) == 5


def test_a_folders_stamp_follows_its_files(tmp_path: Path) -> None:
    folder = Folder(write(tmp_path, {"a/b": "1", "a/c": "2"}))
    before = folder.stamp("a/b")
    time.sleep(0.02)
    (tmp_path / "a/b").write_text("3")
    os.utime(tmp_path / "a/b", ns=(before[1], before[1]))
    assert folder.stamp("a/b")[1] > before[1], "its time set back does not hide a change"
    assert folder.stamp("a/c") == (1, max((tmp_path / "a/c").stat().st_mtime_ns, (tmp_path / "a/c").stat().st_ctime_ns))
    one = (
        Archive(zipped(tmp_path, tmp_path.parent / "1.zip")).stamp("a/b"),
        Archive(tmp_path.parent / "1.zip").stamp("a"),
    )
    (tmp_path / "a/b").write_text("4")
    two = Archive(zipped(tmp_path, tmp_path.parent / "2.zip"))
    assert two.stamp("a/b") != one[0]
    assert two.stamp("a") == one[1]
    (tmp_path / "a/d").touch()
    assert Archive(zipped(tmp_path, tmp_path.parent / "3.zip")).stamp("a") != one[1]


def test_an_archive_goes_to_another_process(tmp_path: Path) -> None:
    archive = open_files(zipped(write(tmp_path / "r", CONTENT), tmp_path / "r.zip"))
    assert pickle.loads(pickle.dumps(archive)).read("a/b/c.txt") == b"hello"


def test_a_link_out_of_a_folder_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    root = write(tmp_path / "root", CONTENT)
    write(tmp_path, {"secret/s.txt": "s"})
    for name, target in {"out": "../secret", "out.txt": "../secret/s.txt", "in": "a", "circle": "circle"}.items():
        (root / name).symlink_to(target)
    folder = Folder(root)
    assert folder.read("in/b/c.txt") == b"hello"
    for name in ("out/s.txt", "out.txt", "../secret/s.txt"):
        for use in (folder.read, folder.names, lambda n: folder.ends(n, 4)):
            with pytest.raises(DataError, match="leads out of"):
                use(name)
    with pytest.raises(DataError):
        folder.read("circle")


def test_what_is_no_ordinary_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not an ordinary file"):
        Folder(tmp_path).read("pipe")
    with pytest.raises(DataError, match="not an ordinary file"):
        Folder(tmp_path).ends("", 4)


def _reads(archive: Files, name: str, text: bytes, times: int) -> bool:
    return all(archive.read(name) == text for _ in range(times))


def test_forked_processes_read_an_archive_at_the_same_time(tmp_path: Path) -> None:
    """They would share the position of a file that the parent opened: loaders of training pairs are forked."""
    content = {f"{number}.txt": f"{number:06d}" * 20_000 for number in range(4)}
    archive = open_files(zipped(write(tmp_path / "r", content), tmp_path / "r.zip"))
    assert _reads(archive, "0.txt", content["0.txt"].encode(), 1)
    context = multiprocessing.get_context("fork")
    asked = [(archive, name, text.encode(), 60) for name, text in content.items()]
    children = [context.Process(target=lambda one: os._exit(0 if _reads(*one) else 1), args=(one,)) for one in asked]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4


def test_a_file_beyond_all_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = open_files(zipped(write(tmp_path / "r", CONTENT), tmp_path / "r.zip"))
    monkeypatch.setattr(files_module, "LARGEST", 299)
    for found in (Folder(tmp_path / "r"), archive):
        with pytest.raises(DataError, match="has 300 bytes, more than any such file"):
            found.read("e.txt")
        assert found.read("a/b/c.txt") == b"hello"


def test_neither_folder_nor_archive(tmp_path: Path) -> None:
    assert _message(tmp_path / "x") == f"{tmp_path / 'x'}: is neither a folder nor a zip archive; name one that exists"
    (tmp_path / "x").write_bytes(b"PK\x03\x04 and then nothing")
    assert "x: is not a readable zip archive" in _message(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"")
    assert "is not a readable zip archive" in _message(tmp_path / "x")


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "..\\x", "C:/x", "C:\\x", "\\x", ".//../x", "//x", ".."]
)
def test_an_entry_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as opened:
        opened.writestr("fine", "")
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        opened.writestr(info, "x")
    assert f"leads out of it or is oddly spelled, {name!r}" in _message(tmp_path / "z")


def _entries(archive: Path, *names: str) -> Path:
    """An archive with these very names, whatever this system would make of them."""
    with zipfile.ZipFile(archive, "w") as opened:
        for name in names:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            opened.writestr(info, "" if name.endswith(("/", "\\")) else name)
    return archive


@pytest.mark.parametrize("name", ["a\\b\\x.txt", "./a/b/x.txt", "a//b/x.txt", "a/./b///x.txt", ".\\a\\b/x.txt"])
def test_paths_are_read_as_they_are_meant(tmp_path: Path, name: str) -> None:
    files = open_files(_entries(tmp_path / "z", "./", "a\\", "a//", name, "a/b/y.txt"))
    assert (files.names(), files.names("a"), files.names("a/b")) == (("a",), ("b",), ("x.txt", "y.txt"))
    assert files.read("a/b/x.txt") == name.encode()
    assert files.stamp("a/b/x.txt")[0] == len(name)
    assert "has two entries called" in _message(_entries(tmp_path / "two", name, "a/b/x.txt"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_macos_adds_is_left_out_even_twice(tmp_path: Path) -> None:
    added = (".DS_Store", "a/.DS_Store", "__MACOSX/a/._x.txt", "__MACOSX/", ".git/config", "a\\.DS_Store")
    files = open_files(_entries(tmp_path / "z", *added, *added, "a/x.txt"))
    assert (files.names(), files.names("a"), files.is_file(".DS_Store")) == (("a",), ("x.txt",), False)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_other_packed_files_are_to_be_unpacked(tmp_path: Path, mode: Literal["w", "w:gz", "w:bz2", "w:xz"]) -> None:
    (tmp_path / "x.txt").write_text("1")
    with tarfile.open(tmp_path / "z", mode) as opened:
        opened.add(tmp_path / "x.txt", "x.txt")
    kind = {"w": "tar", "w:gz": "gzip (.tar.gz)", "w:bz2": "bzip2 (.tar.bz2)", "w:xz": "xz (.tar.xz)"}[mode]
    said = f"{tmp_path / 'z'}: is a {kind} file, which is not read in place; unpack it and name the folder"
    assert _message(tmp_path / "z").startswith(said)


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as opened:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        opened.writestr(info, "/etc/passwd")
    assert "has a link, 'link'" in _message(tmp_path / "z")


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as opened:
        opened.writestr("a/b", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("a/b", "2")
    assert "has two entries called 'a/b'" in _message(tmp_path / "z")


def test_a_file_that_is_a_folder_too_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as opened:
        opened.writestr("a", "1")
        opened.writestr("a/b", "2")
    assert "has 'a' as a file and as a folder" in _message(tmp_path / "z")


def test_a_bomb_is_refused_unopened(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("boxes.txt", "".join(f"{n % 997},{n % 89},40,30\n" for n in range(200_000)))
        opened.writestr("bomb", bytes(3 * 2**20))
    said = _message(tmp_path / "z")
    assert "unpacks to 3145728, 'bomb'" in said
    assert "boxes.txt" not in said


def _patched(path: Path, offset_in_central: int, layout: str, *values: int) -> None:
    """Overwrite a field of the first entry in the central directory."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, content.find(b"PK\x01\x02") + offset_in_central, *values)
    path.write_bytes(bytes(content))


@pytest.fixture
def single(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a", "abcdefgh" * 100)
    return tmp_path / "z"


def test_an_encrypted_entry_is_refused(single: Path) -> None:
    _patched(single, 8, "<H", 1)
    assert "has an encrypted entry, 'a'" in _message(single)


@pytest.mark.parametrize(("size", "said"), [(900, "is not as long"), (10, "is not as long|cannot be unpacked")])
def test_a_size_that_is_a_lie_is_found(single: Path, size: int, said: str) -> None:
    _patched(single, 24, "<L", size)
    with pytest.raises(DataError, match=said):
        open_files(single).read("a")


@pytest.mark.parametrize("at", [-1, 3])
def test_a_damaged_entry_is_found(single: Path, at: int) -> None:
    content = bytearray(single.read_bytes())
    begin = content.find(b"a", 30) + 1
    end = content.find(b"PK\x01\x02")
    content[(begin + at) if at > 0 else end - 1] ^= 0xFF
    single.write_bytes(bytes(content))
    with pytest.raises(DataError, match="/a: cannot be unpacked"):
        open_files(single).read("a")


def test_an_unknown_compression_is_named(single: Path) -> None:
    _patched(single, 10, "<H", 99)
    with pytest.raises(DataError, match="cannot be unpacked"):
        open_files(single).read("a")


def test_all_faults_of_an_archive_come_in_one_message(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as opened:
        opened.writestr("../a", "")
        opened.writestr("\x1b[31m/../b", "")
    said = _message(tmp_path / "z")
    assert said.startswith("2 problems")
    assert "\x1b" not in said
