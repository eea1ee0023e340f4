"""All protocols and data sets, by name.

A protocol is a constant, declared with its data set in a module of `datasets.benchmarks`. Its sequences are opened when
they are needed, and checked before any tracking starts.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from trackablate.datasets.benchmark import DataSet, Opener, Protocol, SequenceList
from trackablate.datasets.benchmarks import coco, got10k, lasot, nfs, otb, tnl2k, trackingnet, uav123
from trackablate.datasets.benchmarks.declared import Declaration, read_declaration
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import rows
from trackablate.datasets.registry import Registry
from trackablate.datasets.synthetic.videos import GENERATOR_VERSION, SyntheticSequences

__all__ = ["DATA_SETS", "PROTOCOLS", "Extent", "Protocol", "SequenceList", "official_extent"]

_COUNTED = {"nfs": "nfs.csv", "tnl2k": "tnl2k_test.csv"}
"""Protocols whose list has the number of frames of each sequence, in a column `frames`."""


def _generated(count: int, length: int) -> Opener:
    def opened(_root: Path | None, _index: Path | None = None, /) -> SequenceList:
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

VARIABLE = "TRACKABLATE_PROTOCOLS"
"""Environment variable with the TOML files of declared data sets, separated as in PATH, so that workers know them too."""
DECLARED: dict[Path, Declaration] = {}
"""What was read of them in this process, by file."""


def declarations(name: str = "") -> list[Declaration]:
    """Return the declared data sets of this process; a name that ends in ".toml" is a file, which is read and comes first.

    Raises DataError if a file is faulty, or declares a name that is taken.
    """
    inherited = [Path(file) for file in os.environ.get(VARIABLE, "").split(os.pathsep) if file]
    asked = [Path(name).expanduser().resolve()] if name.endswith(".toml") else []
    for file in (*asked, *inherited):
        if file not in DECLARED:
            found = read_declaration(file)
            _refuse_taken(found)
            DECLARED[file] = found
    if asked:
        os.environ[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys((*inherited, *asked))))
    return [DECLARED[file] for file in dict.fromkeys((*asked, *DECLARED))]


def _refuse_taken(found: Declaration) -> None:
    built_in = {name: data.title for data in DATA_SETS.built_in.values() for name in (data.name, *data.parts)}
    built_in |= {name: protocol.title for name, protocol in PROTOCOLS.built_in.items()}
    others = {name: str(file) for file, other in DECLARED.items() for name in (other.data.name, *other.data.parts)}
    for name in (found.data.name, *found.data.parts):
        if whose := built_in.get(name) or others.get(name):
            raise found.refuse(f"the name {name} is taken by {whose}", "choose another name", "name")


def declared(name: str) -> Declaration | None:
    """Return the declaration that a protocol or data set comes from, None for a built-in one."""
    return next((one for one in declarations() if name in (one.data.name, *one.data.parts)), None)


def as_asked(name: str) -> str:
    """Return a protocol as a command names it: the TOML file that declares it, or its name."""
    found = declared(name)
    return found.file.name if found and name == found.data.name else name


def _declared_protocols(name: str) -> Mapping[str, Protocol]:
    found = declarations(name)
    every = {protocol.name: protocol for one in found for protocol in one.data.protocols}
    first = found[0].data.protocols[:1] if name.endswith(".toml") else ()
    return every | dict(zip([name], first, strict=False))


def _declared_data(name: str) -> Mapping[str, DataSet]:
    every = [one.data for one in declarations(name)]
    return {data.name: data for data in every} | ({name: every[0]} if name.endswith(".toml") else {})


PROTOCOLS: Registry[Protocol] = Registry(
    "protocol", _declared_protocols, hint="; one of your own is named by the TOML file that declares it"
)
DATA_SETS: Registry[DataSet] = Registry("data set", _declared_data)

for _data in (
    *(lasot.LASOT, lasot.LASOT_EXT, trackingnet.TRACKINGNET, got10k.GOT10K, tnl2k.TNL2K, tnl2k.TNL2K_TRAIN),
    *(nfs.NFS, uav123.UAV123, otb.OTB, coco.COCO),
):
    DATA_SETS.add(_data.name, _data)
for _protocol in (SYNTHETIC, SYNTHETIC_SMOKE, *(one for data in DATA_SETS.values() for one in data.protocols)):
    PROTOCOLS.add(_protocol.name, _protocol)


class Extent(NamedTuple):
    """The size of a protocol, for planning without its data, and its source.

    lengths: Frames by official sequence; the mean if only a total is published.
    """

    lengths: dict[str, int]
    source: str

    @property
    def frames(self) -> int:
        """Number of all frames."""
        return sum(self.lengths.values())


def official_extent(name: str) -> Extent:
    """Return the extent of a protocol by its official list.

    Raises ValueError if its length is not known, as of most data sets that a user declares. A test makes sure that every
    shipped protocol has one.
    """
    protocol = PROTOCOLS[name]
    if protocol.data is None:
        made = protocol.open(None)
        return Extent(dict(zip(made.names, made.lengths(), strict=True)), protocol.source)
    if file := _COUNTED.get(name):
        return Extent({row["name"]: int(row["frames"]) for row in rows(file)}, f"the official list, {file}")
    assert isinstance(protocol.open, Part)
    clips = protocol.open.clips()
    lengths = {clip.name: clip.span - clip.skip for clip in clips if clip.span is not None}
    if clips and len(lengths) == len(clips):
        return Extent(lengths, "first and last frames in the official list")
    for row in rows("frame_totals.csv"):
        if row["protocol"] == name:
            mean = max(1, round(int(row["frames"]) / len(clips)))
            return Extent({clip.name: mean for clip in clips}, f"a published total: {row['source']}")
    raise ValueError(f"the number of frames of {name} is not known: add it to datasets/splits/frame_totals.csv")
