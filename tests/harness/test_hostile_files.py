"""Hostile files at every door of the command line: each is refused by name within seconds, and fills no memory."""

import json
import os
import shutil
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from command_line import invoke
from hostile_files import SPECIAL, crowded_zip, image, special, zip_of
from trackablate.datasets.atomic import read_arrays, whole_archive, write_arrays
from trackablate.datasets.reading import layouts
from trackablate.datasets.reading.frames import MOST_PIXELS, image_size
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store

SECONDS, MEGABYTES = 20, 400
"""A refusal takes less of either, on a busy machine too."""
TRUTH = "5,6,20,16\n" * 725


@pytest.fixture
def store(tmp_path: Path) -> Path:
    opened = Store(tmp_path / "store")
    opened.run(RunSpec.model_validate({"tracker": {"kind": "static"}})).claim()
    return opened.root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One sequence of OTB."""
    folder = tmp_path / "otb" / "Basketball"
    (folder / "img").mkdir(parents=True)
    (folder / "groundtruth_rect.txt").write_text(TRUTH)
    content = cv2.imencode(".jpg", np.zeros((60, 80, 3), np.uint8))[1].tobytes()
    for number in range(1, 726):
        (folder / "img" / f"{number:04d}.jpg").write_bytes(content)
    return tmp_path / "otb"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "Basketball.txt").write_text(TRUTH)
    return tmp_path / "results"


@pytest.fixture
def watched() -> Iterator[Callable[[], int]]:
    """The most megabytes that were resident since the test began, beside those of its begin."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

    before, most, ended = resident(), [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            most[0] = max(most[0], resident() - before)

    thread = threading.Thread(target=look)
    thread.start()
    yield lambda: most[0]
    ended.set()
    thread.join()


def refused(place: Path, watched: Callable[[], int], *words: object) -> str:
    """What is said of a refused command: the place is named, and neither time nor memory is spent."""
    began = time.monotonic()
    done = invoke(*words)
    assert done.exit_code == 2, (done.output, done.exception)
    assert time.monotonic() - began < SECONDS
    assert watched() < MEGABYTES
    assert str(place) in done.stderr
    return str(done.stderr)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s.toml", ["plan", "FILE", "--store", "STORE"]),
        ("p.toml", ["plan", "table3", "--profile", "FILE", "--store", "STORE"]),
        ("p.py", ["--plugin", "FILE", "list"]),
        ("v.mp4", ["track", "static", "FILE", "--init", "1,2,3,4", "--store", "STORE"]),
        ("frames/1.jpg", ["track", "static", "FOLDER", "--init", "1,2,3,4", "--store", "STORE"]),
        ("r.zip", ["score", "A=FILE", "--protocol", "otb", "--annotations", "DATA", "--store", "STORE"]),
        ("r/Basketball.txt", ["score", "A=FOLDER", "--protocol", "otb", "--annotations", "DATA", "--store", "STORE"]),
        ("a.zip", ["score", "A=RESULTS", "--protocol", "otb", "--annotations", "FILE", "--store", "STORE"]),
        ("a.json", ["score", "A=RESULTS", "--protocol", "otb", "--annotations", "FILE", "--store", "STORE"]),
        ("w.pt", ["import", "x", "--weights", "FILE", "--as", "ostrack-256", "--store", "STORE"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_never_ends_in_place_of_a_file(
    tmp_path: Path,
    store: Path,
    data: Path,
    results: Path,
    watched: Callable[[], int],
    kind: str,
    name: str,
    words: list[str],
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    special(kind, file)
    places = {"FILE": file, "FOLDER": file.parent, "STORE": store, "DATA": data, "RESULTS": results}
    for word, place in places.items():
        words = [each.replace(word, str(place)) for each in words]
    refused(file, watched, *words)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", ["store.json", "runs/*/spec.json", "studies/a/b.json", "protocols/a/protocol.json"])
def test_what_never_ends_in_a_store(store: Path, watched: Callable[[], int], kind: str, name: str) -> None:
    (store / "studies" / "a").mkdir(parents=True)
    (store / "protocols" / "a").mkdir(parents=True)
    file = next(iter(store.glob(name)), store / name)
    file.unlink(missing_ok=True)
    special(kind, file)
    began = time.monotonic()
    said = [invoke("store", verb, store).output for verb in ("list", "verify")]
    assert time.monotonic() - began < SECONDS
    assert watched() < MEGABYTES
    assert str(file) in "".join(said)


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "webp"])
def test_an_image_that_says_it_is_huge_is_not_decoded(
    tmp_path: Path, store: Path, data: Path, watched: Callable[[], int], kind: str
) -> None:
    side = 16383 if kind == "webp" else 32000
    content = image(kind, side, side)
    assert len(content) < 10_000
    assert image_size(content) == (side, side)
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / f"1.{kind}").write_bytes(content)
    said = refused(frames / f"1.{kind}", watched, "track", "static", frames, "--init", "1,2,3,4", "--store", store)
    assert f"says that it is {side} x {side} pixels, too large to decode" in said
    first = data / "Basketball" / "img" / "0001.jpg"
    first.write_bytes(content)
    for words in (
        ("data", "check", f"otb={data}"),
        ("evaluate", "static", "--protocol", "otb", "--data", f"otb={data}", "--store", store),
    ):
        refused(first, watched, *words)


@pytest.mark.parametrize("kind", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("size", [(80, 60), (1, 1), (641, 3)])
def test_the_size_in_a_header_is_that_of_the_pixels(kind: str, size: tuple[int, int]) -> None:
    content = cv2.imencode(kind, np.full((size[1], size[0], 3), 128, np.uint8))[1].tobytes()
    assert image_size(content) == size
    if kind == ".webp":
        lossy = cv2.imencode(kind, np.full((size[1], size[0], 3), 128, np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 50])[1]
        assert image_size(lossy.tobytes()) == size
    if kind == ".jpg":
        progressive = cv2.imencode(kind, np.zeros((size[1], size[0], 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
        assert image_size(progressive[1].tobytes()) == size


def test_no_frame_of_a_benchmark_is_near_the_limit() -> None:
    assert MOST_PIXELS > 16 * 3840 * 2160 - 1


@pytest.mark.parametrize("door", ["results", "annotations"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("high ratio", lambda: zip_of({"Basketball.txt": b"0" * (300 << 20)}), "unpacks to 314572800"),
        ("bzip2", lambda: zip_of({"Basketball.txt": b"0" * (300 << 20)}, zipfile.ZIP_BZIP2), "unpacks to 314572800"),
        ("shared bytes", lambda: crowded_zip(60_000, TRUTH.encode() * 10, 72500), "and unpacks to 4350000000"),
        ("announced", lambda: crowded_zip(10, b"", 0, announced=10**9), "has 1000000000 entries, more than"),
        ("many small", lambda: zip_of({f"x/{n}": b"0" * 2**20 for n in range(600)}), "and unpacks to 629145600"),
        ("no zip", lambda: b"PK\5\6" + bytes(18), ""),
        ("cut", lambda: zip_of({"Basketball.txt": TRUTH.encode()})[:-30], "is not a readable zip archive"),
    ],
)
def test_archives_that_unpack_to_too_much(
    tmp_path: Path,
    store: Path,
    data: Path,
    results: Path,
    watched: Callable[[], int],
    door: str,
    name: str,
    content: Callable[[], bytes],
    said: str,
) -> None:
    file = tmp_path / f"{name}.zip"
    file.write_bytes(content())
    words = {
        "results": ("score", f"A={file}", "--protocol", "otb", "--annotations", data),
        "annotations": ("score", f"A={results}", "--protocol", "otb", "--annotations", file),
    }
    assert said in refused(file, lambda: 0, *words[door], "--store", store)


def test_a_crowd_of_results_is_refused_by_its_announcement(
    tmp_path: Path, store: Path, data: Path, watched: Callable[[], int]
) -> None:
    file = tmp_path / "crowd.zip"
    file.write_bytes(crowded_zip(1_000_000, b"", 0))
    began = time.monotonic()
    words = ("score", f"A={file}", "--protocol", "otb", "--annotations", data, "--store", store)
    assert "has 1000000 entries, more than 200000" in refused(file, lambda: 0, *words)
    assert time.monotonic() - began < 5


def test_a_data_set_of_more_sequences_than_any_has(
    tmp_path: Path, store: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "MOST_SEQUENCES", 3)
    for number in range(4):
        (tmp_path / "many" / f"s{number}").mkdir(parents=True)
        (tmp_path / "many" / f"s{number}" / "groundtruth_rect.txt").write_text(TRUTH)
    said = refused(tmp_path / "many", lambda: 0, "data", "check", f"otb={tmp_path / 'many'}")
    assert "holds more than 3 sequences" in said
    (tmp_path / "many" / "s3" / "groundtruth_rect.txt").unlink()
    assert invoke("data", "check", f"otb={tmp_path / 'many'}").exit_code == 0


@pytest.mark.parametrize("announced", [None, 10])
def test_a_data_set_of_too_many_entries_is_to_be_unpacked(
    tmp_path: Path, store: Path, results: Path, announced: int | None
) -> None:
    """Also if it announces fewer than it lists."""
    file = tmp_path / "crowd.zip"
    file.write_bytes(crowded_zip(1_100_000, b"", 0, announced=announced))
    began = time.monotonic()
    words = ("score", f"A={results}", "--protocol", "otb", "--annotations", file, "--store", store)
    said = refused(file, lambda: 0, *words)
    assert "has 1100000 entries, more than 1000000" in said
    assert "unpack it and name the folder" in said
    assert time.monotonic() - began < 5


def test_an_entry_is_never_longer_than_announced(tmp_path: Path, store: Path, data: Path) -> None:
    content = bytearray(zip_of({"Basketball.txt": TRUTH.encode() * 1000}))
    at = content.rfind(b"PK\1\2") + 24
    content[at : at + 4] = struct.pack("<I", 30)
    file = tmp_path / "lies.zip"
    file.write_bytes(content)
    done = invoke("score", f"A={file}", "--protocol", "otb", "--annotations", data, "--store", store)
    assert done.exit_code == 2
    assert "Basketball.txt" in done.output


JSONS = {
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "digits": '{"Basketball": {"gt_rect": [[1, 2, 3, ' + "9" * 5000 + "]]}}",
    "more digits": '[{"res": [[1, 2, 3, ' + "9" * 200_000 + "]]}]",
    "no numbers": '{"Basketball": {"gt_rect": [["a", null, {}, []]]}}',
    "nothing": "",
    "zeros": "\0" * 1000,
    "a text": '"' + "x" * 1_000_000 + '"',
}


@pytest.mark.parametrize("kind", JSONS)
def test_hostile_json(
    tmp_path: Path, store: Path, data: Path, results: Path, watched: Callable[[], int], kind: str
) -> None:
    annotation, folder = tmp_path / "a.json", tmp_path / "r"
    annotation.write_text(JSONS[kind])
    refused(
        annotation, watched, "score", f"A={results}", "--protocol", "otb", "--annotations", annotation, "--store", store
    )
    folder.mkdir()
    (folder / "Basketball.json").write_text(JSONS[kind])
    words = ("score", f"A={folder}", "--protocol", "otb", "--annotations", data, "--store", store)
    refused(folder / "Basketball.json", watched, *words)
    coco = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    coco.parent.mkdir(parents=True)
    coco.write_text(JSONS[kind])
    refused(coco, watched, "data", "check", f"coco={tmp_path / 'coco'}")
    (spec,) = store.glob("runs/*/spec.json")
    spec.write_text(JSONS[kind])
    (run,) = json.loads(invoke("store", "list", store, "--json").stdout)
    assert run["state"] == "unreadable"
    assert str(spec) in run["problem"]


TOMLS = {
    "seeds": "seeds = 1000000000",
    "digits": "seeds = " + "9" * 5000,
    "deep": "a = " + "[" * 3000 + "]" * 3000,
    "dots": "a" + ".a" * 100_000 + " = 1",
    "dotted table": "[a" + " . a" * 1000 + "]",
    "keys": "\n".join(f"a{number} = 1" for number in range(100_000)),
    "long": "a = '" + "x" * 10_000_000 + "'",
    "date": "a = 99999-99-99",
}


@pytest.mark.parametrize("kind", TOMLS)
def test_hostile_toml(tmp_path: Path, store: Path, watched: Callable[[], int], kind: str) -> None:
    file = tmp_path / "f.toml"
    file.write_text(TOMLS[kind])
    for words in (("plan", file), ("plan", "table3", "--profile", file)):
        said = refused(file, watched, *words, "--store", store)
        assert len(said) < 5000


@pytest.mark.parametrize("kind", ["packed", "shape", "pickle"])
def test_archives_of_arrays_that_unpack_to_too_much_are_damaged(
    tmp_path: Path, watched: Callable[[], int], kind: str
) -> None:
    file = tmp_path / "a.npz"
    write_arrays(file, {"a": np.zeros(3)})
    assert whole_archive(file)
    if kind == "packed":
        np.savez_compressed(file, a=np.zeros(300 << 20, np.uint8))
    elif kind == "shape":
        plain = zipfile.ZipFile(file).read("a.npy")
        file.write_bytes(
            zip_of({"a.npy": plain.replace(b"(3,)", b"(9999999999,)").ljust(len(plain))}, zipfile.ZIP_STORED)
        )
    else:
        np.savez(file, a=np.array([{}], dtype=object), allow_pickle=True)
    assert read_arrays(file) == {}
    assert watched() < MEGABYTES
    assert kind != "packed" or not whole_archive(file)


def test_a_refused_file_leaves_nothing_behind(tmp_path: Path, store: Path, data: Path) -> None:
    before = sorted(path.name for path in store.rglob("*"))
    shutil.rmtree(data / "Basketball" / "img")
    invoke("evaluate", "static", "--protocol", "otb", "--data", f"otb={data}", "--store", store)
    assert sorted(path.name for path in store.rglob("*") if "index" not in str(path)) == before
