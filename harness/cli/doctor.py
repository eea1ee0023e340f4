"""Checks of this machine, each with its remedy."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel

from trackablate.harness.provenance import SAME_RELEASE
from trackablate.trackers.encoder.pretrained import FILES
from trackablate.trackers.outside.named import OUTSIDE, TRAX, fault_of
from trackablate.trackers.spec import OutsideSpec

NEEDED = ("torch", "timm", "peft", "accelerate", "numpy", "cv2", "safetensors", "pydantic", "matplotlib", "jinja2")
FONTS = ("STIXGeneral", "DejaVuSans")
"""Fonts of the figures."""
PROBE = (
    "import torch, timm, peft; cuda = torch.cuda.is_available(); "
    "print(torch.__version__, torch.cuda.get_device_name(0) if cuda else 'no GPU')"
)


class Check(BaseModel):
    """One finding. `remedy` is "" if nothing has to be done."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def examine(store: Path, doing: Callable[[str], None]) -> Iterator[Check]:
    """Yield all checks as they are done; `doing` is told what takes long.

    Another process asks for the device, because this one does not import torch.
    """
    yield from (_python(), *map(_package, NEEDED))
    doing("checking the device: another process imports torch, which takes seconds, on a busy machine half a minute")
    yield _device()
    yield from (*map(_weights, FILES), _disk(store), fonts(), _latex(), _outside())


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(name="Python", ok=sys.version_info >= (3, 11), found=version)


def _package(name: str) -> Check:
    if importlib.util.find_spec(name) is None:
        return Check(name=name, ok=False, found="missing", remedy="python -m pip install -e . in the project's folder")
    distribution = {"cv2": "opencv-python-headless"}.get(name, name)
    try:
        return Check(name=name, ok=True, found=metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return Check(name=name, ok=True, found="importable, of unknown version")


def _device() -> Check:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120)
    cores = f"{os.cpu_count()} CPU cores"
    if done.returncode != 0:
        return Check(
            name="device",
            ok=False,
            found=(done.stderr.strip().splitlines() or ["it said nothing"])[-1],
            remedy=SAME_RELEASE,
        )
    return Check(name="device", ok=True, found=f"torch {done.stdout.strip()}, {cores}")


def _weights(backbone: str) -> Check:
    file, name = FILES[backbone], f"weights of {backbone}"
    if file.exists():
        return Check(name=name, ok=True, found=f"{file.stat().st_size / 1e6:.1f} MB")
    return Check(name=name, ok=False, found="missing", remedy="python -m harness pretrain mini")


def _disk(store: Path) -> Check:
    place = next(p for p in [store.resolve(), *store.resolve().parents] if p.exists())
    free = shutil.disk_usage(place).free / 1e9
    remedy = "" if free > 1 else "make room on the disk of the store"
    return Check(name="disk", ok=free > 1, found=f"{free:.1f} GB free for the store {store.resolve()}", remedy=remedy)


def fonts() -> Check:
    """Return whether matplotlib has the fonts of the figures."""
    from matplotlib import get_data_path

    lacking = [name for name in FONTS if not Path(get_data_path(), "fonts", "ttf", f"{name}.ttf").exists()]
    if not lacking:
        return Check(name="fonts", ok=True, found=", ".join(FONTS))
    remedy = "python -m pip install --force-reinstall matplotlib"
    return Check(name="fonts", ok=False, found=f"{', '.join(lacking)} missing", remedy=remedy)


def _outside() -> Check:
    """Return which outside trackers can be used; none of them is needed."""
    reasons = {name: fault_of(spec) for name, spec in OUTSIDE.items()} | {"TraX": fault_of(OutsideSpec(target=TRAX))}
    alike = {reason: [name for name, why in reasons.items() if why == reason] for reason in reasons.values()}
    others = [f"not {', '.join(names)}: {reason}" for reason, names in alike.items() if reason]
    return Check(name="outside trackers", ok=True, found="; ".join([", ".join(alike.get("", ["none"])), *others]))


def _latex() -> Check:
    found = "pdflatex" if shutil.which("pdflatex") else "none: table.tex is written, but cannot be compiled here"
    return Check(name="LaTeX", ok=True, found=found)
