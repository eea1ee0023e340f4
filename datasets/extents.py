"""The sequences and frames of a protocol by its official list, for planning without its data."""

from typing import NamedTuple

from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import rows

_COUNTED = {"nfs": "nfs.csv", "tnl2k": "tnl2k_test.csv"}
"""Protocols whose list has the number of frames of each sequence, in a column `frames`."""


class Extent(NamedTuple):
    """The size of a protocol: frames by official sequence (the mean if only a total is published), and their source."""

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
