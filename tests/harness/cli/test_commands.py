"""The command line end to end: a study from nothing to its report, what the next command finds done, and every help."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer

from command_line import harness, invoke, said
from places import ROOT
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.cli import app
from trackablate.harness.cli.listing import cost_in_words


def commands_of(group: typer.Typer, prefix: str = "") -> list[str]:
    """Every command as it is typed: "run", "data check"."""
    own = [prefix + (c.name or (c.callback.__name__ if c.callback else "")) for c in group.registered_commands]
    inner = [(g.typer_instance, f"{prefix}{g.name} ") for g in group.registered_groups if g.typer_instance]
    return own + [name for instance, start in inner for name in commands_of(instance, start)]


REPORT = {"index.html", "table.tex", "tables.tex", "table.md", "table.csv", "results.json", ".made-from.json"}
COMMANDS = [path.split() for path in sorted(commands_of(app))]
NAMES = ["conv", "decoder", "ce-conv", "ce-decoder", "static", "ncc", "shuffled-template"]


def contents(root: Path, pattern: str = "*") -> dict[str, tuple[int, int]]:
    """Every file with its identity and time: a rewritten file shows."""
    files = [p for p in root.rglob(pattern) if p.is_file() and not p.name.startswith(".lease-")]
    return {str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


@dataclass(frozen=True)
class Done:
    """A study that was run once."""

    place: Path
    process: subprocess.CompletedProcess[str]

    @property
    def store(self) -> Path:
        return self.place / "S"

    @property
    def out(self) -> Path:
        return self.place / "O"

    def results(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.out / "results.json").read_text())
        return document

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.results()["rows"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Done:
    place = tmp_path_factory.mktemp("study")
    return Done(place, harness("run", "table3", "--profile", "smoke", "--store", "S", "--out", "O", cwd=place))


def test_a_study_runs_from_nothing_to_its_report(study: Done) -> None:
    assert study.process.returncode == 0, study.process.stderr
    assert "Traceback" not in study.process.stderr
    assert {p.name for p in study.out.iterdir()} == REPORT | {"figures"}
    figures = {p.suffix for p in (study.out / "figures").iterdir()}
    assert figures == {".svg", ".pdf"}
    assert all(p.stat().st_size > 0 for p in study.out.rglob("*") if p.is_file())
    assert sorted(p.name for p in study.place.iterdir()) == ["O", "S"], "nothing is written elsewhere"
    assert "Sparsity and head" in study.process.stdout
    assert all(name in study.process.stdout for name in NAMES)
    runs = {p.name for p in (study.store / "runs").iterdir()}
    assert len(runs) == 6, "four variants and two floors"
    for run in runs:
        left = {p.name for p in (study.store / "runs" / run).iterdir()}
        trained = {"weights.safetensors", "training.json"} if run.startswith("vit") else set()
        assert left >= {"spec.json", "speed.json", "evaluations"} | trained
        assert not left & {"failure.json", "checkpoint.pt"}
    assert not list(study.place.rglob("*.tmp"))


def test_results_json_keeps_the_contract(study: Done) -> None:
    document, rows = study.results(), study.rows()
    assert (document["study"], document["profile"]) == ("table3", "smoke")
    assert document["comparable_with_paper"] is False
    assert sorted(rows) == sorted(NAMES)
    assert not document["missing"]
    roles = {name: row["role"] for name, row in rows.items()}
    assert roles == dict.fromkeys(NAMES[:4], "variant") | {
        "static": "floor",
        "ncc": "floor",
        "shuffled-template": "control",
    }
    for name, row in rows.items():
        for metric in row["metrics"].values():
            assert 0 <= metric["mean"] <= 100
            assert metric["ci95"][0] <= metric["mean"] <= metric["ci95"][1]
            assert metric["n"] == 4
        assert {"ao", "sr50", "sr75", "auc"} == set(row["metrics"]), name


def test_results_json_tells_costs_sizes_and_printed_figures(study: Done) -> None:
    rows = study.rows()
    for name in NAMES[:4]:
        cost, scale = rows[name]["cost"], rows[name]["paper_scale"]
        assert 5e5 < cost["params"] < 5e6
        assert 0 < cost["trainable_params"] <= cost["params"]
        for key in ("macs", "train_seconds", "device_hours", "peak_memory_bytes", "fps"):
            assert cost[key] > 0, key
        assert cost["device_hours"] < cost["train_seconds"] * 4 / 3600, "hours, not seconds"
        assert scale["params"] > 90e6
        assert scale["macs"] > 20e9
        assert rows[name]["published"]["ao"]["trust"] == "paper"
    assert rows["conv"]["published"]["ao"]["value"] == 71.5
    assert "Table 3" in rows["conv"]["published"]["ao"]["source"]
    for name in NAMES[4:]:
        assert rows[name]["published"] == {}
        assert rows[name]["paper_scale"]["params"] is None
    assert rows["static"]["cost"]["fps"] is None, "a box that stands still computes nothing"
    assert rows["ncc"]["cost"]["fps"] > 0
    assert rows["static"]["cost"]["train_seconds"] is None or rows["static"]["cost"]["train_seconds"] == 0


def test_the_same_command_again_does_no_work(study: Done) -> None:
    before, began = contents(study.store), time.monotonic()
    again = harness("run", "table3", "--profile", "smoke", "--store", "S", "--out", "again", "--json", cwd=study.place)
    assert again.returncode == 0, again.stderr
    assert contents(study.store) == before, "runs, logs and all"
    assert time.monotonic() - began < 60
    document = json.loads(again.stdout)
    assert document == study.results(), "one JSON document on standard output, and the same one"
    for name in ("table.tex", "table.md", "table.csv", "results.json"):
        assert (study.place / "again" / name).read_text() == (study.out / name).read_text(), name


def test_a_report_is_redrawn_only_if_anything_behind_it_changed(study: Done) -> None:
    words = ("run", "table3", "--profile", "smoke", "--store", study.store, "--out", study.out)
    before, figure = contents(study.out), min((study.out / "figures").iterdir())
    again = invoke(*words)
    assert again.exit_code == 0, again.output
    assert all(name in again.stdout for name in NAMES), "the table is said all the same"
    assert contents(study.out) == before
    figure.unlink()
    assert invoke(*words).exit_code == 0
    assert figure.exists(), "a report that is not whole is made anew"
    whole, result = contents(study.out), min((study.store / "runs").glob("*/evaluations/*/target*.json"))
    os.utime(result)
    assert invoke(*words).exit_code == 0
    assert {name for name, mark in contents(study.out).items() if mark == whole[name]} == set()


def test_a_second_start_imports_no_torch(study: Done) -> None:
    words = ["run", "table3", "--profile", "smoke", "--store", str(study.store), "--out", str(study.out)]
    command, environment = [sys.executable, "-c", LIGHT, *words], dict(os.environ)
    done = subprocess.run(command, cwd=study.place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch" not in done.stderr.rpartition("heavy=")[2]


def test_report_alone_renders_from_the_store(study: Done, tmp_path: Path) -> None:
    before = contents(study.store)
    words = ("report", "table3", "--profile", "smoke", "--store", study.store, "--out", tmp_path / "r")
    assert invoke(*words, "--format", "latex, csv").exit_code == 0
    assert {p.name for p in (tmp_path / "r").iterdir()} == {
        *("table.tex", "tables.tex", "table.csv", "figures", ".made-from.json")
    }
    assert (tmp_path / "r" / "table.csv").read_text() == (study.out / "table.csv").read_text()
    assert contents(study.store) == before


def test_plan_says_all_is_done(study: Done) -> None:
    plan = said("plan", "table3", "--profile", "smoke", "--store", study.store)
    assert [run["done"] for run in plan["runs"]] == [True] * 6
    assert {run["row"] for run in plan["runs"]} == set(NAMES) - {"shuffled-template"}
    assert plan["estimated_seconds"] == 0
    assert plan["disk_bytes"] == 0
    assert plan["free_bytes"] > 0
    shown = invoke("plan", "table3", "--profile", "smoke", "--store", study.store)
    assert "6 of 6 runs done" in shown.stdout


def test_plan_of_nothing_done_names_all_that_remains(tmp_path: Path) -> None:
    plan = said("plan", "table3", "--profile", "smoke", "--store", tmp_path / "new")
    runs = {run["row"]: run for run in plan["runs"]}
    assert not any(run["done"] for run in runs.values())
    assert {name for name, run in runs.items() if run["training"]} == set(NAMES[:4])
    assert runs["conv"]["sequences_missing"] == 8, "its own evaluation and the control's"
    assert runs["decoder"]["sequences_missing"] == 4
    assert plan["estimated_seconds"] is None
    assert plan["disk_bytes"] == pytest.approx(4 * 0.03e9, rel=0.01), "floors keep boxes only"
    assert plan["protocols"] == {"synthetic-smoke": "4 of 4 sequences"}
    assert not (tmp_path / "new" / "runs").exists()


def test_only_leaves_the_named_rows_and_the_baseline(study: Done) -> None:
    plan = said("plan", "table3", "--profile", "smoke", "--store", study.store, "--only", "decoder")
    assert {run["row"] for run in plan["runs"]} == {"conv", "decoder", "static", "ncc"}
    words = ("report", "table3", "--profile", "smoke", "--store", study.store, "--only", "ce-conv", "--format", "csv")
    assert invoke(*words, "--out", study.place / "only").exit_code == 0
    with (study.place / "only" / "table.csv").open(newline="") as opened:
        scored = [row["row"] for row in csv.DictReader(opened) if row["synthetic-smoke:ao [%]"]]
    assert sorted(scored) == sorted(["conv", "ce-conv", "static", "ncc", "shuffled-template"])


def test_the_head_study_trains_only_what_it_does_not_share(study: Done) -> None:
    plan = said("plan", "head", "--profile", "smoke", "--store", study.store)
    assert {run["row"] for run in plan["runs"] if not run["done"]} == {"mlp"}
    assert plan["estimated_seconds"] > 0
    before = contents(study.store / "runs", "training.json") | contents(study.store / "runs", "*.safetensors")
    done = harness("run", "head", "--profile", "smoke", "--store", "S", "--out", "head", cwd=study.place)
    assert done.returncode == 0, done.stderr
    after = contents(study.store / "runs", "training.json") | contents(study.store / "runs", "*.safetensors")
    assert {name: after[name] for name in before} == before, "shared runs are left as they were"
    new = {name.split("/")[0] for name in after.keys() - before.keys()}
    assert len(list((study.store / "runs").iterdir())) == 7
    assert len(new) == 1
    assert "mlp" in new.pop()
    shared = json.loads((study.place / "head" / "results.json").read_text())
    rows = {row["name"]: row for row in shared["rows"]}
    assert rows["centre"]["run"] == study.rows()["conv"]["run"]
    assert rows["centre"]["metrics"]["ao"]["mean"] == study.rows()["conv"]["metrics"]["ao"]["mean"]
    assert rows["mlp"]["metrics"]["ao"]["n"] == 4


class Page(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href") and tag != "a"]


def test_the_page_is_self_contained(study: Done) -> None:
    page = Page()
    page.feed((study.out / "index.html").read_text())
    assert any(source.startswith("data:image/") for source in page.loads), "it shows frames at least"
    assert all(source.startswith(("data:", "#")) for source in page.loads)


LIGHT = (
    "import sys\n"
    "from trackablate.harness.cli import main\n"
    "try:\n"
    "    main()\n"
    "except SystemExit as end:\n"
    "    assert not end.code, end.code\n"
    "heavy = {'torch', 'timm', 'peft', 'matplotlib', 'cv2'} & set(sys.modules)\n"
    "assert 'torch' not in heavy and 'timm' not in heavy, heavy\n"
    "sys.stderr.write(f'heavy={sorted(heavy)}')\n"
)


@pytest.mark.parametrize("words", [["--help"], ["list"], ["plan", "table3", "--profile", "smoke", "--store", "new"]])
def test_what_only_tells_starts_without_torch(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIGHT, *words]
    environment = dict(os.environ)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if words == ["--help"]:
        assert "heavy=[]" in done.stderr


@pytest.mark.parametrize("command", ["score", "run"])
def test_help_imports_nothing_of_what_the_command_does(command: str) -> None:
    """Half a second is the target; what takes it is imports, and the specifications alone are a tenth of a second."""
    code = (
        "import sys\n"
        "from trackablate.harness.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    ours = ('trackablate.ablations.', 'trackablate.trackers.spec', 'trackablate.datasets.protocols')\n"
        "    ours += ('trackablate.harness.scoring.raw_scoring', 'numpy', 'torch')\n"
        "    sys.stderr.write(str([m for m in sys.modules if m.startswith(ours)]))\n"
    )
    words = [sys.executable, "-c", code, command, "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == "[]"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    done = invoke(*command, "--help")
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert f"Example: python -m harness {' '.join(command)}" in text


def test_the_overview_lists_every_command() -> None:
    overview = invoke("--help")
    assert overview.exit_code == 0
    listed = {words[1] for line in overview.stdout.splitlines() if len(words := line.split()) > 2}
    assert {command[0] for command in COMMANDS} <= listed
    assert {"list", "show", "plan", "run", "report", "cost", "doctor", "pretrain"} <= listed


@pytest.mark.parametrize("name", ["got10k", "trackingnet", "otb"])
def test_a_protocol_is_shown_with_the_rules_that_are_called_like_it(name: str) -> None:
    document = said("show", name)
    assert (document["protocol"], document["dialect"]["dialect"]) == (name, name)
    assert "denominator" in document["dialect"]
    assert "denominator" in invoke("show", name).stdout
    assert re.split(r" or |\?|you mean ", invoke("show", f"{name}x").stderr).count(name) == 1, (
        "one of its kinds is enough"
    )


def test_show_takes_the_file_of_a_study_or_of_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "ranks.toml").write_text(
        'name = "ranks"\ntitle = "R"\nquestion = "?"\nbaseline = "lorat-b-224"\n[factors]\nRank = "adaptation.rank"\n'
        '[grid]\n"adaptation.rank" = [16, 64]\n'
    )
    assert set(said("show", str(tmp_path / "ranks.toml"))["rows"]) == {"rank-16", "rank-64"}
    (tmp_path / "drones.toml").write_text('name = "drones"\nfirst_pixel = 0\nboxes = "{name}.txt"\nframes = "{name}"\n')
    assert said("show", str(tmp_path / "drones.toml"))["protocol"] == "drones"


@pytest.mark.parametrize("kind", ["studies", "trackers", "outside", "protocols", "dialects", "datasets", "profiles"])
def test_list_and_show(kind: str) -> None:
    found = said("list", kind)
    assert list(found) == [kind]
    assert found[kind]
    text = invoke("list", kind).stdout
    for name, line in found[kind].items():
        assert name in text
        assert line
        assert line in text
        if kind in ("studies", "trackers", "protocols"):
            document = said("show", name)
            assert document[{"studies": "study", "trackers": "tracker", "protocols": "protocol"}[kind]] == name
            shown = invoke("show", name)
            assert shown.exit_code == 0
            assert all(f"{key}:" in shown.stdout for key in document)


def test_list_without_a_kind_lists_all_kinds() -> None:
    assert list(said("list")) == ["studies", "trackers", "outside", "protocols", "dialects", "datasets", "profiles"]
    assert "table3" in said("list")["studies"]


def test_list_alone_is_an_overview(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each study, and the names of all else; with a kind, a line each as before."""
    monkeypatch.setenv("COLUMNS", "80")
    lines, everything = invoke("list").stdout.splitlines(), said("list")
    assert len(lines) < 70
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).replace(",", " ").split())
    assert all(f" {name} " in f"{text} " for entries in everything.values() for name in entries)
    assert sum(line.startswith("  ") and line.split()[0] in STUDIES for line in lines) == len(STUDIES)
    assert "`list KIND` says more of each" in text
    trackers = invoke("list", "trackers").stdout.splitlines()
    assert len(trackers) == 1 + len(everything["trackers"])


def test_show_says_once_where_the_paper_is_silent() -> None:
    shown, document = invoke("show", "table3").stdout, said("show", "table3")
    assert shown.count("silent") == 1
    assert "head.heads: none -> 8 *" in shown
    assert "head.heads *: 8 attention heads, as Deformable DETR" in shown
    assert shown.count("8 attention heads, as Deformable DETR") == 1
    assert "the label `centre` is 1 at" in shown, "what no field says stays in the remark"
    assert "sparsity.end: none -> 0.3333 *" in shown
    assert "- AO 71.5 on got10k, 70.9 M parameters, 22.3 GFLOPs (detrack-table3); by its text" in shown
    assert "0.33333" not in shown
    assert document["rows"]["decoder"]["differs"]["head.heads"] == "None -> 8 (the paper is silent)"


def test_show_tells_how_rows_differ_and_what_was_printed() -> None:
    rows = said("show", "table3")["rows"]
    assert rows["conv"]["differs"] == "the baseline"
    assert set(rows["ce-conv"]["differs"]) and all(field.startswith("sparsity") for field in rows["ce-conv"]["differs"])
    assert rows["conv"]["published"][0]["metrics"] == {"got10k": {"ao": 71.5}}
    assert {field.split(".")[0] for field in rows["decoder"]["differs"]} == {"head", "labels", "denoising", "recipe"}


def test_show_tells_every_training_of_a_study() -> None:
    found = said("show", "table1")
    assert found["rows"]["detrack"]["differs"]["recipe.steps"] == "46875 / 140625 -> 9375 / 28125"
    assert [training["for"] for training in found["trainings of the baseline"]] == ["got10k", "trackingnet, lasot"]
    targets = said("show", "lorat-targets")["rows"]["qv"]["differs"]["adaptation.targets"]
    assert targets == "q+k+v+proj+fc1+fc2 -> q+v"
    assert found["trainings of the baseline"][0]["data"]["sets"] == ["got10k-train"]


def test_cost_counts_without_weights() -> None:
    found = said("cost", "ostrack-256")
    assert found["variant"] == "ostrack-256"
    assert found["params"] > 90e6
    assert 0 < found["head_params"] < found["params"]
    assert found["trainable_params"] == found["params"]
    assert found["adaptation_params"] == 0
    both, linear_conv = found["macs"].values()
    assert both > linear_conv > 20e9
    assert found["macs_unmerged"] == both, "nothing to merge"
    assert found["tokens"] == {"template": 64, "search": 256}
    lines = invoke("cost", "ostrack-256").stdout.splitlines()
    assert lines[0] == "tracker: ostrack-256"
    assert f"parameters that are trained: {found['trainable_params']:,}" in lines
    assert f"multiply-accumulates (MACs) of a frame, as fvcore counts them: {both / 1e9:.4g} G" in lines
    assert not any("_" in line for line in lines), "words, not the document's keys"


def test_every_cost_has_words_and_a_unit() -> None:
    speed = {"fps": 87.412, "fps_range": [80.0, 1290.5], "latency": 11.4, "latency95": 10450.0, "memory_bytes": 1301e6}
    found = cost_in_words({"variant": "x", "params": None, **speed, "device": "CPU", "threads": 2})
    assert found == {
        "tracker": "x",
        "parameters in training": "unknown",
        "speed at batch 1": "87.41 frames/s",
        "slowest and fastest round": "80 to 1,290 frames/s",
        "time of a frame, median": "11.4 ms",
        "time of a frame, 95th percentile": "10,450 ms",
        "memory at most": "1,301 MB",
        "device": "CPU",
        "threads": "2",
    }


def test_doctor_names_packages_weights_and_disk(tmp_path: Path) -> None:
    done = invoke("doctor", "--json", "--store", tmp_path / "not" / "yet")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    told = done.stderr.splitlines()
    doing = next(i for i, line in enumerate(told) if line.startswith("checking the device"))
    assert [line.split(":")[0].split()[-1] for line in (told[0], told[doing + 1])] == ["Python", "device"]
    assert len(told) == len(checks) + 1, "a line for each check as it is done"
    assert {"Python", "torch", "device", "disk", "weights of vit-mini"} <= set(checks)
    assert checks["outside trackers"]["found"].startswith("opencv-mil"), "every OpenCV has it"
    for check in checks.values():
        assert check["found"]
        assert check["ok"] or check["remedy"], check
    assert not (tmp_path / "not").exists()
