"""`plan` on the command line: a calibration, the estimate it gives, what fits a budget, and what came of it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from command_line import harness, invoke, said
from trackablate.harness.cli.plan import duration
from trackablate.harness.costing.hardware import expected_device, expected_gpus
from trackablate.harness.planning.forecasts import forecasts
from trackablate.harness.planning.history import gather
from trackablate.harness.store import Store

STUDY = ("table3", "--profile", "smoke")


@dataclass(frozen=True)
class Planned:
    """A study that was calibrated, planned, and then run for one row."""

    store: Path
    before: dict[str, Any]
    said_after: str


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    place = tmp_path_factory.mktemp("plan")
    words = (*STUDY, "--store", "S", "--only", "decoder")
    before = harness("plan", *words, "--calibrate", "--json", cwd=place)
    assert before.returncode == 0, before.stderr
    after = harness("run", *words, "--out", "O", cwd=place)
    assert after.returncode == 0, after.stderr
    return Planned(place / "S", json.loads(before.stdout), after.stderr)


@pytest.mark.slow
def test_a_calibration_is_kept_and_measures_each_tracker(planned: Planned) -> None:
    (place,) = (planned.store / "calibration").iterdir()
    runs = list(Store(place).runs())
    networks = [record for run in runs if (record := run.training())]
    assert len(runs) == 4
    assert len(networks) == 2
    for record in networks:
        assert 0 < record.cost.phases["validate"].wall_seconds < record.cost.phases["train"].wall_seconds
        assert 0 < record.cost.device() / record.cost.wall() <= 1.2
        assert (record.cost.macs or 0) > 1e6
        assert 1e7 < (record.cost.memory() or 0) < 5e8
    for run in runs:
        (evaluation,) = run.evaluations()
        assert [len(result.boxes) for result in run.results(evaluation)] == [8] * 4


@pytest.mark.slow
def test_the_plan_says_what_every_run_takes(planned: Planned) -> None:
    runs = {run["row"]: run for run in planned.before["runs"]}
    assert set(runs) == {"conv", "decoder", "static", "ncc"}
    for name, run in runs.items():
        takes = run["estimate"]
        assert 0 < takes["wall_seconds"]["low"] < takes["wall_seconds"]["expected"] < takes["wall_seconds"]["high"]
        assert takes["sources"] == ["measured"], name
        assert all("%" in note or "measured" in note for note in takes["notes"])
    assert runs["conv"]["shared_with"] == ["head"]
    assert runs["static"]["shared_with"] == []
    whole = planned.before["estimate"]
    assert whole["unknown"] == []
    assert planned.before["estimated_seconds"] == whole["wall_seconds"]["expected"]
    assert 1e7 < whole["memory_bytes"]["expected"] < 5e8


@pytest.mark.slow
def test_the_run_says_how_that_compares(planned: Planned) -> None:
    assert "time as predicted -> as it was:" in planned.said_after
    assert "4 runs, preparing and FPS together" in planned.said_after
    for row in ("conv", "decoder", "static", "ncc"):
        assert re.search(rf"^  {row}: .* -> ", planned.said_after, re.MULTILINE), "by the name in the table"
    (entry,) = forecasts(Store(planned.store))
    assert all(run.wall.actual is not None for run in entry.runs)
    assert len(entry.runs) == 4
    after = said("plan", *STUDY, "--store", planned.store, "--only", "decoder")
    assert after["estimated_seconds"] == 0
    assert len(after["compared"]["runs"]) == 4
    assert entry.wall is not None
    assert after["compared"]["wall"]["actual"] == entry.wall.actual
    shown = invoke("plan", *STUDY, "--store", planned.store, "--only", "decoder").stdout
    assert "4 of 4 runs done; nothing is left" in shown
    assert "->" in shown


@pytest.mark.slow
def test_a_start_is_not_compared_with_another_study(planned: Planned) -> None:
    """Table 1 shares the floors with the start of table 3, which did more."""
    plan = said("plan", "table1", "--profile", "smoke", "--store", planned.store)
    assert len(plan["compared"]["runs"]) == 2
    assert plan["compared"]["wall"] is None
    assert plan["compared"]["started"] == 0


@pytest.mark.slow
def test_a_finished_study_is_not_calibrated(planned: Planned) -> None:
    before = {file: file.stat().st_mtime_ns for file in planned.store.rglob("*")}
    plan = said("plan", *STUDY, "--store", planned.store, "--only", "decoder", "--calibrate")
    assert {file: file.stat().st_mtime_ns for file in planned.store.rglob("*")} == before
    assert plan["estimated_seconds"] == 0


@pytest.mark.slow
def test_what_is_done_predicts_the_rest_and_a_budget_chooses(planned: Planned) -> None:
    words = ("plan", *STUDY, "--store", planned.store)
    plan = said(*words, "--budget", "99h")
    sources = {run["row"]: (run["estimate"] or {}).get("sources") for run in plan["runs"] if not run["done"]}
    assert set(sources) == {"ce-conv", "ce-decoder"}
    assert all(source[0] == "scaled" for source in sources.values() if source)
    assert plan["budget"]["chosen"][0] == "conv"
    assert set(plan["budget"]["chosen"]) == {"conv", "decoder", "ce-conv", "ce-decoder"}
    assert plan["budget"]["command"].startswith("python -m harness run table3 --profile smoke --only ")
    little = said(*words, "--budget", "0.01min")["budget"]
    assert set(little["chosen"]) == {"conv", "decoder"}, "what is done costs nothing"
    assert set(little["left_out"]) == {"ce-conv", "ce-decoder"}
    assert "left out: " in invoke(*words, "--budget", "0.01min").stdout


def test_a_named_device_is_estimated_from_its_peak(tmp_path: Path) -> None:
    words = ("plan", "head", "--profile", "smoke", "--store", tmp_path / "none", "--only", "mlp")
    plan = said(*words, "--device-peak", "rtx 3090", "--gpus", "2")
    assert plan["estimate"]["device"] == "RTX 3090"
    assert plan["estimate"]["workers"] == 2
    assert plan["estimate"]["memory_limit_bytes"] == 24e9
    runs = {run["row"]: run["estimate"] for run in plan["runs"]}
    assert runs["mlp"]["sources"] == ["peak"]
    assert "20 to 45 %" in runs["mlp"]["notes"][0]
    assert runs["mlp"]["memory_bytes"]["low"] > 0
    assert not (tmp_path / "none").exists(), "planning makes no store"


def test_what_is_asked_wrongly_is_refused(tmp_path: Path) -> None:
    words = ("plan", *STUDY, "--store", tmp_path / "none")
    for more, message in (
        (("--device-peak", "RTX 3091"), "RTX 3090"),
        (("--budget", "much"), "20gpuh"),
        (("--budget", "2h"), "--calibrate"),
    ):
        done = invoke(*words, *more)
        assert done.exit_code == 2
        assert message in done.stderr


def test_data_that_are_not_here_are_planned_by_the_official_list(tmp_path: Path) -> None:
    words = ("plan", *STUDY, "--protocol", "lasot", "--protocol", "otb", "--store", tmp_path / "none")
    done = invoke(*words)
    assert done.exit_code == 2, "it cannot run here"
    assert "685440 frames" in done.stdout
    assert "59035 frames" in done.stdout
    assert "track 380 sequences" in done.stdout
    assert "give --data lasot=PATH" in done.stdout
    assert "data are missing (listed above)" in done.stderr
    calibrated = invoke(*words, "--calibrate")
    assert calibrated.exit_code == 2, "it trains on the data of the study"
    assert "--calibrate" in calibrated.stderr
    assert "give --data lasot=PATH" in calibrated.stderr
    run = invoke("run", *words[1:])
    assert run.exit_code == 2, "and run refuses as before"
    assert "give --data lasot=PATH" in run.stderr


def test_a_stranger_understands_the_plan(tmp_path: Path) -> None:
    """Not `(also of head)`, nor 160 sequences of a protocol that has 80, and each reason once."""
    words = ("plan", "table3", "--store", tmp_path / "none")
    text = invoke(*words).stdout
    assert text.startswith("table3, profile mini, on synthetic (80 of 80 sequences)\n")
    conv, decoder = (line for line in text.splitlines() if line.split()[0] in ("conv", "decoder"))
    assert conv.endswith(
        "train, track 160 sequences (80 as conv, 80 as shuffled-template), measure FPS (shared with the study head)"
    )
    assert "train, track 80 sequences, measure FPS" in decoder
    by_row = {run["row"]: run["sequences_by_row"] for run in said(*words)["runs"]}
    assert by_row["conv"] == {"conv": 80, "shuffled-template": 80}
    assert by_row["ncc"] == {"ncc": 80}
    done = invoke(*words, "--profile", "paper", "--json")
    (absent,) = json.loads(done.stdout)["missing_here"]
    assert absent.startswith("to track got10k, to train on got10k-train, to validate during training on got10k-val: ")


def test_the_device_is_known_without_torch(tmp_path: Path) -> None:
    assert expected_device("cpu").startswith("CPU (")
    assert expected_device("auto", tmp_path).startswith("CPU (")
    (tmp_path / "0000:01").mkdir()
    (tmp_path / "0000:01" / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 1\n")
    assert expected_device("auto", tmp_path) == "NVIDIA H100 80GB HBM3"
    assert gather(Store(tmp_path / "s"), "CPU (x)").device == "CPU (x)"


@pytest.mark.parametrize(("visible", "count"), [(None, 3), ("", 0), ("1,2", 2)])
def test_the_gpus_are_counted_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for number in range(3):
        (tmp_path / f"0000:0{number}").mkdir()
        (tmp_path / f"0000:0{number}" / "information").write_text("Model: \t NVIDIA H100 80GB HBM3\n")
    assert len(expected_gpus("auto", tmp_path)) == count
    assert len(expected_gpus("cuda:1", tmp_path)) == min(count, 1)
    assert expected_gpus("cpu", tmp_path) == []


@pytest.mark.slow
def test_cost_on_a_device_measures_speed_and_memory() -> None:
    found = said("cost", "ostrack-256", "--device", "cpu")
    assert found["device"].startswith("CPU")
    assert 0 < found["fps_range"][0] <= found["fps"] <= found["fps_range"][1]
    assert found["memory_bytes"] > 3e8, "its weights alone"
    assert found["params"] > 90e6
    assert invoke("cost", "ostrack-256", "--device", "tpu").exit_code == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (120, "2 min"), (5400, "1.5 h"), (72 * 3600, "3.0 days"), (0, "0 s")]
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_plan_says_what_the_processes_that_make_pairs_take(tmp_path: Path) -> None:
    words = ("plan", *STUDY, "--only", "conv", "--store", str(tmp_path / "S"))
    plan = said(*words, "--loader-workers", "3")
    assert plan["loader"]["workers"] == 3
    assert 50e6 < plan["loader"]["bytes_each"] < 60e6
    text = invoke(*words, "--loader-workers", "3").stdout
    assert "there is no estimate of time yet" in text
    assert "made by 3 processes of about 5" in text, "also if no time is known"
    assert said(*words)["loader"]["workers"] == 0 or expected_gpus()
