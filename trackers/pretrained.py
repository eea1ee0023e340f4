"""Where pretrained backbone weights lie, and which ones they are. Imports no torch: planning needs the digest."""

import hashlib
import json
from functools import cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from datasets.errors import DataError

FILES = {"vit-mini": Path(__file__).parent / "weights" / "vit-mini.safetensors"}
"""Backbones whose pretrained weights the project ships; every other one starts from scratch."""

RESTORE = "restore it from the project's repository, or make it again with `python -m harness pretrain mini`"


@cache
def weights_digest(backbone: str) -> str | None:
    """SHA-256 of the backbone's pretrained file, None where it starts from scratch.

    Raises FileNotFoundError where a shipped file is missing and DataError where it is damaged, both naming the remedy.
    """
    file = FILES.get(backbone)
    if file is None:
        return None
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing: `python -m harness pretrain mini` makes it")
    try:
        with safe_open(file, framework="np"):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except SafetensorError as error:
        raise DataError.at(file, f"is damaged ({error})", RESTORE) from error
    record = file.with_suffix(".json")
    if record.exists() and json.loads(record.read_text(encoding="utf-8"))["sha256"] != digest:
        raise DataError.at(file, f"is not the file that {record.name} speaks of: its SHA-256 differs", RESTORE)
    return digest
