"""Unit times from MACs and the published peaks of GPUs (`harness.costing.peaks`). Imports no torch."""

from dataclasses import dataclass

from trackablate.datasets.registry import UnknownName, unknown
from trackablate.harness.costing.peaks import DevicePeak, model_flops, published_peaks
from trackablate.harness.planning.work import Range, Unit
from trackablate.harness.record import PaperScale
from trackablate.harness.spec import Recipe
from trackablate.trackers.spec import TrackerSpec

UTILISATION = (0.20, 0.30, 0.45)
"""Assumed shares of the peak that training reaches. ViT-B with mixed precision lies in this range; smaller networks, and
trainings that wait for their data, reach less."""
TRACKING_UTILISATION = (0.05, 0.10, 0.20)
"""The same for tracking 16 sequences at a time, because its batches are small."""
FLOOR_FRAME = {
    "static": Range(0.0, 1e-5, 0.001),
    "ncc": Range(0.0004, 0.0008, 0.01),
    "outside": Range(0.002, 0.03, 1.0),
}
"""Assumed seconds of a frame of what has no network here, by its kind: expected at 160 x 120 pixels, most at 1280 x 720."""
ASSUMED: dict[Unit, Range] = {
    "setup": Range(5.0, 20.0, 60.0),
    "frame": Range(0.001, 0.002, 0.008),
    "image": Range(0.003, 0.005, 0.016),
}
"""Assumed seconds on one CPU core. An image is a JPEG of about 1280 x 720; its crop is included."""
LOADERS = 8
"""Processes that make the pairs of a training on a GPU, where there are cores for them (`default_loader_workers`)."""


@dataclass(frozen=True)
class Peak(DevicePeak):
    """A device, with the times that its published peak lets expect."""

    def training(self, tracker: TrackerSpec, size: PaperScale, recipe: Recipe) -> dict[Unit, Range]:
        """Return the unit times of training."""
        flops = training_flops(tracker, size) * recipe.batch_size
        flops += 2 * size.macs * recipe.validation_pairs / recipe.checkpoint_every
        return {**ASSUMED, "image": ASSUMED["image"].times(1 / LOADERS), "step": self._seconds(flops, UTILISATION)}

    def tracking(self, size: PaperScale) -> dict[Unit, Range]:
        """Return the unit times of tracking."""
        return {**ASSUMED, "tracked": self._seconds(2 * size.macs, TRACKING_UTILISATION)}

    def note(self, utilisation: tuple[float, float, float]) -> str:
        """Return in words how the times were made."""
        shares = f"{100 * utilisation[0]:.0f} to {100 * utilisation[2]:.0f} %"
        return f"MACs at {shares} of the {self.tflops:g} TFLOPS (16 bit) that are published of {self.name}"

    def _seconds(self, flops: float, utilisation: tuple[float, float, float]) -> Range:
        return Range(*(flops / (self.tflops * 1e12 * share) for share in reversed(utilisation)))


def peak_of(name: str) -> Peak:
    """Return a device's peak. Case does not matter. Raises UnknownName with the nearest names."""
    found = {peak.name.lower(): peak for peak in published_peaks()}
    if name.lower() not in found:
        raise UnknownName(unknown("device", name, [peak.name for peak in found.values()]))
    return Peak(**vars(found[name.lower()]))


def training_flops(tracker: TrackerSpec, size: PaperScale) -> float:
    """Return the FLOPs of training on one pair. Recomputed activations (`checkpointing`) add a forward pass."""
    again = 2.0 * size.macs * tracker.checkpointing
    return model_flops(size.macs, size.params, size.trainable_params) + again


def training_memory(size: PaperScale, pairs: int) -> Range | None:
    """Return the bytes that training on so many pairs at once takes; None if the activations were not counted.

    Weights are kept in fp32, with a gradient and AdamW's two moments for those that train. The activations that the
    backward pass needs are all in 16 bit (low) or all in 32 bit (high). LoRAT's abstract prints 25.8 GB for g-224 at 16
    pairs; this returns 18 to 30 GB and expects 23.
    """
    if size.activation_bytes is None:
        return None
    fixed = 4.0 * size.params + 12.0 * size.trainable_params + 0.6e9
    kept = float(pairs) * size.activation_bytes
    return Range(fixed + 0.5 * kept, fixed + 0.7 * kept, fixed + kept)
