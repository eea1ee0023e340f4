"""Weights files as the official projects publish them: told by their bytes, without running any code of theirs."""

import argparse
import bz2
import io
import lzma
import os
import pickle
import re
import resource
import struct
import sys
import tarfile
import time
import types
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from trackablate.datasets.errors import DataError
from trackablate.trackers.encoder.weight_files import read_weights

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2]), "half": torch.ones(3).half()}


@contextmanager
def foreign(module: str, name: str) -> Iterator[type]:
    """A class of a package that is gone when the file is read, as a trainer's settings are."""
    made = types.ModuleType(module)
    cls = type(name, (), {"__module__": module})
    setattr(made, name, cls)
    sys.modules[module] = made
    try:
        yield cls
    finally:
        del sys.modules[module]


def same(found: dict[str, Tensor]) -> None:
    assert found.keys() == WEIGHTS.keys()
    assert all(found[name].equal(value) and found[name].dtype == value.dtype for name, value in WEIGHTS.items())


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_training_checkpoint_with_foreign_classes_is_read(tmp_path: Path, legacy: bool) -> None:
    file = tmp_path / "OSTrack_ep0300.pth.tar"
    with foreign("trainer_of_others", "Settings") as settings:
        held = settings()
        vars(held)["batchsize"] = 32
        content = {
            "epoch": 300,
            "net": WEIGHTS,
            "optimizer": {"state": {}},
            "settings": held,
            "classes": [settings],
            "best": np.float64(0.7),
            "curve": np.zeros(3),
            "args": argparse.Namespace(lr=1e-4),
            "where": Path("x"),
            "seen": {1, 2},
        }
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    same(read_weights(file))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"model": w},
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model": {"state_dict": {f"module.{n}": v for n, v in w.items()}}},
        lambda w: {f"module._orig_mod.{n}": v for n, v in w.items()},
        lambda w: {n: torch.nn.Parameter(v, requires_grad=False) for n, v in w.items()} | {"epoch": 3},
    ],
)
def test_weights_are_found_where_trainers_keep_them(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    torch.save(wrap(WEIGHTS), tmp_path / "x.bin")
    same(read_weights(tmp_path / "x.bin"))


def test_what_a_file_is_is_told_by_its_bytes(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "tensors.pth")
    torch.save(WEIGHTS, tmp_path / "pickled.safetensors")
    same(read_weights(tmp_path / "tensors.pth"))
    same(read_weights(tmp_path / "pickled.safetensors"))


class Calls:
    """Unpickled, it would call a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_no_code_of_a_file_is_run(tmp_path: Path, legacy: bool) -> None:
    made = tmp_path / "made"
    traps = [
        Calls(Path.touch, made),
        Calls(eval, f"open({str(made)!r}, 'w')"),
        Calls(getattr, made, "touch"),
    ]
    torch.save({"net": WEIGHTS, "traps": traps}, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    same(read_weights(tmp_path / "x"))
    assert not made.exists()
    torch.load(tmp_path / "x", weights_only=False)
    assert made.exists(), "the traps work"


class Tracing(torch.nn.Module):
    """Scripted and loaded, it prints: its `__setstate__` is code that the file carries."""

    @torch.jit.export
    def __getstate__(self) -> bool:
        return self.training

    @torch.jit.export
    def __setstate__(self, state: bool) -> None:
        print("code of the file")  # noqa: T201, all that TorchScript can do outside itself
        self.training = state


def as_it_is(content: bytes) -> bytes:
    return content


def unended(content: bytes) -> bytes:
    """Python sees no zip archive."""
    return content + b"PK\x05\x06"


def two_directories(content: bytes) -> bytes:
    """Python reads the names of the last directory, torch those of the first."""
    end = content[-22:]
    assert end.startswith(b"PK\x05\x06")
    size, at = struct.unpack("<II", end[12:20])
    return content[:-22] + content[at : at + size].replace(b"constants.pkl", b"constant5.pkl") + end


@pytest.mark.parametrize("disguised", [as_it_is, unended, two_directories])
def test_no_code_of_a_scripted_module_is_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], disguised: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "x.pth"
    torch.jit.save(torch.jit.script(Tracing()), str(file))
    file.write_bytes(disguised(file.read_bytes()))
    with pytest.raises(DataError, match=r"x\.pth: (is a TorchScript archive|is a damaged zip archive)"):
        read_weights(file)
    assert "code of the file" not in capfd.readouterr().out
    torch.load(file, weights_only=False)
    assert "code of the file" in capfd.readouterr().out, "the trap works"


def test_a_file_cannot_change_torchs_own_functions(tmp_path: Path) -> None:
    before = torch._utils._rebuild_tensor_v2.__defaults__
    state = (
        b"\x80\x02}(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n"
        b"N}X\x0c\x00\x00\x00__defaults__X\x01\x00\x00\x00x\x85s\x86bu."
    )
    assert "a" in pickle.loads(state)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == ("x",), "the trap works"
    torch._utils._rebuild_tensor_v2.__defaults__ = before
    torch.save(WEIGHTS, tmp_path / "good")
    with zipfile.ZipFile(tmp_path / "good") as good, zipfile.ZipFile(tmp_path / "x.pth", "w") as bad:
        for entry in good.namelist():
            bad.writestr(entry, state if entry.endswith("data.pkl") else good.read(entry))
    with pytest.raises(DataError, match="holds no tensors by name; it has a"):
        read_weights(tmp_path / "x.pth")
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


def packed(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\n<!DOCTYPE html><html>", "is a web page; download the file behind it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"\x1f\x8b\x08", "is packed by gzip; unpack it first"),
        (lzma.compress(packed("sys_info")), "is packed by xz; unpack it first"),
        (bz2.compress(packed("sys_info")), "is packed by bzip2; unpack it first"),
        (packed("sys_info"), "is a tar archive; unpack it first"),
        (zipped("weights.pth"), "is a zip archive without weights"),
        (zipped("model/constants.pkl"), "is a TorchScript archive"),
        (b"", "cannot be read as weights"),
        (b"\x80\x04N.", "cannot be read as weights"),
    ],
)
def test_what_holds_no_weights_is_said_with_the_remedy(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.pth: {problem}"):
        read_weights(tmp_path / "x.pth")


def test_a_pickled_model_and_a_file_without_weights_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "model.pth")
    with pytest.raises(DataError, match=r"holds a Linear, not a state dict; save its state_dict\(\) instead"):
        read_weights(tmp_path / "model.pth")
    torch.save({"epoch": 3, "optimizer": {}}, tmp_path / "empty.pth")
    with pytest.raises(DataError, match="holds no tensors by name; it has epoch, optimizer"):
        read_weights(tmp_path / "empty.pth")
    save_file(WEIGHTS, tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-4])
    with pytest.raises(DataError, match="cannot be read as weights"):
        read_weights(tmp_path / "cut")


def _headed(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def _packed(size: int) -> bytes:
    """torch.save's archive with one tensor's bytes packed, so that a few kilobytes say that they are so many."""
    plain, packed = io.BytesIO(), io.BytesIO()
    torch.save({"net": {"a": torch.zeros(1)}}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bytes(size) if name.endswith("data/0") else old.read(name))
    return packed.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "header of 2^60 bytes": lambda: struct.pack("<Q", 1 << 60) + b"{" + b" " * 100,
    "deep header": lambda: _headed(b'{"a":' + b"[" * 4_000_000),
    "long header": lambda: _headed(b"{" + b" " * 6_000_000 + b"}"),
    "shape of 2^60": lambda: _headed(
        b'{"a":{"dtype":"F32","shape":[1099511627776,1048576],"data_offsets":[0,4]}}', bytes(4)
    ),
    "negative shape": lambda: _headed(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)),
    "digits": lambda: _headed(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}'),
    "packed tensor": lambda: _packed(500 << 20),
    "nested pickle": lambda: b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "text of 2^40 bytes": lambda: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x",
    "number of digits": lambda: b"I" + b"9" * 3_000_000 + b"\n.",
    "long number": lambda: b"\x80\x02\x8b" + struct.pack("<i", 5_000_000) + b"\x7f" * 5_000_000 + b".",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "bomb.pt"
    file.write_bytes(BOMBS[kind]())
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(DataError, match=re.escape(str(file))) as caught:
        read_weights(file)
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert len(str(caught.value)) < 500


def test_a_file_of_zeros_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "zeros.pt"
    file.touch()
    os.truncate(file, 2**40)
    began = time.monotonic()
    with pytest.raises(DataError, match="cannot be read as weights"):
        read_weights(file)
    assert time.monotonic() - began < 5
