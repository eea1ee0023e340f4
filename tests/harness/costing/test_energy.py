"""Energy counters: what they add up to, that they start over, and that a device without one gives nothing."""

import math
import sys
from functools import cache
from pathlib import Path

import pytest

from trackablate.harness.costing import energy
from trackablate.harness.costing.clock import PhaseClock
from trackablate.harness.costing.energy import gpu_meter, processor_meter
from trackablate.harness.record import PhaseCost, TrainingCost


def zone(root: Path, name: str, kind: str, microjoules: int, largest: int = 1_000_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    for file, content in (("name", kind), ("energy_uj", microjoules), ("max_energy_range_uj", largest)):
        (folder / file).write_text(f"{content}\n")
    return folder / "energy_uj"


def test_processor_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    zone(tmp_path, "intel-rapl:2", "psys", 1)
    meter = processor_meter(tmp_path)
    assert meter is not None
    before = meter()
    first.write_text("8000000")
    second.write_text("1500000")
    assert meter() - before == pytest.approx(4.5)


def test_a_counter_that_starts_over_goes_on(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, largest=10_000_000)
    meter = processor_meter(tmp_path)
    assert meter is not None
    before = meter()
    file.write_text("500000")
    assert meter() - before == pytest.approx(1.5)


def test_no_counter_is_no_meter(tmp_path: Path) -> None:
    assert processor_meter(tmp_path / "none") is None
    (zone(tmp_path, "intel-rapl:0", "package-0", 0)).unlink()
    assert processor_meter(tmp_path) is None


class FakeNvml:
    """The functions of nvidia-ml-py (pynvml) that are used."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, starts: bool = True) -> None:
        self.millijoules, self.starts, self.counts = 1000, starts, True

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.starts:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> str:  # noqa: N802
        if uuid != b"GPU-7":
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if not self.counts:
            raise self.NVMLError("Not Supported")
        assert handle == "handle"
        return self.millijoules


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The package is looked for anew, before the test and after it."""
    monkeypatch.setattr(energy, "_nvml", cache(energy._nvml.__wrapped__))
    return monkeypatch


def test_a_gpu_counts_millijoules(fresh: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    fresh.setitem(sys.modules, "pynvml", nvml)
    meter = gpu_meter("GPU-7")
    assert meter is not None
    before = meter()
    nvml.millijoules += 2500
    assert meter() - before == pytest.approx(2.5)
    nvml.counts = False
    assert math.isnan(meter())
    assert gpu_meter("GPU-7") is None, "an old GPU has no counter"
    assert gpu_meter("GPU-8") is None


@pytest.mark.parametrize(
    ("module", "told"), [(None, "install nvidia-ml-py"), (FakeNvml(starts=False), "NVML does not start .*Driver")]
)
def test_a_missing_package_or_driver_is_said_once(fresh: pytest.MonkeyPatch, module: object, told: str) -> None:
    fresh.setitem(sys.modules, "pynvml", module)
    with pytest.warns(UserWarning, match=told) as said:
        assert gpu_meter("GPU-7") is gpu_meter("GPU-7") is None
    assert len(said) == 1


def test_the_clock_books_energy_by_phase() -> None:
    readings = iter([0.0, 3.0, 10.0, 14.0, 20.0, 21.0])
    clock = PhaseClock({}, lambda: None, on_cpu=True, meter=lambda: next(readings))
    for name in ("data", "train", "data"):
        with clock.phase(name):
            pass
    cost = TrainingCost(phases=clock.booked)
    assert [phase.energy_joules for phase in cost.phases.values()] == [4.0, 4.0]
    assert cost.energy() == 8.0


def test_what_was_once_not_metered_stays_unknown() -> None:
    earlier = {"train": PhaseCost(wall_seconds=5.0), "data": PhaseCost(wall_seconds=1.0, energy_joules=7.0)}
    clock = PhaseClock(earlier, lambda: None, on_cpu=True, meter=lambda: 1.0)
    with clock.phase("train"):
        pass
    assert clock.booked["train"].energy_joules is None
    assert TrainingCost(phases=clock.booked).energy() is None
    unmetered = PhaseClock(earlier, lambda: None, on_cpu=True)
    with unmetered.phase("data"):
        pass
    assert unmetered.booked["data"].energy_joules is None


def test_a_failed_reading_is_unknown_in_the_store() -> None:
    cost = TrainingCost(phases={"train": PhaseCost(energy_joules=math.nan)})
    assert TrainingCost.model_validate_json(cost.model_dump_json()).energy() is None
