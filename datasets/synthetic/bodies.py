"""Moving outlines: smooth random tracks, and blob-shaped bodies with limbs that move along them.

Coordinates are pixels, x right, y down; pixel i covers [i, i + 1]. In a body's own coordinates, its outline at rest has
unit radius (half the geometric mean side) around the origin.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import Floats
from trackablate.datasets.synthetic.textures import blob_radius

VERTICES = 28


def smooth_track(rng: np.random.Generator, length: int, interval: float, channels: int) -> Floats:
    """Draw random tracks (length, channels) in about -1..1: Catmull-Rom splines through uniform knots `interval` apart."""
    knots = 2 * rng.random((int(length / interval) + 6, channels)) - 1
    at = np.arange(length) / interval + rng.random()
    i = np.floor(at).astype(np.intp)
    f = (at - i)[:, None]
    a, b, c, d = knots[i], knots[i + 1], knots[i + 2], knots[i + 3]
    return np.asarray(b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a))))


def rotations(angles: Floats) -> Floats:
    """Return the rotation matrices (..., 2, 2) of angles (...)."""
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


@dataclass(frozen=True, eq=False)
class Figure:
    """An outline at rest: parts (P, V, 2) are polygons star-shaped about their mean, hinges (P, 2) where they turn."""

    parts: Floats
    hinges: Floats

    def scaled(self, factor: Floats | float) -> "Figure":
        """Return the figure stretched about the origin."""
        return Figure(self.parts * factor, self.hinges * factor)


def blob_figure(rng: np.random.Generator, limbs: int) -> Figure:
    """Draw a blob of unit radius with that many limbs."""
    angles = 2 * np.pi * np.arange(VERTICES) / VERTICES
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    stretch = np.exp(np.array([0.5, -0.5]) * 0.9 * (rng.random() - 0.35))
    parts, hinges = [blob_radius(rng, angles, 0.16)[:, None] * circle * stretch], [np.zeros(2)]
    first = 2 * np.pi * rng.random()
    for limb in range(limbs):
        turn = rotations(np.array(first + 2 * np.pi * (limb + 0.4 * rng.random()) / limbs))
        length, width = 0.45 + 0.3 * rng.random(), 0.2 + 0.15 * rng.random()
        ellipse = circle * np.array([length, width]) * blob_radius(rng, angles, 0.08)[:, None]
        root = turn @ np.array([0.55, 0.0]) * stretch
        parts.append(root + (ellipse + np.array([length, 0])) @ turn.T)
        hinges.append(root)
    return _unit(Figure(np.stack(parts), np.stack(hinges)))


def bar_figure(rng: np.random.Generator, width: float, length: float) -> Figure:
    """Draw a straight bar of that half width and half length at a random angle, most often near upright."""
    corners = np.array([[-width, -length], [width, -length], [width, length], [-width, length]])
    tilt = 0.5 * (2 * rng.random() - 1) if rng.random() < 0.7 else np.pi * rng.random()
    return Figure((corners @ rotations(np.array(tilt)).T)[None], np.zeros((1, 2)))


def _unit(figure: Figure) -> Figure:
    low, high = figure.parts.min((0, 1)), figure.parts.max((0, 1))
    middle = (low + high) / 2
    moved = Figure(figure.parts - middle, figure.hinges - middle)
    return moved.scaled(2 / float(np.sqrt((high - low).prod())))


@dataclass(frozen=True, eq=False)
class Body:
    """A figure in motion over N frames.

    The bending field is the sum of push * sin(wave . point + phase) over K waves, in body coordinates. Then matrix and
    centre place the bent body in the frame.

    Attributes:
        swing: (N, P), rotation of each part about its hinge, radians.
        wave: (K, 2), frequencies of the bending field.
        push: (K, 2), amplitudes of the bending field.
        phase: (N, K), phases of the bending field.
        matrix: (N, 2, 2), pixels for each unit of body coordinates.
        centre: (N, 2), pixels.
    """

    figure: Figure
    swing: Floats
    wave: Floats
    push: Floats
    phase: Floats
    matrix: Floats
    centre: Floats

    def bend(self, points: Floats, frame: int | slice = slice(None)) -> Floats:
        """Return the displacement (..., 2) of body points (N, ..., 2), or of points (..., 2) in one frame."""
        phase = self.phase[frame]
        total = np.zeros_like(points)
        for k, (wave, push) in enumerate(zip(self.wave, self.push, strict=True)):
            shift = phase[..., k]
            extra = points.ndim - 1 - shift.ndim
            arc = points[..., 0] * wave[0] + points[..., 1] * wave[1] + shift.reshape(shift.shape + (1,) * extra)
            total += np.sin(arc)[..., None] * push
        return total

    def place(self, points: Floats) -> Floats:
        """Return the frame coordinates (N, P, Q, 2) of points (P, Q, 2) on the parts at rest."""
        hinges = self.figure.hinges[:, None]
        turned = (points - hinges) @ np.swapaxes(rotations(self.swing), -1, -2) + hinges
        bent = turned + self.bend(turned)
        return np.asarray(bent @ np.swapaxes(self.matrix, -1, -2)[:, None] + self.centre[:, None, None])

    @cached_property
    def outline(self) -> Floats:
        """The parts' polygons in every frame, (N, P, V, 2) pixels."""
        return self.place(self.figure.parts)

    def samples(self) -> tuple[Floats, Floats]:
        """Return points (N, Q, 2) that fill the parts evenly, and their shares of the area (Q,), which sum to 1."""
        parts = self.figure.parts
        middle = parts.mean(1, keepdims=True)
        rings = [middle + np.sqrt((ring + 0.5) / 3) * (parts[:, ring % 2 :: 2] - middle) for ring in range(3)]
        points = np.concatenate(rings, axis=1)
        x, y = parts[..., 0], parts[..., 1]
        area = np.abs((x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(1))
        weights = np.repeat(area / area.sum() / points.shape[1], points.shape[1])
        return self.place(points).reshape(len(self.centre), -1, 2), weights

    def moved(self, offset: Floats) -> "Body":
        """Return the body displaced by (N, 2) or (2,) pixels."""
        return replace(self, centre=self.centre + offset)


def bounds(outline: Floats) -> tuple[Floats, Floats]:
    """Return the lowest and the highest corner (N, 2) of outlines (N, P, V, 2)."""
    return outline.min((1, 2)), outline.max((1, 2))


def covered(points: Floats, outline: Floats) -> NDArray[np.bool_]:
    """Return which points (N, Q, 2) lie inside any part of an outline (N, P, V, 2), (N, Q), by crossing number."""
    inside = np.zeros(points.shape[:2], dtype=np.bool_)
    low, high = bounds(outline)
    near = ((points.max(1) >= low) & (points.min(1) <= high)).all(-1)
    if not near.any():
        return inside
    x, y = (points[near][..., None, k] for k in (0, 1))
    for part in range(outline.shape[1]):
        start = outline[near, part][:, None]
        end = np.roll(start, -1, axis=2)
        rise = end[..., 1] - start[..., 1]
        rise = np.where(rise == 0, 1, rise)
        crosses = (start[..., 1] > y) != (end[..., 1] > y)
        left = x < start[..., 0] + (y - start[..., 1]) * (end[..., 0] - start[..., 0]) / rise
        inside[near] |= (crosses & left).sum(-1) % 2 == 1
    return inside
