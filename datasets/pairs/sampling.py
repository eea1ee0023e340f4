"""Training pairs: pair number i is a pure function of the seed and i.

So an interrupted training can continue without any sampler state, workers and devices share the work by sharing the
numbers, and two variants of a study see the same pairs in the same order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trackablate.datasets.boxes import clip
from trackablate.datasets.pairs.augmentation import Augmentation, Pair, augmented
from trackablate.datasets.pairs.cropping import BLACK, Crop, View, token_mask
from trackablate.datasets.pairs.decoding import Frame
from trackablate.datasets.pairs.geometries import GEOMETRIES, CropRequest, Jitter, black
from trackablate.datasets.sequence import Sequence

FramePairs = Literal["any", "causal", "interval"]
"""Keys of FRAME_PAIRS."""

FrameNumbers = NDArray[np.int64]
"""Ascending numbers of the frames that show the target and may be used; at least one."""

ATTEMPTS = 12
"""Number of jitters tried before another pair is drawn (LoRAT's limit)."""

CAUSAL_GAP, CAUSAL_GROWTH = 200, 5
"""OSTrack: the largest distance of the search frame after the template, and its growth if there is no such frame."""

INTERVAL = 100
"""LoRAT: the largest distance of the search frame from the template, before or after it."""


@dataclass(frozen=True)
class PairGeometry:
    """How pairs are chosen and cut. Sizes are in pixels; `datasets.pairs.geometries` explains factors and jitter.

    Attributes:
        template_tokens: Tokens along the template's side, for the foreground mask.
        image_pairs: Share of pairs cut from a single frame, as the published recipes do with COCO's images.
        geometry: A key of GEOMETRIES.
        least_frames: Frames that a video needs to be used; images, of one frame, are exempt.
        least_visible: Usable frames that such a video needs.
        clip_truth: Whether the true box is cut to the search crop.
        fit_boxes: Whether annotated boxes are cut to the image first.
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
    least_frames: int = 0
    least_visible: int = 0
    clip_truth: bool = True
    fit_boxes: bool = False

    def too_short(self, frames: int, usable: int) -> bool:
        """Return whether a video of so many frames is not used, or one of which so many are usable."""
        return usable == 0 or (frames > 1 and (frames < self.least_frames or usable < self.least_visible))


@dataclass(frozen=True)
class PairSampler:
    """Draws pairs.

    Attributes:
        sequence: Returns the sequence for a pair of this number, and the numbers of its usable frames.
        again: The same, for a pair whose first sequence gives none; by default `sequence`.
    """

    sequence: Callable[[int, Generator], tuple[Sequence, FrameNumbers]]
    geometry: PairGeometry
    seed: int
    augment: bool = True
    again: Callable[[int, Generator], tuple[Sequence, FrameNumbers]] | None = None

    def __call__(self, number: int) -> Pair:
        """Return pair number `number`. Raises ValueError if 100 sequences in a row give none."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        for attempt in range(100):
            sequence, frames = (self.again if attempt and self.again else self.sequence)(number, rng)
            usable = frames[sequence.visible[frames]]
            if self.geometry.too_short(len(sequence.boxes), len(usable)):
                continue
            first, second = FRAME_PAIRS[self.geometry.frame_pairs](usable, rng)
            if rng.random() < self.geometry.image_pairs:
                first = second
            try:
                pair = self._pair(sequence, first, second, rng)
            except Exception as error:
                error.add_note(f"{sequence.name}, frames {first} and {second}")
                raise
            if pair is not None:
                return augmented(pair, self.geometry.augmentation, rng) if self.augment else pair
        least = f" of {self.geometry.least_frames} frames or more" if self.geometry.least_frames else ""
        raise ValueError(f"no pair with a visible target in 100 sequences{least}: check the training data")

    def _pair(self, sequence: Sequence, first: int, second: int, rng: Generator) -> Pair | None:
        geometry, cutting = self.geometry, GEOMETRIES[self.geometry.geometry]
        template, box = Frame(sequence.frames, first, template=first != second), sequence.boxes[first]
        search, truth = template if first == second else Frame(sequence.frames, second), sequence.boxes[second]
        if geometry.fit_boxes:
            box, truth = clip(box, *template.size), clip(truth, *search.size)
            if min(*box[2:], *truth[2:]) <= 0:
                return None
        view = self._jittered(truth, CropRequest(geometry.search_factor, geometry.search_size, search.size), rng)
        if view is None:
            return None
        around = cutting.around(box, CropRequest(geometry.template_factor, geometry.template_size, template.size))
        for frame, seen in ((template, around), (search, view)):
            frame.rows = max(frame.rows, frame.size[1] if self._needs_whole(frame, seen) else seen.bottom)
        shown = view.to_crop(truth)
        return Pair(
            template=self._cut(template, around, geometry.template_size),
            search=self._cut(search, view, geometry.search_size),
            truth=(shown.clip(0, 1) if geometry.clip_truth else shown).astype(np.float32),
            mask=token_mask(around, box, geometry.template_tokens),
        )

    def _needs_whole(self, frame: Frame, view: View) -> bool:
        """Return whether a crop leaves the image, and the colour outside depends on all of the image."""
        outside = GEOMETRIES[self.geometry.geometry].outside
        return outside is not black and frame.mean is None and not view.inside(frame.size)

    def _cut(self, frame: Frame, view: View, size: int) -> Crop:
        outside = GEOMETRIES[self.geometry.geometry].outside
        if outside is black:
            return view.cut(frame.image, size, BLACK)
        return view.cut(
            frame.image, size, outside(frame.image) if self._needs_whole(frame, view) else frame.mean or BLACK
        )

    def _jittered(self, box: NDArray[np.float64], request: CropRequest, rng: Generator) -> View | None:
        """Return the first of ATTEMPTS jittered views that shows enough of the target, or None."""
        jitter = Jitter(self.geometry.scale_jitter, self.geometry.centre_jitter)
        for _ in range(ATTEMPTS):
            view = GEOMETRIES[self.geometry.geometry].jittered(box, request, jitter, rng)
            if view is not None:
                return view
        return None


def _any(frames: FrameNumbers, rng: Generator) -> tuple[int, int]:
    """Two of the frames in their order; a single frame twice."""
    first, second = np.sort(rng.choice(frames, size=2, replace=len(frames) < 2))
    return int(first), int(second)


def _causal(frames: FrameNumbers, rng: Generator) -> tuple[int, int]:
    """OSTrack (the published code): the template is any frame but the last, the search frame a later one.

    It follows within CAUSAL_GAP frames. If there is none, both are drawn again with a gap larger by CAUSAL_GROWTH. A
    single frame is used twice.
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


def _interval(frames: FrameNumbers, rng: Generator) -> tuple[int, int]:
    """LoRAT (the published code): the template is any frame, the search frame another within INTERVAL frames.

    If there is none, the same frame is used twice.
    """
    first = int(rng.choice(frames))
    near = frames[(frames != first) & (np.abs(frames - first) <= INTERVAL)]
    return first, int(rng.choice(near)) if len(near) else first


FRAME_PAIRS: dict[FramePairs, Callable[[FrameNumbers, Generator], tuple[int, int]]] = {
    "any": _any,
    "causal": _causal,
    "interval": _interval,
}
"""Rules that choose the two frames of a pair: (template's, search's)."""
