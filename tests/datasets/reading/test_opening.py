"""LMDB copies of data sets: every file of the folder is found in them, and sequences are the same from either."""

import multiprocessing
import pickle
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trackablate.datasets.benchmarks import got10k, lasot, trackingnet
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading import opening
from trackablate.datasets.reading.files import Folder
from trackablate.datasets.reading.opening import open_files
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.synthetic.writing import videos, write
from trackablate.harness.cli.data import check_data

lmdb = pytest.importorskip("lmdb", reason="needs the package lmdb: pip install lmdb")


def packed(folder: Path, database: Path) -> None:
    """All files of a folder, keys as OSTrack's scripts make them."""
    with lmdb.open(str(database), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            transaction.put(file.relative_to(folder).as_posix().encode(), file.read_bytes())


@pytest.fixture(scope="module", params=["lasot", "got10k", "trackingnet"])
def roots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """A data set as a folder and as databases."""
    layout, place = request.param, tmp_path_factory.mktemp("databases")
    write(layout, videos(layout, count=3, length=4, size=(96, 64)), place / "folder")
    if layout == "trackingnet":
        (place / "lmdb").mkdir()
        for chunk in (place / "folder").iterdir():
            packed(chunk, place / "lmdb" / f"{chunk.name}_lmdb")
        (place / "lmdb" / "seq_list.json").write_text("[]")
    else:
        packed(place / "folder", place / "lmdb")
    return layout, place / "folder", place / "lmdb"


PARTS: dict[str, tuple[Part, ...]] = {
    "lasot": (lasot.TEST, lasot.TRAIN),
    "got10k": (got10k.TEST, got10k.VAL, got10k.TRAIN),
    "trackingnet": (trackingnet.TEST, trackingnet.TRAIN),
}


def test_sequences_are_those_of_the_folder(roots: tuple[str, Path, Path], tmp_path: Path) -> None:
    layout, folder, database = roots
    for part in PARTS[layout]:
        wanted, found = part(folder), part(database)
        assert (found.names, found.digest(), found.coverage) == (wanted.names, wanted.digest(), wanted.coverage)
        for one, other in zip(wanted, found, strict=True):
            assert len(one.frames) == len(other.frames) == 4
            assert np.array_equal(one.frames[3], other.frames[3])
            assert np.array_equal(one.boxes, other.boxes) and np.array_equal(one.visible, other.visible)
        assert part(database, tmp_path / part.name).digest() == part(database, tmp_path / part.name).digest()
    assert check_data(f"{layout}={database}", deep=True) == check_data(f"{layout}={folder}", deep=True)


def test_the_tree_is_that_of_the_folder(roots: tuple[str, Path, Path]) -> None:
    _, folder, database = roots
    on_disk, files = Folder(folder), pickle.loads(pickle.dumps(open_files(database)))
    places = [f.relative_to(folder).as_posix() for f in sorted(folder.rglob("*"))]
    for place in places:
        assert (files.is_file(place), files.is_folder(place)) == (on_disk.is_file(place), on_disk.is_folder(place))
        assert files.names(place) == on_disk.names(place)
        assert files.stamp(place)[0] >= 0
    assert set(files.names()) - {"seq_list.json", "data.mdb", "lock.mdb"} == set(on_disk.names())
    file = next(place for place in places if on_disk.is_file(place))
    assert files.read(file) == on_disk.read(file) and files.ends(file, 5) == on_disk.ends(file, 5)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder/a").mkdir(parents=True)
    (tmp_path / "folder/a/b.txt").write_text("1,2,3,4")
    (tmp_path / "folder/a-1").write_text("x")  # sorts between "a" and "a/"
    packed(tmp_path / "folder", tmp_path / "lmdb")
    files = open_files(tmp_path / "lmdb")
    assert files.is_folder("") and not files.is_file("")
    assert (files.names(), files.names("a"), files.names("none")) == (("a", "a-1"), ("b.txt",), ())
    for name in ("none", "a", "a/b", "x" * 2000):
        assert not files.is_file(name)
        with pytest.raises(DataError, match="is missing; make the database again"):
            files.read(name)
    assert files.stamp("none") == (-1, 0) and not files.is_folder("a/b.txt")
    assert [f.name for f in (tmp_path / "lmdb").iterdir() if f.name != "lock.mdb"] == ["data.mdb"]


def test_a_change_of_the_database_changes_every_stamp(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.txt").write_text("1,2,3,4")
    packed(tmp_path / "folder", tmp_path / "one")
    before = open_files(tmp_path / "one").stamp("a.txt")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert open_files(tmp_path / "two").stamp("a.txt") != before


def test_other_processes_read_it_too(roots: tuple[str, Path, Path]) -> None:
    """`score` forks with the database open."""
    layout, _, database = roots
    sequences = PARTS[layout][-1](database)
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        found = list(pool.map(_boxes, [(layout, database)] * 4))
    assert all(np.array_equal(boxes, sequences[0].boxes) for boxes in found)


def _boxes(place: tuple[str, Path]) -> np.ndarray:
    return PARTS[place[0]][-1](place[1])[0].boxes


@pytest.mark.parametrize("content", [b"", b"rubbish" * 5000])
def test_a_damaged_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(DataError, match=r"data\.mdb: cannot be opened .*; make the database again"):
        open_files(tmp_path)


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.mdb").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    opening._environment.cache_clear()
    with pytest.raises(DataError, match="is an LMDB database; install the package lmdb"):
        open_files(tmp_path)
