"""Small specifications and records that tests share."""

import os
from collections.abc import Callable
from pathlib import Path

from trackablate.harness.record import Provenance
from trackablate.harness.spec import Recipe, SyntheticData
from trackablate.trackers.scale import Scale
from trackablate.trackers.spec import TrackerSpec

PLAIN = TrackerSpec(name="plain")
RECIPE = Recipe(steps=10, batch_size=2, lr_backbone=1e-4, lr_new=1e-3, weight_decay=0.1, warmup_steps=1)
DATA = SyntheticData(domain="source", clips=4, pairs_per_clip=2, length=5, version=1)
SCALE = Scale(
    backbone="vit-mini",
    template_size=32,
    search_size=64,
    template_factor=1.5,
    search_factor=3.0,
    min_side=3.0,
    elimination_layers=(1, 2, 3),
    centre_channels=64,
    decoder_width=64,
    decoder_queries=16,
    decoder_heads=4,
    decoder_feedforward=256,
    decoder_top_k=5,
    denoising_groups=3,
    lora_rank=8,
)

WHERE = Provenance(
    commit="c0ffee",
    dirty=False,
    python="3.11",
    platform="Linux",
    packages={"torch": "2.6"},
    device="CPU",
    driver=None,
    threads=1,
    concurrent_workers=1,
    started="2025-01-01T00:00:00+00:00",
    command="python -m harness run table3",
)


class Evil:
    """Unpickled, it would write a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.mkdir, (str(self.file),)  # type: ignore[return-value]
