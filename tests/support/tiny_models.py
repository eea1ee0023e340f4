"""Tiny models that answer differently to different images, as trained ones do."""

import torch

from examples import SCALE
from trackablate.trackers.adaptation.adapt import merge
from trackablate.trackers.model import OneStreamTracker, build
from trackablate.trackers.scale import at_scale
from trackablate.trackers.spec import TrackerSpec


def tiny_model(spec: TrackerSpec, *, merged: bool = True) -> OneStreamTracker:
    """Return a tiny model off the special points where it would answer the same to everything."""
    torch.manual_seed(1)
    model = build(at_scale(spec, SCALE), pretrained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    if not merged:
        return model.eval()
    found = merge(model.eval())
    assert isinstance(found, OneStreamTracker)
    return found
