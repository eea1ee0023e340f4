"""Runs go from store to store: whole, once, never over others; and no remote reaches beyond the store."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import pytest

import store_factory
from command_line import invoke, said
from stored_files import flip, rewrite
from trackablate.ablations.catalogue import STUDIES
from trackablate.datasets.atomic import sealed
from trackablate.harness.documents import Damaged
from trackablate.harness.errors import BadInput
from trackablate.harness.keeping import remotes
from trackablate.harness.keeping.copying import pull, push
from trackablate.harness.keeping.remotes import Entry, RemoteEnd, fault_of_name
from trackablate.harness.keeping.verification import verify
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import PaperScale
from trackablate.harness.store import RunFolder, Store
from trackablate.reports.assemble import assemble
from trackablate.reports.formats.documents import results_json
from trackablate.reports.tables.pivot import pivot

STUDY, SMOKE = STUDIES["table3"], load_profile("smoke")
SIZE = PaperScale(params=9, trainable_params=8, head_params=1, macs=7, macs_linear_conv=6, qkv_params=3, qkv_macs=2)


def with_weights(store: Store, content: bytes = b"weights") -> Store:
    store_factory.fill(store, STUDY, SMOKE)
    store.set_paper_scale(STUDY.spec(STUDY.rows[0]), SIZE)
    for folder in store.runs():
        if record := folder.training():
            folder.weights.write_bytes(content)
            folder.finish_training(record.model_copy(update={"weights_digest": sha256(content).hexdigest()}))
    assert not verify(store).damaged
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return with_weights(Store(tmp_path / "store"))


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    place = f"file://{tmp_path}/remote" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    yield place
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()


def reported(store: Store) -> str:
    (record,) = store.studies()
    result = assemble(STUDY, record, store)
    return results_json(result, pivot(result))


def content(store: Store) -> dict[str, bytes]:
    files = (path for path in store.root.rglob("*") if path.is_file() and not path.name.startswith(".lease-"))
    return {str(path.relative_to(store.root)): path.read_bytes() for path in files}


def one(store: Store) -> RunFolder:
    return next(folder for folder in store.runs() if folder.training())


def changed(url: str, name: str, change: Callable[[bytes], bytes]) -> None:
    with fsspec.open(f"{url}/{name}", "rb") as file:
        before = file.read()
    with fsspec.open(f"{url}/{name}", "wb") as file:
        file.write(change(before))


def remanifested(url: str, unit: str, change: Callable[[dict[str, Any]], object]) -> None:
    def rewritten(before: bytes) -> bytes:
        document = json.loads(before)
        document.pop("sha256")
        change(document["files"])
        return sealed(json.dumps(document)).encode()

    changed(url, f"manifests/{unit}.json", rewritten)


def test_a_store_goes_there_and_back_with_the_same_bytes_and_numbers(store: Store, url: str, tmp_path: Path) -> None:
    pushed = said("store", "push", store.root, url)
    assert (pushed["same"], pushed["conflicts"], pushed["refused"], pushed["left"]) == (0, [], [], [])
    pulled = said("store", "pull", tmp_path / "other", url)
    assert (pulled["files"], pulled["bytes"], pulled["same"]) == (pushed["files"], pushed["bytes"], 0)
    other = Store(tmp_path / "other")
    assert content(other) == content(store)
    assert reported(other) == reported(store)
    assert not verify(other).damaged
    again = said("store", "push", store.root, url), said("store", "pull", other.root, url)
    assert [(copied["files"], copied["same"]) for copied in again] == [(0, pushed["files"])] * 2


@pytest.mark.parametrize("name", ["a::b", "[1]", "a*b", "~nobody-here", "a#b", "a%20b"])
def test_a_plain_folder_may_be_called_anything(store: Store, tmp_path: Path, name: str) -> None:
    pushed = said("store", "push", store.root, tmp_path / "remotes" / name)
    assert [path.name for path in (tmp_path / "remotes").iterdir()] == [name]
    assert said("store", "pull", tmp_path / "other", tmp_path / "remotes" / name)["files"] == pushed["files"]


def test_a_pipe_at_the_remote_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    said("store", "push", store.root, remote)
    for file in (next(remote.glob("runs/*/evaluations/*/0*.json"), None) or next(remote.glob("runs/*/training.json")),):
        file.unlink()
        os.mkfifo(file)
    pulled = invoke("store", "pull", tmp_path / "other", remote)
    assert pulled.exit_code == 1
    assert f"refused: {file} is no ordinary file" in " ".join(pulled.stdout.split())


def test_two_stores_merge(store: Store, url: str, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    shutil.copytree(store.root, other.root, dirs_exist_ok=True)
    mine, yours, *_ = store.runs()
    shutil.rmtree(store.root / "runs" / yours.path.name)
    shutil.rmtree(other.root / "runs" / mine.path.name)
    push(store, url)
    push(other, url)
    for each in (store, other):
        assert not pull(each, url).conflicts
    assert content(store) == content(other)


def test_what_is_not_finished_is_not_copied_and_said(store: Store, url: str) -> None:
    failed, partial, working, damaged = list(store.runs())[:4]
    failed.set_failure(store_factory.failure("no"))
    (evaluation,) = partial.evaluations()
    next(partial.evaluation_folder(evaluation).glob("[!e]*.json")).unlink()
    flip(next(damaged.path.glob("evaluations/*/[!e]*.json")))
    with working.lock():
        copied = push(store, url)
    assert sorted(copied.left) == sorted(
        [
            f"{failed.path.name} has failed",
            f"{partial.path.name} has 3 of 4 sequences of {evaluation.protocol}",
            f"{working.path.name} is at work",
        ]
    )
    assert len(copied.refused) == 1
    assert "is damaged" in copied.refused[0]
    units, bad = RemoteEnd(url).units()
    assert not bad
    assert len([unit for unit in units if unit.startswith("runs/")]) == 2
    assert invoke("store", "push", store.root, url).exit_code == 1, "damage is a fault"


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_run_with_other_weights_is_a_conflict_and_nothing_of_it_is_mixed_in(
    store: Store, url: str, tmp_path: Path, direction: str
) -> None:
    other = with_weights(Store(tmp_path / "other"), b"other weights")
    folder = one(other)
    extra = next(folder.path.glob("evaluations/*/[!e]*.json"))
    (store.root / extra.relative_to(other.root)).unlink()
    store.protocol(one(store).evaluations()[0]).joinpath("protocol.json").unlink()  # so that three of four are whole
    push(store, url)
    before = content(other)
    done = invoke("store", direction, other.root, url)
    assert done.exit_code == 1
    assert f"conflict: runs/{folder.path.name}/weights.safetensors differs" in done.stdout
    assert content(other) == before
    assert not fsspec.open(f"{url}/{extra.relative_to(other.root)}").fs.exists(f"{url}/{extra.relative_to(other.root)}")


def test_other_times_of_the_same_boxes_are_no_conflict_and_other_boxes_are(
    store: Store, url: str, tmp_path: Path
) -> None:
    other = Store(tmp_path / "other")
    shutil.copytree(store.root, other.root, dirs_exist_ok=True)
    push(store, url)
    folder = one(other)
    result = next(folder.path.glob("evaluations/*/[!e]*.json"))
    rewrite(result, lambda document: document.update(seconds=9.0))
    rewrite(folder.path / "speed.json", lambda document: document.update(fps=9.0))
    rewrite(folder.path / "training.json", lambda document: document["where"].update(started="2020-01-01"))
    before = content(other)
    copied = pull(other, url)
    assert not copied.conflicts
    assert not copied.files
    assert content(other) == before
    rewrite(result, lambda document: document["boxes"][0].__setitem__(0, 1e6))
    assert pull(other, url).conflicts == [str(result.relative_to(other.root))]


def test_a_copy_that_is_interrupted_goes_on(
    store: Store, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, real = [7], remotes.checked

    def breaks(name: str, chunks: Iterable[bytes], entry: Entry) -> Iterator[bytes]:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the line is cut")
        return real(name, chunks, entry)

    monkeypatch.setattr(remotes, "checked", breaks)
    tries = 0
    while True:
        tries, left[0] = tries + 1, 30
        try:
            push(store, url)
            break
        except BadInput as error:
            assert "what has arrived stays" in str(error)  # noqa: PT017
    assert tries > 2
    monkeypatch.setattr(remotes, "checked", real)
    pull(other := Store(tmp_path / "other"), url)
    assert content(other) == content(store)
    fs, root = fsspec.core.url_to_fs(url)
    assert not [name for name in fs.find(root) if ".tmp" in name]


@pytest.mark.parametrize("kind", ["digit", "short", "long"])
def test_what_arrives_otherwise_than_announced_is_not_kept(store: Store, url: str, tmp_path: Path, kind: str) -> None:
    push(store, url)
    name = f"runs/{one(store).path.name}/weights.safetensors"
    change = {"digit": lambda b: b[:-1] + b"x", "short": lambda b: b[:-1], "long": lambda b: b + b"x" * 10_000_000}[
        kind
    ]
    changed(url, name, change)
    other = Store(tmp_path / "other")
    copied = pull(other, url)
    assert copied.refused == [f"{name} is not what was announced (its size or its SHA-256 differs)"]
    assert not (other.root / name).exists()
    assert not list(other.root.rglob("*.tmp"))
    assert not verify(other).damaged


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../../evil.json",
            "runs/../../evil.json",
            "/etc/evil.json",
            "runs/RUN/../../../evil.json",
            "runs/RUN/.evil.tmp",
        ),
        *(
            "runs/RUN/evil.py",
            "runs/RUN/checkpoint.pt",
            "runs/OTHER/spec.json",
            "runs/RUN/evaluations/a/b/c.json",
            "store.json",
        ),
        *(
            "runs\\RUN\\spec.json",
            "runs/RUN/server/..",
            "runs/RUN/evaluations/\x1b/a.json",
            "C:/evil.json",
            "",
            "runs/RUN/lock",
        ),
        f"runs/RUN/server/{'a' * 300}.json",
    ],
)
def test_no_name_of_a_remote_leads_anywhere_else(store: Store, url: str, tmp_path: Path, name: str) -> None:
    push(store, url)
    run, others = one(store).path.name, list(store.runs())
    name = name.replace("RUN", run).replace("OTHER", next(o.path.name for o in others if o.path.name != run))
    remanifested(
        url, f"runs/{run}", lambda files: files.update({name: {"size": 2, "sha256": sha256(b"{}").hexdigest()}})
    )
    other = Store(tmp_path / "deep" / "other")
    copied = pull(other, url)
    assert len(copied.refused) == 1
    assert "\x1b" not in copied.refused[0]
    assert not (other.root / "runs" / run / "weights.safetensors").exists()
    assert not list(tmp_path.rglob("*evil*"))
    assert len(list(other.runs())) == len(others) - 1, "the others are copied"


def test_names_of_manifests_are_checked_too(store: Store, url: str, tmp_path: Path) -> None:
    push(store, url)
    fs, root = fsspec.core.url_to_fs(url)
    for name in ("manifests/evil.json", "manifests/runs/.hidden.json", "manifests/runs/a/b.json", "manifests/x.txt"):
        fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{name}", b"{}")
    copied = pull(Store(tmp_path / "other"), url)
    assert len(copied.refused) == 3
    assert all("is no manifest of a store" in reason for reason in copied.refused)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "is damaged"),
        (b'{"files": {"a": {"size": -1, "sha256": ""}}}', "is damaged"),
        (b'{"files": {"a": {"size": ' + b"9" * 5000 + b', "sha256": ""}}}', "is damaged"),
        (b" " * (remotes.LARGEST_MANIFEST + 1), "has more than 67108864 bytes"),
    ],
    ids=["deep", "negative", "digits", "large"],
)
def test_a_bad_manifest_is_named(store: Store, url: str, tmp_path: Path, content: bytes, said: str) -> None:
    push(store, url)
    changed(url, f"manifests/runs/{one(store).path.name}.json", lambda _: content)
    (reason,) = pull(Store(tmp_path / "other"), url).refused
    assert said in reason
    assert len(reason) < 400


def test_a_document_that_says_it_is_huge_is_not_fetched(store: Store, url: str, tmp_path: Path) -> None:
    push(store, url)
    unit = f"runs/{one(store).path.name}"
    remanifested(url, unit, lambda files: files[f"{unit}/training.json"].update(size=2**40))
    (reason,) = pull(Store(tmp_path / "other"), url).refused
    assert f"{unit}/training.json has more than" in reason
    remanifested(url, unit, lambda files: files[f"{unit}/training.json"].update(size=10))
    remanifested(url, unit, lambda files: files[f"{unit}/weights.safetensors"].update(size=2**60))
    with pytest.raises(BadInput, match=r"GB free, .* needs .* GB: make room"):
        pull(Store(tmp_path / "other"), url)


def test_a_run_under_another_name_is_refused(store: Store, url: str, tmp_path: Path) -> None:
    push(store, url)
    first, second = (folder.path.name for folder in list(store.runs())[:2])
    fs, root = fsspec.core.url_to_fs(url)
    spec = fs.cat_file(f"{root}/runs/{second}/spec.json")
    fs.pipe_file(f"{root}/runs/{first}/spec.json", spec)
    entry = {"size": len(spec), "sha256": sha256(spec).hexdigest()}
    remanifested(url, f"runs/{first}", lambda files: files.update({f"runs/{first}/spec.json": entry}))
    (reason,) = pull(Store(tmp_path / "other"), url).refused
    assert f"is the specification of {second}" in reason


def test_a_link_in_the_store_that_leads_out_is_not_followed(store: Store, url: str, tmp_path: Path) -> None:
    push(store, url)
    other, outside = Store(tmp_path / "other"), tmp_path / "outside"
    outside.mkdir()
    (other.root / "counted").symlink_to(outside)
    (other.root / "runs").mkdir()
    (other.root / "runs" / one(store).path.name).symlink_to(outside)
    copied = pull(other, url)
    assert any("leads out of the store by a link" in reason for reason in copied.refused)
    assert not [path for path in outside.rglob("*") if not path.name.startswith(".lease-")]


def test_a_run_at_work_here_is_left(store: Store, url: str) -> None:
    push(store, url)
    folder = one(store)
    with folder.lock():
        assert pull(store, url).left == [f"{folder.path.name} is at work in {store.root}"]


def test_places_that_are_no_store_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    for place, reason in (
        (tmp_path / "full", "is neither empty nor a store"),
        ("nonsense://a/b", "cannot be reached"),
        ("s3://bucket/folder", "cannot be reached"),
    ):
        done = invoke("store", "push", store.root, place)
        assert (done.exit_code, done.stdout) == (2, "")
        assert reason in done.stderr
    done = invoke("store", "pull", tmp_path / "other", f"file://{tmp_path}/nowhere")
    assert "there is no store at" in done.stderr
    assert not (tmp_path / "other").exists()
    (tmp_path / "full" / "store.json").write_text('{"format": 99}')
    assert "is no store of format" in invoke("store", "pull", tmp_path / "other", tmp_path / "full").stderr
    (tmp_path / "full" / "store.json").write_text("[" * 60_000)
    assert "store.json is damaged" in invoke("store", "pull", tmp_path / "other", tmp_path / "full").stderr


def test_names_of_a_store_are_names_of_its_units() -> None:
    assert not fault_of_name("runs/a-1/evaluations/lasot-1/airplane 1 é.json", "runs/a-1")
    assert fault_of_name("runs/a-1/spec.json", "runs/a")
    assert fault_of_name("studies/a/b.json", "runs/a")


def test_a_file_larger_than_announced_is_read_no_further() -> None:
    seen = []

    def endless() -> Iterator[bytes]:
        while True:
            seen.append(1)
            yield b"x" * 1000

    with pytest.raises(Damaged, match="is not what was announced"):
        list(remotes.checked("a", endless(), Entry(size=1500, sha256="")))
    assert len(seen) == 2
