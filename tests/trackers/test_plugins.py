"""Trackers from outside: one file adds a head and a tracker, which are then shown, costed, trained and evaluated like any
other; and what is said of a plugin that is broken. Every test that loads one does so in processes of its own: what a plugin
registers stays registered."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT, SRC, TESTS
from trackablate.harness.cli import plugins_first
from trackablate.trackers.old_names import MOVED, moved, new_name
from trackablate.trackers.plugins import VARIABLE

EXAMPLE = TESTS / "support" / "two_linear_plugin.py"
WIDTH = 64


def python(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKABLATE_")}
    environment |= {"COLUMNS": "200"} | variables
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def harness(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "trackablate", *words, cwd=cwd, **variables)


def said(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_the_readme_shows_this_plugin() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") in (ROOT / "docs" / "extend" / "head.md").read_text(encoding="utf-8")


def test_a_plugins_tracker_is_shown_and_costed(tmp_path: Path) -> None:
    """The head's parameters by hand: twice 768 x 64 + 64, and 64 x 1 + 1 and 64 x 4 + 4."""
    shown = said(harness("--plugin", EXAMPLE, "show", "two-linear", "--json", cwd=tmp_path))
    assert shown["head"] == {"kind": "two-linear", "width": WIDTH}
    cost = said(harness("cost", "two-linear", "--json", f"--plugin={EXAMPLE}", cwd=tmp_path))
    assert cost["head_params"] == 2 * (768 * WIDTH + WIDTH) + (WIDTH + 1) + (4 * WIDTH + 4)
    without = harness("show", "two-linear", cwd=tmp_path)
    assert without.returncode == 2
    assert "two-linear" in without.stderr


def test_a_plugins_tracker_is_trained_and_evaluated(tmp_path: Path) -> None:
    """Workers load it too; and without it the stored run is refused with the remedy, not misread."""
    trained = said(harness("train", "two-linear", "--profile", "smoke", "--plugin", EXAMPLE, "--json", cwd=tmp_path))
    name = str(trained["run"])
    assert "two-linear" in name
    command = ("evaluate", name, "--protocol", "synthetic-smoke", "--json")
    assert "metrics" in said(harness(*command, cwd=tmp_path, **{VARIABLE: str(EXAMPLE)}))
    without = harness(*command, cwd=tmp_path)
    assert without.returncode != 0
    assert "two-linear" in without.stderr and "--plugin FILE" in without.stderr


def test_a_plugin_adds_the_study_that_the_page_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "extend" / "study.md").read_text(encoding="utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    added = "from trackablate.ablations.study import STUDIES\nSTUDIES.add('points', points)\n"
    (tmp_path / "points.py").write_text(example + added, encoding="utf-8")
    shown = said(harness("--plugin", "points.py", "show", "points", "--json", cwd=tmp_path))
    assert shown["study"] == "points"


def test_an_installed_plugin_is_found_by_its_entry_point(tmp_path: Path) -> None:
    """A distribution as pip leaves it: a module, and its metadata beside it."""
    (tmp_path / "two_linear.py").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    facts = tmp_path / "two_linear-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: two-linear\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text("[trackablate.trackers]\ntwo = two_linear\n", encoding="utf-8")
    path = os.pathsep.join([str(SRC), str(tmp_path)])
    shown = said(harness("show", "two-linear", "--json", cwd=tmp_path, PYTHONPATH=path))
    assert shown["head"] == {"kind": "two-linear", "width": WIDTH}
    (tmp_path / "two_linear.py").write_text("raise RuntimeError('no good')\n", encoding="utf-8")
    broken = harness("list", "trackers", cwd=tmp_path, PYTHONPATH=path)
    assert broken.returncode == 2
    assert "two-linear 1.0" in broken.stderr and "RuntimeError: no good" in broken.stderr


BROKEN = {
    "raises": ("x = 1\n\nraise RuntimeError('no good')\n", ["line 3", "RuntimeError: no good"]),
    "does not parse": ("def f(:\n", ["line 1", "SyntaxError"]),
    "misses a module": ("import nowhere_at_all\n", ["line 1", "nowhere_at_all"]),
    "claims a name twice": (
        "from trackablate.trackers.variants import VARIANTS, ostrack\nVARIANTS.add('ostrack-256', ostrack)\n",
        ["line 2", "claimed twice"],
    ),
    "claims a head twice": (
        "from trackablate.trackers.plugins import add_head\nfrom trackablate.trackers.spec import MLPHead\n"
        "add_head(MLPHead, print, ())\n",
        ["line 3", "head 'mlp' is claimed twice"],
    ),
    "has no kind": (
        "from trackablate.trackers.plugins import add_head\nfrom trackablate.trackers.spec import HeadSpec\n"
        "class Nameless(HeadSpec):\n    width: int = 3\nadd_head(Nameless, print, ())\n",
        ["line 5", "Nameless needs a field `kind"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_with_its_line(case: str, tmp_path: Path) -> None:
    content, expected = BROKEN[case]
    file = tmp_path / "mine.py"
    file.write_text(content, encoding="utf-8")
    done = harness("--plugin", file, "list", "profiles", cwd=tmp_path)
    assert done.returncode == 2
    assert all(words in done.stderr for words in [*expected, str(file), "mend the plugin"]), done.stderr
    assert "Traceback" not in done.stderr


def test_a_plugin_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    for name in ("absent.py", "notes.txt", "."):
        done = harness("--plugin", name, "list", "profiles", cwd=tmp_path)
        assert done.returncode == 2
        assert "is not a Python file" in done.stderr


def test_workers_inherit_the_plugins_and_load_each_once(tmp_path: Path) -> None:
    file = tmp_path / "counting.py"
    file.write_text(f"open({str(tmp_path / 'count')!r}, 'a').write('x')\n", encoding="utf-8")
    script = "import os\nfrom pathlib import Path\nfrom trackablate.trackers.plugins import VARIABLE, load_plugins\n"
    script += "load_plugins([Path('counting.py')])\nprint(len(load_plugins()), os.environ[VARIABLE])\n"
    done = python("-c", script, cwd=tmp_path, **{VARIABLE: str(file)})
    assert done.stdout.split() == ["1", str(file)], done.stderr
    assert (tmp_path / "count").read_text() == "x"


def test_nothing_heavy_is_imported_where_there_is_no_plugin(tmp_path: Path) -> None:
    script = "import sys, trackablate.trackers.plugins as p\np.load_plugins()\n"
    script += "print({'torch', 'pydantic', 'trackablate.trackers.spec'} & set(sys.modules))"
    done = python("-c", script, cwd=tmp_path)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["cost", "x", "--plugin", "a.py"], ["--plugin", "a.py", "cost", "x"]),
        (["--plugin=a.py", "cost", "--plugin", "b.py", "x"], ["--plugin=a.py", "--plugin", "b.py", "cost", "x"]),
        (["cost", "--plugin"], ["--plugin", "cost"]),
        (["cost", "x"], ["cost", "x"]),
    ],
)
def test_plugins_may_stand_anywhere(given: list[str], expected: list[str]) -> None:
    assert plugins_first(given) == expected


OLD = {
    "from trackablate.trackers.heads.mlp import TokenMLPHead": "from trackers.mlp_head import TokenMLPHead",
    "from trackablate.trackers.plugins": "from trackers.plugins",
    "from trackablate.trackers.spec": "from trackers.spec",
    "from trackablate.trackers.variants": "from trackers.variants",
}
"""The example's imports, as they were written for version 0.1."""


def old_example() -> str:
    text = EXAMPLE.read_text(encoding="utf-8")
    for new, old in OLD.items():
        assert new in text
        text = text.replace(new, old)
    return text


def test_a_plugin_with_the_old_import_names_works_and_says_the_new_ones(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(old_example(), encoding="utf-8")
    done = harness("--plugin", "old.py", "train", "two-linear", "--profile", "smoke", "--json", cwd=tmp_path)
    assert "two-linear" in str(said(done)["run"])
    assert "old.py:7: FutureWarning: `trackers.mlp_head` is called `trackablate.trackers.heads.mlp` now" in done.stderr


def test_an_installed_plugin_with_the_old_import_names_works(tmp_path: Path) -> None:
    (tmp_path / "old_plugin").mkdir()
    (tmp_path / "old_plugin" / "__init__.py").write_text("from old_plugin import inner\n", encoding="utf-8")
    (tmp_path / "old_plugin" / "inner.py").write_text(old_example(), encoding="utf-8")
    facts = tmp_path / "old_plugin-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: old-plugin\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text("[trackablate.trackers]\nold = old_plugin\n", encoding="utf-8")
    path = os.pathsep.join([str(SRC), str(tmp_path)])
    done = harness("show", "two-linear", "--json", cwd=tmp_path, PYTHONPATH=path)
    assert said(done)["head"] == {"kind": "two-linear", "width": WIDTH}
    assert "inner.py:7: FutureWarning" in done.stderr


@pytest.mark.parametrize(
    ("line", "prints"),
    [
        ("from datasets import load_dataset\nprint(callable(load_dataset))", "True"),
        ("from datasets import registry\nprint(registry.__name__)", "trackablate.datasets.registry"),
        ("from datasets import synthetic_plan as p\nprint(p.__name__)", "trackablate.datasets.synthetic.plan"),
        ("import trackers.conv_head as c\nprint(c.__name__)", "trackablate.trackers.heads.convolutional"),
        ("from ablations.papers import table3\nprint(table3.name)", "table3"),
    ],
)
def test_old_names_are_renamed_and_the_other_datasets_is_left_alone(line: str, prints: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(line, encoding="utf-8")
    script = "from pathlib import Path\nfrom trackablate.trackers.plugins import load_plugins\n"
    done = python("-c", f"{script}load_plugins([Path('mine.py')])", cwd=tmp_path)
    assert done.stdout.strip() == prints, done.stderr


def test_every_old_name_leads_to_a_module_that_is_there() -> None:
    old = [f"{package}.{name}" for package in MOVED for name in moved(package)]
    assert not [name for name in old if new_name(name) is None]


def test_an_old_name_that_cannot_be_renamed_is_refused_with_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import trackers.mlp_head\n", encoding="utf-8")
    done = harness("--plugin", "mine.py", "list", "profiles", cwd=tmp_path)
    assert done.returncode == 2
    assert "line 1: `import trackers.mlp_head` is now `import trackablate.trackers.heads.mlp as ...`" in done.stderr
