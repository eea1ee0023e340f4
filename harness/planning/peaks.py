"""What a device could do at most, by its maker, and what that makes of a tracker's multiply-accumulates.

Training one pair: the forward pass takes 2 FLOPs per MAC; the backward pass takes as much again for the gradients that
flow through the layers, and as much again for the gradients of the weights, but only for the share of the weights that
trains. So full fine-tuning takes 3 forward passes, LoRA and frozen backbones a little over 2. Recomputed activations
(`checkpointing`) take a fourth. Tracking one frame takes one forward pass, template included.
"""

import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trackablate.datasets.registry import UnknownName, unknown
from trackablate.harness.planning.span import Span
from trackablate.harness.record import PaperScale
from trackablate.trackers.spec import TrackerSpec

UTILISATION = (0.20, 0.30, 0.45)
"""The assumed share of the published peak that training reaches: low, expected, high. Transformers of ViT-B's size with
mixed precision lie in this range; small ones, and those that wait for their data, below."""
TRACKING_UTILISATION = (0.05, 0.10, 0.20)
"""The same for tracking 16 sequences at a time, whose batches are small."""
DECODING = (0.004, 0.008, 0.016)
"""Assumed seconds for one frame of about 1280 x 720: decoding the JPEG and cutting the crop, on one CPU core."""

_FILE = Path(__file__).parent / "devices.toml"


class Peak(BaseModel):
    """tflops: dense, 16 bit; gigabytes: of memory, as sold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tflops: float
    gigabytes: float
    source: str


@cache
def peaks() -> dict[str, Peak]:
    """Published peaks by the device's name."""
    return {name: Peak.model_validate(entry) for name, entry in tomllib.loads(_FILE.read_text("utf-8")).items()}


def peak_of(name: str) -> tuple[str, Peak]:
    """A device's own name and peak, asked for in upper or lower case. Raises UnknownName with the nearest names."""
    for known, peak in peaks().items():
        if known.lower() == name.lower():
            return known, peak
    raise UnknownName(unknown("device", name, list(peaks())))


def training_flops(tracker: TrackerSpec, size: PaperScale) -> float:
    """FLOPs of training on one pair."""
    passes = 2 + size.trainable_params / size.params + (1 if tracker.checkpointing else 0)
    return 2.0 * size.macs * passes


def tracking_flops(size: PaperScale) -> float:
    """FLOPs of tracking one frame."""
    return 2.0 * size.macs


def seconds_at(flops: float, peak: Peak, utilisation: tuple[float, float, float]) -> Span:
    """Seconds for so many FLOPs at a range of utilisations."""
    low, expected, high = (flops / (peak.tflops * 1e12 * share) for share in reversed(utilisation))
    return Span(low=low, expected=expected, high=high)


def training_memory(size: PaperScale, pairs: int) -> Span | None:
    """Bytes that training on so many pairs at once takes on the device: weights in fp32, for what trains its gradient and
    AdamW's two moments, and the activations kept for the backward pass; low: all of those in 16 bit, high: all in 32 bit.
    LoRAT's g-224 at 16 pairs is printed with 25.8 GB (its abstract); this says 18 to 30, and expects 23. None where the
    activations were not counted.
    """
    if size.activation_bytes is None:
        return None
    fixed = 4.0 * size.params + 12.0 * size.trainable_params
    kept = float(pairs) * size.activation_bytes
    return Span(low=fixed + 0.5 * kept, expected=fixed + 0.7 * kept, high=fixed + kept).plus(0.6e9)
