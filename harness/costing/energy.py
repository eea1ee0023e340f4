"""The device's own energy counters: a GPU's by NVML, a processor's by RAPL. They count the whole device, whoever uses it.

No package is needed: NVML is the driver's library, RAPL are files, which most systems let only root read. Imports no torch.
"""

import ctypes
import math
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"

Meter = Callable[[], float]
"""Joules counted so far, from an arbitrary start; NaN where a reading failed."""


def processor_meter(root: Path = POWERCAP) -> Meter | None:
    """The processor packages' counter (RAPL, without memory), None where there is none or it may not be read."""
    zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    try:
        packages = [_Zone(zone) for zone in zones if (zone / "name").read_text().startswith("package")]
    except (OSError, ValueError):
        return None
    return (lambda: sum(package.joules() for package in packages)) if packages else None


def gpu_meter(uuid: str, library: str = NVML) -> Meter | None:
    """The counter of the GPU with this UUID ("GPU-..."), None where the driver or the GPU has none."""
    try:
        nvml = ctypes.CDLL(library)
        handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)):
            return None
        if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
            return None
    except (OSError, AttributeError):
        return None

    def joules() -> float:
        failed = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        return math.nan if failed else millijoules.value / 1000

    return joules


class _Zone:
    """One processor package. Its counter starts over at a maximum, within minutes: read it more often than that."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last, self._total = int(self._file.read_text()), 0

    def joules(self) -> float:
        now = int(self._file.read_text())
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total / 1e6
