"""Whether a report on disk is current: what changes its source, and what does not."""

import os
from pathlib import Path

import pytest

from trackablate.reports.pages.made_from import keep_source, source_digest, unchanged


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "training.json").write_text("{}")
    return tmp_path / "run"


def test_files_at_work_and_halves_of_files_do_not_count(run: Path) -> None:
    before = source_digest("asked", [run])
    at_work = ("checkpoint-before.pt", "diverged.pt", "progress.json", "checkpoint.pt")
    for name in (*at_work, ".lease-3", ".training.json.x.tmp"):
        (run / name).write_text("x")
    assert source_digest("asked", [run]) == before
    (run / "result.json").write_text("x")
    assert source_digest("asked", [run]) != before
    assert source_digest("something else", [run]) != source_digest("asked", [run])


def test_a_file_that_vanishes_meanwhile_is_left_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source_digest("asked", [run])
    (run / "gone.json").write_text("x")
    listed = os.scandir

    def vanish(folder: str) -> list[os.DirEntry[str]]:
        found = list(listed(folder))
        (run / "gone.json").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os, "scandir", vanish)
    assert source_digest("asked", [run]) == before


def test_a_report_is_current_as_long_as_it_is_whole(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("page")
    keep_source(tmp_path, "source", [page])
    assert unchanged(tmp_path, "source") == [page]
    assert unchanged(tmp_path, "another source") == []
    page.write_text("cut")
    assert unchanged(tmp_path, "source") == []
