"""Natural-looking textures: dead leaves (overlapping opaque shapes of power-law sizes) with 1/f noise inside.

Dead leaves share the edge, scale and occlusion statistics of photographs (Lee, Mumford and Huang, "Occlusion models
for natural images", IJCV 2001), so that filters learned on them are useful on real video.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from trackablate.datasets.synthetic.domains import StreamKey, find_domain

Texture = NDArray[np.float32]
"""Linear grey or RGB values around 0..1, shape (height, width) or (height, width, 3), float32."""

TILE = 256
_TILES = 20
_LEAVES = 260
_STAMP = 64
# Yellow-blue and red-green, in which natural colours vary far less than in brightness (Ruderman et al., JOSA A 1998).
_OPPONENT = np.array([[0.5, 0.3, -0.8], [1.0, -0.7, -0.3]])
_MIDDLE = 0.45


@dataclass(frozen=True, eq=False)
class TexturePool:
    """The material of all sequences of one stream.

    Attributes:
        tiles: RGB, (256, 256, 3) each.
        clouds: Scalar 1/f noise, zero mean, unit deviation, (256, 256) each.
        grain: Sensor noise of unit deviation, (512, 512, 3).
    """

    tiles: tuple[Texture, ...]
    clouds: tuple[Texture, ...]
    grain: Texture


def as_texture(values: ArrayLike) -> Texture:
    """Return the same numbers as float32."""
    return np.asarray(values, dtype=np.float32)


def resize(image: Texture, width: int, height: int) -> Texture:
    """Resample bilinearly in float. Versions of OpenCV differ by much less than a grey level."""
    return as_texture(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def clouds(rng: np.random.Generator, side: int = TILE, coarsest: int = 3, decay: float = 0.62) -> Texture:
    """Draw scalar noise of several octaves with falling amplitude, zero mean and unit deviation, (side, side)."""
    total = np.zeros((side, side), np.float32)
    cells, amplitude = coarsest, 1.0
    while cells <= side:
        grid = as_texture(rng.random((cells, cells)) - 0.5)
        total += np.float32(amplitude) * as_texture(cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC))
        cells, amplitude = cells * 2, amplitude * decay
    return as_texture((total - total.mean(dtype=np.float64)) / total.std(dtype=np.float64))


def draw_colour(rng: np.random.Generator, luminance_spread: float, chroma_spread: float) -> NDArray[np.float64]:
    """Draw one RGB colour (3,) in 0.03..0.97, with channels correlated as in photographs."""
    grey, *chroma = rng.standard_normal(3) * (luminance_spread, chroma_spread / _MIDDLE, 0.5 * chroma_spread / _MIDDLE)
    return np.asarray(np.clip(np.clip(_MIDDLE + grey, 0.04, 0.96) * (1 + chroma @ _OPPONENT), 0.03, 0.97))


def blob_radius(rng: np.random.Generator, angles: NDArray[np.float64], wobble: float) -> NDArray[np.float64]:
    """Draw a smooth closed outline, as its radius at each angle: 1 plus four random Fourier terms."""
    orders = np.arange(2, 6)
    weights = wobble * (rng.random(4) + 0.2) / (orders - 1)
    phases = 2 * np.pi * rng.random(4)
    return np.asarray(1 + (weights * np.cos(angles[..., None] * orders + phases)).sum(-1), dtype=np.float64)


def _stamps(rng: np.random.Generator, count: int = 14) -> list[Texture]:
    """Draw soft masks (64, 64) of blobs and of a few shapes with straight edges."""
    y, x = (np.mgrid[0:_STAMP, 0:_STAMP] + 0.5) / _STAMP * 2 - 1
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    masks = []
    for i in range(count):
        if i % 4 == 3:
            turn = np.pi * rng.random()
            u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
            inside = np.minimum(0.85 - np.abs(u), 0.2 + 0.4 * rng.random() - np.abs(v))
        else:
            inside = 0.72 * blob_radius(rng, angle, 0.22) - radius
        masks.append(as_texture(np.clip(inside * _STAMP / 4 + 0.5, 0, 1)))
    return masks


def _paste(tile: Texture, mask: Texture, leaf: Texture, x: int, y: int) -> None:
    """Cover the tile with a leaf whose top-left corner is (x, y), cut at the border."""
    side = mask.shape[0]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + side, TILE), min(y + side, TILE)
    if x0 >= x1 or y0 >= y1:
        return
    cut = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    region = tile[y0:y1, x0:x1]
    region += mask[cut][..., None] * (leaf[cut] - region)


def _dead_leaves(
    rng: np.random.Generator, key: StreamKey, stamps: list[Texture], noises: tuple[Texture, ...]
) -> Texture:
    """Draw one RGB tile. Its colours scatter around the tile's mean, so that tiles differ from each other."""
    domain = find_domain(key.domain)
    mean = draw_colour(rng, 0.7 * domain.luminance_spread, domain.chroma_spread)
    tint = as_texture(1 + 0.25 * (rng.random(3) - 0.5))
    tile = as_texture(mean) + np.float32(domain.roughness) * noises[0][..., None] * tint
    low, high = (r ** (1 - domain.leaf_exponent) for r in domain.leaf_radii)
    radii = (low + (high - low) * rng.random(_LEAVES)) ** (1 / (1 - domain.leaf_exponent))
    # Large leaves tend to come first: in random order, one leaf would often cover so small a tile.
    order = np.argsort(-np.log(radii) + 0.7 * rng.standard_normal(_LEAVES), kind="stable")
    for radius in radii[order]:
        side = max(int(2 * radius), 6)
        mask = resize(stamps[int(rng.integers(len(stamps)))], side, side)
        noise = noises[int(rng.integers(len(noises)))]
        u, v = rng.integers(0, TILE - side + 1, 2)
        spread = rng.random()
        colour = mean * draw_colour(rng, domain.luminance_spread * (0.3 + spread), domain.chroma_spread) / _MIDDLE
        grain = noise[v : v + side, u : u + side] * np.float32(domain.roughness * 1.4 * rng.random())
        ramp = np.linspace(-1, 1, side, dtype=np.float32) * np.float32(0.12 * (2 * rng.random() - 1))
        shade = grain + (ramp[:, None] if rng.random() < 0.6 else ramp[None, :])
        x, y = rng.integers(-side // 2, TILE - side // 2, 2)
        _paste(tile, mask, as_texture(colour + shade[..., None] * tint), int(x), int(y))
    return as_texture(np.clip(tile, 0, 1))


@lru_cache(maxsize=8)
def texture_pool(key: StreamKey) -> TexturePool:
    """Return the pool of one domain, split and seed. It is made at first use (about half a second) and kept."""
    rng = key.generator("pool")
    noises = tuple(clouds(rng, coarsest=2 + i % 6, decay=0.5 + 0.05 * (i % 6)) for i in range(8))
    stamps = _stamps(rng)
    tiles = tuple(_dead_leaves(rng, key, stamps, noises) for _ in range(_TILES))
    colour = find_domain(key.domain).noise_chroma
    grain = (1 - colour) * rng.standard_normal((512, 512, 1)) + colour * rng.standard_normal((512, 512, 3))
    return TexturePool(tiles, noises, as_texture(grain / np.hypot(colour, 1 - colour)))


def cut(rng: np.random.Generator, image: Texture, sides: tuple[int, int], width: int, height: int) -> Texture:
    """Cut a random square piece with a side drawn from `sides`, turn and mirror it at random, and resample it."""
    side = int(rng.integers(sides[0], min(sides[1], image.shape[0]) + 1))
    x, y = rng.integers(0, image.shape[1] - side + 1), rng.integers(0, image.shape[0] - side + 1)
    piece = np.rot90(image[y : y + side, x : x + side], int(rng.integers(4)))
    piece = piece[:, ::-1] if rng.random() < 0.5 else piece
    return resize(np.ascontiguousarray(piece), width, height)


def pick(rng: np.random.Generator, images: tuple[Texture, ...]) -> Texture:
    """Draw one of the images uniformly."""
    return images[int(rng.integers(len(images)))]
