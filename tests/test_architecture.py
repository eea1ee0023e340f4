"""The shape of the project, held by scanning its imports: who may know whom, and who may not know torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from places import ROOT, SRC

PACKAGES = ("datasets", "trackers", "harness", "ablations", "reports")
"""From left to right: each imports itself and those to its left."""
ROOMS = {
    "datasets": (
        *(
            "errors",
            "atomic",
            "lease",
            "registry",
            "toml_files",
            "boxes",
            "sequence",
            "changes",
            "progress",
            "benchmark",
        ),
        *("reading", "benchmarks", "synthetic", "protocols", "roots", "pairs"),
    ),
    "trackers": (
        *("old_names", "plugins", "axes", "spec", "scale", "lorat_variants", "variants", "tokens"),
        *("training", "heads", "checkpoints.state_keys", "encoder", "adaptation", "model", "checkpoints", "decoding"),
        "outside",
        *("floors", "inference", "toolkit"),
    ),
    "harness": (
        *(
            "checkout",
            "errors",
            "documents",
            "spec",
            "speed",
            "record",
            "run_folder",
            "store",
            "migration",
            "provenance",
            "profiles",
            "protocol_store",
            "keeping",
        ),
        *("costing", "training", "scoring", "tracking", "exchange", "running", "planning", "progress"),
    ),
    "ablations": ("recipes", "study", "study_file", "published", "plan", "studies", "catalogue"),
    "reports": ("statistics", "table", "results", "assemble", "tables", "figures", "formats", "pages"),
}
"""The rooms and the single modules of each package, in the order of their imports: each imports itself and those before."""
COMPOSITION_ROOT = ("trackablate.harness.cli", "trackablate.harness.__main__", "trackablate.__main__")
"""These, and what is inside them, may import anything."""
MOST_FILES = 12
"""In a room, its __init__ not counted."""
MOST_LINES = 400
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "builder", "builders"}
PRINTERS = ("trackablate.reports.formats.text", "trackablate.harness.cli")
WITH_TORCH = (
    *("trackers.training", "trackers.heads", "trackers.adaptation", "trackers.model", "trackers.tokens"),
    *("trackers.checkpoints", "trackers.decoding", "trackers.inference"),
    *(
        f"trackers.encoder.{name}"
        for name in ("backbones", "weight_files", "timm_vits", "blocks", "embeddings", "low_rank", "sparsity")
    ),
    *(
        "harness.training",
        "harness.tracking",
        "harness.running.execute",
        "harness.running.fresh",
        "harness.running.ranks",
    ),
    *(f"harness.costing.{name}" for name in ("clock", "devices", "macs")),
)
"""The only modules that may import torch when they are imported: what lists, plans, scores or reports is not among them."""


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC if path.is_relative_to(SRC) else ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "trackablate" else ("trackablate", *parts))


MODULES = {module_name(p): p for p in (SRC / "trackablate").glob("*.py")} | {
    module_name(p): p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))
}
EVERY_MODULE = pytest.mark.parametrize("module", sorted(MODULES))


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


def modules_imported(module: str) -> set[str]:
    """The modules of ours that a module imports; a package only where a name is taken from the package itself."""
    names = set(imported(syntax(module), module))
    found = {name for name in names if name in MODULES}
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def room(module: str) -> tuple[str, int] | None:
    """The package of a module, and the place of its room in the package's order; None for a package's own __init__."""
    _, package, *rest = module.split(".")
    inner = ".".join(rest)
    places = [i for i, name in enumerate(ROOMS[package]) if is_within(inner, (name,))]
    exact = [i for i in places if "." in ROOMS[package][i]]
    return (package, (exact or places)[0]) if places else None


def test_the_scan_finds_the_project() -> None:
    assert {m.split(".")[1] for m in MODULES if m.count(".")} == {*PACKAGES, "__main__"}
    assert {f"trackablate.{m}" for m in ("datasets.boxes", "trackers.spec", "harness.cli", "reports.table")} <= set(
        MODULES
    )
    assert "trackablate.datasets.boxes" in modules_imported("trackablate.harness.scoring.failure_modes")


@EVERY_MODULE
def test_every_import_of_ours_says_so(module: str) -> None:
    """`datasets` and `trackers` are somebody else's, wherever the checkout's root is not on the path."""
    if module != "trackablate.harness.__main__":
        wrong = [name for name in imported(syntax(module), module) if is_within(name, PACKAGES)]
        assert not wrong, f"{module} imports {wrong} without `trackablate.`"


@EVERY_MODULE
def test_imports_point_left(module: str) -> None:
    if is_within(module, COMPOSITION_ROOT) or not module.count("."):
        return
    package = module.split(".")[1]
    allowed = PACKAGES[: PACKAGES.index(package) + 1]
    wrong = [name for name in modules_imported(module) if name.count(".") and name.split(".")[1] not in allowed]
    assert not wrong, f"{module} imports {sorted(wrong)}; {package} may import {allowed}"


@EVERY_MODULE
def test_rooms_import_in_their_order(module: str) -> None:
    if is_within(module, COMPOSITION_ROOT) or not module.count("."):
        return
    own = room(module)
    if own is None:
        assert module.count(".") == 1, f"{module} is in no room of {module.split('.')[1]}: see ROOMS"
        return
    others = {name: found for name in modules_imported(module) if name.count(".") and (found := room(name))}
    wrong = [name for name, (package, place) in others.items() if package == own[0] and place > own[1]]
    assert not wrong, f"{module} imports {sorted(wrong)}, which come after it in ROOMS"


@EVERY_MODULE
def test_no_circles(module: str) -> None:
    """Also inside a room, and also by imports inside functions."""
    seen: set[str] = set()
    ahead = modules_imported(module) - {module}
    while ahead:
        seen |= ahead
        ahead = {further for name in ahead for further in modules_imported(name)} - seen
    assert module not in seen, f"{module} imports itself in the end"


@EVERY_MODULE
def test_nothing_imports_the_composition_root(module: str) -> None:
    if is_within(module, COMPOSITION_ROOT):
        return
    wrong = {name for name in imported(syntax(module), module) if is_within(name, COMPOSITION_ROOT)}
    assert not wrong, f"{module} imports {sorted(wrong)}, which only ties the packages together"


def test_what_lists_plans_scores_or_reports_imports_no_torch() -> None:
    """In a fresh process; the first module that drags torch in is named."""
    torch = tuple(f"trackablate.{name}" for name in WITH_TORCH)
    assert all(any(is_within(module, (name,)) for module in MODULES) for name in torch), (
        "WITH_TORCH names what is not there"
    )
    free = [module for module in MODULES if not is_within(module, (*torch, "trackablate.__main__"))]
    script = (
        "import sys, importlib\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *free], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


FOLDERS = sorted({path.parent for path in MODULES.values()})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_room_has_a_purpose_and_few_files(folder: Path) -> None:
    purpose = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert purpose, f"{folder}/__init__.py does not say what the room is for"
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MOST_FILES, f"{folder} has {len(files)} files"


@EVERY_MODULE
def test_no_module_is_named_for_having_no_topic(module: str) -> None:
    assert not FORBIDDEN_NAMES & set(module.split(".")), f"{module}: name it for what is in it"


@EVERY_MODULE
def test_modules_stay_short(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{module} has {lines} lines"


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
