"""Where a run happened: a checkout with anything that git does not know is not a clean one."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from trackablate.harness import provenance as module
from trackablate.harness.errors import BadInput


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


@pytest.mark.parametrize(
    ("torch", "vision", "needs", "fits"),
    [
        ("2.14.1", "0.29.1", "torch (==2.14.1)", True),
        ("2.14.1+cpu", "0.29.1+cpu", "torch==2.14.1", True),
        ("2.14.1+cpu", "0.29.1", "torch >=2.14.0", True),
        ("2.14.1", "0.28.0", "torch (==2.13.0)", False),
        ("2.14.1+cpu", "0.29.1+cu130", "torch (==2.14.1)", False),
    ],
)
def test_torch_and_torchvision_of_different_releases_are_refused_before_work(
    monkeypatch: pytest.MonkeyPatch, torch: str, vision: str, needs: str, fits: bool
) -> None:
    monkeypatch.setattr(module.metadata, "version", {"torch": torch, "torchvision": vision}.__getitem__)
    monkeypatch.setattr(module.metadata, "requires", lambda name: ["numpy", needs] if name == "torchvision" else [])
    with nullcontext() if fits else pytest.raises(BadInput) as caught:
        module.refuse_mixed_torch()
    if caught:
        said = f"torchvision {vision} does not fit torch {torch}: {module.SAME_RELEASE}"
        assert str(caught.value) == said
