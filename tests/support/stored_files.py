"""Changes files of a store: as another version would have written them, and as a bad disk would leave them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trackablate.datasets.atomic import sealed, unsealed


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a document and give it the digest of its new content."""
    document = json.loads(unsealed(file.read_bytes()).content)
    change(document)
    file.write_text(sealed(json.dumps(document)))


def without_digest(file: Path) -> None:
    """Leave a document as an older version of the program wrote it."""
    file.write_bytes(unsealed(file.read_bytes()).content)


def flip(file: Path, at: float = 0.5, bit: int = 2) -> None:
    """Change one bit, at a share of the file's length."""
    content = bytearray(file.read_bytes())
    content[min(len(content) - 1, int(at * len(content)))] ^= 1 << bit
    file.write_bytes(bytes(content))
