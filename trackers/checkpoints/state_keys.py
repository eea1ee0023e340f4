"""Compares a state dict with the expected one and names every missing, unknown and misshapen entry."""

import difflib
from collections.abc import Mapping

import torch
from torch import Tensor

from trackablate.datasets.errors import raise_all


def check_entries(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raise DataError unless `state` has exactly the expected entries with their shapes.

    The message names each faulty entry and, for a missing one, the nearest unknown names. source: whose entries they
    are.
    """
    unknown = [name for name in state if name not in expected]
    missing = [name for name in expected if name not in state]
    misshapen = [name for name in expected if name in state and tuple(state[name].shape) != expected[name]]
    raise_all(
        [
            *(f"{source}: entry {name!r} is missing{_nearest(name, unknown)}" for name in missing),
            *(f"{source}: entry {name!r} is unknown{_nearest(name, missing)}" for name in unknown),
            *(
                f"{source}: entry {name!r} has shape {tuple(state[name].shape)}, not {expected[name]}"
                for name in misshapen
            ),
        ]
    )


def check_types(state: Mapping[str, Tensor], expected: Mapping[str, torch.dtype], source: str) -> None:
    """Raise DataError if an entry has another type than expected, because a conversion would change what was read."""
    raise_all(
        [
            f"{source}: entry {name!r} is {state[name].dtype}: convert it to {wanted} first"
            for name, wanted in expected.items()
            if state[name].dtype != wanted
        ]
    )


def _nearest(name: str, others: list[str]) -> str:
    near = difflib.get_close_matches(name, others, n=3, cutoff=0.6)
    return f"; nearest: {', '.join(map(repr, near))}" if near else ""
