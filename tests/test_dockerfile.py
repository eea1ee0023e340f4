"""The Dockerfile, as far as it can be checked without Docker: instructions, a pinned base, files and extras that exist."""

import json
import re
import tomllib

from places import ROOT

KNOWN = {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
INSTRUCTIONS = [tuple(line.split(maxsplit=1)) for line in LINES if line.strip()]


def the(word: str) -> str:
    (found,) = (rest for name, rest in INSTRUCTIONS if name == word)
    return found


def test_every_instruction_exists_and_the_base_is_pinned_by_its_tag() -> None:
    assert {name for name, _ in INSTRUCTIONS} <= KNOWN
    image, _, tag = the("FROM").partition(":")
    assert INSTRUCTIONS[0][0] == "FROM"
    assert image == "pytorch/pytorch"
    assert re.fullmatch(r"\d+\.\d+\.\d+-cuda\d+\.\d+-cudnn\d+-runtime", tag)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = (entry.partition(">=")[2] for entry in needed if entry.startswith("torch>="))
    assert tuple(map(int, tag.split("-")[0].split(".")[:2])) >= tuple(map(int, torch.split("."))), (
        "torch of the base fits"
    )


def test_what_is_copied_and_installed_exists() -> None:
    *_, source, _ = the("COPY").split()
    assert (ROOT / source / "harness" / "__main__.py").is_file()
    (extras,) = re.findall(r'-e "\.\[([\w,]+)\]"', TEXT)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"harness", "datasets", "src", "trackers", ".git", "pyproject.toml", "README.md"} & set(ignored)
    written = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if line.startswith("/")}
    assert written - {".hypothesis", ".venv-ci", "store"} <= set(ignored), "what commands write is not copied"


def test_it_runs_the_command_line_as_somebody_without_rights() -> None:
    assert json.loads(the("ENTRYPOINT")) == ["python", "-m", "harness"]
    assert json.loads(the("CMD")) == ["--help"]
    user = the("USER")
    assert user != "root"
    assert f"useradd --create-home {user}" in TEXT
    names = [name for name, _ in INSTRUCTIONS]
    assert "RUN" not in names[names.index("USER") :], "everything before is done as root, the rest is not"
