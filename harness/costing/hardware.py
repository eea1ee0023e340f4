"""What this machine is, asked of the system and not of torch: planning has to know the device, and torch takes seconds."""

import os
import platform
from pathlib import Path

_GPUS = Path("/proc/driver/nvidia/gpus")


def processor_label() -> str:
    """What to print for this machine's processor."""
    return f"CPU ({_processor()})"


def expected_device(name: str = "auto", gpus: Path = _GPUS) -> str:
    """What `harness.costing.devices.device_name` will most likely say of a device by its option: the first GPU that NVIDIA's
    driver lists, else the processor. A torch without CUDA would still use the processor; then the estimates name a device
    that the run does not.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    models = [] if name == "cpu" or hidden else [_model(file) for file in sorted(gpus.glob("*/information"))]
    return next(filter(None, models), processor_label())


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
