"""The shape of the project, held by scanning its imports: who may know whom, and who may not know torch."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datasets", "trackers", "harness", "ablations", "reports")
"""From left to right: each imports itself and those to its left."""
COMPOSITION_ROOT = ("harness.cli", "harness.__main__")
"""These, and what is inside them, may import anything."""
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "builder", "builders"}
PRINTERS = ("reports.text", "harness.cli")
MAX_LINES = 400
TORCH_FREE_PACKAGES = ("datasets", "harness.cli", "ablations", "reports")
TORCH_FREE = (
    *("trackers.spec", "trackers.variants", "trackers.scale", "trackers.floors", "trackers.pretrained"),
    "trackers.plugins",
    *("harness", "harness.spec", "harness.record", "harness.store", "harness.metrics", "harness.scoring"),
    *(
        "harness.hardware",
        "harness.calibration",
        "harness.evidence",
        "harness.estimate",
        "harness.ledger",
        "harness.budget",
    ),
    *("harness.runner", "harness.board", "harness.calibrating", "harness.peaks"),
    *("harness.results_io", "harness.results_writing", "harness.submission", "trackers.toolkit"),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(p): p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))}
EVERY_MODULE = pytest.mark.parametrize("module", MODULES)


def is_within(name: str, parents: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the parents or inside one."""
    return any(f"{name}.".startswith(f"{parent}.") for parent in parents)


def syntax(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(tree: ast.Module, module: str) -> Iterator[str]:
    """Every absolute name that a module imports, anywhere in it: `from a.b import c` gives a.b and a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import in line {node.lineno}"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_scan_finds_the_project() -> None:
    assert {m.split(".")[0] for m in MODULES} == set(PACKAGES)
    assert {"datasets.boxes", "trackers.spec", "harness.cli", "ablations.study", "reports.table"} <= set(MODULES)
    assert "datasets.boxes.iou" in set(imported(syntax("harness.failures"), "harness.failures"))


@EVERY_MODULE
def test_imports_point_left(module: str) -> None:
    package = module.split(".")[0]
    allowed = PACKAGES if is_within(module, COMPOSITION_ROOT) else PACKAGES[: PACKAGES.index(package) + 1]
    wrong = {name for name in imported(syntax(module), module) if name.split(".")[0] in PACKAGES}
    wrong = {name for name in wrong if name.split(".")[0] not in allowed}
    assert not wrong, f"{module} imports {sorted(wrong)}; {package} may import {allowed}"


@EVERY_MODULE
def test_nothing_imports_the_composition_root(module: str) -> None:
    if is_within(module, COMPOSITION_ROOT):
        return
    wrong = {name for name in imported(syntax(module), module) if is_within(name, COMPOSITION_ROOT)}
    assert not wrong, f"{module} imports {sorted(wrong)}, which only ties the packages together"


def torch_free_modules() -> list[str]:
    of_packages = [m for m in MODULES if is_within(m, TORCH_FREE_PACKAGES)]
    assert set(TORCH_FREE) <= set(MODULES), f"missing: {set(TORCH_FREE) - set(MODULES)}"
    return [*TORCH_FREE, *of_packages]


def test_what_lists_plans_scores_or_reports_imports_no_torch() -> None:
    """In a fresh process, harness first; the first module that drags torch in is named."""
    script = (
        "import sys, importlib\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')\n"
    )
    command = [sys.executable, "-c", script, "harness", *torch_free_modules()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@EVERY_MODULE
def test_no_module_is_named_for_having_no_topic(module: str) -> None:
    assert not FORBIDDEN_NAMES & set(module.split(".")), f"{module}: name it for what is in it"


@EVERY_MODULE
def test_modules_stay_short(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{module} has {lines} lines"


@EVERY_MODULE
def test_only_the_terminal_renderer_prints(module: str) -> None:
    calls = [n.lineno for n in ast.walk(syntax(module)) if isinstance(n, ast.Call) and is_name(n.func, "print")]
    assert is_within(module, PRINTERS) or not calls, f"{module} prints in lines {calls}"


@EVERY_MODULE
def test_no_failure_is_swallowed(module: str) -> None:
    handlers = [n for n in ast.walk(syntax(module)) if isinstance(n, ast.ExceptHandler)]
    swallowed = [h.lineno for h in handlers if all(does_nothing(statement) for statement in h.body)]
    assert not swallowed, f"{module} swallows exceptions in lines {swallowed}"
    bare = [h.lineno for h in handlers if h.type is None]
    assert not bare, f"{module} catches everything in lines {bare}: name the exception"


def does_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or constant


def is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


@pytest.mark.parametrize(
    ("source", "caught"),
    [("import a.b", {"a.b"}), ("def f():\n    from a import b", {"a", "a.b"}), ("'import a'", set[str]())],
)
def test_the_scan_sees_imports_inside_functions(source: str, caught: set[str]) -> None:
    assert set(imported(ast.parse(source), "example")) == caught
