"""Whatever is in a file: its reader returns something or raises its documented error, quickly. A fixed budget, fixed cases.

The content of real files is changed at random places. Each crash that was found has become an example.
"""

import io
import json
import pickle
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from examples import DATA, PLAIN, RECIPE
from trackablate.ablations.study import FaultyStudy
from trackablate.ablations.study_file import load_study
from trackablate.datasets.atomic import read_arrays, sealed, whole_archive
from trackablate.datasets.benchmarks.declared import read_declaration
from trackablate.datasets.errors import DataError
from trackablate.datasets.reading.files import Folder
from trackablate.datasets.reading.frame_names import frame_names
from trackablate.datasets.reading.frames import ImageFiles
from trackablate.datasets.reading.numbers import parse_rows
from trackablate.datasets.reading.opening import open_files
from trackablate.datasets.registry import UnknownName
from trackablate.harness.documents import is_whole, read_document
from trackablate.harness.errors import BadInput
from trackablate.harness.keeping.inventory import inventory
from trackablate.harness.keeping.remotes import fault_of_name
from trackablate.harness.profiles import FOLDER, load_profile
from trackablate.harness.record import StudyRecord
from trackablate.harness.scoring.layouts import lines_of_json
from trackablate.harness.scoring.result_files import open_results
from trackablate.harness.spec import RunSpec
from trackablate.harness.store import Store
from trackablate.trackers.encoder.weight_files import read_weights

BUDGET = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SECONDS = 10
STUDY = b"""
name = "my-ranks"
title = "Ranks"
question = "How much rank?"
baseline = "lorat-b-224"
protocols = ["lasot"]
seeds = 2
[factors]
Rank = "adaptation.rank"
[grid]
"adaptation.rank" = [16, 64]
"""
DECLARED = b"""name = "mine"
first_pixel = 0
boxes = "{name}.txt"
frames = "{name}"
annotated = 3
absent = "zero"
dialect = "strict"
metrics = ["auc"]
"""
PYSOT = b'{"Basketball": {"video_dir": "Basketball", "gt_rect": [[1, 2, 3, 4], [2, 3, 4, 5]], "absent": [1, 0], "attr": []}}'
OTB = b'[{"res": [[1, 2, 3, 4], [2, 3, 4, 5]], "type": "rect", "fps": 30.5}]'
BOXES = b"1,2,3,4\n5,6,7,8\n9,10,11,12\n"


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mine/a.txt", BOXES)
        archive.writestr("mine/b.txt", BOXES * 20)
    return buffer.getvalue()


def saved(legacy: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"net": {"a": torch.arange(4.0)}}, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(5.0), b=np.array(["x", "y"]))
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    return cv2.imencode(kind, np.arange(24 * 16 * 3, dtype=np.uint8).reshape(24, 16, 3))[1].tobytes()


def read_study(file: Path) -> None:
    load_study(file.rename(file.with_suffix(".toml")))


def read_profile(file: Path) -> None:
    load_profile(str(file.rename(file.with_suffix(".toml"))))


def read_boxes(file: Path) -> None:
    rows = parse_rows(file.read_bytes(), 4)
    assert all(len(bad.text) <= 60 and bad.text.isprintable() for bad in rows.bad)


def read_archive(file: Path) -> None:
    files = open_files(file)
    for folder in files.names():
        for name in files.names(folder):
            files.read(f"{folder}/{name}")


def read_results(file: Path) -> None:
    found = open_results("A", file.rename(file.with_suffix(".zip")), ["a", "b"])
    for name in ("a", "b"):
        found.read(name, 3)


def read_spec(file: Path) -> None:
    store = Store(file.parent / "store")
    (store.root / "store.json").write_text('{"format": 3}')  # as older versions left it, without digests
    place = store.root / "runs" / "a" / "spec.json"
    place.parent.mkdir(parents=True)
    file.rename(place)
    assert len(list(inventory(store))) == 1
    is_whole(place)
    read_document(place, RunSpec)


def read_study_record(file: Path) -> None:
    store = Store(file.parent / "store")
    place = store.root / "studies" / "a" / "b.json"
    place.parent.mkdir(parents=True)
    file.rename(place)
    assert list(inventory(store)) == []
    read_document(place, StudyRecord)


def read_npz(file: Path) -> None:
    whole_archive(file)
    read_arrays(file)


def read_image(file: Path) -> None:
    file = file.rename(file.with_name("1.jpg"))
    ImageFiles(Folder(file.parent), "", frame_names(("1.jpg",), "clear"))[0]


@cache
def contents() -> dict[str, bytes]:
    spec = RunSpec(tracker=PLAIN, recipe=RECIPE, data=DATA, weights="abc").model_dump_json()
    rows = [{"name": "c", "runs": [{"run": json.loads(spec)}]}]
    record = json.dumps({"study": "a", "profile": {"name": "b"}, "rows": rows})
    return {
        "study": STUDY,
        "profile": (FOLDER / "smoke.toml").read_bytes(),
        "data set": DECLARED,
        "boxes": BOXES,
        "pysot": PYSOT,
        "otb": OTB,
        "archive": zipped(),
        "results": zipped(),
        "safetensors": save({"a": torch.arange(4.0)}),
        "torch": saved(legacy=False),
        "legacy torch": saved(legacy=True),
        "pickle": pickle.dumps({"a": [1, (2, "x")]}),
        "spec": sealed(spec).encode(),
        "plain spec": spec.encode(),
        "study record": record.encode(),
        "arrays": arrays(),
        "jpg": picture(".jpg"),
        "png": picture(".png"),
        "bmp": picture(".bmp"),
        "webp": picture(".webp"),
    }


READERS: dict[str, tuple[Callable[[Path], object], tuple[type[Exception], ...]]] = {
    "study": (read_study, (FaultyStudy,)),
    "profile": (read_profile, (DataError,)),
    "data set": (lambda file: read_declaration(file.rename(file.with_suffix(".toml"))), (DataError, UnknownName)),
    "boxes": (read_boxes, ()),
    "pysot": (lambda file: open_files(file.rename(file.with_suffix(".json"))), (DataError,)),
    "otb": (lambda file: lines_of_json(file.read_bytes(), file), (DataError,)),
    "archive": (read_archive, (DataError,)),
    "results": (read_results, (DataError,)),
    "safetensors": (read_weights, (DataError,)),
    "torch": (read_weights, (DataError,)),
    "legacy torch": (read_weights, (DataError,)),
    "pickle": (read_weights, (DataError,)),
    "spec": (read_spec, (BadInput,)),
    "plain spec": (read_spec, (BadInput,)),
    "study record": (read_study_record, (BadInput,)),
    "arrays": (read_npz, ()),
    "jpg": (read_image, (DataError,)),
    "png": (read_image, (DataError,)),
    "bmp": (read_image, (DataError,)),
    "webp": (read_image, (DataError,)),
}
PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [
            *(b"", b"\0", b"\xff" * 8, b"[", b"]", b"{", b"}", b'"', b",", b"=", b"\n", b"\r", b" ", b"-", b"null"),
            *(b"nan", b"-1", b"0", b"1e999", b"true", b"../", b"\x1b", "é٧\u202e".encode(), b"\xed\xa0\x80"),
            *(b"9" * 400, b"9" * 5000, b"[" * 300, b'{"a":' * 300, b"a." * 300, b"PK\1\2", b"PK\5\6"),
            *(struct.pack("<I", 2**32 - 1), struct.pack("<Q", 2**62)),
        ]
    ),
)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), PIECES), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", READERS)
@BUDGET
@given(changes=CHANGES)
def test_only_documented_errors_come_out(kind: str, changes: list[tuple[float, int, bytes]]) -> None:
    content = contents()[kind]
    for place, removed, piece in changes:
        at = int(place * len(content))
        content = content[:at] + piece + content[at + removed :]
    read, errors = READERS[kind]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_bytes(content)
        began, said = time.monotonic(), "nothing"
        try:
            read(file)
        except errors as error:
            said = str(error)
        assert time.monotonic() - began < SECONDS
        assert 0 < len(said) < 20_000


@pytest.mark.parametrize("kind", READERS)
def test_the_content_itself_is_fine(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(contents()[kind])
    read, errors = READERS[kind]
    unlike = ("pickle", "study record", "results")  # without tensors, of another version, and a line too short and long
    try:
        read(tmp_path / "file")
    except (*errors, DataError):
        if kind not in unlike:
            raise


PARTS = ("runs", "a", "..", ".", "", "spec.json", "evaluations", "b.json", "\\", ":", "\x1b", ".x")


@BUDGET
@given(st.lists(st.sampled_from(PARTS)))
def test_a_name_of_a_remote_stays_in_its_unit(parts: list[str]) -> None:
    name = "/".join(parts)
    if not fault_of_name(name, "runs/a"):
        assert (Path("/store") / name).resolve() == Path("/store") / name
        assert name.startswith("runs/a/")
