"""The device that work runs on: its choice, name, memory and energy, and how to wait for it."""

import os
from collections.abc import Callable

import torch

from trackablate.harness.costing.clock import peak_rss_bytes
from trackablate.harness.costing.energy import Meter, gpu_meter, processor_meter
from trackablate.harness.costing.hardware import processor_label
from trackablate.harness.errors import BadInput


def resolve_device(name: str) -> torch.device:
    """Return the named device; "auto" is the first GPU, or the CPU. Raises BadInput if the device is not usable."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("its type is not supported")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"--device {name} is not usable here ({reason}): use cpu, or auto") from error
    return device


def for_child(device: torch.device) -> dict[str, str]:
    """Return the environment's variables that let another process see this device alone."""
    if device.type != "cuda":
        return {"CUDA_VISIBLE_DEVICES": ""}
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    index = device.index or 0
    return {"CUDA_VISIBLE_DEVICES": seen[index] if seen else str(index)}


def usable_gpus(device: torch.device) -> tuple[str, ...]:
    """Return the GPUs for a study's runs: the one that was named, or all of them; none for a CPU."""
    if device.type != "cuda":
        return ()
    if ":" in str(device):
        return (str(device),)
    return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))


def synchroniser(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until the device has finished its work."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


def energy_meter(device: torch.device) -> Meter | None:
    """Return the device's energy meter; None if it has no readable counter."""
    if device.type != "cuda":
        return processor_meter()
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return gpu_meter(f"GPU-{uuid}") if uuid else None


def device_name(device: torch.device) -> str:
    """Return the GPU's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_label()


def peak_memory_bytes(device: torch.device) -> int:
    """Return this process's peak memory so far: allocated on a GPU, resident on a CPU."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else peak_rss_bytes()


def held_bytes(device: torch.device) -> tuple[int, int] | None:
    """Return the most that torch reserved of a GPU, and what its driver says is taken now; None on a CPU."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return int(torch.cuda.max_memory_reserved(device)), total - free


def driver_version(device: torch.device) -> str | None:
    """Return torch's CUDA version and the GPU's compute capability; None on a CPU."""
    if device.type != "cuda":
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return f"CUDA {torch.version.cuda}, compute capability {major}.{minor}"
