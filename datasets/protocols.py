"""All protocols and data sets, by name.

A protocol is a constant, declared with its data set in a module of `datasets.benchmarks`. Its sequences are opened when
they are needed, and checked before any tracking starts.
"""

from dataclasses import replace
from pathlib import Path

from trackablate.datasets.benchmark import DataSet, OnProgress, Opener, Protocol, SequenceList
from trackablate.datasets.benchmarks import coco, got10k, lasot, nfs, otb, tnl2k, trackingnet, uav123
from trackablate.datasets.registry import Registry
from trackablate.datasets.synthetic.videos import GENERATOR_VERSION, SyntheticSequences

__all__ = ["DATA_SETS", "PROTOCOLS", "Protocol", "SequenceList"]


def _generated(count: int, length: int) -> Opener:
    def opened(_root: Path | None, _index: Path | None = None, _progress: OnProgress | None = None, /) -> SequenceList:
        return SyntheticSequences("target", "test", count, length)

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
SYNTHETIC_SMOKE = replace(
    SYNTHETIC,
    name="synthetic-smoke",
    title="Synthetic smoke test",
    description="4 generated videos of 8 frames: tests that the machinery runs; its scores say nothing about trackers",
    open=_generated(count=4, length=8),
)

PROTOCOLS: Registry[Protocol] = Registry("protocol")
DATA_SETS: Registry[DataSet] = Registry("data set")

for _data in (
    *(lasot.LASOT, lasot.LASOT_EXT, trackingnet.TRACKINGNET, got10k.GOT10K, tnl2k.TNL2K, tnl2k.TNL2K_TRAIN),
    *(nfs.NFS, uav123.UAV123, otb.OTB, coco.COCO),
):
    DATA_SETS.add(_data.name, _data)
for _protocol in (SYNTHETIC, SYNTHETIC_SMOKE, *(one for data in DATA_SETS.values() for one in data.protocols)):
    PROTOCOLS.add(_protocol.name, _protocol)
