"""Compares a state dict with the expected one and names every missing, unknown and misshapen entry."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from trackablate.datasets.errors import raise_all
from trackablate.datasets.registry import near


def check_entries(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raise DataError unless `state` has exactly the expected entries with their shapes.

    The message names each faulty entry and, for a missing one, the nearest unknown names. source: whose entries they
    are.
    """
    unknown = [name for name in state if name not in expected]
    missing = [name for name in expected if name not in state]
    shapes = {name: (tuple(state[name].shape), shape) for name, shape in expected.items() if name in state}
    raise_all(
        [
            *(f"{source}: entry {name!r} is missing{_nearest(name, unknown)}" for name in missing),
            *(f"{source}: entry {name!r} is unknown{_nearest(name, missing)}" for name in unknown),
            *(f"{source}: entry {n!r} has shape {has}, not {want}" for n, (has, want) in shapes.items() if has != want),
        ]
    )


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], named: Callable[[str], str], source: str) -> None:
    """Load a state dict into a module, every entry and bit for bit. named: our entry's name to its name in `state`.

    Raises DataError for entries that do not fit, or have another type, so that a conversion would change them.
    """
    ours = module.state_dict()
    names = {name: named(name) for name in ours}
    check_entries(state, {names[name]: tuple(value.shape) for name, value in ours.items()}, source)
    raise_all(
        [
            f"{source}: entry {names[name]!r} is {state[names[name]].dtype}: convert it to {value.dtype} first"
            for name, value in ours.items()
            if state[names[name]].dtype != value.dtype
        ]
    )
    module.load_state_dict({name: state[names[name]] for name in ours}, strict=True)


def _nearest(name: str, others: list[str]) -> str:
    found = near(name, others, cutoff=0.6)
    return f"; nearest: {', '.join(map(repr, found))}" if found else ""
