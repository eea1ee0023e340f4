"""The training sets by name, their mixtures, and the check that they share no sequence with a test."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trackablate.datasets.benchmark import Opener, SequenceList
from trackablate.datasets.benchmarks import coco, got10k, lasot, tnl2k, trackingnet
from trackablate.datasets.benchmarks.declared import TRAIN
from trackablate.datasets.boxes import valid
from trackablate.datasets.errors import DataError, counted
from trackablate.datasets.pairs.packed import PackedSequences
from trackablate.datasets.protocols import PROTOCOLS, declarations
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import names
from trackablate.datasets.registry import Registry
from trackablate.datasets.roots import PACKED_MARK
from trackablate.datasets.sequence import Sequence

KEPT = 64
"""Number of sequences that a mixture keeps open; opening one reads its annotation."""


@dataclass(frozen=True)
class Mixture:
    """Several sets of sequences, as the `sequence` of `datasets.pairs.sampling.PairSampler`.

    It draws a set by its weight, then one of its sequences uniformly. Equal generators give equal sequences, whatever was
    drawn before.

    Attributes:
        seed: Decides the order of an epoch.
        epoch: Number of pairs in which every set has exactly its share, and its sequences come in random order, none twice
            before all (LoRAT, the published code). None for independent draws.
        by_image: Whether an image of COCO is drawn, and then one of its objects (LoRAT).
    """

    sets: tuple[SequenceList, ...]
    weights: tuple[float, ...]
    seed: int = 0
    epoch: int | None = None
    by_image: bool = False
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)
    _opened: OrderedDict[tuple[int, int], Sequence] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.sets) != len(self.weights) or not self.sets or min(self.weights) <= 0:
            raise ValueError(f"need a positive weight for each of {len(self.sets)} sets")

    def __call__(self, number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        """Return a sequence, and the numbers of its frames that show the target."""
        if self.epoch is None:
            return self.independent(number, rng)
        which, drawn = self._order(number // self.epoch)[:, number % self.epoch]
        return self._usable(int(which), int(drawn), rng)

    def independent(self, number: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        """Return the same, drawn without regard to other pairs."""
        chances = np.array(self.weights) / sum(self.weights)
        which = int(rng.choice(len(self.sets), p=chances))
        return self._usable(which, int(rng.integers(self._length(which))), rng)

    def _usable(self, which: int, drawn: int, rng: Generator) -> tuple[Sequence, NDArray[np.int64]]:
        images = self._images(which)
        sequence = self._sequence(which, int(rng.choice(images[drawn])) if images else drawn)
        return sequence, np.flatnonzero(sequence.visible & valid(sequence.boxes))

    def _images(self, which: int) -> tuple[NDArray[np.int64], ...]:
        """Return the objects of each image of a set, () if they are drawn as they are."""
        found = self.sets[which]
        return found.images if self.by_image and isinstance(found, coco.CocoObjects | PackedSequences) else ()

    def _length(self, which: int) -> int:
        return len(self._images(which) or self.sets[which])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Return set and sequence of every pair of an epoch, (2, pairs). The last set has what rounding leaves."""
        if epoch not in self._orders:
            rng, pairs = np.random.default_rng((self.seed, epoch)), self.epoch or 0
            shares = [int(pairs * weight / sum(self.weights)) for weight in self.weights[:-1]]
            columns = []
            for which, share in enumerate([*shares, pairs - sum(shares)]):
                length = self._length(which)
                drawn = np.concatenate([rng.permutation(length) for _ in range(-(-share // length))])[:share]
                columns.append(np.stack([np.full(share, which), drawn]))
            for old in [known for known in self._orders if known < epoch - 1]:
                del self._orders[old]
            self._orders[epoch] = rng.permutation(np.concatenate(columns, axis=1), axis=1)
        return self._orders[epoch]

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
        open: Makes the sequences.
    """

    name: str
    title: str
    data: str
    benchmark: str
    open: Opener

    def sequences(self) -> frozenset[str]:
        """Return their official names; none if no protocol tests on that benchmark."""
        return _names(self.open) if isinstance(self.open, Part) else frozenset()

    def found_in(self, root: Path, index: Path | None = None) -> SequenceList:
        """Return the sequences of a folder or archive, which may be packed. Raises DataError if there are none."""
        return PackedSequences(root, self.name) if (root / PACKED_MARK).is_file() else self.open(root, index)


def _of_part(part: Part, title: str, benchmark: str) -> TrainingSet:
    return TrainingSet(part.name, title, part.data, benchmark, part)


def _names(part: Part) -> frozenset[str]:
    return frozenset(clip.name for clip in part.clips())


def _chosen(part: Part, name: str, title: str, keeps: Callable[[str], bool]) -> Part:
    """Return the videos of a part whose names a rule keeps. The others are no strangers in its folder."""
    return replace(
        part,
        name=f"{part.name}-{name}",
        title=f"{part.title}{title}",
        clips=lambda: tuple(clip for clip in part.clips() if keeps(clip.name)),
        siblings=lambda: {*part.siblings(), *_names(part)},
    )


def _split(part: Part, validation: str, *, validates: bool) -> Part:
    """Return the split of a training set that pytracking trains on, or validates on; `validation` is a file in splits/."""
    held_out, words = frozenset(names(validation)), "validation" if validates else "training"
    title = f", pytracking's {words} split"
    return _chosen(part, "val" if validates else "train", title, lambda name: (name in held_out) == validates)


def _vottrain(*, validates: bool) -> Part:
    """Return the part of GOT-10k that pytracking, OSTrack and LoRAT call vottrain (7086 videos) or votval (1249).

    Their index files mean to leave VOT's 1000 out and leave out their neighbours, as `_without_vot` explains.
    """
    neighbours = frozenset(f"GOT-10k_Train_{int(name[-6:]) + 1:06d}" for name in names("got10k_vot_exclude.txt"))
    held_out, word = frozenset(names("got10k_train_votval.txt")), "votval" if validates else "vottrain"

    def keeps(name: str) -> bool:
        return name not in neighbours and (name in held_out) == validates

    return _chosen(got10k.TRAIN, word, f", the toolkits' {word} split", keeps)


def _without_vot() -> Part:
    """GOT-10k's training videos without the 1000 that VOT's challenges test on.

    They are excluded by name. The index files that toolkits ship are off by one: they contain the numbers in the names,
    which count from 1, but are used as line numbers of list.txt, which count from 0. So 890 of the 1000 stay in.
    """
    forbidden = frozenset(names("got10k_vot_exclude.txt"))
    return _chosen(got10k.TRAIN, "vot", " without VOT's videos", lambda name: name not in forbidden)


VERSION_DIGITS = 8


def _declared(name: str) -> dict[str, TrainingSet]:
    """Return the splits of declared data sets: by name, by the name with a digest of the declaration, and by a file."""
    found: dict[str, TrainingSet] = {}
    for declaration in declarations(name):
        data, version = declaration.data, declaration.digest[:VERSION_DIGITS]
        sets = {
            f"{split}@{version}": TrainingSet(f"{split}@{version}", data.title, data.name, data.name, part)
            for split, part in data.parts.items()
        }
        found |= sets | {key.partition("@")[0]: kind for key, kind in sets.items()}
    if name.endswith(".toml"):
        data = declarations(name)[0].data
        found[name] = found.get(f"{data.name}-{TRAIN}") or found[next(iter(data.parts))]
    return found


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
    _of_part(_vottrain(validates=False), "GOT-10k, 7086 videos, as OSTrack and LoRAT (765 of them VOT's)", "got10k"),
    _of_part(_vottrain(validates=True), "GOT-10k, the 1249 that belong to those 7086, to validate on", "got10k"),
    _of_part(got10k.VAL, "GOT-10k's validation videos, 180", "got10k"),
    _of_part(trackingnet.TRAIN, "TrackingNet, 30,132 videos", "trackingnet"),
    _of_part(tnl2k.TRAIN, "TNL2K, 1299 videos", "tnl2k"),
    TrainingSet("coco2017-train", "COCO 2017, objects of still images", "coco", "coco", coco.TRAIN),
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
            if shared := sorted(_names(protocol.open) & kind.sequences()):
                raise DataError(
                    f"{kind.name} shares {counted(len(shared), 'sequence')} with the test of {protocol.name}, among them"
                    f" {shared[0]}: train on another set, or leave that protocol out"
                )


def one_shot(training: Iterable[str]) -> bool:
    """Return whether these sets consist of GOT-10k's training videos only, as GOT-10k's protocol demands."""
    used = set(training)
    return bool(used) and all(name == "got10k-train" or name.startswith("got10k-train-") for name in used)
