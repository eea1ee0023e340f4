"""Where a run happened: a checkout with anything that git does not know is not a clean one."""

import subprocess
import sys
from pathlib import Path

import pytest

from trackablate.harness import provenance as module


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one committed module, taken for the project's own."""
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "provenance.py").write_text("committed = True\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def dirty() -> bool | None:
    return module.provenance(device="cpu", driver=None, threads=1, workers=1, command="").dirty


def test_a_clean_checkout_is_clean(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("not code")
    assert dirty() is False


def test_a_changed_file_is_dirty(checkout: Path) -> None:
    (checkout / "harness" / "provenance.py").write_text("changed = True\n")
    assert dirty() is True


def test_a_new_module_in_a_package_is_dirty(checkout: Path) -> None:
    (checkout / "ablations").mkdir()
    (checkout / "ablations" / "points.py").write_text("new = True\n")
    assert dirty() is True


def test_commands_leave_out_folders_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["__main__.py", "run", "table3", "--store", "/home/me/store", "--data", "otb=/data/o"]
    )
    assert module.command_line() == "python -m harness run table3 --store PATH --data otb=PATH"
