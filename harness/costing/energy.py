"""Energy counters of devices: NVML for a GPU, RAPL for a processor. They count the whole device, whoever uses it.

NVML is read with the package nvidia-ml-py. RAPL is a set of files, which most systems let only root read. This module
does not import torch.
"""

import math
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

POWERCAP = Path("/sys/class/powercap")

Meter = Callable[[], float]
"""Returns the joules counted so far, from an arbitrary start; NaN if the reading failed."""


def processor_meter(root: Path = POWERCAP) -> Meter | None:
    """Return the meter of all processor packages, without memory; None if there is no readable counter."""
    zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    try:
        packages = [_Zone(zone) for zone in zones if (zone / "name").read_text().startswith("package")]
    except (OSError, ValueError):
        return None
    return (lambda: sum(package.joules() for package in packages)) if packages else None


def gpu_meter(uuid: str) -> Meter | None:
    """Return the meter of the GPU with this UUID ("GPU-..."); None if it has no readable counter."""
    nvml = _nvml()
    if nvml is None:
        return None

    def joules() -> float:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000  # from millijoules
        except nvml.NVMLError:
            return math.nan

    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid.encode())
    except nvml.NVMLError:
        return None
    return None if math.isnan(joules()) else joules


@cache
def _nvml() -> ModuleType | None:
    """Load NVML once. Warns, and returns None, if the package or the driver is missing."""
    try:
        import pynvml
    except ImportError:
        warnings.warn("the GPU's energy is not measured: install nvidia-ml-py", stacklevel=2)
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        warnings.warn(f"the GPU's energy is not measured: NVML does not start ({error})", stacklevel=2)
        return None
    found: ModuleType = pynvml
    return found


class _Zone:
    """One processor package. Its counter wraps around within minutes, and has to be read more often than that."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last, self._total = int(self._file.read_text()), 0

    def joules(self) -> float:
        now = int(self._file.read_text())
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total / 1e6
