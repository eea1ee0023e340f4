"""Automation: `nox -l` lists the sessions.

Each study of ablations/studies/*.py is a session of its own, found by reading the source, since this file must not
import the project.
"""

import ast
import re
import sys
import tomllib
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).resolve().parent

OWN = ROOT / ".nox" / "trackablate"
"""The environment of all sessions that need the project, unless nox is started from one: torch takes several gigabytes."""


INSTALLED = find_spec("trackablate")
HERE = "--no-venv" in sys.argv or bool(INSTALLED and Path(INSTALLED.origin or "").resolve().is_relative_to(ROOT))
"""Whether sessions take the environment that nox was started from: this checkout is installed in it, or the user says so."""


def _wanted(extra: str) -> list[str]:
    """Return the requirements of one of the project's extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"][extra])


def _lacks_packages() -> bool:
    """Return whether the environment lacks a package that only the tests need."""
    names = {re.split(r"[<>=]", entry)[0] for entry in _wanted("dev")}
    found = {distribution.name.lower().replace("_", "-") for distribution in distributions()}
    return not names <= found


def _python(session: nox.Session) -> str:
    """Return an interpreter with the project and what its tests need: the environment's own if it has the project."""
    if HERE:
        if _lacks_packages():
            session.run(sys.executable, "-m", "pip", "install", "--quiet", "-e", ".[dev]", external=True)
        return sys.executable
    python = OWN / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        session.run(sys.executable, "-m", "venv", str(OWN), external=True)
    session.run(str(python), "-m", "pip", "install", "--quiet", "-e", ".[dev]", external=True)
    return str(python)


def _studies() -> list[str]:
    """Return the names of the studies in ablations/studies/*.py."""
    names = []
    for file in sorted((ROOT / "ablations" / "studies").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Study":
                names += [ast.literal_eval(field.value) for field in node.keywords if field.arg == "name"]
    return names


def _run_tests(session: nox.Session, python: str, *options: str) -> None:
    """Run pytest with the session's arguments; without any, on all cores, a file at a time on each."""
    # In the order of the folders: the files with the fewest tests, which would else come last, are the slowest.
    files = ("--dist", "loadfile", "--no-loadscope-reorder")
    parallel = () if session.posargs else ("-n", "auto", "--maxprocesses", "8", *files)
    session.run(python, "-P", "-m", "pytest", *options, *parallel, *session.posargs, external=True)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the tests, without the long simulations."""
    _run_tests(session, _python(session))


@nox.session(name="tests-all", venv_backend="none")
def tests_all(session: nox.Session) -> None:
    """Run all tests, with the long simulations; `-- -m slow` runs those alone.

    SLURM's need slurm-wlm, munge and root; Ray's need ray.
    """
    _run_tests(session, _python(session), "-m", "")


@nox.session(venv_backend="virtualenv")
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest version of each package that pyproject.toml allows. It needs the network and 7 GB."""
    session.install("uv")
    extras = ".[dev,fast,lmdb,log,slurm,trax]"
    # Packages of packages: each torchvision allows one torch, and newer pyarrows need a newer NumPy without saying so.
    words = ("--resolution", "lowest-direct", "-e", extras, "torchvision==0.25.*", "pyarrow<22")
    session.run("uv", "pip", "install", "--quiet", "--python", f"{session.bin}/python", *words)
    _run_tests(session, f"{session.bin}/python")


@nox.session(venv_backend="none" if HERE else "virtualenv")
def lint(session: nox.Session) -> None:
    """Check rules and format with ruff, which needs nothing of the project."""
    python = _python(session) if HERE else "python"
    if not HERE:
        session.install("ruff>=0.9")
    for words in (["check"], ["format", "--check"]):
        session.run(python, "-m", "ruff", *words, ".", external=HERE)


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types with mypy --strict."""
    session.run(_python(session), "-m", "mypy", external=True)


@nox.session(venv_backend="none")
def audit(session: nox.Session) -> None:
    """Ask the registry for known vulnerabilities of every installed package, with pip-audit. It needs the network."""
    session.run(
        _python(session), "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner=off", external=True
    )


@nox.session(venv_backend="none")
def benchmark(session: nox.Session) -> None:
    """Run a benchmark by its name without "bench_", with its arguments: nox -s benchmark -- score."""
    name, *arguments = session.posargs or ["score"]
    session.run(_python(session), str(ROOT / "tests" / "benchmarks" / f"bench_{name}.py"), *arguments, external=True)


@nox.session(venv_backend="none")
def gpu(session: nox.Session) -> None:
    """Say what this machine's GPU does with the project, in at most 8 minutes; writes gpu/gpu.json and gpu/gpu.html."""
    session.run(_python(session), str(ROOT / "tests" / "benchmarks" / "bench_gpu.py"), *session.posargs, external=True)


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation into docs-site/, with every warning an error, and check its links."""
    python = _python(session)
    session.run(python, "-m", "pip", "install", "--quiet", *_wanted("docs"), external=True)
    session.run(python, "-P", "-m", "mkdocs", "build", "--strict", external=True, env={"NO_MKDOCS_2_WARNING": "1"})
    session.run(python, str(ROOT / "docs" / "check_links.py"), str(ROOT / "docs-site"), external=True)


def _study_session(study: str, name: str) -> None:
    @nox.session(name=name, venv_backend="none")
    def run(session: nox.Session) -> None:
        session.run(_python(session), "-m", "harness", "run", study, *session.posargs, external=True)

    run.__doc__ = f"Run the study {study}; options after -- go to `python -m harness run`."


def _session_names(study: str, studies: list[str]) -> list[str]:
    """Return the names of a study's sessions.

    The papers' tables and figures have their own names, the others are ablation-NAME. LoRAT's studies are also there without
    "lorat-" if no other study has that name.
    """
    if study.startswith(("table", "figure")):
        return [study]
    short = study.removeprefix("lorat-")
    return [f"ablation-{study}"] + ([f"ablation-{short}"] if short != study and short not in studies else [])


STUDIES = _studies()
for _study in STUDIES:
    for _name in _session_names(_study, STUDIES):
        _study_session(_study, _name)
