"""Augmentation of training pairs: mirroring, colours, blur. Pure functions of a pair and a random generator.

Crops are RGB 0..255, bytes or float32. Boxes and masks are mirrored with their crops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trackablate.datasets.pairs.cropping import Crop
from trackablate.datasets.sequence import Image

Augmentation = Literal["ostrack", "strong", "ostrack-published", "lorat"]
"""Keys of AUGMENTATIONS."""


@dataclass(frozen=True)
class Pair:
    """One training example.

    Attributes:
        template: RGB crop (S, S, 3), 0..255.
        search: RGB crop (S, S, 3), 0..255.
        truth: (4,) float32, xyxy in units of the search crop's side, cut to [0, 1].
        mask: (Nz,) bool, the template's tokens that the target touches.
    """

    template: Crop
    search: Crop
    truth: NDArray[np.float32]
    mask: NDArray[np.bool_]


def augmented(pair: Pair, kind: Augmentation, rng: Generator) -> Pair:
    """Augment a pair by the named augmentation."""
    return AUGMENTATIONS[kind](pair, rng)


def _ostrack(pair: Pair, rng: Generator) -> Pair:
    """Both crops grey with probability 0.05, both mirrored with 0.5, and each with brightness x U(0.8, 1.2)."""
    if rng.random() < 0.05:
        pair = Pair(_grey(pair.template), _grey(pair.search), pair.truth, pair.mask)
    if rng.random() < 0.5:
        pair = _mirrored_search(_mirrored_template(pair))
    gains = 0.8 + 0.4 * rng.random(2)
    return Pair(_brighter(pair.template, gains[0]), _brighter(pair.search, gains[1]), pair.truth, pair.mask)


def _ostrack_published(pair: Pair, rng: Generator) -> Pair:
    """As `_ostrack`, and then each crop mirrored independently with probability 0.5, as in the published code."""
    pair = _ostrack(pair, rng)
    return _mirrored_each(pair, rng)


def _strong(pair: Pair, rng: Generator) -> Pair:
    """OSTrack's augmentation, then LoRAT's in a milder form for small crops.

    Brightness, contrast and saturation are jittered by 0.4 in a fixed order; both crops are grey, solarised or blurred in
    proportion to their size.
    """
    pair = _ostrack(pair, rng)
    template, search = _jittered_at_once(pair.template, rng), _jittered_at_once(pair.search, rng)
    choice, sigma = int(rng.integers(3)), 0.1 + 1.9 * float(rng.random())
    change = (_grey, _solarised, partial(_blurred_by_size, sigma=sigma))[choice]
    return Pair(change(template), change(search), pair.truth, pair.mask)


def _lorat(pair: Pair, rng: Generator) -> Pair:
    """LoRAT, the published code.

    Each crop is mirrored with probability 0.5. Its brightness, contrast and saturation are multiplied by U(0.6, 1.4) in
    random order. After rounding to bytes, both crops are grey, solarised, or blurred with one radius U(0.1, 2) (the three
    augmentations of DeiT III).
    """
    pair = _mirrored_each(pair, rng)
    template, search = (_jittered_colours(image, rng).astype(np.uint8) for image in (pair.template, pair.search))
    choice = int(rng.integers(3))
    change = (_grey, _solarised, partial(_blurred, sigma=float(rng.uniform(0.1, 2))))[choice]
    return Pair(change(template), change(search), pair.truth, pair.mask)


AUGMENTATIONS: dict[Augmentation, Callable[[Pair, Generator], Pair]] = {
    "ostrack": _ostrack,
    "strong": _strong,
    "ostrack-published": _ostrack_published,
    "lorat": _lorat,
}


def _mirrored_each(pair: Pair, rng: Generator) -> Pair:
    template, search = rng.random(2) < 0.5
    pair = _mirrored_template(pair) if template else pair
    return _mirrored_search(pair) if search else pair


def _mirrored_template(pair: Pair) -> Pair:
    side = round(len(pair.mask) ** 0.5)
    return Pair(_mirrored(pair.template), pair.search, pair.truth, pair.mask.reshape(side, side)[:, ::-1].ravel())


def _mirrored_search(pair: Pair) -> Pair:
    x1, y1, x2, y2 = pair.truth
    return Pair(pair.template, _mirrored(pair.search), np.array([1 - x2, y1, 1 - x1, y2], dtype=np.float32), pair.mask)


def _mirrored(image: Crop) -> Crop:
    return cast(Crop, cv2.flip(image, 1))


def _grey(image: Crop) -> Crop:
    return cast(Crop, cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def _brighter(image: Crop, gain: float) -> Crop:
    if image.dtype == np.uint8:
        return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(image), alpha=float(gain)), dtype=np.uint8)
    return (image * np.float32(gain)).clip(0, 255)


def _jittered_colours(image: Crop, rng: Generator) -> NDArray[np.float32]:
    """Brightness, contrast about the mean grey, and saturation about each pixel's grey, multiplied by U(0.6, 1.4).

    The order is random, and each step is cut to 0..255.
    """
    pixels = np.array(image, dtype=np.float32)
    gains = rng.uniform(0.6, 1.4, 3).astype(np.float32)
    for change in rng.permutation(3):  # in place: new arrays of this size cost more than the arithmetic
        if change == 0:
            pixels *= gains[0]
        else:
            grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
            middle = grey.mean() if change == 1 else cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
            pixels -= middle
            pixels *= gains[change]
            pixels += middle
        np.clip(pixels, 0, 255, out=pixels)
    return pixels


def _jittered_at_once(image: Crop, rng: Generator) -> Image:
    """Brightness, contrast about the mean grey, and saturation, each multiplied by U(0.6, 1.4)."""
    brightness, contrast, saturation = 0.6 + 0.8 * rng.random(3)
    pixels = image.astype(np.float32) * brightness
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * saturation
    middle = pixels.mean()
    return np.asarray((middle + (pixels - middle) * contrast).clip(0, 255), dtype=np.uint8)


def _solarised(image: Crop) -> Crop:
    """Return the image with all pixels from 128 on inverted."""
    return _like(image, np.where(image >= 128, 255 - image, image))


def _blurred(image: Crop, sigma: float) -> Crop:
    return _like(image, cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), sigma))


def _like(image: Crop, pixels: NDArray[Any]) -> Crop:
    """Return the pixels in the type of the image from which they were made."""
    return pixels.astype(np.uint8) if image.dtype == np.uint8 else pixels.astype(np.float32)


def _blurred_by_size(image: Crop, sigma: float) -> Crop:
    """Gaussian blur. LoRAT's sigma is for crops of 224 px and is scaled with the crop."""
    return _blurred(image, sigma * image.shape[0] / 224)
