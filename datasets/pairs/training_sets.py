"""The training sets by name, their mixtures, and the check that they share no sequence with a test."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trackablate.datasets.benchmark import DataSet, Opener, SequenceList
from trackablate.datasets.benchmarks import coco, got10k, lasot, tnl2k, trackingnet
from trackablate.datasets.benchmarks.declared import TRAIN
from trackablate.datasets.boxes import valid
from trackablate.datasets.errors import DataError
from trackablate.datasets.protocols import PROTOCOLS, declarations
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import names
from trackablate.datasets.registry import Registry
from trackablate.datasets.sequence import Sequence

KEPT = 64
"""Number of sequences that a mixture keeps open; opening one reads its annotation."""


@dataclass(frozen=True)
class Mixture:
    """Several sets of sequences, as the `sequence` of `datasets.pairs.sampling.PairSampler`.

    It draws a set by its weight, then one of its sequences uniformly. Equal generators give equal sequences, whatever was
    drawn before.
    """

    sets: tuple[SequenceList, ...]
    weights: tuple[float, ...]
    _opened: OrderedDict[tuple[int, int], Sequence] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.sets) != len(self.weights) or not self.sets or min(self.weights) <= 0:
            raise ValueError(f"need a positive weight for each of {len(self.sets)} sets")

    def __call__(self, number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        """Return a sequence, and the numbers of its frames that show the target."""
        chances = np.array(self.weights) / sum(self.weights)
        which = int(rng.choice(len(self.sets), p=chances))
        sequence = self._sequence(which, int(rng.integers(len(self.sets[which]))))
        return sequence, np.flatnonzero(sequence.visible & valid(sequence.boxes))

    def _sequence(self, which: int, index: int) -> Sequence:
        key = (which, index)
        if key not in self._opened:
            self._opened[key] = self.sets[which][index]
            if len(self._opened) > KEPT:
                self._opened.popitem(last=False)
        self._opened.move_to_end(key)
        return self._opened[key]


@dataclass(frozen=True)
class TrainingSet:
    """Sequences that trackers may be trained on.

    Attributes:
        data: Name of the data set that `datasets.roots.data_root` finds.
        benchmark: The data set that protocols name for these sequences. Two sets of one benchmark can overlap.
        sequences: Returns their official names; () if no protocol tests on that benchmark.
        open: Makes the sequences.
    """

    name: str
    title: str
    data: str
    benchmark: str
    sequences: Callable[[], Iterable[str]]
    open: Opener


def _of_part(part: Part, title: str, benchmark: str) -> TrainingSet:
    return TrainingSet(part.name, title, part.data, benchmark, lambda: _names(part), part)


def _names(part: Part) -> frozenset[str]:
    return frozenset(clip.name for clip in part.clips())


def _split(part: Part, validation: str, *, validates: bool) -> Part:
    """Return the split of a training set that pytracking trains on, or validates on; `validation` is a file in splits/."""
    held_out = frozenset(names(validation))
    return replace(
        part,
        name=f"{part.name}-{'val' if validates else 'train'}",
        title=f"{part.title}, pytracking's {'validation' if validates else 'training'} split",
        clips=lambda: tuple(clip for clip in part.clips() if (clip.name in held_out) == validates),
        siblings=lambda: {*part.siblings(), *_names(part)},
    )


def _without_vot() -> Part:
    """GOT-10k's training videos without the 1000 that VOT's challenges test on.

    They are excluded by name. The index files that toolkits ship are off by one: they contain the numbers in the names,
    which count from 1, but are used as line numbers of list.txt, which count from 0. So 890 of the 1000 stay in.
    """
    forbidden = frozenset(names("got10k_vot_exclude.txt"))
    return replace(
        got10k.TRAIN,
        name="got10k-train-vot",
        title="GOT-10k's training set without VOT's videos",
        clips=lambda: tuple(clip for clip in got10k.TRAIN.clips() if clip.name not in forbidden),
        siblings=lambda: forbidden,
    )


VERSION_DIGITS = 8


def _declared(name: str) -> dict[str, TrainingSet]:
    """Return the splits of declared data sets: by name, by the name with a digest of the declaration, and by a file."""
    found: dict[str, TrainingSet] = {}
    for declaration in declarations(name):
        data, version = declaration.data, declaration.digest[:VERSION_DIGITS]
        sets = {f"{split}@{version}": _of_declared(part, data, version) for split, part in data.parts.items()}
        found |= sets | {key.partition("@")[0]: kind for key, kind in sets.items()}
    if name.endswith(".toml"):
        data = declarations(name)[0].data
        found[name] = found.get(f"{data.name}-{TRAIN}") or found[next(iter(data.parts))]
    return found


def _of_declared(part: Opener, data: DataSet, version: str) -> TrainingSet:
    assert isinstance(part, Part)
    return TrainingSet(f"{part.name}@{version}", data.title, data.name, data.name, partial(_names, part), part)


def versioned(name: str) -> str:
    """Return the name by which a training set belongs to a run: with a digest of its declaration if a user declares it."""
    return TRAINING_SETS[name].name


TRAINING_SETS: Registry[TrainingSet] = Registry("training set", _declared)

_LASOT_VAL, _GOT10K_VAL = "lasot_train_val.txt", "got10k_train_val.txt"

for _set in (
    _of_part(lasot.TRAIN, "LaSOT, 1120 videos", "lasot"),
    _of_part(_split(lasot.TRAIN, _LASOT_VAL, validates=False), "LaSOT, pytracking's 1000 to train on", "lasot"),
    _of_part(_split(lasot.TRAIN, _LASOT_VAL, validates=True), "LaSOT, pytracking's 120 to validate on", "lasot"),
    _of_part(got10k.TRAIN, "GOT-10k, 9335 videos", "got10k"),
    _of_part(_split(got10k.TRAIN, _GOT10K_VAL, validates=False), "GOT-10k, pytracking's 7934 to train on", "got10k"),
    _of_part(_split(got10k.TRAIN, _GOT10K_VAL, validates=True), "GOT-10k, pytracking's 1401 to validate on", "got10k"),
    _of_part(_without_vot(), "GOT-10k without VOT's, 8335 videos", "got10k"),
    _of_part(got10k.VAL, "GOT-10k's validation videos, 180", "got10k"),
    _of_part(trackingnet.TRAIN, "TrackingNet, 30,132 videos", "trackingnet"),
    _of_part(tnl2k.TRAIN, "TNL2K, 1299 videos", "tnl2k"),
    TrainingSet("coco2017-train", "COCO 2017, objects of still images", "coco", "coco", tuple, coco.TRAIN),
):
    TRAINING_SETS.add(_set.name, _set)


def check_disjoint(training: Iterable[str], protocols: Iterable[str]) -> None:
    """Raise DataError if a training set shares a sequence with a protocol. Both are given by name."""
    tested = [PROTOCOLS[name] for name in protocols]
    for kind in map(TRAINING_SETS.__getitem__, training):
        for protocol in tested:
            if protocol.data != kind.benchmark or not isinstance(protocol.open, Part):
                continue
            if kind.open is protocol.open and not protocol.open.listed:
                raise DataError(f"{kind.name} is the test of {protocol.name}: declare splits, and train on another one")
            if shared := sorted(_names(protocol.open).intersection(kind.sequences())):
                raise DataError(
                    f"{kind.name} shares {len(shared)} sequences with the test of {protocol.name}, among them {shared[0]}:"
                    " train on another set, or leave that protocol out"
                )


def one_shot(training: Iterable[str]) -> bool:
    """Return whether these sets consist of GOT-10k's training videos only, as GOT-10k's protocol demands."""
    used = set(training)
    return bool(used) and all(name == "got10k-train" or name.startswith("got10k-train-") for name in used)
