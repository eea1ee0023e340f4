"""Training pairs: pair number i is a pure function of the seed and i.

So a killed training goes on where it was without any sampler state, several workers or devices share the work by sharing
the numbers, and two variants of a study see the same pairs in the same order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trackablate.datasets.pairs.augmentation import Augmentation, Pair, augmented
from trackablate.datasets.pairs.cropping import View, token_mask
from trackablate.datasets.pairs.geometries import GEOMETRIES, CropRequest, Jitter
from trackablate.datasets.sequence import Sequence

FramePairs = Literal["any", "causal", "interval"]
"""Keys of FRAME_PAIRS."""

Frames = NDArray[np.int64]
"""Numbers of the frames that show the target and may be used, ascending, at least one."""

ATTEMPTS = 12
"""Jitters tried before a pair is drawn anew (LoRAT's limit)."""

CAUSAL_GAP, CAUSAL_GROWTH = 200, 5
"""OSTrack: how far the search frame may lie behind the template, and what is added where there is none."""

INTERVAL = 100
"""LoRAT: how far the search frame may lie from the template, either way."""


@dataclass(frozen=True)
class PairGeometry:
    """Sizes in pixels, factors as the crop geometry understands them, and the jitter of the search crop (see
    `datasets.pairs.geometries.Jitter`). template_tokens: tokens along the template's side, for the foreground mask.
    image_pairs:
    share of pairs cut from one and the same frame, as the published recipes cut theirs from COCO's images. augmentation:
    see `datasets.pairs.augmentation`. geometry: a key of GEOMETRIES. frame_pairs: a key of FRAME_PAIRS.
    """

    template_size: int
    search_size: int
    template_factor: float
    search_factor: float
    centre_jitter: float
    scale_jitter: float
    template_tokens: int
    image_pairs: float = 0.0
    augmentation: Augmentation = "ostrack"
    geometry: str = "ostrack"
    frame_pairs: FramePairs = "any"


@dataclass(frozen=True)
class PairSampler:
    """Draws pairs. sequence(number, rng) gives the sequence for a pair and the frames that may be used of it."""

    sequence: Callable[[int, Generator], tuple[Sequence, NDArray[np.int64]]]
    geometry: PairGeometry
    seed: int
    augment: bool = True

    def __call__(self, number: int) -> Pair:
        """Pair number `number`. Raises ValueError where 100 sequences in a row give none."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        for _ in range(100):
            sequence, frames = self.sequence(number, rng)
            usable = frames[sequence.visible[frames]]
            if len(usable) == 0:
                continue
            first, second = FRAME_PAIRS[self.geometry.frame_pairs](usable, rng)
            if rng.random() < self.geometry.image_pairs:
                first = second
            pair = self._pair(sequence, first, second, rng)
            if pair is not None:
                return augmented(pair, self.geometry.augmentation, rng) if self.augment else pair
        raise ValueError("no pair with a visible target in 100 sequences: check the training data")

    def _pair(self, sequence: Sequence, first: int, second: int, rng: Generator) -> Pair | None:
        geometry, cutting = self.geometry, GEOMETRIES[self.geometry.geometry]
        template, box = sequence.frames[first], sequence.boxes[first]
        search, truth = sequence.frames[second], sequence.boxes[second]
        request = CropRequest(geometry.search_factor, geometry.search_size, (search.shape[1], search.shape[0]))
        view = self._jittered(truth, request, rng)
        if view is None:
            return None
        extent = template.shape[1], template.shape[0]
        around = cutting.around(box, CropRequest(geometry.template_factor, geometry.template_size, extent))
        return Pair(
            template=around.cut(template, geometry.template_size, cutting.outside(template)),
            search=view.cut(search, geometry.search_size, cutting.outside(search)),
            truth=view.to_crop(truth).clip(0, 1).astype(np.float32),
            mask=token_mask(around, box, geometry.template_tokens),
        )

    def _jittered(self, box: NDArray[np.float64], request: CropRequest, rng: Generator) -> View | None:
        """The first of ATTEMPTS jittered views that shows enough of the target, or None."""
        jitter = Jitter(self.geometry.scale_jitter, self.geometry.centre_jitter)
        for _ in range(ATTEMPTS):
            view = GEOMETRIES[self.geometry.geometry].jittered(box, request, jitter, rng)
            if view is not None:
                return view
        return None


def _any(frames: Frames, rng: Generator) -> tuple[int, int]:
    """Two of the frames, in their order; the only one twice."""
    first, second = np.sort(rng.choice(frames, size=2, replace=len(frames) < 2))
    return int(first), int(second)


def _causal(frames: Frames, rng: Generator) -> tuple[int, int]:
    """OSTrack (the published code): the template is any frame but the last, the search frame any that follows within
    CAUSAL_GAP frames; where there is none, both are drawn anew with a gap larger by CAUSAL_GROWTH. The only frame twice.
    """
    if len(frames) == 1:
        return int(frames[0]), int(frames[0])
    gap = CAUSAL_GAP
    while True:
        first = int(rng.choice(frames[:-1]))
        following = frames[(frames > first) & (frames <= first + gap)]
        if len(following):
            return first, int(rng.choice(following))
        gap += CAUSAL_GROWTH


def _interval(frames: Frames, rng: Generator) -> tuple[int, int]:
    """LoRAT (the published code): the template is any frame, the search frame any other within INTERVAL frames of it,
    before or after; the same one where there is none.
    """
    first = int(rng.choice(frames))
    near = frames[(frames != first) & (np.abs(frames - first) <= INTERVAL)]
    return first, int(rng.choice(near)) if len(near) else first


FRAME_PAIRS: dict[FramePairs, Callable[[Frames, Generator], tuple[int, int]]] = {
    "any": _any,
    "causal": _causal,
    "interval": _interval,
}
"""Rules for which frames make a pair: (template's, search's)."""
