"""The pages that are made from the code, the check of links, and the built site."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from places import ROOT
from trackablate.ablations.catalogue import STUDIES
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading.reader import Part


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    found: dict[str, str] = loaded("generated_pages").pages()
    return found


def test_every_command_has_its_help_and_an_example(made: dict[str, str]) -> None:
    commands = {path: text for path, text in made.items() if path.startswith("commands/") and "index" not in path}
    assert {
        "commands/run.md",
        "commands/data-check.md",
        "commands/store-verify.md",
        "commands/export-weights.md",
    } <= set(commands)
    assert [path for path, text in commands.items() if "python -m harness" not in text] == []
    assert "| `--seeds N` | runs of each row" in commands["commands/run.md"]
    assert "`--precision fp32\\|bf16\\|fp16`" in commands["commands/evaluate.md"], "the values of a choice"
    assert all(f"]({Path(path).name})" in made["commands/index.md"] for path in commands)


def test_every_benchmark_has_its_facts(made: dict[str, str]) -> None:
    for name, protocol in PROTOCOLS.built_in.items():
        page = made[f"benchmarks/{name}.md"]
        assert protocol.source in page
        assert all(f"`{dialect}`" in page for _, dialect in protocol.metrics)
        layouts = protocol.open.layouts if isinstance(protocol.open, Part) else ()
        assert all(layout.title in page for layout in layouts)
    assert "| sequences | 280 |" in made["benchmarks/lasot.md"]
    assert "685,440" in made["benchmarks/lasot.md"]


def test_every_study_has_its_rows(made: dict[str, str]) -> None:
    for study in STUDIES.values():
        assert f"## {study.name}\n" in made["studies.md"]
        assert all(f"| `{row.name}` |" in made["studies.md"] for row in study.rows)


def test_tables_keep_their_columns(made: dict[str, str]) -> None:
    for path, text in made.items():
        for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            assert len(widths) == 1, f"{path}: {table[:200]}"


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="other.html#here">a</a> <a href="folder/">b</a> <a href="https://x.y">c</a>'
    )
    (tmp_path / "folder" / "index.html").write_text('<a href="../index.html">up</a>')
    (tmp_path / "other.html").write_text('<h2 id="here">x</h2> <a href="#gone">d</a> <img src="no.png">')
    number, wrong = loaded("check_links").faults(tmp_path)
    assert (number, wrong) == (5, ["other.html: #gone", "other.html: no.png"])


def test_the_site_is_built_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason="NOT TESTED: trackablate[docs] is not installed, the site unchecked")
    words = [sys.executable, "-P", "-m", "mkdocs", "build", "-q", "--strict", "-d", str(tmp_path / "site")]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    number, wrong = loaded("check_links").faults(tmp_path / "site")
    assert wrong == []
    assert number > 5000
    page = (tmp_path / "site" / "index.html").read_text()
    assert re.findall(r'<(?:script|link|img)[^>]*="https?:[^>]*>', page) == [], "a page asks no other server"
    assert "Return the SHA-256 of a file" in (tmp_path / "site" / "modules" / "trackers.encoder.html").read_text()
