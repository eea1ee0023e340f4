"""Names of this machine's devices, without torch: planning needs them, and importing torch takes seconds."""

import os
import platform
import re
from pathlib import Path

from trackablate.harness.errors import BadInput

_GPUS = Path("/proc/driver/nvidia/gpus")


def processor_label() -> str:
    """Return the name of this machine's processor, "CPU (...)"."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return f"CPU ({names[0] if names else platform.processor() or platform.machine()})"


def refuse_unknown_device(name: str) -> None:
    """Raise BadInput if a --device option names no kind of device, whatever this machine has."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise BadInput(f"--device {name} is not usable here: use auto, cpu, cuda, or cuda:N for one GPU")


def expected_gpus(name: str = "auto", gpus: Path = _GPUS) -> list[str]:
    """Return the models of the GPUs that a --device option will most likely use, in CUDA's order; none for a CPU."""
    found = [] if name == "cpu" else [_information(file) for file in sorted(gpus.glob("*/information"))]
    usable = _visible([about for about in found if about.get("Model")])
    number = name.partition(":")[2]
    return usable[int(number) :][:1] if number.isdecimal() else usable


def expected_device(name: str = "auto", gpus: Path = _GPUS) -> str:
    """Return the name that `harness.costing.devices.device_name` will most likely give for a --device option.

    This is the named GPU or the first one, or the processor. It is wrong for a torch without CUDA on a machine with a
    GPU: the run then uses the processor.
    """
    return next(iter(expected_gpus(name, gpus)), processor_label())


def surely_no_gpu() -> bool:
    """Whether this machine shows no trace of a GPU. Some that CUDA can use, as in WSL, are not among `expected_gpus`."""
    return not any(Path("/dev").glob("nvidia*")) and not any(
        Path(path).exists() for path in ("/dev/dxg", "/dev/kfd", _GPUS)
    )


def several(device: str, count: int) -> str:
    """Return the name of several devices of a kind that share one run."""
    return device if count == 1 else f"{count} x {device}"


def _visible(found: list[dict[str, str]]) -> list[str]:
    """Return the models that CUDA_VISIBLE_DEVICES leaves, in its order. As in CUDA, an entry without a GPU ends the list."""
    models, entries = [about["Model"] for about in found], os.environ.get("CUDA_VISIBLE_DEVICES")
    usable: list[str] = []
    for entry in map(str.strip, entries.split(",")) if entries is not None else map(str, range(len(models))):
        if entry.isdecimal():
            named = models[int(entry) :][:1]
        elif entry.startswith(("GPU-", "MIG-")):  # the driver does not always tell UUIDs: any model is the best guess
            named = [about["Model"] for about in found if about.get("GPU UUID", "").startswith(entry)] or models[:1]
        else:
            named = []
        if not named:
            break
        usable.append(named[0])
    return usable


def _information(file: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in file.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
