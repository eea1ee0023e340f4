"""The protocols: which sequences a tracker is scored on, from where, and by which metrics. Start reading here.

A protocol is a constant. Its sequences are opened when they are needed and checked before any tracking starts; its
metrics are keys of `harness.metrics.METRICS`, which also says by whose rules each is computed.
"""

import json
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from datasets import otb
from datasets.registry import Registry
from datasets.sequence import Sequence
from datasets.synthetic import GENERATOR_VERSION, SyntheticDataset


class SequenceList(typing.Protocol):
    """The sequences of a protocol as they lie on this machine, like a list."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sequences' names, unique and in order."""

    @property
    def coverage(self) -> str:
        """How much of the protocol is there: "2 of 100 sequences". Said beside every score that comes from less."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sequence: ...

    def __iter__(self) -> Iterator[Sequence]: ...

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all that scores depend on but pixels: equal digests, comparable results."""

    def check(self) -> None:
        """Raise DataError with everything that can be known to be wrong before tracking; silent where all is well."""


@dataclass(frozen=True)
class Protocol:
    """data: the name of the folder that `datasets.roots.data_root` finds, None where nothing need be downloaded.
    metrics: the columns of its table, in order. attributes: the groups a score can be split by, in the order of the
    benchmark's paper. open: makes the sequences from the data folder; raises DataError where it holds none."""

    name: str
    title: str
    description: str
    source: str
    data: str | None
    metrics: tuple[str, ...]
    attributes: tuple[str, ...]
    open: Callable[[Path | None], SequenceList]


class GeneratedSequences(SyntheticDataset):
    """Generated sequences as a protocol's list: always whole."""

    @property
    def coverage(self) -> str:
        """All of them, since they are made here."""
        return f"{len(self)} of {len(self)} sequences"

    def digest(self) -> str:
        """SHA-256 of the generator's version and arguments. Those determine every box on every machine, so planning
        all sequences only to hash their boxes would cost half a second and say no more."""
        arguments = [GENERATOR_VERSION, self.domain, self.split, self.count, self.length, self.size, self.seed]
        return sha256(json.dumps(arguments).encode()).hexdigest()

    def check(self) -> None:
        """Nothing that is made on the fly can be missing."""


def _generated(count: int, length: int) -> Callable[[Path | None], SequenceList]:
    return lambda _: GeneratedSequences("target", "test", count, length=length, size=(160, 120), seed=0)


def _open_otb(root: Path | None) -> SequenceList:
    if root is None:
        raise ValueError("OTB100 needs the folder it lies in: datasets.roots.data_root finds it")
    return otb.OtbSequences(root)


LASOT_ATTRIBUTES = ("IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC")

PROTOCOLS: Registry[Protocol] = Registry("protocol")

SYNTHETIC = Protocol(
    name="synthetic",
    title="Synthetic target domain",
    description="80 generated videos of 50 frames, 160 x 120 px, from a domain that pretraining has not seen",
    source=f"made by datasets.synthetic, generator version {GENERATOR_VERSION}; comparable within that version only",
    data=None,
    metrics=("ao", "sr50", "sr75", "auc"),
    attributes=LASOT_ATTRIBUTES,
    open=_generated(count=80, length=50),
)

SYNTHETIC_SMOKE = Protocol(
    name="synthetic-smoke",
    title="Synthetic smoke test",
    description="4 generated videos of 8 frames: tests that the machinery runs; its scores say nothing about trackers",
    source=SYNTHETIC.source,
    data=None,
    metrics=SYNTHETIC.metrics,
    attributes=SYNTHETIC.attributes,
    open=_generated(count=4, length=8),
)

OTB = Protocol(
    name="otb",
    title="OTB100",
    description="100 short real videos, one pass from the first frame; those present are scored, and their number said",
    source="Wu, Lim, Yang: Object Tracking Benchmark, PAMI 2015; frame ranges as in pytracking",
    data="otb",
    metrics=("ao", "auc", "precision", "norm_precision"),
    attributes=otb.ATTRIBUTES,
    open=_open_otb,
)

for _protocol in (SYNTHETIC, SYNTHETIC_SMOKE, OTB):
    PROTOCOLS.add(_protocol.name, _protocol)
