"""What happens in one synthetic video, decided before a pixel is drawn: bodies, camera, light, boxes, visibility."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.synthetic.bodies import (
    Body,
    Figure,
    Floats,
    bar_figure,
    blob_figure,
    covered,
    extent,
    rotations,
    smooth_track,
)
from trackablate.datasets.synthetic.domains import Domain, Range, StreamKey, between, find_domain

MIN_SIDE = 6.0
"""A target with a clipped side below this many pixels is not visible."""
MIN_VISIBLE = 0.05
"""A target with a smaller visible part of its area is not visible."""
CAMERA_MARGIN = 40
"""The background reaches this many pixels beyond the frame on each side."""
_GRID = 64.0  # boxes are multiples of 1/64 px, so that libm differences between machines cannot show
_REFERENCE_HEIGHT = 120.0


@dataclass(frozen=True)
class ClipPlan:
    """Which video: stream, index, number of frames, frame size (width, height)."""

    key: StreamKey
    index: int
    length: int
    size: tuple[int, int]

    @property
    def unit(self) -> float:
        """Pixels of this frame size per pixel of a frame 120 pixels high."""
        return self.size[1] / _REFERENCE_HEIGHT


@dataclass(frozen=True, eq=False)
class Extra:
    """A body that is not the target. look: "twin" or "kin" of the target, or "cover" (drawn from the background)."""

    body: Body
    look: str
    front: bool


@dataclass(frozen=True, eq=False)
class Light:
    """Per frame: gain (N, 3) per channel, bow (N,) of the tone curve, shadow (N, 2) path of the shadow field."""

    gain: Floats
    bow: Floats
    shadow: Floats


@dataclass(frozen=True, eq=False)
class Plan:
    """The whole video as geometry and numbers.

    camera (N, 2): where the camera looks, pixels. boxes (N, 4): (x, y, w, h), the target's outline, occluded or not,
    clipped to the frame. inside, occluded, seen (N,): shares of the target's area within the frame, hidden there by
    something in front, and visible. turnover (N,): 0 shows the target's first side, 1 its second.
    """

    clip: ClipPlan
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
class _Dice:
    """What every step of planning needs: the random generator, the clip, its domain and its difficulty."""

    rng: np.random.Generator
    clip: ClipPlan
    domain: Domain
    difficulty: float

    def track(self, interval: float, channels: int) -> Floats:
        return smooth_track(self.rng, self.clip.length, interval, channels)

    def amount(self, limits: Range) -> float:
        return between(self.rng, limits)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)


def make_plan(clip: ClipPlan) -> Plan:
    """The plan of a clip: the same for the same clip, whatever was made before."""
    domain = find_domain(clip.key.domain)
    rng = clip.key.generator("plan", clip.index)
    dice = _Dice(rng, clip, domain, between(rng, domain.difficulty))
    camera = _camera(dice)
    target = _target(dice, camera)
    side = 2 * float(np.sqrt(np.linalg.det(target.matrix[0])))
    crowd = [_companion(dice, target, side) for _ in range(int(rng.integers(domain.distractors + 1)))]
    covers = [_occluder(dice, target, side, camera) for _ in range(int(rng.integers(domain.occluders + 1)))]
    points, weights = target.samples()
    extras = _keep_start_clear([*crowd, *covers], points)
    width, height = clip.size
    within = ((points >= 0) & (points <= (width, height))).all(-1)
    hidden = np.zeros_like(within)
    for extra in extras:
        if extra.front:
            hidden |= covered(points, extra.body.outline)
    boxes, sides = _boxes(target.outline, width, height)
    seen = (within & ~hidden) @ weights
    return Plan(
        clip=clip, target=target, extras=extras, camera=camera, light=_light(dice),
        turnover=np.clip(0.5 + dice.track(14, 1)[:, 0], 0, 1) * domain.turnover,
        shutter=dice.amount(domain.shutter), boxes=boxes, inside=within @ weights,
        occluded=(within & hidden) @ weights, seen=seen,
        visible=(seen >= MIN_VISIBLE) & (sides >= MIN_SIDE),
    )  # fmt: skip


def _boxes(outline: Floats, width: int, height: int) -> tuple[Floats, Floats]:
    """Clipped boxes (N, 4) on the 1/64 px grid and their shorter sides (N,)."""
    low, high = (np.clip(np.rint(c * _GRID) / _GRID, 0, (width, height)) for c in extent(outline))
    return np.concatenate([low, high - low], axis=1), (high - low).min(1)


def _camera(dice: _Dice) -> Floats:
    domain, unit = dice.domain, dice.clip.unit
    path = dice.track(14, 2) * domain.pan * min(dice.difficulty, 1.2)
    jitter = (2 * dice.rng.random((dice.clip.length, 2)) - 1) * domain.shake * dice.difficulty
    return np.asarray(np.clip(path + jitter, 1 - CAMERA_MARGIN, CAMERA_MARGIN - 1) * unit)


def _animate(dice: _Dice, figure: Figure, radius: float) -> Body:
    """A figure that turns, grows, stretches, bends and swings its limbs about the origin."""
    domain, hard = dice.domain, dice.difficulty
    tracks = dice.track(12, 3) * (domain.scale * hard, domain.aspect * hard, domain.rotation * hard)
    stretch = radius * np.exp(tracks[:, :1] + np.stack([tracks[:, 1], -tracks[:, 1]], -1))
    matrix = rotations(tracks[:, 2]) * stretch[:, None, :]
    time = np.arange(dice.clip.length)[:, None]
    rates, starts = 0.15 + 0.25 * dice.rng.random(2), 2 * np.pi * dice.rng.random(2)
    return Body(
        figure=figure,
        swing=dice.track(6, len(figure.hinges)) * domain.swing * hard * (np.arange(len(figure.hinges)) > 0),
        wave=1.5 + 1.5 * dice.rng.random((2, 2)) * (1, -1),
        push=domain.bend * hard * (2 * dice.rng.random((2, 2)) - 1),
        phase=starts + rates * time,
        matrix=matrix,
        centre=np.zeros((dice.clip.length, 2)),
    )


def _within_sizes(body: Body, size: tuple[int, int]) -> Body:
    """The body grown or shrunk frame by frame where its extent would be too small to see or too large to track."""
    low, high = extent(body.outline)
    sides = high - low
    grow = np.maximum(1, (MIN_SIDE + 2) / sides.min(1))
    shrink = np.minimum(1, 0.6 * min(size) / (sides * grow[:, None]).max(1))
    return replace(body, matrix=body.matrix * (grow * shrink)[:, None, None])


def _fold(path: Floats, low: Floats, high: Floats) -> Floats:
    """Reflect a path (N, 2) at walls, so that it stays between low and high."""
    span = np.maximum(high - low, 1.0)
    return np.asarray(low + span - np.abs((path - low) % (2 * span) - span))


def _target(dice: _Dice, camera: Floats) -> Body:
    radius = dice.amount(dice.domain.radius) * dice.clip.unit
    body = _animate(dice, blob_figure(dice.rng, (0, 0, 2, 3)[int(dice.rng.integers(4))]), radius)
    body = _within_sizes(body, dice.clip.size)
    frame = np.array(dice.clip.size, dtype=np.float64)
    low, high = (c[0] for c in extent(body.outline))
    start = 1 - low + dice.rng.random(2) * (frame - 2 - high + low)
    path = start + _wander(dice, 2 * radius) - (camera - camera[0]) * 0.3
    overhang = high if dice.chance(dice.domain.leaves_frame) else -high
    overhang = overhang * (1.6 if overhang[0] > 0 else 0.9)
    walls_low, walls_high = np.minimum(-overhang, start), np.maximum(frame + overhang, start)
    return body.moved(_fold(path, walls_low, walls_high))


def _wander(dice: _Dice, side: float) -> Floats:
    """A smooth path (N, 2) from the origin with a few sudden moves; the camera is not always able to follow."""
    length = dice.clip.length
    track = dice.track(10, 2)
    path = (track - track[0]) * dice.domain.speed * dice.difficulty * side
    for _ in range(int(length * dice.domain.fast_moves * dice.difficulty + dice.rng.random())):
        begin, turn = dice.rng.random() * length, 2 * np.pi * dice.rng.random()
        ramp = np.clip((np.arange(length) - begin) / 3, 0, 1)
        jump = side * (0.8 + 1.6 * dice.rng.random()) * np.array([np.cos(turn), np.sin(turn)])
        path += (ramp * ramp * (3 - 2 * ramp))[:, None] * jump
    return np.asarray(path - path[0])


def _companion(dice: _Dice, target: Body, side: float) -> Extra:
    """A body that keeps near the target, circles and sometimes crosses it."""
    twin = dice.chance(dice.domain.twins)
    limbs = len(target.figure.hinges) - 1 if twin else (0, 2, 3)[int(dice.rng.integers(3))]
    figure = blob_figure(dice.rng, limbs)
    if twin and limbs == 0:
        figure = Figure(0.7 * target.figure.parts + 0.3 * figure.parts, figure.hinges)
    body = _within_sizes(_animate(dice, figure, side / 2 * (0.75 + 0.5 * dice.rng.random())), dice.clip.size)
    orbit = dice.track(12, 2)
    angle = 2 * np.pi * dice.rng.random() + 1.8 * orbit[:, 0]
    distance = side * (1.9 + 1.6 * orbit[:, 1])
    follow = (0.0, 0.5, 1.0)[int(dice.rng.integers(3))]
    home = target.centre[0] + follow * (target.centre - target.centre[0])
    body = body.moved(home + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1))
    return Extra(body, "twin" if twin else "kin", front=dice.chance(0.5))


def _occluder(dice: _Dice, target: Body, side: float, camera: Floats) -> Extra:
    """A bar or blob in front that meets the target at some frame, having come from where it did not touch it."""
    rng, length = dice.rng, dice.clip.length
    if dice.chance(dice.domain.thick):
        figure, radius = blob_figure(rng, 0), side * (0.45 + 0.4 * rng.random())
    else:
        figure, radius = bar_figure(rng, 0.04 + 0.06 * rng.random(), 1.5), side * (1 + rng.random())
    meet = min(int(length * (0.2 + 0.8 * rng.random())), length - 1)
    turn = 2 * np.pi * rng.random() if dice.chance(0.3) else np.pi * int(rng.integers(2)) + 0.3 * rng.random()
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
    """In frame 0 nothing hides the target: companions there go behind it, occluders are left out."""
    kept = []
    for extra in extras:
        if extra.front and covered(points[:1], extra.body.outline[:1]).any():
            if extra.look == "cover":
                continue
            extra = replace(extra, front=False)
        kept.append(extra)
    return tuple(sorted(kept, key=lambda e: e.front))


def _light(dice: _Dice) -> Light:
    domain, hard = dice.domain, dice.difficulty
    tracks = dice.track(16, 7)
    gain = np.exp(hard * (domain.gain * tracks[:, :1] + domain.tint * tracks[:, 1:4]))
    return Light(gain=gain, bow=hard * domain.gamma * tracks[:, 4], shadow=np.abs(tracks[:, 5:7]) * 30)
