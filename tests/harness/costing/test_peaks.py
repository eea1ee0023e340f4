"""The share of a published peak: by which name a device is known, and which FLOPs count."""

import pytest

from trackablate.harness.costing.peaks import model_flops, published_peak
from trackablate.harness.record import PhaseCost, TrainingCost


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-PCIE-40GB", "A100 PCIe"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA GeForce GTX 1080 Ti", "GTX 1080 Ti"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("GRID A100-10C", None),
        ("GRID V100-8Q", None),
        ("NVIDIA GH200 480GB", None),
        ("Tesla V100-PCIE-16GB", None),
        ("CPU (Intel Xeon)", None),
    ],
)
def test_a_device_is_known_by_the_name_that_its_driver_says(said: str, known: str | None) -> None:
    """Cards that are sold under a longer name have another peak."""
    peak = published_peak(said)
    assert (peak.name if peak else None) == known


def test_the_share_counts_steps_alone_and_all_devices() -> None:
    assert model_flops(1000, 50, 50) == 6000
    assert model_flops(1000, 50, 0) == 4000, "frozen weights have no gradients"
    phases = {"data": PhaseCost(device_seconds=7), "train": PhaseCost(wall_seconds=2, device_seconds=4)}
    cost = TrainingCost(phases=phases, samples=100, flops_per_pair=2e10, peak_tflops=2.0)
    assert cost.mfu() == pytest.approx(100 * 2e10 / (4 * 2e12))
    assert cost.model_copy(update={"peak_tflops": None}).mfu() is None
    assert TrainingCost(samples=100, flops_per_pair=2e10, peak_tflops=2.0).mfu() is None
