"""The page that puts everything into one table: its commands run as they stand, in an empty folder."""

import json
import re
import shlex
from pathlib import Path

import pytest

from command_line import harness
from places import ROOT

PAGE = (ROOT / "docs" / "ten-minutes.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m harness (.*)$", PAGE, re.MULTILINE)
(DECLARATION,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_page_puts_everything_into_one_table(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(DECLARATION)
    for command in COMMANDS:
        done = harness(*shlex.split(command), cwd=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    document = json.loads((tmp_path / "report" / "head-smoke-mine" / "results.json").read_text())
    auc = {row["name"]: row["metrics"]["auc"]["mean"] for row in document["rows"]}
    assert auc.keys() >= {"centre", "mlp", "decoder", "mil", "my-checkpoint", "static", "ncc", "Friend"}
    assert auc["my-checkpoint"] == pytest.approx(auc["centre"]), "the same weights"
    assert auc["Friend"] == pytest.approx(auc["ncc"]), "the same boxes"
    assert "Unbroken" in (tmp_path / "report" / "head-smoke-mine" / "table.md").read_text()
    assert "Friend" in done.stdout
    assert len(COMMANDS) == 9, "each command of the page is run"
