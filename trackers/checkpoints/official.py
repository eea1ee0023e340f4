"""Official checkpoints: their weights into our trackers, and back to the official layout, bit for bit.

An imported tracker takes the inputs and gives the outputs of the official network; its `tracker` is ours, for training,
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
from trackablate.trackers.encoder.backbones import read_weights


class CheckpointSource(NamedTuple):
    """read(state_dict, source, **options) makes the tracker, a module of type `made`; write gives the state dict back."""

    made: type[nn.Module]
    read: Callable[..., nn.Module]
    write: Callable[[Any], dict[str, Tensor]]


_OSTRACK = CheckpointSource(OfficialOSTrack, from_ostrack, lambda model: to_ostrack(model.tracker))
SOURCES: Registry[CheckpointSource] = Registry("source of checkpoints")
SOURCES.add("lorat", CheckpointSource(OfficialLoRAT, from_lorat, to_lorat))
SOURCES.add("ostrack", _OSTRACK)
SOURCES.add("ostrack-ce", _OSTRACK)


def from_official(state_dict: Mapping[str, Tensor], source: str, **options: Any) -> nn.Module:
    """The tracker of an official state dict, in evaluation mode, called with template=, search= and, for LoRAT,
    template_mask=; see `OfficialLoRAT`, `OfficialOSTrack`. source: a name of `SOURCES`; options: those of its `read`.

    Raises UnknownName for an unknown source, TypeError for an option it does not have, and DataError for a state dict
    that does not fit, every entry named.
    """
    entry = SOURCES[source]
    wrong = [name for name, value in state_dict.items() if not isinstance(value, Tensor)]
    if wrong:
        raise DataError(f"{source}: not tensors: {', '.join(map(repr, wrong[:5]))}; give the state dict alone")
    return entry.read(state_dict, source, **options)


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """The official state dict of a tracker that `from_official` made, in the form that it was read from. Raises TypeError
    for any other module.
    """
    for source in SOURCES.values():
        if isinstance(model, source.made):
            return source.write(model)
    raise TypeError(f"a {type(model).__name__} is none of {[s.made.__name__ for s in SOURCES.values()]}")


def load_official(path: Path | str, source: str, **options: Any) -> nn.Module:
    """As `from_official`, from a file: safetensors, or what torch.load reads without running code, where the state dict
    may lie under `net` (OSTrack's trainer) or `model`. Raises DataError for a file that is missing, damaged or would run
    code.
    """
    return from_official(read_weights(Path(path), within=("net", "model")), source, **options)
