"""Official checkpoints: reads their weights into our trackers and writes them back in the official layout, bit for bit.

An imported tracker has the inputs and outputs of the official network. Its attribute `tracker` is ours, for training,
merging and tracking.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from trackablate.datasets.errors import DataError
from trackablate.datasets.registry import Registry
from trackablate.trackers.checkpoints.lorat import OfficialLoRAT, from_lorat, to_lorat
from trackablate.trackers.checkpoints.ostrack import OfficialOSTrack, from_ostrack, to_ostrack
from trackablate.trackers.encoder.weight_files import read_weights


class CheckpointSource(NamedTuple):
    """How the checkpoints of one project are read and written.

    Attributes:
        made: The type of module that `read` returns.
        read: Called as read(state_dict, source, **options); returns the tracker.
        write: Called with the tracker; returns the state dict.
    """

    made: type[nn.Module]
    read: Callable[..., nn.Module]
    write: Callable[[Any], dict[str, Tensor]]


UNUSED = ("mask_token",)
"""Last part of the names of entries that a tracker does not use."""

_OSTRACK = CheckpointSource(OfficialOSTrack, from_ostrack, lambda model: to_ostrack(model.tracker))
SOURCES: Registry[CheckpointSource] = Registry("source of checkpoints")
SOURCES.add("lorat", CheckpointSource(OfficialLoRAT, from_lorat, to_lorat))
SOURCES.add("ostrack", _OSTRACK)
SOURCES.add("ostrack-ce", _OSTRACK)


def from_official(state_dict: Mapping[str, Tensor], source: str, **options: Any) -> nn.Module:
    """Return the tracker of an official state dict, in evaluation mode.

    Call it with template=, search= and, for LoRAT, template_mask= (see `OfficialLoRAT`, `OfficialOSTrack`). source: a
    name in `SOURCES`, whose `read` takes the options.

    Raises:
        UnknownName: The source is unknown.
        TypeError: The source does not have such an option.
        DataError: The state dict does not fit. The message names every entry.
    """
    entry = SOURCES[source]
    wrong = [name for name, value in state_dict.items() if not isinstance(value, Tensor)]
    if wrong:
        raise DataError(f"{source}: not tensors: {', '.join(map(repr, wrong[:5]))}; give the state dict alone")
    return entry.read({name: value for name, value in state_dict.items() if not is_unused(name)}, source, **options)


def is_unused(name: str) -> bool:
    """Tell whether trackers have no use for the entry of that name, which some of their checkpoints carry along."""
    return name.rpartition(".")[2] in UNUSED


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """Return the official state dict of a tracker that `from_official` made, in the form that it was read from."""
    for source in SOURCES.values():
        if isinstance(model, source.made):
            return source.write(model)
    raise TypeError(f"a {type(model).__name__} is none of {[s.made.__name__ for s in SOURCES.values()]}")


def load_official(path: Path | str, source: str, **options: Any) -> nn.Module:
    """Return the tracker of a weights file (see `from_official` and `read_weights`).

    Raises DataError for a file that is missing or damaged, or that does not fit.
    """
    return from_official(read_weights(Path(path)), source, **options)
