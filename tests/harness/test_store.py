"""The store: what is asked has one place, what is written is whole, and what is damaged is named with its remedy."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from examples import DATA, PLAIN, RECIPE, WHERE
from stored_files import rewrite
from trackablate.datasets.atomic import sealed, write_bytes, write_text, write_with
from trackablate.datasets.lease import Held
from trackablate.harness.documents import Damaged, read_document
from trackablate.harness.errors import BadInput
from trackablate.harness.record import (
    Failure,
    PhaseCost,
    PhaseProgress,
    SequenceResult,
    TrainingCost,
    TrainingRecord,
)
from trackablate.harness.spec import TRACKING_REVISION, Evaluation, RunSpec
from trackablate.harness.speed import Speed, last_measured_together
from trackablate.harness.store import FORMAT, RunFolder, Store, Unreadable, read_protocol
from trackablate.trackers.spec import CandidateElimination, DeformableHead, FloorSpec, replace

if TYPE_CHECKING:
    from typing_extensions import Buffer

RUN = RunSpec(tracker=PLAIN, recipe=RECIPE, data=DATA, weights="abc")
PLAIN_EVALUATION = Evaluation(protocol="synthetic", data="0123456789abcdef")
SPEED = Speed(fps=10, low=9, high=11, rounds=9, frames_per_round=24, device="CPU", threads=1, measured_with=["a"])
FAILURE = Failure(summary="ValueError: no", traceback="Traceback", where=WHERE)
TRAINED = TrainingRecord(curve=[], cost=TrainingCost(samples=8), weights_digest="d", where=WHERE)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def folder(store: Store) -> RunFolder:
    return store.run(RUN)


def result(name: str) -> SequenceResult:
    return SequenceResult(name=name, boxes=[(1.0, 2.0, 3.25, 4.0), (0.1, 1 / 3, 2.0, 5.0)], seconds=0.5)


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_writing_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "er" / "file.json"
    write_text(place, "a long old content")
    write_text(place, "new ä")
    assert place.read_bytes() == "new ä".encode()
    assert files(tmp_path) == ["deep/er/file.json"]
    assert place.stat().st_mode & 0o777 == 0o644, "others may read it, whatever mkstemp does"


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()], ids=["disk-full", "interrupted"])
@pytest.mark.parametrize("old", [b"old", None], ids=["replacing", "new"])
def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path: Path, old: bytes | None, failure: BaseException) -> None:
    place = tmp_path / "file"
    if old is not None:
        write_bytes(place, old)

    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        file.flush()
        seen = place.read_bytes() if place.exists() else None
        assert seen == old, "nobody sees the half-written file meanwhile"
        raise failure

    with pytest.raises(type(failure)):
        write_with(place, half)
    assert files(tmp_path) == (["file"] if old is not None else [])
    assert old is None or place.read_bytes() == old


@pytest.mark.parametrize("mebibytes", [0.1, 3])
def test_a_disk_that_is_full_for_torch_is_called_so(tmp_path: Path, mebibytes: float) -> None:
    """torch.save raises RuntimeError, "unexpected pos", and hides why."""
    import torch

    class Full(BytesIO):
        def write(self, content: "Buffer", /) -> int:
            if self.tell() > 2**17:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(content)

    with pytest.raises(OSError, match="No space left on device") as caught:
        write_with(tmp_path / "file.pt", lambda _: torch.save(torch.zeros(int(mebibytes * 2**20), 2), Full()))
    assert caught.value.filename == str(tmp_path / "file.pt")
    assert files(tmp_path) == []


def test_a_rename_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "file"
    (place / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_bytes(place, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_every_run_has_its_own_place_and_equal_runs_share_one(store: Store) -> None:
    others = [
        RUN.model_copy(update={"seed": 1}),
        RUN.model_copy(update={"weights": "other"}),
        RUN.model_copy(update={"revision": RUN.revision + 1}),
        RUN.model_copy(update={"recipe": RECIPE.model_copy(update={"lr_new": 2e-3})}),
        RUN.model_copy(update={"data": DATA.model_copy(update={"version": 2})}),
        RUN.model_copy(update={"tracker": replace(PLAIN, sparsity=CandidateElimination())}),
        RUN.model_copy(update={"tracker": replace(PLAIN, head=DeformableHead(), labels="localisation-quality")}),
        RunSpec(tracker=FloorSpec(kind="ncc")),
        RunSpec(tracker=FloorSpec(kind="static")),
    ]
    places = {store.run(run).path for run in [RUN, *others]}
    assert len(places) == len(others) + 1
    renamed = RunSpec(tracker=replace(PLAIN, name="under another name"), recipe=RECIPE, data=DATA, weights="abc")
    assert store.run(renamed).path == store.run(RUN).path
    assert all(p.parent == store.root / "runs" and p.name == Path(p.name).name for p in places)


def test_evaluations_of_a_run_do_not_mix() -> None:
    changes = (
        {"protocol": "otb"},
        {"data": "other"},
        {"control": "shuffled-template"},
        {"revision": TRACKING_REVISION + 1},
    )
    keys = {PLAIN_EVALUATION.model_copy(update=change).key for change in changes}
    assert len(keys | {PLAIN_EVALUATION.key}) == 5
    assert RunSpec.model_validate_json(RUN.model_dump_json()).fingerprint == RUN.fingerprint


def test_opening_makes_a_store_and_opens_it_again(tmp_path: Path) -> None:
    root = tmp_path / "a" / "store"
    Store(root)
    assert json.loads((root / "store.json").read_text()) == {"format": FORMAT, "digests": True}
    (root / "something").write_text("of the user")
    assert Store(root).root == root
    (tmp_path / "empty").mkdir()
    Store(tmp_path / "empty")


def test_another_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(BadInput) as caught:
        Store(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert f"format {FORMAT + 1}" in message
    assert f"format {FORMAT}:" in message
    assert message.endswith("use the version that wrote it")
    assert files(tmp_path) == ["store.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe\x00"], ids=repr)
def test_a_damaged_marker_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"store\.json is damaged .*write {\"format\": \d} into it"):
        Store(tmp_path)


@pytest.mark.parametrize("name", ["scores-2024.csv", "pretraining_notes.txt"])
def test_files_that_only_begin_like_folders_of_ours_make_no_store(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(BadInput, match="neither empty nor a store"):
        Store(tmp_path)


def test_a_place_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(BadInput, match="neither empty nor a store: name another folder"):
        Store(tmp_path)
    with pytest.raises(BadInput, match="is a file: name a folder"):
        Store(tmp_path / "thesis.tex")
    with pytest.raises(BadInput, match="cannot write the store"):
        Store(tmp_path / "thesis.tex" / "below")
    assert files(tmp_path) == ["thesis.tex"]


def test_two_processes_may_make_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is just writing the marker, or has written it since we looked at the folder."""
    (tmp_path / ".store.json.abc.tmp").write_text("{")
    Store(tmp_path)
    late = tmp_path / "late"
    late.mkdir()
    look = Path.iterdir

    def looking(folder: Path) -> Iterator[Path]:
        seen = list(look(folder))
        if folder == late:
            monkeypatch.undo()
            Store(late).run(RUN).claim()
        return iter(seen)

    monkeypatch.setattr(Path, "iterdir", looking)
    assert Store(late).run(RUN).path.exists()


def test_looking_for_a_run_writes_nothing(store: Store, folder: RunFolder) -> None:
    assert folder.training() is None
    assert folder.speed() is None
    assert folder.failure() is None
    assert folder.progress() is None
    assert folder.result(PLAIN_EVALUATION, "a") is None
    assert folder.untracked(PLAIN_EVALUATION, ["b", "a"]) == ["b", "a"]
    assert store.paper_scale(PLAIN) is None
    assert folder.record().verdict == "reproducible"
    assert files(store.root) == ["store.json"]


def test_what_is_written_is_read_back(folder: RunFolder) -> None:
    folder.claim()
    folder.add_result(PLAIN_EVALUATION, result("a"))
    folder.set_speed(SPEED)
    folder.set_failure(FAILURE)
    folder.set_progress(PhaseProgress(phase="train", done=1, total=2))
    asked = read_document(folder.path / "spec.json", RunSpec)
    assert asked is not None
    assert asked.fingerprint == RUN.fingerprint
    assert folder.result(PLAIN_EVALUATION, "a") == result("a"), "boxes to the last bit"
    assert folder.speed() == SPEED
    assert folder.failure() == FAILURE
    assert folder.progress() == PhaseProgress(phase="train", done=1, total=2)
    assert folder.record().verdict == "failed"
    folder.set_failure(None)
    folder.set_failure(None)
    assert folder.failure() is None
    assert not [name for name in files(folder.path) if name.endswith(".tmp")]


def test_a_speed_beside_other_runs_is_kept(folder: RunFolder) -> None:
    """Another study, which shares the run, does not spoil the table of the first one."""
    first, second = SPEED, SPEED.model_copy(update={"fps": 20.0, "measured_with": ["a", "c"]})
    for speed in (first, second):
        folder.set_speed(speed)
        folder.set_speed(speed, 3)
    assert folder.speeds() == folder.speeds(3) == [second, first]
    assert folder.record(beside=["a"]).speed == first
    assert folder.record().speed == folder.record(beside=["x"]).speed == second
    folder.set_speed(newer := first.model_copy(update={"fps": 11.0}))
    assert folder.speeds() == [newer, second], "the same runs, measured again"


def test_the_measurement_of_most_trackers_and_of_these_the_last_is_taken() -> None:
    one, two, both = (SPEED.model_copy(update={"measured_with": names}) for names in (["a"], ["b"], ["a", "b"]))
    assert last_measured_together([[one, both], [both, two]]) == (("a", "b"), 2)
    assert last_measured_together([[one], [two]])[1] == 1
    assert last_measured_together([[], []]) == ((), 0)
    assert last_measured_together([[two, both], [two, both]]) == (("b",), 2)


def test_missing_names_what_has_no_result_in_the_given_order(folder: RunFolder) -> None:
    folder.add_result(PLAIN_EVALUATION, result("b"))
    shuffled = PLAIN_EVALUATION.model_copy(update={"control": "shuffled-template"})
    assert folder.untracked(PLAIN_EVALUATION, ["c", "b", "a"]) == ["c", "a"]
    assert folder.untracked(shuffled, ["c", "b", "a"]) == ["c", "b", "a"]
    assert folder.untracked(PLAIN_EVALUATION.model_copy(update={"data": "changed"}), ["b"]) == ["b"]
    assert folder.untracked(PLAIN_EVALUATION, ["b"]) == []


def test_training_counts_as_done_with_weights_and_record(folder: RunFolder) -> None:
    write_bytes(folder.checkpoint, b"half way")
    write_bytes(folder.weights, b"weights")
    assert folder.training() is None, "killed between the two writes"
    folder.finish_training(TRAINED)
    assert folder.training() == TRAINED
    assert not folder.checkpoint.exists()
    folder.weights.unlink()
    assert folder.training() is None, "nothing can be tracked without weights"
    assert folder.record().training == TRAINED, "what the training cost stays known"


def test_weights_that_nothing_needs_are_not_trained_again(folder: RunFolder) -> None:
    write_bytes(folder.weights, b"weights")
    folder.finish_training(TRAINED)
    folder.weights.unlink()
    folder.add_result(PLAIN_EVALUATION, result("a"))
    folder.set_speed(SPEED)
    assert folder.missing({PLAIN_EVALUATION: ["a"]}).nothing
    assert folder.missing({PLAIN_EVALUATION: ["a", "b"]}).training
    assert folder.missing({}).training, "`train` wants the weights themselves"


def test_verdict_follows_from_where_it_was_trained(folder: RunFolder) -> None:
    write_bytes(folder.weights, b"weights")
    for commit, dirty, verdict in (("c", False, "reproducible"), ("c", True, "trial"), (None, None, "trial")):
        where = WHERE.model_copy(update={"commit": commit, "dirty": dirty})
        folder.finish_training(TRAINED.model_copy(update={"where": where}))
        assert folder.record().verdict == verdict


@pytest.mark.parametrize("content", [b"", b'{"fps": 1', b"{}", b"\xff\xfe", b"[1]", b'{"name": 1}'], ids=repr)
def test_damaged_documents_are_named_with_the_remedy(store: Store, folder: RunFolder, content: bytes) -> None:
    write_bytes(folder.weights, b"weights")
    one = folder.path / "evaluations" / PLAIN_EVALUATION.key / "a.json"
    reads = {folder.path / "training.json": folder.training, one: lambda: folder.result(PLAIN_EVALUATION, "a")}
    for file, read in reads.items():
        write_bytes(file, content)
        with pytest.raises(Damaged, match="restore it from a copy") as caught:
            read()
        assert str(file) in str(caught.value)
        file.unlink()


@pytest.mark.parametrize("content", [b"", b'{"fps": 1', b"{}", b"[1]"], ids=repr)
def test_a_damaged_document_that_is_made_again_counts_as_absent_and_is_named(
    store: Store, folder: RunFolder, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store.protocol(PLAIN_EVALUATION)
    reads: dict[Path, Callable[[], object]] = {
        folder.path / "speed.json": folder.speed,
        folder.path / "failure.json": folder.failure,
        folder.path / "progress.json": folder.progress,
        kept / "protocol.json": lambda: read_protocol(kept),
    }
    for file, read in reads.items():
        write_bytes(file, content)
        assert read() is None
        assert f"left out: {file}" in caplog.text


@pytest.mark.parametrize("content", [b'{"fps": 1}', b"{}", b'{"name": 1}'], ids=repr)
def test_a_document_of_another_version_is_named_and_left_alone(folder: RunFolder, content: bytes) -> None:
    for name, read in (("speed.json", folder.speed), ("failure.json", folder.failure)):
        write_text(folder.path / name, sealed(content.decode()))
        with pytest.raises(BadInput, match="use the version of trackablate that wrote it"):
            read()


@pytest.mark.parametrize("name", ["../../escape", "a/b", "/etc/passwd", ".", "\x1b[31mred", "a\udcff"])
def test_sequence_names_that_are_no_file_names_are_refused(store: Store, folder: RunFolder, name: str) -> None:
    with pytest.raises(BadInput, match="is no file name: rename"):
        folder.add_result(PLAIN_EVALUATION, result(name))
    with pytest.raises(BadInput, match="is no file name"):
        folder.untracked(PLAIN_EVALUATION, [name])
    assert files(store.root) == ["store.json"]


def test_paper_scale_and_protocols_are_kept_by_content(store: Store) -> None:
    other = PLAIN_EVALUATION.model_copy(update={"data": "f" * 64})
    assert store.protocol(other) != store.protocol(PLAIN_EVALUATION)
    shuffled = PLAIN_EVALUATION.model_copy(update={"control": "shuffled-template"})
    assert store.protocol(shuffled) == store.protocol(PLAIN_EVALUATION), "a control looks at the same sequences"
    assert store.free_bytes() > 0


def test_the_lock_is_held_by_one(folder: RunFolder) -> None:
    with folder.lock(), pytest.raises(Held), folder.lock().acquire(timeout=0.05):
        pass
    with folder.lock().acquire(timeout=0.05):
        pass


def test_costs_add_up_over_phases() -> None:
    phases = {"data": PhaseCost(wall_seconds=1, device_seconds=2), "train": PhaseCost(wall_seconds=3, device_seconds=4)}
    cost = TrainingCost(phases=phases)
    assert (cost.wall(), cost.device()) == (4, 6)


def test_a_run_of_another_default_is_refused_and_left_alone(folder: RunFolder) -> None:
    """The name covers what differs from the defaults: a run that was made with another default has the same one."""
    folder.claim()
    file = folder.path / "spec.json"
    rewrite(file, lambda document: document["recipe"].update(clip_norm=0.5))
    before = file.read_text()
    for act in (folder.claim, folder.record, lambda: folder.missing({})):
        with pytest.raises(BadInput, match=r"recipe.clip_norm = 0.5, now 1.0: a default has changed"):
            act()
    assert file.read_text() == before


def test_a_field_that_the_stored_run_does_not_know_yet_changes_nothing(folder: RunFolder) -> None:
    folder.claim()
    rewrite(folder.path / "spec.json", lambda document: document["recipe"].pop("clip_norm"))
    assert folder.missing({}).training


def test_an_evaluation_that_was_killed_at_its_start_is_none_yet(folder: RunFolder) -> None:
    (folder.path / "evaluations" / PLAIN_EVALUATION.key).mkdir(parents=True)
    (folder.path / "evaluations" / PLAIN_EVALUATION.key / ".evaluation.json.x.tmp").write_text("")
    assert folder.evaluations() == []
    folder.add_result(PLAIN_EVALUATION, result("one"))
    assert folder.evaluations() == [PLAIN_EVALUATION]


def test_a_study_record_that_cannot_be_read_is_left_out(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    file = store.root / "studies" / "mine" / "mini.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert store.studies() == []
    assert str(file) in caplog.text


@pytest.mark.parametrize("head", [3, "x", None, [], {}, {"kind": 3}], ids=repr)
def test_a_head_that_is_none_stops_no_listing(store: Store, folder: RunFolder, head: object) -> None:
    folder.claim()
    rewrite(folder.path / "spec.json", lambda document: document["tracker"].update(head=head))
    (found,) = store.folders()
    assert isinstance(found, Unreadable)
    assert found.reason.endswith("use the version of trackablate that wrote it")


def test_what_score_and_pretrain_keep_is_no_reason_to_refuse_a_folder(tmp_path: Path) -> None:
    for name in ("scores", "pretraining"):
        (tmp_path / name).mkdir()
    assert Store(tmp_path).exists
