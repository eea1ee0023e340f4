"""Automation: `nox -l` lists the sessions. Each study of ablations/*.py is a session of its own, found by reading the
source, since this file must not import the project."""

import ast
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent


def _studies() -> list[str]:
    """The names given to STUDIES.add(...) in ablations/*.py."""
    names = []
    for file in sorted((ROOT / "ablations").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "STUDIES.add":
                names.append(ast.literal_eval(node.args[0]))
    return names


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over the five packages."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def benchmark(session: nox.Session) -> None:
    """A benchmark of tests/benchmarks by name, without "bench_", and its arguments: nox -s benchmark -- score."""
    session.install("-e", ".[dev]")
    name, *arguments = session.posargs or ["score"]
    session.run("python", "-m", f"tests.benchmarks.bench_{name}", *arguments)


def _study_session(study: str) -> None:
    name = study if study.startswith("table") else f"ablation-{study}"

    @nox.session(name=name)
    def run(session: nox.Session) -> None:
        session.install("-e", ".")
        session.run("python", "-m", "harness", "run", study, *session.posargs)

    run.__doc__ = f"Run the study {study}; options after -- go to `python -m harness run`."


for _study in _studies():
    _study_session(_study)
