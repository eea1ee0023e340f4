"""Published peaks of GPUs (devices.toml), and the share of them that a training reaches (MFU). Imports no torch."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OTHER_CARDS = re.compile(r"\b(ti|super|laptop|mobile|max q|pcie|nvl|mig|d|\d+[abcq])\b")
"""Words behind a device's name that make it another device, or a part of one."""


@dataclass(frozen=True)
class DevicePeak:
    """A device. tflops: dense, 16 bit; gigabytes: of memory, as sold; source: the vendor's document."""

    name: str
    tflops: float
    gigabytes: float
    source: str


@cache
def published_peaks() -> tuple[DevicePeak, ...]:
    """Return all published peaks."""
    entries = tomllib.loads(Path(__file__).with_name("devices.toml").read_text("utf-8"))
    return tuple(DevicePeak(name, **entry) for name, entry in entries.items())


def published_peak(device: str) -> DevicePeak | None:
    """Return the peak of a device by the name that its driver says, None if none is published here for exactly it."""
    said = re.sub(r"[-_ ]+", " ", device.lower())
    for peak in sorted(published_peaks(), key=lambda peak: -len(peak.name)):
        found = re.search(rf"\b{re.escape(peak.name.lower())}\b(.*)", said)
        if found and not OTHER_CARDS.search(found[1]):
            return peak
    return None


def model_flops(macs: int, params: int, trainable: int) -> float:
    """Return the FLOPs that training on one pair needs; those of recomputed activations do not count.

    The forward pass takes 2 FLOPs per MAC. The backward pass takes as much for the gradients of the activations, and as
    much for the gradients of the weights, times the share of the weights that trains. So full fine-tuning takes 3 forward
    passes, LoRA a little over 2.
    """
    return 2.0 * macs * (2 + trainable / params)
