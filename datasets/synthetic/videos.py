"""Synthetic tracking videos: deterministic, with exact boxes, generated when needed for training and tests.

The difficulty was set without any trained tracker. Results are comparable only within one GENERATOR_VERSION.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.boxes import Floats, centres
from trackablate.datasets.sequence import Image, Sequence
from trackablate.datasets.synthetic.domains import StreamKey
from trackablate.datasets.synthetic.plan import MIN_VISIBLE, Plan, VideoSpec, make_plan
from trackablate.datasets.synthetic.render import paint_scene, render_frame, velocity

GENERATOR_VERSION = 1
"""Part of every run's identity. Every change of the generated boxes or pixels must raise it."""

_SMALLEST, _LARGEST = 64, 480


class SyntheticFrames:
    """Frames that are drawn at first access, independently of each other, and kept."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._drawn: dict[int, Image] = {}

    def __len__(self) -> int:
        return self.plan.video.length

    def __getitem__(self, index: int, /) -> Image:
        frame = range(len(self))[index]
        if frame not in self._drawn:
            self._drawn[frame] = render_frame(paint_scene(self.plan), frame)
            self._drawn[frame].flags.writeable = False
        return self._drawn[frame]


def make_sequence(
    domain: str, index: int, *, length: int, size: tuple[int, int] = (160, 120), split: str = "train", seed: int = 0
) -> Sequence:
    """Return video number `index` of a domain and split, with a name such as "target-test-0007".

    Boxes are tight around the target's whole outline, occluded or not, clipped to the frame, in multiples of 1/64 px. The
    target is not visible if less than 5 % of its area can be seen or a clipped side is under 6 px. In frame 0 it is
    wholly inside the frame and unoccluded. Equal arguments give equal boxes on every machine, and pixels that are equal
    within one grey level. Frames are drawn at first access. The size is (width, height) in pixels. Raises ValueError for
    an unknown domain or split, a negative number, no frames, or a side outside 64..480.
    """
    if length < 1 or index < 0 or not all(_SMALLEST <= side <= _LARGEST for side in size):
        raise ValueError(
            f"need length >= 1, index >= 0 and sides of {_SMALLEST}..{_LARGEST}, got {length}, {index} and {size}"
        )
    plan = make_plan(VideoSpec(StreamKey(domain, split, seed), index, length, size))
    name, attributes = _name(domain, split, index), attributes_of(plan)
    return Sequence(name, SyntheticFrames(plan), plan.boxes, plan.visible, attributes, size)


def _name(domain: str, split: str, index: int) -> str:
    return f"{domain}-{split}-{index:04d}"


@dataclass(frozen=True)
class SyntheticSequences(SequenceList):
    """The first `count` sequences of one domain and split.

    Each access plans its sequence again and draws no frame; a kept `Sequence` keeps its drawn frames. The splits "train",
    "val" and "test" share neither random numbers nor textures.
    """

    domain: str
    split: str
    count: int
    length: int
    size: tuple[int, int] = (160, 120)
    seed: int = 0

    def __post_init__(self) -> None:
        StreamKey(self.domain, self.split, self.seed)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Sequence:
        number = range(self.count)[index]
        return make_sequence(self.domain, number, length=self.length, size=self.size, split=self.split, seed=self.seed)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """See SequenceList. Plans no sequence."""
        return tuple(_name(self.domain, self.split, i) for i in range(self.count))

    @property
    def coverage(self) -> str:
        """See SequenceList."""
        return f"{self.count} of {self.count} sequences"

    def digest(self) -> str:
        """Return the SHA-256 of the generator's version and arguments, which determine every box on every machine."""
        arguments = [GENERATOR_VERSION, self.domain, self.split, self.count, self.length, self.size, self.seed]
        return sha256(json.dumps(arguments).encode()).hexdigest()

    def stamp(self, index: int) -> str:
        """See SequenceList."""
        return f"{self.digest()}:{index}"

    def lengths(self) -> tuple[int, ...]:
        """See SequenceList. Plans no sequence."""
        return (self.length,) * self.count


def _swing(values: Floats) -> float:
    """Return the largest minus the smallest value, 0 without values."""
    return float(np.ptp(values)) if values.size else 0.0


def attributes_of(plan: Plan) -> frozenset[str]:
    """Return LaSOT's attributes of a plan. Lengths are relative to the target or to a frame 120 px high.

    Box attributes follow LaSOT's definitions. SV and ARC mean a ratio of area or aspect to frame 0 outside 0.5..2, FM a
    motion per frame above the box's side, LR a box under 1 % of the frame; OV and FOC mean complete absence. FM, SV, ARC
    and LR use only frames with half of the target inside, so that clipping does not count as a change of size.
    """
    unit, target = plan.video.unit, plan.target
    whole = plan.inside >= 0.5
    width, height = plan.boxes[:, 2], plan.boxes[:, 3]
    area, aspect = width * height, width / np.maximum(height, 1)
    side = np.sqrt(area)
    motion = np.linalg.norm(np.diff(centres(plan.boxes), axis=0), axis=1)
    smear = plan.shutter * np.array([np.hypot(*velocity(target.centre, i)) for i in range(plan.video.length)])
    facing = np.unwrap(np.arctan2(target.matrix[:, 1, 0], target.matrix[:, 0, 0]))
    bend = np.abs(target.push).sum(0).max() + 0.5 * max((_swing(s) for s in target.swing.T), default=0.0)
    ahead = [e.body.centre - target.centre for e in plan.extras if e.look == "twin"]
    facts = {
        "SV": _doubles(area[whole] / area[0]),
        "ARC": _doubles(aspect[whole] / aspect[0]),
        "ROT": _swing(facing) > np.pi / 6,
        "DEF": bend > 0.2,
        "VC": _swing(plan.turnover) > 0.3,
        "POC": bool((plan.occluded > 0.1).any()),
        "FOC": bool(((plan.occluded > 0.5 * plan.inside) & (plan.seen < MIN_VISIBLE)).any()),
        "OV": bool((plan.inside < MIN_VISIBLE).any()),
        "IV": _swing(np.log(plan.light.gain).mean(1)) > 0.35 or _swing(plan.light.bow) > 0.45,
        "MB": bool((smear > 3.0 * unit).any()),
        "CM": bool(max(_swing(axis) for axis in plan.camera.T) > 25 * unit),
        "BC": any(bool((np.linalg.norm(d, axis=1) < 2 * side).any()) for d in ahead),
        "FM": bool((motion > side[:-1])[whole[1:] & whole[:-1]].any()),
        "LR": bool((area[whole] < 0.01 * plan.video.size[0] * plan.video.size[1]).any()),
    }
    return frozenset(name for name, holds in facts.items() if holds)


def _doubles(ratio: Floats) -> bool:
    return bool(((ratio < 0.5) | (ratio > 2)).any())
