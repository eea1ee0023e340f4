"""The plan of one synthetic video, made before any pixel is drawn: bodies, camera, light, boxes, visibility."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Floats
from trackablate.datasets.synthetic.bodies import (
    Body,
    Figure,
    bar_figure,
    blob_figure,
    bounds,
    covered,
    rotations,
    smooth_track,
)
from trackablate.datasets.synthetic.domains import Domain, Range, StreamKey, between, find_domain

MIN_SIDE = 6.0
"""A target with a clipped side below this many pixels is not visible."""
MIN_VISIBLE = 0.05
"""A target with a smaller visible share of its area is not visible."""
CAMERA_MARGIN = 40
"""The background reaches this many pixels beyond the frame on each side."""
_GRID = 64.0  # boxes are multiples of 1/64 px, to hide differences of libm between machines
_REFERENCE_HEIGHT = 120.0


@dataclass(frozen=True)
class VideoSpec:
    """The identity of a synthetic video: stream, index, number of frames, and frame size (width, height)."""

    key: StreamKey
    index: int
    length: int
    size: tuple[int, int]

    @property
    def unit(self) -> float:
        """Ratio of the frame's height to 120 pixels."""
        return self.size[1] / _REFERENCE_HEIGHT


@dataclass(frozen=True, eq=False)
class Extra:
    """A body other than the target. Its look is "twin" or "kin" of the target, or "cover" (drawn from the background)."""

    body: Body
    look: str
    front: bool


@dataclass(frozen=True, eq=False)
class Light:
    """The light of each frame: gain (N, 3) per channel, bow (N,) of the tone curve, path (N, 2) of the shadow field."""

    gain: Floats
    bow: Floats
    shadow: Floats


@dataclass(frozen=True, eq=False)
class Plan:
    """The whole video as geometry and numbers.

    Attributes:
        camera: (N, 2), position of the camera, pixels.
        turnover: (N,), 0 shows the target's first side, 1 its second.
        shutter: Share of a frame's time during which the shutter is open.
        boxes: (N, 4), (x, y, w, h) of the target's outline, occluded or not, clipped to the frame.
        inside: (N,), share of the target's area within the frame.
        occluded: (N,), share of the area within the frame but hidden by a body in front.
        seen: (N,), share of the area that can be seen.
        visible: (N,), whether enough can be seen (MIN_SIDE, MIN_VISIBLE).
    """

    video: VideoSpec
    target: Body
    extras: tuple[Extra, ...]
    camera: Floats
    light: Light
    turnover: Floats
    shutter: float
    boxes: Floats
    inside: Floats
    occluded: Floats
    seen: Floats
    visible: NDArray[np.bool_]


@dataclass(frozen=True)
class _Draws:
    """Random draws for one video, with its domain and difficulty."""

    rng: np.random.Generator
    video: VideoSpec
    domain: Domain
    difficulty: float

    def track(self, interval: float, channels: int) -> Floats:
        return smooth_track(self.rng, self.video.length, interval, channels)

    def amount(self, limits: Range) -> float:
        return between(self.rng, limits)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)


def make_plan(video: VideoSpec) -> Plan:
    """Plan a video. Equal specifications give equal plans, whatever was made before."""
    domain = find_domain(video.key.domain)
    rng = video.key.generator("plan", video.index)
    draws = _Draws(rng, video, domain, between(rng, domain.difficulty))
    camera = _camera(draws)
    target = _target(draws, camera)
    side = 2 * float(np.sqrt(np.linalg.det(target.matrix[0])))
    crowd = [_companion(draws, target, side) for _ in range(int(rng.integers(domain.distractors + 1)))]
    covers = [_occluder(draws, target, side, camera) for _ in range(int(rng.integers(domain.occluders + 1)))]
    points, weights = target.samples()
    extras = _keep_start_clear([*crowd, *covers], points)
    width, height = video.size
    within = ((points >= 0) & (points <= (width, height))).all(-1)
    hidden = np.zeros_like(within)
    for extra in extras:
        if extra.front:
            hidden |= covered(points, extra.body.outline)
    boxes, sides = _boxes(target.outline, width, height)
    seen = (within & ~hidden) @ weights
    return Plan(
        video=video, target=target, extras=extras, camera=camera, light=_light(draws),
        turnover=np.clip(0.5 + draws.track(14, 1)[:, 0], 0, 1) * domain.turnover,
        shutter=draws.amount(domain.shutter), boxes=boxes, inside=within @ weights,
        occluded=(within & hidden) @ weights, seen=seen,
        visible=(seen >= MIN_VISIBLE) & (sides >= MIN_SIDE),
    )  # fmt: skip


def _boxes(outline: Floats, width: int, height: int) -> tuple[Floats, Floats]:
    """Return clipped boxes (N, 4) on the 1/64 px grid and their shorter sides (N,)."""
    low, high = (np.clip(np.rint(c * _GRID) / _GRID, 0, (width, height)) for c in bounds(outline))
    return np.concatenate([low, high - low], axis=1), (high - low).min(1)


def _camera(draws: _Draws) -> Floats:
    domain, unit = draws.domain, draws.video.unit
    path = draws.track(14, 2) * domain.pan * min(draws.difficulty, 1.2)
    jitter = (2 * draws.rng.random((draws.video.length, 2)) - 1) * domain.shake * draws.difficulty
    return np.asarray(np.clip(path + jitter, 1 - CAMERA_MARGIN, CAMERA_MARGIN - 1) * unit)


def _animate(draws: _Draws, figure: Figure, radius: float) -> Body:
    """Let a figure turn, grow, stretch, bend and swing its limbs about the origin."""
    domain, hard = draws.domain, draws.difficulty
    tracks = draws.track(12, 3) * (domain.scale * hard, domain.aspect * hard, domain.rotation * hard)
    stretch = radius * np.exp(tracks[:, :1] + np.stack([tracks[:, 1], -tracks[:, 1]], -1))
    matrix = rotations(tracks[:, 2]) * stretch[:, None, :]
    time = np.arange(draws.video.length)[:, None]
    rates, starts = 0.15 + 0.25 * draws.rng.random(2), 2 * np.pi * draws.rng.random(2)
    return Body(
        figure=figure,
        swing=draws.track(6, len(figure.hinges)) * domain.swing * hard * (np.arange(len(figure.hinges)) > 0),
        wave=1.5 + 1.5 * draws.rng.random((2, 2)) * (1, -1),
        push=domain.bend * hard * (2 * draws.rng.random((2, 2)) - 1),
        phase=starts + rates * time,
        matrix=matrix,
        centre=np.zeros((draws.video.length, 2)),
    )


def _within_sizes(body: Body, size: tuple[int, int]) -> Body:
    """Grow or shrink the body in every frame in which it would be too small to see or too large to track."""
    low, high = bounds(body.outline)
    sides = high - low
    grow = np.maximum(1, (MIN_SIDE + 2) / sides.min(1))
    shrink = np.minimum(1, 0.6 * min(size) / (sides * grow[:, None]).max(1))
    return replace(body, matrix=body.matrix * (grow * shrink)[:, None, None])


def _fold(path: Floats, low: Floats, high: Floats) -> Floats:
    """Reflect a path (N, 2) at walls, so that it stays between low and high."""
    span = np.maximum(high - low, 1.0)
    return np.asarray(low + span - np.abs((path - low) % (2 * span) - span))


def _target(draws: _Draws, camera: Floats) -> Body:
    radius = draws.amount(draws.domain.radius) * draws.video.unit
    body = _animate(draws, blob_figure(draws.rng, (0, 0, 2, 3)[int(draws.rng.integers(4))]), radius)
    body = _within_sizes(body, draws.video.size)
    frame = np.array(draws.video.size, dtype=np.float64)
    low, high = (c[0] for c in bounds(body.outline))
    start = 1 - low + draws.rng.random(2) * (frame - 2 - high + low)
    path = start + _wander(draws, 2 * radius) - (camera - camera[0]) * 0.3
    overhang = high if draws.chance(draws.domain.leaves_frame) else -high
    overhang = overhang * (1.6 if overhang[0] > 0 else 0.9)
    walls_low, walls_high = np.minimum(-overhang, start), np.maximum(frame + overhang, start)
    return body.moved(_fold(path, walls_low, walls_high))


def _wander(draws: _Draws, side: float) -> Floats:
    """Draw a smooth path (N, 2) from the origin with a few sudden moves."""
    length = draws.video.length
    track = draws.track(10, 2)
    path = (track - track[0]) * draws.domain.speed * draws.difficulty * side
    for _ in range(int(length * draws.domain.fast_moves * draws.difficulty + draws.rng.random())):
        begin, turn = draws.rng.random() * length, 2 * np.pi * draws.rng.random()
        ramp = np.clip((np.arange(length) - begin) / 3, 0, 1)
        jump = side * (0.8 + 1.6 * draws.rng.random()) * np.array([np.cos(turn), np.sin(turn)])
        path += (ramp * ramp * (3 - 2 * ramp))[:, None] * jump
    return np.asarray(path - path[0])


def _companion(draws: _Draws, target: Body, side: float) -> Extra:
    """Draw a body that stays near the target, circles it, and sometimes crosses it."""
    twin = draws.chance(draws.domain.twins)
    limbs = len(target.figure.hinges) - 1 if twin else (0, 2, 3)[int(draws.rng.integers(3))]
    figure = blob_figure(draws.rng, limbs)
    if twin and limbs == 0:
        figure = Figure(0.7 * target.figure.parts + 0.3 * figure.parts, figure.hinges)
    body = _within_sizes(_animate(draws, figure, side / 2 * (0.75 + 0.5 * draws.rng.random())), draws.video.size)
    orbit = draws.track(12, 2)
    angle = 2 * np.pi * draws.rng.random() + 1.8 * orbit[:, 0]
    distance = side * (1.9 + 1.6 * orbit[:, 1])
    follow = (0.0, 0.5, 1.0)[int(draws.rng.integers(3))]
    home = target.centre[0] + follow * (target.centre - target.centre[0])
    body = body.moved(home + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1))
    return Extra(body, "twin" if twin else "kin", front=draws.chance(0.5))


def _occluder(draws: _Draws, target: Body, side: float, camera: Floats) -> Extra:
    """Draw a bar or blob in front that meets the target in some frame, and comes from away from it."""
    rng, length = draws.rng, draws.video.length
    if draws.chance(draws.domain.thick):
        figure, radius = blob_figure(rng, 0), side * (0.45 + 0.4 * rng.random())
    else:
        figure, radius = bar_figure(rng, 0.04 + 0.06 * rng.random(), 1.5), side * (1 + rng.random())
    meet = min(int(length * (0.2 + 0.8 * rng.random())), length - 1)
    turn = 2 * np.pi * rng.random() if draws.chance(0.3) else np.pi * int(rng.integers(2)) + 0.3 * rng.random()
    pace = max(0.5 + 2 * rng.random(), 1.6 * side / max(meet, 1))
    time = np.arange(length)[:, None] - meet
    own = time * pace * np.array([np.cos(turn), np.sin(turn)])
    aim = target.centre[meet] + 0.3 * side * (2 * rng.random(2) - 1)
    return Extra(_rigid(figure, radius, aim + own - 0.5 * (camera - camera[meet])), "cover", front=True)


def _rigid(figure: Figure, radius: float, centre: Floats) -> Body:
    length, none = len(centre), np.zeros((0, 2))
    still = np.broadcast_to(radius * np.eye(2), (length, 2, 2))
    return Body(figure, np.zeros((length, 1)), none, none, np.zeros((length, 0)), still, centre)


def _keep_start_clear(extras: list[Extra], points: Floats) -> tuple[Extra, ...]:
    """Keep the target free in frame 0: move companions that hide it behind it, and leave such occluders out."""
    kept = []
    for extra in extras:
        if extra.front and covered(points[:1], extra.body.outline[:1]).any():
            if extra.look == "cover":
                continue
            extra = replace(extra, front=False)
        kept.append(extra)
    return tuple(sorted(kept, key=lambda e: e.front))


def _light(draws: _Draws) -> Light:
    domain, hard = draws.domain, draws.difficulty
    tracks = draws.track(16, 7)
    gain = np.exp(hard * (domain.gain * tracks[:, :1] + domain.tint * tracks[:, 1:4]))
    return Light(gain=gain, bow=hard * domain.gamma * tracks[:, 4], shadow=np.abs(tracks[:, 5:7]) * 30)
