"""Reads the tensors of any weights file that a project publishes. No code that a file names is run.

The first bytes say what a file is: safetensors, or what torch.save wrote (a zip archive, or pickles before torch 1.6).
Training checkpoints pickle objects of their own classes beside the weights; each becomes an inert placeholder.
"""

import pickle
import struct
import tarfile
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trackablate.datasets.errors import DataError
from trackablate.trackers.encoder.pretrained import refuse_absent

WITHIN = ("net", "model", "state_dict", "model_state_dict", "module")
"""Keys that training checkpoints keep weights under, in the order in which they are tried (OSTrack: net; MAE: model)."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
REBUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
"""The functions of torch._utils that make a tensor of its stored bytes. No other function that a file names is called."""
UNREADABLE = (
    *(SafetensorError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile, OSError, RuntimeError, EOFError),
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, MemoryError, OverflowError),
)
"""Errors that the readers raise on damaged files. The unpickler trusts its input to be well formed."""
REMEDY = "give a file of torch.save or safetensors; if it is one, copy or download it again"
LARGEST_HEADER = 5 * 10**6
"""Bytes of safetensors' header. A tracker of a thousand tensors needs 0.1 MB."""
OTHERS = {
    b"<": ("is a web page", "download the file behind it"),
    b"version https://git-lfs": ("is a pointer of Git LFS", "fetch the file itself with `git lfs pull`"),
    b"\x1f\x8b": ("is packed by gzip", "unpack it first"),
    b"BZh": ("is packed by bzip2", "unpack it first"),
    b"\xfd7zXZ": ("is packed by xz", "unpack it first"),
    b"\x89HDF": ("is an HDF5 file", "give PyTorch's weights"),
}
"""First bytes of files that are often taken for weights: what they are, and the remedy."""


class Placeholder:
    """Stands for an object of a class that is not here. It takes every state and keeps none."""

    def __new__(cls, *_: Any, **__: Any) -> "Placeholder":
        """Take any arguments."""
        return super().__new__(cls)

    def __call__(self, *_: Any, **__: Any) -> "Placeholder":
        """Stand for a method's result as well."""
        return self

    def forget(self, *_: Any, **__: Any) -> None:
        """Take any arguments, an object's state, or entries of a dictionary, list or set."""

    __init__ = __setstate__ = __setitem__ = append = extend = add = update = forget


class InertUnpickler(pickle.Unpickler):
    """Rebuilds tensors and plain containers; every other class or function of a file becomes a placeholder."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what the file names if it is harmless, else a placeholder of that name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in REBUILDERS:
            rebuild = getattr(torch._utils, name)
            return lambda *arguments: rebuild(*arguments)  # a new function, since a pickle can set its attributes
        return type(name, (Placeholder,), {"__module__": module})


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name.

    They may lie in an inner dictionary, under one of the keys `WITHIN`, and have one of `PREFIXES` before every name.
    What is no tensor beside them (an epoch, an optimiser, settings) is left out. Raises DataError for a file that is
    missing, damaged, or holds no tensors.
    """
    refuse_absent(file)
    try:
        content = _content(file)
    except DataError:
        raise
    except UNREADABLE as error:
        problem = f"cannot be read as weights ({' '.join([type(error).__name__, *str(error).splitlines()[:1]])})"
        raise DataError.at(file, problem, REMEDY) from error
    state = _inner(content)
    if not isinstance(state, dict):
        raise DataError.at(file, f"holds a {type(state).__name__}, not a state dict", "save its state_dict() instead")
    named = ((name, value) for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor))
    tensors = {name: value.detach() for name, value in named}
    if not tensors:
        keys = ", ".join(map(str, [*state][:8])) or "nothing"
        raise DataError.at(file, f"holds no tensors by name; it has {keys}", "give the file with the weights")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _content(file: Path) -> Any:
    with file.open("rb") as opened:
        first = opened.read(tarfile.BLOCKSIZE)
    if first[8:9] == b"{":
        if (header := int.from_bytes(first[:8], "little")) > LARGEST_HEADER:
            raise DataError.at(file, f"has a header of {header} bytes, more than any weights need", REMEDY)
        return load_file(file)
    for beginning, (what, remedy) in OTHERS.items():
        if first.lstrip().startswith(beginning):
            raise DataError.at(file, what, remedy)
    is_zip = first.startswith(b"PK\x03\x04")  # torch.load decides by these bytes alone
    if is_zip != zipfile.is_zipfile(file):
        raise DataError.at(file, "is a damaged zip archive", "copy or download it again")
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            names = [Path(name).name for name in archive.namelist()]
            size = sum(info.file_size for info in archive.infolist())
        if size > file.stat().st_size:  # torch.save packs nothing
            raise DataError.at(file, f"unpacks to {size} bytes, more than it has", REMEDY)
        if not {"constants.pkl", "data.pkl"}.intersection(names):
            raise DataError.at(file, "is a zip archive without weights of torch.save", "unpack it first")
        if "constants.pkl" in names or "constants.pkl" in _records(file):  # torch.load would run its code
            raise DataError.at(file, "is a TorchScript archive", "give the state dict that it was made from")
    elif first[257:262] == b"ustar":  # is_tarfile would unpack what is packed, which may never end
        raise DataError.at(file, "is a tar archive", "unpack it first")
    with file.open("rb") as opened:  # a path would be judged by its ending
        return torch.load(opened, map_location="cpu", weights_only=False, pickle_module=_inert_pickle())


def _records(file: Path) -> list[str]:
    """Return the names of a zip archive's entries as torch.load sees them. In a crafted archive Python sees others."""
    records: list[str] = torch._C.PyTorchFileReader(str(file)).get_all_records()
    return records


def _inert_pickle() -> types.ModuleType:
    def load(file: BinaryIO, **options: Any) -> Any:
        return InertUnpickler(file, **options).load()

    module = types.ModuleType("inert_pickle")
    vars(module).update(Unpickler=InertUnpickler, load=load)
    return module


def _inner(content: Any) -> Any:
    while isinstance(content, dict):
        held = [content[key] for key in WITHIN if isinstance(content.get(key), dict | Placeholder)]
        if not held:
            return content
        content = next((one for one in held if isinstance(one, dict)), held[0])
    return content
