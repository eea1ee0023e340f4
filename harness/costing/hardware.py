"""Names of this machine's devices, without torch: planning needs them, and importing torch takes seconds."""

import os
import platform
from pathlib import Path

_GPUS = Path("/proc/driver/nvidia/gpus")


def processor_label() -> str:
    """Return the name of this machine's processor, "CPU (...)"."""
    return f"CPU ({_processor()})"


def expected_gpus(name: str = "auto", gpus: Path = _GPUS) -> list[str]:
    """Return the models of the GPUs that a --device option will most likely use, in the driver's order; none for a CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    models = [] if name == "cpu" else list(filter(None, map(_model, sorted(gpus.glob("*/information")))))
    usable = models if visible is None else models[: len(list(filter(None, visible.split(","))))]
    return usable[:1] if ":" in name else usable


def expected_device(name: str = "auto", gpus: Path = _GPUS) -> str:
    """Return the name that `harness.costing.devices.device_name` will most likely give for a --device option.

    This is the first GPU that NVIDIA's driver lists, or the processor. It is wrong for a torch without CUDA on a
    machine with a GPU: the run then uses the processor.
    """
    return next(iter(expected_gpus(name, gpus)), processor_label())


def _model(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
