"""Time and energy booked by phase, the device synchronised before every reading."""

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
    """Adds up wall and device seconds and, where there is a meter, joules by phase. Phases do not nest. `synchronise` waits
    for the device; `device_time` reads its clock: the process's CPU time on a CPU, wall time on a GPU, which is held all
    the while. What was booked without a meter is not made up for: its phase's energy stays unknown.
    """

    def __init__(
        self,
        booked: dict[str, PhaseCost],
        synchronise: Callable[[], None],
        on_cpu: bool,
        meter: Meter | None = None,
    ) -> None:
        self.booked = {name: cost.model_copy() for name, cost in booked.items()}
        self._synchronise, self._meter = synchronise, meter
        self._device_time = time.process_time if on_cpu else time.perf_counter

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book what runs inside on the phase `name`."""
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


def rss_bytes() -> int:
    """The process's resident memory now, where the system tells, else its peak."""
    return int(STATUS.read_text().split("VmRSS:")[1].split()[0]) * 1024 if STATUS.exists() else peak_rss_bytes()


def peak_rss_bytes() -> int:
    """The process's peak resident memory so far. From Linux's own record of it where there is one: what getrusage says
    (kilobytes, bytes on macOS) starts at the peak of the process that started this one.
    """
    if STATUS.exists():
        return int(STATUS.read_text().split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_rss() -> bool:
    """Let the peak resident memory start anew at the memory held now. Returns whether the system can do that (Linux)."""
    try:
        PEAKS.write_text("5")
    except OSError:
        return False
    return True
