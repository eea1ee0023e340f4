"""The pixels of a planned synthetic video. Every frame is drawn independently, in float32, and rounded at the end.

Some versions of OpenCV interpolate at 1/32 px, others exactly. Sampling positions here are multiples of 1/32 px, so that
both agree.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Floats
from trackablate.datasets.sequence import Image
from trackablate.datasets.synthetic.bodies import Body
from trackablate.datasets.synthetic.domains import Domain, between, find_domain
from trackablate.datasets.synthetic.plan import CAMERA_MARGIN, Plan, VideoSpec
from trackablate.datasets.synthetic.textures import (
    Texture,
    TexturePool,
    as_texture,
    cut,
    draw_colour,
    pick,
    resize,
    texture_pool,
)

_SKIN = 64  # side of a body's texture
_REACH = 1.6  # body coordinates that the texture spans on each side of the origin
_SUPERSAMPLING = 3
_LONGEST_SMEAR = 9.0  # pixels


@dataclass(frozen=True, eq=False)
class Skin:
    """The two sides of a body, RGB (64, 64, 3) each."""

    front: Texture
    back: Texture


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is painted once per video.

    Attributes:
        canvas: The background, (H + 2 margin, W + 2 margin, 3).
        shadow: A field (H + 64, W + 64, 3); each frame is darkened by the window at its position on the shadow's path.
        pattern: The sensor's fixed pattern, (H, W, 3).
    """

    plan: Plan
    canvas: Texture
    target: Skin
    extras: tuple[Skin, ...]
    shadow: Texture
    pattern: Texture
    grain: Texture
    noise: float
    defocus: float
    grain_offsets: NDArray[np.int64]


@lru_cache(maxsize=16)
def paint_scene(plan: Plan) -> Scene:
    """Paint the textures, light fields and noise of one plan. The last few scenes are kept."""
    video, domain = plan.video, find_domain(plan.video.key.domain)
    pool, rng = texture_pool(video.key), video.key.generator("paint", video.index)
    width, height = video.size
    margin = _margin(video)
    treat = _colour_treatment(rng, domain)
    canvas = _background(rng, pool, width + 2 * margin, height + 2 * margin)
    painter = _SkinPainter(rng, pool, domain, canvas)
    target = painter.target()
    extras = tuple(painter.extra(extra.look, target) for extra in plan.extras)
    shade = resize(pick(rng, pool.clouds)[:160, :160], width + 64, height + 64)
    depth = domain.shadow * rng.random()
    columns = domain.fixed_pattern * rng.standard_normal(width)
    return Scene(
        plan=plan, canvas=treat(canvas),
        target=Skin(treat(target.front), treat(target.back)),
        extras=tuple(Skin(treat(s.front), treat(s.back)) for s in extras),
        shadow=as_texture(1 - depth * np.clip(shade * 2 + 0.5, 0, 1))[..., None].repeat(3, axis=2),
        pattern=as_texture(np.broadcast_to(columns[:, None], (height, width, 3)) + 0.0),
        grain=pool.grain, noise=between(rng, domain.noise), defocus=between(rng, domain.defocus) * video.unit,
        grain_offsets=rng.integers(0, 1 << 16, (video.length, 2)),
    )  # fmt: skip


def _margin(video: VideoSpec) -> int:
    return int(np.ceil(CAMERA_MARGIN * video.unit)) + 1


def _colour_treatment(rng: np.random.Generator, domain: Domain) -> Callable[[Texture], Texture]:
    """Draw the camera's change of colours, an affine map of RGB onto 0..255."""
    sign = -1 if rng.random() < domain.invert else 1
    desaturation, gain = between(rng, domain.desaturation), sign * between(rng, domain.contrast)
    grey = np.array([0.299, 0.587, 0.114])[:, None] * np.ones(3)
    matrix = as_texture(255 * gain * (desaturation * grey + (1 - desaturation) * np.eye(3)))
    offset = np.float32(255 * (0.47 - 0.47 * gain))
    return lambda image: as_texture(image.reshape(-1, 3) @ matrix + offset).reshape(image.shape)


def _background(rng: np.random.Generator, pool: TexturePool, width: int, height: int) -> Texture:
    """Join two pieces of the pool, one coarse and one fine, along a soft random border under uneven light."""
    near = cut(rng, pick(rng, pool.tiles), (120, 256), width, height)
    far = cut(rng, pick(rng, pool.tiles), (120, 256), width, height)
    border = cut(rng, pick(rng, pool.clouds), (60, 160), width, height)
    join = np.clip((border + np.float32(rng.random() - 0.5)) * 6 + np.float32(0.5), 0, 1)[..., None]
    slope = np.linspace(0.12, -0.12, height, dtype=np.float32)[:, None, None] * np.float32(rng.random())
    return as_texture(np.clip(near + join * (far - near) + slope, 0, 1))


@dataclass(frozen=True, eq=False)
class _SkinPainter:
    """Paints the textures of bodies in front of one background."""

    rng: np.random.Generator
    pool: TexturePool
    domain: Domain
    canvas: Texture

    def target(self) -> Skin:
        first = self._colour(candidates=1 if self.rng.random() < self.domain.camouflage else 4)
        second = 0.5 * first + 0.5 * self._colour(candidates=2)
        return Skin(self._paint(first), self._paint(second))

    def extra(self, look: str, target: Skin) -> Skin:
        if look == "cover":
            return self._plain(self._shaded(cut(self.rng, pick(self.rng, self.pool.tiles), (40, 120), _SKIN, _SKIN)))
        if look == "twin":
            change = as_texture(0.04 * self.rng.standard_normal(3))
            return Skin(target.front[:, ::-1] + change, target.back[::-1] + change)
        return self._plain(self._paint(self._colour(candidates=2)))

    def _plain(self, texture: Texture) -> Skin:
        return Skin(texture, texture)

    def _colour(self, candidates: int) -> Floats:
        """Draw candidates and return the one farthest from the background's mean colour."""
        mean = self.canvas[::8, ::8].mean((0, 1), dtype=np.float64)
        spread = 1.3 * self.domain.luminance_spread, 1.5 * self.domain.chroma_spread
        colours = [draw_colour(self.rng, *spread) for _ in range(candidates)]
        return max(colours, key=lambda c: float(np.abs(c - mean).sum()))

    def _paint(self, colour: Floats) -> Texture:
        """Paint leaves around a colour, sometimes with stripes, spots or a second patch."""
        rng = self.rng
        leaves = cut(rng, pick(rng, self.pool.tiles), (36, 90), _SKIN, _SKIN)
        texture = as_texture(colour) + (0.5 + 0.5 * rng.random()) * (leaves - leaves.mean((0, 1), dtype=np.float64))
        mask = self._marking()
        mark = as_texture(colour + 1.2 * (draw_colour(rng, 0.25, self.domain.chroma_spread) - 0.45))
        return self._shaded(as_texture(texture + mask[..., None] * (mark - texture)))

    def _marking(self) -> Texture:
        """Draw the share of the second colour in each pixel, (64, 64), 0..1."""
        rng, line = self.rng, np.linspace(-1, 1, _SKIN)
        turn, rate = np.pi * rng.random(), 3 + 5 * rng.random()
        across = line[:, None] * np.sin(turn) + line[None] * np.cos(turn)
        kind = rng.random()
        if kind < 0.3:
            field = np.sin(rate * across * 2) * 3 - 0.5
        elif kind < 0.7:
            field = cut(rng, pick(rng, self.pool.clouds), (40, 100), _SKIN, _SKIN) * 4 - 3
        else:
            field = across * 6 - 2 * rng.random()
        return as_texture(np.clip(field, 0, 1) * 0.8)

    def _shaded(self, texture: Texture) -> Texture:
        """Light the texture from one side and darken its rim, like a solid."""
        line = np.linspace(-_REACH, _REACH, _SKIN)
        x, y, turn = line[None], line[:, None], 2 * np.pi * self.rng.random()
        light = 1.06 - 0.14 * (x * x + y * y) + 0.16 * (x * np.cos(turn) + y * np.sin(turn))
        return as_texture(np.clip(texture * as_texture(np.clip(light, 0.45, 1.3))[..., None], 0, 1))


def coverage(parts: Floats, window: tuple[int, int, int, int]) -> Texture:
    """Return the share of each pixel of a window (x0, y0, x1, y1) that polygons (P, V, 2) cover together.

    Exact along x, by a few lines per pixel along y. cv2.fillPoly is not used: its edges differ between OpenCV 4 and 5.
    """
    x0, y0, x1, y1 = window
    count, rows, width = len(parts), (y1 - y0) * _SUPERSAMPLING, x1 - x0
    lines = (y0 + (np.arange(rows) + 0.5) / _SUPERSAMPLING)[None, :, None]
    x, y = parts[:, None, :, 0], parts[:, None, :, 1]
    end_x, end_y = np.roll(x, -1, -1), np.roll(y, -1, -1)
    part, row, edge = np.nonzero((y <= lines) != (end_y <= lines))
    x, y, end_x, end_y = (v[part, 0, edge] for v in (x, y, end_x, end_y))
    crossing = np.clip(x + (lines[0, row, 0] - y) / (end_y - y) * (end_x - x) - x0, 0, width)
    # Each crossing switches the line on or off to its right. Sum the switches, then accumulate along the line.
    column = np.floor(crossing).astype(np.intp)
    first = (part * rows + row) * (width + 2) + column
    sign, rest = np.sign(end_y - y), crossing - column
    weights = np.append(sign * (1 - rest), sign * rest)
    switches = np.bincount(np.append(first, first + 1), weights, count * rows * (width + 2))
    filled = np.abs(np.cumsum(switches.reshape(count, rows, width + 2), axis=2)[:, :, :width]).max(0)
    return as_texture(np.clip(filled.reshape(y1 - y0, _SUPERSAMPLING, width).mean(1), 0, 1))


def _draw(image: Texture, body: Body, texture: Texture, at: tuple[int, Floats]) -> None:
    """Blend one body into the image. `at` is the frame and the blur path of its motion, (2,) pixels."""
    frame, smear = at
    pad = 2 + int(np.abs(smear).max() / 2)
    height, width = image.shape[:2]
    parts = body.outline[frame]
    low, high = np.floor(parts.min((0, 1))).astype(int) - pad, np.ceil(parts.max((0, 1))).astype(int) + pad
    x0, y0, x1, y1 = max(int(low[0]), 0), max(int(low[1]), 0), min(int(high[0]), width), min(int(high[1]), height)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    covered = cv2.GaussianBlur(coverage(parts, (x0, y0, x1, y1)), (3, 3), 0.6)
    alpha = as_texture(cv2.cvtColor(covered, cv2.COLOR_GRAY2RGB))
    colour = _sample(body, texture, frame, (x0, y0, x1, y1))
    region = image[y0:y1, x0:x1]
    region *= 1 - _smear(alpha, smear)
    region += _smear(colour * alpha, smear)


def _sample(body: Body, texture: Texture, frame: int, window: tuple[int, int, int, int]) -> Texture:
    """Sample the texture as bent and placed in one frame, over a window of the frame."""
    x0, y0, x1, y1 = window
    inverse = np.linalg.inv(body.matrix[frame])
    x = np.arange(x0, x1) + 0.5 - body.centre[frame, 0]
    y = (np.arange(y0, y1) + 0.5 - body.centre[frame, 1])[:, None]
    points = np.stack([x * inverse[k, 0] + y * inverse[k, 1] for k in (0, 1)], -1)
    # One fixed-point step inverts the bend well enough for a texture; the outline itself is placed exactly.
    points = points - body.bend(points, frame)
    at = as_texture(np.rint(((points / _REACH + 1) * (_SKIN / 2) - 0.5) * 32) / 32)
    return as_texture(cv2.remap(texture, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def _smear(image: Texture, motion: Floats) -> Texture:
    """Blur the image along a straight path of `motion` (2,) pixels, at most nine."""
    length = float(np.hypot(*motion))
    if length < 1.5:
        return image
    motion = motion * min(1.0, _LONGEST_SMEAR / length)
    half = int(np.ceil(np.abs(motion).max() / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for step in np.linspace(-0.5, 0.5, 9):
        x, y = np.rint(half + step * motion).astype(int)
        kernel[y, x] += 1 / 9
    return as_texture(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE))


def velocity(path: Floats, frame: int) -> Floats:
    """Return the motion (2,) per frame of a path (N, 2), by central differences, one-sided at the ends."""
    before, after = max(frame - 1, 0), min(frame + 1, len(path) - 1)
    return np.asarray((path[after] - path[before]) / max(after - before, 1))


def _shifted(canvas: Texture, corner: Floats, width: int, height: int) -> Texture:
    """Return the window of the canvas whose top-left corner is at fractional (x, y)."""
    x, y = np.floor(corner).astype(int)
    fx, fy = (np.float32(v) for v in corner - np.floor(corner))
    rows = canvas[y : y + height + 1, x : x + width + 1]
    rows = rows[:-1] + fy * (rows[1:] - rows[:-1])
    return as_texture(rows[:, :-1] + fx * (rows[:, 1:] - rows[:, :-1]))


def render_frame(scene: Scene, frame: int) -> Image:
    """Draw frame number `frame` of a scene, RGB uint8."""
    plan = scene.plan
    width, height = plan.video.size
    pan = plan.shutter * velocity(plan.camera, frame)
    image = _shifted(scene.canvas, plan.camera[frame] + _margin(plan.video), width, height)
    image = _smear(image, pan)
    share = np.float32(plan.turnover[frame])
    layers = [(e.front, e.body, skin) for e, skin in zip(plan.extras, scene.extras, strict=True)]
    layers.append((False, plan.target, scene.target))
    for _, body, skin in sorted(layers, key=lambda layer: layer[0]):
        texture = skin.front if skin.front is skin.back else skin.front + share * (skin.back - skin.front)
        _draw(image, body, texture, (frame, plan.shutter * velocity(body.centre, frame)))
    return _expose(scene, image, frame)


def _expose(scene: Scene, image: Texture, frame: int) -> Image:
    light, (height, width) = scene.plan.light, image.shape[:2]
    sx, sy = light.shadow[frame].astype(int)
    image *= scene.shadow[sy : sy + height, sx : sx + width]
    # Whole rows at once: numpy is slow where the innermost axis has only three elements.
    image.reshape(height, -1)[:] *= np.tile(as_texture(light.gain[frame]), width)
    bow = light.bow[frame]
    curve = image * np.float32(-bow / 255)
    curve += np.float32(1 + bow)
    image *= curve
    image = as_texture(cv2.GaussianBlur(image, (5, 5), scene.defocus))
    v, u = scene.grain_offsets[frame] % (np.array(scene.grain.shape[:2]) - (height, width) + 1)
    image += np.float32(scene.noise) * scene.grain[v : v + height, u : u + width]
    image += scene.pattern
    np.rint(image, out=image)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)
