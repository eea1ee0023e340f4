"""Where pretrained backbone weights lie, and their digests. No torch here: planning needs the digest."""

import hashlib
import json
from functools import cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from trackablate.datasets.errors import DataError

MINI_DEPTH = 4
"""Blocks of the embedded backbone."""

_MINI = Path(__file__).parents[1] / "weights" / "vit-mini.safetensors"
FILES = {"vit-mini": _MINI} | {f"vit-mini-{depth}": _MINI for depth in range(1, MINI_DEPTH)}
"""Backbones whose pretrained weights the project ships; every other one starts from scratch.

vit-mini-N is the first N blocks of vit-mini, a smaller encoder for studies that compare sizes.
"""

RESTORE = "restore it from the project's repository, or make it again with `python -m harness pretrain mini`"


@cache
def weights_digest(backbone: str, pretrained: str = "shipped") -> str | None:
    """Return the SHA-256 of the file with a backbone's pretrained weights (see `TrackerSpec`), or None without a file.

    There is none for a random start, nor for timm's weights, which their name identifies.

    Raises:
        FileNotFoundError: A shipped file is missing.
        DataError: A shipped file is damaged, or the named file is missing. The message names the remedy.
    """
    if pretrained.startswith("file:"):
        return file_digest(Path(pretrained.removeprefix("file:")))
    return _shipped_digest(backbone) if pretrained == "shipped" and backbone in FILES else None


def refuse_absent(file: Path) -> None:
    """Raise DataError if a weights file is missing, or is no ordinary file."""
    if not file.is_file():
        problem = "is no ordinary file" if file.exists() else "there is no such file"
        raise DataError.at(file, problem, "give the path of a weights file")


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file. Raises DataError if it is missing."""
    refuse_absent(file)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _shipped_digest(backbone: str) -> str:
    file = FILES[backbone]
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing: `python -m harness pretrain mini` makes it")
    try:
        with safe_open(file, framework="np"):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except SafetensorError as error:
        raise DataError.at(file, f"is damaged ({error})", RESTORE) from error
    record = file.with_suffix(".json")
    if record.exists() and json.loads(record.read_text(encoding="utf-8"))["sha256"] != digest:
        raise DataError.at(file, f"is not the file of {record.name}: its SHA-256 differs", RESTORE)
    return digest
