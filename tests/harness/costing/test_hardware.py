"""Names of devices without torch: what CUDA_VISIBLE_DEVICES and --device leave of the driver's GPUs."""

from pathlib import Path

import pytest

from trackablate.harness.costing.hardware import expected_device, expected_gpus, processor_label


@pytest.fixture
def gpus(tmp_path: Path) -> Path:
    """What the driver tells of three GPUs."""
    for number, model in enumerate(("A100", "H100", "T4")):
        place = tmp_path / f"0000:0{number}:00.0"
        place.mkdir()
        (place / "information").write_text(f"Model: \t\t {model}\nIRQ:   5\nGPU UUID: \t GPU-{number}abc-{number}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("visible", "models"),
    [
        (None, ["A100", "H100", "T4"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", ["H100"]),
        ("2, 0", ["T4", "A100"]),
        ("1,-1,0", ["H100"]),
        ("0,7,1", ["A100"]),
        ("GPU-2abc,GPU-1abc-1", ["T4", "H100"]),
        ("GPU-unknown", ["A100"]),
    ],
)
def test_visible_gpus(gpus: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, models: list[str]) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for name in ("auto", "cuda"):
        assert expected_gpus(name, gpus) == models
        assert expected_device(name, gpus) == (models[0] if models else processor_label())
    assert expected_gpus("cpu", gpus) == []
    assert expected_gpus("cuda:1", gpus) == models[1:2]
