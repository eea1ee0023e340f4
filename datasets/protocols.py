"""The protocols: which sequences a tracker is scored on, from where, and by which metrics. Start reading here.

A protocol is a constant, declared with its data set in the module of that name. Its sequences are opened when they are
needed and checked before any tracking starts; its metrics are keys of `harness.scoring.metrics.METRICS`, its dialects of
`harness.scoring.metrics.DIALECTS`, which say by whose rules each is computed.
"""

import json
from hashlib import sha256
from pathlib import Path

from trackablate.datasets.benchmark import DataSet, OnProgress, Opener, Protocol, SequenceList
from trackablate.datasets.benchmarks import coco, got10k, lasot, nfs, otb, tnl2k, trackingnet, uav123
from trackablate.datasets.registry import Registry
from trackablate.datasets.synthetic.videos import GENERATOR_VERSION, SyntheticDataset

__all__ = ["DATA_SETS", "PROTOCOLS", "DataSet", "OnProgress", "Opener", "Protocol", "SequenceList"]


class GeneratedSequences(SyntheticDataset):
    """Generated sequences as a protocol's list: always whole."""

    @property
    def coverage(self) -> str:
        """All of them, since they are made here."""
        return f"{len(self)} of {len(self)} sequences"

    def digest(self) -> str:
        """SHA-256 of the generator's version and arguments. Those determine every box on every machine, so planning
        all sequences only to hash their boxes would cost half a second and say no more.
        """
        arguments = [GENERATOR_VERSION, self.domain, self.split, self.count, self.length, self.size, self.seed]
        return sha256(json.dumps(arguments).encode()).hexdigest()

    def stamp(self, index: int) -> str:
        """The generator's digest and the sequence's number."""
        return f"{self.digest()}:{index}"

    def lengths(self) -> tuple[int, ...]:
        """All alike, and known without planning a sequence."""
        return (self.length,) * self.count

    def check_annotations(self) -> None:
        """Nothing that is made on the fly can be missing."""

    def check(self, *, deep: bool = False, progress: OnProgress | None = None) -> None:
        """Nothing that is made on the fly can be missing."""

    def notes(self) -> list[str]:
        """There is nothing to be known of them."""
        return []


def _generated(count: int, length: int) -> Opener:
    def opened(_root: Path | None, _index: Path | None = None, _progress: OnProgress | None = None, /) -> SequenceList:
        return GeneratedSequences("target", "test", count, length=length, size=(160, 120), seed=0)

    return opened


SYNTHETIC = Protocol(
    name="synthetic",
    title="Synthetic target domain",
    description="80 generated videos of 50 frames, 160 x 120 px, from a domain that pretraining has not seen",
    source=f"made by datasets.synthetic, generator version {GENERATOR_VERSION}; comparable within that version only",
    data=None,
    metrics=(("ao", "got10k"), ("sr50", "got10k"), ("sr75", "got10k"), ("auc", "ostrack")),
    attributes=lasot.ATTRIBUTES,
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

PROTOCOLS: Registry[Protocol] = Registry("protocol")
DATA_SETS: Registry[DataSet] = Registry("data set")

for _protocol in (SYNTHETIC, SYNTHETIC_SMOKE):
    PROTOCOLS.add(_protocol.name, _protocol)
for _data in (
    lasot.LASOT,
    lasot.LASOT_EXT,
    trackingnet.TRACKINGNET,
    got10k.GOT10K,
    tnl2k.TNL2K,
    tnl2k.TNL2K_TRAIN,
    nfs.NFS,
    uav123.UAV123,
    otb.OTB,
    coco.COCO,
):
    DATA_SETS.add(_data.name, _data)
    for _protocol in _data.protocols:
        PROTOCOLS.add(_protocol.name, _protocol)
