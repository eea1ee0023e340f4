"""Official OSTrack weights (the 242 entries of its state dict) into our tracker and back, bit for bit.

Source "ostrack" is the tracker without candidate elimination and "ostrack-ce" the one with it. Their entries are the
same.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from trackablate.datasets.errors import DataError
from trackablate.trackers.checkpoints.state_keys import load_exactly
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.spec import TrackerSpec
from trackablate.trackers.training.losses import xyxy_to_cxcywh
from trackablate.trackers.variants import VARIANTS

SOURCES = {"ostrack": "", "ostrack-ce": "-ce"}
"""The ending of a source's variants."""
SIZES = {256: "ostrack-256", 576: "ostrack-384"}
"""Number of search tokens to the variant of that size."""
FIRST_NAMES = {
    "encoder.unused": "backbone",
    "encoder.embedding.template_positions": "backbone.pos_embed_z",
    "encoder.embedding.search_positions": "backbone.pos_embed_x",
    "encoder.project": "backbone.patch_embed.proj",
    "encoder.blocks": "backbone.blocks",
    "encoder.norm": "backbone.norm",
}
TOWERS = {"head.score": "ctr", "head.offset": "offset", "head.size": "size"}


class CentrePrediction(NamedTuple):
    """The official network's result for G x G cells.

    Attributes:
        score_map: (B, 1, G, G) in (0, 1).
        boxes: (B, 1, 4) cxcywh in units of the search crop, the box of the highest score.
        size_map: (B, 2, G, G), width and height in units of the crop.
        offset_map: (B, 2, G, G), x and y in cells.
    """

    score_map: Tensor
    boxes: Tensor
    size_map: Tensor
    offset_map: Tensor


class OfficialOSTrack(nn.Module):
    """OSTrack with the inputs and outputs of its official code. `tracker` is ours, as `build` makes it."""

    def __init__(self, tracker: OneStreamTracker) -> None:
        super().__init__()
        self.tracker = tracker

    def forward(self, template: Tensor, search: Tensor) -> CentrePrediction:
        """Return the official network's result. Images are (B, 3, H, W), normalised to ImageNet's mean and std."""
        sparsity = self.tracker.spec.sparsity
        output = self.tracker.head(
            self.tracker.encoder(template, search, None, sparsity.keep_ratio if sparsity else 1.0)
        )
        boxes = xyxy_to_cxcywh(output.best_boxes)[:, None]
        return CentrePrediction(output.score[:, None], boxes, output.size, output.offset)


def from_ostrack(state: Mapping[str, Tensor], source: str) -> OfficialOSTrack:
    """Return the tracker of an official state dict, in evaluation mode, with copied tensors.

    Raises DataError, with their names, for entries that are missing, unknown or of another shape.
    """
    model = build(ostrack_variant(state, source), pretrained=False)
    load_exactly(model, state, official_name, source)
    return OfficialOSTrack(model).eval()


def ostrack_variant(state: Mapping[str, Tensor], source: str) -> TrackerSpec:
    """Return the variant that a state dict belongs to, by its number of search positions (256 if it has none)."""
    positions = state.get("backbone.pos_embed_x")
    tokens = 256 if positions is None or positions.dim() != 3 else positions.shape[1]
    if tokens not in SIZES:
        raise DataError(f"{source}: 'backbone.pos_embed_x' has {tokens} search tokens; OSTrack has one of {[*SIZES]}")
    return VARIANTS[SIZES[tokens] + SOURCES[source]]


def to_ostrack(model: OneStreamTracker) -> dict[str, Tensor]:
    """Return the official state dict of one of OSTrack's variants: the inverse of `from_ostrack`.

    Raises DataError if the tracker has entries that OSTrack does not have, as adapted trackers do.
    """
    return {official_name(name): value.clone() for name, value in model.state_dict().items()}


def official_name(name: str) -> str:
    """Return the official name of one of our entries. Raises DataError if OSTrack has no such entry."""
    for ours, official in FIRST_NAMES.items():
        if name.startswith(f"{ours}.") or name == ours:
            return official + name.removeprefix(ours)
    tower, _, rest = name.rpartition(".")
    tower, _, layer = tower.rpartition(".")
    if tower not in TOWERS:
        raise DataError(
            f"{name!r} has no place in OSTrack's state dict: is this tracker one of its variants, and merged?"
        )
    convolution, part = divmod(int(layer), 3)
    inner = "" if convolution == 4 else f".{part}"
    return f"box_head.conv{convolution + 1}_{TOWERS[tower]}{inner}.{rest}"
