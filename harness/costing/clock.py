"""Time and energy, booked by phase. The device is synchronised before every reading."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trackablate.harness.costing.energy import Meter
from trackablate.harness.record import PhaseCost

STATUS = Path("/proc/self/status")
PEAKS = Path("/proc/self/clear_refs")


class PhaseClock:
    """Adds up wall seconds, device seconds and, with a meter, joules by phase. Phases do not nest.

    Device time is the process's CPU time on a CPU, and wall time on a GPU, which is held all the while. A phase that
    was once booked without a meter has no known energy afterwards either.
    """

    def __init__(
        self, booked: dict[str, PhaseCost], synchronise: Callable[[], None], on_cpu: bool, meter: Meter | None = None
    ) -> None:
        self.booked = {name: cost.model_copy() for name, cost in booked.items()}
        self._synchronise, self._meter = synchronise, meter
        self._device_time = time.process_time if on_cpu else time.perf_counter

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book the code inside the `with` block on the phase `name`."""
        self._synchronise()
        joules = self._meter() if self._meter else None
        wall, device = time.perf_counter(), self._device_time()
        yield
        self._synchronise()
        cost = self.booked.setdefault(name, PhaseCost(energy_joules=None if joules is None else 0.0))
        if self._meter is None or joules is None or cost.energy_joules is None:
            cost.energy_joules = None
        else:
            cost.energy_joules += self._meter() - joules
        cost.wall_seconds += time.perf_counter() - wall
        cost.device_seconds += self._device_time() - device


def own_bytes() -> int | None:
    """Return the process's resident memory without mapped files; None on a system that does not tell it."""
    return _from_status("RssAnon") if STATUS.exists() else None


def mapped_bytes() -> int:
    """Return the resident memory of mapped files: mostly libraries, whose pages become resident when they are first used."""
    return _from_status("RssFile") if STATUS.exists() else 0


def peak_rss_bytes() -> int:
    """Return the process's peak resident memory so far.

    On Linux, getrusage starts at the peak of the parent process, so the kernel's status file is read instead.
    """
    if STATUS.exists():
        return _from_status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, else kilobytes


def reset_peak_rss() -> bool:
    """Let the peak resident memory start anew at the memory held now. Returns whether the system can do that (Linux)."""
    try:
        PEAKS.write_text("5")
    except OSError:
        return False
    return True


def _from_status(field: str) -> int:
    return int(STATUS.read_text().split(f"{field}:")[1].split()[0]) * 1024
