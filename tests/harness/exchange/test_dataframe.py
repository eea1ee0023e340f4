"""`trackablate.results`: a store as a DataFrame, with a row and a reason for whatever is missing."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import report_factory as factory
import trackablate
from places import ROOT
from trackablate.datasets.registry import UnknownName
from trackablate.harness.documents import write_document
from trackablate.harness.errors import BadInput
from trackablate.harness.profiles import load_profile
from trackablate.harness.record import (
    Failure,
    PhaseCost,
    PhaseProgress,
    ProtocolRecord,
    SequenceRecord,
    SequenceResult,
    StudyRecord,
    TrainingCost,
    TrainingRecord,
)
from trackablate.harness.scoring.metrics import DIALECTS, METRICS, values
from trackablate.harness.scoring.stored_scores import stored_scores
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.harness.speed import Speed
from trackablate.harness.store import RunFolder, Store
from trackablate.trackers.spec import CandidateElimination, DeformableHead, FloorSpec, LoRA, TrackerSpec

NAMES = factory.names(3)
DIGEST = "0123456789abcdef"
PROTOCOL = "synthetic"
COST = TrainingCost(
    phases={"data": PhaseCost(wall_seconds=1, device_seconds=2), "train": PhaseCost(wall_seconds=9, device_seconds=7)},
    peak_memory_bytes=1000,
    params=90,
    trainable_params=80,
    macs=70,
)
CONV = TrackerSpec(backbone="vit-mini", sparsity=CandidateElimination())
DECODER = TrackerSpec(head=DeformableHead(layers=2), labels="localisation-quality", adaptation=LoRA(rank=7))


def asked(tracker: TrackerSpec | FloorSpec, seed: int = 0) -> RunSpec:
    trained = isinstance(tracker, TrackerSpec)
    recipe, data = (factory.RECIPE, factory.DATA) if trained else (None, None)
    return RunSpec(tracker=tracker, recipe=recipe, data=data, seed=seed)


def keep_protocol(store: Store, name: str = PROTOCOL, *, on_server: bool = False) -> ProtocolRecord:
    sequences = [
        SequenceRecord(
            name=sequence,
            frames=factory.FRAMES + on_server,
            boxes=[tuple(box) for box in factory.truth(sequence).tolist()],
            visible=[True] * factory.FRAMES,
            size=(factory.WIDTH, factory.HEIGHT),
            attributes=[],
            strip=[0],
            scale=1.0,
        )
        for sequence in NAMES
    ]
    record = ProtocolRecord(
        name=name, digest=DIGEST, title="", description="", source="", origin=0, one_shot=False, sequences=sequences,
        metrics=(("ao", "got10k"), ("auc", "ostrack")),
    )  # fmt: skip
    write_document(store.protocol(Evaluation(protocol=name, data=DIGEST)) / "protocol.json", record)
    return record


def train(folder: RunFolder) -> None:
    folder.weights.parent.mkdir(parents=True, exist_ok=True)
    folder.weights.write_bytes(b"weights")
    folder.finish_training(
        TrainingRecord(curve=[], cost=COST, weights_digest="d", where=factory.provenance(folder.run.name))
    )


def track(folder: RunFolder, names: list[str], **evaluation: object) -> Evaluation:
    asked = Evaluation.model_validate({"protocol": PROTOCOL, "data": DIGEST} | evaluation)
    for name in names:
        boxes = factory.predicted("x", name, 0.1)
        folder.add_result(asked, SequenceResult(name=name, boxes=[tuple(b) for b in boxes.tolist()], seconds=0.5))
    return asked


@dataclass(frozen=True)
class Filled:
    """A store with a run of every fate. evaluation: of the whole run."""

    store: Store
    protocol: ProtocolRecord
    whole: RunFolder
    evaluation: Evaluation


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    store = Store(tmp_path_factory.mktemp("frame") / "store")
    protocol = keep_protocol(store)
    whole, part, failed, idle, floor, strange = (
        store.run(run)
        for run in (
            asked(CONV),
            asked(DECODER),
            asked(CONV, 1),
            asked(CONV, 2),
            asked(FloorSpec(kind="ncc")),
            asked(CONV, 3),
        )
    )
    for folder in (whole, part, failed, idle, floor, strange):
        folder.claim()
    for folder in (whole, part, strange):
        train(folder)
    evaluation = track(whole, NAMES)
    track(whole, NAMES, control="shuffled-template")
    track(part, NAMES[:2])
    track(part, NAMES, test_layers=1)
    track(floor, NAMES)
    track(strange, NAMES, data="another")
    failed.set_failure(Failure(summary="MemoryError: full", traceback="", where=factory.provenance("x")))
    idle.set_progress(PhaseProgress(phase="train", done=40, total=150))
    whole.set_speed(
        Speed(fps=50, low=49, high=51, rounds=1, frames_per_round=1, device="CPU", threads=1, measured_with=[])
    )
    (store.root / "runs" / "damaged").mkdir()
    (store.root / "runs" / "damaged" / "spec.json").write_text('{"tracker": {"kind": "one-stream", "head"')
    (store.root / "runs" / "claimed").mkdir()
    return Filled(store, protocol, whole, evaluation)


@pytest.fixture(scope="module")
def table(filled: Filled) -> pd.DataFrame:
    return trackablate.results(filled.store.root)


def of(table: pd.DataFrame, tracker: TrackerSpec | FloorSpec, seed: int = 0) -> pd.DataFrame:
    return table[table["run"] == asked(tracker, seed).name]


def test_no_run_is_dropped(filled: Filled, table: pd.DataFrame) -> None:
    assert set(table["run"]) == {path.name for path in (filled.store.root / "runs").iterdir()}


def test_values_are_the_metrics_own(filled: Filled, table: pd.DataFrame) -> None:
    tallies = [s.tally for s in stored_scores(filled.whole, filled.evaluation, filled.protocol).values()]
    rows = of(table, CONV).query("control == 'none'").set_index("metric")
    for metric, dialect in (("ao", "got10k"), ("auc", "ostrack")):
        numerators, weights = values(tallies, metric, DIALECTS[dialect].on(PROTOCOL))
        assert rows.loc[metric, "value"] == pytest.approx(METRICS[metric].scale * numerators.sum() / weights.sum())
        assert rows.loc[metric, "dialect"] == dialect
    assert set(of(table, CONV)["control"]) == {"none", "shuffled-template"}


def test_a_row_says_what_was_asked_and_what_it_cost(table: pd.DataFrame) -> None:
    row = of(table, CONV).iloc[0]
    expected = {
        "tracker": "one-stream", "backbone": "vit-mini", "head": "centre", "head.channels": 256, "adaptation": "full",
        "sparsity": "candidate-elimination", "denoising": "none", "labels": "gaussian", "crop.search_size": 256,
        "seed": 0, "steps": 150, "batch_size": 32, "params": 90, "trainable_params": 80, "macs": 70,
        "train_seconds": 10.0, "device_hours": 9 / 3600, "peak_memory_bytes": 1000, "fps": 50.0,
        "tracking_seconds": 1.5, "verdict": "reproducible", "reason": "", "n_sequences": 3, "of_sequences": 3,
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert row["commit"].startswith("9e65990c0f")
    assert np.isnan(row["energy_joules"])
    assert of(table, DECODER).iloc[0]["adaptation.rank"] == 7


def test_a_part_of_a_protocol_has_no_value_but_a_reason(table: pd.DataFrame) -> None:
    rows = of(table, DECODER)
    part, cut = rows[rows["test_layers"].isna()], rows[rows["test_layers"] == 1]
    assert part["value"].isna().all()
    assert set(part["reason"]) == {"2 of 3 sequences"}
    assert cut["value"].notna().all()


@pytest.mark.parametrize(
    ("seed", "verdict", "reason"),
    [
        (1, "failed", "failed: MemoryError: full; not evaluated"),
        (2, "unfinished", "training not finished (train: 40 of 150); not evaluated"),
        (3, "reproducible", "tracked by another version, or on data that the store has no annotation of"),
    ],
)
def test_what_has_no_value_says_why(table: pd.DataFrame, seed: int, verdict: str, reason: str) -> None:
    (row,) = (row for _, row in of(table, CONV, seed).iterrows())
    assert (row["verdict"], row["reason"]) == (verdict, reason)
    assert np.isnan(row["value"])
    assert row["head"] == "centre"


def test_floors_have_scores_and_no_costs(table: pd.DataFrame) -> None:
    rows = of(table, FloorSpec(kind="ncc"))
    assert rows["value"].notna().all()
    assert rows["params"].isna().all()
    assert set(rows["tracker"]) == {"ncc"}


def test_what_cannot_be_read_is_named(table: pd.DataFrame) -> None:
    damaged = table[table["run"] == "damaged"].iloc[0]
    assert damaged["verdict"] == "unreadable"
    assert "spec.json is damaged" in damaged["reason"]
    assert table[table["run"] == "claimed"].iloc[0]["verdict"] == "unfinished"


def test_a_protocol_and_a_role_leave_out_all_others(tmp_path: Path) -> None:
    """What is averaged is then of one protocol, on the whole of its data, and of trackers that learn."""
    store = Store(tmp_path / "store")
    whole = keep_protocol(store)
    for other in (
        whole.model_copy(update={"digest": "a" * 16, "sequences": whole.sequences[:2]}),
        whole.model_copy(update={"name": "other"}),
    ):
        place = store.protocol(Evaluation(protocol=other.name, data=other.digest))
        write_document(place / "protocol.json", other)
    for run in (asked(CONV), asked(FloorSpec(kind="ncc"))):
        folder = store.run(run)
        folder.claim()
        train(folder)
        track(folder, NAMES)
        track(folder, NAMES[:2], data="a" * 16)
        track(folder, NAMES, protocol="other")
    store.run(asked(CONV, 1)).claim()
    track(store.run(asked(CONV)), NAMES, control="shuffled-template")
    everything = trackablate.results(store)
    assert set(everything["role"]) == {"variant", "floor", "control"}
    assert set(everything["data"].dropna()) == {DIGEST[:12], "a" * 12}
    found = trackablate.results(store, protocol=PROTOCOL, role="variant")
    ao = found[found["metric"] == "ao"]
    assert ao[["run", "protocol", "data", "n_sequences"]].to_numpy().tolist() == [
        [asked(CONV).name, PROTOCOL, DIGEST[:12], 3]
    ]
    assert set(found["run"]) == {asked(CONV).name, asked(CONV, 1).name}, "the run without an evaluation is still named"
    with pytest.raises(UnknownName, match="did you mean variant"):
        trackablate.results(store, role="Variants")
    with pytest.raises(UnknownName, match="did you mean synthetic"):
        trackablate.results(store, protocol="Synthetik")


def test_a_protocol_keeps_rows_without_a_score_and_one_of_equally_large_versions(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    whole = keep_protocol(store)
    for age, digest in ((50, "b" * 16), (10, "a" * 16)):
        file = store.protocol(Evaluation(protocol=PROTOCOL, data=digest)) / "protocol.json"
        write_document(file, whole.model_copy(update={"digest": digest}))
        os.utime(file, (file.stat().st_mtime + age,) * 2)
    file = store.protocol(Evaluation(protocol=PROTOCOL, data="c" * 16)) / "protocol.json"
    larger = [*whole.sequences, whole.sequences[0].model_copy(update={"name": "another"})]
    write_document(file, whole.model_copy(update={"digest": "c" * 16, "sequences": larger}))
    keep_protocol(store, "server", on_server=True)
    folder = store.run(asked(CONV))
    folder.claim()
    train(folder)
    for data in (DIGEST, "a" * 16, "b" * 16):
        track(folder, NAMES, data=data)
    track(folder, NAMES, revision=1)
    track(folder, NAMES, data="gone")
    track(folder, NAMES, protocol="server")
    found = trackablate.results(store, protocol=PROTOCOL)
    assert found[found["metric"] == "ao"]["data"].tolist() == ["b" * 12], "the newest one that is tracked"
    assert sorted(found[found["metric"].isna()]["data"]) == [DIGEST[:12], "gone"], "both have a reason"
    assert found[found["metric"].isna()]["reason"].str.startswith("tracked by another version").all()
    (row,) = trackablate.results(store, protocol="server").to_dict("records")
    assert "evaluation server" in row["reason"]
    store.set_study(
        StudyRecord(study="s", profile=load_profile("mini"), digests={PROTOCOL: "a" * 16}, seeds=1, command="", rows=())
    )
    found = trackablate.results(store, protocol=PROTOCOL)
    assert set(found["data"][found["value"].notna()]) == {"a" * 12}, "the one that a study was last started with"


def test_tracking_in_16_bits_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    """A mean over precisions would be of no tracker."""
    store = Store(tmp_path / "store")
    keep_protocol(store)
    folder = store.run(asked(FloorSpec(kind="ncc")))
    folder.claim()
    track(folder, NAMES)
    before = trackablate.results(store)
    track(folder, NAMES, precision="bf16")
    pd.testing.assert_frame_equal(trackablate.results(store), before)
    both = trackablate.results(store, precision="")
    assert both.groupby("precision").size().to_dict() == {"bf16": len(before), "fp32": len(before)}
    assert set(trackablate.results(store, precision="bf16")["precision"]) == {"bf16"}


def test_it_can_be_grouped_and_pivoted(table: pd.DataFrame) -> None:
    means = table[table["metric"] == "ao"].groupby(["head", "denoising"])["value"].mean()
    assert means.loc[("centre", "none")] > 0
    assert table["value"].dtype == table["fps"].dtype == np.float64


def test_boxes_on_a_server_are_not_scored(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    keep_protocol(store, on_server=True)
    folder = store.run(asked(CONV))
    folder.claim()
    train(folder)
    track(folder, NAMES)
    (row,) = trackablate.results(store).to_dict("records")
    assert "evaluation server" in row["reason"]


def test_an_empty_store_and_no_store(tmp_path: Path) -> None:
    empty = trackablate.results(Store(tmp_path / "store"))
    assert len(empty) == 0
    assert {"run", "metric", "value", "verdict"} <= set(empty.columns)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput):
        trackablate.results(tmp_path / "file")
    with pytest.raises(BadInput, match="no store at"):
        trackablate.results(tmp_path / "nowhere")


def test_importing_the_package_imports_neither_pandas_nor_torch_and_results_no_torch(filled: Filled) -> None:
    code = (
        "import sys, trackablate\n"
        "assert not {'pandas', 'torch', 'numpy'} & set(sys.modules)\n"
        f"trackablate.results({str(filled.store.root)!r})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
