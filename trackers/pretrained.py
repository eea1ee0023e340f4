"""Where pretrained backbone weights lie, and which ones they are. Imports no torch: planning needs the digest."""

import hashlib
from functools import cache
from pathlib import Path

FILES = {"vit-mini": Path(__file__).parent / "weights" / "vit-mini.safetensors"}
"""Backbones whose pretrained weights the project ships; every other one starts from scratch."""


@cache
def weights_digest(backbone: str) -> str | None:
    """SHA-256 of the backbone's pretrained file, None where it starts from scratch.

    Raises FileNotFoundError, naming the remedy, where a shipped file is missing.
    """
    file = FILES.get(backbone)
    if file is None:
        return None
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing: `python -m harness pretrain mini` makes it")
    return hashlib.sha256(file.read_bytes()).hexdigest()
