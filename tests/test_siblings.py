"""`datasets` and `trackers` are also names of packages on the registry: ours win, or the error says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.siblings import NAMES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A site directory with somebody else's packages of these names."""
    for name in NAMES:
        package = tmp_path / "site" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("WHOSE = 'foreign'\n")
    return tmp_path / "site"


def run(script: str, site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the foreign packages first, the project after them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_foreign_packages_would_win_without_harness(foreign: Path, tmp_path: Path) -> None:
    done = run("import datasets; assert datasets.WHOSE == 'foreign'", foreign, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_ours_are_imported_after_harness(foreign: Path, tmp_path: Path, name: str) -> None:
    script = f"import harness, {name}, sys; sys.stdout.write({name}.__file__)"
    done = run(script, foreign, tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout).resolve() == ROOT / name / "__init__.py"


def test_modules_inside_are_ours_too(foreign: Path, tmp_path: Path) -> None:
    script = "import harness\nfrom datasets.boxes import iou\nfrom trackers.spec import TrackerSpec"
    done = run(script, foreign, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_package_loaded_first_is_an_error_with_the_remedy(foreign: Path, tmp_path: Path, name: str) -> None:
    done = run(f"import {name}, harness", foreign, tmp_path)
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError")
    assert str(foreign / name) in message, "names the intruder's folder"
    assert str(ROOT / name) in message, "names the one it needs"
    assert "Import harness before it" in message
    assert f"pip uninstall {name}" in message
