"""Where a run happened: code, packages, device."""

import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from trackablate.harness.checkout import ROOT
from trackablate.harness.errors import BadInput
from trackablate.harness.record import Provenance

CODE = ("ablations", "datasets", "harness", "reports", "src", "trackers")
"""Folders of code: a file in them that git does not know makes a run unrepeatable."""

SAME_RELEASE = "install torch and torchvision of one release from one index"
_PINNED = re.compile(r"torch *\(?==([\w.]+)")

PACKAGES = (
    *("torch", "timm", "peft", "accelerate", "numpy", "opencv-python-headless", "safetensors", "simplejpeg"),
    "trackablate",
)


def provenance(
    *, device: str, threads: int, driver: str | None = None, workers: int = 1, command: str = ""
) -> Provenance:
    """Return the provenance of work that starts now, by default of this process's command.

    Commit and dirty are None outside a git checkout.
    """
    commit, dirty = _git_state()
    return Provenance(
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        packages={name: version for name in PACKAGES if (version := _version(name))},
        device=device,
        driver=driver,
        threads=threads,
        concurrent_workers=workers,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command or command_line(),
    )


def refuse_mixed_torch() -> None:
    """Raise BadInput if torch and torchvision are of releases or indexes that do not fit, by their metadata."""
    torch, vision = _version("torch"), _version("torchvision")
    if torch is None or vision is None:
        return
    wanted = next((found for text in metadata.requires("torchvision") or () if (found := _PINNED.match(text))), None)
    builds = {version.partition("+")[2] for version in (torch, vision)} - {""}
    if len(builds) > 1 or (wanted and wanted[1] != torch.partition("+")[0]):
        raise BadInput(f"torchvision {vision} does not fit torch {torch}: {SAME_RELEASE}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> tuple[str | None, bool | None]:
    commit = _git("rev-parse", "HEAD")
    if commit is None or not (ROOT / ".git").exists():
        return None, None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return commit, bool(changed or _git("ls-files", "--others", "--exclude-standard", "--", *CODE))


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def command_line() -> str:
    """Return the command that this process was started with, as a user would type it, without folders of this machine."""
    program = "python -m harness" if Path(sys.argv[0]).name in ("__main__.py", "worker.py") else Path(sys.argv[0]).name
    return " ".join([program, *(_ABSOLUTE.sub("PATH", argument) for argument in sys.argv[1:])])


_ABSOLUTE = re.compile(r"(?<![^=])/.*")
