"""The processes that make a training's pairs: how many by default, and the memory of each. Without torch, for plans."""

import os

from trackablate.harness.spec import Recipe
from trackablate.trackers.spec import CropInput

PREFETCHED = 2
"""Batches that each process makes ahead."""
PRIVATE_BYTES = 50_000_000
"""Memory of a process itself, measured on Linux with an index of 30,000 videos, which all processes share."""


def default_loader_workers(gpus: int, trainings: int) -> int:
    """Return how many processes make the pairs of each of the trainings on this machine.

    They have the cores that trainings on GPUs leave. On a CPU there are none, since the training keeps the cores busy.
    """
    return max(0, min(8, (os.cpu_count() or 1) // max(1, trainings) - 1)) if gpus else 0


def loader_bytes(crop: CropInput, recipe: Recipe) -> int:
    """Return the memory that each process takes, with the batches that it makes ahead."""
    pixel_bytes = 4 if crop.geometry == "lorat" and recipe.augmentation != "lorat" else 1
    pixels = 3 * (crop.template_size**2 + crop.search_size**2)
    return PRIVATE_BYTES + PREFETCHED * recipe.batch_size * pixels * pixel_bytes
