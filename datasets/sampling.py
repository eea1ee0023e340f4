"""Training pairs: pair number i is a pure function of the seed and i.

So a killed training goes on where it was without any sampler state, several workers or devices share the work by sharing
the numbers, and two variants of a study see the same pairs in the same order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from datasets.boxes import clip
from datasets.cropping import Window, crop, token_mask, window_around
from datasets.sequence import Image, Sequence

Augmentation = Literal["ostrack", "strong"]

ATTEMPTS = 12
"""Jitters tried before a pair is drawn anew (LoRAT's limit)."""


@dataclass(frozen=True)
class PairGeometry:
    """Sizes in pixels, factors of sqrt(w h), and the jitter of the search crop (OSTrack, section 4.1): its size is
    multiplied by exp(scale_jitter x N(0, 1)), its centre moves by up to centre_jitter / 2 x sqrt(w h) per axis.
    template_tokens: tokens along the template's side, for the foreground mask. image_pairs: share of pairs cut from one
    and the same frame, as the published recipes cut theirs from COCO's images. augmentation: see `augmented`."""

    template_size: int
    search_size: int
    template_factor: float
    search_factor: float
    centre_jitter: float
    scale_jitter: float
    template_tokens: int
    image_pairs: float = 0.0
    augmentation: Augmentation = "ostrack"


@dataclass(frozen=True)
class Pair:
    """template, search: uint8 RGB crops (S, S, 3). truth: (4,) float32 xyxy in [0, 1] of the search crop, cut to it.
    mask: (Nz,) bool, the template's tokens that the target touches."""

    template: Image
    search: Image
    truth: NDArray[np.float32]
    mask: NDArray[np.bool_]


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
            first, second = np.sort(rng.choice(usable, size=2, replace=len(usable) < 2))
            if rng.random() < self.geometry.image_pairs:
                first = second
            pair = self._pair(sequence, int(first), int(second), rng)
            if pair is not None:
                return augmented(pair, self.geometry.augmentation, rng) if self.augment else pair
        raise ValueError("no pair with a visible target in 100 sequences: check the training data")

    def _pair(self, sequence: Sequence, first: int, second: int, rng: Generator) -> Pair | None:
        geometry, box = self.geometry, sequence.boxes[second]
        window = self._jittered(box, rng)
        if window is None:
            return None
        around_template = window_around(sequence.boxes[first], geometry.template_factor)
        return Pair(
            template=crop(sequence.frames[first], around_template, geometry.template_size),
            search=crop(sequence.frames[second], window, geometry.search_size),
            truth=window.to_crop(box).clip(0, 1).astype(np.float32),
            mask=token_mask(around_template, sequence.boxes[first], geometry.template_tokens),
        )

    def _jittered(self, box: NDArray[np.float64], rng: Generator) -> Window | None:
        """A search window around the jittered box that still shows at least half of the target, or None."""
        for _ in range(ATTEMPTS):
            size = box[2:] * np.exp(rng.standard_normal(2) * self.geometry.scale_jitter)
            reach = np.sqrt(size.prod()) * self.geometry.centre_jitter
            centre = box[:2] + box[2:] / 2 + (rng.random(2) - 0.5) * reach
            window = window_around(np.concatenate([centre - size / 2, size]), self.geometry.search_factor)
            inside = clip(box - (window.left, window.top, 0, 0), window.side, window.side)
            if inside[2:].prod() >= 0.5 * box[2:].prod():
                return window
        return None


def augmented(pair: Pair, kind: Augmentation, rng: Generator) -> Pair:
    """`ostrack`: both grey with probability 0.05, both mirrored with 0.5, brightness x U(0.8, 1.2) each. `strong`: the same,
    then LoRAT's: brightness, contrast and saturation jittered by 0.4 each, and both made grey, solarised or blurred."""
    pair = _ostrack_augmented(pair, rng)
    if kind == "ostrack":
        return pair
    template, search = _jittered_colours(pair.template, rng), _jittered_colours(pair.search, rng)
    choice, sigma = int(rng.integers(3)), 0.1 + 1.9 * float(rng.random())
    change = (_grey, _solarised, partial(_blurred, sigma=sigma))[choice]
    return Pair(change(template), change(search), pair.truth, pair.mask)


def _ostrack_augmented(pair: Pair, rng: Generator) -> Pair:
    template, search, truth, mask = pair.template, pair.search, pair.truth, pair.mask
    if rng.random() < 0.05:
        template, search = _grey(template), _grey(search)
    if rng.random() < 0.5:
        side = round(len(mask) ** 0.5)
        template, search = template[:, ::-1], search[:, ::-1]
        truth = np.array([1 - truth[2], truth[1], 1 - truth[0], truth[3]], dtype=np.float32)
        mask = mask.reshape(side, side)[:, ::-1].ravel()
    gains = 0.8 + 0.4 * rng.random(2)
    return Pair(_brighter(template, gains[0]), _brighter(search, gains[1]), truth, mask)


def _grey(image: Image) -> Image:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)


def _brighter(image: Image, gain: float) -> Image:
    return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(image), alpha=float(gain)), dtype=np.uint8)


def _jittered_colours(image: Image, rng: Generator) -> Image:
    """Brightness, contrast about the mean grey, and saturation, each times U(0.6, 1.4)."""
    brightness, contrast, saturation = 0.6 + 0.8 * rng.random(3)
    pixels = image.astype(np.float32) * brightness
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * saturation
    middle = pixels.mean()
    return np.asarray((middle + (pixels - middle) * contrast).clip(0, 255), dtype=np.uint8)


def _solarised(image: Image) -> Image:
    """Pixels of 128 and above inverted."""
    return np.where(image >= 128, 255 - image, image).astype(np.uint8)


def _blurred(image: Image, sigma: float) -> Image:
    """Gaussian blur; LoRAT's sigma is meant for crops of 224 px and shrinks with the crop."""
    return np.asarray(
        cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), sigma * image.shape[0] / 224), dtype=np.uint8
    )
