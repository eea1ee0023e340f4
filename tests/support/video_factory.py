"""Small data sets written for tests: files from a mapping, images, and the same as an archive."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from trackablate.datasets.sequence import Sequence

WIDTH, HEIGHT = 40, 30


def encoded(suffix: str = ".jpg", size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """An image of noise of that (width, height) in the format of the suffix."""
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return bytes(cv2.imencode(suffix, picture)[1])


JPEG, PNG = encoded(".jpg"), encoded(".png")


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Files below root by their path; text as ASCII."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode("ascii") if isinstance(content, str) else content)
    return root


def zipped(root: Path, archive: Path, within: str = "") -> Path:
    """An archive of all that lies below root, within a folder of the archive."""
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            opened.write(file, within + file.relative_to(root).as_posix())
    return archive


def images(folder: str, numbers: range, pattern: str = "%08d.jpg") -> dict[str, bytes]:
    """Image files of these numbers."""
    return {f"{folder}/{pattern % number}": JPEG for number in numbers}


def boxes(count: int, row: str = "%d,3,10,12\n", first: int = 2) -> str:
    """As many rows, of which the n-th has n more in its first column than the first."""
    return "".join(row % (first + n) for n in range(count))


def digest(sequence: Sequence) -> str:
    """Of everything in a sequence: boxes, visibility and pixels."""
    pixels = b"".join(image.tobytes() for image in sequence)
    return hashlib.sha256(sequence.boxes.tobytes() + sequence.visible.tobytes() + pixels).hexdigest()
