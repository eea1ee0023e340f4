"""Scored raw results for the tests of their page: three synthetic trackers on a benchmark in LaSOT's manner."""

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.boxes import valid
from trackablate.harness.scoring.failure_modes import failures
from trackablate.harness.scoring.metrics import DIALECTS, Dialect, tally
from trackablate.harness.scoring.raw_scoring import distinct_metrics
from trackablate.harness.scoring.scored import Scored, ScoredProtocol, ScoredTracker, SequenceInfo, TrackerScores

SEQUENCES = 30
FRAMES = 90
SIZE = (320, 240)
NOISE = {"SiamSteady": 0.2, "OceanDrift": 0.4, "StaticBox": 2.0}
"""How fast each tracker's boxes walk off the target, in pixels per frame."""


def names(sequences: int = SEQUENCES) -> list[str]:
    """The sequences' names."""
    return [f"bird-{index:02d}" for index in range(sequences)]


@cache
def truth(name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """True boxes and visibility: a smooth path; of every third sequence some frames are flagged absent and annotated 0."""
    index = int(name.rsplit("-", 1)[1])
    rng = np.random.default_rng(index)
    corner = np.cumsum(rng.normal(0, 1.5, (FRAMES, 2)), axis=0) + np.array([120.0, 90.0])
    boxes = np.concatenate([corner, np.tile([30.0, 24.0], (FRAMES, 1))], axis=1)
    visible = np.ones(FRAMES, dtype=bool)
    if index % 3 == 0:
        visible[40:50] = False
        boxes[45:50] = 0
    return boxes, visible


def predicted(tracker: str, name: str) -> NDArray[np.float64]:
    """Boxes that walk off the truth; in every fifth sequence the box jumps away and stays there for a while."""
    index = int(name.rsplit("-", 1)[1])
    boxes, _ = truth(name)
    rng = np.random.default_rng([index, sum(map(ord, tracker))])
    walk = np.cumsum(rng.normal(0, NOISE[tracker], (FRAMES, 4)) * [1, 1, 0.2, 0.2], axis=0)
    found: NDArray[np.float64] = np.where(boxes[:, 2:3] > 0, boxes, boxes[44]) + walk * (1 + index % 4)
    if index % 5 == 1:
        found[60:80, :2] += 100
    found[:, 2:] = found[:, 2:].clip(5)
    found[0] = boxes[0]
    return found


@cache
def tracker_scores(tracker: str, sequences: int = SEQUENCES) -> ScoredTracker:
    """One tracker's tallies and failures."""
    tallies, failed = {}, {}
    for name in names(sequences):
        boxes, (true, visible) = predicted(tracker, name), truth(name)
        tallies[name] = tally(boxes, true, visible, size=SIZE)
        failed[name] = failures(boxes, true, valid(true) & visible)
    scores = TrackerScores(tuple(tallies), (tallies,), (failed,))
    return ScoredTracker(tracker, "variant", {"lasot": scores}, layout="pytracking")


@cache
def scored(sequences: int = SEQUENCES, main: str = "ostrack") -> Scored:
    """All trackers complete, by several dialects, the main one first."""
    rules = dict.fromkeys((main, "lasot_matlab", "pysot", "got10k_ope", "lorat_plain", "got10k"))
    protocol = ScoredProtocol(
        name="lasot",
        title="LaSOT test",
        description="generated here",
        source="Fan et al.: LaSOT, CVPR 2019; generated here",
        coverage=f"{sequences} of {sequences} sequences",
        sequences=tuple(SequenceInfo(name, FRAMES, attributes(name)) for name in names(sequences)),
        attributes=("IV", "POC", "FM", "MB"),
        dialects=dict.fromkeys(distinct_metrics(dialect(main)), dialect(main)),
        rules=tuple(dialect(name) for name in rules),
    )
    return Scored(
        protocol=protocol,
        trackers=tuple(tracker_scores(tracker, sequences) for tracker in NOISE),
        problems=(),
        command="python -m harness score SiamSteady=results/siam --protocol lasot --out out",
    )


def dialect(name: str) -> Dialect:
    """A dialect as it applies to LaSOT."""
    return DIALECTS[name].on("lasot")


def attributes(name: str) -> frozenset[str]:
    """The attributes of a sequence. "night" is no known abbreviation, and IV has no sequence."""
    index = int(name.rsplit("-", 1)[1])
    return frozenset(word for word, every in (("FM", 2), ("POC", 3), ("night", 7), ("MB", 29)) if index % every == 0)


def partial(whole: Scored, tracker: str, count: int, allowed: bool) -> Scored:
    """The same with only so many sequences of one tracker, which is said among the problems."""
    kept = names(len(whole.protocol.sequences))[:count]
    trackers = tuple(with_only(t, kept) if t.name == tracker else t for t in whole.trackers)
    problem = f"{tracker}: results/{tracker}/bird-29.txt, line 4: 3 numbers instead of 4; restore the file"
    protocol = replace(whole.protocol, allow_incomplete=allowed)
    return replace(whole, protocol=protocol, trackers=trackers, problems=(problem,))


def with_only(tracker: ScoredTracker, kept: list[str]) -> ScoredTracker:
    """The tracker with only these sequences whole."""
    scores = tracker.protocols["lasot"]
    tallies, failed = ({n: one[n] for n in kept} for one in (scores.seeds[0], scores.failures[0]))
    return replace(tracker, protocols={"lasot": replace(scores, seeds=(tallies,), failures=(failed,))})


def by_dialects(whole: Scored, *rules: Dialect) -> Scored:
    """The same by other dialects, the main one first."""
    dialects = dict.fromkeys(distinct_metrics(rules[0]), rules[0])
    return replace(whole, protocol=replace(whole.protocol, dialects=dialects, rules=rules))


def renamed(whole: Scored, old: str, new: str) -> Scored:
    """The same with one tracker called otherwise."""
    return replace(whole, trackers=tuple(replace(t, name=new) if t.name == old else t for t in whole.trackers))
